"""What kindloop remembers: where it keeps things, locks, atomic files.

Three places (all overridable by the XDG variables): the cache, shared by checkouts; the state
of an environment, by name; and `.kindloop/` of a checkout, which `git clean` may remove.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kindloop import report
from kindloop.errors import Locked

__all__ = [
    "cache_home",
    "holder",
    "lock",
    "private_dir",
    "read_json",
    "state_home",
    "write_atomic",
    "write_json",
]


def cache_home() -> Path:
    """Baked parts and images: `${XDG_CACHE_HOME:-~/.cache}/kindloop`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kindloop"


def state_home() -> Path:
    """Environments of this user: `${XDG_STATE_HOME:-~/.local/state}/kindloop`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "kindloop"


def private_dir(path: Path) -> Path:
    """Make `path` for this user alone (0700): it holds credentials of a cluster."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_atomic(
    path: Path, content: str | bytes, mode: int = 0o644, *, durable: bool = True
) -> None:
    """Replace `path` whole or not at all, whatever happens meanwhile.

    Not `durable`: a power failure may take it. For what is made again; a disk that is busy
    after a build answers late.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, mode: int = 0o644, *, durable: bool = True) -> None:
    """Write `value` as indented JSON, atomically; `durable` as in `write_atomic`."""
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    write_atomic(path, text, mode, durable=durable)


def read_json(path: Path) -> Any | None:
    """The document in `path`, or None when it is missing or not JSON (a cut-off write)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def lock(path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold `path` alone; raise Locked, naming the holder, when another process has it.

    The kernel releases the lock with the process, so a killed holder never blocks the next.
    `wait_s` is how many seconds to wait for the holder first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _take(file.fileno(), path, what, time.monotonic() + wait_s)
        file.seek(0)
        file.truncate()
        command = report.masked(" ".join(sys.argv))
        json.dump({"pid": os.getpid(), "command": command, "since": time.time()}, file)
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()


def holder(path: Path) -> str:
    """Who holds the lock `path` now: `process 12: invoke dev-up`; empty when nobody does."""
    found = read_json(path)
    if not isinstance(found, dict):
        return ""
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
        try:
            # A killed holder leaves its words behind. Shared, and given back at once.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"process {found.get('pid', 'unknown')}: {found.get('command', 'unknown')}"
    return ""


def _take(fd: int, path: Path, what: str, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise _locked(path, what) from None
            time.sleep(0.2)  # flock has no deadline of its own


def _locked(path: Path, what: str) -> Locked:
    holder = read_json(path) or {}
    pid = holder.get("pid", "unknown")
    command = holder.get("command", "another kindloop command")
    return Locked(
        f"{what} is in use by process {pid}: {command}",
        why="two commands that change the same environment would undo each other's work",
        hint=f"wait for it to end, or look at it: ps -fp {pid}",
    )
