"""What a request costs more when it is traced: the pet store's release build, with and without."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median

from live import ROOT, free_offset

from bench.asking import Asker
from bench.bed import APP, BUILD, PETS
from bench.figures import Figure

__all__ = ["cost"]

TARGET = BUILD / "bench-tracing"
ROUNDS, FIRST = 30, 2
"""Pairs of rounds, and those before them, which warm up both."""
REQUESTS, RATE = 300, 300
"""Requests of a round, one after the other over one connection, and how many a second."""
STARTED_S = 20.0


def cost() -> list[Figure]:
    """Processor time that a traced request takes more, export included, and how much later it is.

    Two processes of the same binary are asked in turns; only one exports, to a receiver that is there.
    """
    words = ("cargo", "build", "--release", "--locked", "-p", "pet_store")
    env = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    env.pop("CARGO_BUILD_TARGET", None)  # it would put the binary elsewhere
    subprocess.run(words, cwd=ROOT / APP, env=env, check=True)
    with ExitStack() as stack:
        sink, received = stack.enter_context(_receiving())
        on = stack.enter_context(_Served.started({"OTEL_EXPORTER_OTLP_ENDPOINT": sink}))
        off = stack.enter_context(_Served.started({"OTEL_SDK_DISABLED": "true"}))
        for number in range(FIRST + ROUNDS):
            # Neither is always the one that comes after the other's work.
            for served in (on, off) if number % 2 else (off, on):
                served.round()
        if not received.value:
            raise RuntimeError("nothing was exported")
        return [
            Figure.of("tracing_cost", _more(on.used(), off.used())),
            Figure.of("tracing_delay", _more(on.answered, off.answered)),
        ]


def _more(on: list[float], off: list[float]) -> list[float]:
    """Microseconds a request, by round, without the first ones."""
    return [(a - b) * 1e6 for a, b in zip(on, off, strict=True)][FIRST:]


class _Served:
    """A running pet store and what its rounds took, in seconds a request."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self._asker = Asker(port)
        self._cpu: list[float] = []
        self.answered: list[float] = []

    @classmethod
    @contextmanager
    def started(cls, env: dict[str, str]) -> Iterator[_Served]:
        port = 8080 + free_offset(4000)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        child = subprocess.Popen(
            (TARGET / "release/pet_store", "--addr", f"127.0.0.1:{port}"),
            cwd=ROOT / APP / "pet_store",
            env={**kept, "RUST_LOG": "error", **env},
        )
        try:
            served = cls(child.pid, port)
            if served._asker.until(PETS, lambda got: got.status == 200, STARTED_S) is None:
                raise RuntimeError(f"the pet store does not answer at port {port}")
            yield served
        finally:
            child.kill()
            child.wait()

    def round(self) -> None:
        """Ask at a fixed rate; what the export after a round takes counts as its own."""
        self._cpu.append(_cpu_s(self._pid))
        took, due_s = [], time.perf_counter()
        for _ in range(REQUESTS):
            due_s += 1 / RATE
            time.sleep(max(due_s - time.perf_counter(), 0.0))
            begun_s = time.perf_counter()
            answer = self._asker.ask(PETS)
            took.append(time.perf_counter() - begun_s)
            if answer is None or answer.status != 200:
                raise RuntimeError(f"a request was not answered: {answer}")
        self.answered.append(median(took))

    def used(self) -> list[float]:
        """Processor seconds a request, by round."""
        marks = [*self._cpu, _cpu_s(self._pid)]
        return [(b - a) / REQUESTS for a, b in pairwise(marks)]


def _cpu_s(pid: int) -> float:
    """Processor seconds of all threads; the scheduler counts nanoseconds, /proc/PID/stat ticks."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def _receiving() -> Iterator[tuple[str, Synchronized[int]]]:
    """A receiver in a process of its own, and how many bytes it was sent."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    received = context.Value("q", 0)
    child = context.Process(target=_receive, args=(theirs, received), daemon=True)
    child.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", received
    finally:
        child.kill()
        child.join()


def _receive(told: Connection, received: Synchronized[int]) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with received.get_lock():
                received.value += len(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:  # not a line for each batch
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.send(server.server_port)
    server.serve_forever()
