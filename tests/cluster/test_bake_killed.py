"""A bake that is killed in the middle of a part: nothing half-made counts, nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import PATIENCE_S, ROOT, Said, command, marked

from kindloop import state
from kindloop.bake import parts


class Bake:
    """`python -m kindloop.bake node` with an empty cache and an engine without images."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.mark = f"KINDLOOP_TEST_MARK={uuid.uuid4()}"
        fake = folder / "bin" / "docker"
        fake.parent.mkdir()
        fake.write_text('#!/bin/sh\necho "Error: No such image: $4" >&2\nexit 1\n')
        fake.chmod(0o755)
        self.env = {
            **os.environ,
            "XDG_CACHE_HOME": str(self.cache),
            "PATH": f"{fake.parent}:{os.environ['PATH']}",
            "TMPDIR": str(folder),
            **dict([self.mark.split("=")]),
        }
        self.log = folder / "bake.log"
        with self.log.open("w") as out:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "kindloop.bake", "node"],
                cwd=ROOT,
                env=self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def lock(self) -> Path:
        return self.cache / "kindloop/bake.lock"

    @property
    def partials(self) -> list[Path]:
        return list((self.cache / "kindloop/parts").glob(".*.partial"))

    def until_packages_are_unpacked(self) -> None:
        self._until(lambda: any("mmdebstrap" in " ".join(w) for w in marked(self.mark).values()))
        self._until(lambda: self.partials)
        time.sleep(2)  # well into the part: mmdebstrap has its folders and children by now
        assert self.popen.poll() is None, self.log.read_text()

    def until_nothing_runs(self) -> None:
        self._until(lambda: not marked(self.mark))

    def status(self) -> Said:
        done = subprocess.run(
            command("bake.status"),
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        return Said(done.returncode, done.stdout + done.stderr)

    def _until(self, seen: object) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not seen():  # type: ignore[operator]
            assert time.monotonic() < deadline_s, f"{self.log.read_text()}\n{marked(self.mark)}"
            time.sleep(0.1)


@pytest.fixture
def bake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bake]:
    started = Bake(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(started.cache))
    yield started
    started.popen.kill()
    for pid in marked(started.mark):
        os.kill(pid, signal.SIGKILL)


def test_bake_killed_by_sigkill_leaves_nothing_that_counts(bake: Bake) -> None:
    bake.until_packages_are_unpacked()
    bake.popen.kill()
    assert 128 - bake.popen.wait() == 137  # what a shell makes of a signal
    bake.until_nothing_runs()
    assert len(bake.partials) == 1
    said = bake.status()
    assert said.code == 0
    assert "✓" not in said.text
    assert "· rootfs" in said.text
    with state.lock(bake.lock, "the bake"):
        parts.sweep()
    assert bake.partials == []


def test_bake_ends_at_ctrl_c_and_leaves_nothing(bake: Bake) -> None:
    bake.until_packages_are_unpacked()
    os.killpg(bake.popen.pid, signal.SIGINT)
    assert bake.popen.wait(PATIENCE_S) == 130
    assert "Traceback" not in bake.log.read_text()
    assert bake.partials == []
    bake.until_nothing_runs()


def test_bake_ends_at_sigterm_and_leaves_nothing(bake: Bake) -> None:
    bake.until_packages_are_unpacked()
    bake.popen.terminate()
    assert bake.popen.wait(PATIENCE_S) == 130
    assert bake.partials == []
    bake.until_nothing_runs()
