"""The service as its user sees it: asked over HTTP, again and again, from outside the cluster."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["Answer", "Asker", "Load"]

KEY = {"X-API-Key": "test123"}
"""The demo credential that the document names."""
ANSWER_S = 2.0
"""Seconds for one request; a service that is there needs milliseconds."""


@dataclass(frozen=True)
class Answer:
    """What one request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Asker:
    """One client with a connection that is kept, made anew after each failure."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, path: str) -> Answer | None:
        """The answer, or None when the connection was refused, reset or closed."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_S)
        try:
            self._connection.request("GET", path, headers=KEY)
            with self._connection.getresponse() as got:
                return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        except (OSError, http.client.HTTPException):
            self.close()
            return None

    def until(
        self, path: str, seen: Callable[[Answer], bool], timeout_s: float, pause_s: float = 0.001
    ) -> float | None:
        """When an answer was `seen` (`time.perf_counter`, in seconds); None when none came."""
        deadline_s = time.perf_counter() + timeout_s
        while time.perf_counter() < deadline_s:
            answer = self.ask(path)
            if answer is not None and seen(answer):
                return time.perf_counter()
            time.sleep(pause_s)
        return None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Load:
    """A steady rate of requests from threads, each with a new connection; counts failures."""

    def __init__(self, port: int, path: str, rate: int, threads: int = 4) -> None:
        self._port, self._path = port, path
        self._pause_s = threads / rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.sent = 0
        self.failed = 0
        self._threads = [
            threading.Thread(target=self._run, args=(number / rate,), daemon=True)
            for number in range(threads)
        ]

    def take(self) -> tuple[int, int]:
        """Requests sent and failed since the last call."""
        with self._lock:
            counted = (self.sent, self.failed)
            self.sent = self.failed = 0
        return counted

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, first_s: float) -> None:
        due_s = time.monotonic() + first_s
        while not self._stop.wait(max(due_s - time.monotonic(), 0.0)):
            # What was due while a request took long is not made up for: the rate never bursts.
            due_s = max(due_s + self._pause_s, time.monotonic())
            asker = Asker(self._port)
            answer = asker.ask(self._path)
            with contextlib.suppress(OSError):
                asker.close()
            with self._lock:
                self.sent += 1
                self.failed += answer is None or answer.status != 200
