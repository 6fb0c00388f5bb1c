"""What a stage may overwrite, and what it must not leave behind.

Files that git tracks hold somebody's work: a stage does not run over uncommitted edits that
it did not make itself. A run that did not end well takes its other outputs with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kindloop import fingerprint, tools
from kindloop.config import Stage
from kindloop.errors import CannotTell, NotOurs, ToolFailed
from kindloop.stage_plan import Observed
from kindloop.stage_state import Site, digest_files

__all__ = [
    "Before",
    "date_anew",
    "discard_unfinished",
    "look",
    "output_files",
    "refuse_foreign_edits",
]

Signature = tuple[int, int, int, int]
"""Times of change in nanoseconds, size, inode."""
QUIET_GIT: Mapping[str, str] = {"GIT_OPTIONAL_LOCKS": "0"}
"""Keeps git from writing its index: the user may be committing at this moment."""


@dataclass(frozen=True)
class Before:
    """The output files before a run, by absolute path."""

    signatures: Mapping[str, Signature]
    tracked: frozenset[str]


def refuse_foreign_edits(site: Site, stage: Stage) -> None:
    """Raise NotOurs when the stage would overwrite uncommitted edits in tracked files.

    What its own last run wrote, under any profile, is no edit. Outside of a git work tree there
    is nothing to compare with. Raises CannotTell when git does not answer.
    """
    edited = [name for name in _edited(site, stage) if not _is_own_work(site, stage, name)]
    if edited:
        raise NotOurs(
            f"stage {stage.name} would overwrite uncommitted edits",
            why="the files are generated; edits belong into the files that you own",
            hint="move the edit into a controller, git commit it or git stash it, "
            "then: invoke build",
            evidence=edited,
        )


def date_anew(site: Site, stage: Stage, observed: Observed) -> None:
    """Give inputs that changed but look old the date of today.

    Cargo builds again what is newer than its last build; a file that came back by `mv`, `cp -p`
    or `rsync -a` is not, and would be passed over in silence.
    """
    last = observed.left or site.record(stage.name)
    if last is None:
        return
    last_s = site.last_run_s(stage.name)
    for name, digest in observed.inputs.items():
        path = site.root / name
        if last.inputs.get(name) != digest and path.stat().st_mtime <= last_s:
            os.utime(path)


def output_files(site: Site, stage: Stage) -> dict[str, str]:
    """Digest of every output file outside of the target folder, by path relative to app.root."""
    found: dict[str, str] = {}
    for path in _in_tree(site, stage):
        found |= digest_files(fingerprint.find(site.root, path) or (), site.digests)
    return found


def look(site: Site, stage: Stage) -> Before:
    """What the outputs are like, to tell afterwards what a run has touched."""
    names = _git(site, stage, "ls-files", "-z")
    tracked = frozenset(os.path.normpath(site.root / name) for name in names)
    return Before(_signatures(site, stage), tracked)


def discard_unfinished(site: Site, stage: Stage, before: Before) -> None:
    """Remove the output files that changed since `before`; git still has those it tracks."""
    for path, signature in _signatures(site, stage).items():
        if before.signatures.get(path) != signature and path not in before.tracked:
            Path(path).unlink(missing_ok=True)


def _signatures(site: Site, stage: Stage) -> dict[str, Signature]:
    found: dict[str, Signature] = {}
    for output in stage.outputs:
        path = site.path(stage, output)
        for _, file, seen in fingerprint.find(path.parent, path.name) or ():
            found[file] = (seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino)
    return found


def _in_tree(site: Site, stage: Stage) -> list[str]:
    """Outputs outside of the target folder, relative to app.root."""
    paths = [site.path(stage, output) for output in stage.outputs]
    return [os.path.relpath(p, site.root) for p in paths if not p.is_relative_to(site.target_dir)]


def _edited(site: Site, stage: Stage) -> list[str]:
    """Tracked output files with uncommitted edits, relative to app.root."""
    words = ("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames")
    top = _work_tree(site.root) or site.root
    lines = _git(site, stage, *words)
    return [os.path.relpath(top / line[3:], site.root) for line in lines]


def _is_own_work(site: Site, stage: Stage, name: str) -> bool:
    path = os.path.normpath(site.root / name)
    try:
        digest = site.digests.of(path)
    except FileNotFoundError:
        return True  # nothing is there that could be lost
    left = site.left(stage.name)
    known = [record.files.get(name) for record in site.records(stage.name)]
    return digest in known or (left is not None and left.files.get(name) == digest)


def _git(site: Site, stage: Stage, *words: str) -> Iterator[str]:
    """The NUL-separated answers of git about the outputs outside of the target folder."""
    top = _work_tree(site.root)
    inside = [p for p in _in_tree(site, stage) if top and (site.root / p).is_relative_to(top)]
    if not inside:
        return
    paths = [f":(literal){path}" for path in inside]
    try:
        said = tools.run("git", *words, "--", *paths, cwd=site.root, env=QUIET_GIT, quiet=True)
    except ToolFailed as exc:
        raise CannotTell(
            "git does not say which generated files have edits",
            evidence=exc.evidence,
            hint=f"git -C {site.root} status",
        ) from exc
    yield from (text for text in said.stdout.split("\0") if text)


def _work_tree(folder: Path) -> Path | None:
    return next((at for at in (folder, *folder.parents) if (at / ".git").exists()), None)
