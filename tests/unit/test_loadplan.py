"""Words for goose, and its report, on what a real goose 0.19 wrote."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kindloop import loadplan
from kindloop.config import Load
from kindloop.errors import CannotTell

DATA = Path(__file__).parent / "data"
LOW = Load("low", 10, 2, 30, 50, 0, 100)
PROGRESS = [
    "1 s: 11 requests, 11.00/s, 0 unexpected, average 0.7 ms, slowest 1.42 ms",
    "2 s: 65 requests, 32.50/s, 0 unexpected, average 0.57 ms, slowest 1.98 ms",
    "3 s: 114 requests, 38.00/s, 0 unexpected, average 0.52 ms, slowest 1.98 ms",
]


def document(name: str) -> Any:
    return json.loads((DATA / f"goose-{name}.json").read_text())


def test_thresholds_in_gooses_words() -> None:
    assert loadplan.rules(LOW) == ("p95<=50ms", "error-rate<=0%", "rps>=100")


def test_numbers_for_goose_have_no_exponent() -> None:
    load = Load("x", 1, 0.5, 1, 0.25, 0.0000125, 1_000_000)
    assert loadplan.rules(load) == ("p95<=0.25ms", "error-rate<=0.00125%", "rps>=1000000")


def test_the_command_loads_one_host_and_ends_by_itself(tmp_path: Path) -> None:
    words = loadplan.argv(Path("/bin/goose"), "http://127.0.0.1:8080", LOW, tmp_path, None)
    given = dict(pairwise(words))
    assert words[0] == "/bin/goose"
    assert given["--host"] == "http://127.0.0.1:8080"
    assert words.count("--host") == 1
    assert given["--users"] == "10"
    assert given["--increase-rate"] == "2"
    assert given["--run-time"] == "30s"
    # Else the first slow second would end the run, and a later report be of half a load.
    assert "--no-threshold-abort" in words
    # Nobody else may steer it.
    assert "--no-telnet" in words
    assert "--baseline-file" not in words


def test_an_earlier_run_is_the_baseline(tmp_path: Path) -> None:
    words = loadplan.argv(Path("g"), "http://127.0.0.1:1", LOW, tmp_path, tmp_path / "old.json")
    assert words[-2:] == ("--baseline-file", str(tmp_path / "old.json"))


def test_the_deadline_is_beyond_all_that_is_planned() -> None:
    assert loadplan.longest_s(LOW) > 10 / 2 + 30 + loadplan.REQUEST_S


def test_a_report_is_read() -> None:
    found = loadplan.read(document("whole"))
    assert found.complete
    assert found.total.requests == sum(row.requests for row in found.rows) > 0
    assert found.total.failures == 0
    assert not found.errors
    names = {row.name for row in found.rows}
    assert {"GET /secure", "POST /pets (415)", "DELETE /users/{user_id}"} <= names
    assert loadplan.broken(found, LOW) == []


@pytest.mark.parametrize("name", ["whole", "broken"])
def test_p95_is_what_goose_judges(name: str) -> None:
    """Its tables are cut to whole milliseconds; the thresholds are judged by this number."""
    found = loadplan.read(document(name))
    judged = next(one for one in found.judged if one.rule.startswith("p95"))
    assert found.total.p95_ms == judged.value


def test_the_rate_is_that_with_all_users() -> None:
    found = loadplan.read(document("broken"))
    assert found.rps == pytest.approx(48.8748, abs=0.001)
    assert found.total.rps == pytest.approx(136 / found.duration_s)


def test_every_broken_threshold_is_named_with_what_was_measured() -> None:
    load = Load("x", 2, 2, 2, 0.1, 0, 1000)
    failed = loadplan.failure("x", load, loadplan.read(document("broken")), "load/x-1")
    assert failed is not None
    assert failed.exit_code == 1
    assert failed.message == (
        "load x: p95 is 0.354 ms, at most 0.1 ms is allowed; "
        "100 % of the answers are unexpected, at most 0 % is allowed; "
        "48.9 requests/s, at least 1000 are asked for"
    )
    assert failed.evidence[0] == (
        "21 times GET /admin/settings: error sending request /admin/settings: "
        "client error (Connect)"
    )
    assert any("p95" in line for line in failed.evidence)
    assert "load/x-1/report.html" in failed.hint


def test_nothing_broken_is_no_failure() -> None:
    assert loadplan.failure("low", LOW, loadplan.read(document("whole")), "here") is None


def test_a_rule_without_samples_is_broken() -> None:
    raw = document("whole")
    raw["raw_metrics"]["thresholds"][2] |= {"value": None, "passed": False}
    found = loadplan.read(raw)
    assert loadplan.broken(found, LOW) == ["nothing requests/s, at least 100 are asked for"]
    assert found.rps == found.total.rps


def test_a_run_that_was_ended_early_is_not_whole() -> None:
    raw = document("whole") | {"ended_by": "canceled"}
    assert not loadplan.read(raw).complete


def test_a_run_without_a_request() -> None:
    raw = document("whole")
    raw["raw_metrics"] |= {"requests": {}, "duration": 0}
    found = loadplan.read(raw)
    assert (found.rows, found.total.requests, found.total.p95_ms) == ((), 0, 0.0)
    assert "all" in loadplan.table(found, None)


@pytest.mark.parametrize("raw", [None, {}, {"raw_metrics": {"duration": 1}}, []])
def test_a_report_of_something_else_is_told(raw: Any) -> None:
    with pytest.raises(CannotTell, match="cannot be read"):
        loadplan.read(raw)


TIMES = [
    # All the same time; one; none; a bucket of 8 us stands for its middle.
    ({100: 20}, 100, 100, 0.95, 0.1),
    ({100: 1}, 100, 100, 0.95, 0.1),
    ({}, 0, 0, 0.95, 0.0),
    ({100: 9, 992: 5, 2048: 6}, 100, 2060, 0.5, 0.996),
    # Kept between the extremes.
    ({100: 10, 992: 10}, 100, 995, 0.9, 0.995),
    # The last rank is the slowest that was measured.
    ({100: 1, 992: 1}, 100, 1003, 0.95, 1.003),
    # Ranks are rounded to the nearest: 0.95 of 10 is the tenth.
    ({10: 9, 100: 1}, 10, 100, 0.95, 0.1),
]


@pytest.mark.parametrize(("times", "low", "high", "part", "expected"), TIMES)
def test_percentiles(
    times: dict[int, int], low: int, high: int, part: float, expected: float
) -> None:
    assert loadplan.percentile_ms(times, low, high, part) == expected


def test_progress_is_a_line_now_and_then() -> None:
    progress = loadplan.Progress(1)
    lines = (DATA / "goose.log").read_text().splitlines()
    shown = [text for line in lines if (text := progress.feed(line))]
    # Of the last table, which has no requests to come, nothing is told: the report says more.
    assert shown == PROGRESS


def test_progress_keeps_its_distance() -> None:
    progress = loadplan.Progress(2)
    lines = (DATA / "goose.log").read_text().splitlines()
    assert len([1 for line in lines if progress.feed(line)]) < len(PROGRESS)


def test_a_table_has_a_line_for_each_request_and_all() -> None:
    found = loadplan.read(document("whole"))
    lines = loadplan.table(found, None).splitlines()
    assert lines[0].split() == [
        *("request", "count", "failed", "p50", "ms", "p95", "ms", "p99", "ms", "req/s"),
    ]
    assert len(lines) == len(found.rows) + 2
    assert lines[-1].startswith("all ")
    assert len({len(line) for line in lines}) == 1


def test_a_table_shows_the_run_before_beside() -> None:
    now, before = loadplan.read(document("whole")), loadplan.read(document("broken"))
    lines = loadplan.table(now, before).splitlines()
    assert lines[0].endswith("p95 ms before")
    assert lines[-1].split()[-1] == "0.354"


def test_a_request_that_is_new_has_nothing_before() -> None:
    now, raw = loadplan.read(document("whole")), document("broken")
    del raw["raw_metrics"]["requests"]["GET /secure"]
    lines = loadplan.table(now, loadplan.read(raw)).splitlines()
    row = next(line for line in lines if line.startswith("GET /secure "))
    assert row.split()[-1] == "-"


def test_old_runs_of_a_profile_are_outdated() -> None:
    names = [f"low-2025010{day}T000000" for day in range(1, 8)]
    others = ["low-2-20250101T000000", "medium-20250101T000000", "notes", "low-x"]
    assert loadplan.outdated([*reversed(names), *others], "low", 5) == names[:2]
    assert loadplan.outdated(names[:3], "low", 5) == []
