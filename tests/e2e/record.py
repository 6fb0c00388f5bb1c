"""What became of the scenarios: passed, failed, or not checked and why. Never green by silence."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["NotChecked", "Outcome", "Record", "Scenario", "code_of", "table"]

State = Literal["passed", "failed", "not checked"]
MARKS: dict[State, str] = {"passed": "✓", "failed": "✗", "not checked": "-"}


class NotChecked(Exception):
    """What a scenario needs is not to be had on this machine; the text says what."""


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended; `detail` says what was seen, `took_s` how long it took in seconds."""

    name: str
    state: State
    took_s: float
    detail: str


@dataclass(frozen=True)
class Scenario:
    """`run` returns what was seen, raises NotChecked, or anything else when it failed.

    `needs` are names of scenarios without which it cannot be tried.
    """

    name: str
    run: Callable[[], str]
    needs: tuple[str, ...] = ()


class Record:
    """Runs scenarios in their order and remembers how they ended."""

    def __init__(self, show: Callable[[str], object] = print) -> None:
        self._show = show
        self.outcomes: list[Outcome] = []

    def run(self, scenario: Scenario) -> Outcome:
        """Try one; every scenario gets its line, also one that cannot be tried."""
        started_s = time.monotonic()
        state, detail = self._tried(scenario)
        outcome = Outcome(scenario.name, state, time.monotonic() - started_s, detail)
        self.outcomes.append(outcome)
        self._show(line(outcome))
        return outcome

    def _tried(self, scenario: Scenario) -> tuple[State, str]:
        passed = {one.name for one in self.outcomes if one.state == "passed"}
        lacking = [need for need in scenario.needs if need not in passed]
        if lacking:
            return "not checked", f"needs: {', '.join(lacking)}"
        try:
            return "passed", scenario.run()
        except NotChecked as exc:
            return "not checked", str(exc)
        except Exception as exc:  # one that fails must not hide how the others end
            traceback.print_exc()
            return "failed", (str(exc).splitlines() or [type(exc).__name__])[0]


def line(outcome: Outcome) -> str:
    """One line of an outcome."""
    detail = f" · {outcome.detail}" if outcome.detail else ""
    return (
        f"{MARKS[outcome.state]} {outcome.name}: {outcome.state} · {outcome.took_s:.1f} s{detail}"
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """All lines, and how many ended how."""
    count = {state: sum(one.state == state for one in outcomes) for state in MARKS}
    total = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    return "\n".join([*map(line, outcomes), total or "nothing was tried"])


def code_of(outcomes: Sequence[Outcome]) -> int:
    """0 only when something passed and nothing failed or was kept from being tried by a failure."""
    states = {one.state for one in outcomes}
    return 0 if "passed" in states and "failed" not in states else 1
