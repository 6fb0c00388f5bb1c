"""The swap directory on a disk that is full: told, nothing half-made stays, what runs goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindloop import tools
from kindloop.errors import ToolMissing
from kindloop.swapfiles import Folder, Placed, Want, placing

SIZE = 1 << 20
"""Bytes of the small disk."""
GOOD = b"\x7fELF" + bytes(1000)


class Disk:
    """A folder on a small disk which can be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False

    def fill(self) -> None:
        """Leave no space at all."""
        self.full = True
        with (
            (self.path / "ballast").open("wb", buffering=0) as file,
            pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
        ):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Make space again."""
        self.full = False
        (self.path / "ballast").unlink(missing_ok=True)


class ToldDisk(Disk):
    """Where we may not mount: what the kernel would say, said for it."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(path)

        def spaceless(call):  # type: ignore[no-untyped-def]
            def instead(*words, **named):  # type: ignore[no-untyped-def]
                if self.full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return call(*words, **named)

            return instead

        patch.setattr(placing, "_copy", spaceless(placing._copy))
        patch.setattr(placing.shutil, "copyfileobj", spaceless(placing.shutil.copyfileobj))
        patch.setattr(os, "fsync", spaceless(os.fsync))

    def fill(self) -> None:
        self.full = True


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A disk of one megabyte: a real one where we may mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "kindloop-test", folder]
    mounted = os.geteuid() == 0 and tools.run(*mount, check=False).ok
    yield Disk(folder) if mounted else ToldDisk(folder, monkeypatch)
    if mounted:
        tools.run("umount", folder)


@pytest.fixture
def folder(disk: Disk, tmp_path: Path) -> Folder:
    """A swap folder on it, with something published."""
    made = Folder(disk.path / "petstore")
    made.ensure()
    artifact = tmp_path / "good"
    artifact.write_bytes(GOOD)
    made.publish(want(made, made.place_binary(artifact)))
    return made


def want(folder: Folder, placed: Placed, tree: str | None = None) -> Want:
    generation = folder.next_generation()
    return Want(generation, placed.digest, placed.size, None, {}, 2000, 5000, True, tree)


def content(folder: Folder) -> dict[str, bytes]:
    """Every file by its path, half-made ones included."""
    files = (path for path in folder.path.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}


def refused(caught: pytest.ExceptionInfo[ToolMissing], folder: Folder) -> None:
    assert caught.value.exit_code == 7
    assert caught.value.message.startswith("no space left for what is swapped, at ")
    assert caught.value.hint.startswith(f"df -h {folder.path}")


def test_a_binary_that_does_not_fit(disk: Disk, folder: Folder, tmp_path: Path) -> None:
    before, published = content(folder), folder.want()
    artifact = tmp_path / "big"
    artifact.write_bytes(b"\x7fELF" + os.urandom(2 * SIZE))
    disk.full = True
    with pytest.raises(ToolMissing) as caught:
        folder.place_binary(artifact)
    refused(caught, folder)
    assert content(folder) == before
    assert folder.want() == published
    disk.free()
    artifact.write_bytes(GOOD + b"newer")
    placed = folder.place_binary(artifact)
    folder.publish(want(folder, placed))
    assert folder.want() != published


def test_synced_files_that_do_not_fit(disk: Disk, folder: Folder, tmp_path: Path) -> None:
    before, published = content(folder), folder.want()
    small, big = tmp_path / "small.yaml", tmp_path / "big.html"
    small.write_bytes(b"a: 1\n")
    big.write_bytes(os.urandom(2 * SIZE))
    disk.full = True
    with pytest.raises(ToolMissing) as caught:
        folder.place_tree({"config/small.yaml": small, "doc/big.html": big})
    refused(caught, folder)
    assert content(folder) == before
    assert list(folder.trees.iterdir()) == []
    assert folder.want() == published


def test_a_pointer_that_does_not_fit(disk: Disk, folder: Folder, tmp_path: Path) -> None:
    artifact = tmp_path / "newer"
    artifact.write_bytes(GOOD + b"newer")
    placed = folder.place_binary(artifact)
    before, published = content(folder), folder.want()
    disk.fill()
    with pytest.raises(ToolMissing) as caught:
        folder.publish(want(folder, placed))
    refused(caught, folder)
    disk.free()
    assert content(folder) == before
    assert folder.want() == published
    folder.publish(want(folder, placed))
    assert folder.want() != published
