"""Processes of ours that outlived us: recorded while they run, ended by the next start.

The kernel ends a child when we are killed, but not what that child has started: a killed watch
leaves compilers behind. Linux only; elsewhere nothing is recorded and nothing is swept.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

__all__ = ["MARK", "Group", "Process", "end", "lives", "look", "mark", "record", "runs", "sweep"]

MARK = "KINDLOOP_RECORDER"
"""Variable in the environment of a recorded child and of all that it starts: who recorded it."""
VERSION = 1
"""Of a record; another one is left alone."""
GRACE_S = 3.0
"""Seconds between TERM and KILL."""
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process as the kernel tells it; number and start together are never given out again."""

    pid: int
    start_ticks: int
    """When it started, in clock ticks since the machine did."""
    session: int = 0
    group: int = 0
    parent: int = 0


@dataclass(frozen=True)
class Group:
    """A recorded child, which leads a session, and who recorded it."""

    leader: Process
    argv0: str
    boot: str
    recorder: Process

    def as_json(self) -> dict[str, Any]:
        """The record as a JSON document."""
        return {
            "version": VERSION,
            "pid": self.leader.pid,
            "start_ticks": self.leader.start_ticks,
            "argv0": self.argv0,
            "boot": self.boot,
            "ours": {"pid": self.recorder.pid, "start_ticks": self.recorder.start_ticks},
        }

    @classmethod
    def from_json(cls, document: Any) -> Self | None:
        """The group in a document, or None when it is cut off or of another version."""
        try:
            if document["version"] != VERSION:
                return None
            leader = Process(int(document["pid"]), int(document["start_ticks"]))
            ours = document["ours"]
            recorder = Process(int(ours["pid"]), int(ours["start_ticks"]))
            return cls(leader, str(document["argv0"]), str(document["boot"]), recorder)
        except (KeyError, TypeError, ValueError):
            return None


def look(pid: int) -> Process | None:
    """The process, or None when it is gone or only waits to be collected."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may have anything in it.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Process(pid, int(fields[19]), int(fields[3]), int(fields[2]), int(fields[1]))


def lives(group: int) -> bool:
    """Whether a process of this process group runs."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    # Those that nobody has collected yet count for the kernel, not for us.
    return sys.platform != "linux" or any(process.group == group for process in _all())


def mark() -> dict[str, str]:
    """The variable that names this process as the recorder."""
    ours = look(os.getpid())
    return {MARK: _marked(ours)} if ours else {}


def record(folder: Path, pid: int, argv0: str) -> Path | None:
    """Write down a child that leads a session; returns the file to remove at its end.

    None when it has ended already, and where there is no /proc.
    """
    leader, recorder = look(pid), look(os.getpid())
    if leader is None or recorder is None:
        return None
    group = Group(leader, argv0, _boot(), recorder)
    path = folder / f"{pid}.json"
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(group.as_json()) + "\n", encoding="utf-8")
    beside.replace(path)
    return path


def sweep(folder: Path, *, grace_s: float = GRACE_S) -> list[str]:
    """End what recorders that are dead have left behind; returns a line for each group ended.

    A process is ended only when it is of the recorded session, not older than its leader, and
    carries the mark of the recorder; so a number that was given out anew is never hit. Groups
    whose recorder lives are left alone.
    """
    said = []
    for path in sorted(folder.glob("*.json")):
        group = _read(path)
        if group and _is(group.recorder) and group.boot == _boot():
            continue
        family = _family(group) if group else []
        left = _end(group, grace_s) if group and family else []
        if group and family:
            said.append(_told(group, family, left))
        if not left:
            path.unlink(missing_ok=True)
    return said


def runs(path: Path) -> bool:
    """Whether anything of a recorded group still runs, whoever recorded it."""
    group = _read(path)
    return group is not None and bool(_family(group))


def end(path: Path, *, grace_s: float = GRACE_S) -> bool:
    """End a recorded group, whoever recorded it; returns whether nothing of it is left."""
    group = _read(path)
    left = _end(group, grace_s) if group and _family(group) else []
    if not left:
        path.unlink(missing_ok=True)
    return not left


def _told(group: Group, family: list[Process], left: list[Process]) -> str:
    count = len(family)
    who = f"{group.argv0} (group {group.leader.pid}, {count} process{'' if count == 1 else 'es'})"
    if left:
        return f"{who} cannot be ended: kill -9 {' '.join(str(p.pid) for p in left)}"
    return f"ended {who}: process {group.recorder.pid}, which ran it, was killed"


def _read(path: Path) -> Group | None:
    try:
        return Group.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _family(group: Group) -> list[Process]:
    """The members of the session that still run and are surely those that were recorded."""
    leader = look(group.leader.pid)
    if group.boot != _boot() or (leader and leader.start_ticks != group.leader.start_ticks):
        return []
    marked = f"{MARK}={_marked(group.recorder)}".encode()
    return [
        process
        for process in _all()
        if process.session == group.leader.pid
        and process.start_ticks >= group.leader.start_ticks
        and marked in _environment(process.pid)
    ]


def _end(group: Group, grace_s: float) -> list[Process]:
    """TERM, `grace_s` seconds, KILL; returns who is still there."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        handles = [handle for p in _family(group) if (handle := _signal(p, number)) is not None]
        _await_ends(handles, wait_s)
        if not (left := _family(group)):
            return []
    return left


def _signal(process: Process, number: signal.Signals) -> int | None:
    """Signal exactly this process; its handle, or None when it is gone or not to be reached."""
    if sys.platform != "linux":
        return None
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return None
    with suppress(OSError):
        if _is(process):  # checked behind the handle: now the number cannot be another's
            signal.pidfd_send_signal(handle, number)
            return handle
    os.close(handle)
    return None


def _await_ends(handles: Iterable[int], wait_s: float) -> None:
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll(wait_s * 1000)
        os.close(handle)


def _is(process: Process) -> bool:
    now = look(process.pid)
    return now is not None and now.start_ticks == process.start_ticks


def _all() -> list[Process]:
    names = [entry.name for entry in os.scandir(_PROC) if entry.name.isdigit()]
    return [process for name in names if (process := look(int(name)))]


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _marked(recorder: Process) -> str:
    return f"{recorder.pid}.{recorder.start_ticks}"


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
