"""The command `kindloop`: the same tasks, without a tasks.py.

kindloop.yaml is looked for from the current folder upwards, as ever. A project's own tasks are in
its tasks.py, which `invoke` reads.
"""

from __future__ import annotations

import os
import sys

from invoke.program import Program

import kindloop
from kindloop import report
from kindloop.tasks import collection, project

__all__ = ["main", "program"]


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


def main() -> None:
    """Run what the command line says; ends the process with its exit code."""
    report.call_program("kindloop")
    try:
        program().run()
    except BrokenPipeError:
        # Who read it has seen enough, such as `head`; at the end Python would write once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
