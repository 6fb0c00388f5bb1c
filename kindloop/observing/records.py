"""What is remembered of an environment's observability stack, and the process that makes it.

What has to be made or loaded first takes seconds to minutes: a process of its own does it, so
that the application is waited for and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kindloop import cluster, orphans, process, state
from kindloop.clusterfacts import Environment
from kindloop.components import Prepared
from kindloop.config import Config, Observability, Resources

__all__ = ["Record", "can_detach", "end", "locked", "log_of", "read", "running", "start", "write"]

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """What was last brought into an environment, or is being brought."""

    level: Observability
    resources: Resources
    parts: Mapping[str, Prepared] = field(default_factory=dict)
    """By name, also what is missing or absent."""
    applied: str = ""
    """Fingerprint of what the cluster has; empty while it has less or something else."""
    objects: tuple[str, ...] = ()
    """`kind name mark` of each object in the namespace, as it was right after the apply."""
    error: str = ""
    """Why it ended before it was done."""
    asked_s: float = 0.0
    """When registries were last asked for what is absent; seconds since the epoch."""

    def as_json(self) -> dict[str, Any]:
        """The record as a JSON document."""
        return {"schema": SCHEMA, **asdict(self)}


def read(config: Config) -> Record | None:
    """The record; None where nothing was ever brought, or another kindloop wrote it."""
    found = state.read_json(_file(config))
    if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA:
        return None
    try:
        parts = {name: Prepared(**each) for name, each in found.pop("parts").items()}
        return Record(parts=parts, objects=tuple(found.pop("objects")), **found)
    except (TypeError, KeyError, AttributeError):
        return None


def write(config: Config, record: Record) -> None:
    """Remember it, until the environment is deleted."""
    state.write_json(_file(config), record.as_json())


def locked(config: Config, wait_s: float) -> AbstractContextManager[None]:
    """Hold the stack: two that change it would undo each other's work. Raises Locked."""
    home = cluster.environment(config).home
    what = f"the observability stack of {config.name}"
    return state.lock(home / "observability.lock", what, wait_s=wait_s)


def log_of(config: Config) -> Path:
    """Where the process says what it does."""
    return config.local / "logs" / "observability.log"


def can_detach() -> bool:
    """Whether a process can be found again, so that it may be left to itself."""
    return orphans.look(os.getpid()) is not None


def start(config: Config) -> None:
    """Start the process that brings what these settings ask for."""
    env = {
        "KINDLOOP_CONFIG": str(config.path),
        "KINDLOOP_NAME": config.name,
        "KINDLOOP_PORT_OFFSET": str(config.cluster.port_offset),
        "KINDLOOP_OBSERVABILITY": config.observability,
        "KINDLOOP_RESOURCES": config.resources,
        "KINDLOOP_SCRAPE_S": str(config.scrape_s),
    }
    argv = [sys.executable, "-m", "kindloop.observing"]
    process.detach(argv, env, log_of(config), _folder(cluster.environment(config)))


def running(config: Config) -> bool:
    """Whether such a process runs."""
    folder = _folder(cluster.environment(config))
    return any(orphans.runs(path) for path in folder.glob("*.json"))


def end(environment: Environment) -> bool:
    """End the processes of an environment; returns whether there were any. Finished parts stay."""
    there = [path for path in _folder(environment).glob("*.json") if orphans.runs(path)]
    for path in there:
        orphans.end(path)
    return bool(there)


def _file(config: Config) -> Path:
    return cluster.environment(config).home / "observability.json"


def _folder(environment: Environment) -> Path:
    return environment.home / "observing"
