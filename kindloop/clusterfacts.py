"""What is known of an environment's cluster, and the verdict on it: is it there, is it ours.

An environment is ours when its owner record (written before `kind create`) names this checkout
and its node container mounts our swap directory.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from kindloop import state, tools
from kindloop.config import Config
from kindloop.errors import KindloopError, NotOurs, RolloutFailed, ToolFailed
from kindloop.kindconfig import SWAP_IN_NODE, NodeImage

__all__ = [
    "Environment",
    "Node",
    "Owner",
    "Verdict",
    "abandoned",
    "ca_sha256",
    "check_identity",
    "create_failed",
    "differs",
    "foreign",
    "inspect",
    "inspect_image",
    "judge",
    "owner_of",
    "unrecorded",
]


@dataclass(frozen=True)
class Environment:
    """Where an environment keeps its things."""

    name: str

    @staticmethod
    def names() -> list[str]:
        """The names of all environments of this user, sorted; the engine is not asked."""
        home = state.state_home()
        # A folder to mount tells of one whose record is lost.
        return sorted({p.parent.name for p in (*home.glob("*/owner.json"), *home.glob("*/swap/"))})

    @property
    def home(self) -> Path:
        """Its folder in the state directory."""
        return state.state_home() / self.name

    @property
    def kubeconfig(self) -> Path:
        """Its private kubeconfig (0600)."""
        return self.home / "kubeconfig"

    @property
    def swap(self) -> Path:
        """The folder mounted into the node."""
        return self.home / "swap"

    @property
    def node(self) -> str:
        """Name of the node container, as kind gives it."""
        return f"{self.name}-control-plane"

    @property
    def owner_file(self) -> Path:
        """The owner record."""
        return self.home / "owner.json"

    @property
    def lock_file(self) -> Path:
        """Held by every command that changes the environment."""
        return state.state_home() / f"{self.name}.lock"

    @property
    def watch_lock(self) -> Path:
        """Held by its `dev-watch`: there is one at a time."""
        return state.state_home() / f"{self.name}.watch.lock"


@dataclass(frozen=True)
class Owner:
    """The owner record: who made the environment, and with what."""

    name: str
    checkout: str
    status: Literal["creating", "ready"]
    ca_sha256: str = ""
    created_s: float = 0.0


@dataclass(frozen=True)
class Node:
    """The node container as the engine has it. `ports` is host port by container port."""

    running: bool
    image: str
    ports: Mapping[int, int]
    swap: str


@dataclass(frozen=True)
class Verdict:
    """What `judge` found: what to do, or why it is not ours or not the same."""

    action: Literal["none", "create", "start", "redo", "foreign", "differs", "unrecorded"]
    differences: tuple[str, ...] = ()
    owner: Owner | None = field(default=None)


def judge(
    node: Node | None,
    owner: Owner | None,
    *,
    checkout: str,
    swap: str,
    ports: Mapping[int, int],
    node_image: str = "auto",
) -> Verdict:
    """What must happen so that the cluster is there and ours. Pure.

    `ports` is host port by container port as configured.
    """
    if owner is not None and owner.checkout != checkout:
        return Verdict("foreign", owner=owner)
    if node is None:
        return Verdict("create", owner=owner)
    if node.swap != swap:
        return Verdict("foreign", owner=None)
    if owner is None or owner.status == "creating":
        # A lost record says nothing of whose data it is: that is never deleted unasked.
        return Verdict("redo" if owner else "unrecorded", owner=owner)
    differences = _differences(node, ports, node_image)
    if differences:
        return Verdict("differs", differences, owner)
    return Verdict("none" if node.running else "start", owner=owner)


def _differences(node: Node, ports: Mapping[int, int], node_image: str) -> tuple[str, ...]:
    # kind maps the API server's port by itself: it is no setting of ours.
    actual = {port: host for port, host in node.ports.items() if port != 6443}
    out = []
    for port in sorted({*actual, *ports}):
        old, new = actual.get(port), ports.get(port)
        if old != new:
            name = f"host port of node port {port}"
            out.append(f"{name}: {old or 'none'} → {new or 'none'}")
    if node_image not in ("auto", node.image):
        out.append(f"cluster.node_image: {node.image} → {node_image}")
    return tuple(out)


def inspect(env: Environment) -> Node | None:
    """The node container, or None. Raises what `tools` raises when the engine is away."""
    found = tools.run("docker", "container", "inspect", env.node, check=False, quiet=True)
    if not found.ok:
        if "no such container" in found.stderr.lower():
            return None
        raise ToolFailed(found.argv, found.exit_code, stderr=found.stderr, hint="invoke dev-doctor")
    document = json.loads(found.stdout)[0]
    bindings = document["HostConfig"]["PortBindings"] or {}
    ports = {
        int(port.partition("/")[0]): int(hosts[0]["HostPort"])
        for port, hosts in bindings.items()
        if hosts
    }
    mounts = {m["Destination"]: m.get("Source", "") for m in document["Mounts"]}
    return Node(
        document["State"]["Running"],
        document["Config"]["Image"],
        ports,
        mounts.get(SWAP_IN_NODE, ""),
    )


def inspect_image(reference: str) -> NodeImage:
    """What the engine knows of a node image: our labels when it was baked."""
    found = tools.run("docker", "image", "inspect", reference, quiet=True)
    labels = json.loads(found.stdout)[0]["Config"].get("Labels") or {}
    return NodeImage(
        reference,
        labels.get("kindloop.recipe", ""),
        labels.get("kindloop.etcd", ""),
        labels.get("kindloop.coredns", ""),
    )


def owner_of(env: Environment) -> Owner | None:
    """The owner record, or None where there is none (or it was cut off)."""
    record = state.read_json(env.owner_file)
    try:
        return Owner(**record) if isinstance(record, dict) else None
    except TypeError:  # written by a newer kindloop
        return None


def ca_sha256(env: Environment) -> str:
    """Digest of the CA that the private kubeconfig trusts: the identity of the cluster."""
    try:
        document = yaml.safe_load(env.kubeconfig.read_text(encoding="utf-8"))
        contexts = {one["name"]: one["context"] for one in document["contexts"]}
        used = contexts[document["current-context"]]["cluster"]
        clusters = {one["name"]: one["cluster"] for one in document["clusters"]}
        data = clusters[used]["certificate-authority-data"]
        return hashlib.sha256(base64.b64decode(data)).hexdigest()
    except (OSError, ValueError, yaml.YAMLError, KeyError, IndexError, TypeError):
        return ""


def abandoned(owner: Owner | None) -> bool:
    """Whether the checkout that made the environment is gone."""
    return owner is not None and not Path(owner.checkout).exists()


def foreign(config: Config, env: Environment, owner: Owner | None) -> KindloopError:
    """The error for an environment of another checkout (`owner`), or of nobody we know (None)."""
    if owner is None:
        return NotOurs(
            f"there is a kind cluster {env.name} that kindloop did not make",
            hint=f"take another name and ports: KINDLOOP_NAME={env.name}-2 "
            "KINDLOOP_PORT_OFFSET=100 invoke dev-up",
        )
    gone = abandoned(owner)
    return NotOurs(
        f"environment {env.name} belongs to the checkout {owner.checkout}"
        + (", which is gone" if gone else ""),
        why="an environment has one owner: two checkouts would serve each other's code",
        hint="take it over: invoke dev-up --recreate"
        if gone
        else f"a name and ports of its own: KINDLOOP_NAME={config.root.name} "
        "KINDLOOP_PORT_OFFSET=100 invoke dev-up",
    )


def unrecorded(env: Environment) -> KindloopError:
    """The error for a cluster with our mount whose owner record is gone or unreadable."""
    return NotOurs(
        f"the record of who made {env.name} is lost",
        why=f"{env.owner_file} was removed, or a newer kindloop wrote it",
        hint="invoke dev-up --recreate (deletes its data)",
    )


def differs(env: Environment, differences: tuple[str, ...]) -> KindloopError:
    """The error for settings that kind cannot change in place."""
    return NotOurs(
        f"cluster {env.name} was created with other settings",
        evidence=differences,
        why="kind cannot change port mappings, mounts or the node image of a cluster",
        hint="invoke dev-up --recreate (deletes its data), or put the settings back",
    )


def check_identity(env: Environment, owner: Owner | None) -> None:
    """Raise NotOurs unless the kubeconfig trusts the CA that was recorded at the creation."""
    # TLS does the rest: a server without a certificate of this CA is refused by kubectl.
    if owner is None or ca_sha256(env) != owner.ca_sha256:
        raise NotOurs(
            f"the kubeconfig of {env.name} is not the one recorded at its creation",
            why=f"{env.kubeconfig} was edited, replaced or removed",
            hint="invoke dev-up --recreate",
        )


def create_failed(env: Environment, log: Path, tail: tuple[str, ...]) -> KindloopError:
    """The error for a `kind create cluster` that failed, with its telling lines."""
    lines = [line for line in tail if line.strip()]
    key = [line for line in lines if "ERROR" in line or "failed" in line.lower()]
    return RolloutFailed(
        f"kind could not create cluster {env.name}",
        evidence=(key or lines)[-8:],
        why="a port was taken meanwhile, or the node is short of memory, disk or inotify instances",
        hint=f"invoke dev-doctor; the whole log: {log}",
    )
