"""The record of the end-to-end scenarios: what was not tried is never green."""

from __future__ import annotations

import pytest
from e2e.record import NotChecked, Outcome, Record, Scenario, code_of, table


def tried(*scenarios: Scenario) -> list[Outcome]:
    record = Record(show=lambda _line: None)
    for scenario in scenarios:
        record.run(scenario)
    return record.outcomes


def fails() -> str:
    raise AssertionError("nothing answers\nmore")


def absent() -> str:
    raise NotChecked("no image")


GOOD = Scenario("good", lambda: "seen")
BAD = Scenario("bad", fails)
ABSENT = Scenario("absent", absent)


def test_each_scenario_has_its_state_and_what_was_seen() -> None:
    found = tried(GOOD, BAD, ABSENT)
    assert [(one.name, one.state, one.detail) for one in found] == [
        ("good", "passed", "seen"),
        ("bad", "failed", "nothing answers"),
        ("absent", "not checked", "no image"),
    ]


def test_what_needs_a_scenario_that_did_not_pass_is_not_tried() -> None:
    ran: list[str] = []
    after = Scenario("after", lambda: ran.append("after") or "", ("bad", "good"))
    found = tried(GOOD, BAD, after)
    assert not ran
    assert (found[-1].state, found[-1].detail) == ("not checked", "needs: bad")


@pytest.mark.parametrize(
    ("scenarios", "code"),
    [((GOOD,), 0), ((GOOD, ABSENT), 0), ((GOOD, BAD), 1), ((ABSENT,), 1), ((), 1)],
)
def test_green_needs_a_pass_and_no_failure(scenarios: tuple[Scenario, ...], code: int) -> None:
    assert code_of(tried(*scenarios)) == code


def test_the_table_counts() -> None:
    lines = table(tried(GOOD, ABSENT)).splitlines()
    assert lines[0].startswith("✓ good: passed · 0.0 s · seen")
    assert lines[1].startswith("- absent: not checked · 0.0 s · no image")
    assert lines[2] == "1 passed, 1 not checked"
