"""A value for a schema: the author's own when there is one, else the simplest that fits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from kindloop.verify.pattern import matching

__all__ = ["Find", "NoExampleError", "chosen", "example", "folded"]

Find = Callable[[str], Any]
"""What a `$ref` leads to."""

_TEXTS = {
    "date-time": "2024-01-02T03:04:05Z",
    "date": "2024-01-02",
    "time": "03:04:05Z",
    "duration": "PT1S",
    "uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "email": "user@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "byte": "a2luZGxvb3A=",
}
_DEEPEST = 20
_DEEP = 3
"""From this depth on lists stay empty where they may, so that trees end."""
_OWN_VALUES = ("example", "examples", "default")


class NoExampleError(Exception):
    """No value can be derived; the text says for which part and why."""


def example(schema: Any, find: Find, *, where: str = "$") -> Any:
    """A value that fits `schema`, without properties that only a response has.

    In this order: `example`, `examples`, `default`, `const`, the first of `enum`, else made from
    type, format and bounds, objects with their required properties. Raises NoExampleError.
    """
    return _value(schema, find, where, 0)


def chosen(schema: Any, find: Find) -> tuple[Any, ...]:
    """The examples that the author wrote in the schema itself, best first; empty when none."""
    merged = folded(schema, find)
    single = (merged["example"],) if "example" in merged else ()
    listed = merged.get("examples")
    return single + (tuple(listed) if isinstance(listed, list) else ())


def folded(schema: Any, find: Find) -> dict[str, Any]:
    """The schema with `$ref`, `allOf` and the first of `oneOf` and `anyOf` folded into it."""
    return _merged(schema, find, "$", 0)


def _value(schema: Any, find: Find, where: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise NoExampleError(f"{where}: the schema requires itself without end")
    if schema is False:
        raise NoExampleError(f"{where}: the schema allows no value")
    merged = _merged(schema, find, where, depth)
    written = chosen(merged, find)
    if written:
        return written[0]
    for key in ("default", "const"):
        if key in merged:
            return merged[key]
    if merged.get("enum"):
        return merged["enum"][0]
    return _made(merged, find, where, depth)


def _merged(schema: Any, find: Find, where: str, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise NoExampleError(f"{where}: the schema refers to itself without end")
    if not isinstance(schema, dict):
        return {}
    result: dict[str, Any] = {}
    parts = [find(schema["$ref"])] if "$ref" in schema else []
    parts += schema.get("allOf", [])
    for key in ("oneOf", "anyOf"):
        parts += [p for p in schema.get(key, []) if p != {"type": "null"}][:1]
    own = {k: v for k, v in schema.items() if k not in ("$ref", "allOf", "oneOf", "anyOf")}
    merged = [_merged(part, find, where, depth + 1) for part in parts]
    if len(merged) > 1 or own.keys() & {"properties", "required"}:
        # An example of a part is none of the whole.
        merged = [{k: v for k, v in part.items() if k not in _OWN_VALUES} for part in merged]
    for part in [*merged, own]:
        properties = {**result.get("properties", {}), **part.get("properties", {})}
        required = [*result.get("required", []), *part.get("required", [])]
        result.update(part)
        result.update({"properties": properties} if properties else {})
        result.update({"required": list(dict.fromkeys(required))} if required else {})
    return result


def _made(schema: dict[str, Any], find: Find, where: str, depth: int) -> Any:
    kind = _type(schema)
    if kind in ("boolean", "null"):
        return True if kind == "boolean" else None
    if kind in ("integer", "number"):
        return _number(schema, where, whole=kind == "integer")
    if kind in ("object", "array"):
        make = _object if kind == "object" else _array
        return make(schema, find, where, depth)
    return _text(schema, where)


def _type(schema: dict[str, Any]) -> str:
    named = schema.get("type")
    if isinstance(named, str):
        return named
    if isinstance(named, list) and named:
        return str(next((name for name in named if name != "null"), "null"))
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _object(schema: dict[str, Any], find: Find, where: str, depth: int) -> Any:
    properties = schema.get("properties", {})
    names = list(schema.get("required", []))
    optional = [name for name in properties if name not in names]
    names += optional[: max(0, schema.get("minProperties", 0) - len(names))]
    result = {}
    for name in names:
        part = properties.get(name, schema.get("additionalProperties", True))
        if not _merged(part, find, where, depth + 1).get("readOnly"):
            result[name] = _value(part, find, f"{where}.{name}", depth + 1)
    return result


def _array(schema: dict[str, Any], find: Find, where: str, depth: int) -> Any:
    first = [
        _value(part, find, f"{where}[{index}]", depth + 1)
        for index, part in enumerate(schema.get("prefixItems", []))
    ]
    wanted = min(1, schema.get("maxItems", 1)) if depth < _DEEP else 0
    count = max(schema.get("minItems", 0), wanted) - len(first)
    if count <= 0:
        return first
    items = schema.get("items", True)
    rest = [_value(items, find, f"{where}[{len(first)}]", depth + 1)] * count
    if schema.get("uniqueItems") and count > 1:
        rest = _distinct(_merged(items, find, where, depth), rest, where)
    return first + rest


def _distinct(items: dict[str, Any], values: Sequence[Any], where: str) -> list[Any]:
    allowed = items.get("enum") or [*chosen(items, lambda _: {})]
    if len(allowed) >= len(values):
        return list(allowed[: len(values)])
    if isinstance(values[0], int) and not items.get("enum"):
        step = items.get("multipleOf", 1)
        return [values[0] + step * index for index in range(len(values))]
    if isinstance(values[0], str) and not items.keys() & {"enum", "format", "pattern"}:
        return [f"{values[0]}{index or ''}" for index in range(len(values))]
    raise NoExampleError(f"{where}: {len(values)} different items are needed; write an `example`")


def _number(schema: dict[str, Any], where: str, *, whole: bool) -> int | float:
    low = schema.get("exclusiveMinimum", schema.get("minimum", -math.inf))
    high = schema.get("exclusiveMaximum", schema.get("maximum", math.inf))
    step = schema.get("multipleOf", 1 if whole or high - low > 1 else (high - low) / 2 or 1)
    # 1 where it is allowed, else the bound that is nearest to it.
    near = math.ceil(low / step) if low > 1 else math.floor(min(high, 1) / step)
    for count in (math.ceil(1 / step), near, near + 1, near - 1):
        value = round(count * step, 12)
        inside = low <= value <= high
        if inside and value not in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")):
            return int(value) if whole else value
    if low == high:
        return int(low) if whole else float(low)
    raise NoExampleError(f"{where}: no number fits its bounds; write an `example`")


def _text(schema: dict[str, Any], where: str) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    pattern = schema.get("pattern")
    if pattern is not None:
        # Better not empty: a path parameter cannot be.
        text = matching(pattern, lambda found: max(least, 1) <= len(found) <= most)
        text = text or matching(pattern, lambda found: least <= len(found) <= most)
        if text is None:
            raise NoExampleError(
                f"{where}: no text for the pattern {json.dumps(pattern)}; write an `example`"
            )
        return text
    known = _TEXTS.get(schema.get("format", ""))
    if known is not None and least <= len(known) <= most:
        return known
    text = "example".ljust(least, "x")
    return text if len(text) <= most else text[: int(most)]
