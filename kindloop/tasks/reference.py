"""The tasks as docs/REFERENCE.md has them; `python -m kindloop.tasks.reference` writes the page."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from invoke.parser.argument import Argument

from kindloop import report
from kindloop.errors import ConfigError
from kindloop.reference import Flag, TaskFacts, markdown
from kindloop.tasks import collection, steps
from kindloop.tasks._task import DevTask

__all__ = ["PAGE", "facts", "main"]

PAGE = Path("docs/REFERENCE.md")
"""The page, in a checkout."""
STAGE = "STAGE"
"""Stands for the stages of a kindloop.yaml in `build.<stage>`."""
KINDS = {bool: "switch", int: "whole number", float: "number", str: "text", list: "texts"}


def facts() -> list[TaskFacts]:
    """Every task in the order of `invoke --list`, whatever the stages of kindloop.yaml are."""
    root = collection()
    named = {name: root[name] for name in root.task_names if not name.startswith("build.")}
    named |= {f"build.{one.name}": one for one in steps.build_tasks(None, (STAGE,))}
    return [_facts(name, one) for name, one in sorted(named.items(), key=_order)]


def _order(named: tuple[str, Any]) -> tuple[bool, str]:
    return "." in named[0], named[0]


def _facts(name: str, one: DevTask[..., Any]) -> TaskFacts:
    flags = tuple(_flag(each, one) for each in one.get_arguments())
    text = inspect.cleandoc(one.__doc__ or "")
    return TaskFacts(name, text, flags, tuple(one.codes), tuple(one.document.split()))


def _flag(one: Argument, task: DevTask[..., Any]) -> Flag:
    kind = list if {one.attr_name, one.name} & set(task.iterable) else one.kind
    name = one.names[0]
    names = tuple(f"--{n}" if len(n) > 1 else f"-{n}" for n in one.names)
    if one.positional:
        word = name.upper()
        names = (f"{word}…" if kind is list else word,)
    elif kind is bool and one.default:
        names = (f"--no-{name}",)
    return Flag(names, KINDS[kind], _default(one, task), one.help or "")


def _default(one: Argument, task: DevTask[..., Any]) -> str:
    if one.positional and task.words not in (one.attr_name, one.name):
        return "required"
    if one.kind is bool:
        return "off"
    return f"`{one.default}`" if one.default not in (None, "", []) else "none"


def main() -> None:
    """Write the page of the checkout that is the current folder. Raises ConfigError elsewhere."""
    if not PAGE.parent.is_dir():
        raise ConfigError(f"there is no folder {PAGE.parent} here", hint="cd to the checkout")
    PAGE.write_text(markdown(facts()), encoding="utf-8")
    report.use(report.Plain())
    report.output(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
