"""Listening to the system's file events by watchfiles: one thread for one set of folders."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from kindloop.errors import ToolMissing
from kindloop.hostfacts import MIN_INOTIFY_INSTANCES
from kindloop.watchroots import WATCHES, Places

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

__all__ = ["ADDED", "MODIFIED", "STEP_MS", "Source", "Told", "poll_ms", "polls"]

STEP_MS = 1
"""How often watchfiles looks whether something came: an event is known 1 to 2 ms after it
happened. 1.7 % of a core; 2 ms would take 1.2 % and cost every save 1.5 ms."""
POLL_MS = 300
"""Where the system's file events do not work: watchfiles' own default."""
ADDED, MODIFIED = 1, 2
"""watchfiles.Change, whose package takes 60 ms to import."""

Told = Collection[tuple[int, str]]
"""Kinds of change and absolute paths."""


class Source:
    """One set of watched folders, and the thread that listens to it.

    `take` is called there with what changed, `fail` with the error that ended it. Raises
    FileNotFoundError when a folder is gone, ToolMissing when the system does not let us watch.
    """

    def __init__(
        self,
        places: Places,
        take: Callable[[Places, Told], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.places = places
        self._take, self._fail = take, fail
        self._notify = _open(list(places.folders))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="kindloop-events", daemon=True)
        self._thread.start()

    def close(self, after_s: float = 0.0) -> None:
        """End the thread; what comes within `after_s` seconds is still taken."""
        if after_s:
            self._stop.wait(after_s)
        self._stop.set()
        self._thread.join()
        self._notify.close()

    def _listen(self) -> None:
        try:
            while not isinstance(told := self._notify.watch(0, STEP_MS, 0, self._stop), str):
                self._take(self.places, told)
        except Exception as exc:
            self._fail(exc)


def polls() -> bool:
    """Whether files are polled; decided as watchfiles does it, WSL's mounts included."""
    said = os.environ.get("WATCHFILES_FORCE_POLLING", "")
    if said:
        return said.lower() not in ("false", "disable", "disabled")
    return "microsoft-standard" in platform.release().lower()


def poll_ms() -> int:
    """Milliseconds between two looks where files are polled."""
    said = os.environ.get("WATCHFILES_POLL_DELAY_MS", "")
    return int(said) if said.isdecimal() else POLL_MS


def _open(folders: list[str]) -> RustNotify:
    from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError  # noqa: PLC0415

    try:
        return RustNotify(folders, False, polls(), poll_ms(), False, True)
    except FileNotFoundError:
        raise
    except (OSError, WatchfilesRustInternalError) as exc:
        raise ToolMissing(
            f"{len(folders)} folders cannot be watched: {str(exc).partition(' (')[0]}",
            why="inotify has limits for each user, which editors and the cluster's node share",
            hint=f"sudo sysctl fs.inotify.max_user_watches={WATCHES} "
            f"fs.inotify.max_user_instances={MIN_INOTIFY_INSTANCES}; "
            "or end what watches too much",
        ) from exc
