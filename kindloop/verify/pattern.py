"""A text that matches a simple regular expression, for schemas with `pattern`.

Known: literals, escapes, classes, groups (their first alternative) and quantifiers. Whether the
text really matches is for the caller to ask the regular expression engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["matching"]

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_ZERO_WIDTH = "bBAZ"


def matching(pattern: str, fits: Callable[[str], bool] = bool) -> str | None:
    """A text in which `pattern` is found and that `fits` (by default: that is not empty).

    None when none comes to mind.

    Repetitions are tried with the fewest and then with more turns, so that a length may fit.
    """
    for turns in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64):
        reader = _Reader(pattern, turns)
        try:
            text = reader.alternatives()
        except (IndexError, ValueError):
            return None
        if reader.at == len(pattern) and re.search(pattern, text) and fits(text):
            return text
    return None


class _Reader:
    """Reads the pattern from left to right and writes what it asks for."""

    def __init__(self, pattern: str, turns: int) -> None:
        self.pattern = pattern
        self.turns = turns
        self.at = 0

    def alternatives(self) -> str:
        first = self._sequence()
        while self._take("|"):
            self._sequence()
        return first

    def _sequence(self) -> str:
        text = ""
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            text += self._quantified(self._atom())
        return text

    def _atom(self) -> str:
        char = self._next()
        match char:
            case "^" | "$":
                return ""
            case "(":
                return self._group()
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case ".":
                return "a"
        return char

    def _group(self) -> str:
        if self._take("?"):
            if self._take("P<") or self._take("<"):
                self.at = self.pattern.index(">", self.at) + 1
            elif not self._take(":"):
                raise ValueError("a lookaround has no text")
        text = self.alternatives()
        if not self._take(")"):
            raise ValueError("a group is not closed")
        return text

    def _escape(self) -> str:
        char = self._next()
        if char in _ZERO_WIDTH:
            return ""
        return _CLASSES.get(char, _CONTROLS.get(char, char))

    def _class(self) -> str:
        negated = self._take("^")
        members, start = "", self.at
        while self.pattern[self.at] != "]" or self.at == start:
            members += self._member()
        self.at += 1
        if negated:
            return next(c for c in "abcdefghijklmnopqrstuvwxyz0123456789-_ " if c not in members)
        return members[0]

    def _member(self) -> str:
        first = self._escape() if self._take("\\") else self._next()
        following = self.pattern[self.at : self.at + 2]
        if len(following) == 2 and following[0] == "-" and following[1] != "]":
            self.at += 1
            last = self._escape() if self._take("\\") else self._next()
            return "".join(chr(code) for code in range(ord(first), min(ord(last), 0x250) + 1))
        return first

    def _quantified(self, text: str) -> str:
        least, most = 1, 1
        if self._take("*"):
            least, most = 0, self.turns
        elif self._take("+"):
            least, most = 1, self.turns
        elif self._take("?"):
            least, most = 0, min(self.turns, 1)
        elif found := re.compile(r"{(\d+)(,?)(\d*)}").match(self.pattern, self.at):
            self.at = found.end()
            least = int(found[1])
            most = int(found[3]) if found[3] else least
            most = self.turns if found[2] and not found[3] else min(most, self.turns)
        self._take("?")  # lazy or not: the same text
        return text * max(least, most)

    def _next(self) -> str:
        self.at += 1
        return self.pattern[self.at - 1]

    def _take(self, text: str) -> bool:
        if self.pattern.startswith(text, self.at):
            self.at += len(text)
            return True
        return False
