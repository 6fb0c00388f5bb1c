"""Manifests of a swappable workload: what is added to plain ones, and what is refused."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from kindloop import manifests
from kindloop.config import Config, Image, Swap, Workload
from kindloop.errors import ConfigError
from kindloop.kindconfig import SWAP_IN_NODE
from kindloop.loading import load
from kindloop.swapmanifests import swap_path, swappable

Transport = Literal["mount", "exec", "none"]
LABELS = {"app": "web"}


def _config(swap: Swap | None = None, **settings: Any) -> Config:
    here = Path("/checkout")
    web = Workload("web", Image(here / "Dockerfile"), here / "k8s", swap=swap or Swap("web"))
    config = Config(here / "kindloop.yaml", workloads={"web": replace(web, **settings)})
    return replace(config, name="mine")


def _deployment(**pod: Any) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "web",
        "args": ["--spec", "doc/openapi.yaml"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": "A", "value": "1"}],
        "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "2", "memory": "256Mi"}},
        "livenessProbe": {"exec": {"command": ["true"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "initContainers": [{"name": "web", "image": "busybox"}],
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        **pod,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "mine"},
        "spec": {
            "replicas": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"metadata": {"labels": {**LABELS, "more": "x"}}, "spec": spec},
        },
    }


def _service(name: str, selector: dict[str, str] | None) -> dict[str, Any]:
    spec = {"ports": [{"port": 80}]} | ({"selector": selector} if selector is not None else {})
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _swapped(
    config: Config, *documents: dict[str, Any], transport: Transport = "mount"
) -> list[dict[str, Any]]:
    given = documents or (_deployment(),)
    return swappable(given, config, config.workloads["web"], transport=transport)


def _pod(config: Config, *documents: dict[str, Any], transport: Transport = "mount") -> Any:
    return _swapped(config, *documents, transport=transport)[0]["spec"]["template"]["spec"]


def _container(config: Config, *documents: dict[str, Any], transport: Transport = "mount") -> Any:
    return _pod(config, *documents, transport=transport)["containers"][0]


def test_the_supervisor_answers_the_probes() -> None:
    container = _container(_config())
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8080, "supervisor": 9909}
    paths = {
        name: container[name]["httpGet"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": {"path": "/livez", "port": "supervisor"},
        "livenessProbe": {"path": "/livez", "port": "supervisor"},
        "readinessProbe": {"path": "/readyz", "port": "supervisor"},
    }
    assert "exec" not in container["livenessProbe"]
    assert container["readinessProbe"]["periodSeconds"] == 1


def test_the_supervisor_is_told_port_and_path_of_the_service() -> None:
    config = _config(url="http://127.0.0.1:8080/v1/", health="/ok")
    env = {e["name"]: e["value"] for e in _container(config)["env"]}
    assert env == {"A": "1", "KINDLOOP_PORT": "8080", "KINDLOOP_HEALTH": "/v1/ok"}


@pytest.mark.parametrize(
    ("ports", "told"),
    [
        ([{"containerPort": 9000}, {"containerPort": 8080}], "9000"),
        ([{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 8080}], "8080"),
        ([{"name": "supervisor", "containerPort": 1}, {"containerPort": 8080}], "8080"),
    ],
    ids=["the first", "not UDP", "not the supervisor's"],
)
def test_which_port_is_the_services(ports: list[dict[str, Any]], told: str) -> None:
    document = _deployment()
    document["spec"]["template"]["spec"]["containers"][0]["ports"] = ports
    container = _container(_config(), document)
    assert {"name": "KINDLOOP_PORT", "value": told} in container["env"]
    assert [p["containerPort"] for p in container["ports"] if p.get("name") == "supervisor"] == [
        9909
    ]


def test_a_port_that_the_manifest_says_comes_first() -> None:
    document = _deployment()
    said = {"name": "KINDLOOP_PORT", "value": "8081"}
    document["spec"]["template"]["spec"]["containers"][0]["env"] = [said]
    env = _container(_config(), document)["env"]
    assert [e for e in env if e["name"] == "KINDLOOP_PORT"] == [said]


def test_the_folder_of_this_workload_alone_is_mounted_and_read_only() -> None:
    pod = _pod(_config())
    assert pod["volumes"][1:] == [
        {"name": "kindloop", "hostPath": {"path": f"{SWAP_IN_NODE}/web", "type": "Directory"}}
    ]
    assert pod["containers"][0]["volumeMounts"][1:] == [
        {"name": "kindloop", "mountPath": "/kindloop", "readOnly": True}
    ]
    assert swap_path(_config().workloads["web"]) == f"{SWAP_IN_NODE}/web"


def test_what_is_sent_goes_into_a_folder_of_the_pod() -> None:
    pod = _pod(_config(), transport="exec")
    assert pod["volumes"][1:] == [{"name": "kindloop", "emptyDir": {"sizeLimit": "512Mi"}}]
    assert pod["containers"][0]["volumeMounts"][1:] == [
        {"name": "kindloop", "mountPath": "/kindloop"}
    ]


def test_an_image_with_its_binary_has_no_swap_folder() -> None:
    """The supervisor would take a want.json before the image's own binary."""
    for profile in ("loop", "release"):
        config = replace(_config(), profile=profile)  # type: ignore[arg-type]
        pod = _pod(config, transport="none")
        assert pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]
        assert pod["containers"][0]["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
        assert pod["containers"][0]["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("transport", ["mount", "exec"])
def test_arguments_and_variables_of_a_swap_are_no_matter_of_the_pod(transport: Transport) -> None:
    """Were they in it, each change of them would be a rollout."""
    plain = _swapped(_config(), transport=transport)
    swap = Swap("web", args=("-v",), env={"RUST_LOG": "debug"})
    assert _swapped(_config(swap), transport=transport) == plain
    assert plain[0]["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "--spec", "doc/openapi.yaml",
    ]  # fmt: skip


def test_an_image_with_its_binary_gets_arguments_and_variables_from_the_container() -> None:
    swap = Swap("web", args=("-v",), env={"RUST_LOG": "debug", "A": "2"})
    container = _container(_config(swap), transport="none")
    assert container["args"] == ["-v"]
    env = [(e["name"], e["value"]) for e in container["env"]]
    assert sorted(env) == [
        ("A", "2"), ("KINDLOOP_HEALTH", "/health"), ("KINDLOOP_PORT", "8080"),
        ("RUST_LOG", "debug"),
    ]  # fmt: skip
    assert _container(_config(), transport="none")["args"] == ["--spec", "doc/openapi.yaml"]
    assert _container(_config(Swap("web", args=())), transport="none")["args"] == []


@pytest.mark.parametrize(
    ("resources", "limits"),
    [
        ({"limits": {"cpu": "2", "memory": "256Mi"}}, {"memory": "256Mi"}),
        ({"limits": {"cpu": "2"}}, {"memory": "512Mi"}),
        ({"limits": None}, {"memory": "512Mi"}),
        (None, {"memory": "512Mi"}),
        # A limit below the request would be refused.
        ({"requests": {"memory": "1Gi"}}, {}),
        ({"limits": {"nvidia.com/gpu": 1}}, {"nvidia.com/gpu": 1, "memory": "512Mi"}),
    ],
)
def test_memory_is_limited_and_cpu_is_not(resources: Any, limits: dict[str, Any]) -> None:
    document = _deployment()
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = resources
    if resources is None:
        del container["resources"]
    found = _container(_config(), document)["resources"]
    assert found["limits"] == limits
    assert found.get("requests") == (resources or {}).get("requests")


def test_profile_release_keeps_the_limits_of_the_manifests() -> None:
    config = replace(_config(), profile="release")
    plain = _deployment()["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert _container(config, transport="none")["resources"] == plain


def test_two_versions_never_run_beside_each_other() -> None:
    assert _swapped(_config())[0]["spec"]["strategy"] == {"type": "Recreate"}
    assert _swapped(_config())[0]["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("given_s", "grace_ms", "expected_s"),
    [(15, 2000, 15), (None, 2000, 30), (5, 10_000, 12), (None, 60_000, 62), (5, 3_500, 6)],
)
def test_the_pod_waits_longer_than_the_supervisor(
    given_s: int | None, grace_ms: int, expected_s: int
) -> None:
    grace = {} if given_s is None else {"terminationGracePeriodSeconds": given_s}
    pod = _pod(_config(Swap("web", grace_ms=grace_ms)), _deployment(**grace))
    assert pod["terminationGracePeriodSeconds"] == expected_s


def test_services_of_the_pods_have_them_ready_or_not() -> None:
    others = [
        _service("other", {"app": "other"}),
        _service("stricter", {**LABELS, "tier": "x"}),
        _service("none", None),
        _service("empty", {}),
    ]
    ours = [_service("web", LABELS), _service("metrics", {"more": "x"})]
    documents = _swapped(_config(), _deployment(), *ours, *others)
    flags = {
        d["metadata"]["name"]: d["spec"].get("publishNotReadyAddresses") for d in documents[1:]
    }
    assert flags == {
        "web": True, "metrics": True, "other": None, "stricter": None, "none": None, "empty": None,
    }  # fmt: skip


def test_the_container_named_like_the_workload_is_the_one() -> None:
    document = _deployment()
    containers = document["spec"]["template"]["spec"]["containers"]
    containers.append({"name": "web", "ports": [{"containerPort": 7000}]})
    first, second = _pod(_config(), document)["containers"]
    assert first == containers[0]
    assert {"name": "KINDLOOP_PORT", "value": "7000"} in second["env"]


def test_what_is_not_the_workloads_is_left_alone() -> None:
    sidecar = {"name": "sidecar", "image": "proxy", "resources": {"limits": {"cpu": "1"}}}
    document = _deployment()
    document["spec"]["template"]["spec"]["containers"].append(sidecar)
    other = _deployment()
    other["metadata"]["name"] = "other"
    changed, same = _swapped(_config(), document, other)
    assert same == other
    pod = changed["spec"]["template"]["spec"]
    assert pod["containers"][1] == sidecar
    assert pod["initContainers"] == [{"name": "web", "image": "busybox"}]


def test_the_given_documents_stay_as_they_are() -> None:
    documents = [_deployment(), _service("web", LABELS)]
    before = copy.deepcopy(documents)
    for transport in ("mount", "exec", "none"):
        _swapped(_config(Swap("web", ("-v",), {"A": "2"})), *documents, transport=transport)  # type: ignore[arg-type]
    assert documents == before


def test_applied_twice_it_is_the_same() -> None:
    config = _config()
    once = _swapped(config, _deployment(), _service("web", LABELS))
    assert _swapped(config, *once) == once


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "Deployment", "metadata": {"name": "web"}},
        {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": None}},
        {"kind": "StatefulSet", "metadata": {"name": "web"}, "spec": {}},
        {"kind": "Deployment", "metadata": {"name": "webshop"}, "spec": {}},
    ],
    ids=["no spec", "no template", "a StatefulSet", "another name"],
)
def test_what_others_will_tell_is_left_to_them(document: dict[str, Any]) -> None:
    assert _swapped(_config(), document) == [document]


def test_without_a_swap_nothing_changes() -> None:
    config = _config()
    web = replace(config.workloads["web"], swap=None)
    documents = [_deployment(), _service("web", LABELS)]
    assert swappable(documents, config, web, transport="mount") == documents


def _with(**changes: Any) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        document = _deployment()
        document["spec"]["template"]["spec"]["containers"][0].update(changes)
        return document

    return make


@pytest.mark.parametrize(
    ("make", "told", "next_step"),
    [
        (
            lambda: _deployment(shareProcessNamespace=True),
            "sets shareProcessNamespace, so the supervisor would not be process 1",
            "remove shareProcessNamespace",
        ),
        (lambda: _deployment(hostPID=True), "sets hostPID", "remove hostPID"),
        (
            _with(command=["/app/web", "-v"]),
            "starts /app/web in place of the supervisor",
            "remove command",
        ),
        (_with(ports=[]), "container c of Deployment web declares no port", "containerPort"),
        (
            _with(ports=[{"containerPort": 53, "protocol": "UDP"}]),
            "container c of Deployment web declares no port",
            "containerPort",
        ),
        (
            _with(ports=[{"name": "http", "containerPort": 9909}]),
            "uses port 9909",
            "another port",
        ),
    ],
)
def test_where_the_supervisor_could_not_work_is_refused(
    make: Callable[[], dict[str, Any]], told: str, next_step: str
) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        _swapped(_config(), make())
    assert raised.value.exit_code == 2
    assert next_step in raised.value.hint
    assert raised.value.why


def test_a_command_that_is_the_supervisor_is_right() -> None:
    command = ["/app/supervisor", "--"]
    assert _container(_config(), _with(command=command)())["command"] == command


@pytest.fixture(params=["repository", "brrtrouter"])
def real(request: pytest.FixtureRequest, repo: Path, tmp_path: Path) -> Config:
    """This repository's settings and manifests, and those of the example, for another checkout."""
    folder = repo if request.param == "repository" else repo / "examples/brrtrouter"
    config = load(folder / "kindloop.yaml", env={"BRRTROUTER_ROOT": str(tmp_path)})
    (workload,) = config.workloads.values()
    shutil.copytree(workload.manifests, tmp_path / "app")
    workload = replace(workload, manifests=tmp_path / "app")
    return replace(config, path=tmp_path / "kindloop.yaml", workloads={workload.name: workload})


def _rendered(config: Config, transport: Transport) -> dict[str, dict[str, Any]]:
    (workload,) = config.workloads.values()
    image = {workload.name: "kindloop.local/mine/petstore:0123456789abcdef"}
    documents = manifests.render(config, [workload.manifests], image)
    return {d["kind"]: d for d in swappable(documents, config, workload, transport=transport)}


def test_real_manifests_become_swappable(real: Config) -> None:
    found = _rendered(real, "mount")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"].endswith(":0123456789abcdef")
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "supervisor"}
    assert pod["volumes"][-1]["hostPath"]["path"] == f"{SWAP_IN_NODE}/petstore"
    assert set(container["resources"]["limits"]) == {"memory"}
    assert found["Service"]["spec"]["publishNotReadyAddresses"] is True
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env == {"KINDLOOP_PORT": "8080", "KINDLOOP_HEALTH": "/health"}


def test_a_changed_log_level_is_no_rollout(real: Config) -> None:
    """It is nowhere in the manifests: neither in the container nor in its ConfigMap."""
    assert "RUST_LOG" not in json.dumps(_rendered(real, "mount"))


def test_synced_files_are_where_the_arguments_look(real: Config) -> None:
    (workload,) = real.workloads.values()
    container = _rendered(real, "mount")["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["workingDir"] == "/app"
    words = [word.partition("=")[2] or word for word in container["args"]]
    named = {word.removeprefix("/app/").split("/")[0] for word in words if not word.startswith("-")}
    assert {each.to for each in workload.sync} <= named
