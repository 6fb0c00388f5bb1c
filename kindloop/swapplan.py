"""What a swap changes, what it wants, and how a verdict that is not fresh is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kindloop import swapfiles
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell, KindloopError, RolloutFailed, Stale, Unhealthy
from kindloop.supervised import Report, Verdict
from kindloop.swapfiles import Folder, Placed, Want

__all__ = [
    "as_rollout",
    "changes",
    "failure",
    "last_good",
    "patience_s",
    "place_files",
    "short",
    "want_of",
]

MARGIN_S = 10.0
"""Seconds beyond grace and probation until a supervisor must have said how it went."""


def short(digest: str) -> str:
    """A digest as it is shown."""
    return digest[:8]


def patience_s(workload: Workload) -> float:
    """Seconds until a supervisor must have said how a swap of the workload went."""
    swap = workload.swap
    return MARGIN_S + ((swap.grace_ms + swap.probation_ms) / 1000 if swap else 0.0)


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
    message = f"{workload.name}: {verdict.reason}"
    match verdict.state:
        case "rolled_back":
            return Stale(
                message,
                evidence=evidence,
                why="the new binary ended or did not answer in its probation; the last good one "
                "serves",
                hint=hint,
            )
        case "stale":
            return Stale(message, evidence=evidence, hint=hint)
        case "unknown":
            return CannotTell(message, evidence=evidence, hint=hint)
        case _:
            why, mend = _advice(workload, verdict.reason)
            return Unhealthy(message, evidence=evidence, why=why, hint=mend or hint)


def _advice(workload: Workload, reason: str) -> tuple[str, str]:
    """Why a binary that runs is not ready, and what to edit; empty where the reason says neither.

    The reasons are those of the supervisor's probe.
    """
    port = re.search(r"nothing listens on port (\d+), but on \S*:(\d+)", reason)
    if port:
        why = f"containerPort {port[1]} of the Deployment is where the program is looked for"
        mend = f"containerPort: {port[2]} in {workload.manifests}, or have it listen on {port[1]}"
    elif re.search(r"(^|[ :])/\S* answered (?!200)\d{3}$", reason):
        why = f"{workload.health} is its health path, which has to answer 200"
        mend = f"another path in kindloop.yaml, workloads.{workload.name}.health, or mend the code"
    else:
        return "", ""
    return why, f"{mend}; then: invoke dev-up"


def as_rollout(error: KindloopError) -> KindloopError:
    """The same failure as a change of the environment tells it."""
    if not isinstance(error, Unhealthy | CannotTell):
        return error
    return RolloutFailed(error.message, why=error.why, hint=error.hint, evidence=error.evidence)


def last_good(history: Sequence[Want], want: Want, pods: Sequence[Report]) -> Want | None:
    """What the pods went back to from `want`, out of what was published, newest first. Pure."""
    older = [one for one in history if one.generation != want.generation]
    runs = {one.running_generation for one in pods}
    good = {one.good for one in pods}
    # The same binary may have been published with files that were bad: what runs is surer.
    by_generation = (one for one in older if one.generation in runs)
    by_digest = (one for one in older if one.digest in good)
    return next(by_generation, None) or next(by_digest, None)


def want_of(workload: Workload, placed: Placed, tree: str | None, generation: int) -> Want:
    """What is wanted of a workload with these parts. Pure."""
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


def place_files(
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
