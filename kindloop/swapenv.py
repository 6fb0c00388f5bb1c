"""Variables of a swap that say how the environment is: whether anybody takes the service's traces.

They change by a swap. So they follow what `dev-up` brought last, and not a flag of another command
or an edit of kindloop.yaml that was not brought yet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from kindloop import cluster, report, state
from kindloop.config import OTEL_DISABLED, Config, Observability, Workload

__all__ = ["as_brought", "bringing", "level", "remember", "resolved"]

FILE = "level.json"
SCHEMA = 1


def remember(config: Config) -> None:
    """Take down the level that was brought, until the environment is deleted.

    A watch that runs beside sends its own traces, or none, as it did: that is said.
    """
    env = cluster.environment(config)
    before, watch = level(config), state.holder(env.watch_lock)
    if watch and before != config.observability and "full" in (before, config.observability):
        report.line(f"traces of saves follow when the watch is started again ({watch})")
    state.write_json(env.home / FILE, {"schema": SCHEMA, "observability": config.observability})


def level(config: Config) -> Observability:
    """The level that was brought last; that of the settings where none was."""
    found = state.read_json(cluster.environment(config).home / FILE)
    known = found.get("observability") if isinstance(found, dict) else None
    return next((one for one in get_args(Observability) if one == known), config.observability)


def as_brought(config: Config) -> Config:
    """The settings with the level that was brought last: who sends traces finds who takes them."""
    return replace(config, observability=level(config))


def bringing(config: Config) -> Config:
    """The settings for a deployment that brings their level: what is remembered does not count."""
    filled = {name: _filled(w, config.observability) for name, w in config.workloads.items()}
    return replace(config, workloads=filled)


def resolved(config: Config, workload: Workload) -> Workload:
    """The workload with the placeholders in the variables of its swap filled in."""
    return _filled(workload, level(config))


def _filled(workload: Workload, brought: Observability) -> Workload:
    swap = workload.swap
    if swap is None or not any(OTEL_DISABLED in value for value in swap.env.values()):
        return workload
    disabled = "false" if brought == "full" else "true"
    env = {name: value.replace(OTEL_DISABLED, disabled) for name, value in swap.env.items()}
    return replace(workload, swap=replace(swap, env=env))
