"""What goes into a bundle. Each part is asked for alone, so one that fails leaves the others."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import kindloop
from kindloop import (
    apiserver,
    cluster,
    effective,
    environments,
    flows,
    host,
    logs,
    report,
    state,
    status,
    swapping,
    tools,
)
from kindloop.config import DEFAULT_PORTS, Config
from kindloop.errors import KindloopError

__all__ = ["Missing", "Part", "parts"]

PACKAGES = ("invoke", "sh", "PyYAML", "watchfiles", "pathspec", "jsonschema", "rich", "nox")
"""Those whose versions tell something."""
LINES = 500
"""Newest lines of each pod."""
LOG_BYTES = 1_000_000
"""Of a log file on disk, its end."""
EVENTS = ("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp")
SECRET_FILES = frozenset({"kubeconfig"})
"""Files of the state directory that are the key to the cluster."""


class Missing(Exception):
    """Why a part cannot be had, in a line."""


@dataclass(frozen=True)
class Part:
    """Files of the bundle that are asked for together. `texts` yields path and text."""

    name: str
    texts: Callable[[], Iterator[tuple[str, str]]]


def parts(config: Config | None, fault: KindloopError | None) -> list[Part]:
    """All parts, in the order in which they are asked; `fault` is why there is no `config`."""
    general = [
        Part("versions", _versions),
        Part("doctor", lambda: _doctor(config)),
        Part("environments", _environments),
    ]
    if config is None:
        return [*general, Part("config", lambda: _fault(fault))]
    return [
        Part("cluster", lambda: _cluster(config)),  # first: it learns the Secrets that there are
        *general,
        Part("config", lambda: _config(config)),
        Part("plan", lambda: _plan(config)),
        Part("deploy", lambda: _deploy(config)),
        Part("status", lambda: _status(config)),
        Part("swap", lambda: _swap(config)),
        Part("records", lambda: _records(config)),
        Part("logs of stages", lambda: _stage_logs(config)),
        Part("logs of pods", lambda: _pod_logs(config)),
        Part("node", lambda: _node(config)),
    ]


def _versions() -> Iterator[tuple[str, str]]:
    found = {"kindloop": kindloop.__version__, "python": sys.version, "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    yield "versions.txt", "\n".join(f"{name}: {version}" for name, version in found.items()) + "\n"


def _doctor(config: Config | None) -> Iterator[tuple[str, str]]:
    ports = config.cluster.host_ports() if config else dict(DEFAULT_PORTS)
    own = cluster.environment(config).node if config else ""
    facts = host.inspect(ports, own_node=own)
    yield "doctor.txt", host.table(facts) + "\n"
    yield "doctor.json", _json(host.as_json(facts))


def _environments() -> Iterator[tuple[str, str]]:
    yield "state/environments.json", _json(environments.as_json(environments.look()))


def _fault(fault: KindloopError | None) -> Iterator[tuple[str, str]]:
    # Not the file itself: which of its values are secret cannot be told for sure.
    yield "config.txt", f"{fault}\n"


def _config(config: Config) -> Iterator[tuple[str, str]]:
    found = effective.settings()
    yield "config.txt", effective.table(found) + "\n"
    yield "config.json", _json(effective.as_json(config.path, found))
    yield "kindloop.yaml", config.path.read_text(encoding="utf-8")


def _plan(config: Config) -> Iterator[tuple[str, str]]:
    yield "plan/dev-up.txt", "\n".join(flows.plan_up(config).lines()) + "\n"


def _deploy(config: Config) -> Iterator[tuple[str, str]]:
    yield "plan/deploy.diff", flows.diff(config) or "no difference\n"


def _status(config: Config) -> Iterator[tuple[str, str]]:
    found = status.gather(config)
    yield "state/status.txt", status.table(found) + "\n"
    yield "state/status.json", _json(found.as_json())


def _swap(config: Config) -> Iterator[tuple[str, str]]:
    rows = swapping.status(config)
    yield "state/swap.txt", "\n".join(line for row in rows for line in row.lines()) + "\n"
    yield "state/swap.json", _json([asdict(row) for row in rows])


def _records(config: Config) -> Iterator[tuple[str, str]]:
    """What is remembered: of the environment, of the stages, and who holds a lock."""
    env = cluster.environment(config)
    held = {
        "environment": state.holder(env.lock_file),
        "watch": state.holder(env.watch_lock),
    }
    yield "state/locks.txt", "".join(f"{name}: {by or 'nobody'}\n" for name, by in held.items())
    files = [*env.home.glob("*"), *env.swap.glob("*.json"), *env.swap.glob("*/want.json")]
    for path in sorted(p for p in files if p.is_file() and p.name not in SECRET_FILES):
        name = str(path.relative_to(env.home))
        yield f"state/{name}", path.read_text(encoding="utf-8", errors="replace")
    for path in sorted(config.local.glob("build/*/*")):
        name = str(path.relative_to(config.local))
        yield f"state/{name}", path.read_text(encoding="utf-8", errors="replace")
    if not files:
        raise Missing(f"nothing is remembered of {env.name}: it was never created, or deleted")


def _stage_logs(config: Config) -> Iterator[tuple[str, str]]:
    files = sorted(p for p in (config.local / "logs").rglob("*") if p.is_file())
    for path in files:
        yield f"logs/{path.relative_to(config.local / 'logs')}", _end(path)
    if not files:
        raise Missing("there are no logs: nothing was run in this checkout")


def _end(path: Path) -> str:
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(size - LOG_BYTES, 0))
        text = file.read().decode("utf-8", "replace")
    # A line that is cut off could show the end of a secret.
    return text if size <= LOG_BYTES else text.partition("\n")[2]


def _pod_logs(config: Config) -> Iterator[tuple[str, str]]:
    with apiserver.connect(config) as api:
        found = list(logs.of_namespace(api, config, LINES))
    for name, lines in found:
        yield f"logs/pods/{name}.log", "".join(f"{line}\n" for line in lines)
    if not found:
        raise Missing(f"{config.name} has no pod that was ever started")


def _cluster(config: Config) -> Iterator[tuple[str, str]]:
    with apiserver.connect(config):
        pass
    for name, words in (
        ("events.txt", EVENTS),
        ("nodes.txt", ("describe", "nodes")),
        ("pods.txt", ("get", "pods", "--all-namespaces", "--output=wide")),
        ("described.txt", ("describe", "deployments,services,pods")),
    ):
        yield f"cluster/{name}", cluster.kubectl(config, *words, quiet=True).stdout


def _node(config: Config) -> Iterator[tuple[str, str]]:
    node = cluster.environment(config).node
    if cluster.inspect(cluster.environment(config)) is None:
        raise Missing(f"there is no container {node}")
    said = tools.run("docker", "logs", "--tail", "300", node, quiet=True)
    yield "cluster/node.log", said.stdout + said.stderr


def _json(value: Mapping[str, Any] | list[Any]) -> str:
    return json.dumps(report.masked_data(value), indent=2, default=str) + "\n"
