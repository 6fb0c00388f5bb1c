"""A screen for who looks at a terminal: the day of a watch, the graph of an up.

Needs rich (`pip install 'kindloop[rich]'`); without it, piped, or wherever `choosing.why_plain`
has a reason, lines stay plain. What a screen has shown remains in the terminal as plain lines.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import AbstractContextManager, nullcontext

from kindloop import report
from kindloop.config import Config
from kindloop.screen.choosing import terminal_of, why_plain

__all__ = ["bringing_up", "watching"]


def watching(config: Config, *, plain: bool = False) -> AbstractContextManager[None]:
    """While it lasts, the watch of an environment has a screen, where there can be one."""
    if not _wanted(plain=plain, keys=True):
        return nullcontext()
    from kindloop.screen.screens import WatchScreen

    return WatchScreen(config).shown()


def bringing_up(config: Config, *, plain: bool = False) -> AbstractContextManager[None]:
    """While it lasts, what is brought up shows as a tree, where that can be."""
    if not _wanted(plain=plain, keys=False):
        return nullcontext()
    from kindloop.screen.screens import UpScreen

    return UpScreen(config).shown()


def _wanted(*, plain: bool, keys: bool) -> bool:
    """Whether a screen takes the place of the plain lines; never of JSON, nor of commands (-v)."""
    if not isinstance(report.current(), report.Plain) or report.verbose():
        return False
    if keys and not terminal_of(sys.stdin).foreground:
        return False
    installed = importlib.util.find_spec("rich") is not None
    terminal = terminal_of(sys.stdout)
    return not why_plain(os.environ, terminal, plain=plain, installed=installed)
