"""Which folders must be watched so that every change below the declared roots is seen.

Each folder is watched by itself, never a whole tree at once: what stages skip (cargo's target,
version control) takes no watch, one save by a rename and a root that is not there yet are seen
through the folder above, and a folder under two names is known by both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kindloop import fingerprint, probes
from kindloop.hostfacts import MIN_INOTIFY_INSTANCES

__all__ = ["WATCHES", "Places", "Root", "below", "covered", "limits_problem", "look", "merged"]

WATCHES = 524_288
"""Watches that editors and watchers recommend; each takes 1 KB of kernel memory when used."""


@dataclass(frozen=True)
class Root:
    """A file, or a folder with what lies in it: with `recursive` everything below, else directly.

    `path` is absolute and need not exist yet.
    """

    path: Path
    recursive: bool = True

    def covers(self, path: str) -> bool:
        """Whether an absolute path is the root itself or counts as its content. Pure."""
        own = str(self.path)
        if path == own:
            return True
        return path.startswith(f"{own}/") and (self.recursive or "/" not in path[len(own) + 1 :])


@dataclass(frozen=True)
class Places:
    """What is to be watched."""

    folders: Mapping[str, tuple[str, ...]]
    """The folders, absolute → the names under which each is known; more than one through links."""
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A file as the watch will name it → the symbolic links below the roots that lead to it."""

    def known_as(self, path: str) -> list[str]:
        """The names below the roots for a path that the watch reported. Pure."""
        folder, _, name = path.rpartition("/")
        found = [f"{place}/{name}" for place in self.folders.get(folder, (folder,))]
        return list(dict.fromkeys([*found, *self.folders.get(path, ()), *self.links.get(path, ())]))


def covered(roots: Iterable[Root], path: str) -> bool:
    """Whether a path is one of the roots, or counts as content of one. Pure."""
    return any(root.covers(path) for root in roots)


def below(roots: Iterable[Root], path: str) -> list[Root]:
    """The roots that lie below a path. Pure."""
    return [root for root in roots if str(root.path).startswith(f"{path}/")]


def merged(roots: Iterable[Root]) -> tuple[Root, ...]:
    """The same without those that another covers, by path. Pure."""
    kept: list[Root] = []
    for root in sorted(set(roots), key=lambda root: (root.path.parts, not root.recursive)):
        if not any(_includes(other, root) for other in kept):
            kept.append(root)
    return tuple(kept)


def look(roots: Sequence[Root]) -> Places:
    """The folders to watch as they are now: those of the roots, and those above them.

    Above means up to the folder that all roots share; where that is missing, up to the first that
    exists. Symbolic links are followed, loops left out.
    """
    found = _Found()
    top = os.path.commonpath([root.path.parent for root in roots]) if roots else "/"
    for root in roots:
        path = str(root.path)
        for folder in _above(path, top):
            found.add(folder)
        if root.path.is_symlink():
            found.link(path)
        for folder in _below(path, found) if root.recursive else filter(os.path.isdir, (path,)):
            found.add(folder)
    return found.places()


def limits_problem(roots: Sequence[Root]) -> str:
    """Why the kernel will not let us watch, with the command that helps; empty when it will.

    Counts what this user's processes have taken already. Always empty where there is no inotify.
    """
    limits = probes.inotify()
    if limits is None:
        return ""
    needed = len(look(roots).folders)
    instances, watches = _taken()
    for what, taken, more, limit, advised in (
        ("instances", instances, 1, limits.max_user_instances, MIN_INOTIFY_INSTANCES),
        ("watches", watches, needed, limits.max_user_watches, WATCHES),
    ):
        if taken + more > limit:
            return (
                f"this user has {taken} of {limit} inotify {what} in use and needs {more} more: "
                f"sudo sysctl fs.inotify.max_user_{what}={max(limit * 2, advised)}"
            )
    return ""


def _taken() -> tuple[int, int]:
    """Instances and watches that processes of this user have, as far as /proc tells us."""
    instances = watches = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.getuid():
                continue
            for fd in (process / "fd").iterdir():
                if str(fd.readlink()) == "anon_inode:inotify":
                    instances += 1
                    watches += (process / "fdinfo" / fd.name).read_text().count("inotify wd:")
        except OSError:
            continue  # it ended meanwhile, or is not for us to look at
    return instances, watches


def _includes(outer: Root, inner: Root) -> bool:
    if outer.path == inner.path:
        return outer.recursive or not inner.recursive
    return outer.recursive and outer.covers(str(inner.path))


def _above(path: str, top: str) -> Iterator[str]:
    """Existing folders above `path`, nearest first, up to `top` or the first one above that."""
    folder = path
    while folder != "/":
        folder = os.path.dirname(folder)  # noqa: PTH120 - strings: thousands of paths elsewhere
        if os.path.isdir(folder):  # noqa: PTH112
            yield folder
            if top == folder or top.startswith(f"{folder.rstrip('/')}/"):
                return


def _below(top: str, found: _Found) -> Iterator[str]:
    """`top` and every folder below it that counts; links to files are told to `found`."""
    waiting: list[tuple[str, tuple[str, ...]]] = []
    if os.path.isdir(top):  # noqa: PTH112
        waiting.append((top, (os.path.realpath(top),)))
    while waiting:
        folder, entered = waiting.pop()
        yield folder
        for entry in _listing(folder):
            if _is_dir(entry):
                deeper = fingerprint.enter(entry, folder, entered)
                if deeper:
                    waiting.append((entry.path, deeper))
            elif entry.is_symlink():
                found.link(entry.path)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def _listing(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []  # gone, or closed to us: the stage that reads it says so


class _Found:
    """Folders and links as they come in; a folder that has a name already gets another one."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], str] = {}
        self._names: dict[str, dict[str, None]] = {}
        self._links: dict[str, list[str]] = {}

    def add(self, folder: str) -> str | None:
        """Note a folder; returns the name to watch it by, None when it is none."""
        try:
            seen = Path(folder).stat()
            folder.encode()  # what is not UTF-8 cannot be handed to the watch
        except (OSError, UnicodeEncodeError):
            return None
        if not stat.S_ISDIR(seen.st_mode):
            return None
        first = self._first.setdefault((seen.st_dev, seen.st_ino), folder)
        self._names.setdefault(first, {})[folder] = None
        return first

    def link(self, path: str) -> None:
        """Note a symbolic link to a file: changes happen where it leads."""
        target = os.path.realpath(path)
        folder, _, name = target.rpartition("/")
        place = self.add(folder) if os.path.isfile(target) else None  # noqa: PTH113
        if place is not None:
            self._links.setdefault(f"{place}/{name}", []).append(path)

    def places(self) -> Places:
        """All of it."""
        folders = {first: tuple(names) for first, names in self._names.items()}
        return Places(folders, {target: tuple(links) for target, links in self._links.items()})
