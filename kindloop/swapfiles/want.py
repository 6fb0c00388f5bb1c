"""What is published to the pods of a workload: the content of want.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["VERSION", "Want", "is_digest", "remembered", "to_go_back_to"]

VERSION = 1
"""Of the protocol between host and supervisor; a supervisor refuses a newer one."""
REMEMBERED = 5
"""Published wants that the history keeps."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: Any) -> bool:
    """Whether it is a sha256 in hex, and so safe as a file name."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True)
class Want:
    """What the pods of a workload have to run: the content of want.json."""

    generation: int
    """Another one than the last is acted on."""
    digest: str
    """sha256 of the artifact, in hex."""
    size: int
    """Bytes of the artifact."""
    args: tuple[str, ...] | None
    """Its arguments; None takes those of the container."""
    env: Mapping[str, str]
    """Variables over those of the container."""
    grace_ms: int
    probation_ms: int
    rollback: bool
    tree: str | None
    """Digest of the synced files; None when there are none."""
    for_load: bool = False
    """Whether it runs for a load test only: nothing that one goes back to by hand."""

    def as_json(self) -> dict[str, Any]:
        """The document as the supervisor reads it."""
        return {
            "version": VERSION,
            "generation": self.generation,
            "digest": self.digest,
            "size": self.size,
            "args": None if self.args is None else list(self.args),
            "env": dict(self.env),
            "grace_ms": self.grace_ms,
            "probation_ms": self.probation_ms,
            "rollback": self.rollback,
            "tree": self.tree,
            **({"for_load": True} if self.for_load else {}),
        }

    @classmethod
    def from_json(cls, document: Any) -> Want | None:
        """The want in a document, or None when it is none of this version."""
        try:
            if document["version"] != VERSION or not is_digest(document["digest"]):
                return None
            args, tree = document["args"], document["tree"]
            if tree is not None and not is_digest(tree):
                return None
            return cls(
                int(document["generation"]),
                document["digest"],
                int(document["size"]),
                None if args is None else tuple(str(word) for word in args),
                {str(k): str(v) for k, v in document["env"].items()},
                int(document["grace_ms"]),
                int(document["probation_ms"]),
                bool(document["rollback"]),
                tree,
                bool(document.get("for_load", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def remembered(want: Want, older: list[Want]) -> list[Want]:
    """The history with `want` before the `older` ones; newest first. Pure.

    The same thing under a newer generation takes its own place: it is no other thing to go
    back to.
    """
    while older and _same(older[0], want):
        older = older[1:]
    if older and older[0].for_load:
        # What ran before a load test runs again: it is no second thing behind that.
        rest = (one for one in older[1:] if not one.for_load and not _same(one, want))
        older = [older[0], *rest]
    return [want, *older][:REMEMBERED]


def to_go_back_to(history: list[Want], now: Want | None) -> list[Want]:
    """What one can go back to by hand from what is published now, newest first. Pure.

    Each binary stands there once, as it was published last.
    """
    found: dict[str, Want] = {}
    for one in history:
        if not one.for_load and (now is None or one.digest != now.digest):
            found.setdefault(one.digest, one)
    return list(found.values())


def _same(one: Want, other: Want) -> bool:
    return one.generation == other.generation or replace(one, generation=0) == replace(
        other, generation=0
    )
