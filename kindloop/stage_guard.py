"""What a stage may overwrite, and what it must not leave behind.

Files that git tracks hold somebody's work: a stage does not run over uncommitted edits that
it did not make itself. A run that did not end well takes its other outputs with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from kindloop import fingerprint, report, tools
from kindloop.config import Stage
from kindloop.errors import CannotTell, NotOurs, ToolFailed
from kindloop.stage_plan import Observed
from kindloop.stage_site import Site
from kindloop.stage_state import tree_files

__all__ = [
    "Before",
    "date_anew",
    "discard_unfinished",
    "look",
    "refuse_foreign_edits",
]

Signature = tuple[int, int, int, int]
"""Times of change in nanoseconds, size, inode."""
Before = Mapping[str, Signature]
"""The output files before a run, by absolute path."""
QUIET_GIT: Mapping[str, str] = {"GIT_OPTIONAL_LOCKS": "0"}
"""Keeps git from writing its index: the user may be committing at this moment."""


def refuse_foreign_edits(site: Site, stage: Stage) -> None:
    """Raise NotOurs when the stage would overwrite uncommitted edits in tracked files.

    What its own last run wrote, under any profile, is no edit. Outside of a git work tree there
    is nothing to compare with. Raises CannotTell when git does not answer.
    """
    foreign = _foreign(site, stage)
    # git takes ten milliseconds to answer: it is asked about what is not known already.
    edited = [name for name in _edited(site, stage) if name in foreign] if foreign else []
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
    began_s = last.started_s or float("inf")
    for name, digest in observed.inputs.items():
        path = site.root / name
        # An edit during the last run is newer than it for cargo too. It keeps its date: an
        # editor takes a new one for another's edit.
        if last.inputs.get(name) != digest and path.stat().st_mtime <= began_s:
            os.utime(path)


def look(site: Site, stage: Stage) -> Before:
    """What the outputs are like, to tell afterwards what a run has touched."""
    found: dict[str, Signature] = {}
    for output in stage.outputs:
        path = site.path(stage, output)
        for _, file, seen in fingerprint.find(path.parent, path.name) or ():
            found[file] = (seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino)
    return found


def discard_unfinished(site: Site, stage: Stage, before: Before) -> None:
    """Remove the output files that changed since `before`; git still has those it tracks."""
    changed = [path for path, seen in look(site, stage).items() if before.get(path) != seen]
    tracked = _tracked(site, stage) if changed else frozenset()
    for path in changed:
        if path not in tracked:
            Path(path).unlink(missing_ok=True)


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


def _foreign(site: Site, stage: Stage) -> set[str]:
    """Output files that are not as a run of the stage left them, relative to app.root."""
    left = site.left(stage.name)
    known = [record.files for record in site.records(stage.name)]
    known += [left.files] if left else []
    return {
        name
        for name, digest in tree_files(site, stage).items()
        if not any(files.get(name) == digest for files in known)
    }


def _tracked(site: Site, stage: Stage) -> frozenset[str]:
    """Output files that git has, absolute; all that could be when git does not answer."""
    try:
        names = list(_git(site, stage, "ls-files", "-z"))
    except CannotTell as exc:
        report.warn(f"{exc.message}: what stage {stage.name} has written there stays")
        names = list(tree_files(site, stage))
    return frozenset(os.path.normpath(site.root / name) for name in names)


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
