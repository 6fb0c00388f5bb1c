"""Long-lived children: builds, log streams, watches. Nothing is left behind.

Each child leads a process group of its own. It is ended by TERM, then KILL, for the whole
group: on Ctrl-C, on an error of ours, at a deadline, and when its context is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from kindloop import report
from kindloop.errors import ToolMissing
from kindloop.tools import INSTALL_HINT, deliver, environ, signals_held

__all__ = ["Child", "Completed", "run"]

Stream = Literal["out", "err"]
OnLine = Callable[[str, Stream], None]

TAIL_LINES = 200
"""Lines kept in memory of each child; the log file has all of them."""
GRACE_S = 3.0
"""Seconds between TERM and KILL: cargo and go need well under one to end their compilers."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Completed:
    """How a child ended. `exit_code` is negative for a signal, None at the deadline."""

    argv: tuple[str, ...]
    exit_code: int | None
    tail: tuple[str, ...]
    duration_s: float

    @property
    def ok(self) -> bool:
        """Whether the exit code was 0."""
        return self.exit_code == 0


class Child:
    """A running child with its output pumped to a log, a bounded tail and a callback."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        on_line: OnLine | None = None,
    ) -> None:
        self.argv = tuple(str(word) for word in argv)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self._lock = threading.Lock()
        self._started_s = time.monotonic()
        report.command(shlex.join(self.argv))
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        self._log: IO[str] | None = log.open("w", encoding="utf-8") if log else None
        try:
            with signals_held() as held:
                self._popen = self._start(cwd, env)
        except OSError as exc:
            self._close_log()
            raise ToolMissing(
                f"{self.argv[0]} cannot be run: {exc.strerror}", hint=INSTALL_HINT
            ) from exc
        self._readers = [
            threading.Thread(target=self._pump, args=(pipe, name), daemon=True)
            for pipe, name in ((self._popen.stdout, "out"), (self._popen.stderr, "err"))
        ]
        for reader in self._readers:
            reader.start()
        try:
            deliver(held)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self._popen.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float | None = None) -> Completed:
        """Wait for the end; at the deadline end the group and return exit code None."""
        exit_code: int | None
        try:
            exit_code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            exit_code = None
        except BaseException:
            self.stop()
            raise
        self._finish()
        return self.completed(exit_code)

    def completed(self, exit_code: int | None) -> Completed:
        """The result record for `exit_code`."""
        took = time.monotonic() - self._started_s
        return Completed(self.argv, exit_code, tuple(self.tail), took)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End the whole group: TERM, `grace_s` seconds, KILL."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(wait_s)
                break
        # A grandchild may have outlived its parent in the same group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.poll() is None:
            self.stop()
        self._finish()

    def _start(self, cwd: Path | None, env: Mapping[str, str] | None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv,
            cwd=cwd,
            env=environ(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            # It calls the kernel only: no lock of another thread can be held.
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )

    def _pump(self, pipe: IO[str], name: Stream) -> None:
        with pipe:
            for raw in pipe:
                text = raw.rstrip("\n")
                with self._lock:
                    self.tail.append(text)
                    if self._log and not self._log.closed:
                        self._log.write(text + "\n")
                        self._log.flush()
                if self._on_line:
                    self._on_line(text, name)

    def _finish(self) -> None:
        for reader in self._readers:
            reader.join(timeout=2.0)
        self._close_log()

    def _close_log(self) -> None:
        if self._log:
            with self._lock:
                self._log.close()


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    on_line: OnLine | None = None,
    timeout_s: float | None = None,
) -> Completed:
    """Run a long command to its end. Ctrl-C ends its whole group before it is raised again."""
    with Child(argv, cwd=cwd, env=env, log=log, on_line=on_line) as child:
        return child.wait(timeout_s)


def _die_with_parent() -> None:
    """Let the kernel TERM the child when we are killed without a chance to clean up."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
