"""Another project's first files: looked up with cargo, drafted, written all or none.

`draft_for` looks and decides, `write` acts.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kindloop._yaml import display
from kindloop.errors import ConfigError, KindloopError
from kindloop.loading import FILE_NAME
from kindloop.scaffold.clues import Clue, Clues, collect
from kindloop.scaffold.drafting import (
    DEFAULT_HEALTH,
    DEFAULT_PORT,
    Draft,
    Service,
    Wishes,
    draft_all,
)
from kindloop.scaffold.facts import Binary, Project, choose, inspect, read

__all__ = [
    "DEFAULT_HEALTH",
    "DEFAULT_PORT",
    "Binary",
    "Clue",
    "Clues",
    "Draft",
    "Project",
    "Service",
    "Wishes",
    "choose",
    "collect",
    "draft_all",
    "draft_for",
    "inspect",
    "read",
    "write",
]

TASKS = "from kindloop.tasks"
IGNORED = Path(".kindloop", ".gitignore")
"""Makes git leave logs and build state alone, whatever the project's own .gitignore says."""


def draft_for(
    here: Path, wishes: Wishes, *, root: str = "", binary: str = ""
) -> tuple[Path, Draft]:
    """Where the files of the project that `here` is in belong (absolute), and the files.

    That is beside the workspace's Cargo.toml; with `root`, the workspace's folder, it is `here`.
    `binary` is the wanted one, or several with commas between. Raises ConfigError, and
    ToolMissing without cargo.
    """
    given = here / root
    if not given.is_dir():
        raise ConfigError(f"--root {root} is no folder", hint="invoke config.init --root FOLDER")
    if os.path.lexists(here / FILE_NAME):
        raise _occupied(here, [FILE_NAME])
    project = inspect(given)
    chosen = choose(project, binary)
    place = here if root else project.root
    if _has_tasks(place / "tasks.py"):
        wishes = replace(wishes, tasks=False)
    services = [Service(one, project.inputs(one), collect(project, one)) for one in chosen]
    where = os.path.relpath(project.root, place)
    return place, draft_all(services, wishes, root=where, title=project.root.name)


def write(place: Path, made: Draft) -> None:
    """Write the draft's files below `place`, all or none; what is there is never touched.

    Raises ConfigError that lists what is there, KindloopError when a file cannot be written.
    """
    there = sorted(name for name in made.files if os.path.lexists(place / name))
    if there:
        raise _occupied(place, there)
    done: list[Path] = []
    try:
        for name, text in made.files.items():
            _create(place / name, text, done)
        if not os.path.lexists(place / IGNORED):
            _create(place / IGNORED, "*\n", done)
    except OSError as exc:
        _undo(done)
        raise KindloopError(
            f"{display(Path(exc.filename or place))} cannot be written: {exc.strerror}",
            why="nothing was written: it is all files or none",
            hint=f"ls -ld {shlex.quote(display(place))}, then the same command again",
        ) from exc
    except BaseException:
        _undo(done)
        raise


def _create(path: Path, text: str, done: list[Path]) -> None:
    """Write a new file, and the folders above it that are missing; each is noted in `done`."""
    for folder in reversed([p for p in path.parents if not p.exists()]):
        folder.mkdir()
        done.append(folder)
    with path.open("x", encoding="utf-8") as file:
        done.append(path)
        file.write(text)


def _undo(done: Iterable[Path]) -> None:
    for path in reversed(list(done)):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def _has_tasks(path: Path) -> bool:
    """Whether it is a tasks.py that has kindloop's tasks already."""
    return path.is_file() and TASKS in path.read_text(encoding="utf-8", errors="replace")


def _occupied(place: Path, there: list[str]) -> ConfigError:
    if FILE_NAME in there:
        hint = "invoke config.check (reads the one that is there)"
    else:
        words = ["invoke config.init"]
        words += ["--no-tasks"] if "tasks.py" in there else []
        words += ["--into kindloop"] if set(there) - {"tasks.py"} else []
        hint = " ".join(words)
        if "tasks.py" in there:
            hint += f"; add to tasks.py: {TASKS} import collection; ns = collection()"
    return ConfigError(
        f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already in {place}",
        why="config.init writes a project's first files, all or none, and never overwrites one",
        hint=hint,
    )
