"""The lock of an environment between real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kindloop import state
from kindloop.errors import Locked

HOLDER = """
import pathlib, sys, time
from kindloop import state
sys.argv = ["invoke", "dev-up"]
with state.lock(pathlib.Path("env.lock"), "environment mine"):
    pathlib.Path("held").write_text("yes")
    while not pathlib.Path("let-go").exists():
        time.sleep(0.02)
"""
SECOND = """
import pathlib, sys
from kindloop import state
from kindloop.errors import KindloopError
try:
    with state.lock(pathlib.Path("env.lock"), "environment mine"):
        pass
except KindloopError as exc:
    print(exc)
    sys.exit(exc.exit_code)
"""


@pytest.fixture
def holder(tmp_path: Path, becomes: Callable[..., object]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lock until the file `let-go` is there."""
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=tmp_path) as process:
        becomes((tmp_path / "held").exists)
        yield process
        process.kill()


def test_a_second_process_gets_exit_8_with_pid_and_command_of_the_first(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SECOND], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 8
    first, *rest = done.stdout.splitlines()
    assert first == f"error: environment mine is in use by process {holder.pid}: invoke dev-up"
    assert rest[-1].endswith(f"ps -fp {holder.pid}")


def test_the_lock_is_free_after_a_sigkill_of_its_holder(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=30)
    with state.lock(tmp_path / "env.lock", "environment mine"):
        pass


def test_what_a_killed_holder_wrote_is_not_taken_for_a_holder(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    dead = holder.pid
    holder.kill()
    holder.wait(timeout=30)
    with (
        state.lock(tmp_path / "env.lock", "environment mine"),
        pytest.raises(Locked) as raised,
        state.lock(tmp_path / "env.lock", "environment mine"),
    ):
        pass
    assert f"process {dead}" not in raised.value.message


def test_a_bake_waits_for_the_one_before_it(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "let-go").touch()
    with state.lock(tmp_path / "env.lock", "the bake", wait_s=60):
        pass


def test_a_child_of_the_holder_does_not_keep_the_lock(
    tmp_path: Path, becomes: Callable[..., object]
) -> None:
    """The engine, a kubectl or a cargo that outlives us must not block the next command."""
    code = HOLDER.replace(
        "    while not",
        "    import subprocess\n    child = subprocess.Popen(['sleep', '600'])\n"
        "    pathlib.Path('child').write_text(str(child.pid))\n    while not",
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as process:
        becomes((tmp_path / "child").exists)
        process.kill()
        process.wait(timeout=30)
    try:
        with state.lock(tmp_path / "env.lock", "environment mine"):
            pass
    finally:
        subprocess.run(["kill", (tmp_path / "child").read_text()], check=True)
