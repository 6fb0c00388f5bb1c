"""Variables of a swap that say how the environment is: whether anybody takes the service's traces.

They change by a swap. So they follow what `dev-up` brought last, and not a flag of another command
or an edit of kindloop.yaml that was not brought yet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from kindloop import cluster, state
from kindloop.config import OTEL_DISABLED, Config, Observability, Workload

__all__ = ["as_brought", "level", "remember", "resolved"]

FILE = "level.json"
SCHEMA = 1


def remember(config: Config) -> None:
    """Take down the level that is being brought, until the environment is deleted."""
    home = cluster.environment(config).home
    state.write_json(home / FILE, {"schema": SCHEMA, "observability": config.observability})


def level(config: Config) -> Observability:
    """The level that was brought last; that of the settings where none was."""
    found = state.read_json(cluster.environment(config).home / FILE)
    known = found.get("observability") if isinstance(found, dict) else None
    return next((one for one in get_args(Observability) if one == known), config.observability)


def as_brought(config: Config) -> Config:
    """The settings with the level that was brought last: who sends traces finds who takes them."""
    return replace(config, observability=level(config))


def resolved(config: Config, workload: Workload) -> Workload:
    """The workload with the placeholders in the variables of its swap filled in."""
    swap = workload.swap
    if swap is None or not any(OTEL_DISABLED in value for value in swap.env.values()):
        return workload
    disabled = "false" if level(config) == "full" else "true"
    env = {name: value.replace(OTEL_DISABLED, disabled) for name, value in swap.env.items()}
    return replace(workload, swap=replace(swap, env=env))
