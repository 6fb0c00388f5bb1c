"""What the user sees: steps with their times, lines, warnings. The only module that prints.

Domain rooms call `step`, `line`, `warn`; which renderer answers is decided once, by the task
layer, with `use`.

Secrets are masked here, before any renderer has them; see `mask_with`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from types import TracebackType
from typing import Any, TextIO

from kindloop.events import SCHEMA, Event, Kind, Renderer, Screen, Silent
from kindloop.masking import Known, Secret

__all__ = [
    "Event",
    "JsonLines",
    "Plain",
    "Renderer",
    "Screen",
    "Silent",
    "Step",
    "begin",
    "call_program",
    "current",
    "data",
    "error",
    "key",
    "line",
    "log",
    "mask_with",
    "masked",
    "masked_data",
    "output",
    "record",
    "relay",
    "save",
    "screen",
    "spoken",
    "step",
    "use",
    "verbose",
    "warn",
]


class Plain:
    """One line per step with its time; details with `-v`; no cursor movement, so it pipes."""

    def __init__(self, stream: TextIO | None = None, *, verbosity: int = 0) -> None:
        self.stream = stream
        self.verbosity = verbosity
        self._depth = 0

    def show(self, event: Event) -> None:
        """Write the event to the stream, flushed: a watcher of the pipe sees it at once."""
        text = self.text(event)
        if text is not None:
            self.write(text)

    def text(self, event: Event) -> str | None:
        """The line of an event; asked once for each, as steps indent what is in them."""
        text = self._text(event)
        if event.kind == "started":
            self._depth += 1
        if event.kind == "ended":
            self._depth -= 1
        return text

    def write(self, text: str) -> None:
        """Write a line that `text` gave, now or earlier."""
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
            case "output" | "save" | "key" | "log" | "error":
                # An error stands on standard error, by who ends the task; a log is in its file.
                return None if event.kind in ("log", "error") else event.text


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
_told = False
"""Whether this task has printed its document."""
_known = Known()
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


def screen() -> Screen | None:
    """The renderer in use, if it has the whole terminal."""
    return _renderer if isinstance(_renderer, Screen) else None


def mask_with(values: Iterable[str | Secret]) -> None:
    """From now on show and write `***` for these values too: the one place where they are told.

    All events and documents are masked, and tracebacks. Who writes a file of what others said
    calls `masked`, or `masked_data` for what is JSON.
    """
    if _known.add(values):
        sys.excepthook, threading.excepthook = _crashed, _thread_crashed


masked, masked_data = _known.text, _known.data


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


def log(text: str) -> None:
    """Show a line of a running program: on a screen, or with `-v`; it is in a log file besides."""
    if verbose():
        line(text)
    elif screen():
        _emit("log", _where(), text)


def command(text: str) -> None:
    """Show the exact command about to run (with `-v`)."""
    _emit("command", _where(), text)


def output(text: str) -> None:
    """Show the result that a task exists for (a table, a JSON document): never indented."""
    _emit("output", _where(), text)


def relay(text: str, *, error: bool = False) -> None:
    """Write a line beside all events: of a program that the user has called, or about a pipe."""
    Plain(sys.stderr if error else None).write(masked(text))


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


def error(facts: Mapping[str, Any], *, in_line: bool = False) -> None:
    """Tell programs that a task failed: the last event, or a document where there is none yet.

    `in_line`: the task prints a document a line, and the error is one more.
    """
    told = {n: spoken(value) if isinstance(value, str) else value for n, value in facts.items()}
    if isinstance(_renderer, JsonLines):
        _emit("error", _where(), str(facts["message"]), ok=False, data=told)
    elif in_line:
        record({"schema": SCHEMA, "error": told})
    elif not _told:
        data({"schema": SCHEMA, "error": told})


def begin() -> None:
    """A task begins: it has told nothing yet."""
    global _told
    _told = False


def data(value: Any) -> None:
    """Print a JSON document for `--json` tasks, keys in the order they were given."""
    global _told
    _told = True
    sys.stdout.write(spoken(json.dumps(masked_data(value), indent=2)) + "\n")
    sys.stdout.flush()


def record(value: Mapping[str, Any]) -> None:
    """Print one of many JSON documents, on a line of its own."""
    global _told
    _told = True
    sys.stdout.write(json.dumps(masked_data(value)) + "\n")
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
        text, known = spoken(masked(text)), masked_data(data)
        _renderer.show(Event(kind, masked(step_name), text, ok, took, now_s, known))


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python prints of an error that nobody has caught."""
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit and args.exc_value is not None:
        _crashed(args.exc_type, args.exc_value, args.exc_traceback)


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
