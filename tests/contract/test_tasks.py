"""`invoke` as a user runs it: errors of ours are text and an exit code, signals end everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import schemas

TASKS = """
from invoke import Collection, Context
from kindloop import errors, process, report, state
from kindloop.tasks._task import show, task

@task("fail")
def fail(c: Context, name: str = "", verbose: bool = False, json: bool = False) -> None:
    show(verbose=verbose, json=json)
    if name == "ToolFailed":
        raise errors.ToolFailed(["kubectl", "get"], 1, stderr="refused")
    raise getattr(errors, name)("it broke", why="it was thin", hint="invoke mend")

@task("tell")
def tell(c: Context, json: bool = False) -> None:
    show(json=json)
    report.data({"schema": 1})
    raise errors.Unhealthy("it is told")

@task("stream", document="event")
def stream(c: Context, json: bool = False) -> None:
    raise errors.Stale("it is old", hint="invoke dev-rebuild")

@task("work")
def work(c: Context, json: bool = False) -> None:
    show(json=json)
    script = "echo $$ > parent; sh -c 'echo $$ > child; while :; do sleep 1; done' & while :; do sleep 1; done"
    process.run(["sh", "-c", script])

@task("hold")
def hold(c: Context) -> None:
    import pathlib, time
    with state.lock(pathlib.Path("env.lock"), "environment mine"):
        pathlib.Path("held").write_text(str(__import__("os").getpid()))
        time.sleep(600)

@task("many")
def many(c: Context, json: bool = False) -> None:
    show()
    for _ in range(3000):
        report.output("line")
        __import__("time").sleep(0.01)

ns = Collection(fail, many, tell, stream, work, hold)
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


@pytest.mark.parametrize(("name", "code"), [("Stale", 4), ("NotOurs", 9), ("ToolFailed", 1)])
def test_with_json_an_error_is_one_document_on_stdout_and_its_text_on_stderr(
    project: Path, name: str, code: int
) -> None:
    with _start(project, "fail", "--json", "--name", name) as invoke:
        out, err = invoke.communicate(timeout=60)
    error = schemas.failed(out, code)
    assert (error["type"], invoke.returncode) == (name, code)
    assert err.startswith(f"error: {error['message']}\n")


def test_what_has_printed_its_document_prints_no_error_as_well(project: Path) -> None:
    with _start(project, "tell", "--json", "fail", "--json", "--name", "Stale") as invoke:
        out, err = invoke.communicate(timeout=60)
    assert json.loads(out) == {"schema": 1}
    assert (invoke.returncode, err) == (1, "error: it is told\n")


def test_each_task_of_a_command_line_has_an_error_of_its_own(project: Path) -> None:
    """What one before it has printed does not count."""
    text = (project / "tasks.py").read_text()
    told = text.replace('    raise errors.Unhealthy("it is told")\n', "")
    (project / "tasks.py").write_text(told)
    with _start(project, "tell", "--json", "fail", "--json", "--name", "Stale") as invoke:
        out, _ = invoke.communicate(timeout=60)
    document, end = json.JSONDecoder().raw_decode(out)
    assert document == {"schema": 1}
    schemas.failed(out[end:], 4)


def test_events_end_with_the_error_also_before_the_task_has_begun_to_tell(project: Path) -> None:
    with _start(project, "stream", "--json") as invoke:
        out, _ = invoke.communicate(timeout=60)
    (last,) = schemas.events(out)
    assert (last["kind"], last["data"]["type"], last["data"]["hint"]) == (
        *("error", "Stale"),
        "invoke dev-rebuild",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_with_json_an_interruption_is_a_document(
    project: Path, pid_in: Callable[[Path], int], number: signal.Signals
) -> None:
    with _start(project, "work", "--json") as invoke:
        pid_in(project / "parent")
        os.kill(invoke.pid, number)
        out, _ = invoke.communicate(timeout=60)
    assert schemas.failed(out, 130)["type"] == "Interrupted"


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


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_is_no_traceback(
    project: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with _start(project, "many", "--json") as child:
        assert child.stdout
        assert child.stderr
        assert child.stdout.readline() == "line\n"
        child.stdout.close()
        assert child.stderr.read() == "error: nobody reads the output any more\n"
        assert child.wait(30) == 130
