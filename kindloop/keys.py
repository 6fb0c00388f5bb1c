"""Single keys from the terminal while something else runs; the terminal is always given back.

Keys come without Enter and without echo (cbreak mode). Nothing is read, and nothing changed, when
standard input is no terminal or another job has it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from kindloop import report

__all__ = ["KEYS", "Keys"]

KEYS = "rgptlLq?"
"""The keys that are told; all others are nobody's."""
_QUIT = "\x03\x04"  # Ctrl-C where it makes no signal, Ctrl-D
_ESCAPED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""What an arrow or function key sends (ECMA-48), or Alt with another key."""
_NAMED = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[5~": "page up",
    "\x1b[6~": "page down", "\x1b[H": "home", "\x1b[F": "end", "\x1b": "escape",
}  # fmt: skip
"""Keys that only a screen hears."""
_ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_BACKGROUND_S = 0.25
"""Seconds between two looks whether the terminal is ours again: no signal may say so."""


class Keys:
    """Calls `on_key` with each key of `KEYS`, in a thread of its own, while its context lasts.

    "q" also stands for Ctrl-D and a terminal that closed. Ctrl-C stays the signal that it is.
    After Ctrl-Z and `fg` it goes on. A `screen` hears each key first, arrows too, and leaves the
    terminal before we are stopped or ended by a signal. `on_key` must not wait for whoever leaves
    the context. Enter it in the main thread: others may not handle signals, and then the terminal
    is not restored when a signal ends us.
    """

    def __init__(
        self,
        on_key: Callable[[str], None],
        stream: TextIO | None = None,
        *,
        screen: report.Screen | None = None,
    ) -> None:
        self._on_key = on_key
        self._screen = screen
        self._stream = stream
        self._fd = -1
        self._saved: list[Any] | None = None
        self._ours = True
        self._wake: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._handlers: dict[signal.Signals, tuple[Any, Any]] = {}

    @property
    def active(self) -> bool:
        """Whether keys are read."""
        return self._thread is not None

    def __enter__(self) -> Self:
        fd = _terminal(sys.stdin if self._stream is None else self._stream)
        if fd is None or not _foreground(fd):
            return self
        self._fd, self._saved = fd, termios.tcgetattr(fd)
        self._wake = os.pipe()
        try:
            self._handle_signals()
            self._cbreak()
        except BaseException:
            self._restore()
            raise
        self._thread = threading.Thread(target=self._read, name="kindloop-keys", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        self._nudge(b"q")
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None
        self._restore()

    def _read(self) -> None:
        while (text := self._typed()) is not None:
            if self._screen:
                for named in _ESCAPED.findall(text):
                    self._screen.takes(_NAMED.get(named, ""))
            for key in _ESCAPED.sub("", text):
                self._tell("q" if key in _QUIT else key)

    def _tell(self, key: str) -> None:
        if key in KEYS and not (self._screen and self._screen.takes(key)):
            self._on_key(key)

    def _typed(self) -> str | None:
        """What was typed, maybe nothing; None at the end."""
        wake = self._wake[0] if self._wake else self._fd
        try:
            # In the background a read would stop the whole process.
            ours = os.tcgetpgrp(self._fd) == os.getpgrp()
            if ours and not self._ours:
                self._cbreak()  # a job that runs on in the foreground gets no signal
            self._ours = ours
            look = [wake, self._fd] if ours else [wake]
            ready, _, _ = select.select(look, [], [], None if ours else _BACKGROUND_S)
            if wake in ready:
                nudged = os.read(wake, 64)
                if b"q" in nudged:
                    return None
                self._ours = False  # continued: the modes may be another's
            if self._fd not in ready or os.tcgetpgrp(self._fd) != os.getpgrp():
                return ""
            data = os.read(self._fd, 64)
        except OSError:
            data = b""
        if not data:  # the terminal is closed
            self._on_key("q")
            return None
        return data.decode("ascii", "replace")

    def _cbreak(self) -> None:
        with contextlib.suppress(termios.error):  # it is closed
            tty.setcbreak(self._fd, termios.TCSADRAIN)

    def _give_back(self) -> None:
        """Restore the terminal, unless another job has it: then it is that one's."""
        if self._saved is not None and _foreground(self._fd):
            with contextlib.suppress(termios.error):  # it is closed
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)

    def _restore(self) -> None:
        self._give_back()
        for number, (ours, before) in self._handlers.items():
            if signal.getsignal(number) == ours:  # else somebody took it over meanwhile
                signal.signal(number, before)
        self._handlers.clear()
        for end in self._wake or ():
            os.close(end)
        self._wake = None

    def _handle_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        wanted = {signal.SIGTSTP: self._pass_on, signal.SIGCONT: self._on_continue}
        wanted |= dict.fromkeys(_ENDINGS, self._pass_on)
        for number, handler in wanted.items():
            # Whoever handles an ending ends us in order, and our context is left. A screen that
            # handles the others would leave the modes as they are.
            before = signal.getsignal(number)
            screens = self._screen is not None and number not in (signal.SIGTERM, signal.SIGHUP)
            if screens or before in (signal.SIG_DFL, None):
                self._handlers[number] = (handler, before or signal.SIG_DFL)
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Give the terminal back, then let the signal do what it does: stop us, or end us."""
        if self._screen:
            self._screen.leave()
        self._give_back()
        before = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Only after a stop do we get here, continued.
        signal.signal(number, before)
        self._on_continue(number, frame)

    def _on_continue(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._nudge(b"c")
        if self._screen:
            self._screen.resume()

    def _nudge(self, what: bytes) -> None:
        if self._wake:
            with contextlib.suppress(OSError):
                os.write(self._wake[1], what)


def _terminal(stream: TextIO | None) -> int | None:
    """The descriptor of a stream that is a terminal."""
    try:
        fd = stream.fileno() if stream else -1
    except (OSError, ValueError):  # a test's stream, or a closed one
        return None
    return fd if fd >= 0 and os.isatty(fd) else None


def _foreground(fd: int) -> bool:
    """Whether the terminal is ours to read: we are the job that the shell put in front."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
