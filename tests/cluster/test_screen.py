"""The screen of a watch on a live cluster: a save, an error, keys, another size, and the end."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from live import PATIENCE_S, Loop, command, edit, marked
from screens import Terminal
from watching import call, pets

PART = '"species": "cat"'


@pytest.fixture
def terminal(up: Loop) -> Iterator[Terminal]:
    terminal = Terminal(up.root, patience_s=PATIENCE_S)
    yield terminal
    terminal.close()


def test_a_save_is_seen_and_the_terminal_is_given_back(up: Loop, terminal: Terminal) -> None:
    mark = f"KINDLOOP_TEST_MARK={uuid.uuid4()}"
    ours = {name: value for name, value in up.environ.items() if os.environ.get(name) != value}
    terminal.start(*command("dev-watch"), **ours, **dict([mark.split("=")]))
    terminal.shows("watching", "workload petstore", "fresh", "✓ stage    router")
    terminal.until(lambda: terminal.row(0).split()[:2] == [up.name, up.url])

    name = f"Kim{uuid.uuid4().hex[:6]}"
    call(up, name)
    terminal.until(lambda: any(saved(line) for line in terminal.screen.display))
    assert name in pets(up)
    line = next(line for line in terminal.screen.display if saved(line))
    digest = line.split()[2]

    terminal.type("l")
    terminal.shows("log lines", "kindloop: fresh", digest)
    terminal.type("\x1b")
    terminal.shows("saves", f"✓ workload petstore         {digest} fresh")
    terminal.type("p")
    terminal.until(lambda: "paused" in terminal.row(0))
    terminal.type("p")
    terminal.until(lambda: "watching" in terminal.row(0))

    edit(up.app / "app.rs", PART, PART + PART)
    terminal.until(lambda: terminal.row(1).startswith("✗ petstore not built"))
    terminal.until(lambda: "app.rs:" in terminal.row(2) and "error" in terminal.row(2))
    terminal.size(200, 50)
    terminal.until(lambda: terminal.row(-1).endswith("? keys"))
    assert terminal.row(1).startswith("✗ petstore not built")
    edit(up.app / "app.rs", PART + PART, PART)
    terminal.until(lambda: terminal.row(1) == "build")

    terminal.type("\x03")
    assert terminal.code() == 130
    assert terminal.restored()
    assert marked(mark) == {}
    assert f"\n{digest} fresh in " in terminal.left
    assert "✗ petstore not built; still served: " + digest in terminal.left
    assert "error" in terminal.left.partition("✗ petstore not built")[0]


def saved(line: str) -> bool:
    """Whether this is the line of a save that was built and swapped in, with its bar."""
    return all(part in line for part in (" ✓ ", "█", "▓", "cargo", "swap", "app.rs"))
