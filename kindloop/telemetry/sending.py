"""From the loop to the collector: a bounded queue, and a thread that nobody ever waits for.

The SDK is imported in that thread, when there is something to send and somebody who listens.
"""

from __future__ import annotations

import contextlib
import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from kindloop.telemetry.facts import Trace
from kindloop.telemetry.target import Target

__all__ = ["CLOSE_S", "Fact", "Failure", "Freshness", "Muted", "Recorder", "Sends", "deaf"]

QUEUED = 256
"""Facts kept for the thread at most; what comes when they are not taken is dropped."""
CLOSE_S = 0.3
"""Seconds that the end of a command may wait for what is not sent yet."""
GATHER_S = 0.1
"""Seconds that a fact waits for others: a save's line comes first, and one request is enough."""
CALM_S = 1.0
"""Seconds that a change of freshness waits for the save behind it, which must not be disturbed."""
STALE_S = 5.0
"""Seconds between two reports while a workload is stale: its seconds grow."""
IDLE_S = 30.0
"""Seconds between two reports else: a collector forgets metrics of which it hears nothing."""
CONNECT_S = 0.2
"""Seconds in which a collector on this machine must take a connection."""


@dataclass(frozen=True)
class Failure:
    """A swap that did not go well, and in a word why."""

    workload: str
    reason: str


Fact = Trace | Failure


Freshness = Mapping[str, float | None]
"""Since when each workload is stale, by name, of `time.monotonic`; None: it is fresh."""


class Sends(Protocol):
    """Turns facts into spans and metrics, and sends them. Used by one thread."""

    def send(self, facts: Iterable[Fact]) -> str:
        """Send; why it did not arrive, or nothing."""

    def close(self) -> None:
        """Let go of the connection."""


Opens = Callable[[Target, str, Callable[[], Freshness]], Sends]
"""Makes what sends: for a target, the name of the environment, and how the workloads are."""


class Muted:
    """Records nothing: nobody wants to hear."""

    def record(self, trace: Trace) -> None:
        """Take a trace that has ended."""

    def failed(self, workload: str, reason: str) -> None:
        """Count a swap that did not go well."""

    def fresh(self, workload: str) -> None:
        """A workload serves what was saved last."""

    def stale(self, workload: str, since_s: float | None = None) -> None:
        """A workload does not, since then (of `time.monotonic`; None: now) or longer."""

    def only(self, workloads: Iterable[str]) -> None:
        """Forget all workloads but these."""

    def close(self, timeout_s: float = CLOSE_S) -> str:  # noqa: ARG002 - as who sends has it
        """Send what is left, in that time at most; what was lost and why, or nothing."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Recorder(Muted):
    """Records, and sends from a thread of its own. No method but `close` ever waits."""

    def __init__(self, target: Target, environment: str, opens: Opens | None = None) -> None:
        self._target = target
        self._environment = environment
        self._opens = opens or _with_sdk
        self._queue: queue.Queue[Fact | None] = queue.Queue(QUEUED)
        self._freshness: dict[str, float | None] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._closed = False
        self._lost = 0
        self._why = ""
        # A daemon: one that hangs in a request must not hold up our end.
        self._thread = threading.Thread(target=self._work, name="kindloop-telemetry", daemon=True)
        self._started = False

    def record(self, trace: Trace) -> None:
        """Take a trace that has ended."""
        self._put(trace)

    def failed(self, workload: str, reason: str) -> None:
        """Count a swap that did not go well."""
        self._put(Failure(workload, reason))

    def fresh(self, workload: str) -> None:
        """A workload serves what was saved last."""
        self._set(workload, None)

    def stale(self, workload: str, since_s: float | None = None) -> None:
        """A workload does not, since then (of `time.monotonic`; None: now) or longer."""
        if self._freshness.get(workload) is None:
            self._set(workload, time.monotonic() if since_s is None else since_s)

    def only(self, workloads: Iterable[str]) -> None:
        """Forget all workloads but these."""
        kept = set(workloads)
        with self._lock:
            for name in self._freshness.keys() - kept:
                del self._freshness[name]

    def close(self, timeout_s: float = CLOSE_S) -> str:
        """Send what is left, in that time at most; what was lost and why, or nothing."""
        if not self._started or self._closed:
            return ""
        self._closed = True
        self._closing.set()
        self._nudge()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            why = self._why or f"the collector did not take them in {timeout_s:g} s"
            return f"{self._lost} reports or more were not sent: {why}"
        return f"{self._lost} reports were not sent: {self._why}" if self._lost else ""

    def _put(self, fact: Fact) -> None:
        try:
            self._queue.put_nowait(fact)
        except queue.Full:
            self._lost += 1
            self._why = self._why or "they came faster than they were taken"
        self._start()

    def _set(self, workload: str, since_s: float | None) -> None:
        with self._lock:
            if self._freshness.get(workload, math.nan) == since_s:
                return
            self._freshness[workload] = since_s
        self._nudge()

    def _nudge(self) -> None:
        """Wake the thread up."""
        with contextlib.suppress(queue.Full):  # then there is enough to do it
            self._queue.put_nowait(None)
        self._start()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._thread.start()

    def _snapshot(self) -> Freshness:
        with self._lock:
            found = dict(self._freshness)
        if not self._closing.is_set():
            return found
        # Of what nobody watches any more nobody can say how long it is stale: the last word is not
        # to stand there as an alarm until the collector forgets it.
        now_s = time.monotonic()
        return {name: None if since_s is None else now_s for name, since_s in found.items()}

    # -- in the thread

    def _work(self) -> None:
        sender: Sends | None = None
        while True:
            last, facts = self._gathered()
            try:
                sender = self._sent(sender, facts)
            except Exception as exc:  # whatever it is, it is no business of the loop
                self._lose(facts, repr(exc))
            if last:
                break
        if sender is not None:
            sender.close()

    def _gathered(self) -> tuple[bool, list[Fact]]:
        """Whether it is over, and what is to be sent; may be nothing but the freshness."""
        first = self._first()
        facts = [first] if first is not None else []
        while True:
            try:
                fact = self._queue.get_nowait()
            except queue.Empty:
                return self._closing.is_set(), facts
            facts += [fact] if fact is not None else []

    def _first(self) -> Fact | None:
        """The first that is to be sent; None when only the freshness is."""
        with contextlib.suppress(queue.Empty):
            fact = self._queue.get(timeout=self._pause_s())
            until_s = time.monotonic() + CALM_S
            while fact is None and not self._closing.is_set():
                fact = self._queue.get(timeout=max(until_s - time.monotonic(), 0.0))
            self._closing.wait(GATHER_S)
            return fact
        return None

    def _pause_s(self) -> float:
        stale = any(since_s is not None for since_s in self._snapshot().values())
        return STALE_S if stale else IDLE_S

    def _sent(self, sender: Sends | None, facts: list[Fact]) -> Sends | None:
        if sender is None:
            nobody = deaf(self._target)
            if nobody:
                self._lose(facts, nobody)
                return None
            sender = self._opens(self._target, self._environment, self._snapshot)
        why = sender.send(facts)
        if why:
            self._lose(facts, why)
        return sender

    def _lose(self, facts: list[Fact], why: str) -> None:
        if facts:
            self._lost += len(facts)
            self._why = why


def deaf(target: Target) -> str:
    """Why nothing on this machine listens; empty when it does, or is elsewhere."""
    for host, port in target.local():
        try:
            socket.create_connection((host, port), CONNECT_S).close()
        except OSError as exc:
            return f"{host}:{port}: {exc.strerror or exc}"
    return ""


def _with_sdk(target: Target, environment: str, freshness: Callable[[], Freshness]) -> Sends:
    """What sends with the OpenTelemetry SDK. Importing that takes 0.2 s."""
    from kindloop.telemetry import otel

    return otel.Sender(target, environment, freshness)
