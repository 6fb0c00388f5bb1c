"""Ctrl-C at the worst moments: while a child is forked, where CPython drops what a handler raises,
and right behind, when nobody has the child yet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHILD = '["sh", "-c", "echo $$ > pid; sleep 60"]'
# The kernel sends TERM to a child that we lose: only one that ignores it shows that we did.
STUBBORN = """["sh", "-c", "trap '' TERM; echo $$ > pid; sleep 60"]"""
AT_FORK = "os.register_at_fork(after_in_parent=press)"
CALLS = {
    "tools": f"{AT_FORK}; tools.run(*{CHILD})",
    "process": f"press_behind_the_spawn(); process.run({STUBBORN})",
    "process without setpriv": f"{AT_FORK}; process._tether = tuple; process.run({CHILD})",
}
SCRIPT = """
import os, pathlib, signal, subprocess, sys, time
from kindloop import process, tools

def press():
    while not pathlib.Path("pid").exists() or not pathlib.Path("pid").read_text().strip():
        time.sleep(0.01)
    signal.raise_signal(signal.{name})

def press_behind_the_spawn():
    process._tether()  # asks a child of its own, once
    spawn = subprocess.Popen._execute_child

    def spawn_and_press(*args):
        spawn(*args)
        press()

    subprocess.Popen._execute_child = spawn_and_press

def ended(number, frame):
    raise SystemExit("ended by it")

if "{name}" == "SIGTERM":
    signal.signal(signal.SIGTERM, ended)
try:
    {call}
except KeyboardInterrupt:
    sys.exit("ended by it")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_signal_during_a_fork_is_not_lost(
    tmp_path: Path,
    pid_in: Callable[[Path], int],
    ends: Callable[[int], None],
    name: str,
    call: str,
) -> None:
    script = SCRIPT.format(name=name, call=call)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.stderr == "ended by it\n"
    assert done.returncode == 1
    ends(pid_in(tmp_path / "pid"))
