"""`invoke` as a user runs it: errors of ours are text and an exit code, signals end everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TASKS = """
from invoke import Collection, Context
from kindloop import errors, process, state
from kindloop.tasks._task import show, task

@task("fail")
def fail(c: Context, name: str = "", verbose: bool = False) -> None:
    show(verbose=verbose)
    if name == "ToolFailed":
        raise errors.ToolFailed(["kubectl", "get"], 1, stderr="refused")
    raise getattr(errors, name)("it broke", why="it was thin", hint="invoke mend")

@task("work")
def work(c: Context) -> None:
    show()
    script = "echo $$ > parent; sh -c 'echo $$ > child; while :; do sleep 1; done' & while :; do sleep 1; done"
    process.run(["sh", "-c", script])

@task("hold")
def hold(c: Context) -> None:
    import pathlib, time
    with state.lock(pathlib.Path("env.lock"), "environment mine"):
        pathlib.Path("held").write_text(str(__import__("os").getpid()))
        time.sleep(600)

ns = Collection(fail, work, hold)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


def _start(project: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *args],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Unhealthy", 1), ("ConfigError", 2), ("CannotTell", 3), ("Stale", 4), ("BuildFailed", 5),
        ("RolloutFailed", 6), ("ToolMissing", 7), ("Locked", 8), ("NotOurs", 9),
        ("Interrupted", 130), ("KindloopError", 1), ("ToolFailed", 1),
    ],
)  # fmt: skip
def test_an_error_of_ours_is_its_text_on_stderr_and_its_exit_code(
    project: Path, name: str, code: int
) -> None:
    with _start(project, "fail", "--name", name) as invoke:
        out, err = invoke.communicate(timeout=60)
    assert invoke.returncode == code
    assert out == ""
    if name != "ToolFailed":
        assert err == "error: it broke\n  why:  it was thin\n  next: invoke mend\n"
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_the_task_started_and_is_exit_130(
    project: Path,
    pid_in: Callable[[Path], int],
    ends: Callable[[int], None],
    number: signal.Signals,
) -> None:
    with _start(project, "work") as invoke:
        family = [pid_in(project / name) for name in ("parent", "child")]
        os.kill(invoke.pid, number)
        _, err = invoke.communicate(timeout=60)
        for pid in family:
            ends(pid)
    assert invoke.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err or number.name in err


def test_an_ended_task_leaves_its_lock(
    project: Path, pid_in: Callable[[Path], int], ends: Callable[[int], None]
) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with _start(project, "hold") as invoke:
            holder = pid_in(project / "held")
            (project / "held").unlink()
            os.kill(holder, number)
            invoke.communicate(timeout=60)
    with _start(project, "hold") as invoke:
        os.kill(pid_in(project / "held"), signal.SIGTERM)
        invoke.communicate(timeout=60)
    assert invoke.returncode == 130  # it had the lock: a Locked would be 8
