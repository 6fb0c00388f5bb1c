"""What was found on this machine, what to think of it, and how it is shown. All of it pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kindloop.probes import Inotify, Memory
from kindloop.tools import HAS_SETUP, SETUP

__all__ = [
    "Engine",
    "Finding",
    "Host",
    "Problem",
    "TakenPort",
    "Tool",
    "ToolSpec",
    "as_json",
    "by_setup",
    "engine_finding",
    "exit_code",
    "plan_findings",
    "table",
]

Problem = Literal["", "not-installed", "not-running", "no-permission", "too-old"]
Level = Literal["ok", "warn", "error"]

ENGINE = "install Docker Engine 23 or newer: docs.docker.com/engine/install"
MIN_INOTIFY_INSTANCES = 512
"""kind's own advice. Linux's default of 128 is for all of a user's watchers, the node's too."""
MIN_FREE_GB = 5.0
"""A node image, a workload's images and etcd; a bake asks for its own amount."""
MIN_MEMORY_GB = 3.0
"""Control plane, observability and one Rust service at rest take 2 GB."""


@dataclass(frozen=True)
class ToolSpec:
    """What is needed of a tool: its section of versions.toml."""

    name: str
    purpose: str
    probe: str
    needed: str
    when: Literal["always", "bake"]
    how: str


@dataclass(frozen=True)
class Tool:
    """A tool as found. `version` is empty when it does not answer."""

    spec: ToolSpec
    version: str
    source: str
    """Where it is: a path, or the engine's platform."""
    ok: bool


@dataclass(frozen=True)
class Engine:
    """The Docker engine, or why there is none (`problem`, with its words in `said`)."""

    problem: Problem
    version: str = ""
    os: str = ""
    arch: str = ""
    data_root: str = ""
    said: str = ""

    @property
    def platform(self) -> str:
        """Such as "linux/amd64": what images and binaries for the cluster are built for."""
        return f"{self.os}/{self.arch}"


@dataclass(frozen=True)
class TakenPort:
    """A port of ours on 127.0.0.1 that somebody has: "process 12: nginx" or "container x"."""

    name: str
    port: int
    by: str


@dataclass(frozen=True)
class Host:
    """Everything asked; None where this system has no such thing."""

    tools: tuple[Tool, ...]
    engine: Engine
    registry: bool
    bakes: bool
    can_raise_limits: bool | None
    cgroup: int | None
    inotify: Inotify | None
    memory: Memory | None
    free_gb: Mapping[str, float] = field(default_factory=dict)
    """Space left in GB by folder: the engine's data, the cache, the state."""
    ports: tuple[TakenPort, ...] = ()
    umask: int = 0o022
    noexec: str = ""
    """The folder of ours from which no program runs, if any."""
    selinux: bool = False
    """Whether SELinux enforces its policy."""


@dataclass(frozen=True)
class Finding:
    """A judgement: what, why it matters, the next command."""

    level: Level
    what: str
    why: str = ""
    next: str = ""


def plan_findings(host: Host) -> list[Finding]:
    """What is wrong or worth knowing, worst first. Pure."""
    findings = [
        *_engine_findings(host),
        *(_tool_finding(tool) for tool in _lacking(host)),
        *_limit_findings(host),
        *_space_findings(host),
        *(_port_finding(taken) for taken in host.ports),
    ]
    return sorted(findings, key=lambda f: ("error", "warn", "ok").index(f.level))


def exit_code(host: Host) -> int:
    """7 when something needed is missing, else 0. Pure."""
    return 7 if any(f.level == "error" for f in plan_findings(host)) else 0


def table(host: Host) -> str:
    """Tools, facts and findings as text. Pure."""
    rows = [("tool", "found", "needed", "from"), *(_row(tool, host) for tool in host.tools)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{'  '.join(map(str.ljust, row, widths))}  {row[3]}".rstrip() for row in rows]
    lines += ["", *(f"{name:<12} {text}" for name, text in _facts(host)), ""]
    findings = plan_findings(host)
    for finding in findings:
        lines.append(f"{finding.level}: {finding.what}")
        lines += [f"  why:  {finding.why}"] if finding.why else []
        lines += [f"  next: {finding.next}"] if finding.next else []
    return "\n".join(lines if findings else [*lines, "ok: nothing is missing"])


def as_json(host: Host) -> dict[str, Any]:
    """The same as a document; a field changes its meaning only with `schema`. Pure."""
    findings = [asdict(finding) for finding in plan_findings(host)]
    needed = [_is_needed(tool, host) for tool in host.tools]
    document = asdict(host)
    rows = zip(document.pop("tools"), needed, strict=True)
    listed = [{**row.pop("spec"), **row, "required": required} for row, required in rows]
    return {"schema": 1, "tools": listed, **document, "findings": findings}


def _is_needed(tool: Tool, host: Host) -> bool:
    return tool.spec.when == "always" or host.bakes


def _lacking(host: Host) -> Iterator[Tool]:
    for tool in host.tools:
        if not tool.ok and tool.spec.name != "docker" and _is_needed(tool, host):
            yield tool


def _engine_findings(host: Host) -> Iterable[Finding]:
    return [engine_finding(host.engine)] if host.engine.problem else []


def by_setup(does: str, otherwise: str) -> str:
    """Our script where there is one, with what it does; else how to do it by hand."""
    return f"{SETUP} ({does})" if HAS_SETUP else otherwise


def engine_finding(found: Engine) -> Finding:
    """What is the matter with an engine that has a problem, and what to do."""
    match found.problem:
        case "no-permission":
            return Finding(
                "error",
                "the Docker engine runs, but this user may not use it",
                "its socket belongs to group docker",
                'sudo usermod -aG docker "$USER", then log in again (until then: newgrp docker)',
            )
        case "not-running":
            return Finding(
                "error",
                "the Docker engine does not run",
                "docker is installed, and nothing answers behind it",
                by_setup("starts it", "sudo systemctl start docker"),
            )
        case "too-old":
            return Finding(
                "error",
                f"the Docker engine {found.version} is too old for this machine: 23.0 is needed",
                "older ones ask for CAP_SYS_RESOURCE for --privileged, which is not granted here",
                by_setup("installs a newer one", ENGINE),
            )
        case _:
            return Finding(
                "error",
                "the Docker engine is not installed",
                "the cluster's node is a container",
                by_setup("installs it", ENGINE),
            )


def _tool_finding(tool: Tool) -> Finding:
    spec = tool.spec
    found = f"{spec.name} {tool.version} is too old" if tool.version else f"{spec.name} is missing"
    needed = f": {spec.needed} or newer is needed" if spec.needed else ""
    how = f"{SETUP}, or {spec.how}" if HAS_SETUP else spec.how
    return Finding("error", f"{found}{needed}", f"it {spec.purpose}", how)


def _limit_findings(host: Host) -> Iterator[Finding]:
    if host.inotify and host.inotify.max_user_instances < MIN_INOTIFY_INSTANCES:
        yield Finding(
            "warn",
            f"fs.inotify.max_user_instances is {host.inotify.max_user_instances}: "
            f"{MIN_INOTIFY_INSTANCES} or more is better",
            "pods and watchers that get no instance fail with 'too many open files'",
            f"sudo sysctl fs.inotify.max_user_instances={MIN_INOTIFY_INSTANCES} "
            "(to keep it: a line in /etc/sysctl.d/)",
        )
    if host.noexec:
        yield Finding(
            "error",
            f"programs cannot run from {host.noexec}: its disk is mounted noexec",
            "what is built or fetched there must run",
            "put it elsewhere: XDG_CACHE_HOME, XDG_STATE_HOME",
        )
    if host.selinux:
        yield Finding(
            "warn",
            "SELinux enforces its policy",
            "containers may not read the swap directory of the node unless it is labelled for them",
            "chcon -Rt container_file_t ~/.local/state/kindloop; or in kindloop.yaml: "
            "workloads.<name>.swap.transport: exec",
        )
    if host.umask & 0o700:
        yield Finding(
            "error",
            f"the umask {host.umask:04o} takes your own rights to new files away",
            "what one step writes, the next must read",
            "umask 022",
        )


def _space_findings(host: Host) -> Iterator[Finding]:
    for folder, free in host.free_gb.items():
        if free < MIN_FREE_GB:
            yield Finding(
                "warn",
                f"{free:.1f} GB free at {folder}: {MIN_FREE_GB:.0f} GB are needed",
                "images and the cluster's data lie there",
                "docker system df; docker image prune",
            )
    if host.memory and host.memory.available_gb < MIN_MEMORY_GB:
        yield Finding(
            "warn",
            f"{host.memory.available_gb:.1f} GB of memory available: "
            f"{MIN_MEMORY_GB:.0f} GB are needed",
            "the kernel ends pods when there is none left",
            "end other programs, or give the engine's machine more memory",
        )


def _port_finding(taken: TakenPort) -> Finding:
    return Finding(
        "warn",
        f"port {taken.port} ({taken.name}) is taken by {taken.by}",
        "a cluster that is not there yet cannot be made while another listens",
        "end it, or KINDLOOP_PORT_OFFSET=100 invoke dev-up; if it is this cluster, all is well",
    )


def _row(tool: Tool, host: Host) -> tuple[str, str, str, str]:
    needed = f">= {tool.spec.needed}" if tool.spec.needed else "any"
    if tool.spec.when == "bake" and not host.bakes:
        needed += " to bake"
    return tool.spec.name, tool.version or ("yes" if tool.ok else "-"), needed, tool.source or "-"


def _facts(host: Host) -> Iterator[tuple[str, str]]:
    yield "registry", "reachable" if host.registry else "not reachable"
    yield "node image", "must be baked" if host.bakes else "local, or can be pulled"
    if host.can_raise_limits is not None:
        yield "capabilities", f"CAP_SYS_RESOURCE {'yes' if host.can_raise_limits else 'no'}"
    if host.cgroup is not None:
        yield "cgroups", f"version {host.cgroup}"
    if host.inotify:
        limits = host.inotify
        yield "inotify", f"{limits.max_user_instances} instances, {limits.max_user_watches} watches"
    if host.memory:
        yield "memory", f"{host.memory.available_gb:.1f} of {host.memory.total_gb:.1f} GB available"
    for folder, free in host.free_gb.items():
        yield "disk", f"{free:.1f} GB free at {folder}"
    yield "umask", f"{host.umask:04o}"
