"""A Python that runs `process.run` or `tools.run` and is ended: nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Pid = Callable[[Path], int]
Ends = Callable[[int], None]

FAMILY = "echo $$ > parent; sh -c 'echo $$ > child; while :; do sleep 1; done' & while :; do sleep 1; done"
STUBBORN = f"trap '' TERM INT; {FAMILY}"
CALLS = {
    "process": "from kindloop import process; process.run(['sh', '-c', {script!r}])",
    "tools": "from kindloop import tools; tools.run('sh', '-c', {script!r}, timeout_s=600)",
}


def _python(code: str, cwd: Path) -> subprocess.Popen[str]:
    """As a shell starts it: the leader of a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("script", [FAMILY, STUBBORN], ids=["obeys", "ignores TERM"])
@pytest.mark.parametrize("room", CALLS)
def test_ctrl_c_leaves_no_child(
    tmp_path: Path, pid_in: Pid, ends: Ends, room: str, script: str
) -> None:
    with _python(CALLS[room].format(script=script), tmp_path) as python:
        family = [pid_in(tmp_path / name) for name in ("parent", "child")]
        os.killpg(python.pid, signal.SIGINT)  # what a terminal does
        python.communicate(timeout=60)
        for pid in family:
            ends(pid)
    assert python.returncode == -signal.SIGINT  # KeyboardInterrupt went through


def test_children_are_in_no_group_that_the_terminal_signals(tmp_path: Path, pid_in: Pid) -> None:
    """Ctrl-C reaches us alone: we decide in which order things end."""
    with _python(CALLS["process"].format(script=FAMILY), tmp_path) as python:
        parent = pid_in(tmp_path / "parent")
        groups = {os.getpgid(parent), os.getpgid(python.pid)}
        os.kill(python.pid, signal.SIGINT)
        python.communicate(timeout=60)
    assert len(groups) == 2


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="only Linux tells a child of its parent's end: a kill -9 is not tested; all ends in "
    "which we can act are, in this file and in tests/unit/test_process.py",
)
def test_a_killed_python_takes_its_child_along(tmp_path: Path, pid_in: Pid, ends: Ends) -> None:
    script = "echo $$ > parent; exec sleep 600"
    with _python(CALLS["process"].format(script=script), tmp_path) as python:
        child = pid_in(tmp_path / "parent")
        python.kill()
        python.communicate(timeout=60)
        ends(child)
