"""The build stages: which are stale and why, run in order, recorded only when they ended well.

As soon as one has run, `build` looks again at each of the rest right before its turn: what it
reads may be what a stage before has written.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kindloop import report, stage_guard, state
from kindloop.config import Config, Stage, Workload
from kindloop.errors import BuildFailed, ConfigError, Interrupted, KindloopError
from kindloop.stage_plan import Decision, Left, Observed, Record, decide, key_of, order, plan
from kindloop.stage_run import execute
from kindloop.stage_state import Site, digest_output, inspect, inspect_stage, opened

__all__ = [
    "Built",
    "Decision",
    "Observed",
    "Record",
    "artifact",
    "build",
    "clean",
    "explain",
    "inspect",
    "opened",
    "order",
    "plan",
]


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


def build(
    config: Config,
    names: Iterable[str] | None = None,
    *,
    engine_platform: str,
    force: bool = False,
) -> dict[str, Built]:
    """Run what is stale among `names` (None: all stages) and their needs; needs come first.

    `engine_platform` is that of the containers, for instance "linux/amd64". `force` runs the
    named stages (None: all) even when they are up to date. Raises BuildFailed, NotOurs for
    uncommitted edits in generated files, Interrupted on Ctrl-C, ToolMissing, ConfigError, and
    Locked when another process builds this checkout.
    """
    named = list(config.stages if names is None else names)
    sequence = order(config.stages, named)
    built: dict[str, Built] = {}
    keys: dict[str, str] = {}
    with _locked(config), opened(config, engine_platform) as site:
        # Looked at in advance, so that a wrong input of the last stage is told before the first
        # runs; valid until one has run.
        seen = inspect(site, sequence)
        for name in sequence:
            needs = {need: keys[need] for need in config.stages[name].needs}
            if seen[name].missing or any(stage.ran for stage in built.values()):
                seen[name] = inspect_stage(site, name, strict=True)
            forced = force and name in named
            built[name], keys[name] = _turn(site, name, seen[name], needs, forced)
    return built


def explain(
    config: Config, names: Iterable[str] | None = None, *, engine_platform: str
) -> list[Decision]:
    """What `build` would run and why, without running it. Raises like `build`."""
    with opened(config, engine_platform) as site:
        observed = inspect(site, names)
        records = {name: site.record(name) for name in observed}
    known = {name: record for name, record in records.items() if record}
    return plan(config.stages, known, observed)


def clean(config: Config, names: Iterable[str] | None = None, *, engine_platform: str) -> None:
    """Forget the stages (None: all) and remove their outputs below cargo's target folder."""
    with _locked(config), opened(config, engine_platform) as site:
        for name in config.stages if names is None else names:
            order(config.stages, [name])
            stage = config.stages[name]
            site.forget(name)
            for path in (site.path(stage, output) for output in stage.outputs):
                if path.is_relative_to(site.target_dir):
                    _remove(path)


def artifact(config: Config, workload: Workload, *, engine_platform: str) -> Path:
    """The binary of a workload: the first output of the stage that its image names.

    Raises ConfigError when the image names no such stage, BuildFailed when it is not built.
    """
    name = workload.image.artifact
    stage = config.stages.get(name)
    if stage is None or not stage.outputs:
        raise ConfigError(
            f"workload {workload.name} has no artifact",
            why=f"image.artifact is {name or 'empty'}, which is not a stage with outputs",
            hint=f"set workloads.{workload.name}.image.artifact in {config.path}",
        )
    with opened(config, engine_platform) as site:
        path = site.path(stage, stage.outputs[0])
        if site.record(name) is None or site.left(name) or not path.exists():
            raise BuildFailed(f"stage {name} has not been built", hint=f"invoke build.{name}")
    return path


def _locked(config: Config) -> AbstractContextManager[None]:
    return state.lock(config.local / "build" / "lock", f"the build of {config.root}")


def _turn(
    site: Site, name: str, observed: Observed, needs: Mapping[str, str], force: bool
) -> tuple[Built, str]:
    """Run the stage if it is stale; how it is afterwards, and its key."""
    stage = site.config.stages[name]
    with report.step(name) as step:
        record = site.record(name)
        decision = decide(name, record, observed, needs)
        if force and not decision.stale:
            decision = replace(decision, stale=True, reason="forced")
        step.note(decision.reason)
        if decision.stale or record is None:
            record = _run(site, stage, observed, needs)
        outputs = {site.path(stage, o): record.outputs[o] for o in stage.outputs}
        built = Built(name, decision.stale, decision.reason, record.duration_s, outputs)
    return built, key_of(observed, needs)


def _run(site: Site, stage: Stage, observed: Observed, needs: Mapping[str, str]) -> Record:
    stage_guard.refuse_foreign_edits(site, stage)
    before = stage_guard.look(site, stage)
    stage_guard.date_anew(site, stage, observed)
    files = observed.left.files if observed.left else {}
    site.mark(stage.name, Left("interrupted", files, observed.inputs))
    try:
        started_s = time.monotonic()
        execute(site, stage)
        outputs = _collect(site, stage)
    except BaseException as exc:
        _leave(site, stage, observed, before, exc)
        if isinstance(exc, KeyboardInterrupt):
            raise Interrupted(
                f"stage {stage.name} was interrupted", hint="invoke build (starts it again)"
            ) from None
        raise
    record = Record(
        key_of(observed, needs),
        observed.command,
        observed.settings,
        observed.env_inputs,
        observed.tools,
        observed.inputs,
        needs,
        outputs,
        stage_guard.output_files(site, stage),
        round(time.monotonic() - started_s, 3),
    )
    site.keep(stage.name, record)
    return record


def _leave(
    site: Site, stage: Stage, observed: Observed, before: stage_guard.Before, exc: BaseException
) -> None:
    """Leave no half-written output, and remember which tracked files are the stage's own work."""
    stage_guard.discard_unfinished(site, stage, before)
    files = stage_guard.output_files(site, stage)
    how: Literal["failed", "interrupted"] = (
        "failed" if isinstance(exc, KindloopError) else "interrupted"
    )
    site.mark(stage.name, Left(how, files, observed.inputs))


def _collect(site: Site, stage: Stage) -> dict[str, str]:
    digests = {output: digest_output(site, stage, output) for output in stage.outputs}
    gone = [output for output, digest in digests.items() if digest is None]
    if gone:
        raise BuildFailed(
            f"stage {stage.name}: {', '.join(gone)} went away", hint=f"invoke build.{stage.name}"
        )
    return {output: digest for output, digest in digests.items() if digest is not None}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
