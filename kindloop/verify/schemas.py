"""Validation of what a response holds against the schemas of the document."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from kindloop.verify.document import Document, rewrite
from kindloop.verify.openapi import Schema

__all__ = ["problem"]

_URI = "urn:kindloop:openapi"
_FORMATS = FormatChecker(formats=("date", "email", "ipv4", "ipv6", "uuid"))
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def problem(document: Document, schema: Schema, value: Any) -> str:
    """What in `value` does not fit, with its place and how many more there are; empty when it fits.

    Properties that only a request has (`writeOnly`) are not required here.
    """
    validator = _Validator(
        {"$ref": f"{_URI}#{quote(schema.pointer, safe='/~')}"},
        registry=_registry(document),
        format_checker=_FORMATS,
    )
    errors = list(validator.iter_errors(value))
    first = best_match(errors[:1])  # of alternatives (`oneOf`) the error that is nearest
    if first is None:
        return ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.json_path}: {_short(first.message)}{more}"


@lru_cache(maxsize=4)
def _registry(document: Document) -> Registry[Any]:
    tree = rewrite(document.tree, lambda node: _as_response(document, node))
    registry: Registry[Any] = Registry()
    result: Registry[Any] = registry.with_resource(_URI, DRAFT202012.create_resource(tree))
    return result


def _as_response(document: Document, node: dict[str, Any]) -> dict[str, Any]:
    properties, required = node.get("properties"), node.get("required")
    if isinstance(properties, dict) and isinstance(required, list):
        hidden = {n for n, part in properties.items() if _write_only(document, part)}
        node["required"] = [name for name in required if name not in hidden]
    return node


def _write_only(document: Document, schema: Any) -> bool:
    for _ in range(20):
        if not isinstance(schema, dict) or "$ref" not in schema:
            break
        if schema.get("writeOnly") is True:
            return True
        schema = document.find(schema["$ref"])
    return isinstance(schema, dict) and schema.get("writeOnly") is True


def _multiple_of(validator: Any, step: Any, instance: Any, _schema: Any) -> Any:
    # jsonschema divides floats: 19.99 would be no multiple of 0.01.
    if validator.is_type(instance, "number") and Decimal(str(instance)) % Decimal(str(step)):
        yield ValidationError(f"{instance!r} is not a multiple of {step}")


_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"multipleOf": _multiple_of}
)


@_FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    if not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


@_FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        return bool(urlsplit(value).scheme) and not re.search(r"[\s<>\"{}|\\^`]", value)
    except ValueError:
        return False


@_FORMATS.checks("int32")
def _is_int32(value: object) -> bool:
    return not isinstance(value, int) or -(2**31) <= value < 2**31


@_FORMATS.checks("int64")
def _is_int64(value: object) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]} … {text[-90:]}"
