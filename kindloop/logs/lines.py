"""Lines of a log: when and of whom each is, which were seen before, where a swap begins. Pure."""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kindloop.supervised.panics import MARK

__all__ = ["Line", "Mark", "Reading", "Seen", "Source", "mark_of", "parse", "time_of"]

KEPT_NS = 2_000_000_000
"""Nanoseconds of lines that are remembered: a log is asked for by whole seconds."""
DIGITS = 8
"""Of a digest, as it is shown."""
_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?(.*)", re.DOTALL
)
_MARK = re.compile(rf"{re.escape(MARK)}generation=(\d+) digest=([0-9a-f]+)")


@dataclass(frozen=True, order=True)
class Source:
    """Who wrote a line: a stage, or a container in a pod of a workload."""

    kind: str
    """`workload` or `stage`."""
    name: str
    pod: str = ""
    container: str = ""
    """Empty where the pod has one container only."""

    @property
    def shown(self) -> str:
        """As it stands in front of a line: `petstore/wtjn2`, `stage generate`."""
        if self.kind == "stage":
            return f"stage {self.name}"
        parts = (self.name, self.pod.rpartition("-")[2], self.container)
        return "/".join(part for part in parts if part)


@dataclass(frozen=True)
class Line:
    """A line; `t_ns` is nanoseconds since the epoch."""

    source: Source
    t_ns: int
    text: str


@dataclass(frozen=True)
class Mark:
    """Where the output of another process of the same container begins."""

    generation: int
    digest: str
    """The first digits of the binary's sha256."""


def parse(source: Source, text: str) -> Line | None:
    """A line that begins with its time, as the API server writes it; None for another."""
    found = _STAMP.fullmatch(text)
    if found is None:
        return None
    whole, fraction, zone, rest = found.groups()
    seconds = datetime.fromisoformat(f"{whole}{'+00:00' if zone == 'Z' else zone}").timestamp()
    return Line(source, int(seconds) * 1_000_000_000 + int((fraction or "0").ljust(9, "0")), rest)


def time_of(t_ns: int) -> str:
    """As the API server writes it, in UTC."""
    whole = datetime.fromtimestamp(t_ns // 1_000_000_000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{t_ns % 1_000_000_000:09d}Z"


def mark_of(text: str) -> Mark | None:
    """What the supervisor says when it starts a process; None for any other line."""
    found = _MARK.match(text)
    return Mark(int(found[1]), found[2][:DIGITS]) if found else None


@dataclass
class Seen:
    """The newest lines of one container, so that none is shown twice when it is asked again.

    Two lines may have one time, and those of both streams may be out of order by a little: what
    tells a line is its time and its text, and how often it was there.
    """

    newest_ns: int = 0
    oldest_ns: int = 0
    """What is older was not wished for."""
    _kept: deque[tuple[int, str]] = field(default_factory=deque)

    @property
    def since_s(self) -> int:
        """From when on to ask, in whole seconds since the epoch; 0: from the beginning."""
        return self.newest_ns // 1_000_000_000

    def reading(self) -> Reading:
        """For one answer that begins at `since_s`."""
        return Reading(self, Counter(self._kept))

    def add(self, line: Line) -> None:
        """The line is known from now on."""
        self._kept.append((line.t_ns, line.text))
        self.newest_ns = max(self.newest_ns, line.t_ns)
        # Those of the second from which on it would be asked must stay.
        floor_ns = self.since_s * 1_000_000_000 - KEPT_NS
        while self._kept[0][0] < floor_ns:
            self._kept.popleft()


@dataclass
class Reading:
    """One answer: what of it was in those before."""

    seen: Seen
    _again: Counter[tuple[int, str]]

    def is_new(self, line: Line) -> bool:
        """Whether the line was not seen before; it is from now on."""
        key = (line.t_ns, line.text)
        if self._again[key] > 0:
            self._again[key] -= 1
            return False
        if line.t_ns < self.seen.oldest_ns:
            return False
        self.seen.add(line)
        return True
