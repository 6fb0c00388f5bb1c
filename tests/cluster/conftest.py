"""A checkout and a kind cluster of the tests' own.

The cluster is real; there is no skip: a machine without engine or kind fails here. Name and ports
are ours alone, so an environment that somebody uses beside is never touched, and what a killed
run left is swept first. `KINDLOOP_KEEP=1` leaves the cluster for a look.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kindloop.config import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = ROOT / "build" / "test-checkout"
NAME = "kltest-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


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
        ours = {"KINDLOOP_NAME": self.name, "KINDLOOP_PORT_OFFSET": str(self.offset)}
        return {**os.environ, **ours, **self.env}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "invoke", *words]

    def run(
        self, *words: str, env: dict[str, str] | None = None, timeout_s: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run `invoke WORDS`; the result is judged by the test."""
        return subprocess.run(
            self.command(*words),
            cwd=self.root,
            env={**self.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ok(self, *words: str, env: dict[str, str] | None = None, timeout_s: float = 900) -> str:
        """Run `invoke WORDS`, which must succeed; returns its standard output."""
        done = self.run(*words, env=env, timeout_s=timeout_s)
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `invoke WORDS` in a process group of its own, as a terminal does."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.root,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def kubectl(self, *words: str) -> str:
        config = self.home / "kubeconfig"
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={config}", f"--namespace={self.name}", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    def pods(self) -> dict[str, int]:
        """Restart count by pod UID of the pet store."""
        found = self.kubectl("get", "pods", "-l", "app.kubernetes.io/name=petstore", "-o", "json")
        return {
            pod["metadata"]["uid"]: sum(
                s["restartCount"] for s in pod["status"].get("containerStatuses", [])
            )
            for pod in json.loads(found)["items"]
        }

    @property
    def home(self) -> Path:
        """The environment's state directory."""
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
        return Path(state) / "kindloop" / self.name

    @property
    def node(self) -> str:
        return f"{self.name}-control-plane"

    def curl(self, path: str, *flags: str) -> str:
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "--max-time", "10", *flags, self.url + path],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout


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


def free_offset(first: int = 1000, last: int = 9000, step: int = 100) -> int:
    """An offset at which every port of an environment is free now."""
    for offset in range(first, last, step):
        if all(_is_free(port + offset) for port in DEFAULT_PORTS.values()):
            return offset
    raise AssertionError("no range of free ports on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def checkout() -> Path:
    """A checkout of the tests' own, kept between runs so that cargo's work is."""
    seed = ROOT / "examples/petstore/target/kindloop"
    own = CHECKOUT / "examples/petstore/target/kindloop"
    sync(ROOT, CHECKOUT)
    if seed.is_dir() and not own.exists():
        # Compiled dependencies are the same in both: only the sample itself is built again.
        shutil.copytree(seed, own, symlinks=True)
    return CHECKOUT


@pytest.fixture(scope="session")
def down(checkout: Path) -> Iterator[Loop]:
    """kindloop in the tests' checkout, with no cluster yet."""
    swept = Loop(checkout, NAME, 1000)
    swept.run("dev-down")
    loop = Loop(checkout, NAME, free_offset())
    yield loop
    if "KINDLOOP_KEEP" not in os.environ:
        loop.run("dev-down")


@pytest.fixture(scope="session")
def first_up(down: Loop) -> tuple[Loop, str]:
    """The environment brought up once, with what `dev-up` said."""
    return down, down.ok("dev-up", timeout_s=3000)


@pytest.fixture
def up(first_up: tuple[Loop, str]) -> Iterator[Loop]:
    """A healthy environment; a test that breaks the checkout gets it mended afterwards."""
    loop, _ = first_up
    yield loop
    sync(ROOT, loop.root)
