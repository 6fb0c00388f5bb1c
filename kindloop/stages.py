"""The build stages: which are stale and why, run in order, recorded only when they ended well.

Each stage is looked at right before its turn, as soon as one has run: what it reads may be what
a stage before has written. `build` ends at the first failure; `attempt`, for who goes on
afterwards, runs all that does not need what failed, and ends early when a newer save is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from kindloop import state
from kindloop.config import Config
from kindloop.errors import BuildFailed, ConfigError
from kindloop.process import Stop
from kindloop.stage_plan import Decision, Observed, Record, order, plan
from kindloop.stage_site import Site, opened, renewed
from kindloop.stage_state import inspect, inspect_stage, own_writes
from kindloop.stage_turns import Attempt, Built, OnMade, OnTurn, Turns

__all__ = [
    "Attempt",
    "Built",
    "Decision",
    "Observed",
    "Record",
    "Site",
    "attempt",
    "build",
    "clean",
    "explain",
    "inspect",
    "opened",
    "order",
    "output",
    "own_writes",
    "plan",
]


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
    with _locked(config), opened(config, engine_platform) as site:
        # Looked at in advance, so that a wrong input of the last stage is told before the first
        # runs; valid until one has run.
        seen = {
            name: inspect_stage(site, name, outputs=False) for name in order(config.stages, named)
        }
        turns = Turns(site, named if force else (), fail_fast=True, seen=seen)
        return turns.all(named).built


def attempt(
    config: Config,
    names: Iterable[str] | None = None,
    *,
    engine_platform: str,
    force: bool = False,
    stop: Stop | None = None,
    site: Site | None = None,
    on_turn: OnTurn | None = None,
    on_made: OnMade | None = None,
) -> Attempt:
    """Run what is stale, as `build` does, and tell what became of each stage.

    What needs a failed stage is skipped, the rest runs. When `stop` is set, the running stage
    is cancelled, or ends first where its `on_newer` says so, and no further one begins. `site`
    is one that the caller keeps open, so that what is known of files stays in memory. `on_turn`
    is called with the stage's name and what was observed right before it really runs, `on_made`
    with its name and first output when its command has ended. Raises Interrupted on Ctrl-C, Locked,
    and ConfigError for names that are no stages.
    """
    named = list(config.stages if names is None else names)
    with _locked(config), _at(config, engine_platform, site) as here:
        return Turns(here, named if force else (), stop, on_turn, on_made=on_made).all(named)


def explain(
    config: Config,
    names: Iterable[str] | None = None,
    *,
    engine_platform: str,
    site: Site | None = None,
) -> list[Decision]:
    """What `build` would run and why, without running it. Raises like `build`."""
    with _at(config, engine_platform, site) as here:
        observed = inspect(here, names)
        records = {name: here.record(name) for name in observed}
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


def output(config: Config, name: str, *, engine_platform: str) -> Path:
    """The first output of a stage, as it was built: the binary of a workload, the supervisor.

    Raises ConfigError when there is no such stage with outputs, BuildFailed when it is not built.
    """
    stage = config.stages.get(name)
    if stage is None or not stage.outputs:
        raise ConfigError(
            f"there is no stage {name} with outputs",
            why="the first output of a stage is the binary that an image or a swap names",
            hint=f"correct it in {config.path}",
        )
    with opened(config, engine_platform) as site:
        path = site.path(stage, stage.outputs[0])
        if site.record(name) is None or site.left(name) or not path.exists():
            raise BuildFailed(f"stage {name} has not been built", hint=f"invoke build.{name}")
    return path


def _locked(config: Config) -> AbstractContextManager[None]:
    return state.lock(config.local / "build" / "lock", f"the build of {config.root}")


def _at(config: Config, engine_platform: str, site: Site | None) -> AbstractContextManager[Site]:
    """The site that the caller keeps, as it is now, or one of its own."""
    if site is None:
        return opened(config, engine_platform)
    return nullcontext(renewed(site, config, engine_platform))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
