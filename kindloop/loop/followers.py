"""What supervisors tell by themselves: a thread for each workload asks, and waits for news.

A roll back may come seconds after a save was served, and a crash at any time: nobody asks then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kindloop import supervised
from kindloop.config import Config, Workload
from kindloop.errors import KindloopError
from kindloop.supervised import Pods, Report
from kindloop.swap import Desk

__all__ = ["Follower", "Followers", "News"]

WAIT_S = 25.0
"""Seconds that a supervisor holds an answer back as long as nothing changes; it allows 30."""
CALM_S = 2.0
"""Seconds that a swap which others wait for is left alone at most: it has several turns, and to
hear of each costs it some milliseconds."""
PAUSE_S = 1.0
"""Seconds until the next question when the API server did not answer one."""


@dataclass(frozen=True)
class News:
    """What a pod's supervisor reports now; None when no one can be asked any more."""

    workload: str
    report: Report | None


class Follower:
    """Follows the pods of a workload in a thread of its own until it is closed.

    `desk` has the connection, a new one after a node was started anew; `tell` is called in the
    thread with each report that differs from the pod's last.
    """

    def __init__(
        self, desk: Desk, config: Config, workload: Workload, tell: Callable[[News], None]
    ) -> None:
        self._desk = desk
        self._config = config
        self._workload = workload
        self._tell = tell
        self._closed = threading.Event()
        # A daemon: an answer that is held back must not hold up our end.
        name = f"kindloop-follow-{workload.name}"
        threading.Thread(target=self._follow, name=name, daemon=True).start()

    def close(self) -> None:
        """Tell nothing any more; the thread ends with the answer that it waits for."""
        self._closed.set()

    def _follow(self) -> None:
        revisions: dict[str, int] = {}
        pods: Pods | None = None
        answered = True
        while not self._closed.is_set():
            try:
                self._desk.calm(CALM_S)
                api = self._desk.api
                if pods is None or pods.api is not api:
                    pods = Pods(api, self._config, self._workload)
                found = supervised.follow(
                    api, self._config, self._workload, revisions, WAIT_S, pods=pods
                )
            except (KindloopError, OSError):
                if answered:
                    self._say(None)
                answered = False
                self._closed.wait(PAUSE_S)
                continue
            answered = True
            revisions |= {one.pod: one.revision for one in found}
            for one in found:
                self._say(one)

    def _say(self, said: Report | None) -> None:
        if not self._closed.is_set():
            self._tell(News(self._workload.name, said))


class Followers:
    """A follower for each workload that is swapped."""

    def __init__(self, tell: Callable[[News], None]) -> None:
        self._tell = tell
        self._by_name: dict[str, Follower] = {}

    def follow(self, workloads: Iterable[Workload], config: Config, desk: Desk) -> None:
        """Follow these and no others."""
        wanted = {one.name: one for one in workloads}
        for name in self._by_name.keys() - wanted.keys():
            self._by_name.pop(name).close()
        for name in wanted.keys() - self._by_name.keys():
            self._by_name[name] = Follower(desk, config, wanted[name], self._tell)

    def close(self) -> None:
        """Follow none any more."""
        for follower in self._by_name.values():
            follower.close()
