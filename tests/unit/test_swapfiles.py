"""The swap folder as pods see it: whole, readable, known by what is in it, and bounded."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import cluster, swapfiles
from kindloop.config import Config, Image, Swap, SyncedFiles, Workload
from kindloop.errors import BuildFailed, ConfigError, KindloopError, ToolMissing, Unhealthy
from kindloop.swapfiles import Folder, Placed, Want, placing, tree_files

Refusal = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "swap").mkdir()
    made = Folder(tmp_path / "swap" / "petstore")
    made.ensure()
    return made


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return written(
        tmp_path / "target" / "pet_store", b"\x7fELF" + random.Random(1).randbytes(1_000_000)
    )


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def written(path: Path, content: bytes | str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def everything(folder: Folder) -> list[str]:
    return sorted(p.relative_to(folder.path).as_posix() for p in folder.path.rglob("*"))


def want_of(placed: Placed, generation: int = 1, tree: str | None = None, **changes: Any) -> Want:
    want = Want(generation, placed.digest, placed.size, None, {}, 2000, 5000, True, tree)
    return replace(want, **changes)


def pushed(folder: Folder, source: Path, content: str, **changes: Any) -> Want:
    """One swap as it is made, without waiting for anybody."""
    placed = folder.place_binary(written(source, content))
    want = want_of(placed, folder.next_generation(), **changes)
    folder.point(want.tree)
    folder.publish(want)
    return want


def test_what_pods_read_is_readable_whatever_the_umask(
    tmp_path: Path, artifact: Path, narrow_umask: None
) -> None:
    folder = Folder(tmp_path / "swap" / "petstore")
    folder.ensure()
    placed = folder.place_binary(artifact)
    tree = folder.place_tree(
        {
            "config/a/b.yaml": written(tmp_path / "b.yaml", "b", 0o600),
            "run.sh": written(tmp_path / "run.sh", "c", 0o700),
        }
    )
    folder.point(tree)
    folder.publish(want_of(placed, tree=tree))
    modes = {name: mode(folder.path / name) for name in everything(folder)}
    links = {"current"}
    folders = {n for n in modes if (folder.path / n).is_dir()} - links
    assert {modes[n] for n in folders} | {mode(folder.path), mode(folder.path.parent)} == {0o755}
    assert {n: oct(m) for n, m in modes.items() if n not in folders | links} == {
        f"bin/{placed.digest}": "0o755",
        f"trees/{tree}/config/a/b.yaml": "0o644",
        f"trees/{tree}/run.sh": "0o755",
        "want.json": "0o644",
    }
    assert mode(folder.history_file) == 0o600


def test_ensure_mends_modes_and_keeps_the_folders_that_pods_have_mounted(folder: Folder) -> None:
    before = folder.path.stat().st_ino
    folder.path.chmod(0o700)
    assert folder.ensure() is False
    assert (folder.path.stat().st_ino, mode(folder.path)) == (before, 0o755)


def test_a_folder_made_anew_is_told(tmp_path: Path) -> None:
    assert Folder(tmp_path / "swap" / "petstore").ensure() is True


def test_ensure_sweeps_what_killed_runs_left(folder: Folder, artifact: Path) -> None:
    placed = folder.place_binary(artifact)
    folder.publish(want_of(placed))
    for name in (
        "bin/.new-0123-x",
        "trees/.new-0123-y/config/a",
        ".want.json.k2j3",
        ".new-9-current",
    ):
        written(folder.path / name, "half")
    beside = written(folder.path.parent / ".petstore.history.json.k2j3", "half")
    others = written(folder.path.parent / ".other.history.json.k2j3", "not ours")
    folder.ensure()
    assert everything(folder) == ["bin", f"bin/{placed.digest}", "trees", "want.json"]
    assert not beside.exists()
    assert others.exists()


def test_what_this_process_is_making_is_not_swept(folder: Folder) -> None:
    made = written(folder.bin / f"{placing.MINE}x", "soon whole")
    folder.ensure()
    folder.prune([])
    assert made.exists()


def test_an_artifact_is_placed_under_its_digest(folder: Folder, artifact: Path) -> None:
    placed = folder.place_binary(artifact)
    content = artifact.read_bytes()
    assert placed == Placed(sha256(content), len(content))
    assert (folder.bin / placed.digest).read_bytes() == content
    assert folder.has(placed.digest)
    assert everything(folder) == ["bin", f"bin/{placed.digest}", "trees"]


def test_a_copy_shares_nothing_with_what_cargo_overwrites(folder: Folder, artifact: Path) -> None:
    placed = folder.place_binary(artifact)
    with artifact.open("r+b") as file:
        file.write(b"overwritten in place")
    assert sha256((folder.bin / placed.digest).read_bytes()) == placed.digest


def test_a_copy_that_was_begun_before_is_the_same_as_one_made_now(
    folder: Folder, artifact: Path, narrow_umask: None
) -> None:
    copying = folder.copying(artifact)
    content = artifact.read_bytes()
    placed = folder.place_binary(artifact, sha256(content), copying)
    copying.drop()
    assert placed == Placed(sha256(content), len(content))
    assert (folder.bin / placed.digest).read_bytes() == content
    assert mode(folder.bin / placed.digest) == 0o755
    assert everything(folder) == ["bin", f"bin/{placed.digest}", "trees"]


def _longer(source: Path) -> None:
    source.write_bytes(source.read_bytes() + b"more")


def _other(source: Path) -> None:
    beside = source.with_name("beside")
    beside.write_bytes(b"\x7fELF" + bytes(source.stat().st_size - 4))
    beside.replace(source)


@pytest.mark.parametrize("change", [_longer, _other])
def test_a_copy_of_what_changed_since_is_not_taken(
    folder: Folder, artifact: Path, change: Callable[[Path], None]
) -> None:
    copying = folder.copying(artifact)
    copying._thread.join()
    change(artifact)
    digest = sha256(artifact.read_bytes())
    placed = folder.place_binary(artifact, digest, copying)
    copying.drop()
    assert placed.digest == digest
    assert (folder.bin / digest).read_bytes() == artifact.read_bytes()
    assert everything(folder) == ["bin", f"bin/{digest}", "trees"]


def test_a_copy_begun_of_nothing_is_none(folder: Folder, artifact: Path) -> None:
    digest = sha256(artifact.read_bytes())
    artifact.unlink()
    copying = folder.copying(artifact)
    assert copying.taken() is None
    with pytest.raises(BuildFailed):
        folder.place_binary(artifact, digest, copying)
    copying.drop()
    assert everything(folder) == ["bin", "trees"]


def test_an_intact_artifact_is_not_replaced(folder: Folder, artifact: Path) -> None:
    placed = folder.place_binary(artifact)
    before = (folder.bin / placed.digest).stat().st_ino
    assert folder.place_binary(artifact) == placed
    assert (folder.bin / placed.digest).stat().st_ino == before


def _flip(path: Path) -> None:
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _truncate(path: Path) -> None:
    os.truncate(path, 1000)


def _to_folder(path: Path) -> None:
    path.unlink()
    written(path / "x", "x")


def _to_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def _dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("damage", [_flip, _truncate, _to_folder, _to_link, _dangle])
def test_a_damaged_artifact_is_placed_again(
    folder: Folder, artifact: Path, damage: Callable[[Path], None]
) -> None:
    placed = folder.place_binary(artifact)
    path = folder.bin / placed.digest
    damage(path)
    assert folder.place_binary(artifact) == placed
    assert path.is_file()
    assert not path.is_symlink()
    assert (sha256(path.read_bytes()), mode(path)) == (placed.digest, 0o755)


def test_an_artifact_that_lost_its_mode_gets_it_back(folder: Folder, artifact: Path) -> None:
    path = folder.bin / folder.place_binary(artifact).digest
    path.chmod(0o600)
    folder.place_binary(artifact)
    assert mode(path) == 0o755


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _path: None, "does not exist"),
        (Path.mkdir, "is a folder"),
        (Path.touch, "is empty"),
        (_fifo, "is no file"),
        (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels"),
        (lambda path: path.symlink_to("nothing"), "does not exist"),
    ],
    ids=["missing", "folder", "empty", "pipe", "loop", "dangling"],
)
def test_what_is_no_artifact_is_said(
    folder: Folder, tmp_path: Path, make: Callable[[Path], Any], said: str
) -> None:
    source = tmp_path / "pet_store"
    make(source)
    with pytest.raises(BuildFailed, match=said) as caught:
        folder.place_binary(source)
    assert str(source) in caught.value.message
    assert everything(folder) == ["bin", "trees"]


def _while_copying(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], times: int
) -> list[int]:
    """Have `change` happen after the first bytes of each of the first `times` copies."""
    real, calls = os.copy_file_range, []

    def copy(source: int, target: int, count: int) -> int:
        done = real(source, target, min(count, 4096))
        if os.lseek(source, 0, os.SEEK_CUR) == done:
            calls.append(done)
            if len(calls) <= times:
                change()
        return done

    monkeypatch.setattr(os, "copy_file_range", copy)
    return calls


def _rewritten(path: Path) -> Callable[[], object]:
    def change() -> None:
        status = path.stat()
        while path.stat().st_ctime_ns == status.st_ctime_ns:  # the kernel's clock may be coarse
            with path.open("r+b") as file:
                file.seek(200_000)
                file.write(os.urandom(64))
            # Odd times prove nothing: a build tool may set them back.
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return change


def _replaced(path: Path) -> Callable[[], object]:
    def change() -> None:
        new = written(path.with_name("new"), b"\x7fELF" + os.urandom(500_000))
        new.replace(path)

    return change


def _cut(path: Path) -> Callable[[], object]:
    return lambda: os.truncate(path, path.stat().st_size - 100_000)


def _grown(path: Path) -> Callable[[], object]:
    def change() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    return change


CHANGES = pytest.mark.parametrize("make", [_rewritten, _replaced, _cut, _grown])


@CHANGES
def test_an_artifact_that_changes_once_while_it_is_copied_is_copied_again(
    folder: Folder,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Callable[[], object]],
) -> None:
    calls = _while_copying(monkeypatch, make(artifact), times=1)
    placed = folder.place_binary(artifact)
    assert placed.digest == sha256(artifact.read_bytes())
    assert len(calls) == 2
    assert everything(folder) == ["bin", f"bin/{placed.digest}", "trees"]


@CHANGES
def test_an_artifact_that_never_stays_the_same_is_given_up(
    folder: Folder,
    artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Callable[[], object]],
) -> None:
    _while_copying(monkeypatch, make(artifact), times=99)
    with pytest.raises(BuildFailed, match="changes while it is copied"):
        folder.place_binary(artifact)
    assert everything(folder) == ["bin", "trees"]


def test_an_artifact_that_vanishes_while_it_is_copied_is_missing(
    folder: Folder, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _while_copying(monkeypatch, artifact.unlink, times=1)
    with pytest.raises(BuildFailed, match="does not exist"):
        folder.place_binary(artifact)
    assert everything(folder) == ["bin", "trees"]


def _refusing(code: int, after: int = 0) -> Refusal:
    real = os.copy_file_range

    def refuse(source: int, target: int, count: int) -> int:
        if os.lseek(target, 0, os.SEEK_CUR) < after:
            return real(source, target, min(count, 4096))
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("after", [0, 8192])
def test_between_file_systems_that_share_no_blocks_it_is_copied_all_the_same(
    folder: Folder, artifact: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(os, "copy_file_range", _refusing(errno.EXDEV, after))
    placed = folder.place_binary(artifact)
    assert placed.digest == sha256(artifact.read_bytes())
    assert sha256((folder.bin / placed.digest).read_bytes()) == placed.digest


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (errno.ENOSPC, "no space left", "df -h"),
        (errno.EDQUOT, "no space left", "df -h"),
        (errno.EROFS, "cannot be written: Read-only", "ls -ld"),
    ],
)
def test_a_full_or_closed_disk_is_said_and_leaves_nothing(
    folder: Folder, artifact: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str, hint: str
) -> None:
    monkeypatch.setattr(os, "copy_file_range", _refusing(code, after=8192))
    with pytest.raises(ToolMissing, match=said) as caught:
        folder.place_binary(artifact)
    assert caught.value.why
    assert hint in caught.value.hint
    assert everything(folder) == ["bin", "trees"]


def test_a_disk_that_fills_up_while_a_tree_is_made_leaves_nothing(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(placing.shutil, "copyfileobj", full)
    with pytest.raises(ToolMissing, match="no space left"):
        folder.place_tree({"a/b": written(tmp_path / "b", "b")})
    assert everything(folder) == ["bin", "trees"]


def test_a_tree_is_the_files_it_was_given(folder: Folder, tmp_path: Path) -> None:
    files = {
        "config/config.yaml": written(tmp_path / "config.yaml", "port: 8080"),
        "doc/deep/er/openapi.yaml": written(tmp_path / "openapi.yaml", "openapi: 3"),
    }
    top = folder.trees / folder.place_tree(files)
    found = {p.relative_to(top).as_posix(): p.read_text() for p in top.rglob("*") if p.is_file()}
    assert found == {"config/config.yaml": "port: 8080", "doc/deep/er/openapi.yaml": "openapi: 3"}


def test_a_trees_digest_is_its_names_modes_and_content(folder: Folder, tmp_path: Path) -> None:
    one = written(tmp_path / "one", "1")
    digests = [
        folder.place_tree(files)
        for files in (
            {"a": one},
            {"b": one},
            {"a": one, "b": one},
            {"a": written(tmp_path / "two", "2")},
            {"a": written(tmp_path / "executable", "1", 0o755)},
            {},
        )
    ]
    assert len(set(digests)) == 6
    assert folder.place_tree({"b": one, "a": one}) == digests[2]
    assert sorted(p.name for p in folder.trees.iterdir()) == sorted(digests)


def test_an_intact_tree_is_not_made_again(folder: Folder, tmp_path: Path) -> None:
    files = {"a": written(tmp_path / "a", "1")}
    top = folder.trees / folder.place_tree(files)
    before = top.stat().st_ino
    folder.place_tree(files)
    assert top.stat().st_ino == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda top: (top / "c/a").write_text("2"),
        lambda top: (top / "c/a").unlink(),
        lambda top: (top / "more").write_text("x"),
        lambda top: (top / "c/a").chmod(0o755),
        lambda top: (top / "c/a").chmod(0o600),
        lambda top: (top / "c").chmod(0o700),
        lambda top: (top / "loop").symlink_to("."),
        lambda top: _to_link(top / "c"),
    ],
    ids=["content", "missing", "more", "executable", "unreadable", "closed", "loop", "link"],
)
def test_a_damaged_tree_is_made_again(
    folder: Folder, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    files = {"c/a": written(tmp_path / "a", "1")}
    top = folder.trees / folder.place_tree(files)
    damage(top)
    assert folder.place_tree(files) == top.name
    assert [(p.relative_to(top).as_posix(), mode(p)) for p in sorted(top.rglob("*"))] == [
        ("c", 0o755),
        ("c/a", 0o644),
    ]
    assert not (top / "c").is_symlink()
    assert (top / "c/a").read_text() == "1"


def test_a_file_that_changes_while_a_tree_is_made_is_in_it_as_it_was_copied(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "a", "before")
    real = placing.shutil.copyfileobj

    def copy(file: Any, target: Any) -> None:
        source.write_text("after!")
        real(file, target)

    monkeypatch.setattr(placing.shutil, "copyfileobj", copy)
    tree = folder.place_tree({"a": source})
    monkeypatch.undo()
    assert (folder.trees / tree / "a").read_text() == "after!"
    assert folder.place_tree({"a": source}) == tree


@pytest.mark.parametrize("make", [lambda _path: None, Path.mkdir], ids=["missing", "folder"])
def test_a_synced_file_that_cannot_be_read_is_named(
    folder: Folder, tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    source = tmp_path / "gone"
    make(source)
    with pytest.raises(ConfigError, match=str(source)):
        folder.place_tree({"a": source})
    assert everything(folder) == ["bin", "trees"]


def test_current_is_a_relative_link_that_is_never_missing(folder: Folder, tmp_path: Path) -> None:
    trees = [folder.place_tree({"a": written(tmp_path / "a", text)}) for text in ("one", "two")]
    folder.point(trees[0])
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add((folder.path / "current" / "a").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        folder.point(trees[number % 2])
    done.set()
    reader.join()
    # A reader that met no file would have ended with an error, which pytest turns into a failure.
    assert seen <= {"one", "two"}
    assert str((folder.path / "current").readlink()) == f"trees/{trees[1]}"


def test_current_heals_and_goes_away(folder: Folder, tmp_path: Path) -> None:
    tree = folder.place_tree({"a": written(tmp_path / "a", "1")})
    written(folder.path / "current" / "a", "a folder where the link belongs")
    folder.point(tree)
    assert (folder.path / "current" / "a").read_text() == "1"
    folder.point(None)
    folder.point(None)
    assert not (folder.path / "current").is_symlink()
    assert (folder.trees / tree / "a").exists()


def test_what_is_published_is_read_back(folder: Folder, artifact: Path, tmp_path: Path) -> None:
    placed = folder.place_binary(artifact)
    tree = folder.place_tree({"a": written(tmp_path / "a", "1")})
    want = Want(
        1763893000123, placed.digest, placed.size, ("--spec", "x"), {"RUST_LOG": "info"},
        100, 200, False, tree,
    )  # fmt: skip
    folder.publish(want)
    assert folder.want() == want
    assert json.loads((folder.path / "want.json").read_text()) == {
        "version": 1,
        "generation": 1763893000123,
        "digest": placed.digest,
        "size": placed.size,
        "args": ["--spec", "x"],
        "env": {"RUST_LOG": "info"},
        "grace_ms": 100,
        "probation_ms": 200,
        "rollback": False,
        "tree": tree,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "0" * 64},
        {"digest": "../../etc/passwd"},
        {"size": 1},
        {"tree": "0" * 64},
        {"tree": "../bin"},
    ],
    ids=str,
)
def test_nothing_is_published_that_is_not_there(
    folder: Folder, artifact: Path, changes: dict[str, Any]
) -> None:
    good = want_of(folder.place_binary(artifact))
    folder.publish(good)
    with pytest.raises(Unhealthy, match="not there"):
        folder.publish(replace(good, generation=2, **changes))
    assert folder.want() == good
    assert folder.history() == [good]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2), ("digest", "abc"), ("digest", None), ("generation", "soon"), ("env", []),
        ("env", None), ("size", {}), ("args", 5), ("tree", "../x"), ("tree", 5),
    ],
)  # fmt: skip
def test_what_is_no_want_of_this_version_is_none(field: str, value: Any) -> None:
    document = want_of(Placed("a" * 64, 5)).as_json()
    assert Want.from_json(document) is not None
    assert Want.from_json({**document, field: value}) is None
    del document[field]
    assert Want.from_json(document) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "5", '{"version": 1}'])
def test_a_broken_want_or_history_is_none(folder: Folder, content: str) -> None:
    (folder.path / "want.json").write_text(content)
    folder.history_file.write_text(content)
    assert folder.want() is None
    assert folder.history() == []


def test_the_history_is_the_last_five_newest_first(folder: Folder, tmp_path: Path) -> None:
    wants = [pushed(folder, tmp_path / "bin", f"build {n}") for n in range(8)]
    assert folder.history() == wants[:2:-1]
    rows = json.loads(folder.history_file.read_text())["wants"]
    times = [row["published_s"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 5


def test_the_same_once_more_takes_no_place_in_the_history(folder: Folder, tmp_path: Path) -> None:
    first = pushed(folder, tmp_path / "bin", "A")
    for _ in range(6):
        last = pushed(folder, tmp_path / "bin", "B")
    assert folder.history() == [last, first]
    other = pushed(folder, tmp_path / "bin", "B", env={"RUST_LOG": "debug"})
    assert folder.history() == [other, last, first]


def test_files_that_change_in_place_keep_their_generation(folder: Folder, tmp_path: Path) -> None:
    want = pushed(folder, tmp_path / "bin", "A")
    tree = folder.place_tree({"a": written(tmp_path / "a", "1")})
    changed = replace(want, tree=tree)
    folder.publish(changed)
    assert folder.history() == [changed]


def test_what_a_killed_run_published_is_in_the_history(folder: Folder, tmp_path: Path) -> None:
    first = pushed(folder, tmp_path / "bin", "A")
    before = folder.history_file.read_text()
    second = pushed(folder, tmp_path / "bin", "B")
    folder.history_file.write_text(before)
    assert folder.history() == [second, first]


def test_withdrawn_is_not_wanted_but_remembered(folder: Folder, tmp_path: Path) -> None:
    want = pushed(folder, tmp_path / "bin", "A")
    folder.withdraw()
    folder.withdraw()
    assert folder.want() is None
    assert folder.history() == [want]
    assert folder.next_generation() > want.generation


def test_generations_grow_even_when_the_clock_goes_back(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pushed(folder, tmp_path / "bin", "A")
    monkeypatch.setattr(swapfiles.time, "time_ns", lambda: 5)
    second = pushed(folder, tmp_path / "bin", "B")
    assert second.generation == first.generation + 1


def test_the_disk_stays_bounded(folder: Folder, tmp_path: Path) -> None:
    good = pushed(folder, tmp_path / "bin", "good").digest
    running = good
    for number in range(100):
        tree = folder.place_tree({"a": written(tmp_path / "a", f"{number}")})
        want = pushed(folder, tmp_path / "bin", f"build {number}", tree=tree)
        folder.prune({running, good})
        kept = {p.name for p in folder.bin.iterdir()}
        assert {want.digest, running, good} == kept
        assert tree in {p.name for p in folder.trees.iterdir()}
        running = want.digest
    # The files of what ran last stay with it: going back takes both.
    assert len(list(folder.trees.iterdir())) == 2


def test_pruning_keeps_what_is_pointed_at_and_asked_for(folder: Folder, tmp_path: Path) -> None:
    trees = [folder.place_tree({"a": written(tmp_path / "a", text)}) for text in "1234"]
    old = pushed(folder, tmp_path / "bin", "old", tree=trees[0])
    good = pushed(folder, tmp_path / "bin", "good", tree=trees[1])
    new = pushed(folder, tmp_path / "bin", "new", tree=trees[2])
    folder.point(trees[3])
    written(folder.bin / "stranger", "x")
    folder.prune([good.digest])
    assert {p.name for p in folder.bin.iterdir()} == {good.digest, new.digest}
    assert {p.name for p in folder.trees.iterdir()} == set(trees[1:])
    assert not folder.has(old.digest)


@pytest.mark.parametrize("lost", ["want.json", "history"])
def test_pruning_keeps_the_newest_when_one_record_of_it_is_lost(
    folder: Folder, tmp_path: Path, lost: str
) -> None:
    want = pushed(folder, tmp_path / "bin", "new")
    (folder.path / lost if lost == "want.json" else folder.history_file).write_text("{")
    folder.prune([])
    assert folder.has(want.digest)


def _synced(root: Path, *pairs: tuple[str, str]) -> dict[str, str]:
    """Path of the source relative to `root`, by path in the tree."""
    found = tree_files(root, [SyncedFiles(source, to) for source, to in pairs], workload="petstore")
    return {name: os.path.relpath(source, root) for name, source in found.items()}


def test_a_folder_and_a_file_go_where_they_are_said_to(tmp_path: Path) -> None:
    for name in ("app/config/a.yaml", "app/config/deep/b.yaml", "openapi.yaml"):
        written(tmp_path / name, name)
    assert _synced(tmp_path, ("app/config", "config"), ("openapi.yaml", "doc/api.yaml")) == {
        "config/a.yaml": "app/config/a.yaml",
        "config/deep/b.yaml": "app/config/deep/b.yaml",
        "doc/api.yaml": "openapi.yaml",
    }


@pytest.mark.parametrize("to", ["", ".", "./"])
def test_a_folder_may_be_the_whole_tree(tmp_path: Path, to: str) -> None:
    written(tmp_path / "app/config/a.yaml", "a")
    assert _synced(tmp_path, ("app/config/", to)) == {"a.yaml": "app/config/a.yaml"}
    assert _synced(tmp_path, (".", to)) == {"app/config/a.yaml": "app/config/a.yaml"}


def test_a_source_may_lie_beside_the_root(tmp_path: Path) -> None:
    written(tmp_path / "shared/a", "a")
    (tmp_path / "app").mkdir()
    assert _synced(tmp_path / "app", ("../shared", "s")) == {"s/a": "../shared/a"}


def test_editors_temporary_files_and_build_products_are_left_out(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.yaml~", ".a.yaml.swp", "#a.yaml#", "4913", ".git/HEAD", ".hidden"):
        written(tmp_path / "config" / name, name)
    assert sorted(_synced(tmp_path, ("config", "c"))) == ["c/.hidden", "c/a.yaml"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    written(tmp_path / "config/a.yaml", "a")
    (tmp_path / "config/loop").symlink_to(".")
    (tmp_path / "config/deep").mkdir()
    (tmp_path / "config/deep/up").symlink_to("../..")
    assert _synced(tmp_path, ("config", "c")) == {"c/a.yaml": "config/a.yaml"}


def _config_loop(root: Path) -> None:
    (root / "config").symlink_to("config")


@pytest.mark.parametrize("make", [lambda _root: None, _config_loop], ids=["missing", "loop"])
def test_a_missing_source_names_the_setting(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=r"workloads\.petstore\.sync names config") as caught:
        _synced(tmp_path, ("config", "config"))
    assert "kindloop.yaml" in caught.value.hint


@pytest.mark.parametrize("to", ["/etc", "..", "../x", "a/../../x"])
def test_nothing_is_put_outside_of_the_tree(tmp_path: Path, to: str) -> None:
    written(tmp_path / "config/a", "a")
    with pytest.raises(ConfigError, match="outside of the synced files"):
        _synced(tmp_path, ("config", to))


def test_a_file_needs_a_name(tmp_path: Path) -> None:
    written(tmp_path / "a", "a")
    with pytest.raises(ConfigError, match="outside of the synced files"):
        _synced(tmp_path, ("a", "."))


def test_one_place_is_not_given_twice(tmp_path: Path) -> None:
    for name in ("a/x", "b/x"):
        written(tmp_path / name, name)
    with pytest.raises(ConfigError, match="both"):
        _synced(tmp_path, ("a", "c"), ("b", "c"))
    with pytest.raises(ConfigError, match="both a file and a folder"):
        _synced(tmp_path, ("a", "c"), ("b/x", "c/x/deep"))
    assert _synced(tmp_path, ("a", "c"), ("a/x", "c/x")) == {"c/x": "a/x"}


def test_a_pipe_is_no_synced_file(tmp_path: Path) -> None:
    _fifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no file and no folder"):
        _synced(tmp_path, ("pipe", "p"))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "config/ok", "a")
    os.close(os.open(os.fsencode(tmp_path / "config") + b"/\xff", os.O_CREAT))
    with pytest.raises(ConfigError, match="not UTF-8"):
        _synced(tmp_path, ("config", "c"))


def test_the_folder_of_a_workload_is_in_the_mounted_one(homes: Path, tmp_path: Path) -> None:
    config = Config(tmp_path / "kindloop.yaml", name="mine")
    workload = Workload("petstore", Image(tmp_path / "Dockerfile"), tmp_path, swap=Swap("petstore"))
    folder = swapfiles.folder_of(config, workload)
    assert folder.path == cluster.environment(config).swap / "petstore"
    assert not folder.history_file.is_relative_to(folder.path)


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    written(tmp_path / "swap" / "petstore", "a file")
    with pytest.raises(KindloopError, match="petstore cannot be written") as caught:
        Folder(tmp_path / "swap" / "petstore").ensure()
    assert caught.value.hint
