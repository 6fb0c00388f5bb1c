"""The host's side of the swap directory: artifacts, synced files, and the pointer to them.

Pods see the folder of their workload while it is written. So whatever bears its final name is
whole: it is made under a temporary name, known by the digest of what was really written, and
renamed. Callers hold the environment's lock: two processes never write at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kindloop import cluster, state
from kindloop.config import Config, Workload
from kindloop.errors import BuildFailed, KindloopError, Unhealthy
from kindloop.swapfiles.placing import (
    MINE,
    Copying,
    copy_artifact,
    copy_synced,
    digest_sources,
    digest_tree,
    is_intact,
    listing,
    remove,
    set_mode,
    tree_files,
    writing,
)
from kindloop.swapfiles.want import VERSION, Want, is_digest, remembered, to_go_back_to

__all__ = [
    "VERSION",
    "Copying",
    "Folder",
    "Placed",
    "Want",
    "digest_sources",
    "folder_of",
    "tree_files",
]

ATTEMPTS = 3
"""Copies of an artifact that changes meanwhile: after these, its writer is told to end first."""


@dataclass(frozen=True)
class Placed:
    """An artifact in the folder: its sha256 in hex, its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Folder:
    """The swap folder of one workload: bin/, trees/, current, want.json."""

    path: Path

    @property
    def bin(self) -> Path:
        """Artifacts by digest."""
        return self.path / "bin"

    @property
    def trees(self) -> Path:
        """Synced files, whole trees by digest."""
        return self.path / "trees"

    @property
    def history_file(self) -> Path:
        """Beside the folder, for this user alone: the pods need not see it."""
        return self.path.parent / f"{self.path.name}.history.json"

    def ensure(self) -> bool:
        """Make the folders, readable by every pod, and sweep what killed runs left behind.

        Returns whether the folder itself had to be made: pods that are older do not see it,
        they have mounted what was there before. One that is there stays.
        """
        with writing(self.path):
            made = not self.path.exists()
            for folder in (self.path.parent, self.path, self.bin, self.trees):
                folder.mkdir(exist_ok=True)
                set_mode(folder, 0o755)
        self._sweep()
        return made

    def want(self) -> Want | None:
        """What is published; None when nothing is, or nothing that can be read."""
        return Want.from_json(state.read_json(self.path / "want.json"))

    def has(self, digest: str) -> bool:
        """Whether the artifact is there; its content is not looked at."""
        path = self.bin / digest
        return is_digest(digest) and path.is_file() and not path.is_symlink()

    def copying(self, source: Path) -> Copying:
        """A copy of `source` under way, for `place_binary`. Raises OSError without the folder."""
        return Copying(source, self.bin)

    def place_binary(
        self, source: Path, digest: str = "", copying: Copying | None = None
    ) -> Placed:
        """Copy an artifact to its digest, mode 0755; one that is there already is verified.

        `digest` is what it had when it was built; then the supervisor alone verifies the copy,
        and a copy that was begun before is taken if the source is still as it was then. Raises
        BuildFailed when there is no such file or it keeps changing, ToolMissing when the disk is
        full.
        """
        begun = copying.taken() if copying and digest else None
        if begun is not None:
            with writing(self.bin):
                return self._named(begun, digest, begun.stat().st_size)
        for _attempt in range(ATTEMPTS):
            with writing(self.bin):
                placed = self._place_binary(source, digest)
            if placed is not None:
                return placed
        raise BuildFailed(
            f"{source} changes while it is copied",
            why="another build, or a strip or copy of its own, still writes it",
            hint="wait for it to end, then: invoke dev-rebuild",
        )

    def place_tree(self, files: Mapping[str, Path]) -> str:
        """Copy files to a tree of their own; `files` is source by path in the tree.

        Returns the digest of names, modes and content. Raises ConfigError for a source that
        cannot be read, ToolMissing when the disk is full.
        """
        digest = digest_sources(files)
        if digest_tree(self.trees / digest) == digest:
            return digest
        with writing(self.trees):
            made = Path(tempfile.mkdtemp(prefix=MINE, dir=self.trees))
            try:
                return self._fill_tree(made, files)
            finally:
                remove(made)

    def point(self, tree: str | None) -> None:
        """Let `current` be that tree; None takes it away. Raises Unhealthy without the tree."""
        link = self.path / "current"
        if tree is None:
            remove(link)
            return
        self._require_tree(tree)
        target = f"trees/{tree}"
        with writing(self.path):
            if link.is_symlink() and str(link.readlink()) == target:
                return
            if link.is_dir() and not link.is_symlink():
                remove(link)
            made = self.path / f"{MINE}current"
            remove(made)
            made.symlink_to(target)
            made.rename(link)

    def publish(self, want: Want) -> None:
        """Tell the pods what to run; the very last step of a swap.

        Raises Unhealthy when the artifact or the tree that it names is not there.
        """
        path = self.bin / want.digest
        if not self.has(want.digest) or path.stat().st_size != want.size:
            raise _not_kept(path)
        if want.tree is not None:
            self._require_tree(want.tree)
        history = remembered(want, self.history())
        with writing(self.path):
            state.write_json(self.path / "want.json", want.as_json(), 0o644)
            self._remember(history)

    def withdraw(self) -> None:
        """Publish nothing any more: pods that start run the binary of their image."""
        remove(self.path / "want.json")

    def history(self) -> list[Want]:
        """What was published last, newest first; their artifacts may be gone (see `has`)."""
        found = [Want.from_json(row) for row in self._rows()]
        known = [want for want in found if want is not None]
        published = self.want()  # a killed run may have published without remembering it
        if published is None or published in known:
            return known
        return remembered(published, known)

    def to_go_back_to(self) -> list[Want]:
        """What one can go back to by hand, newest first; what ran for a load test is not."""
        now = self.want()
        before = to_go_back_to(self.history(), now) if now else []
        return [want for want in before if self.has(want.digest)]

    def next_generation(self) -> int:
        """A generation that was never published: unix time in milliseconds, or one more."""
        last = [want.generation for want in self.history()]
        return max([time.time_ns() // 1_000_000, *[number + 1 for number in last]])

    def prune(self, keep: Collection[str]) -> None:
        """Remove artifacts and trees but those of `keep` (digests), the newest, and `current`.

        The one before the newest stays too: that is what one goes back to by hand.
        """
        history = self.history()
        now = self.want()
        # After a load test what runs now is the newest again, and goes back to the one behind it.
        count = 2 if now and now.for_load else 1
        before = to_go_back_to(history, now)[:count]
        kept = set(keep)
        for want in (now, *before):
            kept |= {want.digest, want.tree or ""} if want else set()
        # Going back to an artifact takes the files that it ran with.
        kept |= {want.tree or "" for want in history if want.digest in kept}
        with contextlib.suppress(OSError):
            kept.add((self.path / "current").readlink().name)
        for folder in (self.bin, self.trees):
            for path in listing(folder):
                if path.name not in kept and not path.name.startswith(MINE):
                    remove(path)
        self._sweep()

    def _place_binary(self, source: Path, digest: str) -> Placed | None:
        """One attempt; None when the source changed meanwhile."""
        handle, name = tempfile.mkstemp(prefix=MINE, dir=self.bin)
        made = Path(name)
        try:
            with os.fdopen(handle, "w+b", buffering=0) as copy:
                copied = copy_artifact(source, copy, digest)
                os.fchmod(handle, 0o755)
            return self._named(made, *copied) if copied else None
        finally:
            made.unlink(missing_ok=True)

    def _named(self, made: Path, digest: str, size: int) -> Placed:
        """Give a copy its name, unless what bears it is intact."""
        target = self.bin / digest
        if not is_intact(target, digest, size):
            if target.is_dir() and not target.is_symlink():
                remove(target)
            made.rename(target)
        return Placed(digest, size)

    def _fill_tree(self, made: Path, files: Mapping[str, Path]) -> str:
        made.chmod(0o755)
        for name, source in files.items():
            target = made / name
            for folder in reversed(target.relative_to(made).parents[:-1]):
                (made / folder).mkdir(exist_ok=True)
                set_mode(made / folder, 0o755)
            copy_synced(source, target)
        # What was copied counts: a source may have changed since it was digested.
        digest = digest_tree(made)
        if digest is None:
            raise OSError(errno.EIO, "it does not keep what is written", str(made))
        target = self.trees / digest
        if digest_tree(target) != digest:
            remove(target)
            made.rename(target)
        return digest

    def _remember(self, history: list[Want]) -> None:
        times = {row.get("generation"): row.get("published_s") for row in self._rows()}
        rows = [
            {**want.as_json(), "published_s": times.get(want.generation) or time.time()}
            for want in history
        ]
        # Not durable: what is published is known without it.
        document = {"version": VERSION, "wants": rows}
        state.write_json(self.history_file, document, 0o600, durable=False)

    def _rows(self) -> list[dict[str, Any]]:
        document = state.read_json(self.history_file)
        rows = document.get("wants") if isinstance(document, dict) else None
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def _require_tree(self, tree: str) -> None:
        path = self.trees / tree
        if not is_digest(tree) or not path.is_dir():
            raise _not_kept(path)

    def _sweep(self) -> None:
        left = [p for folder in (self.path, self.bin, self.trees) for p in listing(folder)]
        beside = self.history_file.parent.glob(f".{self.history_file.name}.*")
        for path in (*left, *beside):
            if path.name.startswith(".") and not path.name.startswith(MINE):
                remove(path)


def folder_of(config: Config, workload: Workload) -> Folder:
    """The swap folder of a workload on this machine."""
    return Folder(cluster.environment(config).swap / workload.name)


def _not_kept(path: Path) -> KindloopError:
    return Unhealthy(
        f"{path} is not there, or not whole",
        why="only what runs, what ran well last and the newest are kept; or it was removed by hand",
        hint="invoke dev-rebuild",
    )
