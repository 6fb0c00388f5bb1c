"""What the loop adds to cargo: an edit served from the cluster against the bare build of it.

Pairs alternate between two checkouts with the same flags. While cargo runs alone, the service is
asked as often as while the loop runs, so that both have the machine under the same load.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.asking import Answer, Asker
from bench.bed import APP, BARE, CHECKOUT, SERVED_S, Bed, Watch, bare_checkout
from bench.figures import Figure
from bench.variants import ByHand

__all__ = ["EDITS", "Edit", "measure"]

PAIRS = 20
FIRST = 2
"""Pairs before those that count: the first builds after a start read everything from disk."""
ASKED_S = 0.005
"""Seconds between two requests: more often, they would take cargo's processor."""
LABEL = "/labels/.red"


@dataclass(frozen=True)
class Edit:
    """A change of one file that shows in an answer. Paths are relative to the workspace."""

    name: str
    file: str
    stages: tuple[str, ...]
    """Stages whose commands the bare side runs, in order."""
    path: str
    changed: Callable[[str, int], str]
    seen: Callable[[Answer, int], bool]


def _controller(text: str, number: int) -> str:
    return _replaced(text, '"needs a vet"', f'"needs a vet, edit {number}"')


def _library(text: str, number: int) -> str:
    return _replaced(text, '"nothing is at {}"', f'"edit {number}: nothing is at {{}}"')


def _spec(text: str, number: int) -> str:
    """Another media type of one operation: it changes the generated handler and the answer."""
    before, mark, block = text.partition("  /labels/{color}:\n")
    if not mark:
        raise ValueError("the document has no /labels/{color}")
    return before + mark + block.replace("application/json:", f"{_media_type(number)}:", 1)


def _media_type(number: int) -> str:
    return f"application/vnd.label.v{number}+json"


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"{old} stands {text.count(old)} times in the file")
    return text.replace(old, new)


EDITS = (
    Edit(
        "controller_edit",
        "pet_store/src/controllers/get_label.rs",
        ("petstore",),
        LABEL,
        _controller,
        lambda answer, number: f'"needs a vet, edit {number}"'.encode() in answer.body,
    ),
    Edit(
        "library_edit",
        "router/src/service.rs",
        ("petstore",),
        "/nowhere",
        _library,
        lambda answer, number: f'"edit {number}: nothing'.encode() in answer.body,
    ),
    Edit(
        "spec_edit",
        "openapi.yaml",
        ("generate", "petstore"),
        LABEL,
        _spec,
        lambda answer, number: answer.headers.get("content-type") == _media_type(number),
    ),
)


def measure(bed: Bed, edit: Edit) -> list[Figure]:
    """The overhead of the loop over bare builds, and the two that it is the difference of."""
    bed.up(bed.original)
    bare = [bed.command(stage).moved(CHECKOUT, bare_checkout()) for stage in edit.stages]
    original = (bed.app / edit.file).read_text()
    built: list[float] = []
    served: list[float] = []
    with bed.watching(edit.name) as watch:
        asker = Asker(bed.port)
        watch.begun()
        for number in range(1, FIRST + PAIRS + 1):
            content = edit.changed(original, number).encode()
            # Neither side is always the one that comes after the other's work.
            for ours in (number % 2 == 0, number % 2 == 1):
                if ours:
                    served.append(_served(bed, watch, asker, edit, number, content))
                else:
                    built.append(_built(bed, asker, edit, bare, content))
        fresh = watch.fresh()
        bed.save(bed.app / edit.file, original.encode())
        watch.settled(fresh + 1, SERVED_S)
    built, served = built[FIRST:], served[FIRST:]
    return [
        Figure.single(f"{edit.name}_overhead", PAIRS, median(served) - median(built)),
        Figure.of(f"{edit.name}_bare", built),
        Figure.of(f"{edit.name}_served", served),
    ]


def _served(bed: Bed, watch: Watch, asker: Asker, edit: Edit, number: int, content: bytes) -> float:
    fresh = watch.fresh()
    saved_s = bed.save(bed.app / edit.file, content)
    served_s = asker.until(edit.path, lambda answer: edit.seen(answer, number), SERVED_S, ASKED_S)
    watch.check()
    if served_s is None or not watch.settled(fresh + 1):
        raise RuntimeError(f"{edit.name} {number} was not served:\n{watch.tail()}")
    time.sleep(0.2)
    return served_s - saved_s


def _built(bed: Bed, asker: Asker, edit: Edit, commands: list[ByHand], content: bytes) -> float:
    path: Path = BARE / APP / edit.file
    saved_s = bed.save(path, content)
    for command in commands:
        with command.start() as running:
            while running.poll() is None:
                asker.ask(edit.path)
                time.sleep(ASKED_S)
        if running.returncode:
            raise RuntimeError(
                f"{command.argv} ended with {running.returncode} in {command.folder}"
            )
    took_s = time.perf_counter() - saved_s
    time.sleep(0.2)
    return took_s
