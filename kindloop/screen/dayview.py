"""The screen of a watch: what is wrong on top, how everything is, the last saves, keys at the foot.

Pure: a `Day`, the time and the terminal's size become lines.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from kindloop.screen.day import Day, Pane, Row, Save, Trouble
from kindloop.screen.drawing import (
    MARKS,
    STYLES,
    Frame,
    bar,
    clean,
    fitted,
    page,
    seconds,
    sides,
    spinner,
    wrapped,
)
from kindloop.screen.durations import left
from kindloop.status import LABELS

__all__ = ["draw", "most_up"]

KEYS = (
    ("r", "rebuild"), ("g", "generate"), ("p", "pause"), ("t", "smoke"), ("L", "load"),
    ("l", "log"), ("q", "quit"), ("?", "keys"),
)  # fmt: skip
SHOWN_S = 0.005
"""Seconds from which a part is worth its place, as in the line of a save."""
NAME_CELLS = 16
"""Cells that the name of a saved file gets before the times of short parts do."""
SMALL = 16
"""Rows below which there are no headings."""


def draw(
    day: Day, estimates: Mapping[str, float], *, now_s: float, width: int, height: int
) -> Group:
    """The whole screen in `width` cells and `height` lines; `now_s` is since the epoch."""
    if day.pane:
        troubles, room = _above(day, width, height)
        lines = troubles + _pane(day.pane, width, room)
    else:
        lines = _body(day, Frame(width, now_s, estimates), max(height - 2, 0))
    return page([_top(day, width), *lines, _foot(day, width)], width, height)


def most_up(day: Day, *, width: int, height: int) -> int:
    """How many rows the pane can be scrolled back in this size; 0 without one."""
    if day.pane is None:
        return 0
    _, room = _above(day, width, height)
    return max(len(_rows(day.pane, width)) - room, 0)


def _above(day: Day, width: int, height: int) -> tuple[list[Text], int]:
    """What is wrong as it stands above a pane, and the rows that are left for what is in it."""
    body = max(height - 2, 0)
    troubles = _troubles(day.troubles, width, min(2, body // 3))
    return troubles, max(body - len(troubles) - 1, 1)


def _body(day: Day, frame: Frame, room: int) -> list[Text]:
    """What is wrong takes up to half of the room, how things are what it needs, saves the rest."""
    width = frame.width
    troubles = _troubles(day.troubles, width, max(room // 2, 1))
    room -= len(troubles)
    states = _states(day, frame, headings=room >= SMALL - 2)
    if len(states) > max(room - 4, 1):
        states = _few_states(day, frame)[: max(room - 2, 1)]
    room -= len(states)
    notes = _notes(day, width)[-min(3, room - 3) :] if room > 3 else []
    saves = _saves(day, width, room - len(notes))
    filler = [Text()] * (room - len(saves) - len(notes))
    return troubles + states + saves + filler + notes


def _top(day: Day, width: int) -> Text:
    name = Text.assemble(
        (f" {day.environment} ", "bold reverse"), " ", (" ".join(day.urls), "cyan")
    )
    return sides(name, _doing(day), width)


def _doing(day: Day) -> Text:
    """What the watch is at, in a word or two."""
    if day.paused:
        return Text("paused: saves wait for p", "bold yellow")
    if day.steps.running:
        return Text(day.steps.running[-1].name, "cyan")
    return Text(day.watching or "starting", "dim")


# -- what is wrong


def _troubles(troubles: Sequence[Trouble], width: int, room: int) -> list[Text]:
    lines: list[Text] = []
    for one in troubles:
        lines += wrapped(one.title, width, "✗ ", "bold red")[:2]
        for text in one.lines:
            lines += wrapped(text, width, "  ")[:3]
    if len(lines) <= room:
        return lines
    if room < 2:
        return lines[:room]
    more = Text(f"  and {len(lines) - room + 1} more lines", "dim")
    return [*lines[: room - 1], more]


# -- how everything is


def _states(day: Day, frame: Frame, *, headings: bool) -> list[Text]:
    lines: list[Text] = []
    for label in LABELS:
        rows = [row for row in day.rows if row.label == label]
        extra = _others(day, frame) if label == "app" else []
        if headings and (rows or extra):
            lines.append(Text(label, "bold"))
        lines += [_row(day, row, frame) for row in rows] + extra
    return lines


def _few_states(day: Day, frame: Frame) -> list[Text]:
    """What is not simply well, and how many are: for a terminal with few lines."""
    rows = [row for row in day.rows if row.state not in ("ok", "note", "waiting")]
    lines = [_row(day, row, frame) for row in rows]
    lines += _others(day, frame)
    well = sum(row.state == "ok" for row in day.rows)
    return [*lines, fitted(Text(f"  ✓ {well} of {len(day.rows)} well", "green"), frame.width)]


def _row(day: Day, row: Row, frame: Frame) -> Text:
    if row.state == "running":
        return _running(day, row.name, row.kind, frame)
    line = Text.assemble("  ", (MARKS[row.state], STYLES[row.state]), " ")
    line.append(f"{row.kind:<9}", "dim").append(f"{clean(row.name):<16} ")
    style = "dim" if row.state in ("ok", "waiting", "note") else ""
    return fitted(line.append(clean(row.detail), style), frame.width)


def _running(day: Day, name: str, kind: str, frame: Frame) -> Text:
    """A step with its time, what is left of it and the last line of its program."""
    line = Text.assemble("  ", (spinner(frame.now_s), STYLES["running"]), " ")
    line.append(f"{kind:<9}", "dim").append(f"{clean(name):<16} ")
    step = day.steps.of(name)
    if step:
        usual_s = day.steps.usual_s(name, frame.estimates)
        took_s = max(frame.now_s - step.since_s, 0.0)
        cells = [f"{took_s:.1f} s", left(usual_s, step.since_s, frame.now_s)]
        line.append(" · ".join(filter(None, cells)), "cyan")
        if step.tail:
            line.append(f"  {clean(step.tail[-1]).strip()}", "dim")
    return fitted(line, frame.width)


def _others(day: Day, frame: Frame) -> list[Text]:
    """Steps that run and are no stage: a rollout, a load test."""
    known = {row.name for row in day.rows if row.kind == "stage"}
    names = [one.name for one in day.steps.running if one.name not in known]
    return [_running(day, name, "step", frame) for name in names]


# -- saves


def _saves(day: Day, width: int, room: int) -> list[Text]:
    if room < 1:
        return []
    heading = [Text("saves", "bold")] if room >= 4 else []
    shown = day.saves[::-1][: room - len(heading)]
    if not shown:
        text = "none yet" if day.watching else ""
        return [*heading, Text(f"  {text}", "dim")][:room]
    # One rollout would leave nothing of the bars of all saves around it.
    swapped = [one.took_s for one in shown if one.ok and "rollout" not in dict(one.parts)]
    scale_s = max(swapped or [one.took_s for one in shown if one.ok], default=0.0)
    several = len({one.workload for one in day.saves}) > 1
    return heading + [_save(one, scale_s, width, several=several) for one in shown]


def _save(save: Save, scale_s: float, width: int, *, several: bool) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(save.at_s))
    line = Text.assemble("  ", (clock, "dim"), " ")
    line.append(*(("✓ ", "green") if save.ok else ("✗ ", "bold red")))
    if several and save.workload:
        line.append(f"{save.workload} ")
    if not save.ok:
        return fitted(line.append(clean(save.text.removeprefix("✗ ")), "red"), width)
    if not save.took_s:  # nothing was built: a pod came back, another command has swapped
        return fitted(line.append(clean(save.text)), width)
    line.append(f"{save.head:<8} ", "bold").append(f"{seconds(save.took_s):>7} ")
    parts = [(name, took_s) for name, took_s in save.parts if took_s >= SHOWN_S]
    line.append_text(bar(parts, save.took_s, scale_s, _bar_width(width))).append(" ")
    file = min(cell_len(save.files.rpartition("/")[2]), NAME_CELLS) + 2 if save.files else 0
    line.append(_told_parts(parts, width - line.cell_len - file))
    return fitted(_with_files(line, save.files, width), width)


def _told_parts(parts: Sequence[tuple[str, float]], room: int) -> str:
    """The parts with their times; the shortest go where there is no room for all."""
    told = list(parts)
    while len(told) > 1 and len(_joined(told)) > room:
        told.remove(min(told, key=lambda part: part[1]))
    return _joined(told)


def _joined(parts: Sequence[tuple[str, float]]) -> str:
    return " ".join(f"{name} {took_s:.2f}" for name, took_s in parts)


def _bar_width(width: int) -> int:
    return min(max((width - 56) // 2, 6), 40) if width >= 60 else 0


def _with_files(line: Text, files: str, width: int) -> Text:
    """The files behind the rest: their end where there is little room, as it tells the name."""
    room = width - line.cell_len - 2
    if not files or room < 6:
        return line
    shown = clean(files)
    while cell_len(shown) > room:
        shown = "…" + shown.lstrip("…")[1:]
    return line.append(f"  {shown}", "dim")


def _notes(day: Day, width: int) -> list[Text]:
    return [fitted(Text(f"  {clean(note)}", "dim"), width) for note in day.notes]


# -- what a key asked for


def _pane(pane: Pane, width: int, room: int) -> list[Text]:
    """Its heading, and as many rows of it as there is room for."""
    lines = _rows(pane, width)
    up = min(pane.up, max(len(lines) - room, 0))
    end = len(lines) - up
    begin = max(end - room, 0)
    where = f"{begin + 1} to {end} of {len(lines)}" if len(lines) > room else ""
    if not pane.lines:
        where = "asked; it comes as soon as what runs has ended"
    heading = sides(Text(f"{pane.title}", "bold"), Text(where, "dim"), width)
    return [heading, *lines[begin:end]]


def _rows(pane: Pane, width: int) -> list[Text]:
    return [line for text in pane.lines for line in wrapped(_narrowed(text, width), width)]


def _narrowed(text: str, width: int) -> str:
    """A line of a table that is too wide: without what its columns are padded with."""
    return re.sub(r" {3,}", "  ", text) if cell_len(text) > width else text


def _foot(day: Day, width: int) -> Text:
    """Each key with what it does; where that is too much, only those that lead on have it."""
    own: list[tuple[str, str]] = []
    if day.pane:
        own = [("↑ ↓", "scroll"), ("Esc", "close")]
    elif day.troubles:
        own = [("Esc", "hide errors")]
    named = [(key, "go on" if key == "p" and day.paused else does) for key, does in KEYS]
    short = [(key, does if key in "q?" else "") for key, does in named]
    line = next(
        (line for keys in (named, short) if (line := _keys([*own, *keys])).cell_len <= width),
        _keys(short),
    )
    return fitted(line, width)


def _keys(keys: Sequence[tuple[str, str]]) -> Text:
    cells = [
        Text.assemble((key, "bold"), (f" {does}" if does else "", "dim")) for key, does in keys
    ]
    return Text("  ").join(cells)
