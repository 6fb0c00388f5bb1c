"""Facts of this machine, read from the kernel and from the network. Nothing here decides.

Every path is a parameter, so that a test can show another machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kindloop import tools
from kindloop.errors import ToolFailed, ToolMissing
from kindloop.versions import section

__all__ = [
    "CAP_SYS_RESOURCE",
    "Inotify",
    "Memory",
    "answers",
    "cgroup_version",
    "containers_by_port",
    "free_gb",
    "has_capability",
    "inotify",
    "is_noexec",
    "listeners",
    "memory",
    "parse_lsof",
    "registry_host",
    "registry_reachable",
    "selinux_enforces",
    "umask",
]

PROC = Path("/proc")
CAP_SYS_RESOURCE = 24
"""Number in linux/capability.h: raising limits, which engines before 23 do for --privileged."""
_LISTEN = "0A"
# Addresses whose listener keeps 127.0.0.1 from being bound, as /proc/net/tcp* writes them.
_IN_OUR_WAY = {
    "00000000",
    "0100007F",
    "00000000000000000000000000000000",
    "0000000000000000FFFF00000100007F",
}


@dataclass(frozen=True)
class Inotify:
    """Limits per user; every node component and every watcher takes instances."""

    max_user_instances: int
    max_user_watches: int


@dataclass(frozen=True)
class Memory:
    """Memory in GB (10^9 bytes)."""

    total_gb: float
    available_gb: float


def has_capability(number: int, status: Path = PROC / "self/status") -> bool | None:
    """Whether the bounding set of this process has the capability; None where unknown."""
    match = re.search(r"^CapBnd:\s*([0-9a-fA-F]+)", _read(status), re.MULTILINE)
    return bool(int(match.group(1), 16) >> number & 1) if match else None


def cgroup_version(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """1 or 2; None where there are none (macOS)."""
    if not root.is_dir():
        return None
    return 2 if (root / "cgroup.controllers").exists() else 1


def inotify(folder: Path = PROC / "sys/fs/inotify") -> Inotify | None:
    """The limits, or None where there are none (macOS)."""
    try:
        return Inotify(
            int(_read(folder / "max_user_instances")), int(_read(folder / "max_user_watches"))
        )
    except ValueError:
        return None


def memory(meminfo: Path = PROC / "meminfo") -> Memory | None:
    """What there is and what programs can still have; None where unknown."""
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB", _read(meminfo), re.MULTILINE))
    try:
        return Memory(int(kib["MemTotal"]) * 1024e-9, int(kib["MemAvailable"]) * 1024e-9)
    except KeyError:
        return None


def free_gb(path: Path) -> float:
    """Space left for this user in GB (10^9 bytes) where `path` is, or will be made."""
    return shutil.disk_usage(_existing(path)).free * 1e-9


def is_noexec(path: Path) -> bool:
    """Whether programs below `path` cannot be run, because of how its disk is mounted."""
    return bool(os.statvfs(_existing(path)).f_flag & getattr(os, "ST_NOEXEC", 0))


def selinux_enforces(folder: Path = Path("/sys/fs/selinux")) -> bool:
    """Whether SELinux is there and enforces its policy (selinuxfs of the kernel)."""
    return _read(folder / "enforce").strip() == "1"


def umask() -> int:
    """The mode bits that new files of ours lack."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def registry_host(image: str) -> str:
    """The registry that an image reference names: a first part with a dot or port is a host."""
    first, slash, _ = image.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return first
    return "registry-1.docker.io"


@cache
def registry_reachable(timeout_s: float = 3.0) -> bool:
    """Whether the registry of the pinned node image answers in time; asked once per process.

    200 and 401 (it wants a token first) are answers. Proxies of the environment are used.
    """
    return answers(f"https://{registry_host(section('node')['image'])}/v2/", timeout_s)


def answers(url: str, timeout_s: float) -> bool:
    """Whether `url` says 200 or 401 in time. The deadline covers name resolution too."""
    codes: list[int] = []
    asker = threading.Thread(target=_ask, args=(url, timeout_s, codes), daemon=True)
    asker.start()
    asker.join(timeout_s)
    return any(code in (200, 401) for code in codes)


def _ask(url: str, timeout_s: float, codes: list[int]) -> None:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:  # noqa: S310 - https
            codes.append(response.status)
    except urllib.error.HTTPError as error:
        codes.append(error.code)
        error.close()
    except (OSError, ValueError):
        return


def listeners(ports: set[int], proc: Path = PROC) -> dict[int, str]:
    """Who keeps 127.0.0.1 from being bound, by port: "process 12: nginx -g ...".

    Processes of other users do not show their sockets: "a process of another user".
    """
    if not (proc / "net/tcp").exists():
        return _listeners_lsof(ports)
    inodes = {inode: port for port, inode in _listening(proc) if port in ports}
    found = dict.fromkeys(inodes.values(), "a process of another user")
    for link in _socket_links(proc, inodes):
        found[inodes[link.inode]] = f"process {link.pid}: {_command(proc, link.pid)}"
    return found


def containers_by_port(lines: str) -> dict[int, str]:
    """Container name by published host port, from `docker ps` lines of name, tab, ports."""
    found: dict[int, str] = {}
    for line in lines.splitlines():
        name, _, published = line.partition("\t")
        for first, last in re.findall(r":(\d+)(?:-(\d+))?->", published):
            for port in range(int(first), int(last or first) + 1):
                found[port] = name
    return found


@dataclass(frozen=True)
class _Link:
    pid: str
    inode: str


def _listening(proc: Path) -> Iterator[tuple[int, str]]:
    for name in ("tcp", "tcp6"):
        for line in _read(proc / "net" / name).splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == _LISTEN and address in _IN_OUR_WAY:
                yield int(port, 16), fields[9]


def _socket_links(proc: Path, inodes: Mapping[str, int]) -> Iterator[_Link]:
    for folder in proc.glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            for link in folder.iterdir():
                with contextlib.suppress(OSError):
                    match = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
                    if match and match.group(1) in inodes:
                        yield _Link(folder.parent.name, match.group(1))


def _listeners_lsof(ports: set[int]) -> dict[int, str]:
    try:
        text = tools.run(
            "lsof", "-nP", "-iTCP", "-sTCP:LISTEN", "-Fpcn", timeout_s=10, check=False, quiet=True
        ).stdout
    except (ToolMissing, ToolFailed):
        return {port: "a process (unknown: no lsof)" for port in ports if _bound(port)}
    return {port: who for port, who in parse_lsof(text).items() if port in ports}


def parse_lsof(text: str) -> dict[int, str]:
    """Listener by port from `lsof -Fpcn`: a line per field, its letter first. Pure."""
    found: dict[int, str] = {}
    pid = command = ""
    for line in text.splitlines():
        kind, value = line[:1], line[1:]
        if kind == "p":
            pid = value
        elif kind == "c":
            command = value
        elif kind == "n":
            host, _, port = value.rpartition(":")
            if host in ("*", "127.0.0.1") and port.isdigit():
                found[int(port)] = f"process {pid}: {command}"
    return found


def _bound(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _command(proc: Path, pid: str) -> str:
    words = _read(proc / pid / "cmdline").replace("\0", " ").strip()
    return (words or _read(proc / pid / "comm").strip() or "unknown")[:100]


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
