"""Keys in a real pseudo-terminal, and the terminal as it is afterwards."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindloop.keys import Keys

PATIENCE_S = 30.0
SCRIPT = """
import signal, sys, threading
from kindloop.keys import Keys

ended = threading.Event()

def take(key):
    print("<" + key + ">", flush=True)
    if key == "q":
        ended.set()

{before}
with Keys(take) as keys:
    print("active" if keys.active else "inert", flush=True)
    {body}
    ended.wait()
"""


class Terminal:
    """A pseudo-terminal and the job that a shell in it would have started."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self.said = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *argv: str, output: int | None = None) -> None:
        """Begin a session that this terminal controls."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", LEADER, *argv],
            stdin=self.theirs,
            stdout=self.theirs if output is None else output,
            stderr=self.theirs,
            start_new_session=True,
            env={**os.environ, "PS1": "ready> ", "HISTFILE": ""},
        )

    def script(self, *, before: str = "", body: str = "") -> None:
        """Run SCRIPT."""
        self.start(sys.executable, "-c", SCRIPT.format(before=before, body=body))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.ours, text.encode())

    def wait_for(self, text: str) -> str:
        """Wait until this has been written; what came before it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while text not in self.said:
            ready, _, _ = select.select([self.ours], [], [], 0.1)
            if ready:
                self.said += os.read(self.ours, 4096).decode()
            assert time.monotonic() < deadline_s, f"{text!r} is not in {self.said!r}"
        before, _, self.said = self.said.partition(text)
        return before

    def modes(self) -> tuple[bool, bool]:
        """Whether lines are edited, and whether keys are shown."""
        flags = termios.tcgetattr(self.theirs)[3]
        return bool(flags & termios.ICANON), bool(flags & termios.ECHO)

    def code(self) -> int:
        """How the job ended."""
        assert self.process
        return self.process.wait(PATIENCE_S)


LEADER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
LINES, CBREAK = (True, True), (False, False)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal of its own; what still runs in it is ended."""
    terminal = Terminal()
    yield terminal
    if terminal.process and terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait()
    for fd in (terminal.ours, terminal.theirs):
        os.close(fd)


def test_keys_come_without_enter_and_others_are_nobodys(terminal: Terminal) -> None:
    terminal.script()
    terminal.wait_for("active")
    assert terminal.modes() == CBREAK
    terminal.type("xr")
    terminal.wait_for("<r>")
    terminal.type("\x1b[A")  # an arrow
    terminal.type("é R gptl?q")
    terminal.wait_for("<g>\r\n<p>\r\n<t>\r\n<l>\r\n<?>\r\n<q>")
    assert terminal.code() == 0
    assert terminal.modes() == LINES


def test_the_letters_of_an_arrow_key_are_no_keys(terminal: Terminal) -> None:
    terminal.script()
    terminal.wait_for("active")
    for text in ("\x1b[1;5q", "\x1bOl", "\x1bg", "\x1b[A\x1b[A"):
        terminal.type(f"{text}r")
        terminal.wait_for("<r>")
    terminal.type("q")
    terminal.wait_for("<q>")
    assert terminal.said.strip() == ""


def test_the_end_of_input_quits(terminal: Terminal) -> None:
    terminal.script()
    terminal.wait_for("active")
    terminal.type("\x04")
    terminal.wait_for("<q>")
    assert terminal.code() == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [("raise SystemExit(5)", 5), ("1 / 0", 1), ("signal.raise_signal(signal.SIGINT)", -2)],
)
def test_after_an_error_the_terminal_is_as_before(terminal: Terminal, body: str, code: int) -> None:
    terminal.script(before="signal.signal(signal.SIGINT, signal.default_int_handler)", body=body)
    assert terminal.code() == code
    assert terminal.modes() == LINES


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_after_a_signal_the_terminal_is_as_before(
    terminal: Terminal, number: signal.Signals
) -> None:
    terminal.script()
    terminal.wait_for("active")
    assert terminal.process
    terminal.process.send_signal(number)
    assert terminal.code() == -number
    assert terminal.modes() == LINES


def test_a_handler_of_somebody_else_is_left_alone(terminal: Terminal) -> None:
    terminal.script(before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))")
    terminal.wait_for("active")
    assert terminal.process
    terminal.process.terminate()
    assert terminal.code() == 7
    assert terminal.modes() == LINES


def test_ctrl_c_is_the_signal_that_it_is(terminal: Terminal) -> None:
    handler = "signal.signal(signal.SIGINT, lambda *_: (print('<int>', flush=True), ended.set()))"
    terminal.script(before=handler)
    terminal.wait_for("active")
    terminal.type("\x03")
    terminal.wait_for("<int>")
    assert terminal.code() == 0


def test_where_ctrl_c_makes_no_signal_it_quits(terminal: Terminal) -> None:
    attributes = termios.tcgetattr(terminal.theirs)
    attributes[3] &= ~termios.ISIG
    termios.tcsetattr(terminal.theirs, termios.TCSANOW, attributes)
    terminal.script()
    terminal.wait_for("active")
    terminal.type("\x03")
    terminal.wait_for("<q>")


@pytest.mark.parametrize("again", ["fg", "bg; fg"])
def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(
    terminal: Terminal, tmp_path: Path, again: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(before="", body=""))
    terminal.start("bash", "--norc", "--noediting", "-i")
    terminal.wait_for("ready> ")
    terminal.type(f"{sys.executable} {script}\n")
    terminal.wait_for("active")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for("ready> ")
    terminal.type("stty -a; echo 'the' end\n")
    shown = terminal.wait_for("the end\r\n")
    assert {"icanon", "echo"} <= set(shown.replace(";", " ").split())
    terminal.wait_for("ready> ")
    terminal.type(f"{again}\n")
    terminal.wait_for(str(script))
    deadline_s = time.monotonic() + PATIENCE_S
    while terminal.modes() != CBREAK:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    terminal.type("r")
    terminal.wait_for("<r>")
    terminal.type("q")
    terminal.wait_for("<q>")
    terminal.wait_for("ready> ")
    terminal.type("exit 3\n")
    assert terminal.code() == 3


def test_in_the_background_nothing_is_read_nor_changed(terminal: Terminal, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(before="", body="ended.set()"))
    terminal.start("bash", "--norc", "--noediting", "-i")
    terminal.wait_for("ready> ")
    terminal.type(f"{sys.executable} {script} & wait\n")
    terminal.wait_for("inert")
    terminal.wait_for("ready> ")
    terminal.type("exit 4\n")
    assert terminal.code() == 4


def test_a_closed_terminal_quits(tmp_path: Path) -> None:
    terminal = Terminal()
    said = tmp_path / "said"
    with said.open("wb") as output:
        ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
        text = SCRIPT.format(before=ignore, body="")
        terminal.start(sys.executable, "-c", text, output=output.fileno())
    deadline_s = time.monotonic() + PATIENCE_S
    while "active" not in said.read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    os.close(terminal.theirs)
    os.close(terminal.ours)
    assert terminal.code() == 0
    assert "<q>" in said.read_text()


def test_what_is_no_terminal_is_not_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"q")
    taken: list[str] = []
    with os.fdopen(reader) as stream, Keys(taken.append, stream) as keys:
        assert not keys.active
        assert stream.read(1) == "q"
        os.close(writer)
    with Keys(taken.append, io.StringIO("q")) as keys:
        assert not keys.active
    assert taken == []
