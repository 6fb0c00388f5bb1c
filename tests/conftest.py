"""What unit and contract tests share: homes of their own, fake programs, processes that end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kindloop import host, report

REPO = Path(__file__).parents[1]
PATIENCE_S = 30.0
"""Until when something that must happen has happened; only a failing test waits that long."""

# A shell without job control starts background commands with SIGINT and SIGQUIT ignored, and that is
# inherited: under a CI runner the tests of Ctrl-C would send what nobody hears.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture
def repo() -> Path:
    """The checkout under test."""
    return REPO


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache and state of this test alone; returns the folder that holds both."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    return tmp_path


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Put a shell script in front of the real program on PATH, for failures that it must meet."""
    folder = tmp_path / "fake-bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    host.engine.cache_clear()

    def make(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    yield make
    host.engine.cache_clear()


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie that waits for its parent."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


@pytest.fixture
def becomes() -> Callable[[Callable[[], Any]], Any]:
    """Wait until the question is answered with something true, and return that."""

    def wait(question: Callable[[], Any]) -> Any:
        deadline_s = time.monotonic() + PATIENCE_S
        while not (answer := question()):
            assert time.monotonic() < deadline_s, "it did not happen"
            time.sleep(0.02)
        return answer

    return wait


@pytest.fixture
def pid_in(becomes: Callable[[Callable[[], Any]], Any]) -> Callable[[Path], int]:
    """The process id that a child writes into a file, waited for."""
    return lambda path: int(becomes(lambda: path.exists() and path.read_text().strip()))


@pytest.fixture
def ends(becomes: Callable[[Callable[[], Any]], Any]) -> Callable[[int], None]:
    """Wait until the process is gone; fails when it stays."""

    def wait(pid: int) -> None:
        assert becomes(lambda: not _runs(pid)), f"process {pid} is still there"

    return wait


@pytest.fixture
def runs() -> Callable[[int], bool]:
    """Whether a process is there."""
    return _runs


class Recorder:
    """A renderer that keeps what it was shown."""

    def __init__(self, verbosity: int = 1) -> None:
        self.verbosity = verbosity
        self.events: list[report.Event] = []

    def show(self, event: report.Event) -> None:
        """Keep the event."""
        self.events.append(event)

    def texts(self, kind: str) -> list[str]:
        """The texts of one kind of event."""
        return [e.text for e in self.events if e.kind == kind]


@pytest.fixture
def shown() -> Iterator[Recorder]:
    """Everything reported during the test."""
    recorder = Recorder()
    before = report.use(recorder)
    yield recorder
    report.use(before)


@pytest.fixture
def unmasked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this test has masked is not masked for those after it."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    report._known.forget()
    yield
    report._known.forget()
