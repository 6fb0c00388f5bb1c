"""What pods say about a rollout, from the JSON that a cluster gives."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kindloop import pods

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "web:2",
                "args": ["--addr", "0.0.0.0:8080"],
                "envFrom": [{"configMapRef": {"name": "web"}}],
                "livenessProbe": {"httpGet": {"path": "/health", "port": "http"}},
                "resources": {"limits": {"memory": "64Mi"}},
            }
        ]
    },
}
NAME = "web-6f9-abcde"


def _deployment(**status: int) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "generation": 3},
        "spec": {"replicas": 2, "template": copy.deepcopy(TEMPLATE)},
        "status": status,
    }


def _pod(
    container: dict[str, Any] | None = None, *, name: str = NAME, **status: Any
) -> dict[str, Any]:
    """A pod of the template as the API server shows it, with defaults and mounts filled in."""
    spec = copy.deepcopy(TEMPLATE["spec"])
    spec["containers"][0] |= {
        "terminationMessagePath": "/dev/termination-log",
        "volumeMounts": [{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}},
    }
    statuses = (
        [{"name": "web", "image": "web:2", "restartCount": 0, "ready": False, **container}]
        if container
        else []
    )
    return {
        "metadata": {"name": name, "labels": {"app": "web", "pod-template-hash": "6f9"}},
        "spec": spec,
        "status": {"phase": "Pending", "containerStatuses": statuses, **status},
    }


def _waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return _pod({"state": {"waiting": {"reason": reason, "message": message}}, **more})


def _ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def _probe_failed(message: str, pod: str = NAME) -> dict[str, Any]:
    return {"reason": "Unhealthy", "message": message, "involvedObject": {"name": pod}}


# -- complete

FULL = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def test_a_rollout_is_complete_when_all_are_new_and_available() -> None:
    assert pods.complete(_deployment(**FULL))


@pytest.mark.parametrize(
    "change",
    [
        {"observedGeneration": 2},  # the controller has not seen it yet
        {"replicas": 3},  # an old pod is still there
        {"updatedReplicas": 1},
        {"availableReplicas": 1},
    ],
)
def test_a_rollout_is_not_complete_while(change: dict[str, int]) -> None:
    assert not pods.complete(_deployment(**{**FULL, **change}))


def test_a_deployment_without_status_is_not_complete() -> None:
    assert not pods.complete(_deployment())


def test_no_replicas_wanted_and_none_there_is_complete() -> None:
    deployment = _deployment(observedGeneration=3)
    deployment["spec"]["replicas"] = 0
    assert pods.complete(deployment)


def test_replicas_are_one_when_not_said() -> None:
    deployment = _deployment(
        **{**FULL, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    )
    del deployment["spec"]["replicas"]
    assert pods.complete(deployment)


# -- current_pods


def test_pods_of_the_template_are_current() -> None:
    pod = _pod({"state": {"running": {}}})
    assert pods.current_pods(_deployment(), [pod]) == [pod]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", "web:1"),
        ("args", ["--addr", "0.0.0.0:80"]),
        ("env", [{"name": "RUST_LOG", "value": "debug"}]),
        ("envFrom", []),
        ("livenessProbe", {"httpGet": {"path": "/live", "port": "http"}}),
        ("resources", {"limits": {"memory": "32Mi"}}),
    ],
)
def test_pods_made_of_another_template_are_not(key: str, value: Any) -> None:
    """Its failure is that of what is being replaced, and must not end the wait."""
    old = _pod({"state": {"running": {}}})
    old["spec"]["containers"][0][key] = value
    assert pods.current_pods(_deployment(), [old]) == []


def test_pods_from_before_a_restart_are_not_current() -> None:
    deployment = _deployment()
    mark = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    deployment["spec"]["template"]["metadata"]["annotations"] = mark
    old, new = _pod(), _pod(name="web-7a0-fghij")
    new["metadata"]["annotations"] = {**mark, "other": "x"}
    assert pods.current_pods(deployment, [old, new]) == [new]


def test_pods_that_are_going_are_not_current() -> None:
    pod = _pod()
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pods.current_pods(_deployment(), [pod]) == []


# -- trouble


@pytest.mark.parametrize(
    "reason", ["ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"]
)
def test_an_image_that_is_not_in_the_node(reason: str) -> None:
    found = pods.trouble([_waiting(reason, 'Container image "web:2" is not present')])
    assert found is not None
    assert found.message == f"{NAME}: image web:2 is not in the node ({reason})"
    assert "name" in found.hint
    assert found.pod == ""  # there are no logs to show


def test_a_container_that_ends_by_itself() -> None:
    pod = _waiting("CrashLoopBackOff", restartCount=1, lastState=_ended(101))
    found = pods.trouble([pod])
    assert found is not None
    assert found.message == f"{NAME} crashes: exit code 101 (Error)"
    assert found.why == "the program ends by itself: its last log lines say why"
    assert (found.pod, found.previous) == (NAME, True)


def test_a_container_killed_for_its_memory() -> None:
    pod = _waiting("CrashLoopBackOff", restartCount=1, lastState=_ended(137, "OOMKilled"))
    found = pods.trouble([pod])
    assert found is not None
    assert found.message == f"{NAME} crashes: exit code 137 (OOMKilled)"
    assert found.why == "it was killed for its memory limit"


def test_logs_of_a_container_that_just_ended_are_those_of_this_one() -> None:
    pod = _pod({"state": _ended(1), "restartCount": 2})
    found = pods.trouble([pod])
    assert found is not None
    assert (found.pod, found.previous) == (NAME, False)


@pytest.mark.parametrize("code", [0, 137, 143])
def test_a_container_restarted_for_its_probe(code: int) -> None:
    pod = _waiting("CrashLoopBackOff", restartCount=3, lastState=_ended(code))
    events = [
        _probe_failed("Liveness probe failed: connection refused"),
        _probe_failed("Liveness probe failed: HTTP probe failed with statuscode: 503"),
        _probe_failed("of another pod", pod="web-other"),
    ]
    found = pods.trouble([pod], events)
    assert found is not None
    assert "because its probe fails" in found.message
    assert found.message.endswith("statuscode: 503")


def test_a_crash_after_a_failing_probe_is_a_crash() -> None:
    pod = _waiting("CrashLoopBackOff", restartCount=3, lastState=_ended(101))
    found = pods.trouble([pod], [_probe_failed("Startup probe failed: refused")])
    assert found is not None
    assert "exit code 101" in found.message


def test_a_pod_that_has_no_place() -> None:
    message = "0/1 nodes are available: 1 Insufficient memory."
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    found = pods.trouble([_pod(conditions=[condition])])
    assert found is not None
    assert found.message == f"{NAME} cannot be scheduled: {message}"
    assert f"describe pod {NAME}" in found.hint


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "CreateContainerConfigError",
            "failed to sync configmap cache: timed out waiting for the condition",
        ),
        ("CreateContainerError", "context deadline exceeded"),
        ("CreateContainerError", 'failed to reserve container name "x": name "x" is reserved for'),
    ],
)
def test_what_a_busy_node_says_passes(reason: str, message: str) -> None:
    assert pods.trouble([_waiting(reason, message)]) is None


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CreateContainerConfigError", 'configmap "web" not found'),
        ("CreateContainerError", 'exec: "/app/web": no such file or directory'),
        ("RunContainerError", "permission denied"),
    ],
)
def test_a_container_that_cannot_start(reason: str, message: str) -> None:
    found = pods.trouble([_waiting(reason, message)])
    assert found is not None
    assert found.message == f"{NAME} cannot start: {message}"


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(_pod(), id="no container yet"),
        pytest.param(_waiting("ContainerCreating"), id="being made"),
        pytest.param(_waiting("PodInitializing"), id="init containers"),
        pytest.param(_pod({"state": {"running": {}}}), id="runs, not ready yet"),
        pytest.param(_pod({"state": {"running": {}}, "ready": True}), id="ready"),
        pytest.param(
            _pod({"state": {"running": {}}, "restartCount": 1, "lastState": _ended(1)}),
            id="one restart may be the start of a dependency",
        ),
        pytest.param(
            _pod(
                {"state": {"running": {}}, "ready": True, "restartCount": 9, "lastState": _ended(1)}
            ),
            id="ready again",
        ),
        pytest.param({"metadata": {"name": "x"}, "spec": {"containers": []}}, id="no status"),
    ],
)
def test_what_time_may_mend_is_no_trouble(pod: dict[str, Any]) -> None:
    assert pods.trouble([pod]) is None


def test_the_first_trouble_counts() -> None:
    found = pods.trouble([_pod(), _waiting("ErrImageNeverPull"), _waiting("ImagePullBackOff")])
    assert found is not None
    assert "ErrImageNeverPull" in found.message


def test_the_newest_probe_failure_of_the_pod() -> None:
    events = [_probe_failed("a"), _probe_failed("b"), _probe_failed("c", pod="other")]
    assert pods.last_probe_failure(NAME, events) == "b"
    assert pods.last_probe_failure("nobody", events) == ""


def test_summary() -> None:
    ready = _pod({"ready": True, "restartCount": 2, "state": {"running": {}}}, phase="Running")
    assert pods.summary([ready, _pod(name="web-2")]) == (
        f"{NAME} Running 1/1 ready, 2 restarts; web-2 Pending 0/1 ready, 0 restarts"
    )
    assert pods.summary([]) == "no pod"
