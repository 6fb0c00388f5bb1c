"""What was built, put into the cluster: images, staged artifacts, manifests and rollout.

`why_rollout` says whether all that is needed, or a swap serves.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from kindloop import (
    images,
    manifests,
    report,
    rollout,
    state,
    swap,
    swapfiles,
    verify,
)
from kindloop.config import Config, Workload
from kindloop.deployplan import (
    Plan,
    artifact,
    plan,
    record_file,
    services_differ,
    why_rollout,
    workload_images,
)
from kindloop.errors import KindloopError, RolloutFailed, Stale, Unhealthy
from kindloop.supervised import Report, Verdict
from kindloop.swap import Desk, Pushed
from kindloop.swapplan import as_rollout, patience_s

__all__ = [
    "Deployed",
    "Plan",
    "answers",
    "artifact",
    "deploy",
    "plan",
    "restart",
    "settle_swap",
    "swap_all",
    "swap_one",
    "why_rollout",
    "workload_images",
]

BACK_S = 5.0
"""Seconds that the last good binary may take to answer again after a roll back."""
TURN_S = 0.1
"""Seconds between two looks at whether a Deployment's old pods are gone."""
SERVICE_LAG_S = 3.0
"""Seconds that the rules of a changed Service may go on sending requests where they went before:
kube-proxy takes changes over once a second, a busy machine some more."""


@dataclass(frozen=True)
class Deployed:
    """A workload after its turn: where it answers and how long its parts took, in seconds."""

    workload: str
    url: str
    image: str
    rollout_s: float
    answers_s: float
    digest: str = ""
    """sha256 of the binary that every pod reported; empty for a workload without swap."""


def deploy(
    config: Config, platform: str, *, with_binary: bool = False, planned: Plan | None = None
) -> list[Deployed]:
    """Images, manifests and rollout of every workload; ends when each URL answers from here."""
    with Desk(config) as desk:
        planned = planned or plan(config, platform, desk, with_binary=with_binary)
        loaded = []
        for one in planned.images.values():
            images.build(config, one)
            if images.load(config, one):
                loaded.append(one)
        pushed = _staged(config, platform, planned, desk)
        if not record_file(config).exists():
            desk.remade.clear()  # no pod is older than its folder
        before = state.read_json(record_file(config))
        # What is refused, or never gets ready, is rolled out again by the next command.
        state.write_json(record_file(config), {})
        with report.step("apply") as step:
            applied = manifests.apply(config, planned.documents)
            step.note(f"{len(applied.changed)} objects")
        if services_differ(before, planned.as_record()):
            with report.step("wait for kube-proxy") as step:
                step.note("a Service changed")
                time.sleep(SERVICE_LAG_S)  # nothing tells when the rules are the new ones
        for workload in config.workloads.values():
            desk.mount_anew(workload)
        try:
            deployed = [
                _settle(config, w, planned.images[w.name].reference, desk, pushed.get(w.name))
                for w in config.workloads.values()
            ]
        except Stale:  # the rollout went well, the binary did not
            state.write_json(record_file(config), planned.as_record())
            raise
        state.write_json(record_file(config), planned.as_record())
    for one in loaded:
        images.prune(config, one)
    return deployed


def swap_all(config: Config, platform: str, desk: Desk) -> list[Deployed]:
    """Swap every workload to its newest artifact and prove it fresh; raises as `swap_one`."""
    return [swap_one(config, w, platform, desk) for w in config.workloads.values()]


def swap_one(
    config: Config, workload: Workload, platform: str, desk: Desk, *, again: bool = False
) -> Deployed:
    """Swap a workload to its newest artifact and prove it fresh.

    `again` tries once more what was rolled back. Raises Stale when it is rolled back,
    RolloutFailed when it does not run, BuildFailed when there is no artifact.
    """
    return settle_swap(workload, desk, _push(config, workload, platform, desk, again=again))


def settle_swap(workload: Workload, desk: Desk, pushed: Pushed) -> Deployed:
    """Wait until every pod runs what was published and the URL answers; raises as `swap_one`."""
    with report.step(f"swap {workload.name}") as step:
        verdict = desk.settle(workload, pushed.want, patience_s(workload))
        step.note(f"{swap.short(pushed.want.digest)} {', '.join(pushed.changed) or 'as it was'}")
        if verdict.state != "fresh":
            raise _failed(workload, desk, verdict)
    took_s = answers(desk.config, workload, verdict.pods)
    return Deployed(workload.name, workload.url, "", step.took_s, took_s, pushed.want.digest)


def restart(config: Config, workload: Workload, desk: Desk) -> Deployed:
    """Replace the pods by others of the same image, and prove what was published in them."""
    rollout.renew(config, workload)
    want = swapfiles.folder_of(config, workload).want() if config.swaps(workload) else None
    pushed = Pushed(workload.name, want, (), 0.0) if want else None
    return _settle(config, workload, "", desk, pushed)


def answers(config: Config, workload: Workload, pods: Sequence[Report] = ()) -> float:
    """Wait for the URL itself: kube-proxy lags behind readiness by a second or two.

    `pods` is what their supervisors said: what listens on 127.0.0.1 in all of them is not waited
    for any longer than that. Raises RolloutFailed.
    """
    if not workload.url:
        return 0.0
    unheard = bool(pods) and all(one.unheard for one in pods)
    with report.step(f"{workload.name} answers") as step:
        step.note(workload.url)
        try:
            wait_s = min(SERVICE_LAG_S, workload.ready_s) if unheard else workload.ready_s
            return verify.wait_quick(workload.url + workload.health, wait_s)
        except Unhealthy as exc:
            if unheard:
                raise _unheard(workload, pods[0].listens) from exc
            raise rollout.proxy_trouble(config, workload) or RolloutFailed(
                f"{workload.name} is ready in the cluster, but {exc.message}",
                evidence=exc.evidence,
                why="its Service has another targetPort or selector, or not the nodePort that the "
                "kind configuration maps to this URL",
                hint="invoke k8s.kubectl -- get service,endpointslices -o wide",
            ) from exc


def _unheard(workload: Workload, listens: str) -> KindloopError:
    port = listens.rpartition(":")[2]
    return RolloutFailed(
        f"{workload.name} listens on {listens} inside of its pod, where nobody else hears it",
        why="a pod is reached at its own address, not at 127.0.0.1 or localhost",
        hint=f"have it listen on 0.0.0.0:{port}: in its code, by the args of its container in "
        f"{workload.manifests}, or by workloads.{workload.name}.swap.env; then: invoke dev-up",
    )


def _push(
    config: Config, workload: Workload, platform: str, desk: Desk, *, again: bool = False
) -> Pushed:
    path = artifact(config, workload, platform)
    if path is None:
        raise ValueError(f"workload {workload.name} has no artifact")
    return desk.push(workload, path, again=again)


def _staged(config: Config, platform: str, planned: Plan, desk: Desk) -> dict[str, Pushed]:
    """Publish the artifacts before the pods are made: they find them at their start."""
    staged = {}
    for workload in config.workloads.values():
        if workload.swap is None:
            continue
        if planned.transports.get(workload.name) == "none":
            # The supervisor takes what is published before the binary of its image.
            swapfiles.folder_of(config, workload).withdraw()
            continue
        staged[workload.name] = _push(config, workload, platform, desk)
    return staged


def _settle(
    config: Config, workload: Workload, image: str, desk: Desk, pushed: Pushed | None
) -> Deployed:
    if pushed is None:
        rollout_s = rollout.wait(config, workload)
        return Deployed(workload.name, workload.url, image, rollout_s, answers(config, workload))
    failed: list[KindloopError] = []
    said: list[Report] = []
    gave_up = threading.Event()

    def ask() -> None:
        """See a binary that cannot run at once, instead of a pod that is never ready."""
        try:
            _await_new_pods(config, workload, desk)
            verdict = desk.settle(workload, pushed.want, workload.ready_s)
            said.extend(verdict.pods)
            if verdict.state != "fresh":
                failed.append(_failed(workload, desk, verdict))
            if not verdict.pods:
                return  # of pods that are not there, or say nothing, the rollout knows more
        except KindloopError as exc:
            failed.append(as_rollout(exc))
        except Exception as exc:  # a question that died must not pass for an answer
            failed.append(RolloutFailed(f"{workload.name}: {exc!r}", hint="invoke dev-status"))
        if failed:
            gave_up.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    rollout_s = rollout.wait(
        config, workload, gave_up=lambda: failed[0] if gave_up.is_set() else None
    )
    asking.join(patience_s(workload))
    if failed:
        raise failed[0]
    if asking.is_alive():
        raise RolloutFailed(
            f"{workload.name}: its pods are ready, but have not said what they run",
            why="the API server does not answer in time",
            hint="invoke dev-status",
        )
    took_s = answers(config, workload, said)
    return Deployed(workload.name, workload.url, image, rollout_s, took_s, pushed.want.digest)


def _failed(workload: Workload, desk: Desk, verdict: Verdict) -> KindloopError:
    """The error for a verdict that is not fresh, told when what took its place answers."""
    error = as_rollout(desk.failed(workload, verdict))
    if verdict.state == "rolled_back" and workload.url:
        with contextlib.suppress(Unhealthy):
            verify.wait_quick(workload.url + workload.health, BACK_S)
            return error
        error.why = "the new binary does not run, and the last good one does not answer yet"
    return error


def _await_new_pods(config: Config, workload: Workload, desk: Desk) -> None:
    """Wait until no pod of an older template is counted: it would answer for the new one."""
    path = f"/apis/apps/v1/namespaces/{config.name}/deployments/{workload.name}"
    deadline_s = time.monotonic() + workload.ready_s
    while (found := desk.api.json(path, or_none=True)) and time.monotonic() < deadline_s:
        status = found.get("status", {})
        seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        if seen and status.get("replicas", 0) == status.get("updatedReplicas", 0):
            return
        time.sleep(TURN_S)  # a few looks take less than the kubectl of a watch to start
