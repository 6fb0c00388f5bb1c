"""What goose is told and what it says: words of its command, its report, thresholds, tables. Pure.

Times in a report of goose are counted in microseconds, in buckets at most 1/64 wide: a percentile
is less than 0.8 % off. Its own tables of percentiles are cut to whole milliseconds, so they are
not used here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kindloop.config import Load
from kindloop.errors import CannotTell, Unhealthy

__all__ = [
    "HTML",
    "JSON",
    "KEEP",
    "Judged",
    "Outcome",
    "Progress",
    "Row",
    "argv",
    "broken",
    "every_s",
    "failure",
    "longest_s",
    "outdated",
    "percentile_ms",
    "read",
    "rules",
    "table",
]

HTML = "report.html"
JSON = "report.json"
KEEP = 5
"""Runs kept of each profile."""
ENDING_S = 60
"""Seconds beyond the planned ones in which goose must have ended and written its reports."""
REQUEST_S = 30
"""Seconds after which a request without an answer counts as failed."""
WORST = 3
"""Requests and errors that are named when a threshold is broken."""
_EXACT_US = 128
"""Below this each microsecond has a bucket of its own (goose, src/metrics/buckets.rs)."""
_FOLDER = re.compile(r"(?P<profile>.+)-\d{8}T\d{6}")
_ROW = re.compile(r" Aggregated +\|" + r" *([^|]+?) *\|" * 3 + r" *([^|]+?) *")
_ELAPSED = re.compile(r"printing running metrics after (\d+) seconds")


@dataclass(frozen=True)
class Row:
    """One kind of request, or all together. Times in milliseconds, `rps` a second of the run."""

    name: str
    requests: int
    failures: int
    """Those whose status was not the expected one, or that got no answer."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    rps: float


@dataclass(frozen=True)
class Judged:
    """A rule as goose judged it; `value` in its unit (ms, percent, requests/s), None unmeasured."""

    rule: str
    value: float | None
    passed: bool


@dataclass(frozen=True)
class Outcome:
    """What a run measured. `complete` is false for one that was ended before its time."""

    rows: tuple[Row, ...]
    total: Row
    judged: tuple[Judged, ...]
    errors: tuple[str, ...]
    duration_s: int
    complete: bool

    @property
    def rps(self) -> float:
        """Requests per second while all users were there; of the whole run if they never were."""
        held = [one.value for one in self.judged if one.rule.startswith("rps")]
        return held[0] if held and held[0] is not None else self.total.rps

    def summary(self) -> str:
        """The run in half a line."""
        total = self.total
        return (
            f"{total.requests} requests, {total.failures} unexpected, {_number(self.rps)}/s, "
            f"p95 {_ms(total.p95_ms)}"
        )


def rules(load: Load) -> tuple[str, str, str]:
    """The thresholds as goose reads them: time, errors, rate."""
    return (
        f"p95<={_plain(load.max_p95_ms)}ms",
        f"error-rate<={_plain(load.max_error_ratio * 100)}%",
        f"rps>={_plain(load.min_rps)}",
    )


def argv(
    program: Path, url: str, load: Load, folder: Path, baseline: Path | None
) -> tuple[str, ...]:
    """The command that loads `url` and writes its reports into `folder`.

    `baseline` is the JSON report of a run to compare with: goose shows the differences.
    """
    words = [str(program), "--host", url, "--users", str(load.users)]
    words += ["--increase-rate", _plain(load.hatch_rate), "--run-time", f"{load.run_time_s}s"]
    words += ["--timeout", str(REQUEST_S), "--no-telnet", "--no-reset-metrics"]
    words += ["--running-metrics", str(every_s(load))]
    for name in (HTML, JSON):
        words += ["--report-file", str(folder / name)]
    for rule in rules(load):
        words += ["--threshold", rule]
    words += ["--no-threshold-abort"]  # one slow second at the start must not end the run
    return (*words, "--baseline-file", str(baseline)) if baseline else tuple(words)


def every_s(load: Load) -> int:
    """Seconds between two lines of progress."""
    return max(1, min(5, load.run_time_s // 5))


def longest_s(load: Load) -> float:
    """Seconds until goose must have ended."""
    return load.users / load.hatch_rate + load.run_time_s + REQUEST_S + ENDING_S


def read(document: Any) -> Outcome:
    """What a JSON report of goose says. Raises CannotTell when it says something else."""
    try:
        return _read(document)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise CannotTell(
            f"goose's report cannot be read: {exc!r}",
            why="it is of another version of goose than this kindloop knows",
            hint="compare the version of goose in the load test's Cargo.lock with 0.19",
        ) from exc


def _read(document: Any) -> Outcome:
    metrics = document["raw_metrics"]
    duration_s = max(int(metrics["duration"]), 1)
    rows: list[Row] = []
    merged: dict[int, int] = {}
    least, most = [], []
    for name, one in sorted(metrics["requests"].items()):
        raw = one["raw_data"]
        times = {int(us): int(count) for us, count in raw["times_us"].items()}
        low, high = int(raw["minimum_time_us"]), int(raw["maximum_time_us"])
        rows.append(_row(name, (one["success_count"], one["fail_count"]), times, low, high))
        least.append(low)
        most.append(high)
        for us, count in times.items():
            merged[us] = merged.get(us, 0) + count
    ended = (sum(r.requests - r.failures for r in rows), sum(r.failures for r in rows))
    total = _row("all", ended, merged, min(least, default=0), max(most, default=0))
    rates = [_with_rate(row, duration_s) for row in (*rows, total)]
    errors = sorted(metrics["errors"].values(), key=lambda one: -int(one["occurrences"]))
    return Outcome(
        rows=tuple(rates[:-1]),
        total=rates[-1],
        judged=tuple(
            Judged(str(one["rule"]), one["value"], bool(one["passed"]))
            for one in metrics["thresholds"]
        ),
        errors=tuple(map(_error, errors)),
        duration_s=duration_s,
        complete=document["ended_by"] == "completed",
    )


def _error(one: Mapping[str, Any]) -> str:
    method = str(one["custom_method"] or one["method"]).upper()
    what = str(one["error"]).removesuffix(f": {one['name']}")
    return f"{one['occurrences']} times {method} {one['name']}: {what}"


def _row(name: str, ended: Sequence[int], times: Mapping[int, int], low: int, high: int) -> Row:
    good, bad = ended
    p50, p95, p99 = (percentile_ms(times, low, high, part) for part in (0.5, 0.95, 0.99))
    return Row(name, good + bad, bad, p50, p95, p99, 0.0)


def _with_rate(row: Row, duration_s: int) -> Row:
    return Row(**{**vars(row), "rps": row.requests / duration_s})


def percentile_ms(times: Mapping[int, int], low_us: int, high_us: int, part: float) -> float:
    """Milliseconds within which `part` (0 to 1) of the requests were answered, as goose counts.

    `times` is count by the least microseconds of a bucket, `low_us` and `high_us` the extremes.
    """
    total = sum(times.values())
    rank = int(round(total * part, 6) + 0.5)
    if not total:
        return 0.0
    if rank >= total:
        return high_us / 1000
    if rank <= 1:
        return low_us / 1000
    seen = 0
    for floor, count in sorted(times.items()):
        seen += count
        if seen >= rank:
            return min(max(_middle_us(floor), low_us), high_us) / 1000
    raise AssertionError("a rank beyond the total")


def _middle_us(floor: int) -> int:
    """The time that a bucket stands for: 64 buckets to each power of two."""
    bits = 0 if floor < _EXACT_US else floor.bit_length() - 7
    return floor + ((1 << bits) >> 1)


class Progress:
    """Makes a line of each of goose's running tables, which have a hundred."""

    def __init__(self, every_s: int) -> None:
        self._every_s = every_s
        """Seconds between two lines: while users begin, goose prints a table for each."""
        self._shown_s = 0
        self._elapsed_s = 0
        self._counts: tuple[str, ...] = ()
        self._wanted = False
        self._ends = False

    def feed(self, line: str) -> str | None:
        """What to show after this line of goose's output; None for nothing."""
        if found := _ELAPSED.search(line):
            self._elapsed_s, self._wanted = int(found[1]), False
            return None
        if " === " in line or "printing final metrics" in line:
            running = "PER REQUEST" in line and not self._ends
            self._ends |= "final" in line
            self._wanted, self._counts = running, ()
            return None
        row = _ROW.fullmatch(line)
        if not self._wanted or row is None:
            return None
        if not self._counts:
            self._counts = row.groups()
            return None
        self._wanted = False
        requests, failed, rate, _ = self._counts
        average, _, slowest, _ = row.groups()
        if self._elapsed_s - self._shown_s < self._every_s:
            return None
        self._shown_s = self._elapsed_s
        return (
            f"{self._elapsed_s} s: {requests} requests, {rate}/s, {failed.split()[0]} unexpected, "
            f"average {average} ms, slowest {slowest} ms"
        )


def table(now: Outcome, before: Outcome | None) -> str:
    """A line for each kind of request and one for all; with `before`, its p95 beside."""
    old = {row.name: row for row in (*before.rows, before.total)} if before else {}
    head = ["request", "count", "failed", "p50 ms", "p95 ms", "p99 ms", "req/s"]
    cells = [head + (["p95 ms before"] if before else [])]
    for row in (*now.rows, now.total):
        times = [_number(ms) for ms in (row.p50_ms, row.p95_ms, row.p99_ms)]
        line = [row.name, str(row.requests), str(row.failures), *times, f"{row.rps:.1f}"]
        was = old.get(row.name)
        cells.append(line + ([_number(was.p95_ms) if was else "-"] if before else []))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        f"{line[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in cells
    )


def broken(outcome: Outcome, load: Load) -> list[str]:
    """What was measured against each threshold that does not hold, in words; as goose judged."""
    found = []
    for one in outcome.judged:
        if one.passed:
            continue
        kind = re.split("[<>]", one.rule, maxsplit=1)[0]
        value = "nothing" if one.value is None else _number(one.value)
        match kind:
            case "p95":
                text = f"p95 is {value} ms, at most {_plain(load.max_p95_ms)} ms is allowed"
            case "error-rate":
                most = _plain(load.max_error_ratio * 100)
                text = f"{value} % of the answers are unexpected, at most {most} % is allowed"
            case "rps":
                text = f"{value} requests/s, at least {_plain(load.min_rps)} are asked for"
            case _:
                text = f"{one.rule}: {value}"
        found.append(text)
    return found


def failure(name: str, load: Load, outcome: Outcome, folder: str) -> Unhealthy | None:
    """The error for a run that broke a threshold of profile `name`; None for one that did not."""
    found = broken(outcome, load)
    if not found:
        return None
    return Unhealthy(
        f"load {name}: {'; '.join(found)}",
        evidence=list(_worst(outcome)),
        why="the service got slower or fails, or this machine was busy with something else",
        hint=f"open {folder}/{HTML}, or correct load.{name} in kindloop.yaml",
    )


def _worst(outcome: Outcome) -> Iterator[str]:
    yield from outcome.errors[:WORST]
    failed = {one.rule[:3] for one in outcome.judged if not one.passed}
    if "p95" in failed:
        slowest = sorted(outcome.rows, key=lambda row: -row.p95_ms)[:WORST]
        yield from (f"{row.name}: p95 {_ms(row.p95_ms)}" for row in slowest)


def outdated(names: Iterable[str], profile: str, keep: int = KEEP) -> list[str]:
    """Names of folders of runs of `profile` beyond the newest `keep`."""
    mine = sorted(n for n in names if (m := _FOLDER.fullmatch(n)) and m["profile"] == profile)
    return mine[:-keep] if keep else mine


def _plain(value: float) -> str:
    """A number without an exponent: goose reads none."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _number(value: float) -> str:
    """Three digits that count; whole numbers from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ms(value: float) -> str:
    return f"{_number(value)} ms"
