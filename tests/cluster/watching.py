"""A watch that a test starts, drives by edits and listens to: as JSON events, or in a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import schemas
from live import PATIENCE_S, Loop, Running, command, marked

Event = dict[str, Any]
T = TypeVar("T")

READY = re.compile(r"watching \d+ [a-z ]+")
CAT = re.compile(r'"name": "\w+", "species": "cat"')
LEADER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Watch:
    """`invoke dev-watch --json` in a process group of its own."""

    _checked = 0
    """How many of its lines were found to be as their schema says."""

    def __init__(self, loop: Loop, *words: str, env: dict[str, str] | None = None) -> None:
        self.loop = loop
        self.mark = f"KINDLOOP_TEST_MARK={uuid.uuid4()}"
        words = words or ("dev-watch", "--json")
        env = {**(env or {}), **dict([self.mark.split("=")])}
        self.running: Running = loop.start(*words, env=env)

    @property
    def pid(self) -> int:
        return self.running.popen.pid

    def events(self, since: int = 0) -> list[Event]:
        """Everything told from event `since` on; every line must be an event, as its schema says."""
        lines = self.running.text.rpartition("\n")[0].splitlines()
        for line in lines[self._checked :]:
            schemas.valid("event", json.loads(line))
        self._checked = len(lines)
        return [json.loads(line) for line in lines[since:]]

    def count(self) -> int:
        """How many events there are: a place to look from."""
        return len(self.events())

    def until(self, seen: Callable[[list[Event]], T], since: int = 0) -> T:
        """What `seen` makes of the events from `since` on, as soon as that is something."""
        found: list[T] = []

        def look(_: Running) -> bool:
            answer = seen(self.events(since))
            if answer:
                found.append(answer)
            return bool(answer)

        self.running.until(look)
        return found[0]

    def told(self, part: str, since: int = 0) -> Event:
        """The first event from `since` on with this text in it, waited for."""
        return self.until(
            lambda events: next((e for e in events if part in e.get("text", "")), None), since
        )

    def saved(self, change: Callable[[], object], verdict: str = "fresh", of: str = "") -> Event:
        """Make a change and wait until a save has this verdict; what is known of it.

        `of` is what the path of a saved file must end with.
        """
        since = self.count()
        change()

        def seen(events: list[Event]) -> Event | None:
            chosen = (one for one in saves(events) if one["verdict"] == verdict)
            return next(
                (c for c in chosen if any(p.endswith(of) for p in c["paths"] or [""])), None
            )

        return self.until(seen, since)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the watch alone and wait for its end; its exit code as a shell's."""
        os.kill(self.pid, number)
        code = self.running.popen.wait(PATIENCE_S)
        assert "Traceback" not in self.running.text, self.running.text
        return code if code >= 0 else 128 - code

    def left(self) -> dict[int, list[str]]:
        """What still runs of all that the watch has started, itself included."""
        return marked(self.mark)

    def __enter__(self) -> Self:
        """Wait until it watches."""
        try:
            self.running.until(lambda running: READY.search(running.text))
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clean()

    def _clean(self) -> None:
        if self.running.popen.poll() is None:
            self.running.popen.terminate()
            self.running.popen.wait(PATIENCE_S)
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)


class Terminal:
    """`invoke WORDS` in a terminal, as somebody sits in front of it."""

    def __init__(self, loop: Loop, *words: str, plain: bool = True) -> None:
        self.mark = f"KINDLOOP_TEST_MARK={uuid.uuid4()}"
        self.said = ""
        self._ours, theirs = pty.openpty()
        self.popen = subprocess.Popen(
            [sys.executable, "-c", LEADER, *command(*words)],
            cwd=loop.root,
            env={
                **loop.environ,
                "TERM": "xterm",
                "KINDLOOP_PLAIN": str(int(plain)),
                **dict([self.mark.split("=")]),
            },
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def read(self, pattern: str) -> re.Match[str]:
        """Wait until this is on the screen, and forget all up to it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.said)):
            ready, _, _ = select.select([self._ours], [], [], 0.1)
            if ready:
                self.said += (
                    os.read(self._ours, 65536).decode(errors="replace").replace("\r\n", "\n")
                )
            assert time.monotonic() < deadline_s, f"{pattern!r} is not in {self.said}"
        self.said = self.said[found.end() :]
        return found

    def close(self) -> None:
        """Close the window."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def drained(self) -> int:
        """Wait for the end while the screen is still read; the exit code as a shell's."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (code := self.popen.poll()) is None:
            assert time.monotonic() < deadline_s, self.said
            if self._ours >= 0 and select.select([self._ours], [], [], 0.05)[0]:
                try:
                    self.said += os.read(self._ours, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    self.close()
        return code if code >= 0 else 128 - code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        for pid in marked(self.mark):
            os.kill(pid, signal.SIGKILL)
        self.popen.wait()


def saves(events: Sequence[Event]) -> list[Event]:
    """What is known of each save among the events."""
    return [event["data"] for event in events if event["kind"] == "save"]


def of_files(events: Sequence[Event]) -> list[Event]:
    """The same, without what the watch found by itself."""
    return [data for data in saves(events) if data["paths"]]


def ran(events: Sequence[Event], stage: str) -> list[str]:
    """Why `stage` ran, or how it ended, once for each time that it did."""
    ended = [e.get("text", "") for e in events if e["kind"] == "ended" and e["step"] == stage]
    return [text for text in ended if text != "up to date"]


def call(loop: Loop, name: str) -> None:
    """Edit the sources of the pet store: its cat is called `name`."""
    rename(loop.app / "app.rs", name)


def rename(source: Path, name: str) -> None:
    """Edit `source`: the cat in it is called `name`."""
    source.write_text(renamed(source.read_text(), name))


def renamed(text: str, name: str) -> str:
    """The source with a cat of this name."""
    assert len(CAT.findall(text)) == 1
    return CAT.sub(f'"name": "{name}", "species": "cat"', text)


def pets(loop: Loop) -> str:
    """What the service answers to who asks for the pets; nothing when it does not answer."""
    return asked(loop.url)


def asked(url: str) -> str:
    """The same of a pet store at another URL."""
    flags = ["-sS", "--noproxy", "*", "--max-time", "3", "-H", "X-API-Key: test123"]
    done = subprocess.run(
        ["curl", *flags, f"{url}/pets"], capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout


def configure(loop: Loop, token: str) -> None:
    """Edit a file that is synced, for a swap without a build: the service takes this token."""
    path = loop.root / "examples/petstore/pet_store/config/config.yaml"
    text, count = re.subn('token: ".*"', f'token: "{token}"', path.read_text())
    assert count == 1
    path.write_text(text)


def takes(loop: Loop, token: str) -> bool:
    """Whether the service is configured to take this token."""
    flags = ["-sS", "--noproxy", "*", "--max-time", "3", "-o", os.devnull, "-w", "%{http_code}"]
    argv = ["curl", *flags, "-H", f"Authorization: Bearer {token}", f"{loop.url}/secure"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout == "200"


def becomes(question: Callable[[], T], seen: Callable[[], object] = str) -> T:
    """Ask until the answer is something, and return it; `seen` says what is there instead."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (answer := question()):
        assert time.monotonic() < deadline_s, f"it did not happen: {seen()}"
        time.sleep(0.05)
    return answer
