"""One save, from what it asks for to the line that tells how it ended: pure functions over data.

What a round has to do (`Job`), what the periodic look finds undone (`missed`), how a round ended
(`Saved`), and what a supervisor's report changes later (`turn`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from kindloop.config import Stage
from kindloop.stage_plan import Decision, Observed
from kindloop.supervised import Report, Verdict
from kindloop.swap import short

__all__ = [
    "GOOD",
    "Cause",
    "Job",
    "Result",
    "Saved",
    "Standing",
    "as_tried",
    "generator",
    "hopeful",
    "missed",
    "parts_of",
    "reason_of",
    "result_of",
    "served_by",
    "turn",
]

Cause = Literal["start", "save", "rebuild", "generate", "heal"]
Result = Literal[
    "fresh", "unchanged", "built", "not built", "rolled_back", "refused", "crashed", "unhealthy",
    "unknown", "stale", "failed", "restarted", "fresh again",
    "swapped",
]  # fmt: skip
GOOD: frozenset[Result] = frozenset({"fresh", "unchanged", "built", "fresh again", "swapped"})
"""Results that need nobody's attention."""
SHOWN_S = 0.005
"""Seconds from which a part is worth its place in the line."""


@dataclass(frozen=True)
class Job:
    """What a round has to do. `since_s` is a time of `time.monotonic`."""

    cause: Cause
    since_s: float
    paths: frozenset[Path] = frozenset()
    """Absolute paths of what was saved."""
    everything: bool = False
    """Look at manifests, images and every workload, whatever the paths say."""
    forced: tuple[str, ...] = ()
    """Stages that run also when they are up to date."""
    stages: frozenset[str] = frozenset()
    """Stages that are concerned although no path says so."""
    ready_s: float = 0.0
    """When what was saved first was quiet, of `time.monotonic`; 0 where nothing was waited for."""

    def joined(self, newer: Job) -> Job:
        """Both in one round, because the newer one came before the older one was served.

        Its time counts from the first event of both: that long the user has waited for an
        answer that no round has given yet.
        """
        return Job(
            newer.cause if self.cause == "heal" else self.cause,
            min(self.since_s, newer.since_s),
            self.paths | newer.paths,
            self.everything or newer.everything,
            tuple(dict.fromkeys((*self.forced, *newer.forced))),
            self.stages | newer.stages,
            min(self, newer, key=lambda job: job.since_s).ready_s,
        )


@dataclass(frozen=True)
class Saved:
    """How a round ended for one workload (or for none, when only stages were concerned)."""

    result: Result
    took_s: float
    workload: str = ""
    digest: str = ""
    """sha256 of the newest artifact; empty when there is none."""
    served: str = ""
    """sha256 of what answers now; empty when nothing does or nobody knows."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Seconds by name, in the order they were spent."""
    paths: tuple[str, ...] = ()
    """What was saved, relative to the checkout, or to app.root where that lies elsewhere."""
    shown: str = ""
    """The same, short."""
    reason: str = ""
    stages: tuple[str, ...] = ()
    """Stages that failed."""
    errors: tuple[str, ...] = ()
    """What is wrong with them, a line each."""
    named: bool = False
    """Whether the line says which workload: only where there are several."""

    @property
    def ok(self) -> bool:
        """Whether nobody has to do anything."""
        return self.result in GOOD

    def line(self) -> str:
        """The one line of a save, without its mark."""
        lead = f"{self.workload} " if self.named and self.workload else ""
        cells = [lead + self._head()]
        if self.ok:
            shown = {name: took_s for name, took_s in self.parts.items() if took_s >= SHOWN_S}
            cells += [f"{name} {took_s:.2f}" for name, took_s in shown.items()]
        return " · ".join([*cells, *([self.shown] if self.shown else [])])

    def data(self) -> dict[str, Any]:
        """The same for JSON lines; times in seconds, digests whole."""
        return {
            "verdict": self.result,
            "fresh": self.ok and self.result != "built",
            "workload": self.workload,
            "digest": self.digest,
            "served": self.served,
            "took_s": round(self.took_s, 3),
            "parts": {name: round(took_s, 3) for name, took_s in self.parts.items()},
            "paths": list(self.paths),
            "reason": self.reason,
            "stages": list(self.stages),
            "errors": list(self.errors),
        }

    def _head(self) -> str:
        took = f"{self.took_s:.2f} s"
        words = _WORDS[self.result].format(
            digest=short(self.digest),
            served=short(self.served) or "nothing",
            stages=", ".join(self.stages),
            took=took,
        )
        why = "" if self.ok or self.result in ("not built", "failed") else self.reason
        return f"{words}: {why}" if why else words


_WORDS: Mapping[Result, str] = {
    "fresh": "{digest} fresh in {took}",
    "fresh again": "{digest} fresh again",
    "swapped": "{digest} fresh, another command swapped it in",
    "unchanged": "{digest} still fresh, the binary is the same, {took}",
    "built": "built in {took}",
    "not built": "{stages} not built; still served: {served}",
    "failed": "not served; still served: {served}",
    "rolled_back": "{digest} rolled back to {served}",
    "refused": "{digest} refused, {served} goes on",
    "crashed": "{digest} crashed and is started again",
    "restarted": "{digest} ended and was started again",
    "unhealthy": "{digest} does not answer",
    "unknown": "cannot tell whether {digest} is served",
    "stale": "{digest} is not served by every pod",
}


def parts_of(stages: Mapping[str, Stage], ran: Mapping[str, float]) -> dict[str, float]:
    """Seconds by part for stages that ran: all of cargo's together, others by their name."""
    found: dict[str, float] = {}
    for name, took_s in ran.items():
        words = stages[name].run.split(maxsplit=1)
        part = "cargo" if words and PurePath(words[0]).name == "cargo" else name
        found[part] = found.get(part, 0.0) + took_s
    return found


def generator(stages: Mapping[str, Stage]) -> str:
    """The stage of the key `g`: `generate`, else the first that must not be ended midway."""
    finishing = (name for name, stage in stages.items() if stage.on_newer == "finish")
    return "generate" if "generate" in stages else next(finishing, "")


def hopeful(
    stages: Mapping[str, Stage],
    needs: Mapping[str, Collection[str]],
    tried: Collection[str],
    touched: Collection[str],
) -> list[str]:
    """All stages but those that failed as they are now, and what needs them.

    `needs` has each stage with all that it needs, by its name. `tried` are those that failed, of
    `touched` something was saved since.
    """
    # What another stage builds was tried with that one, and is tried again with it.
    asked = {n: {*needs[n], *needs.get(stages[n].built_by, ())} for n in needs}
    stuck = {name for name in asked if name in tried and asked[name].isdisjoint(touched)}
    return [name for name in stages if stuck.isdisjoint({*needs[name], stages[name].built_by})]


def missed(
    stages: Mapping[str, Stage],
    decisions: Sequence[Decision],
    observed: Mapping[str, Observed],
    tried: Mapping[str, Observed],
) -> tuple[str, ...]:
    """Stages that are stale although no event said so.

    Not those that failed when they were last `tried` and are still as they were then, and nothing
    behind them; but those too that failed and are well again. `decisions` has needs first.
    """
    stuck: set[str] = set()
    found = []
    stale = {decision.stage for decision in decisions if decision.stale}

    def all_as_tried(name: str) -> bool:
        """Whether it failed as it is now, and with it what its command builds too."""
        parts = [one for one in stale if stages[one].built_by == name]
        return all(as_tried(observed[one], tried.get(one)) for one in (name, *parts))

    for decision in decisions:
        name = decision.stage
        if stages[name].built_by in tried:
            continue  # it is built, and judged, with that one
        if stuck.intersection(stages[name].needs) or all_as_tried(name):
            stuck.add(name)
        elif decision.stale or name in tried:
            found.append(name)
    return tuple(found)


def as_tried(now: Observed, then: Observed | None) -> bool:
    """Whether a stage is as it was `then`, when it failed; None: it did not."""
    return then is not None and replace(now, left=None) == replace(then, left=None)


@dataclass(frozen=True)
class Standing:
    """How a workload stands: what was published last and what came of it."""

    generation: int
    digest: str
    result: Result
    served: str = ""
    """sha256 of what answers; empty when nothing does."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """Restarts by pod, as last reported."""

    @property
    def good(self) -> bool:
        """Whether every pod serves what was published."""
        return self.result == "fresh"


def result_of(verdict: Verdict, generation: int) -> Result:
    """What became of a swap, more exactly than its verdict says."""
    if verdict.state == "unhealthy":
        outcomes = {one.outcome for one in verdict.pods if one.outcome_generation == generation}
        return next(
            (_RESULTS[said] for said in ("refused", "crashed") if said in outcomes), "unhealthy"
        )
    return verdict.state


def reason_of(verdict: Verdict) -> str:
    """Why a swap did not work, as short as a supervisor puts it."""
    return next((one.reason for one in verdict.pods if one.reason), verdict.reason)


def served_by(said: Report) -> str:
    """sha256 of what a pod serves, or will at once: after a roll back the last good one starts."""
    rolls_back = said.outcome == "rolled_back"
    return said.running_digest or (said.good if rolls_back else None) or ""


def turn(standing: Standing, said: Report) -> tuple[Standing, bool]:
    """How a workload stands after a supervisor's report, and whether that is worth a line.

    A report about another generation tells nothing of this one.
    """
    if said.outcome_generation != standing.generation:
        return standing, False
    result = _RESULTS.get(said.outcome or "", standing.result)
    before = standing.restarts.get(said.pod, said.restarts)
    now = replace(
        standing,
        result=result,
        served=served_by(said),
        restarts={**standing.restarts, said.pod: said.restarts},
    )
    return now, result != standing.result or said.restarts > before


_RESULTS: Mapping[str, Result] = {
    "fresh": "fresh",
    "refused": "refused",
    "crashed": "crashed",
    "rolled_back": "rolled_back",
    "failed": "unhealthy",
}
