"""What no event tells: pods made anew, content that differs, an environment that went away.

Desired state, not events: a look now and then finds what is other than it should be.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from kindloop import cluster, flows, report, saves, stages, supervised, swapfiles, verify
from kindloop.config import Workload
from kindloop.errors import (
    CannotTell,
    Interrupted,
    KindloopError,
    Locked,
    NotOurs,
    ToolFailed,
    ToolMissing,
)
from kindloop.loop.followers import News
from kindloop.loop.world import World
from kindloop.saves import Job, Saved, Standing
from kindloop.supervised import Verdict

__all__ = ["Patrol"]

LOOK_S = 5.0
"""Seconds between two looks while all is well; one costs some 20 ms."""
PASSING_S = 3.0
"""Seconds in which another command's swap, or a pod's start, may end before it is told."""
SOON_S = 0.5
"""Seconds between two looks while something is on its way: a pod starts, a node comes back."""


class Patrol:
    """Looks around for a watch. `due_s` is when the next look is due, of `time.monotonic`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._said = ""
        """The trouble that was told last, so that it is told once."""
        self._since_s: dict[str, float] = {}
        """When a workload was seen not to be fresh, by name."""
        self._told: dict[str, saves.Result] = {}
        """What was told last of a workload that is not fresh."""
        self._suspected: set[str] = set()
        self.rest()

    def rest(self, pause_s: float = LOOK_S) -> None:
        """Look again in `pause_s` seconds."""
        self.due_s = time.monotonic() + pause_s

    def heard(self, news: News) -> Saved | None:
        """What a supervisor's report changes, when that is worth a line."""
        world, said = self._world, news.report
        workload = world.config.workloads.get(news.workload)
        standing = world.standing.get(news.workload)
        if workload is None or standing is None:
            return None
        if said is None or said.pod not in standing.restarts:
            self.due_s = 0.0  # a look says what it means
            return None
        now, worth = saves.turn(standing, said)
        if (judged := world.judged(workload, now)) != now:
            now, worth = judged, False  # the round that went back has said so
        world.standing[workload.name] = now
        if not now.good:
            self._told[workload.name] = now.result
        if not worth:
            if (said.wanted_generation or 0) > now.generation:
                self.due_s = 0.0  # another command has swapped
            return None
        if now.good and not standing.good:
            return self._line(workload, "fresh again", now)
        result = now.result if now.result != standing.result else "restarted"
        reason = ""
        with contextlib.suppress(CannotTell):  # the log is an extra
            reason = supervised.panic_of(
                world.desk.api, world.config, workload, said.pod, said.reason
            )
        return self._line(workload, result, now, reason or said.reason)

    def look(self, *, stages_too: bool) -> tuple[list[Saved], Job | None]:
        """Lines for what turned, and what has to be done. Raises when the environment is gone."""
        lines: list[Saved] = []
        stale: set[str] = set()
        try:
            for workload in self._world.swappable():
                lines += self._look_at(workload, stale)
            missed = self._missed() if stages_too else set()
        except Interrupted:
            raise
        except KindloopError as exc:
            self.troubled(exc, tell=True)
            return lines, None
        self._said = ""
        well = all(one.result in _FINAL for one in self._world.standing.values())
        # A save that is on its way to us looks the same as one that was missed.
        self.rest(LOOK_S if well and missed <= self._suspected else SOON_S)
        stale |= missed & self._suspected
        self._suspected = missed - stale
        job = Job("heal", time.monotonic(), stages=frozenset(stale)) if stale else None
        return lines, job

    def troubled(self, error: KindloopError, *, tell: bool = False) -> None:
        """Something could not be asked: find out whether the environment is still there.

        Raises CannotTell, NotOurs or ToolMissing when it is gone.
        """
        if not isinstance(error, CannotTell | NotOurs | ToolFailed | ToolMissing):
            if tell:
                self._say(error)
            return
        for name in self._world.standing:
            self._since_s.setdefault(name, time.monotonic())
            self._told[name] = "unknown"  # the trouble itself is told
        self._world.doubt()
        self.rest(SOON_S)
        try:
            with flows.changing(self._world.config):
                cluster.require(self._world.config)
        except (Interrupted, CannotTell, NotOurs, ToolMissing) as exc:
            if not isinstance(exc, Interrupted):
                report.line(f"the watch ends: environment {self._world.config.name} is gone")
            raise
        except Locked as exc:
            self._say(exc)  # once that command has ended, a look says more
        except KindloopError as exc:
            self._say(exc)  # it is stopped
        else:
            if tell:
                self._say(error)

    def _say(self, error: KindloopError) -> None:
        text = f"{error.message}; next: {error.hint}" if error.hint else error.message
        if text != self._said:
            report.line(f"✗ {text}")
        self._said = text

    def _look_at(self, workload: Workload, stale: set[str]) -> list[Saved]:
        world = self._world
        before = world.standing.get(workload.name)
        verdict = world.look(workload)
        if verdict is None:
            stale.add(workload.artifact)  # what was published is gone
            return []
        now, reason = self._seen_from_here(workload, verdict.reason)
        lacks = any(one.wanted_generation != now.generation for one in verdict.pods)
        if lacks and world.desk.choice(workload).kind == "exec":
            stale.add(workload.artifact)  # a new pod of this transport has to be served
        if verdict.state == "rolled_back":  # by a supervisor, and not by us before
            self._restore(workload, verdict)
        if before is None:
            return []
        return self._turned(workload, before, now, reason)

    def _turned(
        self, workload: Workload, before: Standing, now: Standing, reason: str
    ) -> list[Saved]:
        """A line for what became of a workload, when it is worth one."""
        if not now.good:
            return self._bad(workload, before, now, reason)
        since_s = self._since_s.pop(workload.name, None)
        told = self._told.pop(workload.name, None)
        if before.generation != now.generation:
            if before.result == "rolled_back" and now.digest == before.served:
                return []  # ours: the last good one with the files that it had
            return [self._line(workload, "swapped", now)]
        # A round or a report that made it good has said so.
        came_back = told is not None and not before.good
        if not came_back and before.restarts.keys() == now.restarts.keys():
            return []
        took_s = time.monotonic() - since_s if since_s else 0.0
        return [self._line(workload, "fresh again", now, took_s=took_s)]

    def _restore(self, workload: Workload, verdict: Verdict) -> None:
        """A binary that was rolled back late: what it went back to needs its own files."""
        want = swapfiles.folder_of(self._world.config, workload).want()
        with contextlib.suppress(Locked), flows.changing(self._world.config):
            if want is not None:
                self._world.desk.back_to_good(workload, want, verdict)

    def _bad(self, workload: Workload, before: Standing, now: Standing, reason: str) -> list[Saved]:
        """A line for a workload that is not fresh, once; not while it may be on its way there."""
        name = workload.name
        if name not in self._since_s:
            self._since_s[name] = time.monotonic()
            if not before.good:
                self._told[name] = before.result  # by the round in which it fell
        passing_s = time.monotonic() - self._since_s[name]
        passing = now.result not in _FINAL and passing_s < PASSING_S
        if passing or self._told.get(name) == now.result:
            return []
        self._told[name] = now.result
        return [self._line(workload, now.result, now, reason)]

    def _seen_from_here(self, workload: Workload, reason: str) -> tuple[Standing, str]:
        """How it stands, and why, with the user's own URL asked as well."""
        standing = self._world.standing[workload.name]
        url = workload.url + workload.health
        if not standing.good or not workload.url or not (seen := verify.answers(url)):
            return standing, reason
        standing = replace(standing, result="unhealthy")
        self._world.standing[workload.name] = standing
        return standing, f"{url}: {seen}"

    def _missed(self) -> set[str]:
        """Stages that are stale although no event said so."""
        site = self._world.site
        observed = stages.inspect(site)
        records = {name: record for name in observed if (record := site.record(name))}
        decisions = stages.plan(site.config.stages, records, observed)
        return set(saves.missed(site.config.stages, decisions, observed, self._world.tried))

    def _line(
        self,
        workload: Workload,
        result: saves.Result,
        standing: Standing,
        reason: str = "",
        *,
        took_s: float = 0.0,
    ) -> Saved:
        if result == "rolled_back":  # later than the round that swapped it in
            self._world.recorder.failed(workload.name, result)
        return Saved(
            result,
            took_s,
            workload=workload.name,
            digest=standing.digest,
            served=standing.served,
            reason=reason,
            named=len(self._world.config.workloads) > 1,
        )


_FINAL: frozenset[saves.Result] = frozenset({"fresh", "rolled_back", "refused"})
"""Results that time alone will not change."""
