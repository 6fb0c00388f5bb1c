"""What is recorded of a save: its parts with their times, and what is measured of it. Pure.

Times are of `time.monotonic`, in seconds: the loop notes them while it works, and they become
spans and metrics later, in another thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kindloop.errors import KindloopError

__all__ = ["BUCKETS_S", "Part", "Timeline", "Trace", "Value", "durations", "end_to_end", "said"]

Value = str | bool | int | float | Sequence[str]
"""What an attribute of a span may be."""

BUCKETS_S = (
    0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0,
)  # fmt: skip
"""Bounds of the histogram: a file in place takes 10 ms, a release build 100 s."""


@dataclass(frozen=True)
class Part:
    """Something that took time, with what it is made of. `error` says in a line why it failed."""

    name: str
    began_s: float
    ended_s: float
    label: str = ""
    """What the metrics call it; empty when they do not have it."""
    error: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def took_s(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s


@dataclass(frozen=True)
class Trace:
    """One save, or another command, from its first event to its end."""

    root: Part
    result: str
    """`fresh`, or how else it ended; underscores between words."""
    counts: bool = False
    """Whether it is a save for the metrics: a start or a rebuild by hand is none."""


class Timeline:
    """Takes down the parts of one round, in the thread that does it."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def add(
        self,
        name: str,
        began_s: float,
        ended_s: float | None = None,
        *,
        label: str = "",
        error: str = "",
        attributes: Mapping[str, Value] | None = None,
        parts: Sequence[Part] = (),
    ) -> Part:
        """Note a part; without `ended_s` it has just ended."""
        end_s = time.monotonic() if ended_s is None else ended_s
        part = Part(name, began_s, end_s, label, error, attributes or {}, tuple(parts))
        self.parts.append(part)
        return part

    @contextmanager
    def taking(self, name: str, attributes: Mapping[str, Value] | None = None) -> Iterator[Taken]:
        """Note the body as a part, which the metrics have too; failed when it raises."""
        taken, began_s, error = Taken(), time.monotonic(), ""
        try:
            yield taken
        except BaseException as exc:
            error = said(exc)
            raise
        finally:
            part = self.add(name, began_s, label=name, error=error, attributes=attributes)
            taken.took_s = part.took_s


def said(error: BaseException) -> str:
    """An error in one line."""
    text = error.message if isinstance(error, KindloopError) else str(error)
    return text.partition("\n")[0] or type(error).__name__


class Taken:
    """How long a body took, in seconds, once it has ended."""

    took_s = 0.0


def durations(trace: Trace) -> dict[str, float]:
    """Seconds by part as the metrics name them: `total`, and each label among the parts.

    `build` is from the begin of the first stage to the end of the last. Parts of one label count
    from the first's begin to the last's end: workloads are swapped side by side.
    """
    spans: dict[str, tuple[float, float]] = {}
    for part in trace.root.parts:
        labels = [part.label] if part.label else []
        if part.label.startswith("stage:"):
            labels.append("build")
        for label in labels:
            began_s, ended_s = spans.get(label, (part.began_s, part.ended_s))
            spans[label] = (min(began_s, part.began_s), max(ended_s, part.ended_s))
    found = {label: ended_s - began_s for label, (began_s, ended_s) in spans.items()}
    return {"total": trace.root.took_s, **found}


def end_to_end(
    taken_s: Mapping[str, float],
    ended_s: float,
    *,
    attributes: Mapping[str, Value] | None = None,
) -> tuple[Part, ...]:
    """Parts of which only the durations are known, one after the other, the last at `ended_s`."""
    parts: list[Part] = []
    for name, took_s in reversed(list(taken_s.items())):
        parts.append(Part(name, ended_s - took_s, ended_s, attributes=attributes or {}))
        ended_s -= took_s
    return tuple(reversed(parts))
