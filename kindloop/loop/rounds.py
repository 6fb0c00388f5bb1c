"""One round of the watch: what was saved is built, swapped in or rolled out, and proven.

A round ends in lines to show (`Saved`), or in nothing when a newer save takes its place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kindloop import changes, deploying, manifests, report, saves, stages, verify
from kindloop.config import SUPERVISOR_STAGE, Workload
from kindloop.errors import ConfigError, Interrupted, KindloopError, Unhealthy
from kindloop.loop import recording
from kindloop.loop.settling import settled
from kindloop.loop.world import (
    Listener,
    Overtaken,
    World,
    as_error,
    hushed,
    patiently,
    show,
    show_diff,
    told,
)
from kindloop.process import Stop
from kindloop.saves import Job, Result, Saved
from kindloop.supervised import Verdict
from kindloop.swap import Pushed
from kindloop.telemetry import Timeline

__all__ = ["Round"]

ANSWERS_S = 5.0
"""Seconds until the URL must answer once every pod is ready."""
FAILED: frozenset[Result] = frozenset({"rolled_back", "refused", "crashed", "unhealthy"})


class Round:
    """A job done once, in the main thread: children end with the thread that started them."""

    def __init__(
        self,
        world: World,
        job: Job,
        stop: Stop,
        listener: Listener,
        timeline: Timeline | None = None,
    ) -> None:
        self._world = world
        self._config = world.config
        self._job = job
        self._stop = stop
        self._listener = listener
        self._timeline = timeline or Timeline()
        self._change = world.classify(job.paths)
        self._touched = self._change.stages | job.stages
        self._built: dict[str, stages.Built] = {}
        self._ran: dict[str, float] = {}
        self._failed: dict[str, KindloopError] = {}
        self._mended: set[str] = set()
        """Stages that had failed, and do not any more."""
        self._given_s = math.inf
        self.published = False
        """Whether what the job asks for was given to the pods; what came of it may be open."""

    def run(self) -> list[Saved] | None:
        """Do it; None when a newer save came before it was served.

        Raises KindloopError for what concerns no single workload or stage.
        """
        try:
            return self._run()
        except Overtaken:
            return None

    def _run(self) -> list[Saved]:
        recording.begun(self._world, self._job, self._touched, self._change.sync)
        self._build()
        lines = self._not_built()
        concerned = self._concerned()
        self._world.rollout_due |= self._asks_for_rollout(concerned)
        if self._world.rollout_due:
            if self._lacking():
                report.line("images and manifests wait for the stages that failed")
            elif (rolled_out := self._rolled_out()) is not None:
                return lines + rolled_out
        lines += self._swap([w for w in concerned if self._config.swaps(w)])
        if not lines and (self._ran or self._mended):
            lines.append(self._saved("built", parts=self._parts(self._ran)))
        if not lines and self._job.cause == "save":
            # A manifest that is as it was, perhaps after one that was refused: say that, too.
            lines = [self._saved("unchanged", w) for w in self._told_anyway()]
        return lines

    def _told_anyway(self) -> list[Workload]:
        """The workloads that a save of manifests or images concerns."""
        every = self._config.workloads.values()
        return [w for w in every if self._change.manifests or w.name in self._change.images]

    # -- build

    def _build(self) -> None:
        """Run what is forced, then what is stale."""
        forced = self._job.forced
        with hushed():
            if not forced or self._attempt(forced, force=True):
                self._attempt(self._hopeful(), force=False)
        self._listener.all_turned()

    def _hopeful(self) -> list[str]:
        """All stages but those that failed, are as they were then, and what needs them."""
        every, tried = self._config.stages, self._world.tried
        if self._job.everything or self._job.forced:
            return list(every)
        needs = {name: stages.order(every, [name]) for name in every}
        return saves.hopeful(every, needs, tried, self._touched | self._world.otherwise())

    def _attempt(self, names: Iterable[str], *, force: bool) -> bool:
        """Whether all of it went well."""
        started_s = time.monotonic()
        attempt = patiently(
            self._stop,
            lambda: stages.attempt(
                self._config,
                names,
                engine_platform=self._world.platform,
                force=force,
                stop=self._stop,
                site=self._world.site,
                on_turn=self._listener.on_turn,
                on_made=self._made,
            ),
        )
        recording.built(self._timeline, attempt, started_s)
        self._built |= attempt.built
        self._ran |= {n: one.duration_s for n, one in attempt.built.items() if one.ran}
        self._failed |= attempt.failed
        self._mended |= attempt.built.keys() & self._world.tried.keys()
        for name in self._mended:
            self._world.tried.pop(name, None)
            self._world.why.pop(name, None)
        for name in (*attempt.failed, *attempt.parts(self._config.stages)):
            # It is not tried again before something of it changes.
            self._world.remember_tried(name)
        if attempt.superseded or self._stop.is_set():
            raise Overtaken
        return not attempt.failed

    def _made(self, stage: str, artifact: Path) -> None:
        """Begin to copy what a stage has just made to where the pods look for it."""
        for workload in self._world.swappable():
            if workload.artifact == stage:
                self._world.desk.copy_ahead(workload, artifact)

    def _not_built(self) -> list[Saved]:
        """A line for each workload that lacks its binary, else one for what failed."""
        why = self._world.why
        for name, error in self._failed.items():
            show(error)
            why[name] = tuple(told(error))
        broken = tuple(self._failed or self._world.tried)
        errors = tuple(line for name in broken for line in why.get(name, ()))
        lacking = [w for w in self._lacking() if self._failed or self._waits(w)]
        found: Sequence[Workload | None] = lacking or ([None] if self._failed else [])
        return [self._saved("not built", w, stages=broken, errors=errors) for w in found]

    def _waits(self, workload: Workload) -> bool:
        """Whether somebody has saved what waits for a stage that failed before."""
        if workload.name in self._change.sync:
            return True
        by_hand = self._world.classify(self._world.by_hand(self._change.paths))
        return self._job.cause == "save" and not by_hand.stages.isdisjoint(self._upstream(workload))

    def _lacking(self) -> list[Workload]:
        """The workloads whose binary could not be built."""
        workloads = self._config.workloads.values()
        return [w for w in workloads if w.artifact and w.artifact not in self._built]

    def _concerned(self) -> list[Workload]:
        """The workloads that may have to serve something else, as far as their binary is there."""
        lacking = self._lacking()
        touched = self._touched | self._ran.keys() | self._mended
        return [
            w
            for w in self._config.workloads.values()
            if w not in lacking
            and (
                self._job.everything
                or w.name in self._change.sync
                or not touched.isdisjoint(self._upstream(w))
            )
        ]

    def _upstream(self, workload: Workload) -> list[str]:
        names = [workload.artifact] if workload.artifact else []
        return stages.order(self._config.stages, names)

    # -- swap

    def _swap(self, workloads: Sequence[Workload]) -> list[Saved]:
        """Publish, wait for the pods, see that the URL answers."""
        lines: list[Saved] = []
        waiting: dict[str, Pushed] = {}
        if not workloads:
            return lines
        with self._world.changing(self._stop):
            self._given_s = time.monotonic()
            done = self._ran.keys() | self._mended
            for workload in workloads:
                try:
                    pushed = self._push(workload)
                except Interrupted:
                    raise
                except (KindloopError, OSError) as exc:
                    lines.append(self._not_served(workload, exc))
                    continue
                recording.pushed(self._timeline, pushed)
                good = (known := self._world.standing.get(workload.name)) and known.good
                saved = self._job.cause == "save" and workload.name in self._change.sync
                untold = self._world.served_untold(pushed, saved=saved)
                if pushed.changed or not good or untold or self._job.cause == "start":
                    self._world.standing.pop(workload.name, None)
                    waiting[workload.name] = pushed
                elif not done.isdisjoint(upstream := self._upstream(workload)):
                    parts = self._parts(upstream)
                    lines.append(self._saved("unchanged", workload, parts=parts))
            self.published = True
            started_s = time.monotonic()
            for name, verdict in settled(self._world.desk, self._config, waiting, self._stop):
                workload, pushed = self._config.workloads[name], waiting[name]
                part = recording.swapped(self._timeline, pushed, verdict, started_s)
                swap_s = pushed.staged_s + part.took_s
                if isinstance(verdict, KindloopError):
                    lines.append(self._not_served(workload, verdict))
                else:
                    lines.append(self._judged(workload, pushed, verdict, swap_s))
        return lines

    def _push(self, workload: Workload) -> Pushed:
        built = self._built.get(workload.artifact)
        if built is None or built.artifact is None:
            raise ConfigError(
                f"workload {workload.name} has no artifact",
                hint=f"set stages.{workload.artifact}.outputs in {self._config.path}",
            )
        standing = self._world.standing.get(workload.name)
        failed = standing is not None and standing.result in FAILED
        # What was rolled back is tried again by the next save, also with the same binary.
        again = failed and self._job.cause in ("save", "rebuild", "generate")
        digest = built.outputs[built.artifact]
        return self._world.desk.push(workload, built.artifact, digest=digest, again=again)

    def _judged(self, workload: Workload, pushed: Pushed, verdict: Verdict, swap_s: float) -> Saved:
        want = pushed.want
        standing = self._world.keep(workload, want.generation, want.digest, verdict)
        parts = {**self._parts(self._upstream(workload)), "swap": swap_s}
        result, reason = standing.result, verdict.reason
        if result == "fresh":
            result, reason = self._verified(workload, parts)
        elif result != "stale":
            reason = self._world.desk.panic(workload, verdict) or saves.reason_of(verdict)
        return self._saved(result, workload, parts=parts, reason=reason)

    def _verified(self, workload: Workload, parts: dict[str, float]) -> tuple[Result, str]:
        """Ask the user's own URL, then every operation if that is wanted."""
        if not workload.url:
            return "fresh", ""
        try:
            with self._timeline.taking("answer", {"kindloop.workload": workload.name}) as answer:
                verify.wait_quick(workload.url + workload.health, ANSWERS_S)
            parts["verify"] = answer.took_s
            if self._world.smoke and workload.openapi:
                with self._timeline.taking("smoke") as smoke, hushed():
                    found = verify.smoke(workload.url, workload.openapi)
                parts["smoke"] = smoke.took_s
                found.raise_if_failed()
        except Unhealthy as exc:
            return "unhealthy", "; ".join((exc.message, *exc.evidence[:2]))
        return "fresh", ""

    # -- rollout

    def _asks_for_rollout(self, concerned: Iterable[Workload]) -> bool:
        change = self._change
        by_image = any(not self._config.swaps(w) for w in concerned)
        by_path = change.manifests or bool(change.images)
        return self._job.everything or by_path or by_image or SUPERVISOR_STAGE in self._ran

    def _rolled_out(self) -> list[Saved] | None:
        """Bring images and manifests into the cluster; None when a swap serves."""
        with self._world.changing(self._stop):
            return self._roll_out()

    def _roll_out(self) -> list[Saved] | None:
        world, started_s = self._world, time.monotonic()
        with hushed():
            planned = deploying.plan(self._config, world.platform, world.desk)
            why = deploying.why_rollout(self._config, planned)
        if not why:
            world.rollout_due = False
            return None
        report.line(f"rollout: {why}")
        show_diff(manifests.diff(self._config, planned.documents))
        world.standing.clear()
        deployed = deploying.deploy(self._config, world.platform, planned=planned)
        world.rollout_due = False
        rollout_s = self._timeline.add("rollout", started_s, label="rollout").took_s
        lines = []
        for one in deployed:
            workload = self._config.workloads[one.workload]
            if self._config.swaps(workload):
                world.look(workload)
            parts = {**self._parts(self._upstream(workload)), "rollout": rollout_s}
            lines.append(self._saved("fresh", workload, parts=parts, digest=one.digest))
        return lines

    # -- lines

    def _not_served(self, workload: Workload, exc: KindloopError | OSError) -> Saved:
        error = as_error(exc) if isinstance(exc, OSError) else exc
        show(error)
        return self._saved("failed", workload, reason=error.message)

    def _saved(self, result: Result, workload: Workload | None = None, **more: Any) -> Saved:
        """The line for a workload, or for none, as of now."""
        standing = self._world.standing.get(workload.name) if workload else None
        joined = self._listener.joined(self._given_s)
        self._world.untold -= set(self._world.classify(joined).sync)
        paths = sorted(self._change.paths | joined)
        more.setdefault("digest", standing.digest if standing else "")
        return Saved(
            result,
            time.monotonic() - self._job.since_s,
            workload=workload.name if workload else "",
            served=self._world.served(workload),
            paths=tuple(changes.relative(self._config, path) for path in paths),
            shown=changes.summary(self._config, paths),
            named=len(self._config.workloads) > 1,
            **more,
        )

    def _parts(self, names: Iterable[str]) -> dict[str, float]:
        ran = {name: self._ran[name] for name in names if name in self._ran}
        return saves.parts_of(self._config.stages, ran)
