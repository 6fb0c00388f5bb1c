"""Clusters that go: behind our back, replaced on demand, all at once."""

from __future__ import annotations

import pytest
from live import FOREIGN_KUBECONFIG, NAME, OWN, USERS_KUBECONFIG, Loop, docker

pytestmark = pytest.mark.destructive


def test_cluster_deleted_behind_our_back(up: Loop) -> None:
    docker("rm", "--force", "--volumes", up.node)
    status = up.say("dev-status")
    assert status.code == 1
    assert "absent; next: invoke dev-up" in status.text
    for task in ("dev-rebuild", "dev-start", "dev-restart", "k8s.diff"):
        refused = up.say(task)
        assert refused.code == 3
        assert refused.message == f"error: there is no cluster {up.name}"
        assert "next: invoke dev-up" in refused.error
    up.ok("dev-up")
    assert "ok" in up.curl("/health")


def test_recreate_takes_other_settings(up: Loop) -> None:
    up.settings.write_text(up.settings.read_text().replace("grafana: 3000", "grafana: off"))
    said = up.say("dev-up")
    assert said.code == 9
    assert f"{3000 + up.offset} → none" in said.error
    up.ok("dev-up", "--recreate")
    assert "30300/tcp" not in docker(
        "inspect", "--format={{json .HostConfig.PortBindings}}", up.node
    )
    assert "ok" in up.curl("/health")


def test_down_all_takes_ours_and_leaves_the_foreign(up: Loop, foreign: str) -> None:
    node = f"{foreign}-control-plane"
    # Those of the other workers come and go by themselves.
    now = containers()
    workers = {one for one in now if OWN in one}
    assert {node, up.node} <= workers
    others = now - workers | {node}
    assert f"deleted: {NAME}" in up.ok("dev-down", "--all")
    assert others <= containers()
    assert up.node not in containers()
    assert not up.home.exists()
    assert USERS_KUBECONFIG.read_text() == FOREIGN_KUBECONFIG
    assert "deleted: nothing" in up.ok("dev-down", "--all")


def containers() -> set[str]:
    return set(docker("ps", "--format={{.Names}}").split())
