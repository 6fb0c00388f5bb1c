"""What the tests on a live cluster share: kindloop in a checkout of their own, run as a user would."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemas

from kindloop import state
from kindloop.config import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parents[2]
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Workers of one run have a checkout, a cluster and ports each."""
SUFFIX = f"-{WORKER}" if WORKER else ""
OWN = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
FIRST_OFFSET = 1000 + 100 * (int(OWN, 16) % 20) + 3000 * WORKER
"""Two that look for free ports at the same time, in other checkouts or as workers, begin elsewhere."""
CHECKOUTS = ROOT / "build"
CHECKOUT = CHECKOUTS / f"test-checkout{SUFFIX}"
NAME = f"kltest-{OWN}{SUFFIX}"
FOREIGN = f"klforeign-{OWN}{SUFFIX}"
STATE = CHECKOUTS / f"test-state{SUFFIX}"
USERS_KUBECONFIG = STATE / "users-kubeconfig"
TARGET = "examples/petstore/target/kindloop"
"""Where stages build, below a checkout."""
FOREIGN_KUBECONFIG = "apiVersion: v1\nkind: Config\ncurrent-context: production\n"
PATIENCE_S = 180
"""Seconds that anything but a build or a bake may take on a busy machine; never asserted."""
MORE_S = 1800
"""Seconds until another worker's second cluster must be gone."""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said: standard output and error in one."""

    code: int
    text: str

    @property
    def error(self) -> str:
        """The error alone: from its first line to the end."""
        return self.text[("\n" + self.text).find("\nerror: ") :]

    @property
    def message(self) -> str:
        """The first line of the error."""
        return self.error.partition("\n")[0]


@dataclass
class Loop:
    """kindloop in a checkout: runs tasks as a user would, in a process of their own."""

    root: Path
    name: str
    offset: int
    env: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{DEFAULT_PORTS['petstore'] + self.offset}"

    @property
    def environ(self) -> dict[str, str]:
        ours = {
            "KINDLOOP_NAME": self.name,
            "KINDLOOP_PORT_OFFSET": str(self.offset),
            # What these tests are about is the application; tests/observability has the stack.
            "KINDLOOP_OBSERVABILITY": "off",
        }
        return {**os.environ, **ours, **self.env}

    @property
    def home(self) -> Path:
        """The environment's state directory."""
        state = self.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
        return Path(state) / "kindloop" / self.name

    @property
    def node(self) -> str:
        return f"{self.name}-control-plane"

    @property
    def app(self) -> Path:
        """The pet store's sources."""
        return self.root / "examples/petstore/pet_store/src"

    @property
    def settings(self) -> Path:
        return self.root / "kindloop.yaml"

    @property
    def manifests(self) -> Path:
        return self.root / "k8s/app"

    def run(
        self, *words: str, env: dict[str, str] | None = None, timeout_s: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run `invoke WORDS`; the result is judged by the test."""
        done = subprocess.run(
            command(*words),
            cwd=self.root,
            env={**self.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        schemas.may_end(words, done.returncode)
        return done

    def say(self, *words: str, env: dict[str, str] | None = None, timeout_s: float = 900) -> Said:
        """Run `invoke WORDS`; its exit code and all it said."""
        done = self.run(*words, env=env, timeout_s=timeout_s)
        assert "Traceback" not in done.stderr, done.stderr
        print(
            f"$ invoke {' '.join(words)}\n{done.stdout}{done.stderr}[exit code {done.returncode}]"
        )
        return Said(done.returncode, done.stdout + done.stderr)

    def ok(self, *words: str, env: dict[str, str] | None = None, timeout_s: float = 900) -> str:
        """Run `invoke WORDS`, which must succeed; returns its standard output."""
        done = self.run(*words, env=env, timeout_s=timeout_s)
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def start(self, *words: str, env: dict[str, str] | None = None) -> Running:
        """Start `invoke WORDS` in a process group of its own, as a terminal does."""
        return Running(words, self.root, {**self.environ, **(env or {})})

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        config = self.home / "kubeconfig"
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={config}", f"--namespace={self.name}", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {words}: {done.stderr}"
        return done.stdout

    def objects(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Objects of the environment's namespace."""
        return list(json.loads(self.kubectl("get", kind, "-o", "json", *words))["items"])

    def pods(self) -> dict[str, int]:
        """Restart count by pod UID of the pet store."""
        return {
            pod["metadata"]["uid"]: sum(
                s["restartCount"] for s in pod["status"].get("containerStatuses", [])
            )
            for pod in self.objects("pods", "-l", "app.kubernetes.io/name=petstore")
        }

    def curl(self, path: str, *flags: str) -> str:
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "--max-time", "10", *flags, self.url + path],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout

    def mended(self) -> None:
        """Put the checkout back and make the environment follow."""
        sync(ROOT, self.root)
        self.ok("dev-up")


class Running:
    """A command in a process group of its own, its output collected while it runs."""

    def __init__(self, words: tuple[str, ...], cwd: Path, env: dict[str, str]) -> None:
        self.log = cwd / ".kindloop" / f"test-{'-'.join(words)}-{time.monotonic_ns()}.log"
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("w") as out:
            self.popen = subprocess.Popen(
                command(*words),
                cwd=cwd,
                env={**env, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What it has said until now."""
        return self.log.read_text()

    def until(self, seen: Callable[[Running], object]) -> None:
        """Wait until `seen` says yes, while it runs."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not seen(self):
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}:\n{self.text}"
            assert time.monotonic() < deadline_s, f"not seen in time:\n{self.text}"
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends SIGINT to the whole foreground group."""
        os.killpg(self.popen.pid, signal.SIGINT)

    def end(self, timeout_s: float = 900) -> Said:
        """Wait for the end."""
        code = self.popen.wait(timeout_s)
        assert "Traceback" not in self.text, self.text
        return Said(code, self.text)

    def runs(self, *words: str) -> bool:
        """Whether a descendant's command line begins with these words."""
        return any(found[: len(words)] == list(words) for found in descendants(self.popen.pid))

    def runs_with(self, word: str) -> bool:
        """Whether a descendant's command line has this word."""
        return any(word in found for found in descendants(self.popen.pid))


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "invoke", *words]


def docker(*words: str | Path, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0 or not check, f"docker {words}: {done.stderr}"
    return done.stdout


def edit(path: Path, old: str, new: str) -> None:
    """Replace the one place in `path` where `old` stands."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has {text.count(old)} times {old!r}"
    path.write_text(text.replace(old, new))


def line_of(text: str, part: str) -> int:
    """Number of the line in which `part` first stands."""
    return text[: text.index(part)].count("\n") + 1


def sync(source: Path, target: Path) -> None:
    """Make `target` a copy of the tracked and new files of `source`; dates are kept for cargo."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=source,
        capture_output=True,
        check=True,
    )
    names = {n for n in listed.stdout.decode().split("\0") if n and (source / n).is_file()}
    for name in names:
        old, new = source / name, target / name
        if new.exists() and new.read_bytes() == old.read_bytes():
            continue
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(old, new)
    for path in [p for p in target.rglob("*") if p.is_file()]:
        relative = path.relative_to(target)
        kept = {"target", ".kindloop"} & set(relative.parts)
        if not kept and str(relative) not in names:
            path.unlink()


@contextmanager
def own_checkout() -> Iterator[Path]:
    """The checkout of the tests, as the files are now, kept between runs so that cargo's work is.

    Held: a second run of this checkout would edit it and delete its cluster. Raises Locked, which
    names the run that has it.
    """
    with state.lock(CHECKOUT.with_suffix(".lock"), f"the live tests in {CHECKOUT}"):
        sync(ROOT, CHECKOUT)
        if not WORKER:
            seed(ROOT, CHECKOUT)
        yield CHECKOUT


@contextmanager
def one_more_cluster() -> Iterator[None]:
    """One worker at a time has a second cluster: each takes memory, and inotify instances."""
    with state.lock(CHECKOUTS / "test-more.lock", "one more cluster", wait_s=MORE_S):
        yield


def seed(source: Path, checkout: Path) -> None:
    """Let cargo begin in a checkout with what it has compiled in another, in which nobody builds now.

    Compiled dependencies are the same in both: only the sample itself is built again.
    """
    own = checkout / TARGET
    if (source / TARGET).is_dir() and not own.exists():
        begun = own.with_name("seed")
        shutil.rmtree(begun, ignore_errors=True)
        shutil.copytree(source / TARGET, begun, symlinks=True)
        begun.rename(own)


def free_offset(first: int = FIRST_OFFSET, last: int = 9000, step: int = 100) -> int:
    """An offset at which every port of an environment is free now."""
    for offset in range(first, last, step):
        if all(_is_free(port + offset) for port in DEFAULT_PORTS.values()):
            return offset
    raise AssertionError("no range of free ports on this machine")


def marked(variable: str) -> dict[int, list[str]]:
    """Command lines of the living processes whose environment has `variable`, by process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue  # it ended meanwhile, or is another user's
        if variable.encode() in environ:
            found[int(entry.name)] = [word.decode() for word in words]
    return found


def descendants(pid: int) -> list[list[str]]:
    """Command lines of all processes below `pid`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    lines, left = [], children.get(pid, [])
    while left:
        one = left.pop()
        left += children.get(one, [])
        try:
            words = Path(f"/proc/{one}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        lines.append([Path(words[0].decode()).name, *(word.decode() for word in words[1:])])
    return lines


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
