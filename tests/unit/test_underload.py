"""What comes in while a watch loads the service: kept in its order; a key ends the load."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kindloop import loadtest
from kindloop.config import Config, Load
from kindloop.loop.followers import News
from kindloop.loop.referee import Inbox, Message
from kindloop.loop.underload import Waiting, under_load
from kindloop.supervised import Report
from kindloop.watching import Batch

Becomes = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def inbox() -> Inbox:
    return queue.SimpleQueue()


def save(name: str) -> Batch:
    return Batch(frozenset({Path(name)}), 0.0, 0.0)


@pytest.mark.parametrize("key", ["q", "L"])
def test_a_key_ends_the_load(inbox: Inbox, becomes: Becomes, key: str) -> None:
    pending: deque[Message] = deque()
    with Waiting(inbox, pending) as waiting:
        inbox.put(key)
        becomes(waiting.stop.is_set)


def test_what_comes_in_waits_in_its_order(inbox: Inbox) -> None:
    first, second = save("a"), save("b")
    pending: deque[Message] = deque()
    with Waiting(inbox, pending) as waiting:
        for message in (first, "L", "l", second, "q"):
            inbox.put(message)
    # The key that ends the load begins no other; q ends the watch as well.
    assert list(pending) == [first, "l", second, "q"]
    assert waiting.stop.is_set()


def test_other_keys_and_saves_end_nothing(inbox: Inbox) -> None:
    pending: deque[Message] = deque()
    with Waiting(inbox, pending) as waiting:
        for message in (save("a"), News("petstore", Report("pod-1")), "l", "p"):
            inbox.put(message)
    assert not waiting.stop.is_set()
    assert len(pending) == 4


def test_nothing_is_lost_when_the_load_fails(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending: deque[Message] = deque()

    def fails(*_: object, **__: object) -> None:
        inbox.put("p")
        raise loadtest.Stale("no load on a service that is not fresh")

    monkeypatch.setattr(loadtest, "run", fails)
    config = Config(tmp_path / "kindloop.yaml", load={"low": Load("low", 1, 1, 1, 1, 0, 0)})
    with pytest.raises(loadtest.Stale):
        under_load(config, inbox, pending)
    assert list(pending) == ["p"]
    assert inbox.empty()
