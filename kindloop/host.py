"""This machine: the tools and limits that the loop needs, and what to do where they are missing.

`inspect` asks; `plan_findings`, `table`, `as_json` and `exit_code` (of `hostfacts`) judge and
show. The `require_*` functions are for code that is about to use something.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kindloop import probes, state, tools, versions
from kindloop.errors import KindloopError, ToolFailed, ToolMissing
from kindloop.hostfacts import (
    Engine,
    Finding,
    Host,
    Problem,
    TakenPort,
    Tool,
    ToolSpec,
    as_json,
    engine_finding,
    exit_code,
    plan_findings,
    table,
)
from kindloop.probes import registry_reachable

__all__ = [
    "Engine",
    "Finding",
    "Host",
    "TakenPort",
    "Tool",
    "ToolSpec",
    "as_json",
    "engine",
    "exit_code",
    "inspect",
    "needs_bake",
    "plan_findings",
    "ports_taken",
    "registry_reachable",
    "require_disk",
    "require_engine",
    "require_kind",
    "specs",
    "table",
]

NODE_REPOSITORY = "kindloop/node"
RECIPE_LABEL = "kindloop.recipe"
ANSWER_S = 10.0
"""Seconds within which a tool must tell its version."""


def specs() -> tuple[ToolSpec, ...]:
    """The tools of versions.toml, in its order."""
    names = ("purpose", "probe", "needed", "when", "how")
    sections: dict[str, dict[str, Any]] = tomllib.loads(versions.text())["tool"]
    return tuple(ToolSpec(name, *(keys[n] for n in names)) for name, keys in sections.items())


def inspect(config_ports: Mapping[str, int], *, own_node: str = "") -> Host:
    """Ask everything; takes a second, three more where no registry answers.

    `own_node` is the environment's node container: the ports that it has are no finding.
    """
    found = engine()
    folders = [state.cache_home(), state.state_home()]
    if found.data_root and Path(found.data_root).is_dir():
        folders.insert(0, Path(found.data_root))
    return Host(
        tools=tuple(_look(spec, found) for spec in specs()),
        engine=found,
        registry=registry_reachable(),
        bakes=needs_bake(),
        can_raise_limits=probes.has_capability(probes.CAP_SYS_RESOURCE),
        cgroup=probes.cgroup_version(),
        inotify=probes.inotify(),
        memory=probes.memory(),
        free_gb={str(folder): round(probes.free_gb(folder), 1) for folder in folders},
        ports=tuple(p for p in ports_taken(config_ports) if p.by != f"container {own_node}"),
        umask=probes.umask(),
        noexec=next((str(f) for f in folders if probes.is_noexec(f)), ""),
        selinux=probes.selinux_enforces(),
    )


@cache
def engine() -> Engine:
    """The engine behind `docker`, asked once per process; never raises."""
    if tools.find("docker") is None:
        return Engine("not-installed")
    try:
        said = tools.run(
            "docker", "version", "--format", "{{json .Server}}", timeout_s=ANSWER_S, quiet=True
        )
    except (ToolFailed, ToolMissing) as exc:
        text = "\n".join(exc.evidence) or exc.message
        return Engine(_problem(text, _dockerd_is_there()), said=text.splitlines()[-1])
    return _engine_of(said.stdout, probes.has_capability(probes.CAP_SYS_RESOURCE), _data_root())


def require_engine() -> Engine:
    """The engine, ready to run privileged containers. Raises ToolMissing, saying what to do."""
    found = engine()
    if found.problem:
        error = engine_finding(found)
        raise ToolMissing(
            error.what,
            why=error.why,
            hint=error.next,
            evidence=[found.said] if found.said else [],
        )
    return found


def require_kind() -> Tool:
    """The kind on PATH, new enough for the node image. Raises ToolMissing with found and needed."""
    spec = next(spec for spec in specs() if spec.name == "kind")
    kind = _look(spec, Engine("not-installed"))
    if not kind.ok:
        found = f"kind {kind.version} is too old" if kind.version else "kind is not installed"
        raise ToolMissing(
            f"{found}: {spec.needed} or newer is needed",
            why="older versions do not know the node image",
            hint=f"{tools.SETUP}, or {spec.how}" if tools.HAS_SETUP else spec.how,
        )
    return kind


def require_disk(path: Path, needed_gb: float, what: str) -> None:
    """Raise ToolMissing when `path`'s disk has less than `needed_gb` GB for `what`."""
    free = probes.free_gb(path)
    if free < needed_gb:
        raise ToolMissing(
            f"{what} needs {needed_gb:.0f} GB free at {path}; there are {free:.1f} GB",
            why="a disk that fills up on the way leaves half of it behind",
            hint="docker system df; docker image prune; or put the cache elsewhere: XDG_CACHE_HOME",
        )


def ports_taken(ports: Mapping[str, int]) -> list[TakenPort]:
    """Those of `ports` (host port by name) that cannot be bound on 127.0.0.1, and who has them."""
    by = probes.listeners(set(ports.values()))
    if not by:
        return []
    containers = {p: f"container {n}" for p, n in _containers().items()}
    return [TakenPort(n, p, containers.get(p, by[p])) for n, p in ports.items() if p in by]


def needs_bake() -> bool:
    """Whether a cluster needs a bake: no node image of ours is there and none can be pulled."""
    return not _node_images() and not registry_reachable()


def _look(spec: ToolSpec, found: Engine) -> Tool:
    if spec.name == "docker":
        return Tool(spec, found.version, found.platform if found.os else "", not found.problem)
    if spec.name == "python":
        return Tool(spec, ".".join(map(str, sys.version_info[:3])), sys.executable, ok=True)
    words = shlex.split(spec.probe)
    path = tools.find(words[0])
    text = _said(words) if path else None
    version = ".".join(map(str, tools.version_of(text or "")))
    return Tool(spec, version, str(path or ""), text is not None and _new_enough(version, spec))


def _said(words: list[str]) -> str | None:
    try:
        return tools.run(*words, timeout_s=ANSWER_S, quiet=True).stdout
    except KindloopError:
        return None


def _new_enough(version: str, spec: ToolSpec) -> bool:
    return tools.version_of(version) >= tools.version_of(spec.needed)


def _engine_of(server: str, can_raise_limits: bool | None, data_root: str) -> Engine:
    facts = json.loads(server)
    version = str(facts["Version"])
    needed = next(spec.needed for spec in specs() if spec.name == "docker")
    enough = tools.version_of(version) >= tools.version_of(needed) or can_raise_limits is not False
    problem: Problem = "" if enough else "too-old"
    return Engine(problem, version, str(facts["Os"]), str(facts["Arch"]), data_root)


def _problem(text: str, installed: bool) -> Problem:
    if "permission denied" in text.lower():
        return "no-permission"
    return "not-running" if installed or "DOCKER_HOST" in os.environ else "not-installed"


def _dockerd_is_there() -> bool:
    """Whether an engine could be started: /usr/sbin is not on every user's PATH."""
    places = (Path("/usr/sbin/dockerd"), Path("/Applications/Docker.app"))
    return tools.find("dockerd") is not None or any(place.exists() for place in places)


def _data_root() -> str:
    return (_said(["docker", "info", "--format", "{{.DockerRootDir}}"]) or "").strip()


def _containers() -> dict[int, str]:
    if engine().problem:
        return {}
    return probes.containers_by_port(
        _said(["docker", "ps", "--format", "{{.Names}}\t{{.Ports}}"]) or ""
    )


def _node_images() -> list[str]:
    if engine().problem:
        return []
    words = ["docker", "images", "--quiet", "--filter", f"label={RECIPE_LABEL}", NODE_REPOSITORY]
    return (_said(words) or "").split()
