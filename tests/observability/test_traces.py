"""Traces on the live environment: of a request that the test sent, and of a save that it made."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from observability.stack import Env, parent_of, soon, tags
from observability.story import Counted, Phase
from observability.traffic import KEY, ask

SEEN_S = 10
"""Until when a trace must be there: the collector batches for a second."""


def test_request(env: Env, counted: Counted) -> None:
    """A request's trace is in Jaeger within 10 s: taken over, with server and handler span."""
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    headers = {**KEY, "traceparent": f"00-{trace_id}-{parent_id}-01"}
    status, _ = ask(env.url("petstore"), "/pets/1", headers=headers)
    assert status == 200
    spans = {
        span["operationName"]: span for span in soon(lambda: _whole(env.trace(trace_id), 2), SEEN_S)
    }
    assert set(spans) == {"GET /pets/{id}", "handler get_pet"}
    server, handler = spans["GET /pets/{id}"], spans["handler get_pet"]
    assert parent_of(server) == parent_id
    assert parent_of(handler) == server["spanID"]
    known = tags(server)
    assert known["span.kind"] == "server"
    assert known["http.route"] == "/pets/{id}"
    assert known["http.response.status_code"] == 200
    assert known["url.path"] == "/pets/1"


def _whole(spans: list[Any], count: int) -> list[Any]:
    return spans if len(spans) >= count else []


@pytest.mark.parametrize("result", ["fresh", "rolled_back"])
def test_save(result: str, env: Env, broken: Phase) -> None:
    """A save is a trace of the service kindloop, with all its parts."""
    found = [
        (root, [span["operationName"] for span in trace["spans"]])
        for trace in env.traces("kindloop", "save")
        for root in trace["spans"]
        if root["operationName"] == "save" and tags(root)["kindloop.result"] == result
    ]
    assert found
    root, names = found[0]
    assert tags(root)["kindloop.environment"] == env.loop.name
    parts = {"quiet", "swap petstore"}
    if result == "fresh":
        parts |= {"stage petstore", "digest", "answer"}
    assert parts <= set(names)
