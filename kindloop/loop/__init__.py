"""The loop of a day: every save is built, swapped in and proven, until somebody ends it.

Threads that watch files, keys and supervisors feed one inbox; the main thread does the rounds.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from kindloop import changes, cluster, host, process, report, state, swapenv, telemetry, watching
from kindloop.config import Config
from kindloop.errors import ConfigError, Interrupted, ToolMissing
from kindloop.logs import UNHEARD
from kindloop.loop.engine import Engine

__all__ = ["watch"]

VERIFY = ("", "smoke")


def watch(
    config: Config, *, verify: str = "", json: bool = False, load: Callable[[], Config]
) -> None:
    """Serve every save until q, a signal, or the end of the environment; it stays when we end.

    `verify` "smoke" calls every operation after each swap. With `json` no keys are read. `load`
    reads kindloop.yaml anew. Raises Locked when it is watched already, CannotTell and NotOurs
    without an environment of this checkout, ToolMissing, ConfigError, Interrupted.
    """
    if verify not in VERIFY:
        raise ConfigError(f"--verify {verify} is not known", hint="invoke dev-watch --verify smoke")
    lock = cluster.environment(config).watch_lock
    try:
        with state.lock(lock, f"the watch of {config.name}"):
            _watch(config, load, smoke=verify == "smoke", keys=not json)
    except OSError as exc:
        if exc.errno not in UNHEARD:
            raise
        raise Interrupted("nobody reads the output any more") from exc


def _watch(config: Config, load: Callable[[], Config], *, smoke: bool, keys: bool) -> None:
    problem = watching.limits_problem(changes.watched(config))
    if problem:
        what, _, hint = problem.partition(": ")
        raise ToolMissing(what, hint=hint)
    platform = host.require_engine().platform
    cluster.require(config)
    children = config.local / "children"
    for told in process.sweep(children):
        report.line(told)
    process.record_into(children)
    gc.freeze()  # no collection during a save has to look through what is loaded by now
    try:
        with telemetry.opened(swapenv.as_brought(config)) as recorder:
            Engine(config, platform, load, smoke=smoke, recorder=recorder).run(keys=keys)
    finally:
        process.record_into(None)
