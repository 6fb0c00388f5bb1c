"""Where there is a screen, and where lines stay plain."""

from __future__ import annotations

import io

import pytest

from kindloop.screen.choosing import Terminal, terminal_of, why_plain

GOOD = Terminal(foreground=True, utf8=True, columns=80, rows=24)
ENV = {"TERM": "xterm-256color"}


def test_a_terminal_that_can_has_a_screen() -> None:
    for env in (ENV, {**ENV, "NO_COLOR": "", "CI": "false", "KINDLOOP_PLAIN": "0"}):
        assert why_plain(env, GOOD, plain=False, installed=True) == ""


@pytest.mark.parametrize(
    ("env", "terminal", "plain", "installed", "why"),
    [
        (ENV, GOOD, True, True, "asked for"),
        ({**ENV, "KINDLOOP_PLAIN": "1"}, GOOD, False, True, "asked for"),
        (ENV, Terminal(), False, True, "no terminal of ours"),
        ({**ENV, "NO_COLOR": "1"}, GOOD, False, True, "NO_COLOR"),
        ({**ENV, "CI": "true"}, GOOD, False, True, "CI"),
        ({"TERM": "dumb"}, GOOD, False, True, "the terminal shows text only"),
        ({}, GOOD, False, True, "the terminal shows text only"),
        (
            ENV,
            Terminal(foreground=True, columns=80, rows=24),
            False,
            True,
            "the terminal shows text only",
        ),
        (
            ENV,
            Terminal(foreground=True, utf8=True, columns=80, rows=7),
            False,
            True,
            "the terminal is too small",
        ),
        (ENV, GOOD, False, False, "rich is not installed"),
    ],
)
def test_else_lines_are_plain_for_a_reason(
    env: dict[str, str], terminal: Terminal, plain: bool, installed: bool, why: str
) -> None:
    assert why_plain(env, terminal, plain=plain, installed=installed) == why


def test_what_is_no_terminal_is_none() -> None:
    assert not terminal_of(io.StringIO()).foreground
