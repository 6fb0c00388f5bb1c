"""The settings of kindloop.yaml as rows of a table, from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kindloop import schema
from kindloop.config import DEFAULT_PORTS, NODE_PORTS

__all__ = ["ports", "rows"]

DEFAULTS: Mapping[str, str] = {
    "app.root": "folder of the file",
    "cluster.config": "the one that kindloop ships",
    "cluster.ports": "[ports](#ports)",
    "stack": "the one that kindloop ships",
    "workloads.<name>.swap.args": "those of the container",
}
"""Defaults that are no plain value."""
_RELATIVE = " Relative to this file; ${NAME} is that variable of the environment."


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Each setting: name, type, default and meaning."""
    found = list(_below(schema.document(), ""))
    yield from sorted(found, key=lambda row: row[0] != "version")  # as a file begins


def ports() -> Iterator[tuple[str, int, int]]:
    """Each port: name, host port and NodePort."""
    for name, port in DEFAULT_PORTS.items():
        yield name, port, NODE_PORTS[name]


def _below(node: Mapping[str, Any], at: str) -> Iterator[tuple[str, str, str, str]]:
    required = node.get("required", ())
    for name, each in node.get("properties", {}).items():
        path = f"{at}{name}"
        inner = _inner(each)
        named = _named(inner)
        if not named:
            default = _default(path, each, required=name in required)
            yield path, _kind(each), default, _text(path, each)
        if path == "cluster.ports":
            continue
        if "properties" in inner:
            yield from _below(inner, f"{path}.")
        elif "properties" in inner.get("items", {}):
            yield from _below(inner["items"], f"{path}[].")
        elif named:
            text = f"{named.get('description', '')} The name is yours."
            yield f"{path}.<name>", "section", "none", text
            yield from _below(named, f"{path}.<name>.")


def _named(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section that each name of a mapping has; empty where it has none."""
    each = node.get("additionalProperties")
    return each if isinstance(each, Mapping) and "properties" in each else {}


def _inner(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, or what stands in it beside `off`."""
    inner: Mapping[str, Any] = node["anyOf"][-1] if "anyOf" in node else node
    return inner


def _text(path: str, node: Mapping[str, Any]) -> str:
    if path == "version":
        return "The version of the file's format."
    text = str(node.get("description") or _inner(node).get("items", {}).get("description", ""))
    return text.replace(_RELATIVE, " A path.")


def _kind(node: Mapping[str, Any]) -> str:
    inner = _inner(node)
    off = ", or `off`" if "anyOf" in node else ""
    if "enum" in inner:
        return ", ".join(f"`{each}`" for each in inner["enum"]) + off
    match inner.get("type"):
        case "object":
            free = isinstance(inner.get("additionalProperties"), Mapping)
            return ("mapping" if free else "section") + off
        case "array":
            return "list" + off
        case "boolean":
            return "`true`, `false`" + off
        case "integer" | "number" as kind:
            return _number(kind, inner) + off
    return "text" + off


def _number(kind: str, node: Mapping[str, Any]) -> str:
    word = "whole number" if kind == "integer" else "number"
    least, most = node.get("minimum"), node.get("maximum")
    if least is None:
        return word
    return f"{word}, at least {least}" if most is None else f"{word}, {least} to {most}"


def _default(path: str, node: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    if path in DEFAULTS:
        return DEFAULTS[path]
    if "default" not in node:
        return "none"
    value = node["default"]
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"
