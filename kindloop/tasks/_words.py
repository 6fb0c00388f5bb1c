"""Words at the end of a command line that may be left out: `image.save FILE [NAME…]`.

Invoke knows positional arguments, which must all be given, and flags, which are optional. Such a
parameter is positional for as many words as the command line has, and no more.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Any

from invoke.parser.argument import Argument

__all__ = ["Words", "words_of"]


class Words(Argument):
    """A positional argument that takes as many words as are `given`, one if it is no list.

    Invoke gives a positional argument the next word as long as its value is None.
    """

    def __init__(self, like: Argument, given: Sequence[str]) -> None:
        super().__init__(
            names=like.names, kind=like.kind, default=like.default, help=like.help,
            positional=True, attr_name=like.attr_name,
        )  # fmt: skip
        self.expected = len(given) if self.kind is list else min(len(given), 1)
        self.got: list[str] = []

    @property
    def value(self) -> Any:
        """None while words are to come; then the list of them, or the one, or the default."""
        if len(self.got) < self.expected:
            return None
        if self.kind is list:
            return list(self.got)
        return self.got[-1] if self.got else self.default

    @value.setter
    def value(self, word: str) -> None:
        """Take one word."""
        self.raw_value = word
        self.got.append(word)


def words_of(task: str, tasks: Collection[str], argv: Sequence[str] | None = None) -> list[str]:
    """The plain words that follow the task's name on the command line, up to the next task."""
    line = list(sys.argv if argv is None else argv)
    line = line[: line.index("--")] if "--" in line else line
    if task not in line:
        return []
    found = []
    for token in line[line.index(task) + 1 :]:
        if token in tasks:
            break
        if not token.startswith("-"):
            found.append(token)
    return found
