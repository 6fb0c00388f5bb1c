"""The watch as a screen shows it: folded from events and keys, without a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal

from kindloop.config import Config
from kindloop.report import Event
from kindloop.screen.steps import NONE, Steps

__all__ = [
    "Day",
    "Pane",
    "Row",
    "Save",
    "Trouble",
    "begin",
    "heard",
    "pressed",
    "renewed",
    "told",
]

SAVES = 50
"""Saves that are kept; a screen shows as many as it has room for."""
NOTES = 6
PANE_LINES = 2000
"""Lines of a pane that are kept: a load test tells one a second."""
PAGE = 10

State = Literal["waiting", "running", "ok", "stale", "bad", "warning", "note"]
PANES: Mapping[str, str] = {"l": "log lines", "t": "smoke test", "L": "load test", "?": "keys"}

ASKED = frozenset({"cluster", "part"})
"""Kinds of rows that are asked for, and that no event tells of."""
LOOPS = frozenset("rgpq")
"""Keys of the loop that show nothing themselves."""
HELP = (
    "r      builds and swaps, whatever was saved",
    "g      generates",
    "p      pauses; saves are kept until p again",
    "t      calls every operation of the service",
    "L      loads the service with profile low; L again ends it",
    "l      the service's last log lines",
    "q      ends the watch; the environment stays",
    "",
    "↑ ↓    scroll what a key has shown; also page up, page down, home, end",
    "Esc    closes it; without it, hides what is wrong until it is wrong again",
    "",
    "✓ well   ~ stale   ✗ wrong   · waits",
    "█ cargo  ▓ swap or rollout  ▒ verify  ░ smoke  ▚ other stages  · the rest of the time",
)


@dataclass(frozen=True)
class Row:
    """A stage, a workload or a part, and how it is."""

    label: str
    kind: str
    name: str
    state: State = "waiting"
    detail: str = ""


@dataclass(frozen=True)
class Save:
    """A save as it ended. `at_s` is in seconds since the epoch."""

    at_s: float
    ok: bool
    text: str
    """Its one line."""
    head: str = ""
    """Digest, or what became of it."""
    took_s: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()
    files: str = ""
    workload: str = ""


@dataclass(frozen=True)
class Trouble:
    """What is wrong until something makes it good: of a workload, or of none in particular."""

    of: str
    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pane:
    """What a key asked for, shown over the rest; `up` is how many rows it is scrolled back."""

    key: str
    lines: tuple[str, ...] = ()
    up: int = 0

    @property
    def title(self) -> str:
        """What is in it."""
        return PANES[self.key]


@dataclass(frozen=True)
class Day:
    """All that the screen of a watch shows."""

    environment: str
    urls: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    steps: Steps = NONE
    saves: tuple[Save, ...] = ()
    """The newest last."""
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[str, ...] = ()
    pane: Pane | None = None
    watching: str = ""
    """What is watched, once it is."""
    paused: bool = False
    lately: tuple[str, ...] = ()
    """Lines since the last save: when the next one is bad, they say why."""


def begin(config: Config) -> Day:
    """The watch of an environment before anything is known."""
    stages = [Row(stage.label, "stage", name) for name, stage in config.stages.items()]
    workloads = [Row(w.label, "workload", w.name) for w in config.workloads.values()]
    urls = tuple(w.url for w in config.workloads.values() if w.url)
    return Day(config.name, urls, (*stages, *workloads))


def renewed(day: Day, config: Config) -> Day:
    """The watch after kindloop.yaml was read again: what is known of who stays is kept."""
    known = {(row.kind, row.name): row for row in day.rows}
    fresh = begin(config)
    rows = [
        replace(row, state=before.state, detail=before.detail)
        if (before := known.get((row.kind, row.name)))
        else row
        for row in fresh.rows
    ]
    asked = [row for row in day.rows if row.kind in ASKED]
    return replace(day, urls=fresh.urls, rows=(*rows, *asked))


def heard(day: Day, event: Event) -> Day:
    """The watch after an event."""
    day = replace(day, steps=day.steps.after(event))
    match event.kind:
        case "started":
            day = _row(day, "stage", event.step, "running", "")
        case "ended":
            superseded = event.text == "superseded"
            state: State = "ok" if event.ok else "stale" if superseded else "bad"
            day = _row(day, "stage", event.step, state, event.text)
        case "save":
            day = _saved(day, event)
        case "key":
            day = _answered(day, event)
        case "line" | "warning" | "error":
            day = _said(day, event)
        case "output":
            day = _into_pane(day, event.text)
        case _:
            pass
    return day


def pressed(day: Day, key: str, *, most_up: int = 0) -> tuple[Day, bool]:
    """The watch after a key, and whether the key was meant for the screen alone.

    `most_up` is how many rows a pane can be scrolled back, as it is drawn now.
    """
    if key == "escape":
        closed = replace(day, pane=None) if day.pane else replace(day, troubles=())
        return closed, True
    if key == "?":
        shown = day.pane is not None and day.pane.key == "?"
        return replace(day, pane=None if shown else Pane("?", HELP, len(HELP))), True
    if key in PANES:
        ends_load = key == "L" and day.pane is not None and day.pane.key == "L"
        return day if ends_load else replace(day, pane=Pane(key)), False
    if key in LOOPS:
        return replace(day, pane=None) if key != "q" else day, False
    return _scrolled(day, key, most_up), True


def told(day: Day, rows: Sequence[Row]) -> Day:
    """The watch with what was asked of the cluster: its rows take the place of those before."""
    kept = (one for one in day.rows if one.kind not in ASKED)
    return replace(day, rows=(*kept, *rows))


def _row(day: Day, kind: str, name: str, state: State, detail: str) -> Day:
    rows = tuple(
        replace(one, state=state, detail=detail) if (one.kind, one.name) == (kind, name) else one
        for one in day.rows
    )
    return replace(day, rows=rows)


def _saved(day: Day, event: Event) -> Day:
    data: Mapping[str, Any] = event.data or {}
    workload = str(data.get("workload", ""))
    save = Save(
        event.t_s,
        event.ok,
        event.text,
        _head(data),
        event.took_s or 0.0,
        tuple((str(name), float(took_s)) for name, took_s in data.get("parts", {}).items()),
        _files(data.get("paths", ())),
        workload,
    )
    troubles = [one for one in day.troubles if one.of not in (workload, "")]
    if not event.ok:
        title = event.text.removeprefix("✗ ")
        troubles.append(Trouble(workload, title, _why(day, data, event.text)))
    why = troubles[-1].lines if not event.ok else ()
    day = replace(
        day,
        saves=(*day.saves, save)[-SAVES:],
        troubles=tuple(troubles),
        notes=tuple(note for note in day.notes if note not in why),
        lately=(),
    )
    if not workload:
        return day
    return _row(day, "workload", workload, "ok" if event.ok else "bad", _standing(event, data))


def _head(data: Mapping[str, Any]) -> str:
    digest, verdict = str(data.get("digest", ""))[:8], str(data.get("verdict", ""))
    if not digest:
        return verdict
    return digest if verdict == "fresh" else f"{digest} {verdict.replace('_', ' ')}"


def _standing(event: Event, data: Mapping[str, Any]) -> str:
    """How a workload stands after a save, in a few words."""
    if not event.ok:
        served = str(data.get("served", ""))[:8] or "nothing"
        return f"{str(data.get('verdict', '')).replace('_', ' ')}; served: {served}"
    digest = str(data.get("digest", ""))[:8]
    return f"{digest} fresh" if digest else "fresh"


def _files(paths: Sequence[str]) -> str:
    """The saved files in few cells; what people write comes before lock files."""
    if not paths:
        return ""
    first = "/".join(PurePath(min(paths, key=lambda path: path.endswith(".lock"))).parts[-2:])
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def _why(day: Day, data: Mapping[str, Any], text: str) -> tuple[str, ...]:
    """The lines that say what is wrong: the compiler's, else those before, else a reason."""
    if errors := tuple(map(str, data.get("errors", ()))):
        return errors
    first = next((at for at, line in enumerate(day.lately) if line.startswith("error: ")), None)
    if first is not None:
        return day.lately[first:]
    reason = str(data.get("reason", ""))
    return () if not reason or reason in text else tuple(reason.splitlines())


def _answered(day: Day, event: Event) -> Day:
    """A key was done as the loop says."""
    data = event.data or {}
    if "paused" in data:
        day = replace(day, paused=bool(data["paused"]))
    return _noted(day, event.text)


def _said(day: Day, event: Event) -> Day:
    text = event.text
    if text.startswith("watching "):
        return replace(day, watching=text.partition(";")[0])
    if day.pane and day.pane.key in "tL" and event.kind == "line":
        day = _into_pane(day, text)
    if event.kind == "warning":
        return _noted(day, f"warning: {text}")
    if day.steps.of(text.removeprefix("building ")):
        return day  # it is there to see
    day = replace(day, lately=(*day.lately, text)[-40:])
    if text.startswith(("error: ", "✗ ")) or event.kind == "error":
        title = text.removeprefix("error: ").removeprefix("✗ ")
        first, _, rest = title.partition("\n")
        one = Trouble("", first, tuple(rest.splitlines()))
        return replace(day, troubles=(*(t for t in day.troubles if t.of), one))
    if day.troubles and not day.troubles[-1].of and text.startswith("  "):
        last = day.troubles[-1]
        longer = replace(last, lines=(*last.lines, text.strip()))
        return replace(day, troubles=(*day.troubles[:-1], longer))
    return _noted(day, text)


def _noted(day: Day, text: str) -> Day:
    return replace(day, notes=(*day.notes, *text.splitlines())[-NOTES:])


def _into_pane(day: Day, text: str) -> Day:
    if day.pane is None or day.pane.key == "?":
        return _noted(day, text.splitlines()[-1] if text else "")
    lines = (*day.pane.lines, *text.splitlines())[-PANE_LINES:]
    return replace(day, pane=replace(day.pane, lines=lines))


def _scrolled(day: Day, key: str, most_up: int) -> Day:
    pane = day.pane
    if pane is None:
        return day
    steps = {"up": 1, "down": -1, "page up": PAGE, "page down": -PAGE}
    now = min(pane.up, most_up)
    up = {"home": most_up, "end": 0}.get(key, now + steps.get(key, 0))
    return replace(day, pane=replace(pane, up=min(max(up, 0), most_up)))
