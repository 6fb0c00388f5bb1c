"""k8s.kubectl: a fake kubectl that is called in a process of its own, at a terminal and at none."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop import kubectl_call
from kindloop.clusterfacts import Environment

CALL = """
import sys
from pathlib import Path
from kindloop import cluster, kubectl_call
from kindloop.config import Config
cluster.require = cluster.environment
sys.exit(kubectl_call.run(Config(Path("kindloop.yaml").absolute(), name="mine"), sys.argv[1:]))
"""
WHERE = "test -t 0 && echo in is a terminal; test -t 1 && echo out is a terminal"
ASKS = f"{WHERE}; printf 'word: '; read word; echo heard $word; exit 7"


@pytest.fixture
def words(homes: Path, fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The call, in a folder with an environment whose key is `hunter2-token`."""
    env = Environment("mine")
    env.home.mkdir(parents=True)
    env.kubeconfig.write_text("users: [{name: a, user: {token: hunter2-token}}]\n")
    monkeypatch.chdir(homes)
    return [sys.executable, "-c", CALL]


class Terminal:
    """The call at a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execv(words[0], words)
        self.said = ""

    def until(self, text: str) -> None:
        """Read until it has said so."""
        while text not in self.said:
            self.said += os.read(self._fd, 4096).decode()

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._fd, keys.encode())

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        try:
            while chunk := os.read(self._fd, 4096):
                self.said += chunk.decode()
        except OSError:
            pass  # Linux ends a terminal whose last program has left with EIO
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize("code", [0, 1, 42])
def test_the_exit_code_is_kubectls(words: list[str], fake: Callable[..., Path], code: int) -> None:
    fake("kubectl", f"exit {code}")
    done = subprocess.run([*words, "get", "pods"], capture_output=True, check=False)
    assert done.returncode == code


def test_the_two_outputs_are_kept_apart_and_show_no_key(
    words: list[str], fake: Callable[..., Path]
) -> None:
    fake("kubectl", "echo 'token: hunter2-token'; echo 'Warning: hunter2-token is old' >&2")
    call = [*words, "config", "view", "--raw"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("token: ***\n", "Warning: *** is old\n")


def test_it_has_our_standard_input(words: list[str], fake: Callable[..., Path]) -> None:
    fake("kubectl", f"{WHERE}; cat")
    sent = "".join(f"line {n}: hunter2-token\n" for n in range(20_000))
    done = subprocess.run(
        [*words, "apply", "-f", "-"], input=sent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == sent.replace("hunter2-token", "***")


def test_what_talks_with_the_user_has_the_terminal(
    words: list[str], fake: Callable[..., Path]
) -> None:
    fake("kubectl", ASKS)
    terminal = Terminal(*words, "exec", "-it", "deploy/petstore", "--", "sh")
    terminal.until("word: ")  # without an end of line nothing would come through lines
    terminal.type("hello\n")
    assert terminal.end() == 7
    assert "in is a terminal\r\nout is a terminal\r\n" in terminal.said
    assert "heard hello" in terminal.said


def test_ctrl_c_is_for_who_has_the_terminal(words: list[str], fake: Callable[..., Path]) -> None:
    fake(
        "kubectl",
        "trap 'echo caught; sleep 0.2; exit 5' INT; echo ready; while :; do sleep 0.1; done",
    )
    terminal = Terminal(*words, "edit", "deploy/petstore")
    terminal.until("ready")
    terminal.type("\x03")
    assert terminal.end() == 5
    assert "caught" in terminal.said
    assert "Traceback" not in terminal.said


def test_who_has_the_terminal_ends_with_us(
    words: list[str], fake: Callable[..., Path], ends: Callable[[int], None]
) -> None:
    fake("kubectl", "trap 'echo ended; exit 0' TERM; echo ready $$ .; while :; do sleep 0.1; done")
    terminal = Terminal(*words, "attach", "-it", "petstore-1")
    terminal.until(" .")
    os.kill(terminal.pid, signal.SIGKILL)
    ends(int(terminal.said.split()[-2]))
    terminal.end()


def test_at_a_terminal_too_what_only_tells_is_masked(
    words: list[str], fake: Callable[..., Path]
) -> None:
    fake("kubectl", f"{WHERE}; echo hunter2-token")
    terminal = Terminal(*words, "config", "view", "--raw")
    assert terminal.end() == 0
    assert terminal.said == "in is a terminal\r\n***\r\n"


@pytest.mark.parametrize(
    "line",
    [
        *("exec -it deploy/shop -- sh", "exec -ti shop sh", "exec --stdin --tty=true shop -- sh"),
        *("-n shop exec -i -t shop -- sh", "--namespace=shop attach -it shop-1"),
        *("run -it --rm a --image=b", "debug -qit shop-1 --image=b"),
        *("edit deploy/shop", "-n shop edit deploy shop", "apply edit-last-applied deploy/shop"),
        *("create deploy a --image=b --edit", "delete -i pods --all"),
    ],
)
def test_calls_that_talk_with_the_user(line: str) -> None:
    assert kubectl_call.wants_terminal(line.split())


@pytest.mark.parametrize(
    "line",
    [
        *(
            "",
            "get pods",
            "exec shop -- ls -t",
            "exec -i shop -- cat",
            "exec --tty=false shop -- ls",
        ),
        *("get secret edit -o yaml", "get pods -lapp=it -ntest", "-n edit get pods", "logs exec"),
        *("apply -f -", "create -f -", "delete pod -l it", "run a --image=b --tty=false"),
    ],
)
def test_calls_that_only_tell(line: str) -> None:
    assert not kubectl_call.wants_terminal(line.split())
