"""While a round builds: which of what comes in ends it, because a newer save makes it pointless."""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kindloop import changes, report, stages
from kindloop.errors import KindloopError
from kindloop.fingerprint import Digests
from kindloop.loop.followers import News
from kindloop.loop.recording import QUIT
from kindloop.loop.world import World
from kindloop.process import Stop
from kindloop.stage_plan import Observed, Record
from kindloop.watching import Batch

__all__ = ["Inbox", "Message", "Referee", "digest_of", "unseen"]

MANY = 200
"""Paths beyond which nobody asks of each whether it is new: another branch was checked out."""
NOTICE_S = 3.0
"""Seconds after which a running stage is told: a save that takes longer looks like none."""

Message = Batch | News | KindloopError | str
"""What threads tell the loop: changed files, a supervisor's report, a failed watch, a key."""
Inbox = queue.SimpleQueue[Message | None]
"""All of it in the order that it came; None ends a referee."""


class Referee:
    """Reads the inbox in a thread of its own while its context lasts; `kept` is all it read.

    Sets `stop` for a key `q`, and for a batch that changes what a stage of this round has read.
    """

    def __init__(self, inbox: Inbox, world: World, stop: Stop) -> None:
        self.kept: list[Message] = []
        self._inbox = inbox
        self._world = world
        self._stop = stop
        self._digests = Digests()  # the site's own are the main thread's
        self._lock = threading.Lock()
        self._read: dict[str, Mapping[str, str]] = {}
        self._running = ""
        self._joined: dict[Path, float] = {}
        """When each was saved, of `time.monotonic`."""
        self._thread = threading.Thread(target=self._listen, name="kindloop-referee", daemon=True)

    def on_turn(self, name: str, observed: Observed) -> None:
        """A stage begins to run with what was observed."""
        with self._lock:
            self._read |= self._recorded(before=name)
            self._read[name] = observed.inputs
            self._running = name

    def all_turned(self) -> None:
        """Every stage had its turn."""
        with self._lock:
            self._read |= self._recorded()
            self._running = ""

    def joined(self, until_s: float) -> frozenset[Path]:
        """What was saved while the stages ran, in time to be in what they have made.

        `until_s` is a time of `time.monotonic`. Nobody builds these again, so the line of this
        round is theirs too.
        """
        with self._lock:
            return frozenset(path for path, at_s in self._joined.items() if at_s <= until_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inbox.put(None)
        self._thread.join()

    def _listen(self) -> None:
        noticed = False
        while True:
            try:
                message = self._inbox.get(timeout=None if noticed else NOTICE_S)
            except queue.Empty:
                noticed = self._notice()
                continue
            if message is None:
                return
            self.kept.append(message)
            if message == "q":
                self._stop.set(QUIT)
            elif isinstance(message, Batch) and self._ends(message):
                self._stop.set(changes.summary(self._world.config, message.paths))
            elif isinstance(message, Batch):
                self._join(message)

    def _join(self, batch: Batch) -> None:
        """Note what a person has saved; what a stage writes itself is no save."""
        world = self._world
        try:
            theirs = world.by_hand(unseen(world, batch.paths, self._digests))
        except (KindloopError, OSError):
            return  # the next round says what is wrong
        with self._lock:
            self._joined |= dict.fromkeys(theirs, batch.last_s)

    def _notice(self) -> bool:
        with self._lock:
            running = self._running
        if running:
            report.line(f"building {running}")
        return bool(running)

    def _ends(self, batch: Batch) -> bool:
        site = self._world.site
        with self._lock:
            observed, running = dict(self._read), self._running
        try:
            own = stages.own_writes(site, site.config.stages[running]) if running else ()
            return changes.supersedes(
                site.config,
                site.place,
                batch.paths,
                digest=lambda path: digest_of(path, self._digests),
                observed=observed,
                own=own,
            )
        except (KindloopError, OSError):
            return True  # the next round says what is wrong

    def _recorded(self, before: str = "") -> dict[str, Mapping[str, str]]:
        """What stages have read that are up to date: all, or those before one."""
        site = self._world.site
        found = {}
        for name in stages.order(site.config.stages):
            if name == before:
                break
            record = site.record(name)
            if record and name not in self._read:
                found[name] = record.inputs
        return found


def digest_of(path: Path, digests: Digests) -> str | None:
    """The digest of a file as inputs have it; None when it is no regular file."""
    try:
        seen = path.stat()
        if not stat.S_ISREG(seen.st_mode):
            return None
        digest = digests.of(str(path), seen)
    except OSError:
        return None
    return f"{digest}+x" if seen.st_mode & 0o111 else digest


def unseen(world: World, paths: Iterable[Path], digests: Digests) -> frozenset[Path]:
    """Those of the changed paths whose content no stage has read or written yet.

    What a stage has just written, or what was saved without a change, is no save. Paths that
    concern more than stages count; everything does where something is not as it should be.
    """
    config, site = world.config, world.site
    chosen = changes.classify(config, site.place, paths).paths
    ill = world.tried or any(not one.good for one in tuple(world.standing.values()))
    if ill or len(chosen) > MANY:
        return chosen
    records = {name: site.record(name) for name in config.stages}
    return frozenset(p for p in chosen if not _seen(world, p, records, digests))


def _seen(world: World, path: Path, records: Mapping[str, Record | None], digests: Digests) -> bool:
    change = changes.classify(world.config, world.site.place, [path])
    name = os.path.relpath(path, world.site.root)
    digest = digest_of(path, digests)
    bare = digest.removesuffix("+x") if digest else None
    if bare and any(bare == record.files.get(name) for record in records.values() if record):
        return True
    if change.settings or change.sync or change.images or change.manifests or change.cluster:
        return False
    known = [records[stage] for stage in change.stages]
    return digest is not None and all(r is not None and r.inputs.get(name) == digest for r in known)
