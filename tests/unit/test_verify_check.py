"""The verdict: each way in which an answer can differ from the document is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kindloop.verify.check import Outcome, judge
from kindloop.verify.curl import Answer
from kindloop.verify.document import Document
from kindloop.verify.openapi import operations
from kindloop.verify.plan import plan

PET: dict[str, Any] = {
    "type": "object",
    "required": ["age", "secret"],
    "properties": {
        "age": {"type": "integer", "format": "int32"},
        "born": {"type": ["string", "null"], "format": "date-time"},
        "id": {"type": "string", "format": "uuid"},
        "mail": {"type": "string", "format": "email"},
        "home": {"type": "string", "format": "uri"},
        "price": {"type": "number", "multipleOf": 0.01},
        "friends": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}},
        "secret": {"type": "string", "writeOnly": True},
        "strict": {"type": "object", "additionalProperties": False},
    },
}
PETS = {
    "type": "object",
    "properties": {"pets": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}},
}


def verdict(
    answer: Answer, content: dict[str, Any] | None = None, method: str = "get", **response: Any
) -> Outcome:
    documented = content if content is not None else {"application/json": {"schema": PETS}}
    responses = {"200": {"description": "", "content": documented, **response}}
    tree = {
        "paths": {"/{a}~1": {method: {"responses": responses, "parameters": [
            {"name": "a", "in": "path", "required": True, "example": 1}]}}},
        "components": {"schemas": {"Pet": PET}},
    }  # fmt: skip
    document = Document(Path("api.yaml"), tree)
    return judge(document, plan(document, operations(document), "http://127.0.0.1:1")[0], answer)


def pet(**fields: Any) -> Answer:
    body = json.dumps({"pets": [{"age": 3, **fields}]}).encode()
    return Answer(200, "application/json; charset=utf-8", body=body)


def test_a_good_answer_says_what_was_checked() -> None:
    good = pet(
        born="2024-02-29T10:00:00.5+01:00",
        id="3fa85f64-5717-4562-b3fc-2c963f66afa6",
        mail="a@b.c",
        home="https://example.com/",
        price=19.99,
        friends=[{"age": 1}],
        undocumented="is no error",
    )
    assert verdict(good) == Outcome(True, "", ("status", "type", "schema"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (pet(age="x"), "$.pets[0].age: 'x' is not of type 'integer'"),
        (pet(age=2**31), "$.pets[0].age: 2147483648 is not a 'int32'"),
        (pet(born="yesterday"), "$.pets[0].born: 'yesterday' is not a 'date-time'"),
        (pet(born="2023-02-29T10:00:00Z"), "$.pets[0].born: '2023-02-29T10:00:00Z' is not a"),
        (pet(id="1"), "$.pets[0].id: '1' is not a 'uuid'"),
        (pet(mail="nobody"), "$.pets[0].mail: 'nobody' is not a 'email'"),
        (pet(home="not a uri"), "$.pets[0].home: 'not a uri' is not a 'uri'"),
        (pet(price=0.015), "$.pets[0].price: 0.015 is not a multiple of 0.01"),
        (pet(strict={"b": 1}), "$.pets[0].strict: Additional properties are not allowed"),
        (pet(friends=[{}]), "$.pets[0].friends[0]: 'age' is a required property"),
        (pet(age="x", id="1"), "(and 1 more)"),
        (Answer(500, body=b"broken\n pipe"), "status 500, expected 200: broken pipe"),
        (Answer(0, exit_code=52, error="curl: (52) Empty reply"), "curl: (52) Empty reply"),
        (Answer(200, "text/html"), "content type text/html, documented: application/json"),
        (Answer(200), "content type missing, documented: application/json"),
        (Answer(200, "application/json"), "the body is empty"),
        (Answer(200, "application/json", body=b"{"), "the body is not JSON"),
        (Answer(200, "application/json", body=b'{"a": NaN}'), "NaN is no JSON"),
    ],
)
def test_a_wrong_answer_is_named(answer: Answer, reason: str) -> None:
    outcome = verdict(answer)
    assert not outcome.ok
    assert reason in outcome.reason


def test_the_first_of_several_errors_is_named() -> None:
    body = json.dumps({"pets": [{"age": 1}, {"age": "x"}, {"age": "y"}]}).encode()
    reason = verdict(Answer(200, "application/json", body=body)).reason
    assert reason == "$.pets[1].age: 'x' is not of type 'integer' (and 1 more)"


def test_charsets_are_compared_when_both_are_named() -> None:
    latin: dict[str, Any] = {"text/plain; charset=latin-1": {}}
    assert verdict(Answer(200, "text/plain"), latin).ok
    assert verdict(Answer(200, "TEXT/plain; charset=Latin-1"), latin).ok
    wrong = verdict(Answer(200, "text/plain; charset=utf-8"), latin)
    assert wrong.reason == "charset utf-8, documented: latin-1"


def test_text_is_validated() -> None:
    content = {"text/*": {"schema": {"type": "string", "pattern": "^v"}}}
    assert verdict(Answer(200, "text/plain", body=b"v1"), content).ok
    assert "does not match" in verdict(Answer(200, "text/plain", body=b"1"), content).reason
    assert "is not utf-8" in verdict(Answer(200, "text/plain", body=b"\xff"), content).reason


def test_required_headers_are_looked_for() -> None:
    headers = {"Location": {"required": True}, "ETag": {}}
    assert verdict(Answer(200, headers={"location": "/a"}), {}, headers=headers).ok
    assert "header Location" in verdict(Answer(200), {}, headers=headers).reason


def test_events_must_arrive_and_may_go_on() -> None:
    content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
    endless = Answer(200, "text/event-stream", body=b"id: 1\ndata: x\n\n", exit_code=28)
    assert verdict(endless, content).checked == ("status", "type", "events")
    assert "no event" in verdict(Answer(200, "text/event-stream", body=b": hi\n"), content).reason


def test_head_has_no_body_to_check() -> None:
    assert verdict(Answer(200, "application/json", body=b"HTTP/1.1"), method="head").ok
    assert "content type" in verdict(Answer(200, "text/html"), method="head").reason
