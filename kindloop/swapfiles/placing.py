"""Copies whose content is known: artifacts and trees of synced files, by digest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path

from kindloop import fingerprint
from kindloop.config import SyncedFiles
from kindloop.errors import BuildFailed, ConfigError, ToolMissing

__all__ = [
    "MINE",
    "Copying",
    "copy_artifact",
    "copy_synced",
    "digest_sources",
    "digest_tree",
    "is_intact",
    "listing",
    "remove",
    "set_mode",
    "tree_files",
    "writing",
]

MINE = f".new-{uuid.uuid4().hex[:12]}-"
"""How temporary names of this process begin: those of others are left by killed ones."""
_NO_RANGE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
"""What the kernel says between file systems for which it copies no ranges."""


def tree_files(
    root: Path, sync: Sequence[SyncedFiles], *, workload: str = "<name>"
) -> dict[str, Path]:
    """Source file by path in the tree, for everything declared; `root` is app.root.

    A folder stands for its files, as in a stage's inputs: without editors' temporary files.
    Raises ConfigError naming `workloads.<workload>.sync` for what is missing, is no file, goes
    outside of the tree, or is there twice.
    """
    where = f"workloads.{workload}.sync"
    files: dict[str, Path] = {}
    for one in sync:
        for name, source in _declared(root, one, where):
            if files.setdefault(name, source) != source:
                raise ConfigError(
                    f"{where} puts both {files[name]} and {source} at {name}",
                    hint=f"give one of them another `to` in {where}",
                )
    for name, source in files.items():
        for above in Path(name).parents[:-1]:
            if above.as_posix() in files:
                raise ConfigError(
                    f"{where} makes {above} both a file and a folder",
                    hint=f"give {source} another `to` in {where}",
                )
    return files


def _declared(root: Path, one: SyncedFiles, where: str) -> Iterator[tuple[str, Path]]:
    base = os.path.normpath(root / one.source)
    if not os.path.exists(base):  # noqa: PTH110 - False for a loop of links, where pathlib raises
        raise ConfigError(
            f"{where} names {one.source}, which does not exist",
            hint=f"correct `from` in {where} of kindloop.yaml, or create it",
        )
    lead = os.path.relpath(base, os.path.normpath(root))
    for name, path, status in fingerprint.find(root, one.source) or ():
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{where} names {one.source}, which is no file and no folder")
        below = "" if name == lead else name.removeprefix(f"{lead}/")
        placed = os.path.normpath(os.path.join(one.to, below))  # noqa: PTH118 - keeps `..` visible
        if placed.startswith(("/", "../")) or placed in (".", ".."):
            raise ConfigError(
                f"{where} puts {one.source} at {one.to}, outside of the synced files",
                hint=f"`to` in {where} is relative to the image's working directory",
            )
        if not _is_utf8(placed):
            raise ConfigError(f"{where}: the name of {path!r} is not UTF-8", hint="rename the file")
        yield placed, Path(path)


def copy_artifact(source: Path, copy: FileIO, digest: str = "") -> tuple[str, int] | None:
    """Copy `source` into the empty file `copy` and digest what is there: (sha256, bytes).

    With `digest`, what the source had when it was built, the copy is not read again. None when
    the source changed meanwhile. Raises BuildFailed when it is no readable file.
    """
    with _opened(source) as handle:
        before = os.fstat(handle)
        _copy(handle, copy.fileno(), before.st_size)
        if not _unchanged(source, handle, before):
            return None
    # Of the copy, not of the source: what is digested is what is served.
    if not digest:
        copy.seek(0)
        digest = hashlib.file_digest(copy, "sha256").hexdigest()
    size = os.fstat(copy.fileno()).st_size
    return (digest, size) if size == before.st_size else None


class Copying:
    """A copy of an artifact that a thread makes while another one digests the artifact."""

    def __init__(self, source: Path, folder: Path) -> None:
        self._source = source
        self._handle, name = tempfile.mkstemp(prefix=MINE, dir=folder)
        self._made = Path(name)
        self._before: tuple[int, ...] = ()
        """What the source was like, once all of it is copied."""
        self._thread = threading.Thread(target=self._work, name="kindloop-copy", daemon=True)
        self._thread.start()

    def taken(self) -> Path | None:
        """The copy, with mode 0755; None when the source is not what it was, or was not copied."""
        self._thread.join()
        try:
            same = self._before == _stamp(self._source.stat())
            return self._made if same and self._made.exists() else None
        except OSError:
            return None

    def drop(self) -> None:
        """Remove the copy, unless it was renamed meanwhile."""
        self._thread.join()
        remove(self._made)

    def _work(self) -> None:
        try:
            with _opened(self._source) as source:
                before = os.fstat(source)
                _copy(source, self._handle, before.st_size)
                os.fchmod(self._handle, 0o755)
                if os.fstat(self._handle).st_size == before.st_size:
                    self._before = _stamp(before)
        except (OSError, BuildFailed):
            pass  # whoever wants it copies it then, and says what is wrong
        finally:
            os.close(self._handle)


def is_intact(path: Path, digest: str, size: int) -> bool:
    """Whether an artifact is what its name says, and can be run by every pod."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return False
        with path.open("rb", buffering=0) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return False
        set_mode(path, 0o755)
    except OSError:
        return False
    return True


def copy_synced(source: Path, target: Path) -> None:
    """Copy a synced file, 0644, or 0755 when it is executable. Raises ConfigError."""
    with _readable(source):
        file = source.open("rb")
    with file, target.open("xb") as copy:
        mode = os.fstat(file.fileno()).st_mode
        shutil.copyfileobj(file, copy)
        os.fchmod(copy.fileno(), 0o755 if mode & 0o111 else 0o644)


def digest_sources(files: Mapping[str, Path]) -> str:
    """The digest of the tree that these sources would make. Raises ConfigError."""
    rows = {}
    for name, source in files.items():
        with _readable(source):
            rows[name] = _row(source, source.stat())
    return fingerprint.digest_mapping(rows)


def digest_tree(top: Path) -> str | None:
    """The digest of a tree that is there; None when it is none, or was tampered with."""
    rows = {}
    try:
        for folder, folders, names in os.walk(top, onerror=_raise):
            for path in (Path(folder), *[Path(folder, name) for name in folders]):
                if stat.S_IMODE(path.lstat().st_mode) != 0o755:
                    return None
            for path in [Path(folder, name) for name in names]:
                status = path.lstat()
                if status.st_mode not in (stat.S_IFREG | 0o644, stat.S_IFREG | 0o755):
                    return None
                rows[path.relative_to(top).as_posix()] = _row(path, status)
    except OSError:
        return None
    return fingerprint.digest_mapping(rows)


def listing(folder: Path) -> list[Path]:
    """What is in a folder; nothing when it is not there."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def set_mode(path: Path, mode: int) -> None:
    """Set the mode of a file or folder unless it has it: the umask decided otherwise."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into ToolMissing with the next command."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ToolMissing(
                f"no space left for what is swapped, at {path}",
                why="the disk, its inodes or your quota of it are used up; what runs goes on",
                hint=f"df -h {path}; df -i {path}",
            ) from exc
        raise ToolMissing(
            f"{exc.filename or path} cannot be written: {exc.strerror}",
            why="its owner or mode was changed, or its disk is mounted read-only",
            hint=f"ls -ld {path}; invoke dev-doctor",
        ) from exc


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[int]:
    """The descriptor of an artifact, open for reading. Raises BuildFailed when there is none."""
    try:
        # A named pipe in its place must not make us wait.
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as exc:
        gone = isinstance(exc, FileNotFoundError)
        said = "does not exist" if gone else f"cannot be read: {exc.strerror}"
        raise _no_artifact(source, said) from exc
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            said = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no file"
            raise _no_artifact(source, said)
        if status.st_size == 0:
            raise _no_artifact(source, "is empty")
        yield handle
    finally:
        os.close(handle)


def _no_artifact(source: Path, said: str) -> BuildFailed:
    return BuildFailed(
        f"the artifact {source} {said}",
        why="something other than its stage removed or replaced it",
        hint="invoke dev-rebuild --clean",
    )


@contextlib.contextmanager
def _readable(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ConfigError(
            f"the synced file {source} cannot be read: {exc.strerror}",
            why="it was removed or replaced after it was found, or its mode forbids it",
            hint=f"ls -l {source}",
        ) from exc


def _copy(source: int, target: int, size: int) -> None:
    """Copy up to `size` bytes inside the kernel; it shares the blocks where it can."""
    left = size
    try:
        while left and (done := os.copy_file_range(source, target, left)):
            left -= done
    except OSError as exc:
        if exc.errno not in _NO_RANGE:
            raise
        while left and (done := os.sendfile(target, source, None, left)):
            left -= done


def _unchanged(source: Path, handle: int, before: os.stat_result) -> bool:
    try:
        there = source.stat()
    except OSError:
        return False
    return _stamp(os.fstat(handle)) == _stamp(before) == _stamp(there)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    # The time of a change cannot be set back, as that of a modification can.
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


def _row(path: Path, status: os.stat_result) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{digest}+x" if status.st_mode & 0o111 else digest


def _raise(error: OSError) -> None:
    raise error


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
