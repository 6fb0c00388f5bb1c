"""The kind configuration: what kindloop fills in, and that what is committed fits the Services."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from kindloop import kindconfig
from kindloop.config import DEFAULT_PORTS, NODE_PORTS, Cluster
from kindloop.errors import ConfigError
from kindloop.kindconfig import SWAP_IN_NODE, NodeImage

SHIPPED = Path(kindconfig.__file__).parent / "data" / "kind-config.yaml"
PULLED = NodeImage("kindest/node:v1.34.3")
BAKED = NodeImage("kindloop/node:v1.34.4-abc", "abc", "3.6.16", "v1.14.7")
MAPPED = {
    8080: 30080,
    3000: 30300,
    9090: 30090,
    9093: 30093,
    16686: 30686,
    4317: 30317,
    4318: 30318,
}


def _render(document: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "mine",
        "ports": dict(DEFAULT_PORTS),
        "swap": Path("/state/mine/swap"),
        "image": PULLED,
        "restricted": False,
    }
    return kindconfig.render(document or kindconfig.read(SHIPPED), **{**given, **changes})


def _host_ports(rendered: dict[str, Any]) -> dict[int, int]:
    mappings = rendered["nodes"][0]["extraPortMappings"]
    return {m["hostPort"]: m["containerPort"] for m in mappings}


def _patches(rendered: dict[str, Any]) -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for text in rendered.get("kubeadmConfigPatches", [])]


def test_the_committed_file_is_the_shipped_one(repo: Path) -> None:
    assert (repo / "k8s/cluster/kind-config.yaml").read_bytes() == SHIPPED.read_bytes()


def test_the_committed_file_maps_every_port_on_the_loopback_address_only() -> None:
    mappings = kindconfig.read(SHIPPED)["nodes"][0]["extraPortMappings"]
    assert {m["hostPort"]: m["containerPort"] for m in mappings} == MAPPED
    assert {m["listenAddress"] for m in mappings} == {"127.0.0.1"}
    assert {m["protocol"] for m in mappings} == {"TCP"}


def test_the_table_of_ports_is_the_file() -> None:
    assert {DEFAULT_PORTS[name]: NODE_PORTS[name] for name in NODE_PORTS} == MAPPED
    assert DEFAULT_PORTS.keys() == NODE_PORTS.keys()


def test_node_ports_are_ones_that_kubernetes_allows() -> None:
    assert all(30000 <= port <= 32767 for port in NODE_PORTS.values())


def test_services_use_the_node_ports_that_are_mapped(repo: Path) -> None:
    used: dict[int, str] = {}
    for file in sorted((repo / "k8s").rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if not document or document.get("kind") != "Service":
                continue
            for port in document["spec"]["ports"]:
                if "nodePort" in port:
                    assert port["nodePort"] not in used, f"{file} and {used[port['nodePort']]}"
                    used[port["nodePort"]] = file.name
    assert NODE_PORTS["petstore"] in used
    assert used.keys() <= set(NODE_PORTS.values())


def test_name_image_and_swap_are_filled_in() -> None:
    rendered = _render()
    node = rendered["nodes"][0]
    assert rendered["name"] == "mine"
    assert node["image"] == PULLED.reference
    assert node["extraMounts"] == [{"hostPath": "/state/mine/swap", "containerPath": SWAP_IN_NODE}]
    assert _host_ports(rendered) == MAPPED


def test_the_document_given_is_not_changed() -> None:
    document = kindconfig.read(SHIPPED)
    before = copy.deepcopy(document)
    _render(document, image=BAKED, restricted=True, ports={})
    assert document == before


def test_a_port_that_is_off_is_not_mapped() -> None:
    ports = {name: port for name, port in DEFAULT_PORTS.items() if name != "grafana"}
    assert _host_ports(_render(ports=ports)) == {h: n for h, n in MAPPED.items() if h != 3000}


def test_an_offset_moves_every_host_port_and_no_node_port() -> None:
    ports = Cluster(port_offset=100).host_ports()
    assert _host_ports(_render(ports=ports)) == {h + 100: n for h, n in MAPPED.items()}


def test_off_and_offset_together_are_the_settings_of_the_cluster() -> None:
    settings = Cluster(ports={"petstore": 8081, "jaeger": None}, port_offset=10)
    assert _host_ports(_render(ports=settings.host_ports())) == {8091: 30080}


def test_mappings_of_the_users_own_stay() -> None:
    document = kindconfig.read(SHIPPED)
    own = {"containerPort": 31000, "hostPort": 31000}
    document["nodes"][0]["extraPortMappings"].append(own)
    assert own in _render(document, ports={})["nodes"][0]["extraPortMappings"]


def test_mounts_of_the_users_own_stay() -> None:
    document = kindconfig.read(SHIPPED)
    own = {"hostPath": "/data", "containerPath": "/data"}
    document["nodes"][0]["extraMounts"].append(own)
    mounts = _render(document)["nodes"][0]["extraMounts"]
    assert [m["containerPath"] for m in mounts] == ["/data", SWAP_IN_NODE]


def test_a_pulled_image_keeps_kinds_own_network_and_versions() -> None:
    rendered = _render(image=PULLED)
    assert "disableDefaultCNI" not in rendered["networking"]
    assert "kubeadmConfigPatches" not in rendered


def test_a_baked_image_has_its_network_built_in_and_tells_kubeadm_its_tags() -> None:
    rendered = _render(image=BAKED)
    assert rendered["networking"] == {"apiServerAddress": "127.0.0.1", "disableDefaultCNI": True}
    assert _patches(rendered) == [
        {
            "kind": "ClusterConfiguration",
            "etcd": {"local": {"imageTag": "3.6.16"}},
            "dns": {"imageTag": "v1.14.7"},
        }
    ]


def test_a_restricted_engine_makes_the_kubelet_go_on() -> None:
    assert _patches(_render(restricted=True)) == [
        {"kind": "KubeletConfiguration", "featureGates": {"KubeletInUserNamespace": True}}
    ]


def test_patches_of_the_users_own_come_first() -> None:
    document = kindconfig.read(SHIPPED)
    document["kubeadmConfigPatches"] = ["kind: InitConfiguration\n"]
    kinds = [p["kind"] for p in _patches(_render(document, image=BAKED, restricted=True))]
    assert kinds == ["InitConfiguration", "ClusterConfiguration", "KubeletConfiguration"]


def test_a_file_without_networking_or_mappings_is_filled_in() -> None:
    rendered = _render({"kind": "Cluster", "nodes": [{"role": "control-plane"}]}, image=BAKED)
    assert rendered["networking"] == {"disableDefaultCNI": True}
    assert rendered["nodes"][0]["extraPortMappings"] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "kind: Cluster",
        "kind: Deployment\nnodes: [{role: control-plane}]",
        "kind: Cluster\nnodes: [{role: control-plane}, {role: worker}]",
        "kind: [",
    ],
)
def test_what_is_no_configuration_of_one_node_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kind.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        kindconfig.read(file)
    assert str(file) in raised.value.message
    assert raised.value.exit_code == 2


def test_a_missing_file_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        kindconfig.read(tmp_path / "missing.yaml")
