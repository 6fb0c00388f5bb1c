"""What tells a running piece of work that it is no longer wanted."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["Stop"]


class Stop:
    """Tells what runs that it is no longer wanted. Any thread may set it, once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may set it
        self._reason: str | None = None
        self._wakers: list[Callable[[], None]] = []

    @property
    def reason(self) -> str:
        """Why, as the first `set` said; empty as long as nobody did."""
        return self._reason or ""

    def is_set(self) -> bool:
        """Whether somebody has set it."""
        return self._reason is not None

    def set(self, reason: str) -> None:
        """End what waits on it; what is set stays set, with its first reason."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called when it is set while the body runs; at once when it is already."""
        with self._lock:
            self._wakers.append(wake)
            already = self.is_set()
        try:
            if already:
                wake()
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)
