"""A JSON Schema from the fields of a class: a dataclass or a TypedDict."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

from kindloop.described import field_text

__all__ = ["described", "object_of", "rows_of"]

LEAVES: Mapping[Any, Mapping[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
    NoneType: {"type": "null"},
    Any: {},
}
LISTS = (list, tuple, Sequence)


def object_of(shape: Any, *, strict: bool) -> dict[str, Any]:
    """The schema of an object with the fields of `shape`."""
    hints = _fields(shape)
    return {
        "type": "object",
        "description": described(shape),
        **({"additionalProperties": False} if strict else {}),
        "required": [name for name, kind in hints.items() if get_origin(kind) is not NotRequired],
        "properties": {
            name: _property(shape, name, kind, strict=strict) for name, kind in hints.items()
        },
    }


def rows_of(schema: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str, str]]:
    """Every field below an object: path, type and text; `[]` stands for an item, `.*` for a key."""
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        path = f"{at}{name}"
        kind = _words(each) + ("" if name in required else ", may be missing")
        yield path, kind, each.get("description") or _inner_text(each)
        yield from _below(each, path)


def _below(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    if "properties" in schema:
        yield from rows_of(schema, f"{path}.")
    elif "items" in schema:
        yield from _below(schema["items"], f"{path}[]")
    elif isinstance(each := schema.get("additionalProperties"), Mapping):
        yield from _below(each, f"{path}.*")
    for one in schema.get("anyOf", ()):
        yield from _below(one, path)


def _inner_text(schema: Mapping[str, Any]) -> str:
    """What the items of a list, or the object in a choice, say of themselves."""
    inner = [schema.get("items", {}), *schema.get("anyOf", ())]
    return "; ".join(each["description"] for each in inner if "description" in each)


def _words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_words(one) for one in schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return "one of " + ", ".join(
            f"`{each}`" if each != "" else "empty" for each in schema["enum"]
        )
    if schema.get("type") == "array":
        return f"list of {_words(schema['items'])}"
    return str(schema.get("type", "any"))


def _fields(shape: Any) -> dict[str, Any]:
    hints = get_type_hints(shape, include_extras=True)
    return {f.name: hints[f.name] for f in fields(shape)} if is_dataclass(shape) else hints


def described(shape: Any) -> str:
    """What stands below the head of a class, in one line."""
    return " ".join((shape.__doc__ or "").split())


def _property(shape: Any, name: str, kind: Any, *, strict: bool) -> dict[str, Any]:
    inner = get_args(kind)[0] if get_origin(kind) is NotRequired else kind
    made = _of(inner, strict=strict)
    text = field_text(shape, name)
    return {**made, "description": text} if text else made


def _of(kind: Any, *, strict: bool) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return {"anyOf": [_of(each, strict=strict) for each in inner]}
    if origin is Literal:
        return {"const": inner[0]} if len(inner) == 1 else {"enum": list(inner)}
    if origin in LISTS:
        return {"type": "array", "items": _of(inner[0], strict=strict)}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1], strict=strict)}
    if kind in LEAVES:
        return dict(LEAVES[kind])
    return object_of(kind, strict=strict)
