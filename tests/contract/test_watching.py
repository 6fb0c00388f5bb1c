"""The watcher on real folders: editors, storms, folders that come and go, git, limits."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kindloop import watching, watchsource
from kindloop.errors import ToolMissing
from kindloop.gitstate import locked
from kindloop.watching import Batch, Root, Watcher, ignoring

PATIENCE_S = 30.0
QUIET_S = 0.3
"""Only proves that nothing came, so a longer time would prove no more."""

Watch = Callable[..., Watcher]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A workspace with sources and a file beside them."""
    root = tmp_path / "app"
    for name in ("src/main.rs", "src/a/b.rs", "Cargo.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def watch(top: Path) -> Iterator[Watch]:
    """Watch `src` and `Cargo.toml`, or what is given, until the test ends."""
    with ExitStack() as stack:

        def start(*names: str, **settings: Any) -> Watcher:
            roots = [Root(top / name) for name in names or ("src", "Cargo.toml")]
            settings.setdefault("ignored", ignoring(top, [root.path for root in roots]))
            return stack.enter_context(Watcher(roots, quiet_ms=10, cap_ms=1000, **settings))

        yield start


def changed(watcher: Watcher, *paths: Path) -> Batch:
    """Wait until all these and no others are told; the batch they make together."""
    told: Batch | None = None
    while told is None or not told.paths >= set(paths):
        batch = watcher.next(PATIENCE_S)
        assert batch, f"only {told and told.paths}"
        told = told | batch if told else batch
    assert told.paths == set(paths)
    return told


def silent(watcher: Watcher) -> bool:
    return watcher.next(QUIET_S) is None


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What every batch was made of, whether somebody has taken it or not."""
    made: list[Any] = []
    make = Watcher._batch

    def spy(self: Watcher, gathered: Any) -> None:
        make(self, gathered)
        made.append(gathered)

    monkeypatch.setattr(Watcher, "_batch", spy)
    return made


def test_a_save_is_one_batch(top: Path, watch: Watch) -> None:
    watcher = watch()
    (top / "src/main.rs").write_text("new")
    batch = changed(watcher, top / "src/main.rs")
    assert batch.first_s <= batch.last_s
    assert silent(watcher)


def vim(path: Path) -> None:
    (path.parent / "4913").touch()
    (path.parent / "4913").unlink()
    path.rename(f"{path}~")
    path.write_text("new")
    Path(f"{path}~").unlink()


def by_rename(path: Path) -> None:
    beside = path.with_name("sedAbCdEf")
    beside.write_text("new")
    beside.replace(path)


def in_place(path: Path) -> None:
    with path.open("a") as file:
        file.write("new")


@pytest.mark.parametrize("save", [vim, by_rename, in_place])
@pytest.mark.parametrize("name", ["src/a/b.rs", "Cargo.toml"])
def test_however_an_editor_saves_only_the_file_is_told(
    top: Path, watch: Watch, save: Callable[[Path], None], name: str
) -> None:
    watcher = watch()
    for _ in range(3):
        save(top / name)
        changed(watcher, top / name)
    assert silent(watcher)


def test_what_is_not_declared_is_not_told(top: Path, watch: Watch) -> None:
    subprocess.run(["git", "init", "-q", top], check=True)
    (top / ".gitignore").write_text("*.log\n")
    watcher = watch()
    (top / "README.md").write_text("beside")
    (top / "target").mkdir()
    (top / "target/a.rs").write_text("built")
    (top / "src/a.log").write_text("ignored")
    (top / "src/.main.rs.swp").write_text("temporary")
    os.utime(top / "src/a")
    assert silent(watcher)
    (top / "src/main.rs").write_text("new")
    changed(watcher, top / "src/main.rs")


def test_cargos_target_inside_of_a_root_is_not_told(top: Path, watch: Watch) -> None:
    watcher = watch(".")
    (top / "target/debug").mkdir(parents=True)
    (top / "target/debug/a.rs").write_text("built")
    assert silent(watcher)


def test_a_storm_is_a_few_batches_that_miss_nothing(top: Path, watch: Watch) -> None:
    watcher = watch()
    paths = [top / f"src/a/{i % 50}.rs" for i in range(500)]
    for path in paths:
        path.write_text("new")
    batches = []
    while not batches or not frozenset().union(*(b.paths for b in batches)) >= set(paths):
        batch = watcher.next(PATIENCE_S)
        assert batch
        batches.append(batch)
    assert len(batches) < 10


def test_batches_that_nobody_took_are_kept_as_one(
    top: Path, watch: Watch, batches: list[Any], becomes: Callable[[Callable[[], Any]], Any]
) -> None:
    watcher = watch()
    for count, name in enumerate(("src/main.rs", "Cargo.toml"), 1):
        (top / name).write_text("new")
        becomes(lambda count=count: len(batches) >= count)
    both = watcher.next(PATIENCE_S)
    assert both
    assert both.paths == {top / "src/main.rs", top / "Cargo.toml"}
    assert (both.first_s, both.last_s) == (batches[0].first_s, batches[-1].last_s)
    assert silent(watcher)


def test_what_has_changed_is_told_ahead_of_its_batch(top: Path, watch: Watch) -> None:
    free, told = threading.Event(), []
    came = threading.Event()

    def ahead(paths: Iterable[Path]) -> None:
        told.extend(paths)
        came.set()

    watcher = watch(held=lambda: not free.is_set(), ahead=ahead)
    (top / "src/main.rs").write_text("1")
    assert came.wait(PATIENCE_S)
    assert watcher.next(QUIET_S) is None
    (top / "src/main.rs").write_text("2")
    free.set()
    changed(watcher, top / "src/main.rs")
    assert told == [top / "src/main.rs"]


def test_a_storm_is_not_told_ahead(
    top: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "AHEAD", 0)
    told: list[Path] = []
    watcher = watch(ahead=told.extend)
    (top / "src/main.rs").write_text("1")
    changed(watcher, top / "src/main.rs")
    assert told == []


def test_a_new_folder_is_watched_with_all_that_is_in_it(top: Path, watch: Watch) -> None:
    watcher = watch()
    deep = top / "src/new/deep"
    deep.mkdir(parents=True)
    (deep / "a.rs").write_text("1")
    changed(watcher, deep / "a.rs")
    (deep / "b.rs").write_text("1")
    changed(watcher, deep / "b.rs")
    shutil.rmtree(deep)
    changed(watcher, deep, deep / "a.rs", deep / "b.rs")


def test_a_declared_folder_is_deleted_and_made_again(top: Path, watch: Watch) -> None:
    watcher = watch()
    shutil.rmtree(top / "src")
    told = watcher.next(PATIENCE_S)
    assert told
    assert top / "src/main.rs" in told.paths
    assert silent(watcher)
    (top / "src").mkdir()
    (top / "src/main.rs").write_text("again")
    changed(watcher, top / "src/main.rs")
    (top / "src/main.rs").write_text("and again")
    changed(watcher, top / "src/main.rs")


def test_a_folder_swapped_for_another_is_watched(top: Path, watch: Watch) -> None:
    watcher = watch()
    shutil.copytree(top / "src", top / "other")
    (top / "src").rename(top / "old")
    (top / "other").rename(top / "src")
    changed(watcher, top / "src/main.rs", top / "src/a/b.rs")
    (top / "old/main.rs").write_text("of nobody")
    (top / "src/main.rs").write_text("new")
    changed(watcher, top / "src/main.rs")


def test_the_folder_above_goes_away_and_comes_back(top: Path, watch: Watch) -> None:
    watcher = watch()
    top.rename(top.with_name("away"))
    changed(watcher, top / "src", top / "Cargo.toml")
    top.with_name("away").rename(top)
    changed(watcher, top / "src/main.rs", top / "src/a/b.rs", top / "Cargo.toml")
    (top / "src/a/b.rs").write_text("new")
    changed(watcher, top / "src/a/b.rs")


def test_a_file_becomes_a_folder_and_a_file_again(top: Path, watch: Watch) -> None:
    watcher = watch()
    path = top / "src/main.rs"
    path.unlink()
    path.mkdir()
    (path / "mod.rs").write_text("new")
    changed(watcher, path / "mod.rs")
    (path / "mod.rs").write_text("newer")
    changed(watcher, path / "mod.rs")
    shutil.rmtree(path)
    path.write_text("file")
    told = watcher.next(PATIENCE_S)
    assert told
    assert path in told.paths


def test_what_is_not_there_yet_is_seen_when_it_appears(top: Path, watch: Watch) -> None:
    watcher = watch("missing/deep/spec.yaml", "later")
    spec = top / "missing/deep/spec.yaml"
    spec.parent.mkdir(parents=True)
    spec.write_text("1")
    changed(watcher, spec)
    spec.write_text("2")
    changed(watcher, spec)
    (top / "later").mkdir()
    (top / "later/a").write_text("1")
    changed(watcher, top / "later/a")


def test_links_are_followed_and_a_loop_harms_nothing(top: Path, watch: Watch) -> None:
    (top / "elsewhere").mkdir()
    (top / "elsewhere/spec.yaml").write_text("1")
    (top / "src/spec.yaml").symlink_to(top / "elsewhere/spec.yaml")
    (top / "src/linked").symlink_to(top / "elsewhere")
    watcher = watch()
    (top / "src/a/up").symlink_to(top / "src")
    (top / "src/a/self").symlink_to("self")
    assert changed(watcher, top / "src/a/self")
    (top / "elsewhere/spec.yaml").write_text("2")
    changed(watcher, top / "src/spec.yaml", top / "src/linked/spec.yaml")


def test_other_roots_can_be_watched_from_now_on(top: Path, watch: Watch) -> None:
    watcher = watch("src")
    watcher.rewatch([Root(top / "Cargo.toml", recursive=False)])
    (top / "src/main.rs").write_text("new")
    (top / "Cargo.toml").write_text("new")
    changed(watcher, top / "Cargo.toml")
    assert silent(watcher)


def test_a_name_that_is_not_utf_8_does_not_end_the_watch(top: Path, watch: Watch) -> None:
    watcher = watch()
    Path(os.fsdecode(os.fsencode(top / "src") + b"/\xff.rs")).write_text("new")
    told = watcher.next(PATIENCE_S)
    assert told
    assert told.paths == {top / "src", top / "Cargo.toml"}  # anything may have changed
    assert watcher.next(QUIET_S) is None
    (top / "src/main.rs").write_text("new")
    changed(watcher, top / "src/main.rs")


def test_a_branch_switch_is_one_batch(top: Path, watch: Watch, batches: list[Any]) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *words], cwd=top, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "main")
    git("checkout", "-q", "-b", "other")
    for i in range(200):
        (top / f"src/a/{i}.rs").write_text("other")
    git("add", ".")
    git("commit", "-q", "-m", "other")
    # As long as git is at work, and a little longer: on a busy machine its events come late.
    free = threading.Event()
    watcher = watch(held=lambda: locked(top) or not free.is_set())
    git("checkout", "-q", "main")
    threading.Timer(QUIET_S, free.set).start()
    changed(watcher, *(top / f"src/a/{i}.rs" for i in range(200)))
    assert silent(watcher)
    assert len(batches) == 1


def test_while_held_a_batch_waits(top: Path, watch: Watch) -> None:
    asked, free = threading.Event(), threading.Event()

    def held() -> bool:
        asked.set()
        return not free.is_set()

    watcher = watch(held=held)
    (top / "src/main.rs").write_text("1")
    assert asked.wait(PATIENCE_S)
    (top / "Cargo.toml").write_text("1")
    assert watcher.next(QUIET_S) is None
    free.set()
    changed(watcher, top / "src/main.rs", top / "Cargo.toml")


def test_a_batch_is_not_held_for_ever(
    top: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "HELD_CAP_S", 0.1)
    watcher = watch(held=lambda: True)
    (top / "src/main.rs").write_text("1")
    changed(watcher, top / "src/main.rs")


def test_a_deadline_ends_a_wait_and_so_does_the_end(watch: Watch) -> None:
    watcher = watch()
    assert watcher.next(0.01) is None
    threading.Timer(0.01, watcher.close).start()
    assert watcher.next(None) is None
    assert watcher.next(None) is None


def inotify_files() -> list[str]:
    links = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
    return [link for link in links if "inotify" in link]


def test_nothing_is_left_behind(top: Path, becomes: Callable[[Callable[[], Any]], Any]) -> None:
    threads, files = set(threading.enumerate()), inotify_files()
    with (
        pytest.raises(ZeroDivisionError),
        Watcher([Root(top)], quiet_ms=10, cap_ms=1000) as watcher,
    ):
        (top / "new").mkdir()
        (top / "new/a").touch()
        changed(watcher, top / "new/a")
        assert len(inotify_files()) > len(files)
        raise ZeroDivisionError
    assert set(threading.enumerate()) == threads
    becomes(lambda: inotify_files() == files)


def test_a_fault_of_a_caller_is_told_and_does_not_end_the_watch(top: Path, watch: Watch) -> None:
    faults = [ZeroDivisionError("of the hook")]

    def hook(_: Iterable[Path]) -> None:
        while faults:
            raise faults.pop()

    watcher = watch(ahead=hook)
    (top / "src/main.rs").write_text("1")
    told: frozenset[Path] = frozenset()
    with pytest.raises(ZeroDivisionError, match="of the hook"):
        while batch := watcher.next(PATIENCE_S):
            told |= batch.paths
    (top / "Cargo.toml").write_text("1")
    while top / "Cargo.toml" not in told and (batch := watcher.next(PATIENCE_S)):
        told |= batch.paths
    assert told == {top / "src/main.rs", top / "Cargo.toml"}


def test_polling_is_said_and_works(
    top: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch, shown: Any
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    monkeypatch.setenv("WATCHFILES_POLL_DELAY_MS", "20")
    watcher = watch()
    assert shown.texts("line") == [
        "files are looked at every 20 ms, not watched: WATCHFILES_FORCE_POLLING"
    ]
    (top / "src/new").mkdir()
    (top / "src/new/a.rs").write_text("1")
    told = watcher.next(PATIENCE_S)
    assert told
    assert top / "src/new/a.rs" in told.paths


@pytest.mark.parametrize(
    "said",
    [OSError("OS file watch limit reached. about ([])"), RuntimeError("Too many open files")],
)
def test_a_limit_of_the_system_is_told_with_the_command(
    top: Path, monkeypatch: pytest.MonkeyPatch, said: Exception
) -> None:
    from watchfiles import _rust_notify

    def refuse(*_: object) -> None:
        error = _rust_notify.WatchfilesRustInternalError
        raise said if isinstance(said, OSError) else error(str(said))

    monkeypatch.setattr(_rust_notify, "RustNotify", refuse)
    with pytest.raises(ToolMissing, match="3 folders cannot be watched") as told:
        Watcher([Root(top / "src")], quiet_ms=10, cap_ms=1000).__enter__()
    assert "sudo sysctl fs.inotify.max_user_watches=" in told.value.hint


def test_a_limit_reached_later_is_told_too(
    top: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = watch()

    def refuse(folders: list[str]) -> None:
        raise ToolMissing(f"{len(folders)} folders cannot be watched")

    monkeypatch.setattr(watchsource, "_open", refuse)
    (top / "src/new").mkdir()
    with pytest.raises(ToolMissing, match="4 folders"):
        watcher.next(PATIENCE_S)
    (top / "src/main.rs").write_text("still watched")
    changed(watcher, top / "src/main.rs")
