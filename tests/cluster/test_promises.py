"""Promises of the manual that have no test of their own elsewhere.

A watch that an up begins, a roll back after "fresh", pods and stages in one log, a mount that is dead
when a watch begins, an up in a terminal.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import Bay, sha256
from live import PATIENCE_S, Loop, command, edit
from screens import Terminal
from watching import Event, Watch, call, pets, saves

pytestmark = pytest.mark.usefixtures("own_state")

NOW = ("dev-status", "--wait-fresh", "--timeout", "0")
SEEDED = "    fn seeded() -> Self {\n"
ENDS = "        if std::env::args().count() > 0 {\n            std::process::exit(7);\n        }\n"
"""What ends the service with the first request for its pets, and not before."""
HELD = """\
#!/bin/sh
# A cargo that begins to build when it is let.
case " $* " in *" build "*) while [ ! -e {gate} ]; do sleep 0.05; done ;; esac
exec {cargo} "$@"
"""


@pytest.fixture
def good(up: Loop, tmp_path: Path) -> Iterator[str]:
    """The digest of what the checkout's sources make, served and good to go back to."""
    bay = Bay(up, tmp_path)
    bay.good()
    yield sha256(bay.built)
    bay.close()


def rolled_back(events: list[Event]) -> list[Event]:
    return [one for one in saves(events) if one["verdict"] == "rolled_back"]


def test_an_up_that_watches_tells_a_roll_back_after_it_said_fresh(up: Loop, good: str) -> None:
    edit(up.settings, "on_up: false", "on_up: true")
    # However slow the machine is: the first request comes within it.
    edit(up.settings, "probation_ms: 5000", "probation_ms: 60000")
    source = up.app / "app.rs"
    with Watch(up, "dev-up", "--json") as watch:
        fresh = watch.saved(lambda: edit(source, SEEDED, SEEDED + ENDS), of="app.rs")
        since = watch.count()
        pets(up)
        (later,) = watch.until(rolled_back, since)
        assert (later["digest"], later["served"]) == (fresh["digest"], good)
        assert later["paths"] == [], "a line of its own"
        said = up.say(*NOW)
        assert said.code == 4
        assert "rolled back: " in said.text
        watch.saved(lambda: edit(source, ENDS, ""), of="app.rs")
        assert "Greta" in pets(up)
        logs = up.ok("dev-logs", "--since", "10m").splitlines()
        assert [line for line in logs if line.startswith("stage petstore") and " | " in line]
        assert [line for line in logs if line.startswith("petstore/") and " | " in line]
        assert [line for line in logs if line.startswith(f"── swap {fresh['digest'][:8]} ── ")]
        assert watch.end() == 130


def test_a_dead_mount_is_told_when_a_watch_begins(up: Loop) -> None:
    swap = up.home / "swap"
    aside = swap.with_name("swap.aside")
    swap.rename(aside)  # the node goes on to see this one
    swap.mkdir()
    try:
        said = up.say("dev-watch")
        assert said.code == 9
        assert "a swap of petstore would not reach its pods" in said.message
        assert "invoke dev-up --recreate" in said.error
        assert "workloads.petstore.swap.transport: exec" in said.error
        assert "Greta" in pets(up)
    finally:
        shutil.rmtree(swap)
        aside.rename(swap)
    up.ok("swap.push")
    assert up.say(*NOW).code == 0


def test_an_up_in_a_terminal_is_a_tree_and_leaves_its_lines(up: Loop, tmp_path: Path) -> None:
    gate, shim = tmp_path / "gate", tmp_path / "cargo"
    shim.write_text(HELD.format(gate=gate, cargo=shutil.which("cargo")))
    shim.chmod(0o755)
    ours = {name: value for name, value in up.environ.items() if os.environ.get(name) != value}
    call(up, "Paula")
    terminal = Terminal(up.root, patience_s=PATIENCE_S)
    try:
        path = f"{tmp_path}:{os.environ['PATH']}"
        terminal.start(*command("dev-up"), **ours, PATH=path)
        terminal.until(lambda: terminal.row(0).startswith(f" {up.name}  coming up"))
        terminal.shows("petstore", "Ctrl-C ends it")
        terminal.size(200, 50)
        terminal.until(lambda: terminal.row(-1).startswith("Ctrl-C ends it"))
        gate.touch()
        assert terminal.code() == 0
        assert terminal.restored()
    finally:
        gate.touch()
        terminal.close()
    assert "\n✓ petstore · pet_store/src/app.rs changed · " in terminal.left
    assert "\nnext: invoke dev-watch\n" in terminal.left
    assert "Paula" in pets(up)
