"""What is seen of processes and disks, on this machine and inside the node."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from live import ROOT, Loop, docker

__all__ = ["Grown", "Growth", "Process", "below", "machine", "processes", "zombies"]

PAGE = os.sysconf("SC_PAGE_SIZE")
FOLDERS = ("/var/lib/containerd", "/var/lib/kubelet/pods", "/var/log/pods")
"""Folders of the node in which images, containers, their files and their logs lie."""
QUIET_S = 2.0
"""Seconds of rest before processes are looked at: the last swap is over then."""


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat."""

    pid: int
    parent: int
    name: str
    state: str
    rss_bytes: int


def processes(lines: Iterable[str]) -> dict[int, Process]:
    """Processes by id, of the contents of /proc/PID/stat. Pure."""
    found = {}
    for line in lines:
        head, bracket, tail = line.rpartition(") ")
        if not bracket:
            continue  # it ended while it was read
        pid, _, name = head.partition(" (")
        fields = tail.split()
        found[int(pid)] = Process(int(pid), int(fields[1]), name, fields[0], int(fields[21]) * PAGE)
    return found


def below(found: Mapping[int, Process], pid: int) -> list[Process]:
    """All descendants of a process."""
    children = [one for one in found.values() if one.parent == pid]
    return children + [deeper for one in children for deeper in below(found, one.pid)]


def zombies(found: Mapping[int, Process], pid: int) -> int:
    """Descendants that have ended and that nobody has waited for."""
    return sum(one.state == "Z" for one in below(found, pid))


def own_processes() -> dict[int, Process]:
    """The processes of this machine."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((entry / "stat").read_text())
        except OSError:
            continue  # it ended meanwhile
    return processes(lines)


def node_processes(node: str) -> dict[int, Process]:
    """The processes inside a node, by their ids there."""
    said = docker("exec", node, "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null", check=False)
    return processes(said.splitlines())


def open_files(pid: int, node: str = "") -> int:
    """File descriptors that a process has open, on this machine or inside a node."""
    if node:
        return len(docker("exec", node, "ls", f"/proc/{pid}/fd").split())
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def disk_bytes(loop: Loop) -> dict[str, int]:
    """Bytes on disk by place: the engine's images and node layer of ours, the node, our state."""
    label = f"--filter=label=kindloop.environment={loop.name}"
    images = sorted(set(docker("image", "ls", "--quiet", "--no-trunc", label).split()))
    sizes = docker("image", "inspect", "--format={{.Size}}", *images).split() if images else []
    layer = docker("inspect", "--size", "--format={{.SizeRw}}", loop.node)
    inside = docker("exec", loop.node, "du", "-skxc", *FOLDERS, check=False).splitlines()[-1]
    return {
        "engine": sum(map(int, sizes)) + int(layer),
        "node": int(inside.split()[0]) * 1024,
        "state": _used(loop.home) + _used(loop.root / ".kindloop"),
    }


def machine() -> dict[str, str | int | float]:
    """What was measured on, and of what commit."""
    cpu = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE / 1e9
    changed = _said("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(memory, 1),
        "kernel": platform.release(),
        "docker": _said("docker", "version", "--format", "{{.Server.Version}}"),
        "rustc": _said("rustc", "--version").split(" ")[1],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _said("git", "rev-parse", "--short", "HEAD") + ("+changes" if changed else ""),
    }


def _said(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _used(folder: Path) -> int:
    """Bytes that a folder occupies; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for path in [folder, *folder.rglob("*")]:
        try:
            status = path.lstat()
        except OSError:
            continue  # removed since the folder was listed
        seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


@dataclass(frozen=True)
class Growth:
    """What a run left behind, and how much more is in use after it than at its begin."""

    zombies: int
    files: int
    rss_mb: float
    disk_mb: float
    watcher_mb: float


@dataclass(frozen=True)
class _Use:
    """What supervisor and watcher have in use; a watcher counts with its children."""

    supervisor_rss: int
    watcher_rss: int
    supervisor_files: int
    watcher_files: int
    zombies: int


class Grown:
    """Compares what supervisor, watcher and disks use at two moments."""

    def __init__(self, loop: Loop, watcher: int) -> None:
        self._loop, self._watcher = loop, watcher
        self._use: _Use | None = None
        self._disk: dict[str, int] = {}

    def begin(self) -> None:
        """What is in use now is the base."""
        self._use, self._disk = self._look(), disk_bytes(self._loop)

    def end(self) -> Growth:
        """What is in use more than at the begin."""
        before, now = self._use, self._look()
        if before is None:
            raise RuntimeError("there was no begin")
        disk = disk_bytes(self._loop)
        print(f"begin {before} {self._disk}\nend   {now} {disk}", flush=True)
        return Growth(
            zombies=now.zombies,
            files=max(
                now.supervisor_files - before.supervisor_files,
                now.watcher_files - before.watcher_files,
            ),
            rss_mb=max(
                now.supervisor_rss - before.supervisor_rss, now.watcher_rss - before.watcher_rss
            )
            / 1e6,
            disk_mb=(sum(disk.values()) - sum(self._disk.values())) / 1e6,
            watcher_mb=now.watcher_rss / 1e6,
        )

    def _look(self) -> _Use:
        time.sleep(QUIET_S)
        node, here = node_processes(self._loop.node), own_processes()
        supervisors = [one.pid for one in node.values() if one.name == "supervisor"]
        if len(supervisors) != 1:
            raise RuntimeError(f"expected one supervisor in the node, found {supervisors}")
        one = supervisors[0]
        return _Use(
            node[one].rss_bytes,
            sum(p.rss_bytes for p in [here[self._watcher], *below(here, self._watcher)]),
            open_files(one, self._loop.node),
            open_files(self._watcher),
            zombies(node, one) + zombies(here, self._watcher),
        )
