"""Whether what --json prints is what its JSON Schema says, with no field that it does not know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jsonschema

from kindloop.documents import schema_of
from kindloop.reference import ALWAYS
from kindloop.tasks.reference import facts


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = schema_of(name, strict=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def valid(name: str, document: Any) -> Any:
    """The document, which must be as the schema of `name` says."""
    faults = [
        f"{fault.json_path}: {fault.message}" for fault in _validator(name).iter_errors(document)
    ]
    assert faults == [], f"{name}: {faults}\n{json.dumps(document, indent=1)[:4000]}"
    return document


def events(text: str) -> list[Any]:
    """The events of JSON lines, each as the schema says."""
    return [valid("event", json.loads(line)) for line in text.splitlines()]


@cache
def codes() -> dict[str, set[int]]:
    """The exit codes that each task says it can end with."""
    return {one.name: {*ALWAYS, *one.codes} for one in facts()}


def may_end(words: Sequence[str], code: int) -> None:
    """Fail when a task ended with an exit code that docs/REFERENCE.md does not have for it.

    What a signal ended is not asked, nor kubectl, whose exit codes are its own.
    """
    name = {"build": "build.all", "image": "image.build"}.get(words[0], words[0])
    name = "build.STAGE" if name.startswith("build.") and name != "build.all" else name
    if code >= 0 and name in codes() and name != "k8s.kubectl":
        assert code in codes()[name], f"{name} ended with {code}: is it in its `codes`?"


@cache
def documents() -> dict[str, tuple[str, ...]]:
    """The documents of each task that has --json."""
    return {one.name: one.documents for one in facts() if one.documents}


def said(name: str, text: str) -> Any:
    """What a task printed as its document `name`, and nothing else."""
    return valid(name, json.loads(text))


def failed(text: str, code: int) -> Any:
    """The error that a task printed as its only document; its exit code must be `code`."""
    error = said("error", text)["error"]
    assert error["exit_code"] == code
    return error
