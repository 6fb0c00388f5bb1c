"""How a line is shown: whose it is in front, in a colour of its own; or as JSON."""

from __future__ import annotations

import os
import sys
import zlib
from collections import Counter
from collections.abc import Sequence

from kindloop import report
from kindloop.logs.lines import Line, Mark, Source, mark_of, time_of
from kindloop.logs.wishes import Wishes

__all__ = ["Showing", "coloured"]

SCHEMA = 1
"""Version of the JSON lines."""
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
"""ANSI colours that can be read on a dark and a light ground; red and white are for others."""
RULE = "──"


def coloured() -> bool:
    """Whether standard output is a terminal that is to have colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return sys.stdout.isatty() and not plain


class Showing:
    """Shows lines one after the other: those that are wished for, with a rule at each swap."""

    def __init__(self, wishes: Wishes, *, json: bool = False, colours: bool | None = None) -> None:
        self._grep = wishes.grep
        self._tail = wishes.tail
        self._json = json
        self._colours = coloured() if colours is None else colours
        self._width = 0
        self._generations: dict[Source, int] = {}
        self._due: dict[Source, tuple[Line, Mark]] = {}
        """Swaps of which no line was chosen yet: a rule stands only before one."""

    def backlog(self, lines: Sequence[Line]) -> bool:
        """Show what was there before, of each source the newest lines that are chosen.

        Returns whether there was one.
        """
        kept: list[Line] = []
        counts: Counter[Source] = Counter()
        for line in reversed(lines):
            whole = self._tail is not None and counts[line.source] >= self._tail
            marks = mark_of(line.text) is not None
            if whole or not (marks or self._chosen(line)):
                continue
            counts[line.source] += not marks
            kept.append(line)
        for line in reversed(kept):
            self.line(line)
        return any(counts.values())

    def line(self, line: Line) -> None:
        """Show a line, or keep it back when it is not chosen."""
        if mark := mark_of(line.text):
            self._due[line.source] = (line, mark)
            if self._grep is None or self._chosen(line):
                self._rule(line.source)
        elif self._chosen(line):
            self._rule(line.source)
            self._out(line, line.text, "line")

    def note(self, text: str, source: Source | None = None) -> None:
        """Say something about the logs themselves."""
        if self._json:
            report.record({"schema": SCHEMA, "kind": "note", "text": text, **_facts(source)})
        else:
            report.output(self._dim(f"{RULE} {text} {RULE}"))

    def _chosen(self, line: Line) -> bool:
        return self._grep is None or bool(self._grep.search(report.masked(line.text)))

    def _rule(self, source: Source) -> None:
        """The swap that is due, if one is."""
        line, mark = self._due.pop(source, (None, None))
        if line is None or mark is None:
            return
        again = self._generations.get(source) == mark.generation
        self._generations[source] = mark.generation
        what = f"{mark.digest} started again" if again else f"swap {mark.digest}"
        if self._json:
            self._out(line, line.text, "restart" if again else "swap", mark)
        else:
            whose = self._painted(source, source.shown)
            report.output(f"{self._dim(f'{RULE} {what} {RULE}')} {whose}")

    def _out(self, line: Line, text: str, kind: str, mark: Mark | None = None) -> None:
        if self._json:
            facts = {"kind": kind, "text": text, "time": time_of(line.t_ns), **_facts(line.source)}
            swap = {"generation": mark.generation, "digest": mark.digest} if mark else {}
            report.record({"schema": SCHEMA, **facts, **swap})
            return
        shown = line.source.shown
        self._width = max(self._width, len(shown))
        report.output(f"{self._painted(line.source, shown.ljust(self._width))} | {text}")

    def _painted(self, source: Source, text: str) -> str:
        """The text in the source's colour: that of its name, so that a new pod keeps it."""
        if not self._colours:
            return text
        key = f"{source.kind} {source.name} {source.container}"
        return f"\x1b[{COLOURS[zlib.crc32(key.encode()) % len(COLOURS)]}m{text}\x1b[0m"

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self._colours else text


def _facts(source: Source | None) -> dict[str, str]:
    if source is None:
        return {}
    more = {"pod": source.pod, "container": source.container}
    known = {key: value for key, value in more.items() if value}
    return {"source": source.kind, "name": source.name, **known}
