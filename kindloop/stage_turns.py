"""Stages in their turn: each looked at, run when it is stale, recorded when it ended well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from kindloop import report, stage_guard, stage_state
from kindloop.config import Stage
from kindloop.errors import BuildFailed, Interrupted, KindloopError
from kindloop.process import Stop
from kindloop.stage_plan import Left, Observed, Record, decide, key_of, order
from kindloop.stage_run import Superseded, execute
from kindloop.stage_site import Site
from kindloop.stage_state import inspect_stage, made, own_locks, tree_files

__all__ = ["Attempt", "Built", "OnMade", "OnTurn", "Turns"]

OnTurn = Callable[[str, Observed], None]
"""Told the stage's name and what was observed, right before it really runs."""
OnMade = Callable[[str, Path], None]
"""Told the stage's name and its first output when its command has ended, not digested yet."""


@dataclass(frozen=True)
class Built:
    """A stage after its turn. `duration_s` is that of its last run, in seconds."""

    name: str
    ran: bool
    reason: str
    duration_s: float
    outputs: Mapping[Path, str]
    """sha256 by absolute path, in the order they are declared; the first is the artifact."""

    @property
    def artifact(self) -> Path | None:
        """The first output, or None for a stage that declares none."""
        return next(iter(self.outputs), None)


@dataclass(frozen=True)
class Attempt:
    """What became of the stages; one that never had its turn is in none of these."""

    built: dict[str, Built] = field(default_factory=dict)
    """Those that are up to date now, in the order of their turns."""
    failed: dict[str, KindloopError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Those that had no turn, because the stage behind the name failed."""
    took: dict[str, tuple[float, float]] = field(default_factory=dict)
    """When each that really ran began and ended, however it ended (seconds, `time.monotonic`)."""
    superseded: bool = False
    """Whether it ended before all had their turn, because of a newer save."""


class Turns:
    """One turn after another, until all had theirs, one failed, or a newer save came."""

    def __init__(
        self,
        site: Site,
        forced: Iterable[str],
        stop: Stop | None = None,
        on_turn: OnTurn | None = None,
        *,
        on_made: OnMade | None = None,
        fail_fast: bool = False,
        seen: Mapping[str, Observed] | None = None,
    ) -> None:
        self._site = site
        self._forced = frozenset(forced)
        self._stop = stop
        self._on_turn = on_turn
        self._on_made = on_made
        self._fail_fast = fail_fast
        self._seen = seen or {}
        self._keys: dict[str, str] = {}
        self._done = Attempt()

    def all(self, names: Iterable[str]) -> Attempt:
        """Give `names` and their needs their turns."""
        done, stages = self._done, self._site.config.stages
        for name in order(stages, names):
            if self._stop and self._stop.is_set():
                return replace(done, superseded=True)
            lacking = next((need for need in stages[name].needs if need not in done.built), None)
            if lacking:
                done.skipped[name] = done.skipped.get(lacking, lacking)
                continue
            try:
                done.built[name] = self._turn(stages[name])
            except Superseded:
                return replace(done, superseded=True)
            except Interrupted:
                raise
            except KindloopError as exc:
                if self._fail_fast:
                    raise
                done.failed[name] = exc
        return done

    def _turn(self, stage: Stage) -> Built:
        """Run the stage if it is stale; how it is afterwards."""
        site, name = self._site, stage.name
        needs = {need: self._keys[need] for need in stage.needs}
        with report.step(name) as step:
            record = site.record(name)
            observed = self._look(name)
            decision = decide(name, record, observed, needs)
            if not decision.stale:
                observed = stage_state.look_at_outputs(site, stage, observed)
                decision = decide(name, record, observed, needs)
            if name in self._forced and not decision.stale:
                decision = replace(decision, stale=True, reason="forced")
            step.note(decision.reason)
            if decision.stale or record is None:
                if self._on_turn:
                    self._on_turn(name, observed)
                began_s = time.monotonic()
                try:
                    record = _run(site, stage, observed, needs, self._stop, self._on_made)
                except Superseded:
                    step.note("superseded")
                    raise
                finally:
                    self._done.took[name] = (began_s, time.monotonic())
            outputs = {site.path(stage, o): record.outputs[o] for o in stage.outputs}
        self._keys[name] = record.key
        return Built(name, decision.stale, decision.reason, record.duration_s, outputs)

    def _look(self, name: str) -> Observed:
        seen = self._seen.get(name)
        if seen is None or seen.missing or any(built.ran for built in self._done.built.values()):
            return inspect_stage(self._site, name, strict=True, outputs=False)
        return seen


def _run(  # noqa: PLR0917
    site: Site,
    stage: Stage,
    observed: Observed,
    needs: Mapping[str, str],
    stop: Stop | None,
    on_made: OnMade | None,
) -> Record:
    stage_guard.refuse_foreign_edits(site, stage)
    before = stage_guard.look(site, stage)
    stage_guard.date_anew(site, stage, observed)
    absent = [lock for lock in own_locks(site, stage) if not lock.exists()]
    files = observed.left.files if observed.left else {}
    mark = Left("interrupted", files, observed.inputs, time.time())
    site.mark(stage.name, mark)
    started_s = time.monotonic()
    try:
        execute(site, stage, stop)
        if on_made and stage.outputs:
            on_made(stage.name, site.path(stage, stage.outputs[0]))
        product = made(site, stage)
        outputs = _whole(stage, product.outputs)
        after = stage_state.after_run(site, stage, observed, absent)
    except BaseException as exc:
        _leave(site, stage, mark, before, exc)
        if isinstance(exc, KeyboardInterrupt):
            raise Interrupted(
                f"stage {stage.name} was interrupted", hint="invoke build (starts it again)"
            ) from None
        raise
    record = Record(
        key_of(after, needs),
        after.command,
        after.settings,
        after.env_inputs,
        after.tools,
        after.inputs,
        needs,
        outputs,
        product.files,
        round(time.monotonic() - started_s, 3),
        mark.started_s,
    )
    site.keep(stage.name, record)
    return record


def _leave(
    site: Site, stage: Stage, mark: Left, before: stage_guard.Before, exc: BaseException
) -> None:
    """Leave no half-written output, and remember which tracked files are the stage's own work."""
    stage_guard.discard_unfinished(site, stage, before)
    failed = isinstance(exc, KindloopError) and not isinstance(exc, Interrupted)
    how: Literal["failed", "interrupted"] = "failed" if failed else "interrupted"
    site.mark(stage.name, replace(mark, how=how, files=tree_files(site, stage)))


def _whole(stage: Stage, outputs: Mapping[str, str | None]) -> dict[str, str]:
    gone = [output for output, digest in outputs.items() if digest is None]
    if gone:
        raise BuildFailed(
            f"stage {stage.name}: {', '.join(gone)} went away", hint=f"invoke build.{stage.name}"
        )
    return {output: digest for output, digest in outputs.items() if digest is not None}
