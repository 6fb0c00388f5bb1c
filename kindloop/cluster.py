"""The kind cluster of an environment: ensure, status, delete; its private kubeconfig.

Whether one is there and ours, `clusterfacts` judges. The user's own kubeconfig is never read.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from kindloop import kindconfig, process, report, state, tools
from kindloop.clusterfacts import (
    Environment,
    Node,
    Owner,
    Verdict,
    abandoned,
    ca_sha256,
    check_identity,
    create_failed,
    differs,
    foreign,
    inspect,
    inspect_image,
    judge,
    owner_of,
    unrecorded,
)
from kindloop.config import Config
from kindloop.errors import CannotTell, KindloopError, RolloutFailed, Unhealthy
from kindloop.kindconfig import NodeImage

__all__ = [
    "Environment",
    "Node",
    "Owner",
    "Verdict",
    "default_kind_config",
    "delete",
    "ensure",
    "environment",
    "environments",
    "inspect",
    "inspect_image",
    "judge",
    "kubectl",
    "kubectl_argv",
    "needs_image",
    "remove",
    "require",
    "start",
    "status",
    "stop",
]


def environment(config: Config) -> Environment:
    """The environment that the configuration names."""
    return Environment(config.name)


def ensure(
    config: Config, image: NodeImage | None, *, recreate: bool = False
) -> Literal["none", "created", "started"]:
    """Make the cluster be there and answer; does nothing when it does.

    `image` is needed only to create (see `needs_image`). Raises NotOurs when another checkout
    has the name, or when settings differ that kind cannot change in place; RolloutFailed when
    the control plane does not come up.
    """
    env = environment(config)
    verdict = _verdict(config, env)
    if verdict.action == "foreign" and not (recreate and abandoned(verdict.owner)):
        raise foreign(config, env, verdict.owner)
    if verdict.action == "differs" and not recreate:
        raise differs(env, verdict.differences)
    if verdict.action == "unrecorded" and not recreate:
        raise unrecorded(env)
    if verdict.action == "redo" or (recreate and verdict.action != "create"):
        with report.step(f"remove cluster {env.name}"):
            remove(env)
        verdict = replace(verdict, action="create")
    if verdict.action == "create":
        if image is None:
            raise ValueError("creating a cluster needs a node image")
        _create(config, env, image)
        return "created"
    check_identity(env, verdict.owner)
    if verdict.action == "start":
        start(config)
        return "started"
    return "none"


def needs_image(config: Config, *, recreate: bool = False) -> bool:
    """Whether `ensure` will create a cluster, so that a node image is worth getting."""
    verdict = _verdict(config, environment(config))
    if verdict.action == "foreign":
        return recreate and abandoned(verdict.owner)
    return recreate or verdict.action in ("create", "redo")


def require(config: Config) -> Environment:
    """Check that the cluster is there, ours and the one recorded; before every change.

    Raises NotOurs, Unhealthy (stopped), CannotTell (never created).
    """
    env = environment(config)
    verdict = _verdict(config, env)
    match verdict.action:
        case "create":
            raise CannotTell(
                f"there is no cluster {env.name}",
                why="it was never created, or it was deleted by hand",
                hint="invoke dev-up",
            )
        case "redo":
            raise Unhealthy(f"cluster {env.name} was never finished", hint="invoke dev-up")
        case "start":
            raise Unhealthy(f"the node of {env.name} is stopped", hint="invoke dev-start")
        case "foreign":
            raise foreign(config, env, verdict.owner)
        case "differs":
            raise differs(env, verdict.differences)
        case "unrecorded":
            raise unrecorded(env)
        case "none":
            check_identity(env, verdict.owner)
    return env


def kubectl(
    config: Config,
    *argv: str,
    stdin: str | None = None,
    timeout_s: float = 60.0,
    check: bool = True,
    quiet: bool = False,
) -> tools.Result:
    """Run kubectl against this environment only: its kubeconfig, its namespace."""
    return tools.run(
        *kubectl_argv(config), *argv, stdin=stdin, timeout_s=timeout_s, check=check, quiet=quiet
    )


def kubectl_argv(config: Config) -> list[str]:
    """How every kubectl command of this environment begins: never the user's own context."""
    env = environment(config)
    return ["kubectl", f"--kubeconfig={env.kubeconfig}", f"--namespace={config.name}"]


def start(config: Config) -> None:
    """Start a stopped node and wait until the API answers."""
    env = environment(config)
    with report.step(f"start node {env.node}"):
        tools.run("docker", "start", env.node)
        _await_api(config, env)


def stop(config: Config) -> None:
    """Stop the node; its state is kept. Raises NotOurs when it is another's."""
    env = environment(config)
    verdict = _verdict(config, env)
    if verdict.action == "foreign":
        raise foreign(config, env, verdict.owner)
    if verdict.action in ("create", "start"):
        report.line(f"{env.name} is not running")
        return
    with report.step(f"stop node {env.node}"):
        tools.run("docker", "stop", env.node, timeout_s=90)


def delete(config: Config) -> bool:
    """Delete the cluster and its data; returns whether there was anything. Idempotent."""
    env = environment(config)
    owner = owner_of(env)
    node = inspect(env)
    if node is None and owner is None:
        shutil.rmtree(env.home, ignore_errors=True)
        return False
    if owner is not None and owner.checkout != str(config.root) and not abandoned(owner):
        raise foreign(config, env, owner)
    if node is not None and node.swap != str(env.swap):
        raise foreign(config, env, None)
    with report.step(f"delete cluster {env.name}"):
        remove(env)
    return True


def environments() -> list[tuple[Environment, Owner | None, Node | None]]:
    """Every environment of this user with its owner record and node."""
    return [(e, owner_of(e), inspect(e)) for e in map(Environment, Environment.names())]


def status(config: Config) -> dict[str, Any]:
    """State of the cluster as plain data.

    {name, state, running, image, kubeconfig, differences, healthy}; `state` is a word of
    `_STATES`, or "no answer".
    """
    env = environment(config)
    verdict = _verdict(config, env)
    node = inspect(env)
    answers = verdict.action == "none" and _answers(config)
    return {
        "name": env.name,
        "state": _STATES[verdict.action] if answers or verdict.action != "none" else "no answer",
        "running": bool(node and node.running),
        "image": node.image if node else None,
        "kubeconfig": str(env.kubeconfig) if node and env.kubeconfig.exists() else None,
        "differences": list(verdict.differences),
        "healthy": answers,
    }


_STATES: Mapping[str, str] = {
    "none": "running",
    "create": "absent",
    "start": "stopped",
    "redo": "half-created",
    "foreign": "not ours",
    "differs": "differs from kindloop.yaml",
    "unrecorded": "record lost",
}


def _verdict(config: Config, env: Environment) -> Verdict:
    return judge(
        inspect(env),
        owner_of(env),
        checkout=str(config.root),
        swap=str(env.swap),
        ports=_wanted_ports(config),
        node_image=config.cluster.node_image,
    )


def _wanted_ports(config: Config) -> dict[int, int]:
    rendered = _render(config, environment(config), NodeImage("any"), restricted=False)
    mappings = rendered["nodes"][0]["extraPortMappings"]
    return {m["containerPort"]: m["hostPort"] for m in mappings}


def _create(config: Config, env: Environment, image: NodeImage) -> None:
    state.private_dir(env.home)
    env.swap.mkdir(exist_ok=True)
    env.swap.chmod(0o755)
    owner = Owner(env.name, str(config.root), "creating", created_s=time.time())
    state.write_json(env.owner_file, asdict(owner), 0o600)
    document = _render(config, env, image, restricted=_restricted(image.reference))
    file = env.home / "kind-config.yaml"
    state.write_atomic(file, yaml.safe_dump(document, sort_keys=False))
    log = config.local / "logs" / "kind-create.log"
    with report.step(f"create cluster {env.name}") as step:
        done = process.run(
            ["kind", "create", "cluster", "--name", env.name, "--config", file,
             "--kubeconfig", env.kubeconfig, "--wait", f"{config.cluster.wait_s}s"],
            log=log,
            on_line=lambda text, _stream: report.log(text),
            timeout_s=config.cluster.wait_s + 120,
        )  # fmt: skip
        if not done.ok:
            raise create_failed(env, log, done.tail)
        env.kubeconfig.chmod(0o600)
        _await_api(config, env)
        step.note(f"{image.reference}")
    ready = replace(owner, status="ready", ca_sha256=ca_sha256(env))
    state.write_json(env.owner_file, asdict(ready), 0o600)


def _render(
    config: Config, env: Environment, image: NodeImage, *, restricted: bool
) -> dict[str, Any]:
    path = config.cluster.config or default_kind_config()
    return kindconfig.render(
        kindconfig.read(path),
        name=env.name,
        ports=config.cluster.host_ports(),
        swap=env.swap,
        image=image,
        restricted=restricted,
    )


def default_kind_config() -> Path:
    """The kind configuration that kindloop ships."""
    return Path(__file__).parent / "data" / "kind-config.yaml"


def _restricted(reference: str) -> bool:
    """Whether even a privileged container lacks CAP_SYS_RESOURCE (24 in linux/capability.h)."""
    found = tools.run(
        "docker", "run", "--rm", "--privileged", "--network", "none", "--entrypoint", "grep",
        reference, "CapEff", "/proc/self/status",
    )  # fmt: skip
    return not int(found.stdout.split()[-1], 16) & (1 << 24)


def remove(env: Environment) -> None:
    """Delete cluster and state. kind is given our kubeconfig, or it would edit the user's."""
    tools.run(
        "kind", "delete", "cluster", "--name", env.name, "--kubeconfig", env.kubeconfig,
        timeout_s=120,
    )  # fmt: skip
    shutil.rmtree(env.home, ignore_errors=True)


def _await_api(config: Config, env: Environment) -> None:
    deadline_s = time.monotonic() + config.cluster.wait_s
    while not _answers(config):
        if time.monotonic() > deadline_s:
            raise RolloutFailed(
                f"the API server of {env.name} does not answer",
                why="the node is short of memory or disk, or its containerd did not start",
                hint=f"docker logs {env.node}; docker exec {env.node} journalctl -u kubelet",
            )
        time.sleep(0.2)  # nothing to watch before the API server is there


def _answers(config: Config) -> bool:
    with contextlib.suppress(KindloopError):
        return kubectl(config, "get", "--raw=/readyz", check=False, timeout_s=5, quiet=True).ok
    return False
