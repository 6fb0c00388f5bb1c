"""What the tests of the screens share: a project, events, lines, and a real pseudo-terminal."""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyte
from rich.console import Console, RenderableType

from kindloop import loading
from kindloop.config import Config
from kindloop.report import Event

PATIENCE_S = 30.0
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
LINES, CBREAK = (True, True), (False, False)
LEADER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
SIZES = [(80, 24), (200, 50), (60, 12), (40, 8), (80, 4), (30, 2), (200, 10)]
NOW_S = time.mktime((2026, 11, 2, 17, 31, 2, 0, 0, -1))
YAML = """
version: 1
name: demo
stages:
  router: {run: cargo build --lib, inputs: [src]}
  petstore: {run: cargo build, inputs: [src], needs: [router], outputs: ["{target}/petstore"]}
  supervisor: {run: cargo build, inputs: [src], label: tools, outputs: ["{target}/supervisor"]}
workloads:
  petstore:
    image: {dockerfile: Dockerfile}
    swap: {artifact: petstore}
    manifests: k8s
    url: http://127.0.0.1:{ports.petstore}
"""


def project(folder: Path) -> Config:
    """A project with three stages and a workload."""
    (folder / "k8s").mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "kindloop.yaml").write_text(YAML)
    return loading.load(folder / "kindloop.yaml", env={})


def event(kind: Any, step: str = "", text: str = "", **more: Any) -> Event:
    return Event(kind, step, text, t_s=more.pop("t_s", NOW_S), **more)


def rendered(page: RenderableType, width: int, height: int) -> list[str]:
    """The lines as a terminal of this size has them."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, color_system=None, legacy_windows=False)
    console.print(page, end="")
    return out.getvalue().split("\n")[:height]


def line_with(lines: Iterable[str], *parts: str) -> str:
    """The first line that has all of these."""
    found = [line for line in lines if all(part in line for part in parts)]
    assert found, f"no line has {parts}: {lines}"
    return found[0]


class Terminal:
    """A terminal of some size, what is on its screen, and the job that a shell would have begun."""

    def __init__(
        self, folder: Path, columns: int = 80, rows: int = 24, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.folder = folder
        self.patience_s = patience_s
        self.ours, self.theirs = pty.openpty()
        self.raw = ""
        # A read may end in the midst of a letter.
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.process: subprocess.Popen[bytes] | None = None
        self.size(columns, rows)

    def size(self, columns: int, rows: int) -> None:
        """Give the window this size; whoever is in front is told by SIGWINCH."""
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def start(self, *argv: str, **env: str) -> None:
        """Begin a session that this terminal controls."""
        known = {n: v for n, v in os.environ.items() if n not in ("CI", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LEADER, *argv],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            start_new_session=True,
            cwd=self.folder,
            env={**known, "TERM": "xterm-256color", "PS1": "ready> ", "HISTFILE": "",
                 "PYTHONUTF8": "1", **env},
        )  # fmt: skip

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.ours, text.encode())

    def until(self, seen: Callable[[], object]) -> None:
        """Read until this is so, and what was being drawn is drawn: a page comes in pieces."""
        deadline_s = time.monotonic() + self.patience_s
        while not (seen() and self.calm() and seen()):
            self.read(0.1)
            assert time.monotonic() < deadline_s, "\n".join(self.screen.display) + repr(self.raw)

    def calm(self) -> bool:
        """Take what still comes; true, to stand in a condition."""
        self.read(0.1)
        return True

    def read(self, wait_s: float = 0.0) -> None:
        """Take what was written."""
        while select.select([self.ours], [], [], wait_s)[0]:
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # the other side is closed
                return
            self.raw += self.decoder.decode(data)
            self.stream.feed(data)
            wait_s = 0.0

    def shows(self, *texts: str) -> None:
        """Wait until all of this is on the screen."""
        self.until(lambda: all(text in "\n".join(self.screen.display) for text in texts))

    def row(self, number: int) -> str:
        """A line of the screen; -1 is the last."""
        return str(self.screen.display[number]).rstrip()

    def code(self) -> int:
        """How the job ended, with all that it has written."""
        assert self.process
        self.until(lambda: self.process is not None and self.process.poll() is not None)
        self.read()
        return self.process.wait()

    @property
    def left(self) -> str:
        """What stays in the terminal: all that was written outside of the screen."""
        pieces = self.raw.split(ENTER)
        text = pieces[0] + "".join(piece.partition(LEAVE)[2] for piece in pieces[1:])
        return text.replace("\r\n", "\n")

    def modes(self) -> tuple[bool, bool]:
        """Whether lines are edited, and whether keys are shown."""
        flags = termios.tcgetattr(self.theirs)[3]
        return bool(flags & termios.ICANON), bool(flags & termios.ECHO)

    def restored(self) -> bool:
        """Whether the screen was left, the cursor is there, and lines are edited again."""
        assert self.raw.count(ENTER) == self.raw.count(LEAVE)
        assert self.raw.rfind(SHOW) >= self.raw.rfind(HIDE)
        return self.modes() == LINES

    def close(self) -> None:
        """End what still runs, and close the window."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the window."""
        if self.ours >= 0:
            os.close(self.ours)
            os.close(self.theirs)
        self.ours = self.theirs = -1
