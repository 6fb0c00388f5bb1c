"""What supervisors tell by themselves, and when nobody asks them for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kindloop import supervised
from kindloop.config import App, Config, Image, Workload
from kindloop.errors import CannotTell
from kindloop.loop import followers
from kindloop.loop.followers import Follower, News
from kindloop.supervised import Report

PATIENCE_S = 30.0
CONFIG = Config(name="mine", path=Path("/k.yaml"), app=App(Path("/app")))
WORKLOAD = Workload("web", Image(Path("Dockerfile")), Path("k8s"))


class Desk:
    """A desk with swaps that are waited for until `calmed`."""

    api = object()

    def __init__(self) -> None:
        self.calmed = threading.Event()
        self.calmed.set()

    def calm(self, timeout_s: float) -> None:
        assert timeout_s == followers.CALM_S
        self.calmed.wait(PATIENCE_S)


@pytest.fixture
def asked() -> threading.Semaphore:
    """Released with each question."""
    return threading.Semaphore(0)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, asked: threading.Semaphore) -> queue.SimpleQueue[Any]:
    """What the next questions get, as soon as it is put here."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def follow(*_: Any, **_more: Any) -> list[Report]:
        asked.release()
        said = waiting.get()
        if isinstance(said, Exception):
            raise said
        return [said]

    monkeypatch.setattr(supervised, "follow", follow)
    monkeypatch.setattr(followers, "PAUSE_S", 0.01)
    return waiting


@pytest.fixture
def follow(answers: queue.SimpleQueue[Any]) -> Iterator[Callable[..., queue.SimpleQueue[News]]]:
    """Start a follower; what it tells."""
    made: list[Follower] = []

    def start(desk: Any) -> queue.SimpleQueue[News]:
        told: queue.SimpleQueue[News] = queue.SimpleQueue()
        made.append(Follower(desk, CONFIG, WORKLOAD, told.put))
        return told

    yield start
    for one in made:
        one.close()
        answers.put(CannotTell("closed"))


def test_news_are_told_and_silence_once(
    answers: queue.SimpleQueue[Any], follow: Callable[..., queue.SimpleQueue[News]]
) -> None:
    told = follow(Desk())
    for said in (Report("web-1"), CannotTell("no"), CannotTell("no"), Report("web-2")):
        answers.put(said)
    heard = [told.get(timeout=PATIENCE_S) for _ in range(3)]
    assert heard == [News("web", Report("web-1")), News("web", None), News("web", Report("web-2"))]


def test_while_a_swap_is_waited_for_nobody_is_asked(
    answers: queue.SimpleQueue[Any],
    asked: threading.Semaphore,
    follow: Callable[..., queue.SimpleQueue[News]],
) -> None:
    desk = Desk()
    told = follow(desk)
    assert asked.acquire(timeout=PATIENCE_S)
    desk.calmed.clear()
    answers.put(Report("web-1"))
    assert told.get(timeout=PATIENCE_S).report == Report("web-1")
    answers.put(Report("web-2"))
    assert not asked.acquire(timeout=0.1)
    desk.calmed.set()
    assert told.get(timeout=PATIENCE_S).report == Report("web-2")
