"""What happens, as data: events, and what can show them.

Plain dataclasses, so what programs read cannot drift from what people see.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

__all__ = ["SCHEMA", "Event", "Kind", "Renderer", "Screen", "Silent"]

Kind = Literal[
    "started", "line", "command", "warning", "ended", "output", "save", "key", "error", "log"
]
SCHEMA = 1
"""Version of the JSON lines; raised when a field changes its meaning."""


@dataclass(frozen=True)
class Event:
    """One thing that happened. `t_s` is seconds since the epoch, `took_s` a duration in seconds.

    `save`: what became of a save, in one line. `key`: what a key pressed in the watch did. `log`:
    a line of a running program, for screens only.
    """

    kind: Kind
    step: str
    text: str = ""
    ok: bool = True
    took_s: float | None = None
    t_s: float = 0.0
    data: Mapping[str, Any] | None = None
    """The facts behind the text, for programs: JSON values, paths and tuples."""


class Renderer(Protocol):
    """Shows events to somebody."""

    verbosity: int

    def show(self, event: Event) -> None:
        """Show one event now."""


@runtime_checkable
class Screen(Renderer, Protocol):
    """A renderer that has the whole terminal, with keys of its own."""

    def takes(self, key: str) -> bool:
        """Hear a key, in any thread; whether it was meant for the screen alone."""

    def hushed(self) -> AbstractContextManager[None]:
        """While it lasts, steps and tables are no lines: they show as the state of something."""

    def leave(self) -> None:
        """Give the terminal back at once: the process is about to be stopped or ended."""

    def resume(self) -> None:
        """The process was continued: take the terminal again, as soon as it is ours."""


class Silent:
    """Shows nothing: the renderer of a library call and of tests."""

    verbosity = 0

    def show(self, event: Event) -> None:
        """Drop the event."""
