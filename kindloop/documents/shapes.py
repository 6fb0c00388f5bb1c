"""What stands in each document that --json prints: the fields, and what they mean.

Parts that are dataclasses of other rooms are described there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from kindloop.environments import Listed
from kindloop.freshness import Fresh
from kindloop.hostfacts import Engine, Finding, TakenPort
from kindloop.loadplan import Row as LoadRow
from kindloop.loadrun import Build
from kindloop.observing import Page
from kindloop.observing import State as PartState
from kindloop.probes import Inotify, Memory
from kindloop.stage_plan import Decision
from kindloop.status import Line
from kindloop.swapping import Row as SwapRow
from kindloop.upplan import NodeSource, ToApply
from kindloop.verify import Report

__all__ = [
    "Bake",
    "BakePart",
    "Check",
    "Cluster",
    "Curl",
    "Diff",
    "Doctor",
    "Environments",
    "FreshAll",
    "LoadRun",
    "Pages",
    "Plan",
    "Setting",
    "Settings",
    "Stack",
    "Stages",
    "Status",
    "Swap",
    "ToolFound",
]


class Stack(TypedDict):
    """The observability stack."""

    healthy: bool
    """Whether every part that can be there answers."""
    memory_mb: int
    cpu_m: int
    """Thousandths of a processor."""
    parts: list[PartState]


class Status(TypedDict):
    """What runs, what is stale, what answers."""

    schema: Literal[1]
    environment: str
    exit_code: Literal[0, 1, 3, 4]
    """The task's exit code."""
    healthy: bool
    """Whether the exit code is 0."""
    kubeconfig: str | None
    """Path of the environment's own kubeconfig; null without a cluster."""
    memory_mb: Mapping[str, int]
    """Working set in MiB by pod."""
    lines: list[Line]
    observability: Stack


class FreshAll(TypedDict):
    """Whether what answers is built from the files as they are."""

    schema: Literal[1]
    exit_code: Literal[0, 1, 3, 4]
    """The task's exit code."""
    fresh: bool
    """Whether every workload is fresh."""
    workloads: list[Fresh]


class Cluster(TypedDict):
    """The kind cluster."""

    schema: Literal[1]
    name: str
    state: Literal[
        "running", "no answer", "absent", "stopped", "half-created", "not ours",
        "differs from kindloop.yaml", "record lost",
    ]  # fmt: skip
    running: bool
    """Whether the node's container runs."""
    image: str | None
    """Image of the node; null without one."""
    kubeconfig: str | None
    """Path of the environment's own kubeconfig; null without a cluster."""
    differences: list[str]
    """What differs from kindloop.yaml, where that is the state."""
    healthy: bool
    """Whether it is ours, as kindloop.yaml says, and its API server answers."""


class BakePart(TypedDict):
    """A part of the bake."""

    name: str
    what: str
    estimate_s: float
    """Seconds that it takes on 2 cores without any cache."""
    done: bool
    folder: str
    """Where it lies when it is done."""


class Bake(TypedDict):
    """The parts of the bake and what is left."""

    schema: Literal[1]
    parts: list[BakePart]
    left_s: float
    """Estimate in seconds of what is left."""


class Stages(TypedDict):
    """Which stages are stale, and why."""

    schema: Literal[1]
    stages: list[Decision]


class Swap(TypedDict):
    """Which binary each pod runs."""

    schema: Literal[1]
    exit_code: Literal[0, 1, 3, 4]
    """The task's exit code."""
    workloads: list[SwapRow]


class Diff(TypedDict):
    """What an apply would change."""

    schema: Literal[1]
    differs: bool
    diff: str
    """A unified diff, as kubectl writes it; empty without a difference."""


class Check(TypedDict):
    """Whether kindloop.yaml is right."""

    schema: Literal[1]
    ok: bool
    mistakes: list[str]
    """`FILE:LINE:COLUMN: what`, a line each."""
    file: NotRequired[str]
    """Path of the file, where it is right."""
    warnings: NotRequired[list[str]]
    """What is secret and not masked, or in its own place only, where the file is right."""


class Setting(TypedDict):
    """A setting as it counts."""

    name: str
    """As in error messages: `workloads.petstore.swap.env.RUST_LOG`."""
    value: Any
    """Text, a number, true, false, null, a list or an object."""
    source: Literal["default", "file", "environment"]
    place: NotRequired[str]
    """`kindloop.yaml:12`, or the variable's name."""


class Environments(TypedDict):
    """Every environment of this user, by name."""

    schema: Literal[1]
    environments: list[Listed]


class Plan(TypedDict):
    """What dev-up would do."""

    schema: Literal[1]
    environment: str
    cluster: str
    """Its state now, as in the document `cluster`."""
    node: NodeSource | None
    """Null: the cluster is there and stays."""
    stages: list[Decision]
    """Those that are stale will run."""
    workloads: list[ToApply]
    observability: list[str]
    """A line for each part of the stack."""


class Settings(TypedDict):
    """Every setting and where its value comes from."""

    schema: Literal[1]
    file: str
    settings: list[Setting]


class Pages(TypedDict):
    """Where the service, metrics, traces and dashboards are."""

    schema: Literal[1]
    pages: list[Page]


class Curl(TypedDict):
    """What every operation of the service answered; a report for each OpenAPI document."""

    schema: Literal[1]
    reports: list[Report]


class LoadRun(TypedDict):
    """What a load test measured."""

    schema: Literal[1]
    profile: str
    build: Build
    complete: bool
    """False for a run that was ended before its time; no threshold judges it."""
    rps: float
    """Requests per second, all together."""
    total: LoadRow
    rows: list[LoadRow]
    """A row for each kind of request."""
    broken: list[str]
    """Thresholds that do not hold, in words."""
    before: LoadRow | None
    """The same of the run before with the same users and build profile."""
    folder: str
    """Where goose's reports are."""


class ToolFound(TypedDict):
    """A tool of this machine."""

    name: str
    purpose: str
    probe: str
    """The command that tells its version."""
    needed: str
    """The version that is needed at least; empty for any."""
    when: Literal["always", "bake"]
    how: str
    """How to get it."""
    version: str
    """Empty when it does not answer."""
    source: str
    """Where it is: a path, or the engine's platform."""
    ok: bool
    required: bool
    """Whether it is needed here."""


class Doctor(TypedDict):
    """What this machine has and what is missing."""

    schema: Literal[1]
    tools: list[ToolFound]
    engine: Engine
    registry: bool
    """Whether an image registry answers."""
    bakes: bool
    """Whether the node would be made from packages here."""
    can_raise_limits: bool | None
    """Whether containers may raise limits (CAP_SYS_RESOURCE); null when nobody could ask."""
    cgroup: int | None
    """Version of the control groups."""
    inotify: Inotify | None
    memory: Memory | None
    free_gb: Mapping[str, float]
    """Space left in GB by folder: the engine's data, the cache, the state."""
    ports: list[TakenPort]
    """Ports of ours that somebody has."""
    umask: int
    noexec: str
    """The folder of ours from which no program runs, if any."""
    selinux: bool
    """Whether SELinux enforces its policy."""
    findings: list[Finding]
    """What is wrong or worth knowing, worst first."""
