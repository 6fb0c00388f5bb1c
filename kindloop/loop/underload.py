"""A load test out of a watch: saves wait until it is over, and a key ends it."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType
from typing import Self

from kindloop import loadtest
from kindloop.config import Config
from kindloop.loop.referee import Inbox, Message
from kindloop.process import Stop

__all__ = ["ENDS", "Waiting", "under_load"]

ENDS = frozenset({"q", "L"})
"""Keys that end the load."""


def under_load(config: Config, inbox: Inbox, pending: deque[Message]) -> None:
    """Load the service with the profile for who names none; what comes in meanwhile is `pending`.

    Raises what `loadtest.run` raises, and Unhealthy when a threshold is broken.
    """
    with Waiting(inbox, pending) as waiting:
        done = loadtest.run(config, loadtest.chosen(config), stop=waiting.stop)
    done.raise_if_broken()


class Waiting:
    """Reads the inbox in a thread while its context lasts; a key of `ENDS` sets `stop`."""

    def __init__(self, inbox: Inbox, pending: deque[Message]) -> None:
        self.stop = Stop()
        self._inbox = inbox
        self._pending = pending
        self._thread = threading.Thread(target=self._listen, name="kindloop-load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inbox.put(None)
        self._thread.join()

    def _listen(self) -> None:
        while (message := self._inbox.get()) is not None:
            if isinstance(message, str) and message in ENDS:
                self.stop.set("a key was pressed")
            if message != "L":  # it has begun this load, and begins no other
                self._pending.append(message)
