"""Waiting for the pods of several workloads at once, and no longer than until a newer save."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping

from kindloop.config import Config, Workload
from kindloop.errors import CannotTell, KindloopError
from kindloop.loop.world import Overtaken
from kindloop.process import Stop
from kindloop.supervised import Verdict
from kindloop.swap import Desk, Pushed
from kindloop.swapplan import patience_s

__all__ = ["settled"]

LAST_WORD_S = 0.3
"""Seconds that a swap still has when a newer save comes: it takes a tenth of that."""

Answer = tuple[str, Verdict | KindloopError]


def settled(
    desk: Desk, config: Config, waiting: Mapping[str, Pushed], stop: Stop
) -> Iterator[Answer]:
    """Each workload's name with its verdict, or why there is none, as they come.

    Raises Overtaken soon after `stop` is set: a binary that hangs must not hold up the next one.
    """
    answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
    for name, pushed in waiting.items():
        args = (desk, config.workloads[name], pushed, answers)
        # A daemon: one that is overtaken ends by itself, at the latest with its patience.
        threading.Thread(target=_settle, args=args, daemon=True).start()
    left, timeout_s = len(waiting), None
    with stop.waking(lambda: answers.put(None)):
        while left:
            try:
                answer = answers.get(timeout=timeout_s)
            except queue.Empty:
                raise Overtaken from None
            if answer is None:
                timeout_s = LAST_WORD_S
                continue
            left -= 1
            yield answer


def _settle(
    desk: Desk, workload: Workload, pushed: Pushed, answers: queue.SimpleQueue[Answer | None]
) -> None:
    try:
        answers.put((workload.name, desk.settle(workload, pushed.want, patience_s(workload))))
    except KindloopError as exc:
        answers.put((workload.name, exc))
    except Exception as exc:  # or the round would wait for ever
        answers.put((workload.name, CannotTell(f"{workload.name}: {exc!r}")))
