"""The terminal while a screen has it: drawn from a thread, left as it was at any end.

The only user of `rich.live`. Who reports waits for nothing: it leaves a word in a queue, and the
thread draws when there was something new, at most `DRAWS_HZ` times a second.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # 0.1 s to import: in the thread, and only where there is a screen
    from rich.console import RenderableType
    from rich.live import Live

__all__ = ["Display"]

DRAWS_HZ = 8
MOVES_S = 0.25
"""Seconds between two drawings while only times move on."""
ASIDE_S = 0.25
"""Seconds between two looks whether the terminal is ours again."""
JOIN_S = 2.0
"""Seconds that the thread may take to end: a terminal that was stopped (Ctrl-S) takes nothing."""
RESTORE = "\x1b[?1049l\x1b[?25h"
"""Leave the alternate screen, show the cursor: what is written when rich could not."""

Draw = Callable[[int, int], "RenderableType"]
Word = Literal["changed", "now", "again", "end"]


class Display:
    """Draws what `draw` gives for columns and rows, until it is closed.

    `moving` says whether times move on; `opens` is called in the thread right before the terminal
    is taken, `fails` when it cannot be drawn on. It is taken `delay_s` seconds after the start.
    Start and close it in the main thread: signals are handled there.
    """

    def __init__(
        self,
        draw: Draw,
        moving: Callable[[], bool],
        *,
        opens: Callable[[], None] = lambda: None,
        fails: Callable[[Exception], None] = lambda _: None,
        delay_s: float = 0.0,
    ) -> None:
        self._draw = draw
        self._moving = moving
        self._opens = opens
        self._fails = fails
        self._delay_s = delay_s
        # Its put may be called in a signal handler, whatever the thread below it is at.
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()
        self._live: Live | None = None
        self._aside = False
        self._drawn_s = self._continued_s = 0.0
        self._taking = threading.RLock()
        self._handlers: dict[signal.Signals, Any] = {}
        self._thread = threading.Thread(target=self._run, name="kindloop-screen", daemon=True)

    def start(self) -> None:
        """Take the terminal, after the delay."""
        atexit.register(self._restore)
        self._handle_signals()
        self._thread.start()

    def poke(self, *, now: bool = False) -> None:
        """There is something new; `now`: somebody waits for it."""
        self._words.put("now" if now else "changed")

    def close(self) -> None:
        """Give the terminal back as it was."""
        try:
            self._words.put("end")
            if self._thread is not threading.current_thread():
                self._thread.join(JOIN_S)
        finally:
            self._restore()
            atexit.unregister(self._restore)
            for number, before in self._handlers.items():
                signal.signal(number, before)
            self._handlers.clear()

    def leave(self) -> None:
        """Give the terminal back until `resume`: we are about to be stopped."""
        self._aside = True
        self._restore()

    def resume(self) -> None:
        """Take the terminal again as soon as we are the job in front."""
        self._words.put("again")

    # -- the thread

    def _run(self) -> None:
        try:
            if self._waited():
                self._take()
                while self._wait():
                    self._show()
        except Exception as exc:
            self._restore()
            self._fails(exc)

    def _waited(self) -> bool:
        """Wait for the delay; whether it has not ended before."""
        opens_s = time.monotonic() + self._delay_s
        while (left_s := opens_s - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                if self._words.get(timeout=left_s) == "end":
                    return False
        return True

    def _wait(self) -> bool:
        """Wait until it is worth drawing; False at the end."""
        wait_s = ASIDE_S if self._aside else MOVES_S if self._moving() else None
        try:
            word = self._words.get(timeout=wait_s)
        except queue.Empty:
            return True
        # A save that needs no build is served within this time: nothing is drawn meanwhile.
        begins_s = time.monotonic() if word == "changed" else self._drawn_s
        while word in ("changed", "now"):
            left_s = begins_s + 1 / DRAWS_HZ - time.monotonic()
            if left_s <= 0:
                break
            with contextlib.suppress(queue.Empty):
                word = self._words.get(timeout=left_s)
                begins_s = self._drawn_s if word == "now" else begins_s
        if word == "again":
            self._again()
        return word != "end"

    def _again(self) -> None:
        """We were continued. Once is enough: after Ctrl-Z it is told twice."""
        if time.monotonic() - self._continued_s > ASIDE_S:
            self._restore()  # what SIGSTOP has stopped did not leave it
        self._aside = False
        self._continued_s = time.monotonic()

    def _take(self) -> None:
        """Take the terminal and draw for the first time."""
        from rich.console import Console
        from rich.live import Live

        # Sizes in the environment would hold whatever becomes of the window.
        environ = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "LINES")}
        console = Console(
            file=sys.stdout, force_terminal=True, force_interactive=True, highlight=False,
            legacy_windows=False, _environ=environ,
        )  # fmt: skip
        self._live = Live(
            console=console, screen=True, auto_refresh=False,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._opens()
        self._show()

    def _show(self) -> None:
        with self._taking:
            if self._live is None or self._aside or not _in_front():
                return
            self._live.start()
            size = self._live.console.size
            self._live.update(self._draw(size.width, size.height), refresh=True)
            self._drawn_s = time.monotonic()

    def _restore(self) -> None:
        """Leave the terminal as it was; more than once does no harm."""
        with self._taking:
            if self._live is None or not self._live.is_started:
                return
            try:
                self._live.stop()
            except OSError:  # it is closed
                with contextlib.suppress(OSError):
                    os.write(sys.stdout.fileno(), RESTORE.encode())

    # -- signals

    def _handle_signals(self) -> None:
        handlers = {
            signal.SIGWINCH: self._on_resize,
            signal.SIGTSTP: self._pass_on,
            signal.SIGQUIT: self._pass_on,
            signal.SIGCONT: self._on_continue,
        }
        for number, handler in handlers.items():
            self._handlers[number] = signal.signal(number, handler) or signal.SIG_DFL

    def _on_resize(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._words.put("now")

    def _on_continue(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.resume()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Give the terminal back, then let the signal do what it does: stop us, or end us."""
        self.leave()
        before = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Only after a stop do we get here, continued.
        signal.signal(number, before)
        self._on_continue(number, frame)


def _in_front() -> bool:
    """Whether the terminal is ours to draw on: the shell has put us in front."""
    try:
        return os.tcgetpgrp(sys.stdout.fileno()) == os.getpgrp()
    except OSError:
        return True  # it is closed, and the next write says so
