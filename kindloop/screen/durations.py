"""How long steps took before: what an estimate rests on.

Stages have it in their records; what else takes its time is kept in `.kindloop/durations.json`,
the last `KEPT` of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from kindloop import state
from kindloop.config import Config

__all__ = ["SHORTEST_S", "estimates", "keep", "left"]

KEPT = 5
SHORTEST_S = 0.3
"""Seconds from which a step is worth an estimate; a stage that is up to date takes less."""
ANYWHERE = "{environment}"
"""Stands for the environment's name in a step's: another one takes as long."""


def estimates(config: Config) -> dict[str, float]:
    """Seconds that each step will likely take, by its name; nothing for what is not known."""
    kept = _read(config)
    found = {_named(name, config): median(past) for name, past in kept.items() if past}
    for name in config.stages:
        record = state.read_json(config.local / "build" / config.profile / f"{name}.json")
        took_s = record.get("duration_s") if isinstance(record, dict) else None
        if isinstance(took_s, int | float):
            found[name] = float(took_s)
    return found


def keep(config: Config, took_s: Mapping[str, float]) -> None:
    """Remember how long steps took, by name; stages have it in their records."""
    new = {
        name.replace(config.name, ANYWHERE): round(seconds, 3)
        for name, seconds in took_s.items()
        if seconds >= SHORTEST_S and name not in config.stages
    }
    if new:
        kept = _read(config)
        steps = {**kept, **{name: [*kept.get(name, []), s][-KEPT:] for name, s in new.items()}}
        state.write_json(_file(config), {"schema": 1, "steps": steps}, durable=False)


def left(estimate_s: float | None, since_s: float, now_s: float) -> str:
    """`about 12 s left`; that it takes longer, once the estimate is over; empty without one."""
    if estimate_s is None:
        return ""
    remains_s = estimate_s - (now_s - since_s)
    if remains_s < -max(1.0, estimate_s / 5):
        return f"longer than the usual {_about(estimate_s)}"
    return f"about {_about(max(remains_s, 1.0))} left"


def _about(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"


def _file(config: Config) -> Path:
    return config.local / "durations.json"


def _named(name: str, config: Config) -> str:
    return name.replace(ANYWHERE, config.name)


def _read(config: Config) -> dict[str, list[float]]:
    document = state.read_json(_file(config))
    steps = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(steps, dict):
        return {}
    return {
        str(name): [float(one) for one in past if isinstance(one, int | float)]
        for name, past in steps.items()
        if isinstance(past, list)
    }
