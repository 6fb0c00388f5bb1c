"""Values as text in a request: the styles of parameters, the media types of bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from kindloop.verify.examples import Find, NoExampleError, folded
from kindloop.verify.openapi import Media, Parameter

__all__ = [
    "Part",
    "Payload",
    "cookies",
    "header",
    "is_json",
    "media_name",
    "path",
    "payload",
    "query",
]

_QUERY_SEPARATORS = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}


@dataclass(frozen=True)
class Part:
    """One part of a multipart body; `filename` is empty for what is not a file."""

    name: str
    value: str
    media_type: str = ""
    filename: str = ""


@dataclass(frozen=True)
class Payload:
    """A request body: text as it is sent, or parts."""

    media_type: str
    text: str = ""
    parts: tuple[Part, ...] = ()


def media_name(media_type: str) -> str:
    """The media type without parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether bodies of this media type are JSON."""
    name = media_name(media_type)
    return name == "application/json" or name.endswith("+json")


def path(parameter: Parameter, value: Any) -> str:
    """The text of a path parameter, percent-encoded, with the punctuation of its style."""
    name = quote(parameter.name, safe="")
    prefix, separator = {"simple": ("", ","), "label": (".", "."), "matrix": (";", ";")}[
        parameter.style
    ]
    if parameter.explode and isinstance(value, dict):
        return prefix + separator.join(f"{k}={v}" for k, v in _pairs(value))
    if parameter.style == "matrix":
        if parameter.explode and isinstance(value, list):
            return "".join(f";{name}={item}" for item in _flat(value))
        return f";{name}=" + ",".join(_flat(value))
    return prefix + (separator if parameter.explode else ",").join(_flat(value))


def query(parameter: Parameter, value: Any) -> list[str]:
    """The `name=value` texts of a query parameter, percent-encoded."""
    safe = ":/?@!$'()*,;" if parameter.allow_reserved else ""
    name = quote(parameter.name, safe="")
    if parameter.media:
        return [f"{name}={quote(scalar(value), safe=safe)}"]
    if parameter.style == "deepObject":
        if not isinstance(value, dict):
            raise NoExampleError(f"the parameter `{parameter.name}`: deepObject needs an object")
        return [f"{name}%5B{k}%5D={v}" for k, v in _pairs(value, safe)]
    if parameter.explode and isinstance(value, dict):
        return [f"{k}={v}" for k, v in _pairs(value, safe)]
    if parameter.explode and isinstance(value, list):
        return [f"{name}={item}" for item in _flat(value, safe)]
    return [f"{name}=" + _QUERY_SEPARATORS[parameter.style].join(_flat(value, safe))]


def header(parameter: Parameter, value: Any) -> str:
    """The value of a header parameter; headers are not percent-encoded."""
    if parameter.media:
        return scalar(value)
    if isinstance(value, dict):
        joint = "=" if parameter.explode else ","
        return ",".join(f"{k}{joint}{scalar(v)}" for k, v in value.items())
    return ",".join(scalar(item) for item in value) if isinstance(value, list) else scalar(value)


def cookies(parameter: Parameter, value: Any) -> list[str]:
    """The `name=value` texts of a cookie parameter."""
    return query(parameter, value)


def payload(media: Media, value: Any, find: Find) -> Payload | None:
    """The body for `value`; None when this media type cannot be written from it."""
    name = media_name(media.media_type)
    if is_json(name):
        return Payload(media.media_type, json.dumps(value, ensure_ascii=False))
    if name == "application/x-www-form-urlencoded" and isinstance(value, dict):
        fields = {k: v if isinstance(v, list) else [v] for k, v in value.items()}
        pairs = [(k, scalar(item)) for k, items in fields.items() for item in items]
        return Payload(media.media_type, urlencode(pairs))
    if name == "multipart/form-data" and isinstance(value, dict):
        return Payload(media.media_type, parts=_parts(media, value, find))
    if name.startswith("text/"):
        return Payload(media.media_type, scalar(value))
    return Payload(media.media_type, value) if isinstance(value, str) else None


def scalar(value: Any) -> str:
    """A single value as text; what has parts of its own as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pairs(value: Mapping[str, Any], safe: str = "") -> list[tuple[str, str]]:
    return [(quote(k, safe=""), quote(scalar(v), safe=safe)) for k, v in value.items()]


def _flat(value: Any, safe: str = "") -> list[str]:
    if isinstance(value, dict):
        return [text for pair in _pairs(value, safe) for text in pair]
    items = value if isinstance(value, list) else [value]
    return [quote(scalar(item), safe=safe) for item in items]


def _parts(media: Media, value: Mapping[str, Any], find: Find) -> tuple[Part, ...]:
    properties = folded(media.schema.value, find).get("properties", {}) if media.schema else {}
    result = []
    for name, content in value.items():
        schema = folded(properties.get(name), find)
        schema = folded(schema.get("items"), find) if isinstance(content, list) else schema
        media_type = str((media.encoding or {}).get(name, {}).get("contentType", ""))
        media_type = media_type.partition(",")[0].strip()
        items = content if isinstance(content, list) else [content]
        result += [_part(name, item, schema, media_type) for item in items]
    return tuple(result)


def _part(name: str, value: Any, schema: Mapping[str, Any], media_type: str) -> Part:
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        media_type = media_type or schema.get("contentMediaType", "application/octet-stream")
        return Part(name, scalar(value), media_type, f"{name}.bin")
    if isinstance(value, dict | list):
        media_type = media_type or "application/json"
    return Part(name, scalar(value), media_type)
