"""Figures and their bars: what is computed of samples, and how it is shown. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = [
    "BEGIN",
    "END",
    "HEAL_OVER_S",
    "KNOWN",
    "Bar",
    "Figure",
    "document",
    "into_page",
    "passed",
    "percentile",
    "rows",
    "table",
]

Statistic = Literal["p50", "p95", "max"]
Bar = Mapping[Statistic, float]
"""The most that a statistic may be; empty: the figure is reported only."""
KNOWN: Mapping[str, tuple[str, Bar]] = {
    "zero_build_swap": ("s", {"p50": 0.07, "p95": 0.11}),
    "controller_edit_overhead": ("s", {"p50": 0.15}),
    "controller_edit_bare": ("s", {}),
    "controller_edit_served": ("s", {}),
    "library_edit_overhead": ("s", {"p50": 0.15}),
    "library_edit_bare": ("s", {}),
    "library_edit_served": ("s", {}),
    "spec_edit_overhead": ("s", {"p50": 0.15}),
    "spec_edit_bare": ("s", {}),
    "spec_edit_served": ("s", {}),
    "exec_swap": ("s", {"p50": 0.6}),
    "heal_after_panic": ("s", {"p50": 0.12}),
    "warm_up": ("s", {"p50": 2.0}),
    "plan_10k_files": ("s", {"p50": 0.15}),
    "soak_failures": ("swaps", {"p50": 0}),
    "soak_zombies": ("processes", {"p50": 0}),
    "soak_fd_growth": ("descriptors", {"p50": 0}),
    "soak_rss_growth_mb": ("MB", {"p50": 5}),
    "soak_disk_growth_mb": ("MB", {"p50": 5}),
    "watcher_rss_mb": ("MB", {"p50": 80}),
    "swap_refused_requests": ("requests a swap", {}),
    "tracing_cost": ("µs a request", {}),
    "tracing_delay": ("µs a request", {}),
}
"""Unit and bar of each figure, in the order they are shown. The bars are for a machine with two
cores. That of `heal_after_panic` is HEAL_OVER_S above the median of `zero_build_swap`."""
HEAL_OVER_S = 0.05
HEADER = ("name", "n", "p50", "p95", "max", "unit", "bar", "met")
BEGIN = "<!-- nox -s bench: begin -->"
END = "<!-- nox -s bench: end -->"
"""Between these two lines of a page `into_page` writes the table."""


@dataclass(frozen=True)
class Figure:
    """A measured figure; without values when it could not be measured."""

    name: str
    n: int
    p50: float | None
    p95: float | None
    max: float | None
    unit: str
    bar: Bar

    @classmethod
    def of(cls, name: str, samples: Sequence[float], bar: Bar | None = None) -> Figure:
        """The figure of one or more samples; `bar` takes the place of the known one."""
        p50, p95, most = (percentile(samples, share) for share in (50, 95, 100))
        unit, known = KNOWN[name]
        return cls(name, len(samples), p50, p95, most, unit, known if bar is None else bar)

    @classmethod
    def single(cls, name: str, n: int, value: float) -> Figure:
        """A figure that is one value, computed of `n` samples."""
        return cls(name, n, value, value, value, *KNOWN[name])

    @classmethod
    def missing(cls, name: str) -> Figure:
        """A figure that could not be measured."""
        return cls(name, 0, None, None, None, *KNOWN[name])

    @property
    def met(self) -> bool | None:
        """Whether every bar is met; None without a bar. A figure that is missing met none."""
        if not self.bar:
            return None
        values = {name: getattr(self, name) for name in self.bar}
        return all(v is not None and v <= self.bar[name] for name, v in values.items())

    def as_json(self) -> dict[str, Any]:
        """The figure as it stands in bench.json."""
        fields = asdict(self)
        for name in ("p50", "p95", "max"):
            fields[name] = None if fields[name] is None else round(fields[name], 4)
        return {**fields, "bar": dict(self.bar) or None, "met": self.met}


def passed(figures: Sequence[Figure], *, strict: bool) -> bool:
    """Whether every figure was measured and, when `strict`, met its bar."""
    return all(f.p50 is not None and not (strict and f.met is False) for f in figures)


def percentile(samples: Sequence[float], share: float) -> float:
    """The value below which `share` percent lie, linear between the two nearest samples."""
    ordered = sorted(samples)
    at = (len(ordered) - 1) * share / 100
    low, high = math.floor(at), math.ceil(at)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def document(machine: Mapping[str, Any], figures: Sequence[Figure]) -> dict[str, Any]:
    """The content of bench.json."""
    return {"machine": dict(machine), "figures": [figure.as_json() for figure in figures]}


def rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """The figures as words, in the order of HEADER."""
    return [
        (
            figure.name,
            str(figure.n),
            *(_number(getattr(figure, name)) for name in ("p50", "p95", "max")),
            figure.unit,
            ", ".join(f"{name} <= {most:g}" for name, most in figure.bar.items()) or "reported",
            {True: "yes", False: "no", None: ""}[figure.met],
        )
        for figure in figures
    ]


def table(figures: Sequence[Figure]) -> str:
    """The figures in columns for a terminal."""
    lines = [HEADER, *rows(figures)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    numbers = range(1, 5)
    return "\n".join(
        "  ".join(
            word.rjust(width) if i in numbers else word.ljust(width)
            for i, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def into_page(page: str, machine: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """The page with its table and the line about the machine written anew.

    Raises ValueError when the page lacks the two marks.
    """
    lines = [f"| {' | '.join(HEADER)} |", f"| {' | '.join('---' for _ in HEADER)} |"]
    lines += [f"| `{row[0]}` | {' | '.join(row[1:])} |" for row in rows(figures)]
    about = " · ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    text = "\n".join([BEGIN, f"Machine: {about}.", "", *lines, END])
    made, count = re.subn(f"{BEGIN}.*?{END}", lambda _: text, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} places between {BEGIN} and {END}")
    return made


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.3f}"
