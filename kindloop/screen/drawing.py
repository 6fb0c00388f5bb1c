"""What both screens are drawn with: lines of text that fit, bars, times."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.console import Group
from rich.text import Text

from kindloop import status

__all__ = [
    "MARKS",
    "SPINNER",
    "STYLES",
    "Frame",
    "bar",
    "clean",
    "fitted",
    "page",
    "seconds",
    "sides",
    "spinner",
    "wrapped",
]

MARKS: Mapping[str, str] = {**status.MARKS, "waiting": "·"}
"""Those of `dev-status`; what runs has a spinner."""
STYLES = {
    "waiting": "dim", "running": "cyan", "ok": "green", "stale": "yellow", "bad": "bold red",
    "warning": "yellow", "note": "dim",
}  # fmt: skip
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
TURNS_HZ = 4
_PARTS = {"cargo": ("█", "blue"), "swap": ("▓", "green"), "rollout": ("▓", "magenta"),
          "verify": ("▒", "cyan"), "smoke": ("░", "yellow")}  # fmt: skip
_OTHER = (("▚", "magenta"), ("▞", "blue"))
"""Stages of other names. A glyph of its own for each part: no one needs to see colours."""
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


@dataclass(frozen=True)
class Frame:
    """What every line depends on. `now_s` is since the epoch, `estimates` in seconds by step."""

    width: int
    now_s: float
    estimates: Mapping[str, float]


def clean(text: str) -> str:
    """A line without what would move the cursor or change the terminal; tabs are spaces."""
    return _CONTROL.sub("", text.expandtabs(4))


def spinner(now_s: float) -> str:
    """The mark of what runs."""
    return SPINNER[int(now_s * TURNS_HZ) % len(SPINNER)]


def seconds(took_s: float) -> str:
    """`1.42 s`, `12.3 s`, `3 min 05 s`."""
    if took_s < 10:
        return f"{took_s:.2f} s"
    if took_s < 60:
        return f"{took_s:.1f} s"
    return f"{int(took_s // 60)} min {int(took_s % 60):02d} s"


def fitted(line: Text, width: int) -> Text:
    """The line in `width` cells at most; what is cut off shows by an ellipsis."""
    line.no_wrap = True
    line.truncate(max(width, 1), overflow="ellipsis")
    return line


def sides(left: Text, right: Text, width: int) -> Text:
    """Two texts at the two sides of a line; the left one gives way."""
    room = width - right.cell_len - 1
    if room < 8:
        return fitted(left, width)
    fitted(left, room)
    left.append(" " * (width - left.cell_len - right.cell_len))
    return left.append_text(right)


def wrapped(text: str, width: int, indent: str = "", style: str = "") -> list[Text]:
    """A line of text in as many lines as it takes, broken between words where that can be."""
    room = max(width - cell_len(indent), 8)
    plain = clean(text)
    if cell_len(plain) > len(plain):  # some letters are wider than others
        pieces = chop_cells(plain, room)
    else:
        pieces = textwrap.wrap(plain, room, replace_whitespace=False)
    return [Text(indent + piece, style=style, no_wrap=True) for piece in pieces or [""]]


def bar(parts: Sequence[tuple[str, float]], took_s: float, scale_s: float, width: int) -> Text:
    """Where the time went: a piece of the bar for each part, the rest of the time as dots.

    `scale_s` is the time that fills the width.
    """
    line = Text(no_wrap=True)
    if width <= 0 or scale_s <= 0:
        return line
    per_s = width / scale_s
    total = min(max(round(took_s * per_s), len(parts), 1), width)
    others = iter(_OTHER * (len(parts) + 1))
    for at, (name, part_s) in enumerate(parts):
        glyph, style = _PARTS.get(name) or next(others)
        behind = len(parts) - at - 1  # each of them is to be seen
        room = max(total - line.cell_len - behind, 0)
        line.append(glyph * min(max(round(part_s * per_s), 1), room), style)
    line.append("·" * (total - line.cell_len), "dim")
    line.append(" " * (width - line.cell_len))
    return line


def page(lines: Iterable[Text], width: int, height: int) -> Group:
    """Exactly `height` lines: the last one stays at the foot, whatever is cut or missing."""
    found = list(lines)
    *body, foot = found or [Text()]
    body = body[: height - 1] + [Text()] * max(height - 1 - len(body), 0)
    return Group(*(fitted(line, width) for line in (*body, foot)[-height:]))
