"""The development loop as it is seen from outside: its traces in Jaeger, its counts in Prometheus."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from live import ROOT, edit, sync
from observability.stack import Env, parent_of, soon, tags
from observability.story import Phase
from watching import Event, Watch, call

SEEN_S = 120
"""Until when a save must be there. The loop reports after a second and the collector batches; only a
machine that others use too takes longer."""


@dataclass(frozen=True)
class Told:
    """What the watch told of three saves: a good one, one that is not built, and one that mends."""

    fresh: Event
    broken: Event
    mended: Event
    watch: Watch


@pytest.fixture(scope="module")
def told(env: Env, back: Phase) -> Iterator[Told]:
    """A watch of its own, so that its counts begin at 0."""
    source = env.loop.app / "app.rs"
    with Watch(env.loop) as watch:
        watch.told("watching")
        fresh = watch.saved(lambda: call(env.loop, "observed"))
        broken = watch.saved(lambda: edit(source, '"observed"', "observed"), "not built")
        yield Told(fresh, broken, watch.saved(lambda: sync(ROOT, env.root)), watch)


def _save(env: Env, told: Event) -> dict[str, Any]:
    """The spans by name of the trace that tells of this save, waited for."""
    result = told["verdict"].replace(" ", "_")

    def look() -> dict[str, Any]:
        for trace in env.traces("kindloop", "save"):
            spans = {span["operationName"]: span for span in trace["spans"]}
            known = tags(spans["save"])
            if known["kindloop.result"] == result and known["kindloop.digest"] == told["digest"]:
                return spans
        return {}

    return soon(look, SEEN_S)


def test_parts(env: Env, told: Told) -> None:
    """A save's spans have their times: one after the other, the supervisor's inside the swap."""
    spans = _save(env, told.fresh)
    root, swap = spans["save"], spans["swap petstore"]
    names = ("quiet", "wait", "look", "stage petstore", "digest", "swap petstore", "answer")
    parts = [spans[name] for name in names]
    assert not parent_of(root)
    assert {parent_of(part) for part in parts} == {root["spanID"]}
    for one, next_one in itertools.pairwise(parts):
        assert _end(one) <= next_one["startTime"] + 1, (one["operationName"], "in microseconds")
    assert root["startTime"] == parts[0]["startTime"]
    assert _end(parts[-1]) <= _end(root) + 1
    for name in ("verify", "stop", "start"):
        assert parent_of(spans[name]) == swap["spanID"]
        assert swap["startTime"] <= spans[name]["startTime"] + 1
        assert _end(spans[name]) <= _end(swap) + 1


def _end(span: dict[str, Any]) -> int:
    return int(span["startTime"] + span["duration"])


def test_not_built(env: Env, told: Told) -> None:
    """A save that does not compile is a trace with the compiler's error, at the stage too."""
    spans = _save(env, told.broken)
    for name in ("save", "stage petstore"):
        known = tags(spans[name])
        assert known["otel.status_code"] == "ERROR"
        assert "app.rs:" in known["otel.status_description"]
    assert "swap petstore" not in spans


def test_saves(env: Env, told: Told) -> None:
    """Prometheus counts the saves that the watch told of, by how they ended."""
    wanted = {"fresh": 2.0, "not_built": 1.0, "rolled_back": 0.0}

    def counted() -> dict[str, float]:
        return {
            labels["result"]: value
            for labels, value in env.samples('kindloop_saves_total{job="loop"}')
            if labels["result"] in wanted
        }

    assert soon(lambda: counted() == wanted, SEEN_S, counted)
    seen = env.samples('kindloop_save_duration_seconds_count{part="total"}')
    assert [value for _, value in seen] == [3.0]
    assert env.samples("kindloop_fresh == 1")


def test_rebuild(env: Env, told: Told) -> None:
    """`dev-rebuild` is a trace as well."""
    before = {trace["traceID"] for trace in env.traces("kindloop", "rebuild")}
    assert env.say("dev-rebuild").code == 0
    found = soon(
        lambda: [t for t in env.traces("kindloop", "rebuild") if t["traceID"] not in before], SEEN_S
    )
    names = {span["operationName"] for trace in found for span in trace["spans"]}
    assert {"rebuild", "stage petstore", "swap petstore", "answer"} <= names


def test_end(env: Env, told: Told) -> None:
    """A watch that ends leaves no alarm behind of what was stale then."""

    def now(metric: str) -> list[float]:
        return [value for _, value in env.samples(f'{metric}{{job="loop"}}')]

    source = env.loop.app / "app.rs"
    told.watch.saved(lambda: edit(source, '"Rex"', "Rex"), "not built")
    soon(lambda: any(now("kindloop_stale_seconds")), SEEN_S)
    assert told.watch.end() == 130
    sync(ROOT, env.root)

    def calm() -> bool:
        # Nobody says that it is fresh: only the seconds do not grow into an alert.
        return now("kindloop_fresh") == [0.0] and max(now("kindloop_stale_seconds")) < 1

    soon(calm, SEEN_S, lambda: (now("kindloop_fresh"), now("kindloop_stale_seconds")))
