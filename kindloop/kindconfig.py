"""The kind configuration of an environment: pure functions over the file's document."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kindloop.config import NODE_PORTS
from kindloop.errors import ConfigError

__all__ = ["SWAP_IN_NODE", "NodeImage", "read", "render"]

SWAP_IN_NODE = "/var/lib/kindloop/swap"
"""Where the swap directory of the host appears in the node."""


@dataclass(frozen=True)
class NodeImage:
    """What a node image is: where it came from decides what kind must be told."""

    reference: str
    recipe: str = ""
    """Recipe digest of a baked image, empty for kind's own."""
    etcd_tag: str = ""
    coredns_tag: str = ""

    @property
    def baked(self) -> bool:
        """Whether it was made from packages: then it has its pod network built in."""
        return bool(self.recipe)


def read(path: Path) -> dict[str, Any]:
    """The kind configuration in `path`. Raises ConfigError when it is none."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    nodes = document.get("nodes") if isinstance(document, dict) else None
    if not nodes or document.get("kind") != "Cluster" or len(nodes) != 1:
        raise ConfigError(
            f"{path} is not a kind configuration of one node",
            why="the swap directory and the pod network of an environment are those of one node",
            hint="compare it with k8s/cluster/kind-config.yaml of kindloop",
        )
    return dict(document)


def render(
    document: Mapping[str, Any],
    *,
    name: str,
    ports: Mapping[str, int],
    swap: Path,
    image: NodeImage,
    restricted: bool,
) -> dict[str, Any]:
    """The document as `kind create cluster` gets it.

    `ports` is the host port by name (see `config.NODE_PORTS`); `restricted` means that even a
    privileged container lacks CAP_SYS_RESOURCE.
    """
    out = copy.deepcopy(dict(document))
    out["name"] = name
    node = out["nodes"][0]
    node["image"] = image.reference
    node["extraPortMappings"] = _mappings(node.get("extraPortMappings", ()), ports)
    mounts = [m for m in node.get("extraMounts", ()) if m.get("containerPath") != SWAP_IN_NODE]
    node["extraMounts"] = [*mounts, {"hostPath": str(swap), "containerPath": SWAP_IN_NODE}]
    patches = list(out.get("kubeadmConfigPatches", ()))
    if image.baked:
        # The image carries a pod network for one node; kindnet's image is not in it.
        out.setdefault("networking", {})["disableDefaultCNI"] = True
        patches.append(_image_patch(image))
    if restricted:
        patches.append(_restricted_patch())
    if patches:
        out["kubeadmConfigPatches"] = patches
    return out


def _mappings(found: Any, ports: Mapping[str, int]) -> list[dict[str, Any]]:
    """The file's mappings with our host ports; those of ports that are left out are dropped."""
    ours = {number: name for name, number in NODE_PORTS.items()}
    out = []
    for mapping in found:
        name = ours.get(mapping.get("containerPort"))
        if name is None:
            out.append(dict(mapping))
        elif name in ports:
            out.append({**mapping, "hostPort": ports[name]})
    return out


def _image_patch(image: NodeImage) -> str:
    return yaml.safe_dump(
        {
            "kind": "ClusterConfiguration",
            "etcd": {"local": {"imageTag": image.etcd_tag}},
            "dns": {"imageTag": image.coredns_tag},
        }
    )


def _restricted_patch() -> str:
    # Without CAP_SYS_RESOURCE the kubelet may not write some of /proc: the gate makes it go on.
    return yaml.safe_dump(
        {"kind": "KubeletConfiguration", "featureGates": {"KubeletInUserNamespace": True}}
    )
