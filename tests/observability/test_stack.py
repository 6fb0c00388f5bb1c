"""The stack itself: where it answers, what it takes, what survives, and how it is switched.

These change it, so they come after the tests that only look (see conftest).
"""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from live import docker
from observability.stack import DIRECT, Env, soon
from observability.traffic import ask

from kindloop.config import DEFAULT_PORTS
from kindloop.observing import LEVELS, PARTS

pytestmark = [pytest.mark.destructive]

PATIENCE_S = 300
BUDGET_MIB = 2048
JOBS = {
    "petstore", "supervisor", "kubelet", "cadvisor", "loop",
    "prometheus", "alertmanager", "collector", "jaeger",
}  # fmt: skip
KINDS = (
    "serviceaccounts", "roles", "rolebindings", "configmaps", "services",
    "persistentvolumeclaims", "deployments",
)  # fmt: skip
Versions = dict[str, str]


def versions(env: Env) -> Versions:
    """resourceVersion by `kind/name` of what kindloop applied: the service's and the stack's.

    Of a Deployment the generation, and of a volume its uid: the cluster itself writes into both.
    """
    found = {}
    label = f"--selector=kindloop.environment={env.loop.name}"
    for one in json.loads(env.kubectl("get", ",".join(KINDS), label, "-o", "json"))["items"]:
        mark = {"Deployment": "generation", "PersistentVolumeClaim": "uid"}.get(
            one["kind"], "resourceVersion"
        )
        if not one["metadata"]["name"].startswith("kindloop-inventory"):
            found[f"{one['kind']}/{one['metadata']['name']}"] = str(one["metadata"][mark])
    return found


def differences(before: Versions, after: Versions) -> dict[str, set[str]]:
    """What went, came and changed."""
    both = before.keys() & after.keys()
    return {
        "gone": set(before.keys() - after.keys()),
        "new": set(after.keys() - before.keys()),
        "changed": {name for name in both if before[name] != after[name]},
    }


def pods(env: Env) -> dict[str, str]:
    """uid of each pod by the name of its part or workload."""
    items = json.loads(env.kubectl("get", "pods", "-o", "json"))["items"]
    return {
        one["metadata"]["labels"]["app.kubernetes.io/name"]: one["metadata"]["uid"]
        for one in items
        if not one["metadata"].get("deletionTimestamp")
    }


def status(env: Env) -> Any:
    return json.loads(env.loop.run("dev-status", "--json").stdout)


def up(env: Env, *words: str) -> str:
    return env.loop.ok("dev-up", "--wait", "all", *words)


def send_trace(env: Env) -> str:
    """A span sent to the collector as any program does; returns the id of its trace."""
    trace, now_ns = uuid.uuid4().hex, time.time_ns()
    span = {
        "traceId": trace, "spanId": trace[:16], "name": "kept", "kind": 1,
        "startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns + 1_000_000),
    }  # fmt: skip
    name = {"key": "service.name", "value": {"stringValue": "keeper"}}
    document = {
        "resourceSpans": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [span]}]}]
    }
    post(env.url("otlp_http") + "/v1/traces", document)
    soon(lambda: env.trace(trace), PATIENCE_S)
    return trace


def post(url: str, document: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)
    with DIRECT.open(request, timeout=20) as answer:
        return json.load(answer)


def makes_spans(env: Env) -> bool:
    """Whether the pet store makes a span for a request: then it tells which."""
    status, headers = ask(env.url("petstore"), "/pets")
    assert status == 200
    return "traceresponse" in headers


def silence(env: Env) -> str:
    """A silence in Alertmanager; returns its id."""
    at = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + s)) for s in (0, 3600)]
    matcher = {"name": "alertname", "value": "Nothing", "isRegex": False, "isEqual": True}
    said = {
        "matchers": [matcher],
        "startsAt": at[0],
        "endsAt": at[1],
        "createdBy": "t",
        "comment": "t",
    }
    return str(post(env.url("alertmanager") + "/api/v2/silences", said)["silenceID"])


@pytest.fixture
def full(env: Env) -> Iterator[Env]:
    """The whole stack with normal resources, and it again afterwards."""
    up(env)
    yield env
    up(env)


def test_ports_are_on_this_machines_loopback_only(env: Env) -> None:
    document = json.loads(docker("container", "inspect", env.loop.node))[0]
    bound = [b for each in document["HostConfig"]["PortBindings"].values() for b in each]
    assert len(bound) > len(DEFAULT_PORTS)  # the API server's as well
    assert {one["HostIp"] for one in bound} == {"127.0.0.1"}


def test_every_part_is_well_and_every_target_is_up(full: Env) -> None:
    document = status(full)
    states = {part["name"]: part["state"] for part in document["observability"]["parts"]}
    assert states.keys() == PARTS.keys()
    assert states == {name: "absent" if name == "grafana" else "ok" for name in PARTS} or (
        states == dict.fromkeys(PARTS, "ok")
    )
    assert document["observability"]["healthy"]

    def down() -> list[Any]:
        found = full.get("prometheus", "/api/v1/targets")["data"]["activeTargets"]
        missing = JOBS - {one["labels"]["job"] for one in found}
        return [*missing, *(one["scrapeUrl"] for one in found if one["health"] != "up")]

    soon(lambda: not down(), PATIENCE_S, down)


def test_the_whole_stack_stays_within_its_budget(full: Env) -> None:
    stack = soon(lambda: measured(full), PATIENCE_S)
    for part in stack["parts"]:
        print(f"{part['name']}: {part['state']}, {part['memory_mb']} MiB, {part['cpu_m']} m")
    assert 0 < stack["memory_mb"] <= BUDGET_MIB


def measured(env: Env) -> Any:
    """The stack, once the kubelet has measured every part that runs."""
    stack = status(env)["observability"]
    running = [part for part in stack["parts"] if part["state"] == "ok"]
    return stack if running and all(part["memory_mb"] for part in running) else None


def test_a_second_up_changes_nothing(full: Env) -> None:
    before, running = versions(full), pods(full)
    said = full.loop.ok("dev-up")
    assert versions(full) == before
    assert pods(full) == running
    assert "✓ observability" not in said
    assert full.url("prometheus") in said


def test_data_survives_the_pods(full: Env) -> None:
    trace, silenced = send_trace(full), silence(full)
    (old,) = full.loop.objects("pods", "-l", "app.kubernetes.io/name=prometheus")
    own = f'up{{job="prometheus", pod="{old["metadata"]["name"]}"}}'
    soon(lambda: full.samples(own), PATIENCE_S)
    at = time.time()
    full.kubectl("delete", "pod", "-l", "app.kubernetes.io/part-of=observability")
    up(full)
    found = full.get("prometheus", "/api/v1/query", query=own, time=str(at))
    assert len(found["data"]["result"]) == 1, "measured by the pod that is gone"
    assert soon(lambda: full.trace(trace), PATIENCE_S)
    assert full.get("alertmanager", f"/api/v2/silence/{silenced}")["status"]["state"] == "active"


def test_levels_change_what_differs_and_nothing_else(full: Env) -> None:
    trace = send_trace(full)
    before, running = versions(full), pods(full)
    part_of = {name: PARTS[name].deployment for name in PARTS}
    minimal = {part_of[name] for name in LEVELS["minimal"]}

    up(full, "--observability", "minimal")
    found = differences(before, versions(full))
    assert found["new"] == found["changed"] == set()
    assert {"Deployment/jaeger", "Deployment/otel-collector", "Service/jaeger"} <= found["gone"]
    assert "PersistentVolumeClaim/jaeger" not in found["gone"]
    soon(lambda: pods(full).keys() == {"petstore", *minimal}, PATIENCE_S, full.stuck)
    assert pods(full).items() <= running.items()
    assert not makes_spans(full)
    assert full.say("dev-status").code == 0, "what was brought counts, not what would be"

    up(full, "--observability", "off")
    gone = differences(before, versions(full))
    assert gone["new"] == gone["changed"] == set()
    assert {name for name in versions(full) if "PersistentVolumeClaim" not in name} == {
        name for name in before if "petstore" in name
    }
    assert status(full)["observability"]["parts"] == []
    soon(lambda: pods(full).keys() == {"petstore"}, PATIENCE_S, full.stuck)
    assert pods(full)["petstore"] == running["petstore"]

    up(full)
    assert versions(full).keys() == before.keys()
    assert pods(full)["petstore"] == running["petstore"]
    assert makes_spans(full)
    assert soon(lambda: full.trace(trace), PATIENCE_S), "its data was kept while it was off"


def test_resources_change_deployments_of_the_stack_only(full: Env) -> None:
    before, running = versions(full), pods(full)
    up(full, "--resources", "minimal")
    found = differences(before, versions(full))
    assert found["gone"] == found["new"] == set()
    assert found["changed"] == {
        name for name in before if name.startswith("Deployment/") and "petstore" not in name
    }
    assert pods(full)["petstore"] == running["petstore"]
    (prometheus,) = full.loop.objects("pods", "-l", "app.kubernetes.io/name=prometheus")
    assert prometheus["spec"]["containers"][0]["resources"]["limits"]["memory"] == "256Mi"
    flags = full.get("prometheus", "/api/v1/status/flags")["data"]
    assert flags["storage.tsdb.retention.time"] == "2h"


def test_what_was_deleted_or_changed_by_hand_comes_back(full: Env) -> None:
    full.kubectl("delete", "deployment", "otel-collector")
    full.kubectl("scale", "deployment", "jaeger", "--replicas=0")
    said = full.say("dev-status")
    assert said.code == 0, "the application decides"
    rows = [line for line in said.text.splitlines() if line.strip().startswith("!")]
    assert [row.split()[2] for row in rows] == ["collector", "jaeger"]
    assert all("next: invoke dev-up" in row for row in rows)
    assert not status(full)["observability"]["healthy"]
    full.loop.ok("dev-up")
    up(full)
    assert status(full)["observability"]["healthy"]


def test_what_has_to_be_loaded_first_does_not_hold_up_the_application(full: Env) -> None:
    up(full, "--observability", "off")
    names = docker("exec", full.loop.node, "ctr", "-n", "k8s.io", "images", "ls", "-q").split()
    (jaeger,) = [name for name in names if "/jaeger" in name and "@" not in name]
    docker("exec", full.loop.node, "ctr", "-n", "k8s.io", "images", "rm", jaeger)
    said = full.loop.ok("dev-up")
    assert f"petstore: {full.url('petstore')}" in said
    assert "load 1 images" not in said, "that is left to a process of its own"
    assert "jaeger: " in said

    def healthy() -> bool:
        return bool(status(full)["observability"]["healthy"])

    soon(healthy, PATIENCE_S, lambda: full.say("dev-status").text)
    log = (full.root / ".kindloop/logs/observability.log").read_text()
    assert "load 1 images into the node" in log


def test_pages_are_told(full: Env) -> None:
    found = json.loads(full.loop.ok("observe.open", "--json"))["pages"]
    urls = {page["name"]: page["url"] for page in found}
    assert urls["prometheus"] == full.url("prometheus")
    assert urls["petstore"] == full.url("petstore")
    for page in found:
        if page["opens"]:
            with DIRECT.open(page["url"], timeout=20) as answer:
                assert answer.status == 200
