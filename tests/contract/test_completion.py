"""The Tab key in a real shell in a real terminal, in a folder without kindloop.yaml."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wheels

from kindloop import state
from kindloop.clusterfacts import Environment
from kindloop.tasks.program import environment_names

PATIENCE_S = 60.0
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
LOAD = {
    "bash": 'eval "$(kindloop --print-completion-script bash)"',
    # Without the completion of zsh itself, flags are not completed.
    "zsh": 'autoload -Uz compinit && compinit -u -D; eval "$(kindloop --print-completion-script zsh)"',
    "fish": "kindloop --print-completion-script fish | source",
}


class Terminal:
    """A shell in a pseudo-terminal of 80 columns."""

    def __init__(self, shell: str, cwd: Path, env: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:  # the child: nothing but exec
            os.chdir(cwd)
            os.execvpe(SHELLS[shell][0], SHELLS[shell], env)
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str) -> None:
        """Read until the screen has shown `text`."""
        deadline_s = time.monotonic() + PATIENCE_S
        while text not in self.text:
            assert time.monotonic() < deadline_s, f"no {text!r} in:\n{self.text}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.text += os.read(self.fd, 4096).decode(errors="replace")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, whose programs are what the shell finds."""
    folder = tmp_path_factory.mktemp("completion")
    return wheels.install(wheels.build(folder / "dist"), folder / "venv")


@pytest.fixture
def terminal(request: pytest.FixtureRequest, programs: Path, homes: Path) -> Iterator[Terminal]:
    for name in ("blue-one", "red-one"):
        state.write_json(Environment(name).owner_file, {})
    env = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TERM": "dumb" if request.param == "fish" else "vt100",
        "PS1": "ready> ",
        "PROMPT": "ready> ",
        "HISTFILE": "",
        "HOME": str(homes),
    }
    made = Terminal(request.param, homes, env)
    made.type(f"{LOAD[request.param]}; echo load''ed\n")
    made.until("loaded")
    yield made
    made.end()


HERE = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not shutil.which(name),
            reason=f"no {name}: its completion script is not tried; that of bash is",
        ),
    )
    for name in SHELLS
]
"""bash is everywhere; zsh and fish only where somebody uses them."""


def test_bash_is_here() -> None:
    assert shutil.which("bash")


@pytest.mark.parametrize("terminal", HERE, indirect=True)
def test_tab_completes_tasks_flags_and_names(terminal: Terminal) -> None:
    """Each word is typed in part, and the rest of it must be what Tab writes."""
    for typed, shown in (
        ("kindloop dev-reb\t", "kindloop dev-rebuild"),
        ("--cle\t", "--clean"),
    ):
        terminal.text = ""
        terminal.type(typed)
        terminal.until(shown.removeprefix(typed.rstrip("\t")))
    terminal.type("\x15")  # away with the line
    terminal.text = ""
    terminal.type("kindloop dev-down blu\t")
    terminal.until("e-one")


def test_a_name_is_asked_for_behind_its_task_only(homes: Path) -> None:
    state.write_json(Environment("blue-one").owner_file, {})
    ask = ["kindloop", "--complete", "--", "kindloop"]
    assert environment_names([*ask, "dev-down"]) == ["blue-one"]
    assert environment_names([*ask, "dev-stop", "bl"]) == ["blue-one"]
    assert environment_names([*ask[:3], "kindloop dev-stop"]) == ["blue-one"]
    for words in (["dev-up"], ["dev-stop", "--ver"], [], ["dev-stop", "x", "y"]):
        assert environment_names([*ask, *words]) == []
    assert environment_names(["kindloop", "dev-down", "blue-one"]) == []
