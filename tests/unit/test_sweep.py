"""What a killed run of the live tests left: the next one takes it away, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sweeping
from live import OWN

from kindloop import state

DOCKER = """
case "$1 $2" in
"container inspect") echo "Error: No such container: $3" >&2; exit 1 ;;
"version --format") echo '{"Version": "28.0.0", "Os": "linux", "Arch": "amd64"}' ;;
"rm --force") echo "docker $*" >> "$LOG" ;;
esac
"""
WATCH = """
import sys, time
from pathlib import Path
from kindloop import state
with state.lock(Path(sys.argv[1]), "the watch"):
    print(flush=True)
    time.sleep(600)
"""


def left(builds: Path, suffix: str) -> Path:
    """An environment of a run, as its files tell; its state directory."""
    home = builds / f"test-state{suffix}"
    name = f"kltest-{OWN}{suffix}"
    owner = {"name": name, "checkout": "/gone", "status": "ready"}
    state.write_json(home / "kindloop" / name / "owner.json", owner)
    return home


def test_what_dead_runs_left_goes_and_what_lives_stays(
    homes: Path, fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    log = homes / "log"
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setattr(sweeping, "CHECKOUTS", homes)
    fake("docker", DOCKER)
    fake("kind", 'echo "kind $*" >> "$LOG"')
    lives, dead, other = (left(homes, suffix) for suffix in ("", "-1", "-foreign"))
    name = f"kltest-{OWN}-1"
    watch_lock = dead / "kindloop" / f"{name}.watch.lock"
    with (
        subprocess.Popen(
            [sys.executable, "-c", WATCH, watch_lock],
            env={**os.environ, "XDG_STATE_HOME": str(dead)},
            stdout=subprocess.PIPE,
        ) as watch,
        state.lock(homes / "test-checkout.lock", "a run"),
    ):
        assert watch.stdout
        watch.stdout.readline()
        sweeping.sweep()
        assert watch.wait() != 0
    assert log.read_text().splitlines() == [
        f"docker rm --force klforeign-{OWN}-1-control-plane",
        f"kind delete cluster --name {name} --kubeconfig {dead}/kindloop/{name}/kubeconfig",
    ]
    assert [len([*home.glob("kindloop/*/owner.json")]) for home in (lives, dead, other)] == [
        1,
        0,
        1,
    ]
