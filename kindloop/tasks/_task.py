"""The typed `@task` of this library: errors become one message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task
from invoke.tasks import task as invoke_task

from kindloop import loading, report
from kindloop.config import Config
from kindloop.errors import Interrupted, KindloopError

__all__ = ["DevTask", "load", "show", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class DevTask(Task, Generic[P, R]):  # type: ignore[type-arg]  # Task is generic in its stubs only
    """A task that is equal to itself only, and turns our errors into Invoke's `Exit`.

    Invoke calls two tasks equal when name and code agree, and then silently skips the second:
    tasks made by one factory would run once.
    """

    def __eq__(self, other: object) -> bool:
        """Whether `other` wraps the same function object."""
        return isinstance(other, DevTask) and self.body is other.body

    def __hash__(self) -> int:
        """Hash of the function object."""
        return id(self.body)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; a failure of ours ends in its message and exit code."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            return super().__call__(*args, **kwargs)
        except KindloopError as exc:
            raise Exit(str(exc), exc.exit_code) from exc
        except KeyboardInterrupt as exc:
            text = "interrupted; the same command again goes on from here"
            raise Exit(text, Interrupted.exit_code) from exc


def task(
    name: str, *, default: bool = False
) -> Callable[[Callable[Concatenate[Context, P], R]], DevTask[P, R]]:
    """Make a function a task called `name`; what has no default is given without a flag."""

    def decorate(body: Callable[Concatenate[Context, P], R]) -> DevTask[P, R]:
        made = invoke_task(body, name=name, klass=DevTask, default=default)
        return cast("DevTask[P, R]", made)

    return decorate


def load(*, verbose: bool = False, json: bool = False, events: bool = False) -> Config:
    """Choose how to show things, then read kindloop.yaml."""
    show(verbose=verbose, json=json, events=events)
    return loading.load()


def show(*, verbose: bool = False, json: bool = False, events: bool = False) -> None:
    """Choose the renderer.

    With `json`, standard output is the document's alone; with `events`, it is events as JSON,
    one a line.
    """
    verbosity = int(verbose or os.environ.get("KINDLOOP_VERBOSE", "") not in ("", "0"))
    renderer = report.JsonLines(verbosity=verbosity) if events else None
    report.use(renderer or report.Plain(sys.stderr if json else None, verbosity=verbosity))


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(f"ended by {signal.Signals(number).name}")
