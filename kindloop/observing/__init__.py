"""The observability stack of an environment: brought after the application, and never before it."""

from __future__ import annotations

from kindloop.observing.bringing import INVENTORY, bring, explain, wait, work
from kindloop.observing.looking import State, Usage, line, look, usage
from kindloop.observing.parts import LEVELS, PARTS, Part, url_of
from kindloop.observing.records import Record, end, log_of, read, running
from kindloop.observing.views import Page, browse, pages

__all__ = [
    "INVENTORY",
    "LEVELS",
    "PARTS",
    "Page",
    "Part",
    "Record",
    "State",
    "Usage",
    "bring",
    "browse",
    "end",
    "explain",
    "line",
    "log_of",
    "look",
    "pages",
    "read",
    "running",
    "url_of",
    "usage",
    "wait",
    "work",
]
