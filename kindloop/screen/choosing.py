"""Whether there is to be a screen: only where somebody looks at a terminal that can have one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

__all__ = ["MIN_COLUMNS", "MIN_ROWS", "Terminal", "terminal_of", "why_plain"]

MIN_COLUMNS, MIN_ROWS = 40, 8
"""What a screen needs at its start; one that is made smaller later is drawn as far as it goes."""
DUMB = frozenset({"", "dumb", "unknown"})
NO = frozenset({"", "0", "false"})


@dataclass(frozen=True)
class Terminal:
    """What was found out of a stream; as it is, one that is no terminal."""

    foreground: bool = False
    """Whether it is a terminal and we are the job in front."""
    utf8: bool = False
    columns: int = 0
    rows: int = 0


def terminal_of(stream: TextIO) -> Terminal:
    """What a stream is: nothing of all that when it is no terminal."""
    try:
        fd = stream.fileno()
        size = os.get_terminal_size(fd)
        foreground = os.tcgetpgrp(fd) == os.getpgrp()
    except (OSError, ValueError):  # a pipe, a file, a test's stream, another's terminal
        return Terminal()
    utf8 = "utf" in (stream.encoding or "").lower()
    return Terminal(foreground=foreground, utf8=utf8, columns=size.columns, rows=size.lines)


def why_plain(
    environ: Mapping[str, str], terminal: Terminal, *, plain: bool, installed: bool
) -> str:
    """Why there are plain lines; empty for a screen. Pure.

    `plain`: the user asked for them. `installed`: rich can be imported.
    """
    small = terminal.columns < MIN_COLUMNS or terminal.rows < MIN_ROWS
    text_only = environ.get("TERM", "") in DUMB or not terminal.utf8
    reasons = {
        "asked for": plain or environ.get("KINDLOOP_PLAIN", "") not in NO,
        "no terminal of ours": not terminal.foreground,
        "NO_COLOR": bool(environ.get("NO_COLOR")),
        "CI": environ.get("CI", "").lower() not in NO,
        "the terminal shows text only": text_only,
        "the terminal is too small": small,
        "rich is not installed": not installed,
    }
    return next((why for why, holds in reasons.items() if holds), "")
