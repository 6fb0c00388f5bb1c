"""Manifests of a swappable workload: plain ones stay usable by kubectl, this is what kindloop adds.

The supervisor is process 1 of the container. It answers the probes, so that a crash of the service
is a state to be told and healed, and no reason for Kubernetes to restart the container.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from kindloop.config import SUPERVISOR_PORT, SUPERVISOR_STAGE, SWAP_IN_POD, Config, Swap, Workload
from kindloop.errors import ConfigError
from kindloop.kindconfig import SWAP_IN_NODE

__all__ = ["swap_path", "swappable"]

VOLUME = "kindloop"
PORT_NAME = "supervisor"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
MEMORY = "512Mi"
"""Limit of a container that has none: what leaks is ended here, and not the whole node."""
EXEC_SIZE = "512Mi"
"""Room for what is sent through the API server: the newest artifacts and their trees."""
STOP_S = 2
"""Seconds of the pod's grace beyond that of its binary: the supervisor ends what is left."""

Object = dict[str, Any]


def swap_path(workload: Workload) -> str:
    """The workload's swap folder in the node."""
    return f"{SWAP_IN_NODE}/{workload.name}"


def swappable(
    documents: Sequence[Mapping[str, Any]],
    config: Config,
    workload: Workload,
    *,
    transport: Literal["mount", "exec", "none"],
) -> list[dict[str, Any]]:
    """The rendered documents with the workload's Deployment and its Services made swappable. Pure.

    `transport` is how artifacts come into the pod: from a folder of the node (`mount`), into one
    of the pod's own (`exec`), or not at all, because the image has the binary (`none`: arguments
    and variables of the swap are those of the container then). Without a swap, or without a
    Deployment of its name, nothing changes. Raises ConfigError for a Deployment in which the
    supervisor could not do its work.
    """
    out = [dict(document) for document in documents]
    named = ("Deployment", workload.name)
    at = next((i for i, d in enumerate(out) if (d["kind"], d["metadata"]["name"]) == named), None)
    if workload.swap is None or at is None:
        return out
    out[at] = _deployment(copy.deepcopy(out[at]), config, workload, workload.swap, transport)
    labels = _labels(out[at])
    for index, document in enumerate(out):
        if document["kind"] == "Service" and _selects(document, labels):
            # Traffic goes to the pod all the time: kube-proxy takes a second or two to follow a
            # change of readiness, a swap takes milliseconds.
            spec = {**document["spec"], "publishNotReadyAddresses": True}
            out[index] = {**document, "spec": spec}
    return out


def _deployment(
    out: Object, config: Config, workload: Workload, swap: Swap, transport: str
) -> Object:
    spec = out.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = pod.get("containers")
    if not containers:
        return out  # the API server says what is wrong with it, field by field
    container = next((c for c in containers if c["name"] == workload.name), containers[0])
    _refuse(pod, container, workload)
    # Beside a sidecar, kubectl exec and logs mean this one.
    metadata = spec["template"].setdefault("metadata", {})
    metadata.setdefault("annotations", {}).setdefault(DEFAULT_CONTAINER, container["name"])
    # Two versions never answer beside each other, and a volume is never mounted by both.
    spec["strategy"] = {"type": "Recreate"}
    least_s = -(-swap.grace_ms // 1000) + STOP_S
    pod["terminationGracePeriodSeconds"] = max(
        pod.get("terminationGracePeriodSeconds", 30), least_s
    )
    _add_environment(container, _told(container, workload))
    _add_port(container)
    _set_probes(container)
    if transport == "none":
        if swap.args is not None:
            container["args"] = list(swap.args)
        _add_environment(container, swap.env)
    else:
        _add_volume(pod, container, _volume(workload, transport), read_only=transport == "mount")
    if config.profile == "loop":
        _set_limits(container)
    return out


def _told(container: Object, workload: Workload) -> dict[str, str]:
    """What the supervisor has to know; a variable of the manifests comes before what is derived."""
    port = next(p["containerPort"] for p in _app_ports(container) if _is_tcp(p))
    health = urlsplit(workload.url).path.rstrip("/") + workload.health
    given = {each["name"] for each in container.get("env") or ()}
    derived = {"KINDLOOP_PORT": str(port), "KINDLOOP_HEALTH": health}
    return {name: value for name, value in derived.items() if name not in given}


def _refuse(pod: Object, container: Object, workload: Workload) -> None:
    place = f"Deployment {workload.name}"
    correct = f"in the manifests of workloads.{workload.name} ({workload.manifests.name})"
    for setting in ("shareProcessNamespace", "hostPID"):
        if pod.get(setting):
            raise ConfigError(
                f"{place} sets {setting}, so the supervisor would not be process 1",
                why="it ends and reaps whatever else is in the container, as process 1 can",
                hint=f"remove {setting} {correct}: the supervisor passes signals on",
            )
    command = container.get("command")
    if command and PurePosixPath(command[0]).name != SUPERVISOR_STAGE:
        raise ConfigError(
            f"{place} starts {command[0]} in place of the supervisor",
            why="`command` in a manifest replaces the image's ENTRYPOINT",
            hint=f"remove command {correct}; put arguments into args",
        )
    if not any(_is_tcp(port) for port in _app_ports(container)):
        raise ConfigError(
            f"container {container['name']} of {place} declares no port",
            why="a swap is done when the new process listens there",
            hint=f"add the service's port {correct}: ports: [{{name: http, containerPort: 8080}}]",
        )
    for port in _app_ports(container):
        if port["containerPort"] == SUPERVISOR_PORT:
            raise ConfigError(
                f"container {container['name']} of {place} uses port {SUPERVISOR_PORT}",
                why="the supervisor answers there",
                hint=f"move the service to another port {correct}",
            )


def _app_ports(container: Object) -> list[Object]:
    return [port for port in container.get("ports") or () if port.get("name") != PORT_NAME]


def _is_tcp(port: Object) -> bool:
    return bool(port.get("protocol", "TCP") == "TCP")


def _add_port(container: Object) -> None:
    own = {"name": PORT_NAME, "containerPort": SUPERVISOR_PORT}
    container["ports"] = [*_app_ports(container), own]


def _add_environment(container: Object, variables: Mapping[str, str]) -> None:
    kept = [each for each in container.get("env") or () if each["name"] not in variables]
    added = [{"name": name, "value": value} for name, value in variables.items()]
    if kept or added:
        container["env"] = kept + added


def _set_probes(container: Object) -> None:
    alive = {"httpGet": {"path": "/livez", "port": PORT_NAME}, "timeoutSeconds": 5}
    ready = {"httpGet": {"path": "/readyz", "port": PORT_NAME}}
    container["startupProbe"] = {**alive, "periodSeconds": 1, "failureThreshold": 30}
    container["livenessProbe"] = {**alive, "periodSeconds": 10}
    container["readinessProbe"] = {**ready, "periodSeconds": 1, "timeoutSeconds": 2}


def _volume(workload: Workload, transport: str) -> Object:
    if transport == "mount":
        # It must be there: were it made by the kubelet, nobody would write into it.
        return {"hostPath": {"path": swap_path(workload), "type": "Directory"}}
    return {"emptyDir": {"sizeLimit": EXEC_SIZE}}


def _add_volume(pod: Object, container: Object, source: Object, *, read_only: bool) -> None:
    volumes = [each for each in pod.get("volumes") or () if each["name"] != VOLUME]
    mounts = [each for each in container.get("volumeMounts") or () if each["name"] != VOLUME]
    mount = {"name": VOLUME, "mountPath": SWAP_IN_POD}
    pod["volumes"] = [*volumes, {"name": VOLUME, **source}]
    container["volumeMounts"] = [*mounts, {**mount, "readOnly": True} if read_only else mount]


def _set_limits(container: Object) -> None:
    """No CPU limit: throttling slows down hashing and start, the very way of a save."""
    resources = container.setdefault("resources", {})
    limits = {name: much for name, much in (resources.get("limits") or {}).items() if name != "cpu"}
    if "memory" not in (resources.get("requests") or {}):
        limits.setdefault("memory", MEMORY)
    resources["limits"] = limits


def _labels(deployment: Object) -> Mapping[str, str]:
    template = (deployment.get("spec") or {}).get("template") or {}
    return (template.get("metadata") or {}).get("labels") or {}


def _selects(service: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    selector = service.get("spec", {}).get("selector")
    return bool(selector) and selector.items() <= labels.items()
