"""Is what answers built from the files as they are now? Asked of stages, supervisors and URL."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from kindloop import (
    cluster,
    deploying,
    deployplan,
    host,
    rollout,
    stages,
    swap,
    swapenv,
    swapfiles,
    verify,
)
from kindloop.config import Config, Workload
from kindloop.errors import BuildFailed, KindloopError, ToolFailed
from kindloop.fingerprint import Digests
from kindloop.pods import complete
from kindloop.supervised import Verdict
from kindloop.swap import Desk, short
from kindloop.swapfiles import Placed

__all__ = ["CODES", "Fresh", "exit_code", "look", "running", "wait"]

ASK_S = 0.2
"""Seconds between two questions."""
State = Literal["fresh", "unhealthy", "unknown", "stale"]
CODES: dict[State, int] = {"fresh": 0, "unhealthy": 1, "unknown": 3, "stale": 4}


@dataclass(frozen=True)
class Fresh:
    """What is known of one workload: its state, and why in words."""

    workload: str
    state: State
    detail: str

    def __str__(self) -> str:
        return f"{self.workload}: {self.state}, {self.detail}"


def exit_code(found: Iterable[Fresh]) -> int:
    """0 when all are fresh; else the worst: 1 unhealthy, 3 cannot tell, 4 stale. Pure.

    Where there is no workload nothing was asked: 3.
    """
    states = {one.state for one in found} or {"unknown"}
    return next((CODES[s] for s in ("unhealthy", "unknown", "stale") if s in states), 0)


def wait(config: Config, timeout_s: float) -> list[Fresh]:
    """Ask until every workload is fresh or `timeout_s` seconds have passed; the last answers.

    Never raises for what it finds: what could not be asked is `unknown`.
    """
    deadline_s = time.monotonic() + timeout_s
    with ExitStack() as stack:
        desk = stack.enter_context(Desk(config))
        while True:
            found = _asked(config, desk)
            if exit_code(found) == 0 or time.monotonic() >= deadline_s:
                return found
            time.sleep(ASK_S)  # nothing tells when a build or a swap of another command ends


def look(config: Config, workload: Workload, platform: str, desk: Desk) -> Fresh:
    """How fresh a workload is now. Raises what asking raises."""
    if workload.artifact:
        for decision in stages.explain(config, [workload.artifact], engine_platform=platform):
            if decision.stale:
                detail = f"stage {decision.stage} is not built: {decision.reason}"
                return Fresh(workload.name, "stale", f"{detail}; next: invoke dev-rebuild")
    found = running(config, workload, platform, desk)
    if found.state == "fresh" and workload.url:
        seen = verify.answers(workload.url + workload.health)
        if seen:
            return Fresh(workload.name, "unhealthy", f"{workload.url}{workload.health}: {seen}")
    if found.state == "fresh" and config.swaps(workload):
        why = deployplan.undeployed(config, platform, desk)
        if why:
            return Fresh(workload.name, "stale", f"{why}; next: invoke dev-rebuild")
    return found


def running(config: Config, workload: Workload, platform: str, desk: Desk) -> Fresh:
    """Whether every pod runs the newest artifact, whatever the sources say."""
    if workload.swap is None:
        return _by_image(config, workload, platform)
    try:
        path = deploying.artifact(config, workload, platform)
    except BuildFailed as exc:
        return Fresh(workload.name, "stale", f"{exc.message}; next: {exc.hint}")
    if path is None:
        return Fresh(workload.name, "unknown", "it has no artifact")
    try:
        digest = Digests().of(str(path))
    except OSError as exc:
        why = f"{path} cannot be read: {exc.strerror}"
        return Fresh(workload.name, "stale", f"{why}; next: invoke dev-rebuild --clean")
    waiting = _not_published(config, workload, digest)
    if waiting:
        why = f"{', '.join(waiting)} changed and not swapped in"
        return Fresh(workload.name, "stale", f"{why}; next: invoke dev-rebuild")
    verdict = desk.verdict(workload, digest)
    return Fresh(workload.name, _state(verdict), _detail(digest, verdict))


def _not_published(config: Config, workload: Workload, digest: str) -> tuple[str, ...]:
    """What a push would publish beside another binary: that one the pods tell."""
    want = swapfiles.folder_of(config, workload).want() if config.swaps(workload) else None
    if want is None or want.digest != digest:
        return ()
    files = swapfiles.tree_files(config.app.root, workload.sync, workload=workload.name)
    tree = swapfiles.digest_sources(files) if workload.sync else None
    workload = swapenv.resolved(config, workload)
    return swap.changes(want, workload, Placed(digest, want.size), tree, restart=True)


def _state(verdict: Verdict) -> State:
    return "stale" if verdict.state == "rolled_back" else verdict.state


def _detail(digest: str, verdict: Verdict) -> str:
    if verdict.state == "fresh":
        return short(digest) + (f" in {len(verdict.pods)} pods" if len(verdict.pods) > 1 else "")
    return verdict.reason


def _asked(config: Config, desk: Desk) -> list[Fresh]:
    found = []
    try:
        platform = host.require_engine().platform
        cluster.require(config)
        for workload in config.workloads.values():
            found.append(look(config, workload, platform, desk))  # noqa: PERF401 - kept on an error
    except KindloopError as exc:
        # A node that was started again has another connection.
        desk.forget()
        # A tool that fails has given no answer either.
        cannot = isinstance(exc, ToolFailed) or exc.exit_code not in (1, 4)
        state: State = "unknown" if cannot else "unhealthy"
        hint = f"; next: {exc.hint}" if exc.hint else ""
        found.append(Fresh(config.name, state, exc.message + hint))
    return found


def _by_image(config: Config, workload: Workload, platform: str) -> Fresh:
    """A workload without a supervisor: its image is a digest of what is in it."""
    wanted = deploying.workload_images(config, platform)[workload.name].reference
    objects = rollout.objects(config, "deployments")
    mine = [one for one in objects if one["metadata"]["name"] == workload.name]
    if not mine:
        return Fresh(workload.name, "unhealthy", "no Deployment; next: invoke dev-up")
    images = [c["image"] for c in mine[0]["spec"]["template"]["spec"]["containers"]]
    if wanted not in images:
        return Fresh(workload.name, "stale", f"image {images[0]}; next: invoke dev-rebuild")
    state: State = "fresh" if complete(mine[0]) else "unhealthy"
    return Fresh(workload.name, state, wanted)
