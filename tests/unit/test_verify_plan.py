"""The plan: every operation is in it, in a safe order, with credentials that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kindloop.errors import ConfigError
from kindloop.verify.curl import curl_command
from kindloop.verify.document import Document
from kindloop.verify.openapi import operations
from kindloop.verify.plan import Probe, plan, select

OK = {"responses": {"200": {"description": ""}}}
SCHEMES = {
    "Header": {"type": "apiKey", "in": "header", "name": "X-Key", "x-kindloop-example": "k e"},
    "Query": {"type": "apiKey", "in": "query", "name": "key", "x-kindloop-example": "k e"},
    "Cookie": {"type": "apiKey", "in": "cookie", "name": "sid", "x-kindloop-example": "k e"},
    "Bearer": {"type": "http", "scheme": "bearer", "x-kindloop-example": "test123"},
    "Basic": {"type": "http", "scheme": "basic", "x-kindloop-example": "ann:pw"},
    "Silent": {"type": "http", "scheme": "bearer"},
    "Mutual": {"type": "mutualTLS"},
}


def planned(paths: dict[str, Any]) -> list[Probe]:
    tree = {"openapi": "3.1.0", "paths": paths, "components": {"securitySchemes": SCHEMES}}
    document = Document(Path("api.yaml"), tree)
    return plan(document, operations(document), "http://127.0.0.1:1/")


def one(operation: dict[str, Any], method: str = "get", path: str = "/a") -> Probe:
    return planned({path: {method: {**OK, **operation}}})[0]


def test_every_operation_has_exactly_one_documented_probe() -> None:
    methods = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
    unsolvable = {"requestBody": {"content": {"application/xml": {"schema": {"type": "object"}}}}}
    paths = {f"/{n}": dict.fromkeys(methods, OK) for n in range(3)}
    probes = planned({**paths, "/x": {"post": {**OK, **unsolvable, "operationId": "no_body"}}})
    documented = [(p.method, p.path) for p in probes if p.kind == "documented"]
    assert sorted(documented) == sorted(
        [(m.upper(), path) for path in paths for m in methods] + [("POST", "/x")]
    )
    [named] = [p for p in probes if p.problem]
    assert named.name == "no_body"
    assert "application/xml needs an `example`" in named.problem


def test_delete_comes_after_what_it_takes_away() -> None:
    parameter = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    with_id = {**OK, "parameters": [parameter]}
    probes = planned(
        {
            "/pets/{id}": {"delete": with_id, "get": with_id},
            "/pets/{id}/photo": {"delete": with_id, "put": with_id},
            "/petsitters": {"get": OK},
            "/pets": {"get": OK},
            "/users": {"delete": OK, "get": OK},
        }
    )
    assert [f"{p.method} {p.path}" for p in probes[:-1]] == [
        "GET /pets/{id}",
        "PUT /pets/{id}/photo",
        "GET /petsitters",
        "GET /pets",
        "DELETE /pets/{id}/photo",
        "DELETE /pets/{id}",
        "GET /users",
        "DELETE /users",
    ]


@pytest.mark.parametrize(
    ("scheme", "in_command"),
    [
        ("Header", "'X-Key: k e'"),
        ("Query", "/a?key=k%20e"),
        ("Cookie", "'Cookie: sid=k%20e'"),
        ("Bearer", "'Authorization: Bearer test123'"),
        ("Basic", "'Authorization: Basic YW5uOnB3'"),
    ],
)
def test_credentials_right_and_wrong(scheme: str, in_command: str) -> None:
    right, wrong, _ = planned({"/a": {"get": {**OK, "security": [{scheme: []}]}}})
    assert in_command in curl_command(right)
    assert in_command not in curl_command(wrong)
    assert (wrong.kind, wrong.expected, wrong.name) == ("wrong key", ("401",), "GET /a (wrong key)")


def test_a_documented_403_passes_for_a_wrong_key() -> None:
    responses = {"200": {"description": ""}, "403": {"description": ""}}
    _, wrong, _ = planned({"/a": {"get": {"security": [{"Bearer": []}], "responses": responses}}})
    assert wrong.expected == ("401", "403")


def test_optional_security_is_called_without_a_key() -> None:
    open_call, unknown = planned({"/a": {"get": {**OK, "security": [{}, {"Bearer": []}]}}})
    assert open_call.headers == ()
    assert unknown.kind == "unknown path"


def test_a_missing_demo_credential_is_an_error_that_says_what_to_add() -> None:
    with pytest.raises(ConfigError, match=r"securitySchemes\.Silent: no demo credential") as caught:
        one({"security": [{"Mutual": []}, {"Silent": []}]})
    assert "x-kindloop-example: test123" in caught.value.hint


def test_a_scheme_that_curl_cannot_send_is_a_failure_of_the_operation() -> None:
    assert "Mutual (mutualTLS)" in one({"security": [{"Mutual": []}]}).problem


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["404", "201", "2XX"], ("201", "2XX")),
        (["404", "302"], ("302",)),
        (["404", "default"], ("2XX",)),
        (["501"], ("501",)),
    ],
)
def test_expected_statuses(statuses: list[str], expected: tuple[str, ...]) -> None:
    responses = {status: {"description": ""} for status in statuses}
    assert one({"responses": responses}).expected == expected


def test_no_documented_response_is_a_failure() -> None:
    assert "no response is documented" in one({"responses": {}}).problem


def test_optional_parameters_are_sent_only_with_an_example_of_the_author() -> None:
    probe = one(
        {
            "parameters": [
                {"name": "a", "in": "query", "schema": {"type": "integer", "default": 5}},
                {"name": "b", "in": "query", "schema": {"type": "integer", "examples": [7]}},
                {"name": "c", "in": "query", "required": True, "schema": {"type": "integer"}},
            ]
        }
    )
    assert probe.url == "http://127.0.0.1:1/a?b=7&c=1"


def test_the_unknown_path_is_unknown_and_expects_a_problem_where_there_are_problems() -> None:
    problem = {"description": "", "content": {"application/problem+json": {}}}
    name = {"name": "x", "in": "path", "required": True, "schema": {"type": "string"}}
    get = {"parameters": [name], "responses": {"200": {"description": ""}, "400": problem}}
    unknown = planned({"/{x}": {"get": get}})[-1]
    assert unknown.path == "/kindloop-unknown-path/unknown"
    assert unknown.responses[0].media[0].media_type == "application/problem+json"


def test_select_takes_names_paths_and_globs() -> None:
    tree = {"paths": {"/a": {"get": {**OK, "operationId": "get_a"}, "put": OK}, "/b": {"get": OK}}}
    known = operations(Document(Path("api.yaml"), tree))
    assert [o.name for o in select(known, "get_a")] == ["get_a"]
    assert [o.name for o in select(known, "/a")] == ["get_a", "PUT /a"]
    assert [o.name for o in select(known, "GET *")] == ["get_a", "GET /b"]
    with pytest.raises(ConfigError, match="no operation is called nope") as caught:
        select(known, "nope")
    assert "get_a" in caught.value.hint


def test_a_body_that_does_not_fit_in_a_command_is_named() -> None:
    body = {"content": {"text/plain": {"example": "x" * 100_001}}}
    assert "100001 bytes" in one({"requestBody": body}, "post").problem


def test_commands_can_be_copied() -> None:
    body = {"content": {"application/json": {"example": {"name": "it's"}}}}
    command = curl_command(one({"requestBody": body}, "post"))
    assert command.startswith("curl -q -sS --noproxy '*' ")
    assert " -i " in command
    assert command.endswith("""--data-raw '{"name": "it'"'"'s"}' http://127.0.0.1:1/a""")
    assert "--head" in curl_command(one({}, "head"))
    assert " -i " not in curl_command(one({}, "head"))
