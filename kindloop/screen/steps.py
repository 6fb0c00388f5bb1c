"""The steps of what is going on: which run, what they said, how long they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from kindloop.report import Event
from kindloop.screen.durations import SHORTEST_S

__all__ = ["NONE", "TAIL", "Open", "Steps"]

TAIL = 12
"""Lines of a running program that are kept; a screen shows the last few."""


@dataclass(frozen=True)
class Open:
    """A step that runs. `since_s` is in seconds since the epoch."""

    name: str
    since_s: float
    tail: tuple[str, ...] = ()
    """The last lines of the program that it runs."""


@dataclass(frozen=True)
class Steps:
    """Steps that run, outermost first, and how long those took that ended well."""

    running: tuple[Open, ...] = ()
    took_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def after(self, event: Event) -> Steps:
        """The steps after an event."""
        match event.kind:
            case "started":
                return replace(self, running=(*self.running, Open(event.step, event.t_s)))
            case "log":
                return replace(self, running=tuple(_longer(one, event) for one in self.running))
            case "ended":
                return self._ended(event)
            case _:
                return self

    def of(self, name: str) -> Open | None:
        """The step of this name, if it runs."""
        return next((one for one in self.running if one.name == name), None)

    def usual_s(self, name: str, estimates: Mapping[str, float]) -> float | None:
        """Seconds that a step took the last time, else those of `estimates`, if any."""
        return self.took_s.get(name, estimates.get(name))

    def _ended(self, event: Event) -> Steps:
        took_s = dict(self.took_s)
        if event.ok and (event.took_s or 0.0) >= SHORTEST_S:
            took_s[event.step] = event.took_s or 0.0
        running = tuple(one for one in self.running if one.name != event.step)
        return Steps(running, took_s)


NONE = Steps()
"""Before anything has begun."""


def _longer(one: Open, event: Event) -> Open:
    if one.name != event.step:
        return one
    return replace(one, tail=(*one.tail, *event.text.splitlines())[-TAIL:])
