"""Requests to the pet store: counted ones, and a load that goes on while things break."""

from __future__ import annotations

import collections
import http.client
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

KEY = {"X-API-Key": "test123"}
MIX = ("/pets", "/pets", "/pets", "/pets/2")
"""Three of four are the list, so that what slows it down shows in the median too."""
USERS = 4
PAUSE_S = 0.01
"""What a user waits after an answer: together they ask some 300 times a second."""


def ask(
    url: str, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: str = ""
) -> tuple[int, dict[str, str]]:
    """Status and headers of one answer, on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(method, path, body or None, KEY if headers is None else headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


class Load:
    """Users that ask until they are told to stop; a lost connection is made again."""

    def __init__(self, url: str, mix: Sequence[str] = MIX) -> None:
        self._at = urlsplit(url)
        self._mix = mix
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.answers: collections.Counter[int] = collections.Counter()
        self.lost: list[str] = []
        """What was said of each request that got no answer."""
        self._threads = [threading.Thread(target=self._user, daemon=True) for _ in range(USERS)]

    def _user(self) -> None:
        connection = http.client.HTTPConnection(self._at.hostname or "", self._at.port, timeout=20)
        turn = 0
        while not self._over.is_set():
            turn += 1
            try:
                connection.request("GET", self._mix[turn % len(self._mix)], headers=KEY)
                answer = connection.getresponse()
                answer.read()
                with self._lock:
                    self.answers[answer.status] += 1
            except (OSError, http.client.HTTPException) as exc:
                connection.close()
                with self._lock:
                    self.lost.append(f"{time.strftime('%X')} {exc!r}")
            self._over.wait(PAUSE_S)
        connection.close()

    def count(self) -> int:
        """How many answers there were."""
        return sum(self.answers.values())

    def stop(self) -> None:
        """End it; again does nothing."""
        self._over.set()
        for thread in self._threads:
            thread.join()

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
        self.stop()
