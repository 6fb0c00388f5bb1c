"""What --json prints a line at a time, and what it prints when a task fails."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NotRequired, TypedDict

from kindloop.errors import Failure
from kindloop.events import Kind

__all__ = ["DATA", "KINDS", "Error", "Event", "Key", "Save"]


class Error(TypedDict):
    """What a task prints when it fails before it has a document to print."""

    schema: Literal[1]
    error: Failure


class Event(TypedDict):
    """One thing that happened, on a line of its own. Fields that are empty are left out."""

    schema: Literal[1]
    kind: Kind
    """What happened; see the table of kinds."""
    step: NotRequired[str]
    """The step that began or ended, or in which it happened."""
    text: NotRequired[str]
    """What a person is shown."""
    ok: bool
    """False for a step that failed, for an error, and for a save that needs somebody."""
    took_s: NotRequired[float]
    """Seconds that the step, or the save until it was served, took."""
    t_s: float
    """When it happened, in seconds since the epoch."""
    data: NotRequired[Mapping[str, Any]]
    """The facts behind the text: of a save, a key and an error."""


class Save(TypedDict):
    """What became of a save, for one workload."""

    verdict: Literal[
        "fresh", "unchanged", "built", "not built", "rolled_back", "refused", "crashed",
        "unhealthy", "unknown", "stale", "failed", "restarted", "fresh again", "swapped",
    ]  # fmt: skip
    """How it ended. `fresh`: the URL answers with the new binary."""
    fresh: bool
    """Whether what answers is built from what was saved."""
    workload: str
    """Empty where only stages were concerned."""
    digest: str
    """SHA-256 of the newest artifact; empty when there is none."""
    served: str
    """SHA-256 of what answers now; empty when nothing does or nobody knows."""
    took_s: float
    """Seconds from the save to the verdict."""
    parts: Mapping[str, float]
    """Seconds by name of the part, in the order they were spent."""
    paths: list[str]
    """What was saved, relative to the checkout."""
    reason: str
    """Why it is not fresh; empty when it is."""
    stages: list[str]
    """Stages that failed."""
    errors: list[str]
    """What is wrong with them, a line each, with file and line where the compiler names them."""


class Key(TypedDict):
    """A key that was pressed in the watch."""

    key: str
    paused: NotRequired[bool]
    """Of `p`: whether saves wait now."""
    waiting: NotRequired[int]
    """Of `p`: how many files wait."""


KINDS: Mapping[str, str] = MappingProxyType(
    {
        "started": "a step begins",
        "ended": "a step is over; `ok` and `took_s` tell how, `text` what became of it",
        "line": "information within a step",
        "command": "a command that is about to run, to be copied",
        "warning": "something works, but not as well as it could",
        "output": "what the task exists for, such as the service's URL",
        "save": "what became of a save; the facts are in `data`",
        "key": "what a key pressed in the watch did; the facts are in `data`",
        "log": "a line of a running program; on screens only",
        "error": "the last line of a task that fails; the facts are in `data`",
    }
)
"""What each kind of event means."""
DATA: Mapping[str, type] = MappingProxyType({"save": Save, "key": Key, "error": Failure})
"""What `data` is, by the kind of the event."""
