"""Parameters and bodies as text: the table of styles of the OpenAPI specification."""

from __future__ import annotations

from typing import Any

import pytest

from kindloop.verify import serialise
from kindloop.verify.examples import NoExampleError
from kindloop.verify.openapi import Media, Parameter, Schema
from kindloop.verify.serialise import Part, Payload

LIST = ["blue", "black"]
OBJECT = {"R": 100, "G": 200}


def parameter(location: Any, style: str, explode: bool, **more: Any) -> Parameter:
    return Parameter("color", location, style, explode, True, Schema({}, ""), **more)


@pytest.mark.parametrize(
    ("style", "explode", "value", "text"),
    [
        ("simple", False, "a b/c", "a%20b%2Fc"),
        ("simple", False, LIST, "blue,black"),
        ("simple", True, LIST, "blue,black"),
        ("simple", False, OBJECT, "R,100,G,200"),
        ("simple", True, OBJECT, "R=100,G=200"),
        ("label", False, "blue", ".blue"),
        ("label", False, LIST, ".blue,black"),
        ("label", True, LIST, ".blue.black"),
        ("label", False, OBJECT, ".R,100,G,200"),
        ("label", True, OBJECT, ".R=100.G=200"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", True, "blue", ";color=blue"),
        ("matrix", False, LIST, ";color=blue,black"),
        ("matrix", True, LIST, ";color=blue;color=black"),
        ("matrix", False, OBJECT, ";color=R,100,G,200"),
        ("matrix", True, OBJECT, ";R=100;G=200"),
    ],
)
def test_path(style: str, explode: bool, value: Any, text: str) -> None:
    assert serialise.path(parameter("path", style, explode), value) == text


@pytest.mark.parametrize(
    ("style", "explode", "value", "texts"),
    [
        ("form", True, True, ["color=true"]),
        ("form", True, None, ["color="]),
        ("form", True, "a&b", ["color=a%26b"]),
        ("form", True, LIST, ["color=blue", "color=black"]),
        ("form", False, LIST, ["color=blue,black"]),
        ("form", True, OBJECT, ["R=100", "G=200"]),
        ("form", False, OBJECT, ["color=R,100,G,200"]),
        ("spaceDelimited", False, LIST, ["color=blue%20black"]),
        ("spaceDelimited", True, LIST, ["color=blue", "color=black"]),
        ("pipeDelimited", False, LIST, ["color=blue%7Cblack"]),
        ("pipeDelimited", False, OBJECT, ["color=R%7C100%7CG%7C200"]),
        ("deepObject", True, OBJECT, ["color%5BR%5D=100", "color%5BG%5D=200"]),
    ],
)
def test_query(style: str, explode: bool, value: Any, texts: list[str]) -> None:
    assert serialise.query(parameter("query", style, explode), value) == texts


def test_query_as_json_and_with_reserved_characters() -> None:
    as_json = parameter("query", "form", True, media="application/json")
    assert serialise.query(as_json, {"a": [1]}) == ["color=%7B%22a%22%3A%5B1%5D%7D"]
    reserved = parameter("query", "form", True, allow_reserved=True)
    assert serialise.query(reserved, "/a:b&c") == ["color=/a:b%26c"]


def test_deep_object_of_a_list_has_no_text() -> None:
    with pytest.raises(NoExampleError, match="`color`: deepObject needs an object"):
        serialise.query(parameter("query", "deepObject", True), LIST)


@pytest.mark.parametrize(
    ("explode", "value", "text"),
    [(False, "a b", "a b"), (False, LIST, "blue,black"), (True, OBJECT, "R=100,G=200")],
)
def test_header(explode: bool, value: Any, text: str) -> None:
    assert serialise.header(parameter("header", "simple", explode), value) == text


FORM = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "files": {"type": "array", "items": {"$ref": "Binary"}},
        "meta": {"type": "object"},
    },
}


@pytest.mark.parametrize(
    ("media_type", "value", "payload"),
    [
        ("application/vnd.x+json", {"ä": 1}, Payload("application/vnd.x+json", '{"ä": 1}')),
        (
            "application/x-www-form-urlencoded",
            {"a": "1 2", "b": [1, 2], "c": {"d": 1}},
            Payload("application/x-www-form-urlencoded", "a=1+2&b=1&b=2&c=%7B%22d%22%3A1%7D"),
        ),
        ("text/plain; charset=utf-8", 5, Payload("text/plain; charset=utf-8", "5")),
        ("application/octet-stream", "abc", Payload("application/octet-stream", "abc")),
        ("application/xml", {"a": 1}, None),
        (
            "multipart/form-data",
            {"file": "x", "files": ["a", "b"], "meta": {"k": 1}, "n": 3},
            Payload(
                "multipart/form-data",
                parts=(
                    Part("file", "x", "image/png", "file.bin"),
                    Part("files", "a", "application/octet-stream", "files.bin"),
                    Part("files", "b", "application/octet-stream", "files.bin"),
                    Part("meta", '{"k":1}', "application/json"),
                    Part("n", "3"),
                ),
            ),
        ),
    ],
)
def test_payload(media_type: str, value: Any, payload: Payload | None) -> None:
    encoding = {"file": {"contentType": "image/png, image/jpeg"}}
    media = Media(media_type, Schema(FORM, ""), encoding=encoding)
    assert serialise.payload(media, value, lambda _: FORM["properties"]["file"]) == payload  # type: ignore[index]
