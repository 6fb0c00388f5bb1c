"""What another made is never touched; what is ours but different is never changed silently."""

from __future__ import annotations

from pathlib import Path

import pytest
from live import FOREIGN_KUBECONFIG, ROOT, USERS_KUBECONFIG, Loop, sync


@pytest.mark.parametrize("task", ["dev-up", "dev-rebuild", "dev-stop", "dev-down"])
def test_foreign_cluster_is_refused(up: Loop, foreign: str, task: str) -> None:
    said = up.say(task, env={"KINDLOOP_NAME": foreign, "KINDLOOP_PORT_OFFSET": "9500"})
    assert said.code == 9
    assert said.message == f"error: there is a kind cluster {foreign} that kindloop did not make"
    assert f"KINDLOOP_NAME={foreign}-2" in said.error


@pytest.mark.parametrize("task", ["dev-up", "dev-rebuild", "dev-stop", "dev-down"])
def test_environment_of_another_checkout_is_refused(up: Loop, tmp_path: Path, task: str) -> None:
    before = up.pods()
    second = Loop(tmp_path / "second", up.name, up.offset, up.env)
    sync(ROOT, second.root)
    said = second.say(task)
    assert said.code == 9
    assert said.message == f"error: environment {up.name} belongs to the checkout {up.root}"
    assert "KINDLOOP_NAME=second KINDLOOP_PORT_OFFSET=100 invoke dev-up" in said.error
    assert up.pods() == before


def test_ports_of_another_environment_are_named(up: Loop) -> None:
    said = up.say("dev-up", env={"KINDLOOP_NAME": f"{up.name}-b"})
    assert said.code == 1
    assert said.message == "error: ports that the cluster needs are taken"
    assert f"127.0.0.1:{8080 + up.offset} (petstore) is taken by container {up.node}" in said.error
    assert f"invoke dev-stop {up.name}, or move" in said.error
    assert f"KINDLOOP_PORT_OFFSET={up.offset + 100} " in said.error


def test_settings_that_kind_cannot_change_are_refused(up: Loop) -> None:
    before = up.pods()
    said = up.say("dev-up", env={"KINDLOOP_PORT_OFFSET": str(up.offset + 7)})
    assert said.code == 9
    assert said.message == f"error: cluster {up.name} was created with other settings"
    assert f"{8080 + up.offset} → {8087 + up.offset}" in said.error
    assert "invoke dev-up --recreate" in said.error
    assert up.pods() == before


def test_kubeconfig_of_another_cluster_is_refused(up: Loop) -> None:
    kubeconfig = up.home / "kubeconfig"
    ours = kubeconfig.read_text()
    kubeconfig.write_text(FOREIGN_KUBECONFIG)
    said = up.say("dev-up")
    kubeconfig.write_text(ours)
    assert said.code == 9
    assert "is not the one recorded at its creation" in said.message


def test_users_kubeconfig_stays_as_it_was(up: Loop) -> None:
    assert USERS_KUBECONFIG.read_text() == FOREIGN_KUBECONFIG
    assert (up.home / "kubeconfig").stat().st_mode & 0o777 == 0o600
