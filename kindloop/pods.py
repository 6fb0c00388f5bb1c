"""What Deployment, pods and events say about a rollout: pure functions over their JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Trouble", "complete", "current_pods", "last_probe_failure", "summary", "trouble"]

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
)
CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
PASSING = ("failed to sync", "timed out", "deadline exceeded", "is reserved for")
"""What the kubelet says of a busy node; it tries again by itself."""

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Trouble:
    """Why a rollout cannot succeed: message, likely reason, next command, pod for its logs."""

    message: str
    why: str
    hint: str
    pod: str = ""
    previous: bool = False
    """Whether the logs that tell are those of the container before the present one."""


def complete(deployment: Object) -> bool:
    """Whether the newest generation is rolled out and available, and nothing else runs."""
    status, spec = deployment.get("status", {}), deployment["spec"]
    wanted = spec.get("replicas", 1)
    counts = [status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")]
    observed = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(observed and all(count == wanted for count in counts))


def current_pods(deployment: Object, pods: Iterable[Object]) -> list[Object]:
    """Pods of the newest template: what the Deployment says now is what they were made of."""
    template = deployment["spec"]["template"]
    marks = template.get("metadata", {}).get("annotations") or {}
    return [
        pod
        for pod in pods
        if marks.items() <= (pod["metadata"].get("annotations") or {}).items()
        and _told(pod) == _told(template)
        and not pod["metadata"].get("deletionTimestamp")
    ]


def trouble(pods: Iterable[Object], events: Sequence[Object] = ()) -> Trouble | None:
    """The first thing that time alone will not mend, or None."""
    for pod in pods:
        found = _pod_trouble(pod, events)
        if found is not None:
            return found
    return None


def last_probe_failure(pod: str, events: Iterable[Object]) -> str:
    """What the newest failing probe of `pod` got, such as "HTTP probe failed with … 503"."""
    messages = [
        e.get("message", "")
        for e in events
        if e.get("reason") == "Unhealthy" and e.get("involvedObject", {}).get("name") == pod
    ]
    return messages[-1] if messages else ""


def summary(pods: Iterable[Object]) -> str:
    """One line on every pod: name, phase, readiness, restarts."""
    parts = []
    for pod in pods:
        statuses = pod.get("status", {}).get("containerStatuses", [])
        ready = sum(1 for s in statuses if s.get("ready"))
        restarts = sum(s.get("restartCount", 0) for s in statuses)
        phase = pod.get("status", {}).get("phase", "Unknown")
        parts.append(
            f"{pod['metadata']['name']} {phase} {ready}/{len(pod['spec']['containers'])} ready, "
            f"{restarts} restarts"
        )
    return "; ".join(parts) or "no pod"


def _told(pod: Object) -> dict[str, list[Any]]:
    """What a template decides about each container, without what the API server fills in."""
    return {
        c["name"]: [
            *(c.get(key) for key in ("image", "command", "args", "env", "envFrom", *PROBES)),
            c.get("resources", {}).get("limits"),
        ]
        for c in pod["spec"]["containers"]
    }


def _pod_trouble(pod: Object, events: Sequence[Object]) -> Trouble | None:
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition.get("reason") == "Unschedulable":
            return Trouble(
                f"{name} cannot be scheduled: {condition.get('message', '')}",
                "it asks for more CPU or memory than the node has left, or for a node label",
                f"invoke k8s.kubectl -- describe pod {name}",
            )
    for container in [
        *status.get("initContainerStatuses", []),
        *status.get("containerStatuses", []),
    ]:
        found = _container_trouble(name, container, events)
        if found is not None:
            return found
    return None


def _container_trouble(pod: str, status: Object, events: Sequence[Object]) -> Trouble | None:
    waiting = status.get("state", {}).get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in IMAGE_REASONS:
        return Trouble(
            f"{pod}: image {status.get('image', '')} is not in the node ({reason})",
            "the manifests name an image that kindloop does not build, and no registry answers",
            "compare the image's name in the manifests with the workload's name in kindloop.yaml",
        )
    said = waiting.get("message", reason)
    if reason in CONFIG_REASONS and not any(words in said for words in PASSING):
        return Trouble(
            f"{pod} cannot start: {said}",
            "the image's program is missing or not executable, or a ConfigMap or Secret is missing",
            f"invoke k8s.kubectl -- describe pod {pod}",
        )
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get(
        "terminated", {}
    )
    if ended and status.get("restartCount", 0) >= 2 and not status.get("ready"):
        return _crash(pod, status, ended, events)
    if ended and reason == "CrashLoopBackOff":
        return _crash(pod, status, ended, events)
    return None


def _crash(pod: str, status: Object, ended: Object, events: Sequence[Object]) -> Trouble:
    code, reason = ended.get("exitCode"), ended.get("reason", "")
    probe = last_probe_failure(pod, events)
    if probe and code in (0, 137, 143):
        message = f"{pod} is restarted because its probe fails: {probe}"
        why = "the service does not answer its health path on the port of the manifests"
    else:
        message = f"{pod} crashes: exit code {code}" + (f" ({reason})" if reason else "")
        why = (
            "it was killed for its memory limit"
            if reason == "OOMKilled"
            else "the program ends by itself: its last log lines say why"
        )
    previous = "running" in status.get("state", {}) or "waiting" in status.get("state", {})
    return Trouble(
        message, why, f"invoke dev-logs; invoke k8s.kubectl -- describe pod {pod}", pod, previous
    )
