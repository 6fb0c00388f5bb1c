"""Following logs: a reader for each start of each container, and a watch that tells of new ones.

A reader (`kubectl logs --follow`) ends when its container does, or its connection. It is begun
again from the second of the newest line on, and what comes twice is left out. The main thread
starts all children, for the kernel ends them with the thread that did.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kindloop import apiserver, cluster, process, rollout
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell, KindloopError, NotOurs, Unhealthy
from kindloop.logs import fetching
from kindloop.logs.fetching import Container, Object
from kindloop.logs.lines import Line, Reading, Seen, Source, parse
from kindloop.logs.showing import Showing

__all__ = ["Following"]

AGAIN_S = 0.5
"""Seconds until what was cut off is begun again."""
LOOK_S = 0.3
"""Seconds between two looks at the logs of stages: files, of which nothing tells."""


@dataclass
class _Slot:
    """A container of a pod, over all its starts."""

    now: Container
    seen: Seen = field(default_factory=Seen)
    child: process.Child | None = None
    reading: Reading | None = None
    """What the reader says, against what was seen before it was begun."""
    done: set[str] = field(default_factory=set)
    """Starts of which all was read."""
    gone: bool = False
    due_s: float | None = None
    """When a reader is to be begun (monotonic)."""


Message = tuple[str, Any]


class Following:
    """Shows the lines of workloads as they come, until it is interrupted."""

    def __init__(self, config: Config, workloads: Iterable[Workload], showing: Showing) -> None:
        self._config = config
        self._workloads = {one.name: one for one in workloads}
        self._showing = showing
        self._inbox: queue.Queue[Message] = queue.Queue()
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._watches: dict[str, process.Child] = {}
        self._watch_due_s: dict[str, float] = dict.fromkeys(self._workloads, 0.0)
        self._told: dict[str, str] = {}
        """What was said last of each workload that cannot be watched."""

    def knew(self, one: Container, lines: Sequence[Line]) -> None:
        """These lines of a container were told already, and nothing older is wished for."""
        slot = self._slots.setdefault(one.key, _Slot(one))
        for line in lines:
            slot.seen.add(line)
        slot.seen.oldest_ns = min((line.t_ns for line in lines), default=0)

    def run(self, every: Callable[[], None] = lambda: None) -> None:
        """Follow until Ctrl-C; `every` is called now and then. Raises when the cluster is gone."""
        with ExitStack() as stack:
            stack.callback(self._stop)
            look_s = 0.0
            while True:
                self._begin()
                with contextlib.suppress(queue.Empty):
                    self._take(self._inbox.get(timeout=LOOK_S / 3))
                    while True:
                        self._take(self._inbox.get_nowait())
                if time.monotonic() >= look_s:
                    every()
                    look_s = time.monotonic() + LOOK_S

    # -- what is due

    def _begin(self) -> None:
        now_s = time.monotonic()
        for name, due_s in list(self._watch_due_s.items()):
            if name not in self._watches and now_s >= due_s:
                self._watch(self._workloads[name])
        for slot in list(self._slots.values()):
            if slot.child is None and slot.due_s is not None and now_s >= slot.due_s:
                self._read(slot)

    def _watch(self, workload: Workload) -> None:
        try:
            with apiserver.connect(self._config) as api:
                chosen = fetching.selector(api, self._config, workload)
                found = fetching.of_pods(api, self._config, chosen)
        except NotOurs:
            raise
        except (CannotTell, Unhealthy) as exc:
            self._unwatched(workload, exc)
            return
        if self._told.pop(workload.name, ""):
            self._showing.note(f"{workload.name} is there again")
        there = {pod["metadata"]["uid"] for pod in found}
        for slot in list(self._slots.values()):
            if slot.now.source.name == workload.name and slot.now.uid not in there:
                self._went(slot)
        for pod in found:
            self._heard(workload.name, "ADDED", pod)
        argv = [*cluster.kubectl_argv(self._config), "get", "pods", f"--selector={chosen}"]
        argv += ["--watch", "--output-watch-events", "--output=json"]
        put = partial(self._put_pod, workload.name)
        child = process.Child(argv, on_line=rollout.documents(put))
        self._watches[workload.name] = child
        self._await(child, ("unwatched", workload.name))

    def _unwatched(self, workload: Workload, exc: KindloopError) -> None:
        """It cannot be watched now: said once for each reason; over when the cluster is gone."""
        if isinstance(exc, CannotTell) and not cluster.environment(self._config).home.exists():
            raise exc
        if self._told.get(workload.name) != exc.message:
            self._showing.note(f"{exc.message}; it is asked again until it answers")
        self._told[workload.name] = exc.message
        self._watch_due_s[workload.name] = time.monotonic() + AGAIN_S

    def _read(self, slot: _Slot) -> None:
        """Begin a reader where the one before ended."""
        one = slot.now
        slot.due_s = None
        slot.reading = slot.seen.reading()
        argv = [*cluster.kubectl_argv(self._config), "logs", one.pod, f"--container={one.name}"]
        argv += ["--follow", "--timestamps"]
        since = slot.seen.since_s
        argv += [f"--since-time={fetching.stamp(since)}"] if since else []
        slot.child = process.Child(argv, on_line=partial(self._put_line, one.key, one.source))
        self._await(slot.child, ("ended", (one.key, one.id)))

    # -- from the children's threads

    def _put_pod(self, workload: str, change: Object) -> None:
        self._inbox.put(("pod", (workload, change)))

    def _put_line(
        self, key: tuple[str, str], source: Source, text: str, stream: process.Stream
    ) -> None:
        if stream == "out" and (line := parse(source, text)):
            self._inbox.put(("line", (key, line)))

    def _await(self, child: process.Child, message: Message) -> None:
        """Put a message when the child has ended and all that it said is in the inbox."""

        def wait() -> None:
            try:
                child.wait()
            finally:
                self._inbox.put(message)

        threading.Thread(target=wait, daemon=True).start()

    # -- messages

    def _take(self, message: Message) -> None:
        kind, what = message
        match kind:
            case "line":
                key, line = what
                reading = self._slots[key].reading
                if reading and reading.is_new(line):
                    self._showing.line(line)
            case "pod":
                workload, change = what
                self._heard(workload, change["type"], change["object"])
            case "ended":
                self._ended(*what)
            case "unwatched":
                self._watches.pop(what, None)
                self._watch_due_s[what] = time.monotonic() + AGAIN_S

    def _heard(self, workload: str, kind: str, pod: Object) -> None:
        if kind not in ("ADDED", "MODIFIED", "DELETED") or pod.get("kind", "Pod") != "Pod":
            return
        for one in fetching.containers_of(workload, pod):
            if not one.id:
                continue
            new = one.key not in self._slots
            slot = self._slots.setdefault(one.key, _Slot(one))
            before, slot.now = slot.now, one
            if kind == "DELETED":
                self._went(slot)
                continue
            if new:
                self._showing.note(f"{one.source.shown} started", one.source)
            elif before.id != one.id:
                self._showing.note(f"{one.source.shown} was started again", one.source)
                if slot.child is None:
                    self._catch_up(slot, previous=True)
            if slot.child is None and one.id not in slot.done and slot.due_s is None:
                slot.due_s = 0.0

    def _ended(self, key: tuple[str, str], read_id: str) -> None:
        """A reader has ended: its container did, or its connection."""
        slot = self._slots[key]
        slot.child = None
        if slot.now.id != read_id:
            self._catch_up(slot, previous=True)
        elif not slot.now.running:
            self._catch_up(slot, previous=False)
            slot.done.add(read_id)
        if not slot.gone and slot.now.id not in slot.done:
            slot.due_s = time.monotonic() + AGAIN_S

    def _catch_up(self, slot: _Slot, *, previous: bool) -> None:
        """Show what a start wrote before it ended and its reader did not bring."""
        reading = slot.seen.reading()
        for line in self._asked(slot, slot.seen.since_s, previous=previous):
            if reading.is_new(line):
                self._showing.line(line)

    def _asked(self, slot: _Slot, since: int, *, previous: bool) -> list[Line]:
        """What there is to read of a start that has ended; nothing when nobody answers."""
        with contextlib.suppress(KindloopError), apiserver.connect(self._config) as api:
            return fetching.read(api, self._config, slot.now, since=since, previous=previous)
        return []

    def _went(self, slot: _Slot) -> None:
        if not slot.gone:
            self._showing.note(f"{slot.now.source.shown} is gone", slot.now.source)
        slot.gone = True
        slot.due_s = None

    def _stop(self) -> None:
        children = [*self._watches.values(), *(s.child for s in self._slots.values() if s.child)]
        for child in children:
            child.stop(0.2)
