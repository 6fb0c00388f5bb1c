"""The typed `@task` of this library: errors become one message and an exit code."""

from __future__ import annotations

import inspect
import os
import select
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from types import FrameType, MappingProxyType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task
from invoke.tasks import task as invoke_task

from kindloop import loading, report, secrecy
from kindloop.config import Config
from kindloop.errors import Interrupted, KindloopError
from kindloop.tasks._words import Words, words_of

__all__ = ["PLAIN", "DevTask", "hush_unread", "load", "show", "task"]

UNREAD = "error: nobody reads the output any more"
PLAIN = "lines, also where a screen could be shown"
"""What the flag --plain means."""
COMMON: Mapping[str, str] = MappingProxyType(
    {
        "json": "print one JSON document on standard output, all else on standard error",
        "verbose": "show every command as it is run",
        "workload": "take this workload; without it, all",
    }
)
"""What a flag of this name means, where its task says nothing else."""

P = ParamSpec("P")
R = TypeVar("R")


class DevTask(Task, Generic[P, R]):  # type: ignore[type-arg]  # Task is generic in its stubs only
    """A task that is equal to itself only, and turns our errors into Invoke's `Exit`.

    Invoke calls two tasks equal when name and code agree, and then silently skips the second:
    tasks made by one factory would run once.
    """

    words = ""
    """Parameter that gets the plain words at the end of the command line; see `_words`."""
    name_in_full = ""
    """As it is called: with the collections that it is in. Set where those are known."""
    all_names: Collection[str] = ()
    """How every task is called: such a word begins that task. Set with `name_in_full`."""
    flags: Mapping[str, str] = MappingProxyType({})
    """What each parameter means, by its name."""
    codes: Collection[int] = ()
    """Exit codes with which it can end beside those of every task; see `reference.ALWAYS`."""
    document: str = ""
    """Name of what it prints with --json, one of `documents.DOCUMENTS`; several with a space."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """What Invoke asks for; the parameter `words` takes what this command line has for it."""
        self.help = dict(self.flags)  # Invoke takes each text out when it has shown it
        found = super().get_arguments(ignore_unknown_help)
        required = sum(argument.positional for argument in found)
        given = words_of(self.name_in_full, self.all_names)[required:]
        return [Words(a, given) if a.name == self.words else a for a in found]

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
        secrecy.learn()
        report.begin()
        try:
            return super().__call__(*args, **kwargs)
        except KindloopError as exc:
            hush_unread()
            self._tell(exc, kwargs)
            raise Exit(report.spoken(report.masked(str(exc))), exc.exit_code) from exc
        except BrokenPipeError as exc:
            if not hush_unread():
                raise
            raise Exit(UNREAD, Interrupted.exit_code) from exc
        except KeyboardInterrupt as exc:
            text = "interrupted; the same command again goes on from here"
            self._tell(Interrupted(text), kwargs)
            raise Exit(text, Interrupted.exit_code) from exc

    def _tell(self, error: KindloopError, given: Mapping[str, Any]) -> None:
        """Tell programs, where --json was given, in the form in which they read the rest."""
        if not given.get("json"):
            return
        lines = self.document.startswith("event") and not given.get("dry_run")
        if lines and not isinstance(report.current(), report.JsonLines):
            show(events=True)  # it failed before it came to choose
        report.error(error.as_json(), in_line=self.document == "line")


def task(
    name: str,
    *,
    default: bool = False,
    word: str = "",
    words: str = "",
    flags: Mapping[str, str] = MappingProxyType({}),
    codes: Collection[int] = (),
    document: str = "",
) -> Callable[[Callable[Concatenate[Context, P], R]], DevTask[P, R]]:
    """Make a function a task called `name`; what has no default is given without a flag.

    The parameter named by `word` (a text) or `words` (a list) may be given without one as well.
    `flags` has the meaning of each parameter that is not in `COMMON`; `codes` and `document` as in
    `DevTask`. --help and docs/REFERENCE.md are made of them.
    """

    def decorate(body: Callable[Concatenate[Context, P], R]) -> DevTask[P, R]:
        many = [words] if words else []
        made = invoke_task(body, name=name, klass=DevTask, default=default, iterable=many)
        found = cast("DevTask[P, R]", made)
        found.words = word or words
        known = [one for one in inspect.signature(body).parameters if one in COMMON]
        found.flags = {**{one: COMMON[one] for one in known}, **flags}
        found.codes, found.document = codes, document
        return found

    return decorate


def load(
    *,
    verbose: bool = False,
    json: bool = False,
    events: bool = False,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Config:
    """Choose how to show things, then read kindloop.yaml.

    `settings` are variables that come before those of the environment.
    """
    show(verbose=verbose, json=json, events=events)
    return loading.load(env={**os.environ, **settings})


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


def hush_unread() -> bool:
    """Whether standard output is a pipe that nobody reads, such as of `head`; it is null then.

    What is still in its buffer would be written at the end, and Python would complain of it.
    """
    try:
        fd = sys.stdout.fileno()
        looking = select.poll()
        looking.register(fd, 0)
        unread = any(said & select.POLLERR for _, said in looking.poll(0))
    except (OSError, ValueError):  # a test's stream, or a closed one
        return False
    if unread:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)
    return unread
