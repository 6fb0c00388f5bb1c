"""Values for schemas: the author's first, else the simplest; each is held against its schema."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kindloop.verify.examples import NoExampleError, example
from kindloop.verify.pattern import matching

SCHEMAS: dict[str, Any] = {
    "Tree": {
        "type": "object",
        "required": ["children"],
        "properties": {"children": {"type": "array", "items": {"$ref": "Tree"}}},
    },
    "Endless": {
        "type": "object",
        "required": ["next"],
        "properties": {"next": {"$ref": "Endless"}},
    },
    "Named": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    "Loop": {"$ref": "Loop"},
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "example": "a", "default": "b", "enum": ["c"]}, "a"),
        ({"type": "string", "examples": ["e"], "default": "b"}, "e"),
        ({"type": "string", "default": "b", "enum": ["c"]}, "b"),
        ({"const": 7}, 7),
        ({"enum": ["c", "d"]}, "c"),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "null"}, None),
        ({"type": "string", "minLength": 9}, "examplexx"),
        ({"type": "string", "maxLength": 2}, "ex"),
        ({"type": "string", "format": "uuid"}, "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
        ({"type": "string", "pattern": "^a*$"}, "a"),
        ({"type": "string", "pattern": "^$"}, ""),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "minimum": 10, "multipleOf": 4}, 12),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, []),
        (
            {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True},
            ["a", "b"],
        ),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
            [1, 2, 3],
        ),
        ({"oneOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        ({"$ref": "Named"}, {"name": "example"}),
        (
            {"allOf": [{"$ref": "Named"}, {"required": ["n"], "properties": {"n": {"const": 2}}}]},
            {"name": "example", "n": 2},
        ),
        ({"properties": {"optional": {"type": "string"}}}, {}),
        (
            {"required": ["id", "n"], "properties": {"id": {"readOnly": True}, "n": {"const": 1}}},
            {"n": 1},
        ),
    ],
)
def test_the_value(schema: dict[str, Any], value: Any) -> None:
    assert example(schema, SCHEMAS.__getitem__) == value


def test_an_example_of_a_part_is_none_of_the_whole() -> None:
    base = {**SCHEMAS["Named"], "example": {"name": "Bella"}}
    more = {"required": ["age"], "properties": {"age": {"type": "integer"}}}
    assert example({"allOf": [base, more]}, SCHEMAS.__getitem__) == {"name": "example", "age": 1}
    assert example({"allOf": [base]}, SCHEMAS.__getitem__) == {"name": "Bella"}


def test_a_tree_ends() -> None:
    value = example({"$ref": "Tree"}, SCHEMAS.__getitem__)
    assert value["children"][0]["children"][-1:] != [value]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "Endless"}, "without end"),
        ({"$ref": "Loop"}, "without end"),
        (False, "allows no value"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number fits"),
        ({"required": ["x"], "properties": {"x": {"pattern": "(?=a)b"}}}, r"^\$.x: no text for"),
    ],
)
def test_what_cannot_be_derived_is_named(schema: Any, said: str) -> None:
    with pytest.raises(NoExampleError, match=said):
        example(schema, SCHEMAS.__getitem__)


@pytest.mark.parametrize("step", [1, 2, 0.25, 0.01])
@pytest.mark.parametrize(("low", "high"), [(0, 10), (0.5, 2.5), (-3, -1), (100, 1000)])
def test_numbers_fit_their_bounds(low: float, high: float, step: float) -> None:
    schema = {"type": "number", "minimum": low, "maximum": high, "multipleOf": step}
    value = example(schema, SCHEMAS.__getitem__)
    assert low <= value <= high
    assert value / step == pytest.approx(round(value / step))


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z]{3}-\d{4}$",
        r"^(cat|dog)s?$",
        r"^[A-Z][a-z]+( [A-Z][a-z]*)*$",
        r"^\+\d{2,3} [0-9 ]{5,}$",
        r"^(?:v)?[^0-9]\.[\w.-]+@x$",
        r"^[-a]{2}[]x]$",
        r"^.{1,5}$",
    ],
)
def test_patterns_are_matched(pattern: str) -> None:
    text = matching(pattern)
    assert text is not None
    assert Draft202012Validator({"pattern": pattern}).is_valid(text)


def test_a_pattern_with_a_length() -> None:
    text = example(
        {"type": "string", "pattern": "^[a-f0-9]+$", "minLength": 8}, SCHEMAS.__getitem__
    )
    assert len(text) >= 8
    assert matching("^a{2}$", lambda found: len(found) > 2) is None
