"""Short calls of the tools we conduct: docker, kind, kubectl, cargo, go, curl, git.

The only importer of `sh`. Every call runs in a session of its own with a deadline; at the
deadline, or on Ctrl-C, the whole group is ended, so no grandchild stays behind (sh alone kills
the direct child only). Long-running children belong to `process`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sh

from kindloop import report
from kindloop.errors import ToolFailed, ToolMissing

__all__ = [
    "HAS_SETUP",
    "INSTALL_HINT",
    "SETUP",
    "Result",
    "deliver",
    "environ",
    "find",
    "run",
    "signals_held",
    "version_of",
]

LOOPBACK = ("127.0.0.1", "localhost", "::1", ".svc", ".cluster.local")
"""Hosts that never go through a proxy: the cluster and what it serves are on this machine."""

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SETUP = "scripts/dev-setup.sh"
"""Installs what is missing; a wheel is without it."""
HAS_SETUP = (Path(__file__).parents[1] / SETUP).is_file()
INSTALL_HINT = f"{SETUP} (installs it), or: " if HAS_SETUP else ""
INSTALL_HINT += "invoke dev-doctor (says what is missing)"


@dataclass(frozen=True)
class Result:
    """What a finished call said. `duration_s` is wall time in seconds."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    duration_s: float

    @property
    def ok(self) -> bool:
        """Whether the exit code was 0."""
        return self.exit_code == 0


def environ(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every child: ours, with proxies bypassed for this machine.

    The user's KUBECONFIG never reaches a child: callers that talk to a cluster set their own.
    """
    env = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"}
    for key in ("NO_PROXY", "no_proxy"):
        known = [h for h in env.get(key, "").split(",") if h]
        env[key] = ",".join(known + [h for h in LOOPBACK if h not in known])
    env.update(extra or {})
    return env


def find(tool: str) -> Path | None:
    """Where `tool` is on PATH, or None."""
    found = shutil.which(tool, path=os.environ.get("PATH"))
    return Path(found) if found else None


def run(
    *argv: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | bytes | None = None,
    timeout_s: float = 60.0,
    check: bool = True,
    quiet: bool = False,
) -> Result:
    """Run a command to its end and return what it said.

    `env` is added to `environ()`. `timeout_s` is the deadline in seconds. `quiet` keeps polls
    out of the `-v` output. Raises ToolMissing when the program is not there, ToolFailed when
    it does not end in time or, with `check`, when its exit code is not 0.
    """
    words = tuple(str(word) for word in argv)
    if not quiet:
        report.command(shlex.join(words))
    started = time.monotonic()
    program = find(words[0])
    if program is None:
        raise ToolMissing(f"{words[0]} is not on PATH", hint=INSTALL_HINT)
    try:
        with contextlib.ExitStack() as holding:
            held = holding.enter_context(signals_held())
            process = sh.Command(str(program))(*words[1:], **_options(cwd, environ(env), stdin))
            exit_code = _wait(process, timeout_s, held, holding.close)
    except (OSError, sh.ForkException) as exc:
        # sh quotes the traceback of the forked child: its last line is the reason.
        reason = str(exc).strip().splitlines()[-1].strip()
        raise ToolMissing(f"{words[0]} cannot be run: {reason}", hint=INSTALL_HINT) from exc
    result = Result(
        words,
        0 if exit_code is None else exit_code,
        _text(process.stdout),
        _text(process.stderr),
        time.monotonic() - started,
    )
    if exit_code is None or (check and exit_code != 0):
        raise ToolFailed(
            words,
            exit_code,
            stdout=result.stdout,
            stderr=result.stderr,
            duration_s=result.duration_s,
        )
    return result


@contextlib.contextmanager
def signals_held() -> Iterator[list[int]]:
    """Hold Ctrl-C and its like back while a child is started; yields what came, for `deliver`.

    CPython drops what a handler raises in the hooks that run at a fork, and a child that nobody
    has yet could not be ended.
    """
    held: list[int] = []
    handlers = {n: h for n in INTERRUPTS if callable(h := signal.getsignal(n))}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}
    try:
        for number in handlers:
            signal.signal(number, lambda number, _frame: held.append(number))
        yield held
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def deliver(held: list[int]) -> None:
    """Let the handler have a signal that was held back: it raises here."""
    for number in held[:1]:
        signal.raise_signal(number)


def version_of(text: str) -> tuple[int, ...]:
    """The first dotted number in `text` as a tuple: "kind v0.31.0 go1.26" → (0, 31, 0)."""
    match = re.search(r"(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def _options(cwd: Path | None, env: dict[str, str], stdin: str | bytes | None) -> dict[str, Any]:
    return {
        "_cwd": str(cwd) if cwd else None,
        "_env": env,
        "_in": stdin,
        "_bg": True,
        "_bg_exc": False,
        "_new_session": True,
        "_tty_out": False,
        "_ok_code": _ANY_CODE,
        "_return_cmd": True,
        "_decode_errors": "replace",
    }


# sh raises for a code that is not listed; signals arrive as negative codes.
_ANY_CODE: Iterable[int] = range(-64, 256)


def _wait(
    process: Any, timeout_s: float, held: list[int], release: Callable[[], None]
) -> int | None:
    """The exit code, or None when the deadline passed and the group was ended.

    Signals are held until `release`; what they raise from then on ends the group. A timer, not
    `wait(timeout=…)`: that one polls every 0.1 s, which every call would pay.
    """
    late = threading.Event()
    ended = threading.Event()
    timer = threading.Thread(target=_watch, args=(process.pid, timeout_s, ended, late), daemon=True)
    timer.start()
    try:
        release()
        deliver(held)
        process.wait()
    except sh.ErrorReturnCode:
        pass  # a signal: sh raises for it whatever is listed
    except BaseException:
        _end_group(process.pid, ended)
        raise
    finally:
        ended.set()
    if late.is_set():
        timer.join()
        return None
    return int(process.exit_code)


def _watch(pid: int, timeout_s: float, ended: threading.Event, late: threading.Event) -> None:
    if not ended.wait(timeout_s):
        late.set()
        _end_group(pid, ended)


def _end_group(pid: int, ended: threading.Event) -> None:
    """TERM, two seconds, KILL, for everything that the call started."""
    for number, grace_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 0.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        # No return when it ended: a grandchild may have outlived it in the same group.
        ended.wait(grace_s)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
