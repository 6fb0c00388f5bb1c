"""When a batch is complete, what is no save, which folders are watched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kindloop import probes, watchroots
from kindloop.watching import Batch, Root, due_s, ignoring, limits_problem, rest_s
from kindloop.watchroots import Places, look, merged
from kindloop.watchsource import poll_ms, polls


def batches(events_s: Sequence[float], quiet_s: float = 0.01, cap_s: float = 1.0) -> list[float]:
    """When each batch would be complete if these were the moments of all events."""
    done: list[float] = []
    before: tuple[float, float] | None = None
    first_s: float | None = None
    last_s = 0.0
    for event_s in [*events_s, float("inf")]:
        if first_s is not None:
            rest = rest_s(first_s, last_s, quiet_s, before)
            if (due := due_s(first_s, last_s, rest, cap_s)) <= event_s:
                done.append(due)
                before, first_s = (last_s, rest), None
        first_s, last_s = (event_s if first_s is None else first_s), event_s
    return done


def test_a_single_event_waits_for_the_quiet_period_only() -> None:
    assert batches([5.0]) == [pytest.approx(5.01)]


def test_a_save_of_several_writes_is_one_batch() -> None:
    assert batches([0, 0.001, 0.004]) == [pytest.approx(0.004 + 0.014)]


def test_the_quiet_period_grows_while_events_keep_coming_up_to_its_end() -> None:
    assert rest_s(0, 0.02, 0.01) == pytest.approx(0.03)
    assert rest_s(0, 0.5, 0.01) == 0.05


def test_a_longer_setting_is_kept() -> None:
    assert rest_s(0, 0.5, 0.2) == 0.2


def test_a_storm_is_a_few_batches() -> None:
    assert len(batches([i * 0.004 for i in range(500)])) == 2


def test_a_storm_of_slow_writes_soon_rests_longer() -> None:
    assert len(batches([i * 0.02 for i in range(100)])) <= 5


def test_saves_one_after_another_are_no_storm() -> None:
    saves = [i * 0.06 for i in range(10)]
    assert batches(saves) == [pytest.approx(at + 0.01) for at in saves]


def test_a_batch_ends_at_the_cap_but_never_before_its_quiet_period() -> None:
    assert due_s(0, 0.99, 0.05, 1.0) == 1.0
    assert due_s(0, 0, 3.0, 1.0) == 3.0


def test_two_batches_become_one() -> None:
    a, b = Batch(frozenset({Path("/a")}), 1, 2), Batch(frozenset({Path("/b")}), 3, 4)
    assert a | b == Batch(frozenset({Path("/a"), Path("/b")}), 1, 4)


def repository(path: Path) -> Path:
    subprocess.run(["git", "init", "-q", path], check=True)
    return path


def test_temporary_files_of_editors_and_what_git_ignores_are_no_saves(tmp_path: Path) -> None:
    ignored = ignoring(repository(tmp_path), [tmp_path / "src"])
    (tmp_path / ".gitignore").write_text("*.log\n")
    names = ["a.rs", "a.log", ".a.rs.swp", "a.rs~", "4913", "__pycache__"]
    assert [n for n in names if not ignored(tmp_path / "src" / n)] == ["a.rs"]


def test_what_is_declared_counts_although_git_ignores_it(tmp_path: Path) -> None:
    (repository(tmp_path) / ".gitignore").write_text("*.log\n/made/\n")
    ignored = ignoring(tmp_path, [tmp_path / "src/wanted.log", tmp_path / "made/config"])
    assert not ignored(tmp_path / "src/wanted.log")
    assert not ignored(tmp_path / "made/config/a.yaml")
    assert ignored(tmp_path / "src/other.log")
    assert ignored(tmp_path / "made/other/a.yaml")


def test_a_root_covers_itself_and_its_content(tmp_path: Path) -> None:
    root = Root(Path("/r"))
    assert [p for p in ("/r", "/r/a", "/r/a/b", "/ra", "/") if root.covers(p)] == [
        "/r",
        "/r/a",
        "/r/a/b",
    ]
    flat = Root(Path("/r"), recursive=False)
    assert [p for p in ("/r", "/r/a", "/r/a/b") if flat.covers(p)] == ["/r", "/r/a"]


def test_roots_in_another_are_not_watched_twice() -> None:
    a, b, c = Root(Path("/a")), Root(Path("/a/b/c")), Root(Path("/ab"))
    file = Root(Path("/a/f"), recursive=False)
    flat = Root(Path("/a"), recursive=False)
    assert merged([b, file, c, a, a, flat]) == (a, c)
    assert merged([flat, b]) == (flat, b)


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def folders(root: Path, *roots: Root) -> list[str]:
    return sorted(os.path.relpath(path, root) for path in look(roots).folders)


def test_what_stages_skip_takes_no_watch(tmp_path: Path) -> None:
    tree(tmp_path, "c/src/a/b.rs", "c/Cargo.toml", "c/target/x/y", "c/.git/z/HEAD")
    assert folders(tmp_path, Root(tmp_path / "c")) == [".", "c", "c/src", "c/src/a"]


def test_a_file_is_watched_through_its_folder_and_a_missing_root_through_one_above(
    tmp_path: Path,
) -> None:
    tree(tmp_path, "a/x.toml", "b/c/d")
    roots = Root(tmp_path / "a/x.toml"), Root(tmp_path / "b/missing/deep/y")
    assert folders(tmp_path, *roots) == [".", "a", "b"]


def test_the_folders_between_the_roots_are_watched_as_they_may_be_moved(tmp_path: Path) -> None:
    tree(tmp_path, "app/c/src/a.rs", "top.yaml")
    roots = Root(tmp_path / "app/c/src"), Root(tmp_path / "top.yaml")
    assert folders(tmp_path, *roots) == [".", "app", "app/c", "app/c/src"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    tree(tmp_path, "src/a/b.rs")
    (tmp_path / "src/a/up").symlink_to(tmp_path / "src")
    (tmp_path / "src/self").symlink_to("self")
    assert folders(tmp_path, Root(tmp_path / "src")) == [".", "src", "src/a"]


def test_a_folder_with_two_names_is_watched_once_and_known_by_both(tmp_path: Path) -> None:
    tree(tmp_path, "one/shared/x", "two/y")
    (tmp_path / "two/shared").symlink_to(tmp_path / "one/shared")
    places = look([Root(tmp_path / "one"), Root(tmp_path / "two")])
    names = {str(tmp_path / "one/shared/x"), str(tmp_path / "two/shared/x")}
    assert len(places.folders) == 4
    assert any(set(places.known_as(name)) == names for name in names)


def test_a_link_to_a_file_elsewhere_is_watched_where_it_leads(tmp_path: Path) -> None:
    tree(tmp_path, "src/a.rs", "elsewhere/spec.yaml")
    link = tmp_path / "src/spec.yaml"
    link.symlink_to(tmp_path / "elsewhere/spec.yaml")
    for root in (tmp_path / "src", link):
        places = look([Root(root)])
        assert str(link) in places.known_as(str(tmp_path / "elsewhere/spec.yaml"))


def test_a_name_that_is_not_utf_8_is_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "src/a.rs")
    (tmp_path / "src" / os.fsdecode(b"\xff")).mkdir()
    assert folders(tmp_path, Root(tmp_path / "src")) == [".", "src"]


def test_no_roots_no_places() -> None:
    assert look([]) == Places({})


@pytest.mark.parametrize(
    ("limits", "taken", "says"),
    [
        (probes.Inotify(512, 10), (3, 9), "sudo sysctl fs.inotify.max_user_watches=524288"),
        (probes.Inotify(128, 1000), (128, 9), "sudo sysctl fs.inotify.max_user_instances=512"),
        (probes.Inotify(128, 1000), (127, 9), ""),
        (None, (0, 0), ""),
    ],
)
def test_limits_are_told_with_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: probes.Inotify | None,
    taken: tuple[int, int],
    says: str,
) -> None:
    tree(tmp_path, "a/b")
    monkeypatch.setattr(probes, "inotify", lambda: limits)
    monkeypatch.setattr(watchroots, "_taken", lambda: taken)
    problem = limits_problem([Root(tmp_path / "a")])
    assert bool(problem) == bool(says)
    assert says in problem


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", True), ("true", True), ("disabled", False), ("FALSE", False)]
)
def test_polling_is_watchfiles_own_setting(
    monkeypatch: pytest.MonkeyPatch, value: str, wanted: bool
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", value)
    monkeypatch.setenv("WATCHFILES_POLL_DELAY_MS", "50")
    assert polls() is wanted
    assert poll_ms() == 50
