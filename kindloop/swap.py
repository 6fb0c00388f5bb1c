"""The swap: a workload's newest artifact becomes its running process, without image or pod.

The host publishes what is wanted (`swapfiles`), the supervisor in each pod does it, and `settle`
asks the supervisors until they have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from kindloop import apiserver, report, rollout, supervised, swapenv, swapfiles, transports
from kindloop.apiserver import Api
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell, KindloopError
from kindloop.supervised import Pods, Report, Verdict
from kindloop.swapfiles import Copying, Folder, Placed, Want
from kindloop.swapplan import changes, failure, last_good, place_files, short, want_of
from kindloop.transports import Choice

__all__ = ["Desk", "Pushed", "changes", "failure", "short"]

LOOK_S = 1.0
"""Seconds between two looks at which pods still lack what was published (transport exec)."""

NOTICED_S = 0.3
"""Seconds in which a supervisor has noticed what was put into its folder: it looks every 0.1 s."""


@dataclass(frozen=True)
class Pushed:
    """What a push published. `changed` is empty when all was as wanted already."""

    workload: str
    want: Want
    changed: tuple[str, ...]
    staged_s: float


class Desk:
    """What a series of swaps keeps warm: the connection, the transports, the folders."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._choices: dict[str, Choice] = {}
        self._pods: dict[str, Pods] = {}
        self._newest: dict[str, Placed] = {}
        """What this desk has placed last, by workload: it was read and digested then."""
        self._went_back: dict[str, int] = {}
        """Generation with which older files came back, by workload: what was saved is newer."""
        self.remade: set[str] = set()
        """Workloads whose folder was not there when it was needed."""
        self._api: Api | None = None
        self._open = ExitStack()
        self._writing = threading.Lock()
        """A swap that was overtaken ends in a thread of its own: it must not remove what the next
        one has placed and not published yet."""
        self._ahead: dict[str, Copying] = {}
        """Copies of what was just built, by workload."""
        self._settling = 0
        self._calm = threading.Condition()

    @property
    def api(self) -> Api:
        """The connection to the API server, made when first needed."""
        if self._api is None:
            self._api = self._open.enter_context(apiserver.connect(self.config))
        return self._api

    def choice(self, workload: Workload) -> Choice:
        """How files reach the pods of the workload, and why. Raises when there is no way."""
        if workload.name not in self._choices:
            self._choices[workload.name] = transports.choose(self.config, workload)
        return self._choices[workload.name]

    def forget(self) -> None:
        """Ask for everything anew: the settings or the cluster may be others now."""
        self._choices.clear()
        self._pods.clear()
        self._open.close()
        self._api = None

    def copy_ahead(self, workload: Workload, artifact: Path) -> None:
        """Begin to copy an artifact while its digest is taken; a `push` of it takes the copy."""
        self._drop_ahead(workload.name)
        folder = swapfiles.folder_of(self.config, workload)
        with suppress(OSError):  # then `push` copies it, and says what is wrong
            self._ahead[workload.name] = folder.copying(artifact)

    def _drop_ahead(self, name: str) -> None:
        copying = self._ahead.pop(name, None)
        if copying is not None:
            copying.drop()

    def push(
        self,
        workload: Workload,
        artifact: Path,
        *,
        digest: str = "",
        again: bool = False,
        for_load: bool = False,
    ) -> Pushed:
        """Publish the artifact, the synced files and the settings, as far as they changed.

        With `digest`, the artifact's sha256 as it was built, one that this desk has placed is not
        read again. `again` publishes even when nothing changed: what was rolled back is tried
        once more. What is pushed `for_load` is nothing to go back to by hand.
        Raises ConfigError for a synced file that is missing, BuildFailed without the artifact.
        """
        try:
            with self._writing:
                return self._push(workload, artifact, digest, again=again, for_load=for_load)
        finally:
            self._drop_ahead(workload.name)

    def _push(
        self, workload: Workload, artifact: Path, digest: str, *, again: bool, for_load: bool
    ) -> Pushed:
        started_s = time.monotonic()
        workload = swapenv.resolved(self.config, workload)
        self._went_back.pop(workload.name, None)
        folder = swapfiles.folder_of(self.config, workload)
        if folder.ensure():
            # Pods that are there mount a folder that is gone; so may the node.
            self.remade.add(workload.name)
            self._choices.pop(workload.name, None)
        current = folder.want()
        placed = self._placed(workload, folder, artifact, digest)
        tree, restart = place_files(self.config, workload, folder, current)
        what = changes(current, workload, placed, tree, restart=restart)
        folder.point(tree)  # even when nothing changed: a push that was killed left it elsewhere
        if current is not None and not what and not again:
            return Pushed(workload.name, current, (), time.monotonic() - started_s)
        # The same generation is not acted on: files that need no restart change in place.
        in_place = current is not None and what == ("files in place",) and not again
        generation = current.generation if current and in_place else folder.next_generation()
        want = replace(want_of(workload, placed, tree, generation), for_load=for_load)
        folder.publish(want)
        return Pushed(workload.name, want, what, time.monotonic() - started_s)

    def _placed(self, workload: Workload, folder: Folder, artifact: Path, digest: str) -> Placed:
        known = self._newest.get(workload.name)
        if known is not None and known.digest == digest and folder.has(digest):
            return known
        # The first one, and the one after a refusal, is read again from the disk.
        sure = digest if known is not None else ""
        placed = folder.place_binary(artifact, sure, self._ahead.get(workload.name))
        self._newest[workload.name] = placed
        return placed

    def publish(self, workload: Workload, old: Want) -> Pushed:
        """Publish what was published once, as a new generation."""
        started_s = time.monotonic()
        folder = swapfiles.folder_of(self.config, workload)
        with self._writing:
            want = replace(old, generation=folder.next_generation())
            folder.point(want.tree)
            folder.publish(want)
        return Pushed(workload.name, want, ("binary",), time.monotonic() - started_s)

    def settle(self, workload: Workload, want: Want, timeout_s: float) -> Verdict:
        """Wait until every pod runs what is wanted, or cannot; a bad verdict is not raised.

        Raises what `choice` raises when the folder was gone and the node does not see the new one,
        RolloutFailed when a pod does not take what is sent (transport exec).
        """
        self.mount_anew(workload)
        with self._waiting():
            verdict = self._settled(workload, want, timeout_s)
        if verdict.state == "unhealthy":
            self._newest.pop(workload.name, None)  # refused, perhaps, for what is on the disk
        if verdict.pods and not verdict.silent and verdict.state != "unknown":
            # What runs and what it goes back to stay; only the pods know what that is.
            told = [
                d for one in verdict.pods for d in (one.running_digest, one.good, one.tree) if d
            ]
            with self._writing:
                swapfiles.folder_of(self.config, workload).prune({want.digest, *told})
        if verdict.state == "rolled_back":
            self.back_to_good(workload, want, verdict)
        return verdict

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        with self._calm:
            self._settling += 1
        try:
            yield
        finally:
            with self._calm:
                self._settling -= 1
                self._calm.notify_all()

    def calm(self, timeout_s: float) -> None:
        """Wait until no swap is being waited for; what asks pods then does not slow it down."""
        with self._calm:
            self._calm.wait_for(lambda: not self._settling, timeout_s)

    def back_to_good(self, workload: Workload, want: Want, verdict: Verdict) -> bool:
        """Publish what is good with the files that it had: a supervisor cannot go back to those.

        Does nothing when it had the same files, or something newer is wanted by now.
        """
        folder = swapfiles.folder_of(self.config, workload)
        with self._writing:
            before = last_good(folder.history(), want, verdict.pods)
            if before is None or before.tree == want.tree or folder.want() != want:
                return False
            back = replace(before, generation=folder.next_generation())
            folder.point(back.tree)
            folder.publish(back)
            self._went_back[workload.name] = back.generation
        if self.choice(workload).kind == "exec":
            self._deliver(workload, back, folder, self._listed(workload))
        return True

    def went_back(self, workload: Workload, generation: int) -> bool:
        """Whether `back_to_good` has published this: who runs it does not run the newest files."""
        return self._went_back.get(workload.name) == generation

    def _settled(self, workload: Workload, want: Want, timeout_s: float) -> Verdict:
        pods = self._listed(workload)
        if self.choice(workload).kind == "mount":
            return supervised.wait(self.api, self.config, workload, want, timeout_s, pods=pods)
        folder = swapfiles.folder_of(self.config, workload)
        deadline_s = time.monotonic() + timeout_s
        while True:
            # Once a newer one is published this is not the one that pods lack.
            newest = folder.want() == want
            if newest:
                self._deliver(workload, want, folder, pods)
            now_s = time.monotonic()
            until_s = min(max(deadline_s, now_s + 0.1), now_s + LOOK_S)
            verdict = supervised.wait(
                self.api, self.config, workload, want, until_s - now_s, pods=pods
            )
            # One that comes before its time is final; at a look's end pods may still be starting.
            final = verdict.state == "fresh" or time.monotonic() < until_s
            if final or not newest or until_s >= deadline_s:
                return verdict

    def _listed(self, workload: Workload) -> Pods:
        if workload.name not in self._pods:
            self._pods[workload.name] = Pods(self.api, self.config, workload)
        return self._pods[workload.name]

    def mount_anew(self, workload: Workload) -> None:
        """Replace the pods when the folder that they mount was deleted."""
        if workload.name not in self.remade:
            return
        if self.choice(workload).kind == "mount":
            report.warn(f"the swap folder of {workload.name} was deleted: new pods mount a new one")
            rollout.renew(self.config, workload)
        self.remade.discard(workload.name)

    def _deliver(self, workload: Workload, want: Want, folder: Folder, pods: Pods) -> None:
        """Stream what is wanted to the pods that lack it; those that say nothing are left out."""
        now = supervised.wait(self.api, self.config, workload, want, 0, pods=pods)
        held = {
            one.pod: [d for d in (one.running_digest, one.good, one.tree) if d]
            for one in now.pods
            if _lacks(one, want)
        }
        if held:
            choice = self.choice(workload)
            transports.deliver(
                self.config, workload, folder, want, choice, list(held),
                held=held, has=lambda pod: self._has(want, pod),
            )  # fmt: skip

    def _has(self, want: Want, pod: str) -> bool:
        """Whether the supervisor of a pod knows of what is wanted."""
        try:
            said = supervised.ask(
                self.api, self.config, pod, generation=want.generation, wait_s=NOTICED_S
            )
        except CannotTell:
            return False
        return not _lacks(said, want)

    def verdict(self, workload: Workload, digest: str) -> Verdict:
        """Whether every pod runs `digest` now. Asks; raises CannotTell without an API server."""
        want = (
            swapfiles.folder_of(self.config, workload).want()
            if self.config.swaps(workload)
            else None
        )
        replicas, pods = supervised.look(self.api, self.config, workload)
        reports = supervised.ask_all(self.api, self.config, pods)
        mine = want is not None and want.digest == digest
        return supervised.judge(
            digest,
            want.generation if want and mine else None,
            want.tree if want and mine else None,
            replicas,
            reports,
        )

    def panic(self, workload: Workload, verdict: Verdict) -> str:
        """Place and message of the last panic in the pods that failed, or nothing."""
        for one in verdict.pods:
            found = supervised.panic_of(self.api, self.config, workload, one.pod, one.reason)
            if found:
                return found
        return ""

    def failed(self, workload: Workload, verdict: Verdict) -> KindloopError:
        """The error for a verdict that is not fresh, with what the binary itself said of it."""
        panic = self.panic(workload, verdict)
        said: list[str] = []
        if not panic and verdict.state in ("unhealthy", "rolled_back"):
            # One pod is enough: all of them run the same binary.
            for one in verdict.pods[:1]:
                said = supervised.words_of(self.api, self.config, workload, one.pod)
        return failure(workload, verdict, panic, said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in tuple(self._ahead):
            self._drop_ahead(name)
        self._open.close()


def _lacks(one: Report, want: Want) -> bool:
    """Whether a pod does not know of what is wanted."""
    older = want.tree is not None and one.tree != want.tree
    return one.wanted_generation != want.generation or older
