"""Streams into pods: one `kubectl exec` each, all at the same time, and what became of them."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kindloop.process import Child
from kindloop.swapfiles import Folder, Want
from kindloop.transports.stream import Packed, frame, pack

__all__ = ["SUPERVISOR_IN_IMAGE", "Answer", "Sender", "answer_of"]

SUPERVISOR_IN_IMAGE = "/app/supervisor"
"""Where the workload's Dockerfile puts the supervisor."""


@dataclass(frozen=True)
class Answer:
    """What became of the delivery to one pod."""

    pod: str
    state: Literal["taken", "gone", "missing", "failed", "unsure"]
    """`missing`: it lacks a file that was left out. `gone`: there is no such pod any more, or a
    newer delivery took its place. `unsure`: its answer did not arrive; it may have taken all."""
    reason: str = ""


def answer_of(pod: str, exit_code: int | None, out: Sequence[str], err: Sequence[str]) -> Answer:
    """What the end of `kubectl exec … receive` means. Pure.

    `out` and `err` are lines; `exit_code` None is the deadline.
    """
    said = _document(out)
    if said.get("ok") is True and exit_code == 0:
        return Answer(pod, "taken")
    if said.get("ok") is False:
        reason = str(said.get("reason", "it does not say why"))
        # Older: a newer delivery has taken its place, so this one has nowhere to go either.
        states: Mapping[str, Literal["missing", "gone"]] = {"missing": "missing", "older:": "gone"}
        return Answer(pod, states.get(reason.partition(" ")[0], "failed"), reason)
    told = " ".join(line.strip() for line in err if line.strip())
    if exit_code is None:
        return Answer(pod, "failed", "it did not take everything in time")
    # Of the container too: it stops a moment before its pod is gone.
    if "(NotFound): pods" in told or "container not found" in told:
        return Answer(pod, "gone", told)
    if SUPERVISOR_IN_IMAGE in told:
        return Answer(
            pod, "failed", f"its image has no {SUPERVISOR_IN_IMAGE} that runs: WORKDIR /app"
        )
    return Answer(pod, "unsure", told or f"no answer, exit code {exit_code}")


class Sender:
    """Sends one want to pods; each file is compressed once, whoever gets it.

    `argv` is how kubectl is called, `streams` a folder for what is sent.
    """

    def __init__(self, argv: Sequence[str], folder: Folder, want: Want, streams: Path) -> None:
        self._argv = argv
        self._folder = folder
        self._want = want
        self._streams = streams
        self._packed: dict[str, list[Packed]] = {}

    def send(
        self,
        pods: Mapping[str, frozenset[str]],
        *,
        until_s: float,
        everything: bool = False,
    ) -> dict[str, Answer]:
        """Answers by pod, not later than `until_s` of the monotonic clock.

        `pods` are the digests by pod that it has: they stay there, and are not sent unless
        `everything` is.
        """
        streams = {held: self._stream(held, everything=everything) for held in {*pods.values()}}
        with ExitStack() as stack:
            running = {
                pod: stack.enter_context(_delivery(self._command(pod), streams[held]))
                for pod, held in pods.items()
            }
            return {pod: ends(pod, until_s) for pod, ends in running.items()}

    def _command(self, pod: str) -> list[str]:
        return [*self._argv, "exec", "--stdin", pod, "--", SUPERVISOR_IN_IMAGE, "receive"]

    def _stream(self, held: frozenset[str], *, everything: bool) -> Path:
        wanted = [self._want.digest, *([self._want.tree] if self._want.tree else ())]
        sent = [digest for digest in wanted if everything or digest not in held]
        files = [packed for digest in sent for packed in self._files(digest)]
        path = self._streams / secrets.token_hex(8)
        path.write_bytes(frame(self._want, files, held))
        return path

    def _files(self, digest: str) -> list[Packed]:
        if digest not in self._packed:
            self._packed[digest] = list(self._pack(digest))
        return self._packed[digest]

    def _pack(self, digest: str) -> Iterator[Packed]:
        if digest == self._want.digest:
            yield pack(f"bin/{digest}", self._folder.bin / digest, 0o755)
            return
        top = self._folder.trees / digest
        for path in sorted(p for p in top.rglob("*") if p.is_file()):
            mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
            yield pack(f"trees/{digest}/{path.relative_to(top).as_posix()}", path, mode)


@contextlib.contextmanager
def _delivery(argv: Sequence[str], stream: Path) -> Iterator[Callable[[str, float], Answer]]:
    """A command that reads `stream`; yields what waits for its answer, given pod and deadline."""
    lines: dict[str, list[str]] = {"out": [], "err": []}
    with Child(
        # Children have no standard input: the shell opens the file, and becomes kubectl.
        ["sh", "-c", 'exec "$@" <"$0"', stream, *argv],
        on_line=lambda line, name: lines[name].append(line),
    ) as child:

        def ends(pod: str, until_s: float) -> Answer:
            done = child.wait(max(until_s - time.monotonic(), 0.1))
            return answer_of(pod, done.exit_code, lines["out"], lines["err"])

        yield ends


def _document(lines: Sequence[str]) -> dict[str, Any]:
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                return document
    return {}
