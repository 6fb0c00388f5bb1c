"""Where everything is measured: a checkout, a kind cluster and a state directory of the bench's own."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from live import ROOT, Loop, docker, free_offset, sync

from bench.asking import Answer, Asker
from bench.variants import ByHand, Variants, by_hand

__all__ = [
    "APP",
    "BARE",
    "CHECKOUT",
    "LOGS",
    "PETS",
    "Bed",
    "Watch",
    "bare_checkout",
    "copying",
    "opened",
]

BUILD = ROOT / "build"
CHECKOUT = BUILD / "bench-checkout"
BARE = BUILD / "bench-bare"
"""A second checkout, for cargo alone."""
STATE = BUILD / "bench-state"
LOGS = BUILD / "bench-logs"
NAME = "klbench-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
APP = Path("examples/petstore")
"""The Rust workspace in a checkout."""
PETS = "/pets?species=cat"
"""Answers the pet whose name the variants change."""
SERVED_S = 60.0
"""Seconds after which a save counts as not served."""
STARTED_S = 300.0
"""Seconds that a watch may take until it serves: what is stale is compiled first."""
REST_S = 0.1
"""Seconds between a save that was served and the next one, and after 8 MB were written to the disk."""


def copying(
    document: dict[str, Any], *, transport: str = "auto", rollback: bool = True
) -> dict[str, Any]:
    """kindloop.yaml with one stage in place of all: a copy of a binary that is there. Pure.

    By `install`, which makes a new file, as a linker does: ext4 writes out at once what is copied
    over an old one, and that takes longer than the copy.
    """
    made = copy.deepcopy(document)
    kept = {name: stage for name, stage in made["stages"].items() if name == "supervisor"}
    prepared = {
        "run": "install bench/next {target}/prepared",
        "inputs": ["bench/next"],
        "outputs": ["{target}/prepared"],
        "tools": [],
    }
    made["stages"] = {**kept, "prepared": prepared}
    workload = made["workloads"]["petstore"]
    workload["image"].pop("artifact", None)
    workload["swap"] |= {"artifact": "prepared", "transport": transport, "rollback": rollback}
    return made


class Watch:
    """`invoke dev-watch` in a process group of its own, piped into a file."""

    def __init__(self, loop: Loop, log: Path) -> None:
        self.log = log
        self._seen = 0
        self._counted = 0
        with log.open("w") as out:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "invoke", "dev-watch"],
                cwd=loop.root,
                env={**loop.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, which is also that of its group."""
        return self._popen.pid

    def check(self) -> None:
        """Raise when it has ended."""
        if self._popen.poll() is not None:
            raise RuntimeError(f"dev-watch ended with {self._popen.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines that it said."""
        return "\n".join(self.log.read_text().splitlines()[-15:])

    def begun(self) -> None:
        """Wait until it watches; what is saved before that is found by its first look or by none."""
        deadline_s = time.monotonic() + STARTED_S
        while b"\nwatching " not in self.log.read_bytes():
            self.check()
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"dev-watch does not begin:\n{self.tail()}")
            time.sleep(0.05)

    def fresh(self) -> int:
        """How many saves it has called fresh until now."""
        with self.log.open("rb") as said:
            said.seek(self._seen)
            whole = said.read().rpartition(b"\n")[0]
        self._seen += len(whole)
        self._counted += whole.count(b" fresh in ")
        return self._counted

    def settled(self, count: int, timeout_s: float = 5.0) -> bool:
        """Wait until it has called `count` saves fresh; whether it has."""
        deadline_s = time.monotonic() + timeout_s
        while self.fresh() < count:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.005)
        return True

    def end(self) -> None:
        """End it and wait for that. Not by SIGINT: a shell in the background lets it be ignored."""
        begun_s = time.perf_counter()
        if self._popen.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        try:
            self._popen.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        took_s = time.perf_counter() - begun_s
        print(f"{self.log.stem}: SIGTERM ended dev-watch in {took_s:.2f} s", flush=True)


class Bed:
    """The checkout and its environment. Made by `opened`; the cluster comes with the first `up`."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.port = int(loop.url.rpartition(":")[2])
        self.original = yaml.safe_load(loop.settings.read_text())
        self._spare = CHECKOUT / "spare"
        """Files wait here, outside of every input, until they are renamed into place."""
        self._spare.mkdir(exist_ok=True)

    @property
    def app(self) -> Path:
        """The Rust workspace."""
        return self.loop.root / APP

    @cached_property
    def variants(self) -> Variants:
        """The binaries to swap, made of the pet store that the first `up` has built."""
        self.up(self.original)
        found = list(self.app.glob("target/kindloop/loop/*/release/pet_store"))
        if len(found) != 1:
            raise RuntimeError(f"expected one pet_store below {self.app}/target, found {found}")
        return Variants(found[0])

    def up(self, document: dict[str, Any]) -> None:
        """Bring the environment up with these settings."""
        self.settings(document)
        self.loop.ok("dev-up", timeout_s=3000)

    def settings(self, document: dict[str, Any]) -> None:
        """Write kindloop.yaml."""
        self.loop.settings.write_text(yaml.safe_dump(document, sort_keys=False))

    def up_copying(self, number: int, *, transport: str = "auto", rollback: bool = True) -> None:
        """Bring the environment up with a stage that copies; variant `number` is what it copies."""
        content = self.variants.content(number)
        (self.app / "bench").mkdir(exist_ok=True)
        self.save(self.app / "bench/next", content)
        self.up(copying(self.original, transport=transport, rollback=rollback))

    def command(self, stage: str) -> ByHand:
        """How the stage is run, by the first line of its log."""
        log = self.loop.root / f".kindloop/logs/build-{stage}.log"
        if not log.exists():
            # Compiled by an earlier run of the bench, whose logs are gone.
            self.settings(self.original)
            self.loop.ok(f"build.{stage}", "--force")
        return by_hand(log.read_text())

    def save(self, path: Path, content: bytes, rest_s: float = 0.0) -> float:
        """Write a file, wait, and rename it into place; when that was (`perf_counter`, seconds)."""
        waiting = self._spare / "next"
        with waiting.open("wb") as file:
            file.write(content)
            file.flush()
            # Else ext4 writes 8 MB out in the middle of the rename: the save of a source is small.
            os.fsync(file.fileno())
        waiting.chmod(0o755 if content.startswith(b"\x7fELF") else 0o644)
        time.sleep(rest_s)
        saved_s = time.perf_counter()
        waiting.replace(path)
        return saved_s

    def swap(
        self, asker: Asker, number: int, timeout_s: float = SERVED_S, rest_s: float = 0.0
    ) -> float | None:
        """Save a variant; seconds until it was served at the user's URL, None when it was not."""
        content = self.variants.content(number)
        saved_s = self.save(self.app / "bench/next", content, rest_s)
        served_s = asker.until(PETS, named(number), timeout_s)
        return None if served_s is None else served_s - saved_s

    def swapped(self, asker: Asker, watch: Watch, number: int) -> float:
        """Like `swap`, and wait until the watch has told it; raises when it was not served."""
        fresh = watch.fresh()
        took_s = self.swap(asker, number, rest_s=REST_S)
        watch.check()
        if took_s is None:
            raise RuntimeError(f"variant {number} was not served in {SERVED_S} s:\n{watch.tail()}")
        if not watch.settled(fresh + 1):
            raise RuntimeError(f"dev-watch did not call variant {number} fresh:\n{watch.tail()}")
        return took_s

    @contextmanager
    def watching(self, name: str) -> Iterator[Watch]:
        """A running watch; its output stays in build/bench-logs/NAME.log."""
        watch = Watch(self.loop, LOGS / f"{name}.log")
        try:
            yield watch
        finally:
            watch.end()

    @contextmanager
    def watching_copies(self, name: str, number: int) -> Iterator[tuple[Watch, Asker]]:
        """A watch of the stage that copies which has served variant `number`."""
        with self.watching(name) as watch:
            asker = Asker(self.port)
            watch.begun()
            if self.swap(asker, number) is None:
                raise RuntimeError(f"dev-watch serves nothing:\n{watch.tail()}")
            time.sleep(1.0)
            yield watch, asker


def named(number: int) -> Any:
    """Whether an answer tells the pet's name of this variant."""
    name = f'"{Variants.name(number)}"'.encode()

    def seen(answer: Answer) -> bool:
        return name in answer.body

    return seen


@contextmanager
def opened() -> Iterator[Bed]:
    """The bed, with the sources as they are now; its cluster is deleted afterwards."""
    for folder in (CHECKOUT, STATE, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    _checkout(CHECKOUT)
    env = {"XDG_STATE_HOME": str(STATE), "KUBECONFIG": str(STATE / "users-kubeconfig")}
    for name in ("KINDLOOP_CONFIG", "KINDLOOP_PROFILE"):
        os.environ.pop(name, None)
    # kind and kubectl may be there and nowhere else.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    loop = Loop(CHECKOUT, NAME, free_offset(3000), env)
    loop.run("dev-down")  # what a killed run left
    try:
        yield Bed(loop)
    finally:
        loop.run("dev-down")
        # Images are the engine's, and dev-down keeps them for the next dev-up.
        label = f"--filter=label=kindloop.environment={NAME}"
        for image in set(docker("image", "ls", "--quiet", label).split()):
            docker("image", "rm", "--force", image, check=False)


def _checkout(folder: Path) -> None:
    """Make it the checkout as it is now, a repository of its own, with cargo's work kept."""
    # Else git would take it for an ignored folder of the checkout around it.
    shutil.rmtree(folder / ".git", ignore_errors=True)
    sync(ROOT, folder)
    _seed(ROOT, folder)
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "bench"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def bare_checkout() -> Path:
    """The second checkout, the same as the first is now, for cargo alone."""
    BARE.mkdir(exist_ok=True)
    sync(CHECKOUT, BARE)
    _seed(CHECKOUT, BARE)
    return BARE


def _seed(source: Path, folder: Path) -> None:
    """Begin with what cargo compiled there: dependencies are the same in both."""
    made, own = source / APP / "target/kindloop", folder / APP / "target/kindloop"
    if made.is_dir() and not own.exists():
        shutil.copytree(made, own, symlinks=True)
