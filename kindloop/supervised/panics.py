"""Where a Rust program panicked, from the lines that it wrote."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from kindloop.apiserver import Api
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell

__all__ = ["last_panic", "last_words", "panic_of", "words_of"]

LINES = 200
"""Lines of the log that are looked through; a panic with its backtrace takes about 60."""
WORDS = 5
"""Lines of a program that ended: the last ones say why."""
MARK = "kindloop: swap "
"""How the supervisor's line begins at which the output of another process starts."""
_MARKED = re.compile(rf"^{MARK}generation=(?P<generation>\d+) digest=(?P<digest>[0-9a-f]+)")
_ENDED = re.compile(r" rolled back to | ended \(| is not ready ")
_LENGTH = 300
PANICKED = 101
"""Exit code of a Rust program whose main thread panicked."""
ARRIVES_S = 1.0
"""Seconds within which a line that was written is in the log that the API server reads."""
# Rust 1.73 and later: the message is on the next line. Some print the thread's id too.
_NEW = re.compile(r"thread '[^']*'(?: \(\d+\))? panicked at (?P<place>[^',]+:\d+:\d+):$")
_OLD = re.compile(r"thread '[^']*' panicked at '(?P<message>.*)$")
_OLD_END = re.compile(r"^(?P<message>.*)', (?P<place>[^',]+:\d+:\d+)$")
_LIBRARY = ("library/", "/rustc/")
"""Where a panic is the standard library's word on one that came before."""


def panic_of(api: Api, config: Config, workload: Workload, pod: str, reason: str = "") -> str:
    """The last panic since the last swap in the log of `pod`, or "" when none can be read.

    As "src/x.rs:12:5: message", on one line. `reason` is how the process ended: after the exit
    code of a panic the log is read again for a moment, for the lines arrive behind the report.
    """
    until_s = time.monotonic() + (ARRIVES_S if f"exit code {PANICKED}" in reason else 0.0)
    while True:
        found = last_panic(_log(api, config, workload, pod))
        if found or time.monotonic() >= until_s:
            return found
        time.sleep(0.05)  # the log is a file of the node: nothing tells when it grew


def words_of(api: Api, config: Config, workload: Workload, pod: str) -> list[str]:
    """The last lines that what was swapped in last wrote in `pod`; none when none can be read."""
    return last_words(_log(api, config, workload, pod))


def _log(api: Api, config: Config, workload: Workload, pod: str) -> list[str]:
    path = f"/api/v1/namespaces/{config.name}/pods/{pod}/log?"
    # Beside a sidecar the API server wants to know which; alone it needs no name.
    for container in ({"container": workload.name}, {}):
        try:
            answer = api.get(path + urlencode({**container, "tailLines": LINES}))
        except CannotTell:  # what failed is known already: this only adds to it
            return []
        if answer.status == 200:
            return answer.body.decode("utf-8", "replace").splitlines()
    return []


def last_panic(lines: Sequence[str]) -> str:
    """Place and message of the last panic of what was swapped in last, or "". Pure.

    The supervisor marks every start: one of the same generation is a restart, and one that it
    rolled back to follows the process that failed. So the panic is looked for before those too.
    """
    marks = [-1, *(n for n, line in enumerate(lines) if line.startswith(MARK))]
    end = len(lines)
    for n in reversed(range(len(marks))):
        start = marks[n]
        found = list(_panics(lines[start + 1 : end]))
        if found:
            own = [one for one in found if not one[0].startswith(_LIBRARY)]
            place, message = (own or found)[-1]
            return f"{place}: {message}"[:_LENGTH] if message else place
        if not _goes_on(lines, marks, n):
            break
        end = start
    return ""


def last_words(lines: Sequence[str]) -> list[str]:
    """The last lines of what was swapped in last, of its own: none of who took its place. Pure."""
    marks = [-1, *(n for n, line in enumerate(lines) if line.startswith(MARK))]
    end = len(lines)
    for n in reversed(range(len(marks))):
        start = marks[n]
        said = lines[start + 1 : end]
        own = [line for line in said if line.strip() and not line.startswith("kindloop: ")]
        failed = any(line.startswith("kindloop: ") and _ENDED.search(line) for line in said)
        if own and (failed or not _in_place(lines, marks, n)):
            return own[-WORDS:]
        if not _goes_on(lines, marks, n):
            break
        end = start
    return []


def _goes_on(lines: Sequence[str], marks: Sequence[int], n: int) -> bool:
    """Whether the start at mark `n` is what became of the one before it (-1: cut off)."""
    if n == 0:
        return False
    if _in_place(lines, marks, n):
        return True
    this, last = _mark(lines, marks[n]), _mark(lines, marks[n - 1])
    return this is not None and last is not None and last["generation"] == this["generation"]


def _in_place(lines: Sequence[str], marks: Sequence[int], n: int) -> bool:
    """Whether the start at mark `n` is the last good one in the place of one that failed.

    It may have been published once more, with the files that it had.
    """
    if n == 0:
        return False
    if _rolled_back(lines, marks[n - 1], marks[n]):
        return True
    this, last = _mark(lines, marks[n]), _mark(lines, marks[n - 1])
    same = this is not None and last is not None and last["digest"] == this["digest"]
    return same and n > 1 and _rolled_back(lines, marks[n - 2], marks[n - 1])


def _mark(lines: Sequence[str], at: int) -> re.Match[str] | None:
    return _MARKED.match(lines[at]) if at >= 0 else None


def _rolled_back(lines: Sequence[str], before: int, start: int) -> bool:
    """Whether the start at `start` is the last good one in the place of the one at `before`."""
    this = _MARKED.match(lines[start])
    back = f"kindloop: rolled back to {this['digest']}:" if this else ""
    return bool(back) and any(line.startswith(back) for line in lines[before + 1 : start])


def _panics(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for n, line in enumerate(lines):
        if new := _NEW.search(line):
            yield new["place"], _joined(lines[n + 1 :])
        elif old := _OLD.search(line):
            yield from _old(old["message"], lines[n + 1 :])


def _joined(lines: Sequence[str]) -> str:
    """The message: its first line, and those after it that are indented, as of `assert_eq!`."""
    if not lines or lines[0].startswith(("note: ", "stack backtrace:", "kindloop: ")):
        return ""
    parts = [lines[0].strip()]
    for line in lines[1:]:
        if not line.startswith(" "):
            break
        parts.append(line.strip())
    return ", ".join(parts)


def _old(first: str, after: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A panic as Rust wrote it before 1.73: quoted, over as many lines as the message has."""
    parts: list[str] = []
    for line in (first, *after[:20]):
        if end := _OLD_END.match(line):
            parts.append(end["message"].strip())
            yield end["place"], ", ".join(part.rstrip(",") for part in parts if part)
            return
        parts.append(line.strip())
