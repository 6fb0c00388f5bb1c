"""The two screens as renderers: events become a state that is drawn; plain lines are kept."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kindloop import loading, report
from kindloop.bake import parts
from kindloop.config import Config
from kindloop.errors import KindloopError
from kindloop.report import Event
from kindloop.screen import day, durations, graph
from kindloop.screen.asking import Asking
from kindloop.screen.day import Day, Row
from kindloop.screen.display import Display
from kindloop.screen.graph import Graph
from kindloop.screen.steps import TAIL

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["UpScreen", "WatchScreen"]

KEPT = 200
"""Lines of a watch that are left in the terminal; an up leaves all of its."""
RESTS_S = 2.0
"""Seconds after the last event from which the loop is at rest."""
OPENS_S = 1.0
"""Seconds after which an up takes the terminal: one that has nothing to do is lines."""
END_BYTES = 4096
"""Of a log that another process writes, its end."""


class _Shown:
    """What both have: the display, and the plain lines that are written when it has ended."""

    verbosity = 0

    def __init__(self, config: Config, *, delay_s: float, kept: int | None) -> None:
        self._config = config
        self._estimates = durations.estimates(config)
        self._plain = report.Plain()
        self._open = threading.Lock()
        self._covered = False
        """Whether the terminal is ours, so that lines have to wait."""
        self._lines: deque[str] = deque(maxlen=kept)
        self._dropped = 0
        self._hushed = 0
        self._main = threading.current_thread()
        self._lost: OSError | None = None
        self._display = Display(
            self._draw, self._moving, opens=self._cover, fails=self._failed, delay_s=delay_s
        )

    def show(self, event: Event) -> None:
        """Take an event. Raises OSError in the main thread when the terminal has gone."""
        if not (self._hushed and event.kind == "output"):
            self._take(event)
        if not self._hushed or event.kind not in ("started", "ended", "output"):
            self._keep(event)
        self._display.poke(now=event.kind in ("save", "key"))
        if self._lost and threading.current_thread() is self._main:
            raise self._lost

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Steps and tables are no lines meanwhile."""
        self._hushed += 1
        try:
            yield
        finally:
            self._hushed -= 1

    def takes(self, key: str) -> bool:
        """Keys are nobody's."""
        del key
        return False

    def leave(self) -> None:
        """Give the terminal back."""
        self._display.leave()

    def resume(self) -> None:
        """Take it again."""
        self._display.resume()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it lasts, this is the renderer, and has the terminal."""
        before = report.use(self)
        self._display.start()
        try:
            yield
        finally:
            try:
                self._display.close()
            finally:
                report.use(before)
                with contextlib.suppress(OSError):  # the terminal was closed
                    self._uncover()
                with contextlib.suppress(OSError):  # the disk is full
                    durations.keep(self._config, self._took_s())

    def _take(self, event: Event) -> None:
        raise NotImplementedError

    def _draw(self, width: int, height: int) -> RenderableType:
        raise NotImplementedError

    def _moving(self) -> bool:
        raise NotImplementedError

    def _took_s(self) -> dict[str, float]:
        raise NotImplementedError

    def _keep(self, event: Event) -> None:
        """Write the event's line, or keep it for the end."""
        with self._open:
            text = self._plain.text(event)
            if text is None:
                return
            if not self._covered:
                self._plain.write(text)
                return
            for line in text.splitlines() or [""]:
                self._dropped += len(self._lines) == self._lines.maxlen
                self._lines.append(line)

    def _cover(self) -> None:
        with self._open:
            self._covered = True

    def _uncover(self) -> None:
        """Write what was kept; from now on lines are written as they come."""
        with self._open:
            self._covered = False
            if self._dropped:
                self._plain.write(f"… {self._dropped} lines before these")
            while self._lines:
                self._plain.write(self._lines.popleft())
            self._dropped = 0

    def _failed(self, error: Exception) -> None:
        """The screen cannot go on, but what it shows does."""
        if isinstance(error, OSError):
            self._lost = error
            return
        self._uncover()
        report.warn(f"the screen cannot be drawn, lines are plain from here: {error!r}")


class WatchScreen(_Shown):
    """The screen of `dev-watch`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, delay_s=0.0, kept=KEPT)
        self._day: Day = day.begin(config)
        self._changing = threading.Lock()
        """Keys and what is asked of the cluster come in threads of theirs."""
        self._heard_s = 0.0
        self._most_up = 0
        self._asking = Asking(config, self._resting, self._told)

    def takes(self, key: str) -> bool:
        """Hear a key; whether it was for the screen alone."""
        with self._changing:
            self._day, ours = day.pressed(self._day, key, most_up=self._most_up)
        self._display.poke(now=True)
        return ours

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The same, and what the loop does not tell is asked for."""
        with super().shown():
            self._asking.start()
            try:
                yield
            finally:
                self._asking.close()

    def _take(self, event: Event) -> None:
        with self._changing:
            self._day = day.heard(self._day, event)
        self._heard_s = time.monotonic()
        if event.kind == "line" and event.text == f"{self._config.path.name} was read again":
            self._reread()

    def _reread(self) -> None:
        """Other settings have other stages and workloads."""
        with contextlib.suppress(KindloopError):  # who watches tells what is wrong with them
            config = loading.load(self._config.path)
            with self._changing:
                self._day = day.renewed(self._day, config)

    def _keep(self, event: Event) -> None:
        """Not what a key has asked for: it was looked at, and would push the saves away."""
        if event.kind != "output":
            super()._keep(event)

    def _resting(self) -> bool:
        """Whether the loop waits for a save, and none has just been served."""
        now = self._day
        idle_s = time.monotonic() - self._heard_s
        return bool(now.watching) and not now.steps.running and idle_s > RESTS_S

    def _told(self, rows: Sequence[Row]) -> None:
        with self._changing:
            before, self._day = self._day, day.told(self._day, rows)
        if self._day != before:
            self._display.poke()

    def _draw(self, width: int, height: int) -> RenderableType:
        from kindloop.screen import dayview

        now = self._day
        self._most_up = dayview.most_up(now, width=width, height=height)
        return dayview.draw(now, self._estimates, now_s=time.time(), width=width, height=height)

    def _moving(self) -> bool:
        return bool(self._day.steps.running)

    def _took_s(self) -> dict[str, float]:
        return dict(self._day.steps.took_s)


class UpScreen(_Shown):
    """The screen of `dev-up`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, delay_s=OPENS_S, kept=None)
        self._graph: Graph = graph.begin(config)

    def _take(self, event: Event) -> None:
        self._graph = graph.heard(self._graph, event)  # one event at a time: report sees to it

    def _draw(self, width: int, height: int) -> RenderableType:
        from kindloop.screen import graphview

        shown = graph.with_tails(self._graph, self._apart())
        return graphview.draw(shown, self._estimates, now_s=time.time(), width=width, height=height)

    def _apart(self) -> dict[str, tuple[str, ...]]:
        """The last lines of what is baked in a process of its own."""
        names = (n.name for n in self._graph.of("bake") if n.state == "running")
        return {name: _end_of(parts.logs() / f"{name.replace(' ', '-')}.log") for name in names}

    def _moving(self) -> bool:
        return True

    def _took_s(self) -> dict[str, float]:
        return dict(self._graph.steps.took_s)


def _end_of(log: Path) -> tuple[str, ...]:
    """The last lines of a file that is being written; none where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - END_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(report.masked(line) for line in text.splitlines()[-TAIL:] if line.strip())
