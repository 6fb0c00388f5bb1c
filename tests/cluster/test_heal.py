"""What was taken away comes back with the next `dev-up`; nothing else changes."""

from __future__ import annotations

import json
import os
import signal

from live import Loop, docker


def test_deleted_deployment_comes_back(up: Loop) -> None:
    up.kubectl("delete", "deployment", "petstore", "--wait=false")
    said = up.say("dev-status")
    assert said.code == 1
    assert "no Deployment; next: invoke dev-up" in said.text
    up.ok("dev-up")
    assert "ok" in up.curl("/health")


def test_smoke_fails_without_pods_and_heals(up: Loop) -> None:
    up.kubectl("scale", "deployment/petstore", "--replicas=0")
    up.kubectl(
        "wait", "pods", "-l", "app.kubernetes.io/name=petstore", "--for=delete", "--timeout=60s"
    )
    said = up.say("test.curl")
    assert said.code == 1
    assert said.message == f"error: nothing answers on {up.url}"
    assert "next: invoke dev-status" in said.error
    status = up.run("dev-status", "--json")
    assert status.returncode == 1
    document = json.loads(status.stdout)
    assert document["exit_code"] == 1
    assert ("url", "bad") in {(line["kind"], line["state"]) for line in document["lines"]}
    up.ok("dev-up")
    assert "0 failed" in up.ok("test.curl")


def test_stopped_node_is_told_and_started_with_its_pods(up: Loop) -> None:
    before = set(up.pods())
    up.ok("dev-stop")
    status = up.say("dev-status")
    assert status.code == 1
    assert "stopped" in status.text
    assert "next: invoke dev-start" in status.text
    refused = up.say("dev-rebuild")
    assert refused.code == 1
    assert refused.message == f"error: the node of {up.name} is stopped"
    up.ok("dev-start")
    assert set(up.pods()) == before
    assert "ok" in up.curl("/health")


def test_killed_node_is_healed_by_up_with_its_pods(up: Loop) -> None:
    before = set(up.pods())
    docker("kill", up.node)
    up.ok("dev-up")
    assert set(up.pods()) == before
    assert "ok" in up.curl("/health")


def test_two_dev_up_at_once(up: Loop) -> None:
    first = up.start("dev-up")
    lock = up.home.with_name(f"{up.name}.lock")
    first.until(lambda _: f'"pid": {first.popen.pid},' in lock.read_text())
    os.kill(first.popen.pid, signal.SIGSTOP)
    try:
        changing = ("dev-up", "dev-down", "k8s.apply", "image.load", "cluster.ensure")
        refused = [
            up.say(*words) for words in (*((one,) for one in changing), ("dev-down", "--all"))
        ]
    finally:
        os.kill(first.popen.pid, signal.SIGCONT)
    for second in refused:
        assert second.code == 8
        assert second.message.startswith(
            f"error: environment {up.name} is in use by process {first.popen.pid}: "
        )
        assert "dev-up" in second.message
    assert first.end().code == 0
