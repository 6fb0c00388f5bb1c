"""Long-lived children: builds, log streams, watches. Nothing is left behind.

Each child leads a session and a process group of its own. It is ended by TERM, then KILL, for
the whole group: on Ctrl-C, on an error of ours, at a deadline, when a `Stop` says so, and when
its context is left. The kernel ends it with the thread that started it: start it in one that
stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import shlex
import shutil
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
from typing import IO, Any, Self, cast

from kindloop import orphans, report
from kindloop.errors import ToolMissing
from kindloop.orphans import sweep
from kindloop.pump import Pump, Stream
from kindloop.stopping import Stop
from kindloop.tools import INSTALL_HINT, deliver, environ, find, signals_held

__all__ = [
    "Child", "Completed", "Stop", "Stream", "detach", "hand_over", "record_into", "run", "sweep",
]  # fmt: skip

OnLine = Callable[[str, Stream], None]

TAIL_LINES = 200
"""Lines kept in memory of each child; the log file has all of them."""
GRACE_S = 3.0
"""Seconds between TERM and KILL: cargo and go need well under one to end their compilers."""
GONE_S = 1.0
"""Seconds until all of a killed group must be gone; the kernel needs a few milliseconds."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)

_records: Path | None = None
_detached: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Completed:
    """How a child ended. `exit_code` is negative for a signal, None at the deadline."""

    argv: tuple[str, ...]
    exit_code: int | None
    tail: tuple[str, ...]
    duration_s: float
    stopped: bool = False
    """Whether we ended it because a `Stop` was set."""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.exit_code == 0 and not self.stopped


class Child:
    """A running child with its output pumped to a log, a bounded tail and a callback.

    The callback comes from a thread of the child's own, and never after the child is finished.
    `grace_s` is for one that has something to write when it is ended; with `stdin` it has our
    standard input, else none. Raises ToolMissing when there is no such program.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        on_line: OnLine | None = None,
        grace_s: float = GRACE_S,
        stdin: bool = False,
    ) -> None:
        self.argv = tuple(str(word) for word in argv)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._started_s = time.monotonic()
        self._exited = threading.Event()  # the child itself; its own children may live
        self._wake = threading.Event()  # it exited, is to be stopped, or its callback failed
        self._error: Exception | None = None
        report.command(shlex.join(self.argv))
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        self._log: IO[str] | None = log.open("w", encoding="utf-8") if log else None
        self._pump = Pump(self._take)
        try:
            with signals_held() as held:
                self._popen = _spawn(
                    self.argv, cwd, env,
                    bufsize=0, stdin=None if stdin else subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                )  # fmt: skip
        except ToolMissing:
            self._pump.close()
            self._close_log()
            raise
        self._record: Path | None = None
        try:
            threading.Thread(target=self._await_exit, daemon=True).start()
            pipes = {"out": self._popen.stdout, "err": self._popen.stderr}
            self._pump.start(cast("Mapping[Stream, IO[bytes]]", pipes))
            if _records:
                self._record = orphans.record(_records, self.pid, self.argv[0])
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
        return self._popen.returncode if self._exited.is_set() else None

    def wait(self, timeout_s: float | None = None, *, stop: Stop | None = None) -> Completed:
        """Wait for the end; at the deadline end the group and return exit code None.

        When `stop` is set before the child exits, its group is ended and the result says so.
        When the callback fails, the group is ended, and its error raised.
        """
        stopped = False
        try:
            with stop.waking(self._wake.set) if stop else contextlib.nullcontext():
                self._wake.wait(timeout_s)
            exited = self._exited.is_set()
            if not exited:
                stopped = stop is not None and stop.is_set()
                self.stop()
        except BaseException:
            self.stop()
            raise
        self._finish()
        if self._error:
            raise self._error
        return self.completed(self._popen.returncode if exited or stopped else None, stopped)

    def completed(self, exit_code: int | None, stopped: bool = False) -> Completed:
        """The result record for `exit_code`."""
        took = time.monotonic() - self._started_s
        return Completed(self.argv, exit_code, tuple(self.tail), took, stopped)

    def stop(self, grace_s: float | None = None) -> None:
        """End the whole group: TERM, `grace_s` seconds, KILL; nothing of it runs afterwards.

        Without `grace_s`, the seconds are those that the child was made with.
        """
        patience_s = self._grace_s if grace_s is None else grace_s
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
            self._signal(number)
            if self._exited.wait(wait_s):
                break
        # A grandchild may have outlived its parent in the same group.
        self._signal(signal.SIGKILL)
        deadline_s = time.monotonic() + GONE_S
        while orphans.lives(self.pid) and time.monotonic() < deadline_s:
            time.sleep(0.002)  # nothing tells of the end of what is not our own child
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

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _await_exit(self) -> None:
        """A blocking wait: with a deadline, Python's own would sleep in steps of up to 50 ms."""
        self._popen.wait()
        self._exited.set()
        self._wake.set()
        self._pump.child_ended()

    def _take(self, stream: Stream, lines: list[str]) -> None:
        with self._lock:
            self.tail.extend(lines)
            if self._log and not self._log.closed:
                self._log.write(report.masked("\n".join(lines)) + "\n")
                self._log.flush()
        try:
            if self._on_line and not self._error:
                for line in lines:
                    self._on_line(line, stream)
        except Exception as exc:
            self._error = exc
            self._wake.set()

    def _finish(self) -> None:
        self._pump.finish()
        self._close_log()
        if self._record:
            self._record.unlink(missing_ok=True)

    def _close_log(self) -> None:
        if self._log:
            with self._lock:
                self._log.close()


def record_into(folder: Path | None) -> None:
    """From now on record each child in `folder` while it runs, for `sweep`; None: no longer."""
    global _records
    _records = folder


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    on_line: OnLine | None = None,
    timeout_s: float | None = None,
    stop: Stop | None = None,
    stdin: bool = False,
) -> Completed:
    """Run a long command to its end. Ctrl-C ends its whole group before it is raised again."""
    with Child(argv, cwd=cwd, env=env, log=log, on_line=on_line, stdin=stdin) as child:
        return child.wait(timeout_s, stop=stop)


def hand_over(argv: Sequence[str | Path]) -> int:
    """Let a program have the terminal until it ends; returns its exit code, negative: a signal.

    It reads and writes there itself, so nothing of it is masked. It is in our group, as the
    terminal talks with one group only: Ctrl-C is its own to hear. Raises ToolMissing.
    """
    words = [str(word) for word in argv]
    report.command(shlex.join(words))
    # Not SIG_IGN: the child would inherit it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with signals_held() as held:
            child = _spawn(words, None, None)
        try:
            deliver(held)
            return child.wait()
        except BaseException:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
            child.kill()
            raise
    finally:
        signal.signal(signal.SIGINT, before)


def detach(argv: Sequence[str | Path], env: Mapping[str, str], log: Path, record: Path) -> None:
    """Start what outlives us, its output in `log`; found and ended by its record in a folder."""
    words = [str(word) for word in argv]
    report.command(shlex.join(words))
    log.parent.mkdir(parents=True, exist_ok=True)
    given = environ({**orphans.mark(), **env})
    with log.open("w", encoding="utf-8") as file, signals_held() as held:
        child = subprocess.Popen(
            words, env=given, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    _detached.append(child)  # or Python warns that nobody has waited for it
    orphans.record(record, child.pid, words[0])
    deliver(held)


def _spawn(
    argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None, **how: Any
) -> subprocess.Popen[bytes]:
    """Start a program that ends with us; `how` is for Popen."""
    given = environ({**(orphans.mark() if _records else {}), **(env or {})})
    tether = _tether()
    # It calls the kernel only: no lock of another thread can be held.
    last = _die_with_parent if sys.platform == "linux" and not tether else None
    try:
        if tether:
            _require(argv[0], cwd, given)
        return subprocess.Popen((*tether, *argv), cwd=cwd, env=given, preexec_fn=last, **how)  # noqa: PLW1509
    except OSError as exc:
        raise ToolMissing(f"{argv[0]} cannot be run: {exc.strerror}", hint=INSTALL_HINT) from exc


@functools.cache
def _tether() -> tuple[str, ...]:
    """The words before a command that let the kernel TERM it when we are killed; none elsewhere.

    A function of ours between fork and exec would do as well, but makes Python copy the page
    tables of all its memory: 5 to 10 ms in a watch of 80 MB, against 1.5 ms.
    """
    program = find("setpriv") if sys.platform == "linux" else None
    if program is None:
        return ()
    words = (str(program), "--pdeathsig", "TERM")
    probe = subprocess.run((*words, "true"), capture_output=True, check=False)
    return words if probe.returncode == 0 else ()  # that of busybox cannot


def _require(program: str, cwd: Path | None, env: Mapping[str, str]) -> None:
    """Raise OSError when there is no such program: behind a tether nobody else would."""
    if "/" in program:
        path = Path(cwd or "") / program
        path.stat()
        if not os.access(path, os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), program)
    elif shutil.which(program, path=env.get("PATH", os.defpath)) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def _die_with_parent() -> None:
    """Let the kernel TERM the child when we are killed without a chance to clean up."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
