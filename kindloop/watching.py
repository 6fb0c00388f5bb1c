"""File events turned into quiet batches: one save, one batch; a storm of writes, a few.

watchfiles tells what changed; the rest is ours. Its own `debounce` is no quiet period (it hands
over as soon as one step brings nothing new), and its timeout may drop an event that arrives at
that very moment: so it is asked without one, in a thread, and a second thread waits for quiet.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from kindloop import fingerprint, gitstate, report, watchroots, watchsource
from kindloop.errors import KindloopError
from kindloop.watchroots import Places, Root, limits_problem
from kindloop.watchsource import ADDED, MODIFIED, STEP_MS, Source, Told

__all__ = ["Batch", "Root", "Watcher", "due_s", "ignoring", "limits_problem", "rest_s"]

REST_S = 0.05
"""The longest quiet period asked for when events keep coming, unless the setting is longer."""
UNREST_S = 0.025
"""Seconds between two events of one storm at most; saves by hand are further apart."""
HELD_CAP_S = 10.0
"""Seconds that a batch is held at most, say for a git that was killed in a checkout."""
HELD_LOOK_S = 0.005
AHEAD = 16
"""Files of a batch that are worth a look while it is not quiet yet; a storm is not."""
_ATTEMPTS = 5


@dataclass(frozen=True)
class Batch:
    """Paths (absolute) that changed, were made or are gone; a folder stands for all in it.

    `first_s` and `last_s` are when the first and the last of its events were seen, `ready_s` when
    it was quiet, in seconds of `time.monotonic`.
    """

    paths: frozenset[Path]
    first_s: float
    last_s: float
    ready_s: float = 0.0

    def __or__(self, other: Batch) -> Batch:
        """Both as one."""
        first_s, last_s = min(self.first_s, other.first_s), max(self.last_s, other.last_s)
        ready_s = max(self.ready_s, other.ready_s)
        return Batch(self.paths | other.paths, first_s, last_s, ready_s)


def rest_s(
    first_s: float, last_s: float, quiet_s: float, before: tuple[float, float] | None = None
) -> float:
    """Seconds without an event that end a batch: `quiet_s`, growing while events keep coming.

    `before` is when the last event of the batch before came, and the rest that ended it: a storm
    of slow writes asks for more with each batch. Pure.
    """
    grown_s = quiet_s + last_s - first_s
    if before is not None and first_s - before[0] <= UNREST_S:
        grown_s = max(grown_s, 2 * before[1])
    return min(grown_s, max(quiet_s, REST_S))


def due_s(first_s: float, last_s: float, rest: float, cap_s: float) -> float:
    """When a batch is complete, in the clock of its arguments. Pure."""
    return min(last_s + rest, max(first_s + cap_s, first_s + rest))


def ignoring(folder: Path, declared: Iterable[Path]) -> Callable[[Path], bool]:
    """What is no save: editors' temporary files, and what git ignores in the work tree of `folder`.

    What is declared counts although git ignores it; in a declared folder that git ignores, all.
    """
    by_git = gitstate.Ignored(folder)
    wanted = frozenset(declared)

    def ignored(path: Path) -> bool:
        if path in wanted:
            return False
        name = path.name
        if fingerprint.is_temporary(name) or name in fingerprint.SKIPPED_FOLDERS:
            return True
        return by_git(path) and not any(by_git(a) for a in path.parents if a in wanted)

    return ignored


class Watcher:
    """Watches roots, in threads of its own, until its context is left.

    `quiet_ms` without an event end a batch, at the latest `cap_ms` after its first. `ignored` says
    which paths are no save. While `held()` a batch waits (git is at work), 10 s at most. `ahead` is
    called with what has changed while it is not quiet yet, in the watcher's thread: what it does
    with them then need not be done later.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        quiet_ms: int,
        cap_ms: int,
        ignored: Callable[[Path], bool] = lambda _: False,
        held: Callable[[], bool] | None = None,
        ahead: Callable[[Iterable[Path]], None] | None = None,
    ) -> None:
        self._roots = watchroots.merged(roots)
        self._quiet_s, self._cap_s = quiet_ms / 1000, cap_ms / 1000
        self._ignored = ignored
        self._held = held
        self._ahead = ahead
        self._state = threading.Condition()
        self._placing = threading.Lock()
        self._source: Source | None = None
        # All below belongs to `_state`.
        self._gathered = _Gathered()
        self._before: tuple[float, float] | None = None
        self._closed = False
        self._ready: Batch | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="kindloop-batches", daemon=True)

    def next(self, timeout_s: float | None = None) -> Batch | None:
        """Everything that changed since the last call, as soon as it is quiet.

        None after `timeout_s` seconds, or the end. Raises ToolMissing when the system does not
        let us watch any more.
        """
        with self._state:
            self._state.wait_for(lambda: self._ready or self._error or self._closed, timeout_s)
            error, self._error = self._error, None
            if error is not None:
                raise error
            batch, self._ready = self._ready, None
            return batch

    def rewatch(self, roots: Sequence[Root]) -> None:
        """Watch other roots from now on. What is in the new ones is no change. Raises as enter."""
        with self._placing:
            self._roots = watchroots.merged(roots)
            self._place()

    def close(self) -> None:
        """End the threads and the watch; what is gathered is dropped."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        with self._placing:
            if self._source:
                self._source.close()

    def __enter__(self) -> Self:
        """Start. Raises ToolMissing when the system does not let us watch that many folders."""
        if watchsource.polls():
            every = f"every {watchsource.poll_ms()} ms"
            report.line(f"files are looked at {every}, not watched: WATCHFILES_FORCE_POLLING")
        with self._placing:
            self._place()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self) -> None:
        """Watch the folders of the roots as they are now; the old watch ends once it is told."""
        for attempt in range(_ATTEMPTS):
            places = watchroots.look(self._roots)
            try:
                source = Source(places, self._take, self._fail)
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue  # a folder went away between the look and the watch
            old, self._source = self._source, source
            if old:
                old.close(after_s=4 * STEP_MS / 1000)
            if watchroots.look(self._roots).folders.keys() <= places.folders.keys():
                break  # and none was made between them

    def _take(self, places: Places, told: Told) -> None:
        """Sort out what a source tells; in its thread."""
        now_s = time.monotonic()
        found: dict[str, bool] = {}
        for kind, path in told:
            if kind == MODIFIED and path in places.folders:
                continue  # the folder's own attributes
            for name in places.known_as(path):
                inside = watchroots.covered(self._roots, name) and not self._ignored(Path(name))
                if inside or watchroots.below(self._roots, name):
                    found[name] = found.get(name, False) or kind == ADDED
        if found:
            held = self._held is not None and self._held()
            with self._state:
                self._gathered.add(found, now_s, time.monotonic())
                if held:
                    # Its last events may still be on their way to us when git ends.
                    self._gathered.held_until_s = now_s + REST_S
                self._state.notify_all()

    def _fail(self, error: Exception) -> None:
        """A source ended: all roots may have changed. Anything but its own error is told."""
        now_s = time.monotonic()
        with self._state:
            if not isinstance(error, RuntimeError):
                self._error = error
            self._gathered.add({str(root.path): False for root in self._roots}, now_s, now_s)
            self._gathered.lost = True
            self._state.notify_all()

    def _work(self) -> None:
        while not self._closed:
            try:
                due = self._due()
                if isinstance(due, _Gathered):
                    self._batch(due)
                elif due and self._ahead:
                    self._ahead(due)
            except Exception as exc:
                with self._state:
                    self._error = exc
                    self._state.notify_all()

    def _batch(self, gathered: _Gathered) -> None:
        """Make gathered events the batch that `next` returns, unless nothing is left of them."""
        paths = frozenset(map(Path, self._changed(gathered)))
        times_s = gathered.first_s, gathered.last_s, time.monotonic()
        batch = Batch(paths, *times_s) if paths else None
        if batch:
            with self._state:
                self._ready = self._ready | batch if self._ready else batch
                self._state.notify_all()

    def _due(self) -> _Gathered | Sequence[Path]:
        """Wait until gathered events are a batch, and take them; or paths to look at meanwhile."""
        with self._state:
            while not self._closed:
                gathered, now_s = self._gathered, time.monotonic()
                if not gathered.raw:
                    self._state.wait()
                    continue
                rest = rest_s(gathered.first_s, gathered.last_s, self._quiet_s, self._before)
                left_s = due_s(gathered.first_s, gathered.last_s, rest, self._cap_s) - now_s
                if left_s <= 0:
                    left_s = self._hold(gathered, now_s)
                if left_s > 0:
                    if early := gathered.early():
                        return early
                    self._state.wait(left_s)
                    continue
                self._before = (gathered.last_s, rest)
                self._gathered = _Gathered()
                return gathered
            return ()

    def _hold(self, gathered: _Gathered, now_s: float) -> float:
        """Seconds to wait although it is quiet: git is at work, or was until just now."""
        if self._held is None or now_s >= gathered.first_s + HELD_CAP_S:
            return 0.0
        if self._held():
            gathered.held_until_s = now_s + REST_S
        return HELD_LOOK_S if now_s < gathered.held_until_s else 0.0

    def _changed(self, gathered: _Gathered) -> set[str]:
        """The files behind the names; folders that came or went are watched anew first."""
        with self._placing:
            places = self._source.places if self._source else Places({})
            if gathered.lost or any(_is_place(name, places) for name in gathered.raw):
                self._place()
            roots, source = self._roots, self._source
        watched = {
            name for names in (source.places.folders if source else {}).values() for name in names
        }
        changed: set[str] = set()
        for name, made in gathered.raw.items():
            if gathered.lost:
                changed.add(name)
                continue
            if watchroots.covered(roots, name):
                changed.update(self._content(name, watched, made=made))
            for root in watchroots.below(roots, name):
                changed.update(self._content(str(root.path), watched))
        return changed

    def _content(self, name: str, watched: set[str], *, made: bool = False) -> list[str]:
        """A file by its name, a folder by the files in it, nothing for what came and went."""
        path = Path(name)
        if not path.is_dir():
            return [] if made and not os.path.lexists(path) else [name]
        if name not in watched:
            return []  # cargo's target and such
        try:
            files = [file[1] for file in fingerprint.find(path, ".") or ()]
        except (KindloopError, OSError):
            return [name]  # closed to us: the stage that reads it says so
        inside = [file for file in files if watchroots.covered(self._roots, file)]
        return [file for file in inside if not self._ignored(Path(file))]


class _Gathered:
    """Events on their way to a batch: name → whether it was made meanwhile; when they came."""

    def __init__(self) -> None:
        self.raw: dict[str, bool] = {}
        self.first_s = self.last_s = self.held_until_s = 0.0
        self.lost = False
        self._told: set[str] = set()

    def early(self) -> list[Path]:
        """What was not told by this before; nothing once they are many."""
        new = self.raw.keys() - self._told if len(self.raw) <= AHEAD else set()
        self._told |= new
        return [Path(name) for name in new]

    def add(self, found: Mapping[str, bool], told_s: float, now_s: float) -> None:
        """Note what the source told at `told_s`.

        Sorting out a thousand paths takes longer than a rest: quiet begins when that is done.
        """
        if not self.raw:
            self.first_s = told_s
        self.last_s = now_s
        for name, made in found.items():
            self.raw.setdefault(name, made)


def _is_place(name: str, places: Places) -> bool:
    """Whether an event of this name changes which folders are to be watched."""
    return name in places.folders or os.path.isdir(name) or os.path.islink(name)  # noqa: PTH112, PTH114
