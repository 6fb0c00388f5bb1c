"""Ctrl-C at the worst moment: while a child is forked, where CPython drops what a handler raises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CALLS = {
    "tools": 'tools.run("sh", "-c", "echo $$ > pid; sleep 60")',
    "process": 'process.run(["sh", "-c", "echo $$ > pid; sleep 60"])',
}
SCRIPT = """
import os, pathlib, signal, sys, time
from kindloop import process, tools

def press():
    while not pathlib.Path("pid").exists() or not pathlib.Path("pid").read_text().strip():
        time.sleep(0.01)
    signal.raise_signal(signal.{name})

def ended(number, frame):
    raise SystemExit("ended by it")

if "{name}" == "SIGTERM":
    signal.signal(signal.SIGTERM, ended)
os.register_at_fork(after_in_parent=press)
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
