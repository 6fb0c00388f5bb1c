"""What git is doing, and what it ignores, with a real git beside it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop.gitstate import STALE_LOCK_S, Ignored, busy, locked, work_tree

ENV = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_EDITOR": "true",
}


def git(where: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        ["git", *words], cwd=where, env=ENV, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Branches `main` and `other`, which have another content of `file`."""
    root = tmp_path / "repository"
    git(tmp_path, "init", "-q", "-b", "main", str(root))
    for name in ("base", "main"):
        (root / "file").write_text(name)
        git(root, "add", "file")
        git(root, "commit", "-q", "-m", name)
    git(root, "checkout", "-q", "-b", "other", "HEAD~1")
    (root / "file").write_text("other")
    git(root, "commit", "-q", "-a", "-m", "other")
    git(root, "checkout", "-q", "main")
    return root


def test_outside_of_a_work_tree_nothing_is_said(tmp_path: Path) -> None:
    assert work_tree(tmp_path) is None
    assert (busy(tmp_path), locked(tmp_path)) == ("", False)
    assert not Ignored(tmp_path)(tmp_path / "a")


def test_a_quiet_work_tree(repository: Path) -> None:
    (repository / "deep/er").mkdir(parents=True)
    assert busy(repository) == ""
    assert not locked(repository)
    assert work_tree(repository / "deep/er") == repository


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("rebase", "other"), 1, "rebase"),
        (("rebase", "--apply", "other"), 1, "rebase"),
        (("merge", "other"), 1, "merge"),
        (("cherry-pick", "other"), 1, "cherry-pick"),
        (("bisect", "start"), 0, "bisect"),
    ],
)
def test_what_is_under_way_is_named_until_it_is_over(
    repository: Path, words: tuple[str, ...], code: int, word: str
) -> None:
    git(repository, *words, code=code)
    assert busy(repository) == word
    git(repository, word, "reset" if word == "bisect" else "--abort")
    assert busy(repository) == ""


def test_a_linked_work_tree_has_a_state_of_its_own(repository: Path) -> None:
    linked = repository.parent / "linked"
    git(repository, "worktree", "add", "-q", str(linked), "other")
    git(linked, "rebase", "main", code=1)
    assert busy(linked) == "rebase"
    assert busy(repository) == ""
    git(linked, "rebase", "--abort")
    assert busy(linked) == ""


def test_the_lock_of_the_index_counts_while_it_is_fresh(repository: Path) -> None:
    lock = repository / ".git/index.lock"
    lock.touch()
    assert locked(repository)
    old = time.time() - STALE_LOCK_S - 1
    os.utime(lock, (old, old))
    assert not locked(repository)


def test_git_agrees_on_what_is_ignored(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.log\n!keep.log\n/build/\nout*/**/x\n#no\n*.tmp\n")
    (repository / ".git/info/exclude").write_text("secret\n!b.tmp\n")
    (repository / "sub/deep").mkdir(parents=True)
    (repository / "sub/.gitignore").write_text("!a.log\n/local\ndeep/*.rs\n!deep/b.rs\n")
    names = [
        "a.log", "keep.log", "build/a", "build/deep/keep.log", "sub/build/a", "sub/a.log", "#no",
        "sub/b.log", "sub/local", "sub/deep/local", "sub/deep/a.rs", "sub/deep/b.rs", "out1/a/x",
        "out/x", "secret", "sub/secret", "file", "a.rs", "b.tmp", "sub",
    ]  # fmt: skip
    said = git(repository, "check-ignore", "--no-index", *names).splitlines()
    ignored = Ignored(repository / "sub")
    assert [name for name in names if ignored(repository / name)] == said
    assert 8 < len(said) < len(names)


def test_changed_rules_hold_soon(
    repository: Path, becomes: Callable[[Callable[[], bool]], bool]
) -> None:
    ignored, path = Ignored(repository), repository / "sub/a/b"
    assert not ignored(path)
    (repository / ".gitignore").write_text("sub/\n")
    assert becomes(lambda: ignored(path))
    (repository / ".gitignore").unlink()
    assert becomes(lambda: not ignored(path))


def test_what_lies_elsewhere_is_not_ignored(repository: Path) -> None:
    (repository / ".gitignore").write_text("*\n")
    ignored = Ignored(repository)
    assert not ignored(repository.parent / "a")
    assert not ignored(repository)
