"""Stages in their turn: each looked at, run when it is stale, recorded when it ended well."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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

    def parts(self, stages: Mapping[str, Stage]) -> list[str]:
        """Those that a failed stage's command would have built too."""
        skipped = self.skipped.items()
        return [name for name, failed in skipped if stages[name].built_by == failed]


@dataclass(frozen=True)
class _Due:
    """A stage that is about to run, or whose command another's takes the place of."""

    stage: Stage
    observed: Observed
    needs: Mapping[str, str]
    """Key of each needed stage."""


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
        self._waiting: dict[str, list[Built]] = {}
        """Stages that another one's command will build, by its name."""
        self._due: dict[str, _Due] = {}
        """The same with what was observed, by their own names."""
        self._done = Attempt()

    def all(self, names: Iterable[str]) -> Attempt:
        """Give `names` and their needs their turns."""
        done, stages = self._done, self._site.config.stages
        ordered = order(stages, names)
        for name in ordered:
            if self._stop and self._stop.is_set():
                return replace(done, superseded=True)
            needs = stages[name].needs
            ready = {*done.built, *self._due}
            lacking = next((need for need in needs if need not in ready), None)
            if lacking:
                self._skip(name, done.skipped.get(lacking, lacking))
                continue
            try:
                built = self._turn(stages[name], waits=stages[name].built_by in ordered)
            except Superseded:
                return replace(done, superseded=True)
            except Interrupted:
                raise
            except KindloopError as exc:
                if self._fail_fast:
                    raise
                done.failed[name] = exc
                self._skip_parts(name, name)
            else:
                if built:
                    for one in (*self._waiting.pop(name, ()), built):
                        done.built[one.name] = one
        return done

    def _skip(self, name: str, why: str) -> None:
        self._done.skipped[name] = why
        self._skip_parts(name, why)

    def _skip_parts(self, name: str, why: str) -> None:
        """What the stage's command would have built is not built either."""
        for part in self._waiting.pop(name, ()):
            self._done.skipped[part.name] = why

    def _turn(self, stage: Stage, *, waits: bool) -> Built | None:
        """Run the stage if it is stale; how it is afterwards.

        None when it `waits` for the stage whose command builds it too, which then runs.
        """
        site, name = self._site, stage.name
        parts = [self._renewed(part.name) for part in self._waiting.get(name, ())]
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
            if parts and not decision.stale:
                reason = f"builds {parts[0].stage.name}, which is stale"
                decision = replace(decision, stale=True, reason=reason)
            due = _Due(stage, observed, needs)
            if decision.stale and waits:
                step.note(f"{decision.reason}, built by {stage.built_by}")
                self._due[name], self._keys[name] = due, key_of(observed, needs)
                built = Built(name, True, decision.reason, 0.0, {})
                self._waiting.setdefault(stage.built_by, []).append(built)
                return None
            step.note(decision.reason)
            if decision.stale or record is None:
                if self._on_turn:
                    for one in (*parts, due):
                        self._on_turn(one.stage.name, one.observed)
                began_s = time.monotonic()
                try:
                    record = _run(site, due, parts, self._stop, self._on_made)
                except Superseded:
                    step.note("superseded")
                    raise
                finally:
                    self._done.took[name] = (began_s, time.monotonic())
            outputs = {site.path(stage, o): record.outputs[o] for o in stage.outputs}
        self._keys[name] = record.key
        return Built(name, decision.stale, decision.reason, record.duration_s, outputs)

    def _renewed(self, name: str) -> _Due:
        """A stage that has waited, as it is now: it may have been edited since."""
        due = self._due[name] = replace(self._due[name], observed=self._look(name))
        self._keys[name] = key_of(due.observed, due.needs)
        return due

    def _look(self, name: str) -> Observed:
        seen = self._seen.get(name)
        if seen is None or seen.missing or any(built.ran for built in self._done.built.values()):
            return inspect_stage(self._site, name, strict=True, outputs=False)
        return seen


def _run(
    site: Site, due: _Due, parts: Sequence[_Due], stop: Stop | None, on_made: OnMade | None
) -> Record:
    """Run the command; `parts` are built by it too, and recorded with it."""
    stage = due.stage
    stage_guard.refuse_foreign_edits(site, stage)
    before = stage_guard.look(site, stage)
    absent = [lock for lock in own_locks(site, stage) if not lock.exists()]
    marks = {one.stage.name: _begun(site, one) for one in (*parts, due)}
    started_s = time.monotonic()
    try:
        execute(site, stage, stop)
        if on_made and stage.outputs:
            on_made(stage.name, site.path(stage, stage.outputs[0]))
        product = made(site, stage)
        outputs = _whole(stage, product.outputs)
        # A lock file that the command has written is in the keys of the parts, and by them in ours.
        recorded = {one.stage.name: _record(site, one, absent, marks) for one in parts}
        needs = {name: _key(recorded, name, key) for name, key in due.needs.items()}
        took_s = round(time.monotonic() - started_s, 3)
        record = replace(
            _record(site, replace(due, needs=needs), absent, marks),
            outputs=outputs,
            files=product.files,
            duration_s=took_s,
        )
    except BaseException as exc:
        _leave(site, due, marks, before, exc)
        if isinstance(exc, KeyboardInterrupt):
            raise Interrupted(
                f"stage {stage.name} was interrupted", hint="invoke build (starts it again)"
            ) from None
        raise
    for name, one in {**recorded, stage.name: record}.items():
        site.keep(name, one)
    return record


def _begun(site: Site, due: _Due) -> Left:
    """Remember that the stage has not ended well (yet)."""
    observed = due.observed
    stage_guard.date_anew(site, due.stage, observed)
    files = observed.left.files if observed.left else {}
    mark = Left("interrupted", files, observed.inputs, time.time())
    site.mark(due.stage.name, mark)
    return mark


def _record(site: Site, due: _Due, absent: Collection[Path], marks: Mapping[str, Left]) -> Record:
    """The record of a stage without outputs that has just ended well."""
    after = stage_state.after_run(site, due.stage, due.observed, absent)
    return Record(
        key_of(after, due.needs),
        after.command,
        after.settings,
        after.env_inputs,
        after.tools,
        after.inputs,
        due.needs,
        {},
        {},
        0.0,
        marks[due.stage.name].started_s,
    )


def _key(recorded: Mapping[str, Record], name: str, key: str) -> str:
    return recorded[name].key if name in recorded else key


def _leave(
    site: Site, due: _Due, marks: Mapping[str, Left], before: stage_guard.Before, exc: BaseException
) -> None:
    """Leave no half-written output, and remember which tracked files are the stage's own work."""
    stage_guard.discard_unfinished(site, due.stage, before)
    failed = isinstance(exc, KindloopError) and not isinstance(exc, Interrupted)
    how: Literal["failed", "interrupted"] = "failed" if failed else "interrupted"
    for name, mark in marks.items():
        files = tree_files(site, due.stage) if name == due.stage.name else mark.files
        site.mark(name, replace(mark, how=how, files=files))


def _whole(stage: Stage, outputs: Mapping[str, str | None]) -> dict[str, str]:
    gone = [output for output, digest in outputs.items() if digest is None]
    if gone:
        raise BuildFailed(
            f"stage {stage.name}: {', '.join(gone)} went away", hint=f"invoke build.{stage.name}"
        )
    return {output: digest for output, digest in outputs.items() if digest is not None}
