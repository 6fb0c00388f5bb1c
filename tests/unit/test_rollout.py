"""Waiting for a rollout: the watch's stream, and how the wait ends."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import rollout
from kindloop.config import Config, Image, Workload
from kindloop.errors import KindloopError, RolloutFailed
from kindloop.tools import Result

WORKLOAD = Workload("web", Image(Path("Dockerfile")), manifests=Path("k8s/app"), ready_s=60)
CONFIG = Config(path=Path("/nowhere/kindloop.yaml"), name="mine", workloads={"web": WORKLOAD})
EVENTS = [
    {"type": "ADDED", "object": {"metadata": {"name": "web"}, "text": 'a "quoted" } brace'}},
    {"type": "MODIFIED", "object": {"metadata": {"name": "web"}, "list": [{}, {"a": {}}]}},
    {"type": "DELETED", "object": {"metadata": {"name": "ö"}}},
]


@pytest.mark.parametrize(
    "indents",
    [(None, None, None), (4, 4, 4), (2, None, 4), (None, 4, None)],
    ids=["a line each", "indented", "mixed", "mixed otherwise"],
)
def test_documents_are_cut_out_of_the_stream(indents: tuple[int | None, ...]) -> None:
    found: list[Any] = []
    take = rollout.documents(found.append)
    for event, indent in zip(EVENTS, indents, strict=True):
        for line in json.dumps(event, indent=indent, ensure_ascii=False).splitlines():
            take(line, "out")
        take("Warning: v1 ComponentStatus is deprecated", "err")
    assert found == EVENTS


def test_a_document_is_told_as_soon_as_it_is_whole() -> None:
    found: list[Any] = []
    take = rollout.documents(found.append)
    lines = json.dumps(EVENTS[0], indent=4).splitlines()
    for line in lines[:-1]:
        take(line, "out")
    assert found == []
    take(lines[-1], "out")
    assert found == [EVENTS[0]]


# -- how the wait ends


def _template(image: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "web", "image": image}]}}


def _deployment(image: str = "web:2", *, ready: int = 0) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": 1},
        "spec": {"replicas": 1, "template": _template(image)},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": ready,
        },
    }


def _pod(name: str, image: str = "web:2", **waiting: Any) -> dict[str, Any]:
    state = {"waiting": waiting} if waiting else {"running": {}}
    status = {"name": "web", "image": image, "ready": not waiting, "state": state}
    return {
        "kind": "Pod",
        "metadata": {"name": name},
        **_template(image),
        "status": {"phase": "Running", "containerStatuses": [{**status, "restartCount": 0}]},
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What the API server would list, by kind, and the log lines by pod."""
    answers: dict[str, list[Any]] = {"events": [], "deployments": [], "deployments,pods": []}
    monkeypatch.setattr(rollout, "objects", lambda _c, kind, *_s: answers[kind])
    monkeypatch.setattr(
        rollout, "logs_tail", lambda _c, pod, *, previous=False: [f"{pod} {previous}"]
    )
    return answers


def _follow(
    *changes: tuple[str, str, dict[str, Any]],
    ready_s: float = 0.0,
    gave_up: Callable[[], KindloopError | None] = lambda: None,
) -> list[Any]:
    feed: queue.Queue[tuple[str, Any]] = queue.Queue()
    for kind, what, document in changes:
        feed.put((kind, {"type": what, "object": document}))
    return rollout._follow(CONFIG, WORKLOAD, feed, time.monotonic() + ready_s, gave_up)


def test_the_wait_ends_with_the_pods_that_are_current(asked: dict[str, list[Any]]) -> None:
    new = _pod("web-new")
    seen = _follow(
        ("pods", "ADDED", _pod("web-old", "web:1")),
        ("deployments", "ADDED", _deployment()),
        ("pods", "ADDED", new),
        ("deployments", "MODIFIED", _deployment(ready=1)),
    )
    assert seen == [new]


def test_an_old_pod_that_fails_does_not_end_the_wait(asked: dict[str, list[Any]]) -> None:
    assert _follow(
        ("deployments", "ADDED", _deployment()),
        ("pods", "ADDED", _pod("web-old", "web:1", reason="ErrImageNeverPull")),
        ("deployments", "MODIFIED", _deployment(ready=1)),
    ) == []  # fmt: skip


def test_a_new_pod_that_cannot_start_ends_it_with_its_reason(asked: dict[str, list[Any]]) -> None:
    with pytest.raises(RolloutFailed, match="web: web-new: image web:2 is not in the node"):
        _follow(
            ("deployments", "ADDED", _deployment()),
            ("pods", "ADDED", _pod("web-new", reason="ErrImageNeverPull")),
        )


def test_a_crash_is_shown_with_the_log_of_the_container_that_ended(
    asked: dict[str, list[Any]],
) -> None:
    pod = _pod("web-new", reason="CrashLoopBackOff")
    pod["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 2}}
    with pytest.raises(RolloutFailed, match="exit code 2") as raised:
        _follow(("deployments", "ADDED", _deployment()), ("pods", "ADDED", pod))
    assert raised.value.evidence == ("web-new True",)
    assert raised.value.exit_code == 6


def test_a_pod_that_is_gone_is_forgotten(asked: dict[str, list[Any]]) -> None:
    seen = _follow(
        ("pods", "ADDED", _pod("web-gone")),
        ("pods", "DELETED", _pod("web-gone")),
        ("deployments", "ADDED", _deployment(ready=1)),
    )
    assert seen == []


def test_at_the_deadline_the_failing_probe_is_named(asked: dict[str, list[Any]]) -> None:
    asked["events"].append(
        {
            "reason": "Unhealthy",
            "message": "Readiness probe failed: HTTP probe failed with statuscode: 404",
            "involvedObject": {"name": "web-new"},
        }
    )
    with pytest.raises(RolloutFailed, match=r"not ready after 60 s: Readiness .* 404") as raised:
        _follow(("deployments", "ADDED", _deployment()), ("pods", "ADDED", _pod("web-new")))
    assert raised.value.evidence == ("web-new False",)


def test_who_knows_that_waiting_is_pointless_ends_it(asked: dict[str, list[Any]]) -> None:
    error = RolloutFailed("the binary panics")
    with pytest.raises(RolloutFailed, match="the binary panics"):
        _follow(("deployments", "ADDED", _deployment()), ready_s=60, gave_up=lambda: error)


def test_a_deployment_of_another_name_is_told_with_those_there_are(
    asked: dict[str, list[Any]],
) -> None:
    other = _deployment()
    other["metadata"]["name"] = "website"
    asked["deployments"].append(other)
    with pytest.raises(RolloutFailed, match="no Deployment web after 60 s") as raised:
        _follow(("deployments", "ADDED", other))
    assert "website" in raised.value.why


def test_a_complete_rollout_is_seen_without_watching(
    asked: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked["deployments,pods"] = [_deployment(ready=1), _pod("web-new")]
    monkeypatch.setattr(rollout, "_watched", lambda *_a: pytest.fail("it watched"))
    assert rollout.wait(CONFIG, WORKLOAD) >= 0


def test_one_that_is_not_complete_is_watched(
    asked: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked["deployments,pods"] = [_deployment(ready=0), _pod("web-new")]
    watched: list[Workload] = []
    monkeypatch.setattr(rollout, "_watched", lambda _c, found, *_a: watched.append(found) or [])
    rollout.wait(CONFIG, replace(WORKLOAD, ready_s=1))
    assert [w.name for w in watched] == ["web"]


# -- what leads to the pods


def _proxy(*, ready: bool) -> dict[str, Any]:
    status = {"phase": "Running", "containerStatuses": [{"ready": ready, "restartCount": 4}]}
    return {
        "metadata": {"name": "kube-proxy-x"}, "spec": {"containers": [{}]}, "status": status,
    }  # fmt: skip


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, int]]:
    """What kubectl says of kube-proxy, and its exit code, by verb."""
    said: dict[str, tuple[str, int]] = {"logs": ("", 0)}

    def kubectl(_config: Config, verb: str, *argv: str, **_more: Any) -> Result:
        assert "--namespace=kube-system" in argv
        text, code = said[verb]
        return Result(("kubectl", verb), code, text, "", 0.1)

    monkeypatch.setattr(rollout.cluster, "kubectl", kubectl)
    return said


@pytest.mark.parametrize(
    "answer",
    [
        (json.dumps({"items": []}), 0),
        (json.dumps({"items": [_proxy(ready=True)]}), 0),
        ("", 1),
    ],
    ids=["none is there", "it runs", "nobody answers"],
)
def test_kube_proxy_is_blamed_only_when_it_does_not_run(
    node: dict[str, tuple[str, int]], answer: tuple[str, int]
) -> None:
    node["get"] = answer
    assert rollout.proxy_trouble(CONFIG, WORKLOAD) is None


@pytest.mark.parametrize(
    ("log", "why", "hint"),
    [
        (
            "I1 started\nE1 failed complete: too many open files",
            "no inotify instance left",
            "sudo sysctl fs.inotify.max_user_instances=512; then: invoke dev-stop",
        ),
        ("E1 no iptables", "rules that lead from a NodePort", "invoke dev-stop"),
    ],
)
def test_a_kube_proxy_that_does_not_run_is_told_with_its_last_words(
    node: dict[str, tuple[str, int]], log: str, why: str, hint: str
) -> None:
    node["get"] = (json.dumps({"items": [_proxy(ready=False)]}), 0)
    node["logs"] = (log, 0)
    error = rollout.proxy_trouble(CONFIG, WORKLOAD)
    assert error is not None
    assert error.exit_code == 6
    assert "kube-proxy does not run in the node (kube-proxy-x Running 0/1 ready" in error.message
    assert error.evidence == tuple(log.splitlines())
    assert why in error.why
    assert error.hint.startswith(hint)
