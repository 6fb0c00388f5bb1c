"""The verdict on an environment's cluster, and what is read from engine, record and kubeconfig."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kindloop import cluster, clusterfacts, state
from kindloop.cluster import Environment, Node, Owner, Verdict
from kindloop.config import Config
from kindloop.errors import CannotTell, KindloopError, NotOurs, ToolFailed, Unhealthy

CHECKOUT, SWAP, IMAGE = "/home/mine/app", "/state/mine/swap", "kindloop/node:v1"
PORTS = {30080: 8080, 30300: 3000}
NODE = Node(running=True, image=IMAGE, ports=PORTS, swap=SWAP)
OWNER = Owner("mine", CHECKOUT, "ready", "abc")
CREATING = replace(OWNER, status="creating")
OTHERS = replace(OWNER, checkout="/home/other/app")


@pytest.mark.parametrize(
    ("node", "owner", "action"),
    [
        pytest.param(None, None, "create", id="nothing there"),
        pytest.param(None, OWNER, "create", id="deleted by hand"),
        pytest.param(None, CREATING, "create", id="killed before the node was made"),
        pytest.param(NODE, CREATING, "redo", id="half-created"),
        pytest.param(NODE, None, "unrecorded", id="our mount, record lost"),
        pytest.param(NODE, OWNER, "none", id="runs"),
        pytest.param(replace(NODE, running=False), OWNER, "start", id="stopped"),
        pytest.param(NODE, OTHERS, "foreign", id="another checkout's"),
        pytest.param(None, OTHERS, "foreign", id="another checkout's, its node gone"),
        pytest.param(replace(NODE, swap=""), None, "foreign", id="a kind cluster of the user"),
        pytest.param(replace(NODE, swap="/else"), OWNER, "foreign", id="another user's mount"),
        pytest.param(replace(NODE, swap=""), CREATING, "foreign", id="a stranger took the name"),
        pytest.param(
            replace(NODE, swap="/else"), OTHERS, "foreign", id="another checkout's, another mount"
        ),
    ],
)
def test_judge(node: Node | None, owner: Owner | None, action: str) -> None:
    verdict = cluster.judge(node, owner, checkout=CHECKOUT, swap=SWAP, ports=PORTS)
    assert verdict.action == action
    assert verdict.differences == ()


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(
    ("ports", "node_image", "lines"),
    [
        ({30080: 9080, 30300: 3000}, "auto", ["host port of node port 30080: 8080 → 9080"]),
        ({30080: 8080}, "auto", ["host port of node port 30300: 3000 → none"]),
        ({**PORTS, 30090: 9090}, "auto", ["host port of node port 30090: none → 9090"]),
        (PORTS, "other/node:v2", ["cluster.node_image: kindloop/node:v1 → other/node:v2"]),
        (
            {30080: 9080},
            "other/node:v2",
            [
                "host port of node port 30080: 8080 → 9080",
                "host port of node port 30300: 3000 → none",
                "cluster.node_image: kindloop/node:v1 → other/node:v2",
            ],
        ),
    ],
)
def test_settings_that_kind_cannot_change_are_named(
    ports: dict[int, int], node_image: str, lines: list[str], running: bool
) -> None:
    verdict = cluster.judge(
        replace(NODE, running=running),
        OWNER,
        checkout=CHECKOUT,
        swap=SWAP,
        ports=ports,
        node_image=node_image,
    )
    assert verdict == Verdict("differs", tuple(lines), OWNER)


@pytest.mark.parametrize("node_image", ["auto", IMAGE])
def test_the_api_servers_port_and_the_same_image_are_no_difference(node_image: str) -> None:
    node = replace(NODE, ports={**PORTS, 6443: 40001})
    verdict = cluster.judge(
        node, OWNER, checkout=CHECKOUT, swap=SWAP, ports=PORTS, node_image=node_image
    )
    assert verdict.action == "none"


def test_an_environment_keeps_everything_in_the_state_directory(homes: Path) -> None:
    env = Environment("mine")
    home = homes / "state-home" / "kindloop" / "mine"
    assert [env.home, env.kubeconfig, env.swap, env.owner_file] == [
        home,
        home / "kubeconfig",
        home / "swap",
        home / "owner.json",
    ]
    assert env.node == "mine-control-plane"
    assert not env.lock_file.is_relative_to(env.home)  # deleting the home must not free the lock


def _inspected(**changes: Any) -> str:
    document = {
        "State": {"Running": True},
        "Config": {"Image": IMAGE},
        "HostConfig": {
            "PortBindings": {
                "30080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
                "6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "46357"}],
                "31000/tcp": None,
            }
        },
        "Mounts": [
            {"Type": "volume", "Source": "/var/lib/docker/volumes/x/_data", "Destination": "/var"},
            {"Type": "bind", "Source": SWAP, "Destination": "/var/lib/kindloop/swap"},
        ],
    }
    return json.dumps([{**document, **changes}])


def _docker_says(fake: Callable[..., Path], document: str) -> None:
    (fake("docker", 'cat "$0.json"').with_name("docker.json")).write_text(document)


def test_the_node_is_what_the_engine_says(fake: Callable[..., Path]) -> None:
    _docker_says(fake, _inspected())
    found = cluster.inspect(Environment("mine"))
    assert found == Node(running=True, image=IMAGE, ports={30080: 8080, 6443: 46357}, swap=SWAP)


def test_a_container_without_our_mount_has_no_swap(fake: Callable[..., Path]) -> None:
    _docker_says(fake, _inspected(Mounts=[], HostConfig={"PortBindings": None}))
    found = cluster.inspect(Environment("mine"))
    assert found is not None
    assert (found.swap, found.ports) == ("", {})


def test_no_container_is_none_for_the_real_engine() -> None:
    assert cluster.inspect(Environment("kindloop-no-such-environment")) is None


def test_an_engine_that_does_not_answer_is_not_taken_for_no_container(
    fake: Callable[..., Path],
) -> None:
    fake("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(ToolFailed) as raised:
        cluster.inspect(Environment("mine"))
    assert raised.value.hint == "invoke dev-doctor"


@pytest.mark.parametrize(
    ("labels", "baked"),
    [
        ({"kindloop.recipe": "r", "kindloop.etcd": "3", "kindloop.coredns": "v1"}, True),
        ({}, False),
        (None, False),
    ],
)
def test_labels_tell_a_baked_image(
    fake: Callable[..., Path], labels: dict[str, str] | None, baked: bool
) -> None:
    _docker_says(fake, json.dumps([{"Config": {"Labels": labels}}]))
    image = cluster.inspect_image("some/image:tag")
    assert image.baked is baked
    assert (image.etcd_tag, image.coredns_tag) == (("3", "v1") if baked else ("", ""))


def _kubeconfig(env: Environment, ca: bytes) -> None:
    data = base64.b64encode(ca).decode()
    other = {"name": "other", "cluster": {"certificate-authority-data": "b3RoZXI="}}
    document = {
        "clusters": [other, {"name": "ours", "cluster": {"certificate-authority-data": data}}],
        "contexts": [{"name": "kind-mine", "context": {"cluster": "ours"}}],
        "current-context": "kind-mine",
    }
    state.write_atomic(env.kubeconfig, yaml.safe_dump(document))


def test_the_identity_is_the_ca_of_the_private_kubeconfig(homes: Path) -> None:
    env = Environment("mine")
    _kubeconfig(env, b"certificate")
    recorded = hashlib.sha256(b"certificate").hexdigest()
    assert clusterfacts.ca_sha256(env) == recorded
    clusterfacts.check_identity(env, replace(OWNER, ca_sha256=recorded))
    _kubeconfig(env, b"another cluster's")
    with pytest.raises(NotOurs, match="not the one recorded"):
        clusterfacts.check_identity(env, replace(OWNER, ca_sha256=recorded))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no: clusters",
        "clusters: []",
        "[",
        "clusters: [{cluster: {certificate-authority-data: é}}]",
    ],
)
def test_a_broken_kubeconfig_has_no_identity(homes: Path, text: str) -> None:
    env = Environment("mine")
    state.write_atomic(env.kubeconfig, text)
    assert clusterfacts.ca_sha256(env) == ""


@pytest.fixture
def config(homes: Path, fake: Callable[..., Path]) -> Config:
    """A checkout whose node container is asked for from a file that the test writes."""
    checkout = homes / "checkout"
    checkout.mkdir()
    fake(
        "docker",
        'if [ -e "$0.json" ]; then cat "$0.json"; else echo "Error response from daemon: No such container: x" >&2; exit 1; fi',
    )
    fake("kubectl", "exit 1")
    return Config(path=checkout / "kindloop.yaml", name="mine")


def _is(config: Config, homes: Path, owner: Owner | None, **changes: Any) -> None:
    """Let there be a node with our mount and every default port, and the owner record given."""
    env = cluster.environment(config)
    ports = {f"{n}/tcp": [{"HostPort": str(h)}] for h, n in _default_ports().items()}
    document = json.loads(_inspected(HostConfig={"PortBindings": ports}))[0]
    document["Mounts"][1]["Source"] = str(env.swap)
    (homes / "fake-bin" / "docker.json").write_text(json.dumps([{**document, **changes}]))
    if owner is not None:
        state.write_json(env.owner_file, asdict(owner))


def _default_ports() -> dict[int, int]:
    rendered = yaml.safe_load(cluster.default_kind_config().read_text(encoding="utf-8"))
    return {m["hostPort"]: m["containerPort"] for m in rendered["nodes"][0]["extraPortMappings"]}


def _owner(config: Config, **changes: Any) -> Owner:
    return replace(OWNER, checkout=str(config.root), **changes)


def test_require_names_the_command_that_makes_it(config: Config) -> None:
    with pytest.raises(CannotTell, match="there is no cluster mine") as raised:
        cluster.require(config)
    assert raised.value.hint == "invoke dev-up"


@pytest.mark.parametrize(
    ("status", "running", "error", "hint"),
    [
        ("creating", True, Unhealthy, "invoke dev-up"),
        ("ready", False, Unhealthy, "invoke dev-start"),
        ("ready", True, NotOurs, "invoke dev-up --recreate"),  # no kubeconfig: not the recorded one
    ],
)
def test_require_refuses_what_is_not_ready(
    config: Config, homes: Path, status: Any, running: bool, error: type[KindloopError], hint: str
) -> None:
    _is(config, homes, _owner(config, status=status), State={"Running": running})
    with pytest.raises(error) as raised:
        cluster.require(config)
    assert raised.value.hint == hint


def test_another_checkout_is_named_and_given_a_way_out(config: Config, homes: Path) -> None:
    other = homes / "other-checkout"
    other.mkdir()
    _is(config, homes, replace(OWNER, checkout=str(other)))
    for call in (cluster.require, cluster.delete, cluster.stop):
        with pytest.raises(NotOurs, match=re.escape(str(other))) as raised:
            call(config)
        assert raised.value.exit_code == 9
        assert "KINDLOOP_NAME=checkout KINDLOOP_PORT_OFFSET=100" in raised.value.hint
    assert cluster.needs_image(config, recreate=True) is False  # nothing is baked in vain


def test_a_checkout_that_is_gone_can_be_taken_over_on_purpose_only(
    config: Config, homes: Path
) -> None:
    _is(config, homes, replace(OWNER, checkout=str(homes / "gone")))
    with pytest.raises(NotOurs, match="which is gone") as raised:
        cluster.ensure(config, None)
    assert raised.value.hint == "take it over: invoke dev-up --recreate"
    assert cluster.needs_image(config) is False
    assert cluster.needs_image(config, recreate=True) is True


def test_a_kind_cluster_that_we_did_not_make_is_never_deleted(config: Config, homes: Path) -> None:
    _is(config, homes, None, Mounts=[])
    with pytest.raises(NotOurs, match="kindloop did not make"):
        cluster.delete(config)
    with pytest.raises(NotOurs, match="kindloop did not make"):
        cluster.ensure(config, None, recreate=True)


def test_settings_that_differ_are_listed_and_nothing_is_done(config: Config, homes: Path) -> None:
    _is(config, homes, _owner(config), Config={"Image": IMAGE})
    moved = replace(config, cluster=replace(config.cluster, port_offset=100))
    with pytest.raises(NotOurs) as raised:
        cluster.ensure(moved, None)
    assert "host port of node port 30080: 8080 → 8180" in raised.value.evidence
    assert len(raised.value.evidence) == 7
    assert "--recreate" in raised.value.hint


@pytest.mark.parametrize(
    ("status", "recreate", "needed"),
    [("ready", False, False), ("ready", True, True), ("creating", False, True)],
)
def test_an_image_is_needed_only_to_create(
    config: Config, homes: Path, status: Any, recreate: bool, needed: bool
) -> None:
    assert cluster.needs_image(config) is True
    _is(config, homes, _owner(config, status=status))
    assert cluster.needs_image(config, recreate=recreate) is needed


def test_deleting_what_is_not_there_says_so_and_cleans_up(config: Config) -> None:
    env = cluster.environment(config)
    env.home.mkdir(parents=True)
    assert cluster.delete(config) is False
    assert not env.home.exists()


@pytest.mark.parametrize(("running", "state_shown"), [(True, "no answer"), (False, "stopped")])
def test_status_tells_a_node_that_does_not_answer(
    config: Config, homes: Path, running: bool, state_shown: str
) -> None:
    _is(config, homes, _owner(config), State={"Running": running})
    facts = cluster.status(config)
    assert (facts["state"], facts["healthy"], facts["running"]) == (state_shown, False, running)


def test_status_of_nothing_is_absent(config: Config) -> None:
    facts = cluster.status(config)
    assert (facts["state"], facts["image"], facts["kubeconfig"]) == ("absent", None, None)


def test_a_failed_creation_shows_the_lines_that_tell(tmp_path: Path) -> None:
    tail = ["Creating cluster ...", "ERROR: failed to create cluster: port is taken", "", "Stack:"]
    error = clusterfacts.create_failed(Environment("mine"), tmp_path / "kind.log", tuple(tail))
    assert error.evidence == ("ERROR: failed to create cluster: port is taken",)
    assert str(tmp_path / "kind.log") in error.hint
