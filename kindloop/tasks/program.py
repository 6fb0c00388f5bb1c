"""The command `kindloop`: the same tasks, without a tasks.py.

kindloop.yaml is looked for from the current folder upwards, as ever. A project's own tasks are in
its tasks.py, which `invoke` reads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from invoke.program import Program

import kindloop
from kindloop import report
from kindloop.clusterfacts import Environment
from kindloop.tasks import collection, project
from kindloop.tasks._task import hush_unread

__all__ = ["environment_names", "main", "program"]


def program() -> Program:
    """The command line of `kindloop`: the collection, and `init`, with which a project begins."""
    tasks = collection()
    tasks.add_task(project.config_init, name="init")
    return Program(
        name="kindloop",
        binary="kindloop",
        binary_names=["kindloop"],
        namespace=tasks,
        version=kindloop.__version__,
    )


def environment_names(argv: Sequence[str]) -> list[str]:
    """What a shell may complete `kindloop dev-down NA` to; Invoke itself knows tasks and flags.

    `argv` is how the completion scripts ask: `kindloop --complete -- kindloop dev-down NA`.
    """
    words = " ".join(argv[argv.index("--") + 1 :]).split() if "--complete" in argv else []
    if not {"dev-stop", "dev-down"} & set(words[-2:]) or words[-1].startswith("-"):
        return []
    return Environment.names()


def main() -> None:
    """Run what the command line says; ends the process with its exit code."""
    report.call_program("kindloop")
    try:
        for name in environment_names(sys.argv):
            report.Plain().show(report.Event("output", "", name))
        program().run()
    except BrokenPipeError:
        if not hush_unread():
            raise
        sys.exit(1)
