"""The swap: a workload's newest artifact becomes its running process, without image or pod.

The host publishes what is wanted (`swapfiles`), the supervisor in each pod does it, and `settle`
asks the supervisors until they have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from kindloop import apiserver, report, rollout, supervised, swapfiles, transports
from kindloop.apiserver import Api
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell, KindloopError, RolloutFailed, Stale, Unhealthy
from kindloop.supervised import Pods, Report, Verdict
from kindloop.swapfiles import Folder, Placed, Want
from kindloop.transports import Choice

__all__ = ["Desk", "Pushed", "changes", "failure", "short"]

LOOK_S = 1.0
"""Seconds between two looks at which pods still lack what was published (transport exec)."""


@dataclass(frozen=True)
class Pushed:
    """What a push published. `changed` is empty when all was as wanted already."""

    workload: str
    want: Want
    changed: tuple[str, ...]
    staged_s: float


def short(digest: str) -> str:
    """A digest as it is shown."""
    return digest[:8]


def changes(
    current: Want | None, workload: Workload, placed: Placed, tree: str | None, *, restart: bool
) -> tuple[str, ...]:
    """What differs from the `current` want, in words; empty when nothing does. Pure.

    `restart` is whether the synced files that differ ask for a restart.
    """
    swap = workload.swap
    if swap is None:
        return ()
    if current is None:
        return ("binary",)
    found = {
        "binary": current.digest != placed.digest,
        "args": current.args != swap.args,
        "env": dict(current.env) != dict(swap.env),
        "settings": (current.grace_ms, current.probation_ms, current.rollback)
        != (swap.grace_ms, swap.probation_ms, swap.rollback),
        "files": current.tree != tree and restart,
        "files in place": current.tree != tree and not restart,
    }
    return tuple(name for name, differs in found.items() if differs)


class Desk:
    """What a series of swaps keeps warm: the connection, the transports, the folders."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._choices: dict[str, Choice] = {}
        self._pods: dict[str, Pods] = {}
        self.remade: set[str] = set()
        """Workloads whose folder was not there when it was needed."""
        self._api: Api | None = None
        self._open = ExitStack()
        self._writing = threading.Lock()
        """A swap that was overtaken ends in a thread of its own: it must not remove what the next
        one has placed and not published yet."""

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

    def push(self, workload: Workload, artifact: Path, *, again: bool = False) -> Pushed:
        """Publish the artifact, the synced files and the settings, as far as they changed.

        `again` publishes even when nothing changed: what was rolled back is tried once more.
        Raises ConfigError for a synced file that is missing, BuildFailed without the artifact.
        """
        with self._writing:
            return self._push(workload, artifact, again=again)

    def _push(self, workload: Workload, artifact: Path, *, again: bool) -> Pushed:
        started_s = time.monotonic()
        folder = swapfiles.folder_of(self.config, workload)
        if folder.ensure():
            # Pods that are there mount a folder that is gone; so may the node.
            self.remade.add(workload.name)
            self._choices.pop(workload.name, None)
        current = folder.want()
        placed = folder.place_binary(artifact)
        tree, restart = _place_files(self.config, workload, folder, current)
        what = changes(current, workload, placed, tree, restart=restart)
        folder.point(tree)  # even when nothing changed: a push that was killed left it elsewhere
        if current is not None and not what and not again:
            return Pushed(workload.name, current, (), time.monotonic() - started_s)
        # The same generation is not acted on: files that need no restart change in place.
        in_place = current is not None and what == ("files in place",) and not again
        generation = current.generation if current and in_place else folder.next_generation()
        want = _want(workload, placed, tree, generation)
        folder.publish(want)
        return Pushed(workload.name, want, what, time.monotonic() - started_s)

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
        verdict = self._settled(workload, want, timeout_s)
        if verdict.pods and not verdict.silent and verdict.state != "unknown":
            # What runs and what it goes back to stay; only the pods know what that is.
            told = [
                d for one in verdict.pods for d in (one.running_digest, one.good, one.tree) if d
            ]
            with self._writing:
                swapfiles.folder_of(self.config, workload).prune({want.digest, *told})
        return verdict

    def _settled(self, workload: Workload, want: Want, timeout_s: float) -> Verdict:
        if workload.name not in self._pods:
            self._pods[workload.name] = Pods(self.api, self.config, workload)
        pods = self._pods[workload.name]
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

    def mount_anew(self, workload: Workload) -> None:
        """Replace the pods when the folder that they mount was deleted."""
        if workload.name not in self.remade:
            return
        if self.choice(workload).kind == "mount":
            report.warn(f"the swap folder of {workload.name} was deleted: new pods mount a new one")
            rollout.restart(self.config, workload)
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
            transports.deliver(self.config, workload, folder, want, choice, list(held), held=held)

    def verdict(self, workload: Workload, digest: str) -> Verdict:
        """Whether every pod runs `digest` now. Asks; raises CannotTell without an API server."""
        want = swapfiles.folder_of(self.config, workload).want() if self._swaps(workload) else None
        replicas, pods = supervised.look(self.api, self.config, workload)
        reports = supervised.ask_all(self.api, self.config, workload, pods)
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
            found = supervised.panic_of(self.api, self.config, workload, one.pod)
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
        self._open.close()

    def _swaps(self, workload: Workload) -> bool:
        return self.config.swaps(workload)


def _lacks(one: Report, want: Want) -> bool:
    """Whether a pod does not know of what is wanted."""
    older = want.tree is not None and one.tree != want.tree
    return one.wanted_generation != want.generation or older


def failure(
    workload: Workload, verdict: Verdict, panic: str = "", said: Sequence[str] = ()
) -> KindloopError:
    """The error for a verdict that is not fresh; `said` are the last lines of the binary. Pure."""
    evidence = [f"{one.pod}: {one.reason or one.state}" for one in verdict.pods]
    if panic:
        evidence.append(f"panicked at {panic}")
    evidence += said
    hint = verdict.hint or "invoke dev-status"
    if hint == "invoke dev-logs":
        hint = f"mend it and save, or: {hint}"
    said = f"{workload.name}: {verdict.reason}"
    match verdict.state:
        case "rolled_back":
            return Stale(
                said,
                evidence=evidence,
                why="the new binary ended or did not answer in its probation; the last good one "
                "serves",
                hint=hint,
            )
        case "stale":
            return Stale(said, evidence=evidence, hint=hint)
        case "unknown":
            return CannotTell(said, evidence=evidence, hint=hint)
        case _:
            return Unhealthy(said, evidence=evidence, hint=hint)


def as_rollout(error: KindloopError) -> KindloopError:
    """The same failure as a change of the environment tells it."""
    if not isinstance(error, Unhealthy | CannotTell):
        return error
    return RolloutFailed(error.message, why=error.why, hint=error.hint, evidence=error.evidence)


def _want(workload: Workload, placed: Placed, tree: str | None, generation: int) -> Want:
    swap = workload.swap
    if swap is None:
        raise ValueError(f"workload {workload.name} has no swap")
    return Want(
        generation,
        placed.digest,
        placed.size,
        swap.args,
        dict(swap.env),
        swap.grace_ms,
        swap.probation_ms,
        swap.rollback,
        tree,
    )


def _place_files(
    config: Config, workload: Workload, folder: Folder, current: Want | None
) -> tuple[str | None, bool]:
    """The tree of the synced files, placed, and whether what differs in it asks for a restart."""
    if not workload.sync:
        return None, False
    files = swapfiles.tree_files(config.app.root, workload.sync, workload=workload.name)
    tree = folder.place_tree(files)
    if current is None or current.tree == tree:
        return tree, False
    before, now = (folder.trees / name for name in (current.tree or "none", tree))
    restarting = [one.to for one in workload.sync if one.on_change == "restart"]
    return tree, any(_below(before, to) != _below(now, to) for to in restarting)


def _below(tree: Path, to: str) -> dict[str, tuple[bool, bytes]]:
    """What stands at or below `to` in a tree: whether it is executable, and its content."""
    top = tree / to
    paths = [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]
    return {
        p.relative_to(tree).as_posix(): (bool(p.stat().st_mode & 0o111), p.read_bytes())
        for p in paths
    }
