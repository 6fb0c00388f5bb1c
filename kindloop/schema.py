"""The JSON Schema of kindloop.yaml, for editors: from the dataclasses that it is read into.

What a value must be besides its type, and what it refers to, is for `config.check`. It is a
schema of YAML 1.2, where `off` is text and only true and false are truth values, as `loading`
reads it; draft 7, which every editor knows.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kindloop._checks import range_of
from kindloop._yaml import Keys
from kindloop.described import field_text
from kindloop.loading import FILE_KEYS, File

__all__ = ["document"]

DRAFT = "http://json-schema.org/draft-07/schema#"
TEXT: Mapping[str, Any] = {"type": ["string", "number", "boolean"]}
"""What stands without quotes is text too where text is wanted: `1.10`, `true`."""
OFF: Mapping[str, Any] = {"enum": ["off", None]}
"""How a setting that may be off is switched off."""
_NONE = re.compile(r"\bNone(?: \(`off` in the file\))?")
"""What stands for `off` in the code."""
_ABSOLUTE = re.compile(r" ?\(absolute(?: (\w+))?\)")


def document() -> dict[str, Any]:
    """The schema of the whole file."""
    return {
        "$schema": DRAFT,
        "title": "kindloop.yaml",
        **_object(File, (), without={"path"}),
    }


def _object(kind: Any, keys: Keys, *, without: set[str]) -> dict[str, Any]:
    """A dataclass; `without` has the fields that do not stand in the file."""
    own = [each for each in fields(kind) if each.name not in without]
    hints = get_type_hints(kind)
    names = {each.name: FILE_KEYS.get((kind, each.name), each.name) for each in own}
    required = [names[each.name] for each in own if each.default is each.default_factory is MISSING]
    properties = {
        names[each.name]: _property(kind, each, hints[each.name], (*keys, names[each.name]))
        for each in own
    }
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _property(owner: Any, one: Field[Any], kind: Any, keys: Keys) -> dict[str, Any]:
    made = _of(kind, keys)
    default = _default(one)
    if isinstance(default, Mapping) and get_origin(kind) is Mapping and default:
        # A mapping with a default has that one's keys and no other.
        each = made["additionalProperties"]
        known = {name: {**each, "default": value} for name, value in default.items()}
        made = {**made, "properties": known, "additionalProperties": False}
    elif isinstance(default, str | int | float | tuple) and default not in ("", ()):
        made["default"] = list(default) if isinstance(default, tuple) else default
    text = _described(owner, one.name)
    return {**made, "description": text} if text else made


def _of(kind: Any, keys: Keys) -> dict[str, Any]:
    """A value of this type, at this place."""
    if NoneType in get_args(kind):
        inner = next(each for each in get_args(kind) if each is not NoneType)
        return {"anyOf": [dict(OFF), _of(inner, keys)]}
    if is_dataclass(kind):
        named = bool(keys) and keys[-1] == "*" and any(f.name == "name" for f in fields(kind))
        made = _object(kind, keys, without={"name"} if named else set())
        text = inspect.cleandoc(kind.__doc__ or "")
        return {"description": " ".join(text.split()), **made}
    if get_origin(kind) is Mapping:
        return {"type": "object", "additionalProperties": _of(get_args(kind)[1], (*keys, "*"))}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _of(get_args(kind)[0], (*keys, 0))}
    return _leaf(kind, keys)


def _leaf(kind: Any, keys: Keys) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if kind is bool:
        return {"type": "boolean"}
    if kind in (int, float):
        least, most = range_of(keys)
        limits = {"minimum": least, "maximum": most}
        known = {name: limit for name, limit in limits.items() if limit is not None}
        return {"type": "integer" if kind is int else "number", **known}
    return dict(TEXT)


def _default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return None if one.default is MISSING else one.default


def _described(owner: Any, name: str) -> str:
    """The text below the field in `config`, whichever class declares it."""
    text = _NONE.sub("`off`", field_text(owner, name))
    kind = get_type_hints(owner)[name]
    if kind is Path or Path in get_args(kind):
        # There they are absolute; in the file they are as the user writes them.
        plain = _ABSOLUTE.sub(lambda m: f" ({m[1]})" if m[1] else "", text)
        text = f"{plain} Relative to this file; ${{NAME}} is that variable of the environment."
    return text
