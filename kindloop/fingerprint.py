"""What a set of files contains, told quickly: sha256 digests behind a cache keyed by stat.

A folder stands for every regular file below it, also a folder that a glob matched. Build
products, version control, our own state and editors' temporary files never count: they would
make everything stale all the time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from kindloop import state
from kindloop.errors import ConfigError

__all__ = [
    "MAGIC",
    "SKIPPED_FOLDERS",
    "Digests",
    "Found",
    "digest_inputs",
    "digest_mapping",
    "enter",
    "expand",
    "find",
    "is_temporary",
    "translate",
]

SCHEMA = 1
"""Version of the cache file; another one is read as empty."""
RACY_NS = 2_000_000_000
"""Nanoseconds. A file changed this shortly before it was read may change again without a new
time stamp (coarse file systems), so its digest is not kept. git's index does the same."""
FINE_NS = 12_000_000
"""The same where times of change have digits below the millisecond: the kernel's clock for them
steps every 10 ms at most."""
TICK_NS = 500_000
"""Nanoseconds, less than any step of such a clock: the Linux kernel's is 1 ms or longer."""
TRIES = 3
SKIPPED_FOLDERS = frozenset({".git", ".kindloop", "__pycache__"})
_TEMPORARY = re.compile(
    r".*~|\.#.*|#.*#|\..*\.sw[a-z]|4913|\.DS_Store|\.goutputstream-.*|.*___jb_(?:tmp|old)___"
)
MAGIC = re.compile(r"[*?\[]")


Found = tuple[str, str, os.stat_result]
"""A regular file: its path relative to the root, its absolute path, its stat result."""


class Digests:
    """sha256 of files; a file is read again only when its stat changed.

    Use as a context manager, or call `save`: the cache is written atomically, and only when it
    changed. `cache_path` None keeps it in memory. `now_ns` is the clock, in nanoseconds. Safe for
    threads: what one is reading another waits for.
    """

    def __init__(
        self, cache_path: Path | None = None, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._cache_path = cache_path
        self._now_ns = now_ns
        self._changed = False
        self._known = _load(cache_path) if cache_path else {}
        self._reading = threading.RLock()
        self._fine: int | None = None
        """The device on which no change goes unseen; -1 when the cache is on none like that."""

    def of(self, path: str, status: os.stat_result | None = None) -> str:
        """The sha256 of a file in hex. Raises OSError when it cannot be read."""
        known = self._known.get(path)
        if known is not None:
            stamp = _stamp(Path(path).stat() if status is None else status)
            if known.startswith(stamp):
                return known[len(stamp) :]
        with self._reading:
            # Another thread may have read it while this one waited.
            newer = self._known.get(path)
            return self._read(path) if newer == known else self.of(path)

    def save(self) -> None:
        """Write the cache when it changed, without the files that are gone."""
        with self._reading:
            if not self._changed or self._cache_path is None:
                return
            self._known = {path: row for path, row in self._known.items() if Path(path).exists()}
            document = json.dumps({"schema": SCHEMA, "files": self._known})  # compact: it is large
            state.write_atomic(self._cache_path, document + "\n", durable=False)
            self._changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.save()

    def _read(self, path: str) -> str:
        started_ns = self._now_ns()
        with Path(path).open("rb") as file:
            seen = os.fstat(file.fileno())  # before the first byte: what is written later shows
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if trusted(seen, started_ns) or self._shows_all(seen.st_dev):
            self._known[path] = _stamp(seen) + digest
            self._changed = True
        elif self._known.pop(path, None):
            self._changed = True
        return digest

    def _shows_all(self, device: int) -> bool:
        """Whether a change of a file on the device always shows once its stat was taken."""
        if self._fine is None:
            here = self._cache_path.parent if self._cache_path else None
            self._fine = fine_device(here) if here and here.is_dir() else -1
        return device == self._fine


def fine_device(folder: Path) -> int:
    """The device of `folder` when each change of a file there gets a time of its own, else -1.

    Linux does that since 6.13 (multigrain timestamps) on ext4, XFS, Btrfs and tmpfs: for a change
    after its last one was looked at it takes a fine clock. Tried out, with changes that follow
    each other faster than a coarse clock steps.
    """
    for _ in range(TRIES):
        try:
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                began_ns = time.perf_counter_ns()
                times = [_changed_ns(file.fileno()) for _ in range(8)]
                took_ns = time.perf_counter_ns() - began_ns
                device = os.fstat(file.fileno()).st_dev
        except OSError:
            return -1
        if took_ns < TICK_NS:  # else something else had the processor
            return device if len(set(times)) == len(times) else -1
    return -1


def _changed_ns(handle: int) -> int:
    os.pwrite(handle, b".", 0)
    return os.fstat(handle).st_ctime_ns


def trusted(seen: os.stat_result, read_ns: int) -> bool:
    """Whether a file with this stat cannot change unseen after it was read at `read_ns`."""
    # No program can set the time of the last change of status: it shows how fine the clock is.
    window_ns = FINE_NS if seen.st_ctime_ns % 1_000_000 else RACY_NS
    return read_ns - max(seen.st_mtime_ns, seen.st_ctime_ns) > window_ns


def expand(root: Path, patterns: Iterable[str]) -> list[Path]:
    """Every file that the patterns name, absolute, sorted by its path relative to `root`.

    A pattern is a file, a folder or a glob (`*`, `?`, `[...]`, `**`) relative to `root`. One
    that matches nothing contributes nothing.
    """
    found = {file[0]: file[1] for pattern in patterns for file in find(root, pattern) or ()}
    return [Path(found[name]) for name in sorted(found)]


def digest_inputs(
    root: Path,
    patterns: Iterable[str],
    digests: Digests,
    *,
    may_miss: Callable[[str], bool] | None = None,
) -> dict[str, str]:
    """Digest by path relative to `root`; `+x` behind it marks an executable file.

    Raises ConfigError naming a pattern that matches nothing, unless `may_miss(pattern)`, and
    one naming a file that cannot be read.
    """
    result: dict[str, str] = {}
    for pattern in patterns:
        files = find(root, pattern)
        if files is None:
            if may_miss and may_miss(pattern):
                continue
            raise ConfigError(
                f"input {pattern} matches no file in {root}",
                hint="correct the stage's inputs in kindloop.yaml, or create the file",
            )
        _add_digests(result, files, digests)
    return result


def digest_mapping(digests: Mapping[str, str]) -> str:
    """One sha256 over names and digests, whatever order they come in."""
    text = "".join([f"{name}\0{digests[name]}\n" for name in sorted(digests)])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def is_temporary(name: str) -> bool:
    """Whether a file of this name is an editor's temporary one."""
    return _TEMPORARY.fullmatch(name) is not None


def find(root: Path, pattern: str) -> list[Found] | None:
    """The files that one pattern names, or None when nothing there has its name."""
    base = os.path.normpath(root)
    path = os.path.normpath(f"{base}/{pattern}" if pattern[:1] != "/" else pattern)
    if MAGIC.search(pattern) and not os.path.lexists(path):
        return _glob(base, path) or None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    name = os.path.relpath(path, base)
    if stat.S_ISDIR(status.st_mode):
        return _walk(path, "" if name == "." else name)
    return [(name, path, status)]


def _add_digests(into: dict[str, str], files: Sequence[Found], digests: Digests) -> None:
    for name, path, status in files:
        try:
            digest = digests.of(path, status)
        except FileNotFoundError:
            continue  # removed since the folder was listed: as if it had not been there
        except OSError as exc:
            raise ConfigError(f"input {name} cannot be read: {exc.strerror}") from exc
        into[name] = f"{digest}+x" if status.st_mode & 0o111 else digest


def _glob(base: str, path: str) -> list[Found]:
    parts = path.split("/")
    # The checkout's own path may have such characters too.
    above = base.count("/") + 1 if path.startswith(f"{base}/") else 0
    fixed = next(i for i in range(above, len(parts)) if MAGIC.search(parts[i]))
    top = "/".join(parts[:fixed]) or "/"
    name = os.path.relpath(top, base)
    prefix = "" if name == "." else name
    expression = translate(parts[fixed:])
    start = len(prefix) + 1 if prefix else 0
    return [file for file in _walk(top, prefix) if expression.fullmatch(file[0], start)]


def translate(parts: Sequence[str]) -> re.Pattern[str]:
    """The parts of a glob's path as one expression; what is below a match matches too."""
    text = ""
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            text += ".*" if last else "(?:[^/]+/)*"
        else:
            text += _translate_part(part) + ("" if last else "/")
    return re.compile(text + "(?:/.*)?", re.DOTALL)


def _translate_part(part: str) -> str:
    tokens = re.findall(r"\[!?\]?[^\]]*\]|.", part, re.DOTALL)
    simple = {"*": "[^/]*", "?": "[^/]"}
    return "".join(simple.get(token) or _translate_token(token) for token in tokens)


def _translate_token(token: str) -> str:
    if len(token) == 1:
        return re.escape(token)
    inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


def _walk(top: str, prefix: str) -> list[Found]:
    """Every regular file below `top`, symbolic links followed, loops left out."""
    files: list[Found] = []
    # Each folder with the real paths entered through links on the way to it.
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(top, prefix, (os.path.realpath(top),))]
    while waiting:
        folder, name, entered = waiting.pop()
        lead = f"{name}/" if name else ""
        for entry in _listing(folder):
            # The loop over files: no call of ours for an ordinary one, thousands come by here.
            try:
                is_folder = entry.is_dir()
            except OSError:
                continue  # a link to itself
            if is_folder:
                deeper = enter(entry, folder, entered)
                if deeper:
                    waiting.append((entry.path, lead + entry.name, deeper))
                continue
            file = entry.name
            if (file[-1] in "~#_" or file[0] in ".4") and _TEMPORARY.fullmatch(file):
                continue
            try:
                status = entry.stat()
            except OSError:
                continue  # a dangling link, or removed since the folder was listed
            if status.st_mode & 0o170000 == stat.S_IFREG:
                files.append((lead + file, entry.path, status))
    return files


def _listing(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be read: {exc.strerror}") from exc


def enter(entry: os.DirEntry[str], folder: str, entered: tuple[str, ...]) -> tuple[str, ...] | None:
    """The chain of real paths below this folder, or None when it is not to be entered."""
    if entry.name in SKIPPED_FOLDERS or (entry.name == "target" and _is_cargos(folder, entry)):
        return None
    if not entry.is_symlink():
        return entered
    real, here = os.path.realpath(entry.path), os.path.realpath(folder)
    if any(path == real or path.startswith(f"{real}/") for path in (*entered, here)):
        return None
    return (*entered, real)


def _is_cargos(folder: str, entry: os.DirEntry[str]) -> bool:
    # A module of a crate may be called `target` as well; cargo's folder lies beside a manifest
    # or carries the tag that keeps backups away.
    return Path(folder, "Cargo.toml").exists() or Path(entry.path, "CACHEDIR.TAG").exists()


def _stamp(seen: os.stat_result) -> str:
    # One string, not a list of numbers: it halves the time to read the cache.
    return f"{seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_size} {seen.st_ino} "


def _load(path: Path) -> dict[str, str]:
    document = state.read_json(path)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return {}
    files = document.get("files")
    return files if isinstance(files, dict) else {}
