"""A command's steps as spans: what the user sees of it is what is recorded of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from kindloop import report
from kindloop.config import Config
from kindloop.telemetry.facts import Part, Trace, said

__all__ = ["Steps", "name_of"]

ANSWERS = " answers"


class Steps:
    """While its context lasts, a renderer that takes down each step and shows it as before.

    `take` is called with the trace at the end, also when the body raises.
    """

    def __init__(self, name: str, config: Config, take: Callable[[Trace], None]) -> None:
        self._name = name
        self._config = config
        self._take = take
        self._open: list[list[Part]] = [[]]
        """The parts found so far at each depth."""
        self.verbosity = 0

    def show(self, event: report.Event) -> None:
        """Show an event, and take it down when it ends a step."""
        if event.kind == "started":
            self._open.append([])
        elif event.kind == "ended" and len(self._open) > 1:
            self._ended(event, time.monotonic())
        self._shown.show(event)

    def _ended(self, event: report.Event, now_s: float) -> None:
        parts = tuple(self._open.pop())
        self._open[-1].append(
            Part(
                name_of(event.step, self._config),
                now_s - (event.took_s or 0.0),
                now_s,
                error="" if event.ok else event.text or "it failed",
                attributes={"kindloop.note": event.text} if event.text else {},
                parts=parts,
            )
        )

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        self._shown = report.use(self)
        self.verbosity = self._shown.verbosity
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        report.use(self._shown)
        result = "failed" if error else "fresh"
        attributes = {"kindloop.environment": self._config.name, "kindloop.result": result}
        root = Part(
            self._name,
            self._began_s,
            time.monotonic(),
            error=said(error) if error else "",
            attributes=attributes,
            parts=tuple(self._open[0]),
        )
        self._take(Trace(root, result))


def name_of(step: str, config: Config) -> str:
    """The span's name for a step as it is shown: the names that a save's spans have. Pure."""
    if step in config.stages:
        return f"stage {step}"
    return "answer" if step.endswith(ANSWERS) else step
