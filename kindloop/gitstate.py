"""What git is doing in a work tree, and what it ignores, told by its files: no process is started.

A watch asks this at every save, so it must cost next to nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pathspec import GitIgnoreSpec

__all__ = ["Ignored", "busy", "locked", "work_tree"]

STALE_LOCK_S = 10.0
"""Seconds. An older index.lock belongs to a git that was killed, or that waits for a commit
message: neither is changing files."""
FRESH_S = 0.02
"""Seconds in which rules are not looked at again: a branch switch asks for thousands of paths."""
_UNDER_WAY = (
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
)


def work_tree(folder: Path) -> Path | None:
    """The top of the work tree that `folder` is in; None outside of one."""
    return next((at for at in (folder, *folder.parents) if (at / ".git").exists()), None)


def busy(root: Path) -> str:
    """What git has begun and not ended: "rebase", "merge", "bisect" and such, or ""."""
    git = _git_dir(root)
    return next((word for name, word in _UNDER_WAY if git and (git / name).exists()), "")


def locked(root: Path) -> bool:
    """Whether git is writing the index right now: it does from first to last of a checkout."""
    git = _git_dir(root)
    if git is None:
        return False
    try:
        return abs(time.time() - (git / "index.lock").stat().st_mtime) < STALE_LOCK_S
    except OSError:
        return False


class Ignored:
    """Answers whether git ignores a path; changed rules count within 20 ms.

    Knows `.gitignore` of every folder and `.git/info/exclude`, not a user's global file. Not for
    several threads at once.
    """

    def __init__(self, folder: Path) -> None:
        top = work_tree(folder)
        self._top = str(top) if top else ""
        self._rules: dict[str, tuple[tuple[int, int], GitIgnoreSpec]] = {}
        self._folders: dict[str, bool] = {}
        self._looked_s: dict[str, float] = {}

    def __call__(self, path: Path) -> bool:
        """Whether git ignores `path` (absolute), by its own name or a folder's above it."""
        text = str(path)
        if not self._top or not text.startswith(f"{self._top}/"):
            return False
        return self._under(text.rpartition("/")[0]) or self._matches(text, "")

    def _under(self, folder: str) -> bool:
        """Whether the folder, or one above, is ignored: then nothing below can come back."""
        if time.monotonic() - self._looked_s.get(folder, 0.0) < FRESH_S:
            return self._folders.get(folder, False)
        above = folder != self._top and self._under(folder.rpartition("/")[0])
        self._read_rules(folder)
        self._folders[folder] = above or (folder != self._top and self._matches(folder, "/"))
        self._looked_s[folder] = time.monotonic()
        return self._folders[folder]

    def _matches(self, path: str, end: str) -> bool:
        """What the nearest rule says; those of deeper folders come first."""
        folder = path
        while folder != self._top:
            folder = folder.rpartition("/")[0]
            if folder in self._rules:
                said = self._rules[folder][1].check_file(path[len(folder) + 1 :] + end).include
                if said is not None:
                    return said
        return False

    def _read_rules(self, folder: str) -> None:
        """Read the rules of a folder if they changed."""
        files = [Path(folder, ".gitignore")]
        git = _git_dir(Path(folder)) if folder == self._top else None
        if git:
            files.append(_common_dir(git) / "info" / "exclude")
        signature = (_changed_ns(files[0]), _changed_ns(files[-1]))
        if self._rules[folder][0] == signature if folder in self._rules else signature == (0, 0):
            return
        # The last rule that matches counts: those of the folder stand over the general ones.
        lines = [line for file in reversed(files) for line in _read(file).splitlines()]
        self._rules[folder] = (signature, GitIgnoreSpec.from_lines(lines))
        self._looked_s.clear()


def _git_dir(folder: Path) -> Path | None:
    """The folder with HEAD and the index of a work tree; a linked one has a file that names it."""
    top = work_tree(folder)
    if top is None:
        return None
    git = top / ".git"
    if git.is_dir():
        return git
    named = _read(git).removeprefix("gitdir:").strip()
    return Path(os.path.normpath(top / named)) if named else None


def _common_dir(git: Path) -> Path:
    """The folder with what all work trees of a repository share."""
    return Path(os.path.normpath(git / (_read(git / "commondir") or ".")))


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
