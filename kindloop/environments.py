"""Every environment of this user, whatever its checkout: what is known of it, and its end by name.

Nothing here reads a kindloop.yaml, so it works in any folder. What kindloop did not make is not
listed, and never touched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from kindloop import apiserver, cluster, host, observing, report, state, supervised, tools
from kindloop.clusterfacts import Environment, Node, Owner, abandoned
from kindloop.config import DEFAULT_PORTS, NODE_PORTS, Config
from kindloop.errors import ConfigError, KindloopError, Locked, NotOurs
from kindloop.images import LABEL
from kindloop.loading import FILE_NAME
from kindloop.supervised import Report

__all__ = [
    "Listed",
    "State",
    "as_json",
    "delete",
    "delete_all",
    "look",
    "parse_memory",
    "state_of",
    "stop",
    "table",
    "workload_of",
]

SCHEMA = 1
ANSWER_S = 3.0
"""Seconds for a node to name its pods; one that runs takes milliseconds."""
STATS_S = 20.0
"""Seconds for the engine's figures: it measures for one or two."""
MIB = {"B": 2**-20, "KiB": 2**-10, "MiB": 1.0, "GiB": 2.0**10}
"""MiB in a unit of `docker stats`."""
STATS = ("docker", "stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}")

State = Literal[
    "running", "no answer", "stopped", "creating", "half-created", "gone", "record lost", "not ours"
]


@dataclass(frozen=True)
class Listed:
    """One environment. What is not known is None or empty."""

    name: str
    state: State
    checkout: str = ""
    """Folder of the kindloop.yaml that made it; empty when the record of that is lost."""
    checkout_exists: bool = False
    created_s: float = 0.0
    """When it was made, in seconds since the epoch; 0 is unknown."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Host port by name, on 127.0.0.1."""
    memory_mib: int | None = None
    """What the node takes now; None unless it runs."""
    watched: bool = False
    """Whether a dev-watch of it runs."""
    busy: str = ""
    """The command that changes it now: `process 12: invoke dev-up`."""
    serves: Mapping[str, str] = field(default_factory=dict)
    """sha256 of the binary that runs, by workload; of several pods, that of the last named."""


def look() -> list[Listed]:
    """All environments of this user, by name. Raises ToolMissing without an engine."""
    host.require_engine()
    found = cluster.environments()
    running = [env for env, _, node in found if node and node.running and _ours(env, node)]
    with ThreadPoolExecutor(max(len(running), 1)) as pool:
        asking = {env.name: pool.submit(_serves, env) for env in running}
        memory = _memory({env.node for env in running})
        answers = {name: asked.result() for name, asked in asking.items()}
    return [_listed(env, owner, node, answers, memory) for env, owner, node in found]


def state_of(
    owner: Owner | None, node: Node | None, *, ours: bool, busy: bool, answers: bool
) -> State:
    """The word for it. `ours`: its node mounts our swap folder. Pure."""
    if node is not None and not ours:
        return "not ours"
    if owner is None:
        return "record lost"
    if owner.status == "creating":
        return "creating" if busy else "half-created"
    if node is None:
        return "gone"
    if not node.running:
        return "stopped"
    return "running" if answers else "no answer"


def stop(name: str) -> None:
    """Stop the node of the environment `name`; its state is kept.

    Raises ConfigError when there is none, Locked while a command or a watch has it, NotOurs when
    the cluster of that name is another's, ToolMissing without an engine.
    """
    with _held(name) as (env, node):
        observing.end(env)
        if node is None or not node.running:
            report.line(f"{name} is not running")
            return
        with report.step(f"stop node {env.node}"):
            tools.run("docker", "stop", env.node, timeout_s=90)


def delete(name: str) -> None:
    """Delete the environment `name` with its data. Raises as `stop`."""
    with _held(name) as (env, _), report.step(f"delete cluster {name}"):
        observing.end(env)
        cluster.remove(env)


def delete_all() -> None:
    """Delete every environment of this user, whatever its checkout; tells their names.

    What is not ours is left, with a warning. Raises Locked for those that a command or a watch
    has, when all others are gone; ToolMissing without an engine.
    """
    gone: list[str] = []
    held: list[Locked] = []
    for name in Environment.names():
        try:
            delete(name)
            gone.append(name)
        except Locked as exc:
            held.append(exc)
        except NotOurs as exc:
            report.warn(f"{exc.message}: left alone")
    report.output(f"deleted: {', '.join(gone) or 'nothing'}")
    if held:
        first, *others = held
        raise Locked(
            first.message, why=first.why, hint=first.hint, evidence=[one.message for one in others]
        )


def as_json(found: Sequence[Listed]) -> dict[str, Any]:
    """The document of `dev-list --json`."""
    return {"schema": SCHEMA, "environments": [asdict(one) for one in found]}


def table(found: Sequence[Listed], now_s: float) -> str:
    """A line for each, under a heading. `now_s` is in seconds since the epoch. Pure."""
    if not found:
        return "no environments; next: invoke dev-up"
    head = ("name", "state", "age", "memory", "port", "watch", "serves", "checkout")
    rows = [head, *(_row(one, now_s) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(one: Listed, now_s: float) -> tuple[str, ...]:
    offsets = {port - DEFAULT_PORTS[name] for name, port in one.ports.items()}
    port = one.ports.get("petstore")
    shift = f" ({next(iter(offsets)):+d})" if len(offsets) == 1 and offsets != {0} else ""
    gone = "" if one.checkout_exists else " (gone)"
    return (
        one.name,
        f"{one.state}, {one.busy}" if one.busy else one.state,
        _age(now_s - one.created_s) if one.created_s else "-",
        f"{one.memory_mib} MiB" if one.memory_mib is not None else "-",
        f"{port}{shift}" if port else "-",
        "yes" if one.watched else "no",
        ", ".join(f"{name} {digest[:8]}" for name, digest in one.serves.items()) or "-",
        f"{one.checkout}{gone}" if one.checkout else "-",
    )


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"


def _listed(
    env: Environment,
    owner: Owner | None,
    node: Node | None,
    answers: Mapping[str, Mapping[str, str] | None],
    memory: Mapping[str, int],
) -> Listed:
    busy = state.holder(env.lock_file)
    serves = answers.get(env.name)
    ours = node is None or _ours(env, node)
    word = state_of(owner, node, ours=ours, busy=bool(busy), answers=serves is not None)
    return Listed(
        env.name,
        word,
        checkout=owner.checkout if owner else "",
        checkout_exists=owner is not None and not abandoned(owner),
        created_s=owner.created_s if owner else 0.0,
        ports=_ports(node) if node and word != "not ours" else {},
        memory_mib=memory.get(env.node),
        watched=bool(state.holder(env.watch_lock)),
        busy=busy,
        serves=serves or {},
    )


def _ours(env: Environment, node: Node) -> bool:
    return node.swap == str(env.swap)


def _ports(node: Node) -> dict[str, int]:
    """Host port by the name that kindloop.yaml has for it."""
    return {name: node.ports[port] for name, port in NODE_PORTS.items() if port in node.ports}


def _memory(nodes: Collection[str]) -> dict[str, int]:
    """MiB that each node container takes."""
    if not nodes:
        return {}
    said = tools.run(*STATS, *sorted(nodes), timeout_s=STATS_S, check=False, quiet=True)
    return parse_memory(said.stdout)


def parse_memory(text: str) -> dict[str, int]:
    """MiB by container, of lines such as `node<tab>533.7MiB / 23.54GiB`. Pure."""
    found = re.findall(r"^(\S+)\t([\d.]+)([A-Za-z]+) /", text, re.MULTILINE)
    return {name: round(float(number) * MIB[unit]) for name, number, unit in found if unit in MIB}


def _serves(env: Environment) -> dict[str, str] | None:
    """Digest of the binary that runs, by workload; None when the cluster does not answer."""
    config = Config(env.home / FILE_NAME, name=env.name)
    chosen = urlencode({"labelSelector": f"{LABEL}={env.name}"})
    try:
        with apiserver.Api(env.kubeconfig) as api:
            listed = api.json(f"/api/v1/namespaces/{env.name}/pods?{chosen}", ANSWER_S)
            pods = [one["metadata"]["name"] for one in listed["items"]]
            said = supervised.ask_all(api, config, pods) if pods else []
    except KindloopError:
        return None
    workloads = [path.name for path in env.swap.glob("*/")]  # none when it was deleted
    return {
        workload_of(one.pod, workloads): one.running_digest
        for one in said
        if isinstance(one, Report) and one.running_digest
    }


def workload_of(pod: str, workloads: Collection[str]) -> str:
    """The workload whose Deployment made `pod`: `web-5d8f-x2v1q` of `web`. Pure."""
    mine = [name for name in workloads if pod.startswith(f"{name}-")]
    return max(mine, key=len, default=pod)


@contextmanager
def _held(name: str) -> Iterator[tuple[Environment, Node | None]]:
    """The environment `name` with its node, which nobody else changes meanwhile."""
    host.require_engine()
    known = Environment.names()
    if name not in known:
        raise ConfigError(
            f"there is no environment {name}",
            evidence=known,
            why="no command of this user has made one of that name, or it was deleted",
            hint="invoke dev-list",
        )
    env = Environment(name)
    with (
        state.lock(env.watch_lock, f"the watch of {name}"),
        state.lock(env.lock_file, f"environment {name}"),
    ):
        node = cluster.inspect(env)
        if node is not None and not _ours(env, node):
            raise NotOurs(
                f"the kind cluster {name} is not the one that kindloop made",
                why=f"its node does not mount {env.swap}: somebody made it anew",
                hint=f"docker inspect {env.node} (shows whose it is)",
            )
        yield env, node
