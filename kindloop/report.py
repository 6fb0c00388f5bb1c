"""What the user sees: steps with their times, lines, warnings. The only module that prints.

Domain rooms call `step`, `line`, `warn`; which renderer answers is decided once, by the task
layer, with `use`. Events are plain dataclasses, so the JSON renderer cannot drift from the text.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TextIO

__all__ = [
    "Event",
    "JsonLines",
    "Plain",
    "Renderer",
    "Silent",
    "Step",
    "call_program",
    "current",
    "data",
    "key",
    "line",
    "output",
    "save",
    "spoken",
    "step",
    "use",
    "verbose",
    "warn",
]

Kind = Literal["started", "line", "command", "warning", "ended", "output", "save", "key"]
SCHEMA = 1
"""Version of the JSON lines; raised when a field changes its meaning."""


@dataclass(frozen=True)
class Event:
    """One thing that happened. `t_s` is seconds since the epoch, `took_s` a duration in seconds.

    `save`: what became of a save, in one line. `key`: what a key pressed in the watch did.
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


class Silent:
    """Shows nothing: the renderer of a library call and of tests."""

    verbosity = 0

    def show(self, event: Event) -> None:
        """Drop the event."""


class Plain:
    """One line per step with its time; details with `-v`; no cursor movement, so it pipes."""

    def __init__(self, stream: TextIO | None = None, *, verbosity: int = 0) -> None:
        self.stream = stream
        self.verbosity = verbosity
        self._depth = 0

    def show(self, event: Event) -> None:
        """Write the event to the stream, flushed: a watcher of the pipe sees it at once."""
        text = self._text(event)
        if event.kind == "started":
            self._depth += 1
        if event.kind == "ended":
            self._depth -= 1
        if text is not None:
            stream = sys.stdout if self.stream is None else self.stream
            stream.write(text + "\n")
            stream.flush()

    def _text(self, event: Event) -> str | None:
        indent = "  " * max(self._depth - (event.kind == "ended"), 0)
        match event.kind:
            case "started":
                return f"{indent}· {event.step}" if self.verbosity else None
            case "ended":
                mark = "✓" if event.ok else "✗"
                if _ascii():
                    mark = "ok" if event.ok else "FAILED"
                tail = f" · {event.text}" if event.text else ""
                return f"{indent}{mark} {event.step}{tail} · {_seconds(event.took_s or 0.0)}"
            case "command":
                return f"{indent}$ {event.text}" if self.verbosity else None
            case "line":
                return f"{indent}{event.text}"
            case "warning":
                return f"{indent}warning: {event.text}"
            case "output" | "save" | "key":
                return event.text


class JsonLines:
    """One JSON object per line on standard output; the schema version is in every line.

    Fields as in `Event`, those that are empty left out.
    """

    def __init__(self, stream: TextIO | None = None, *, verbosity: int = 0) -> None:
        self.stream = stream
        self.verbosity = verbosity

    def show(self, event: Event) -> None:
        """Write the event as one line of JSON."""
        stream = sys.stdout if self.stream is None else self.stream
        values = {field.name: getattr(event, field.name) for field in fields(event)}
        known = {name: value for name, value in values.items() if value not in ("", None)}
        stream.write(json.dumps({"schema": SCHEMA, **known}, default=_plain) + "\n")
        stream.flush()


_COMMAND = re.compile(r"\binvoke (?=[a-z0-9]+[-.][a-z]|build\b)")
"""A task as it stands in hints: `invoke dev-up`."""

_program = "invoke"
_renderer: Renderer = Silent()
_steps: list[str] = []
_lock = threading.RLock()
"""The output of children is shown from threads of theirs: one event at a time."""


def use(renderer: Renderer) -> Renderer:
    """Make `renderer` the one that answers from now on; returns the one before."""
    global _renderer
    before, _renderer = _renderer, renderer
    return before


def current() -> Renderer:
    """The renderer in use."""
    return _renderer


def call_program(name: str) -> None:
    """Say which program the user has called, so that hints name that one."""
    global _program
    _program = name


def spoken(text: str) -> str:
    """`text` with its commands as the user calls them: `kindloop dev-up` for `invoke dev-up`."""
    return text if _program == "invoke" else _COMMAND.sub(f"{_program} ", text)


def verbose() -> bool:
    """Whether commands and details are wanted (`-v`)."""
    return _renderer.verbosity > 0


class Step:
    """A running step; `note` sets what stands behind its name at the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.started_s = time.monotonic()

    def note(self, text: str) -> None:
        """Set the short result shown at the end of the step's line."""
        self.text = text

    @property
    def took_s(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started_s


@contextmanager
def step(name: str) -> Iterator[Step]:
    """Show a step: begun, then ended with its time, failed if the body raises."""
    this = Step(name)
    _emit("started", name)
    _steps.append(name)
    try:
        yield this
    except BaseException:
        _steps.pop()
        _emit("ended", name, this.text, ok=False, took_s=this.took_s)
        raise
    _steps.pop()
    _emit("ended", name, this.text, took_s=this.took_s)


def line(text: str) -> None:
    """Show a line of information."""
    _emit("line", _where(), text)


def warn(text: str) -> None:
    """Show a warning: something works, but not as well as it could."""
    _emit("warning", _where(), text)


def command(text: str) -> None:
    """Show the exact command about to run (with `-v`)."""
    _emit("command", _where(), text)


def output(text: str) -> None:
    """Show the result that a task exists for (a table, a JSON document): never indented."""
    _emit("output", _where(), text)


def save(
    text: str,
    *,
    ok: bool = True,
    took_s: float | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Show what became of a save, in one line: never indented."""
    _emit("save", _where(), text, ok=ok, took_s=took_s, data=data)


def key(text: str, *, data: Mapping[str, Any] | None = None) -> None:
    """Show what a key pressed in the watch did: never indented."""
    _emit("key", _where(), text, data=data)


def data(value: Any) -> None:
    """Print a JSON document for `--json` tasks, keys in the order they were given."""
    sys.stdout.write(spoken(json.dumps(value, indent=2)) + "\n")
    sys.stdout.flush()


def _emit(
    kind: Kind,
    step_name: str,
    text: str = "",
    *,
    ok: bool = True,
    took_s: float | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    took = None if took_s is None else round(took_s, 3)
    with _lock:
        now_s = round(time.time(), 3)
        _renderer.show(Event(kind, step_name, spoken(text), ok, took, now_s, data))


def _where() -> str:
    return _steps[-1] if _steps else ""


def _plain(value: Any) -> Any:
    """What JSON has no form for: mappings that are no dict as objects, the rest as text."""
    return dict(value) if isinstance(value, Mapping) else str(value)


def _ascii() -> bool:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    return "utf" not in encoding or os.environ.get("TERM") == "dumb"


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60):02d} s"
