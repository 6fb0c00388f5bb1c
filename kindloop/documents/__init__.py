"""The documents that --json prints, each with a version and a JSON Schema.

A document has `schema`, its version. A field may be added at any time; the version rises when one
goes, is renamed or changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from kindloop.documents import events, looking, shapes
from kindloop.documents.deriving import described, object_of
from kindloop.documents.events import DATA, KINDS
from kindloop.errors import ConfigError

__all__ = ["DATA", "DOCUMENTS", "KINDS", "Document", "named", "schema_of"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Document:
    """A document: the class that has its fields."""

    shape: type

    @property
    def version(self) -> int:
        """What stands in its field `schema`."""
        version: int = get_args(get_type_hints(self.shape)["schema"])[0]
        return version

    @property
    def text(self) -> str:
        """What it is, in a sentence."""
        return described(self.shape)


DOCUMENTS: Mapping[str, Document] = MappingProxyType(
    {
        name: Document(shape)
        for name, shape in {
            "bake": shapes.Bake,
            "bundle": looking.Bundle,
            "check": shapes.Check,
            "cluster": shapes.Cluster,
            "curl": shapes.Curl,
            "diff": shapes.Diff,
            "doctor": shapes.Doctor,
            "error": events.Error,
            "event": events.Event,
            "fresh": shapes.FreshAll,
            "line": looking.LogLine,
            "list": shapes.Environments,
            "load": shapes.LoadRun,
            "outdated": looking.Outdated,
            "pages": shapes.Pages,
            "plan": shapes.Plan,
            "settings": shapes.Settings,
            "stages": shapes.Stages,
            "status": shapes.Status,
            "swap": shapes.Swap,
        }.items()
    }
)


def named(name: str) -> Document:
    """The document of this name. Raises ConfigError."""
    if name not in DOCUMENTS:
        raise ConfigError(
            f"there is no document {name}",
            why=f"there are: {', '.join(DOCUMENTS)}",
            hint="invoke config.schema --of status",
        )
    return DOCUMENTS[name]


def schema_of(name: str, *, strict: bool = False) -> dict[str, Any]:
    """The JSON Schema of a document; of a line, for events. Raises ConfigError as `named`.

    With `strict` it refuses fields that it does not know, as the tests want it: whoever reads a
    document must not.
    """
    document = named(name)
    made = object_of(document.shape, strict=strict)
    if name == "event":
        made["allOf"] = [_with_data(kind, shape, strict=strict) for kind, shape in DATA.items()]
    return {"$schema": DRAFT, "title": f"kindloop {name}, version {document.version}", **made}


def _with_data(kind: str, shape: type, *, strict: bool) -> dict[str, Any]:
    data = object_of(shape, strict=strict)
    return {
        "if": {"properties": {"kind": {"const": kind}}},
        "then": {"properties": {"data": data}, "required": ["data"]},
    }
