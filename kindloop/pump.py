"""What a child says, line by line, until it has said all: both pipes in one thread.

A pipe closes when the last process that holds it ends. A child may leave others behind that
hold it for hours, so its own end counts as well: what it wrote is in the pipes by then.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import selectors
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Literal

__all__ = ["Pump", "Stream"]

Stream = Literal["out", "err"]

LINGER_S = 0.05
"""Seconds after the child's end in which others that hold its pipes may still say something: the
`tee` that a script writes through."""
FINISH_S = 10.0
"""Seconds until a callback must be done with the last lines."""
CHUNK = 65536
"""Bytes read at once: all that a pipe holds."""


class Pump:
    """Hands the lines of a child's pipes to `take`, in a thread of its own.

    Pipes that stay open after the last line are still emptied: who writes to them is not ours
    to block.
    """

    def __init__(self, take: Callable[[Stream, list[str]], None]) -> None:
        self._take = take
        self._all_said = threading.Event()
        self._ended_out, self._ended_in = os.pipe()

    def start(self, pipes: Mapping[Stream, IO[bytes]]) -> None:
        """Begin to read."""
        threading.Thread(target=self._work, args=(pipes,), daemon=True).start()

    def child_ended(self) -> None:
        """Tell it, once, that the child has ended."""
        with contextlib.suppress(BrokenPipeError):  # both pipes have closed before
            os.write(self._ended_in, b".")
        os.close(self._ended_in)

    def close(self) -> None:
        """Give back what a pump holds that is not going to be started."""
        os.close(self._ended_out)
        os.close(self._ended_in)

    def finish(self) -> None:
        """Wait until the child has said all; afterwards no call of `take` begins."""
        self._all_said.wait(FINISH_S)
        self._all_said.set()

    def _work(self, pipes: Mapping[Stream, IO[bytes]]) -> None:
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            stack.callback(self._all_said.set)
            stack.callback(os.close, self._ended_out)
            for name, pipe in pipes.items():
                stack.enter_context(pipe)
                selector.register(pipe, selectors.EVENT_READ, _Lines(name))
            selector.register(self._ended_out, selectors.EVENT_READ, None)
            self._read(selector, len(pipes))

    def _read(self, selector: selectors.BaseSelector, open_pipes: int) -> None:
        deadline_s: float | None = None
        while open_pipes:
            wait_s = None if deadline_s is None else max(deadline_s - time.monotonic(), 0)
            ready = selector.select(wait_s)
            ended = any(key.data is None for key, _ in ready)
            for key, _ in ready:
                if key.data is None:
                    selector.unregister(key.fileobj)
                    continue
                chunk = os.read(key.fd, CHUNK)
                self._hand_on(key.data, chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                    open_pipes -= 1
            if ended:
                deadline_s = time.monotonic() + LINGER_S
            elif deadline_s is not None and time.monotonic() >= deadline_s:
                # Each pipe has been read since the child's end, so all of its own is here.
                self._end_lines(selector)
                deadline_s = None

    def _end_lines(self, selector: selectors.BaseSelector) -> None:
        for key in list(selector.get_map().values()):
            self._hand_on(key.data, b"")
        self._all_said.set()

    def _hand_on(self, lines: _Lines, chunk: bytes) -> None:
        texts = lines.take(chunk)
        if texts and not self._all_said.is_set():
            self._take(lines.stream, texts)


class _Lines:
    """Cuts what comes from one pipe into lines."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._rest = ""

    def take(self, chunk: bytes) -> list[str]:
        """The lines that are whole now; with nothing, the end, also one that is not."""
        *lines, self._rest = (self._rest + self._decoder.decode(chunk, not chunk)).split("\n")
        if not chunk and self._rest:
            lines.append(self._rest)
            self._rest = ""
        return lines
