"""Wait until a workload is rolled out; when it cannot be, say why at once.

It watches (`kubectl get --watch`), so there is no interval to wait out, and stops at the first
sign that time alone will not mend.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from kindloop import cluster, process, report
from kindloop.config import Config, Workload
from kindloop.errors import KindloopError, RolloutFailed
from kindloop.hostfacts import MIN_INOTIFY_INSTANCES
from kindloop.pods import Trouble, complete, current_pods, last_probe_failure, summary, trouble

__all__ = ["documents", "logs_tail", "objects", "proxy_trouble", "renew", "wait"]

LOG_LINES = 20
ASK_S = 0.2
"""Seconds between two questions whether waiting is pointless; what is watched comes at once."""
Object = Mapping[str, Any]


def _never() -> KindloopError | None:
    return None


def objects(config: Config, kind: str, *selectors: str) -> list[Object]:
    """Objects of `kind` in the environment's namespace as JSON documents."""
    found = cluster.kubectl(config, "get", kind, "--output=json", *selectors, quiet=True)
    return list(json.loads(found.stdout)["items"])


def wait(
    config: Config, workload: Workload, *, gave_up: Callable[[], KindloopError | None] = _never
) -> float:
    """Wait until the Deployment is complete; returns seconds. Raises RolloutFailed.

    `gave_up` is asked now and then: an error that it returns ends the waiting and is raised.
    """
    started_s = time.monotonic()
    with report.step(f"rollout {workload.name}") as step:
        seen = _settled(config, workload)
        if seen is None:
            seen = _watched(config, workload, started_s + workload.ready_s, gave_up)
        step.note(summary(seen))
    return time.monotonic() - started_s


def renew(config: Config, workload: Workload) -> None:
    """Have the pods replaced by others of the same image, as `kubectl rollout restart` does."""
    cluster.kubectl(config, "rollout", "restart", f"deployment/{workload.name}")


def logs_tail(config: Config, pod: str, *, previous: bool = False) -> list[str]:
    """The last lines that a pod wrote."""
    flags = ["--previous"] if previous else []
    found = cluster.kubectl(
        config, "logs", pod, f"--tail={LOG_LINES}", *flags, check=False, quiet=True
    )
    return found.stdout.splitlines()


def proxy_trouble(config: Config, workload: Workload) -> RolloutFailed | None:
    """Why no URL leads to the pods, when kube-proxy in the node is to blame; else None."""
    there = ("--namespace=kube-system", "--selector=k8s-app=kube-proxy")
    found = cluster.kubectl(config, "get", "pods", *there, "--output=json", check=False, quiet=True)
    pods = json.loads(found.stdout)["items"] if found.ok else []
    states = [s for p in pods for s in p.get("status", {}).get("containerStatuses", [])]
    if not pods or any(one.get("ready") for one in states):
        return None
    flags = (*there, f"--tail={LOG_LINES}")
    lines = cluster.kubectl(config, "logs", *flags, check=False, quiet=True).stdout.splitlines()
    starved = any("too many open files" in line for line in lines)
    again = f"sudo sysctl fs.inotify.max_user_instances={MIN_INOTIFY_INSTANCES}; then: "
    return RolloutFailed(
        f"{workload.name} is ready, but no URL leads to it: kube-proxy does not run in the node "
        f"({summary(pods)})",
        evidence=lines[-3:],
        why="this machine has no inotify instance left for it: clusters, editors and watches "
        "share them"
        if starved
        else "it makes the rules that lead from a NodePort to the pods",
        hint=f"{again if starved else ''}invoke dev-stop && invoke dev-start",
    )


def _settled(config: Config, workload: Workload) -> list[Object] | None:
    """The pods when the rollout is complete already (the usual case of a second `dev-up`)."""
    found = objects(config, "deployments,pods")
    pods = [one for one in found if one["kind"] == "Pod"]
    for one in found:
        if one["kind"] == "Deployment" and one["metadata"]["name"] == workload.name:
            ours = current_pods(one, pods)
            return ours if complete(one) and ours else None
    return None


def _watched(
    config: Config,
    workload: Workload,
    deadline_s: float,
    gave_up: Callable[[], KindloopError | None],
) -> list[Object]:
    changes: queue.Queue[tuple[str, Object]] = queue.Queue()
    with ExitStack() as stack:
        for kind in ("deployments", "pods"):
            stack.enter_context(_watch(config, kind, changes))
        return _follow(config, workload, changes, deadline_s, gave_up)


def _follow(
    config: Config,
    workload: Workload,
    changes: queue.Queue[tuple[str, Object]],
    deadline_s: float,
    gave_up: Callable[[], KindloopError | None],
) -> list[Object]:
    """Consume changes until the rollout is complete; returns its pods."""
    deployment: Object | None = None
    pods: dict[str, Object] = {}
    while True:
        try:
            kind, change = changes.get(timeout=ASK_S)
        except queue.Empty:
            error = gave_up()
            if error is not None:
                raise error from None
            if time.monotonic() > deadline_s:
                raise _late(config, workload, deployment, pods) from None
            continue
        found = change["object"]
        name = found["metadata"]["name"]
        if kind == "deployments" and name == workload.name:
            deployment = None if change["type"] == "DELETED" else found
        elif kind == "pods" and change["type"] == "DELETED":
            pods.pop(name, None)
        elif kind == "pods":
            pods[name] = found
        if deployment is None:
            continue
        ours = current_pods(deployment, pods.values())
        if complete(deployment):
            return ours
        problem = trouble(ours)
        if problem is not None:
            raise _failed(config, workload, ours)


def _watch(config: Config, kind: str, changes: queue.Queue[tuple[str, Object]]) -> process.Child:
    return process.Child(
        [*cluster.kubectl_argv(config), "get", kind, "--watch", "--output-watch-events",
         "--output=json"],
        on_line=documents(lambda document: changes.put((kind, document))),
    )  # fmt: skip


def documents(found: Callable[[Object], None]) -> process.OnLine:
    """Cut kubectl's stream into JSON documents: one a line, or indented, by its version."""
    lines: list[str] = []

    def take(text: str, stream: str) -> None:
        if stream != "out":
            return
        lines.append(text)
        if text == "}" or (len(lines) == 1 and text.startswith('{"')):
            found(json.loads("\n".join(lines)))
            lines.clear()

    return take


def _failed(config: Config, workload: Workload, pods: list[Object]) -> KindloopError:
    problem = trouble(pods, _events(config))
    if problem is None:  # it mended itself between two looks: the deadline decides
        problem = Trouble(f"{workload.name} is not ready", "", "invoke dev-logs")
    lines = logs_tail(config, problem.pod, previous=problem.previous) if problem.pod else []
    if problem.pod and not lines:
        lines = logs_tail(config, problem.pod)
    return RolloutFailed(
        f"{workload.name}: {problem.message}",
        evidence=lines,
        why=problem.why,
        hint=problem.hint,
    )


def _late(
    config: Config,
    workload: Workload,
    deployment: Object | None,
    pods: Mapping[str, Object],
) -> KindloopError:
    if deployment is None:
        return RolloutFailed(
            f"there is no Deployment {workload.name} after {workload.ready_s} s",
            why="the manifests have "
            + (", ".join(d["metadata"]["name"] for d in objects(config, "deployments")) or "none"),
            hint=f"name it {workload.name}, or rename the workload in kindloop.yaml",
        )
    ours = current_pods(deployment, pods.values())
    events = _events(config)
    probes = [last_probe_failure(p["metadata"]["name"], events) for p in ours]
    got = next((p for p in probes if p), "")
    lines = logs_tail(config, ours[0]["metadata"]["name"]) if ours else []
    return RolloutFailed(
        f"{workload.name} is not ready after {workload.ready_s} s: {got or summary(ours)}",
        evidence=lines,
        why="the service does not answer its health path as the probe expects",
        hint=f"invoke dev-logs; invoke k8s.kubectl -- describe deployment {workload.name}",
    )


def _events(config: Config) -> list[Object]:
    return objects(config, "events", "--sort-by=.lastTimestamp")
