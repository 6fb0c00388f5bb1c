"""What somebody wants to see of the logs: checked before anything is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from kindloop._yaml import suggest
from kindloop.config import Config, Workload
from kindloop.errors import ConfigError

__all__ = ["TAIL", "Wishes", "duration_s", "wishes"]

T = TypeVar("T")

TAIL = 100
"""Lines of each source when neither --tail nor --since says otherwise."""
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(f"(?:{_PART.pattern})+")


@dataclass(frozen=True)
class Wishes:
    """Which lines, of whom."""

    workloads: tuple[Workload, ...]
    stages: tuple[str, ...]
    stages_named: bool = False
    """Whether somebody has asked for these stages: then their logs are shown however old."""
    since_s: float | None = None
    """Seconds back; None: all."""
    grep: re.Pattern[str] | None = None
    tail: int | None = TAIL
    """Newest lines of each source; None: all."""
    follow: bool = False

    def unmet(self) -> str:
        """What to say when there is no such line: what was looked for, and what comes next."""
        whose = [*(one.name for one in self.workloads), *(f"stage {one}" for one in self.stages)]
        given = {"--grep": self.grep, "--since": self.since_s is not None, "--tail": self.tail == 0}
        chosen = " and ".join(flag for flag, is_given in given.items() if is_given)
        told = f"no line of {', '.join(whose)}{chosen and f' with {chosen}'}"
        if self.follow:
            return f"{told} yet; waiting, Ctrl-C ends it"
        if chosen:
            return f"{told}; next: the same without {chosen}"
        waits = "invoke dev-logs -f (waits for lines)"
        return f"{told}; next: {waits if self.workloads else 'invoke build (runs what is stale)'}"


def wishes(
    config: Config,
    *,
    workload: str = "",
    stage: str = "",
    since: str = "",
    grep: str = "",
    tail: str = "",
    follow: bool = False,
) -> Wishes:
    """The wishes in the words of the command line; empty means that nothing was said.

    A workload alone leaves the stages out, a stage the workloads. Raises ConfigError for what is
    no name, no duration of kubectl (`90s`, `1h30m`), no regular expression or no number.
    """
    every = not workload and not stage
    workloads = tuple(config.workloads.values()) if every else ()
    if workload:
        workloads = (_known(workload, dict(config.workloads), "workload"),)
    stages = tuple(config.stages) if every else ()
    if stage:
        stages = (_known(stage, {name: name for name in config.stages}, "stage"),)
    if every and not workloads and not stages:
        raise ConfigError(
            "kindloop.yaml has no workload and no stage", hint="docs/LOCAL_DEVELOPMENT.md has both"
        )
    since_s = duration_s(since) if since else None
    return Wishes(
        workloads, stages, bool(stage), since_s, _pattern(grep), _tail(tail, since_s), follow
    )


def duration_s(text: str) -> float:
    """Seconds of a duration as kubectl takes it: `10m`, `1h30m`, `1.5s`. Raises ConfigError."""
    if not _DURATION.fullmatch(text):
        raise ConfigError(
            f"--since {text} is no duration",
            why="it is numbers with units: h, m, s, ms",
            hint="invoke dev-logs --since 10m",
        )
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as exc:
        raise ConfigError(
            f"--grep {text} is no regular expression: {exc}",
            hint=f"invoke dev-logs --grep PATTERN; as it stands it is '{re.escape(text)}'",
        ) from exc


def _tail(text: str, since_s: float | None) -> int | None:
    if not text:
        return TAIL if since_s is None else None
    if text == "-1":  # as kubectl has it
        return None
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ConfigError(f"--tail {text} is no number of lines", hint="invoke dev-logs --tail 20")
    return int(text)


def _known(name: str, known: Mapping[str, T], what: str) -> T:
    if name not in known:
        raise ConfigError(
            f"there is no {what} {name}{suggest(name, known)}",
            hint=f"the {what}s of kindloop.yaml: {', '.join(known) or 'none'}",
        )
    return known[name]
