"""Every setting of kindloop.yaml: its shape, unit, default and the reason for the default.

Frozen dataclasses, filled by `loading`; nothing here reads a file or the environment. Paths in
the file are relative to it; here they are absolute where they say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

__all__ = [
    "DEFAULT_PORTS",
    "NODE_PORTS",
    "OTEL_DISABLED",
    "SUPERVISOR_PORT",
    "SUPERVISOR_STAGE",
    "SWAP_IN_POD",
    "App",
    "Cluster",
    "Config",
    "CopiedFiles",
    "Image",
    "Load",
    "Observability",
    "Resources",
    "Stage",
    "Swap",
    "SyncedFiles",
    "Watch",
    "Workload",
]

Profile = Literal["loop", "release"]
Label = Literal["build", "app", "observability", "tools"]
Transport = Literal["auto", "mount", "exec"]
Observability = Literal["off", "minimal", "full"]
Resources = Literal["minimal", "normal", "high"]

SUPERVISOR_STAGE = "supervisor"
"""The stage that builds PID 1 of the swappable workloads; `loading` adds it where the file has
none of that name."""
SUPERVISOR_PORT = 9909
"""Where the supervisor answers inside the pod; nothing maps it to this machine."""
SWAP_IN_POD = "/kindloop"
"""Where a pod sees the swap folder of its workload."""
OTEL_DISABLED = "{otel.disabled}"
"""Stands in `swap.env` for `false` where the environment has a collector (observability full), and
for `true` else: OTEL_SDK_DISABLED wants that."""

DEFAULT_PORTS: Mapping[str, int] = MappingProxyType(
    {
        "petstore": 8080,
        "grafana": 3000,
        "prometheus": 9090,
        "alertmanager": 9093,
        "jaeger": 16686,
        "otlp_grpc": 4317,
        "otlp_http": 4318,
    }
)
"""Host ports on 127.0.0.1: what each program uses by itself, so that its docs hold."""

NODE_PORTS: Mapping[str, int] = MappingProxyType(
    {
        "petstore": 30080,
        "grafana": 30300,
        "prometheus": 30090,
        "alertmanager": 30093,
        "jaeger": 30686,
        "otlp_grpc": 30317,
        "otlp_http": 30318,
    }
)
"""NodePorts inside the cluster (Kubernetes allows 30000-32767); the Services declare the same."""


@dataclass(frozen=True)
class App:
    """Where the Rust service is."""

    root: Path = Path()
    """Folder (absolute) in which stages run and to which their paths are relative."""


@dataclass(frozen=True)
class Cluster:
    """The kind cluster."""

    node_image: str = "auto"
    """Image of the node. `auto`: a local one, else pulled by digest, else baked from packages."""
    config: Path | None = None
    """The kind configuration (absolute); None takes the one that kindloop ships."""
    ports: Mapping[str, int | None] = field(default_factory=lambda: DEFAULT_PORTS)
    """Host port by name; None (`off` in the file) leaves it out. kind can add none later."""
    port_offset: int = 0
    """Added to every host port: two environments on one machine need different ones."""
    wait_s: int = 180
    """Seconds until the control plane must answer; 15 s is usual, slow disks take a minute."""

    def host_ports(self) -> dict[str, int]:
        """Host port by name as really mapped: without those left out, offset applied."""
        return {n: p + self.port_offset for n, p in self.ports.items() if p is not None}


@dataclass(frozen=True)
class Stage:
    """One host command with declared inputs, outputs and needs."""

    name: str
    run: str
    """The command, split like a shell would but run without one. `{target}` is the folder where
    cargo puts this profile's binaries, `{root}` is app.root, `{here}` the folder of
    kindloop.yaml; all are absolute."""
    inputs: tuple[str, ...] = ()
    """Files, folders or globs, relative to app.root: a change of their content makes it stale.
    Same placeholders as `run`."""
    outputs: tuple[str, ...] = ()
    """Files or folders that must exist afterwards; same placeholders as `run`."""
    needs: tuple[str, ...] = ()
    """Stages that must be fresh before this one runs."""
    built_by: str = ""
    """A stage that needs this one, and whose command builds it too, as cargo builds a library with
    the program: this one's own command runs only when it is asked for by name. No outputs."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables added for the command; they count as inputs."""
    env_inputs: tuple[str, ...] = ()
    """Names of environment variables of the caller whose values count as inputs."""
    tools: tuple[str, ...] = ("cargo", "rustc")
    """Programs whose `--version` counts as an input: another compiler, another binary."""
    label: Label = "build"
    """Group in `dev-status`."""
    platform: Literal["cluster", "host"] = "cluster"
    """`cluster`: built for the engine's OS and architecture. `host`: it runs here (generators)."""
    timeout_s: int = 1800
    """Seconds until the command is ended; a cold release build with LTO takes minutes."""
    on_newer: Literal["cancel", "finish"] = "cancel"
    """What a newer save does to it while it runs. `cancel`: end it and start again, as cargo can.
    `finish`: let it end first; a generator ended midway leaves half of its files."""


@dataclass(frozen=True)
class CopiedFiles:
    """Files that a workload's image carries beside the binary."""

    source: str
    """File or folder relative to app.root (`from` in the file)."""
    to: str
    """Where they go, relative to the image's working directory."""


@dataclass(frozen=True)
class Image:
    """How a workload's image is made."""

    dockerfile: Path
    """The Dockerfile (absolute). Its context holds the artifact and the copied files only."""
    artifact: str = ""
    """Stage whose first output is the binary; it lies in the context under its own name. With a
    swap it is `swap.artifact`, said or not."""
    base: str = "auto"
    """Base image, the build argument BASE. `auto`: Alpine by digest, else made from packages."""
    files: tuple[CopiedFiles, ...] = ()
    """Files copied into the context."""


@dataclass(frozen=True)
class Swap:
    """How a workload's running process is replaced by a new artifact, without a new image."""

    artifact: str
    """Stage whose first output is the binary that runs."""
    args: tuple[str, ...] | None = None
    """Its arguments; None takes those of the container in the manifests."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables over those of the container; they change by a swap, no rollout.
    `{otel.disabled}` in a value is `false` where the environment has a collector, else `true`."""
    transport: Transport = "auto"
    """`mount`: the node sees this machine's folder. `exec`: a stream through the API server.
    `auto`: mount; where that is dead it stops and says what to do."""
    grace_ms: int = 2000
    """Milliseconds between SIGTERM and SIGKILL (0 to 60000); a save waits for them at worst."""
    probation_ms: int = 5000
    """Milliseconds (100 to 600000) in which a new binary must become ready and not die, or the
    last good one comes back; a service that connects to others first needs some of them."""
    rollback: bool = True
    """Whether the last good binary comes back; off, the broken one is started again and again."""


@dataclass(frozen=True)
class SyncedFiles:
    """Files that reach the running pods beside the binary, without a new image."""

    source: str
    """File or folder relative to app.root (`from` in the file)."""
    to: str
    """Where they appear, relative to the image's working directory."""
    on_change: Literal["restart", "none"] = "restart"
    """`restart`: the process reads them at its start. `none`: it reads them when asked."""


@dataclass(frozen=True)
class Workload:
    """A Deployment of ours with an image."""

    name: str
    """Name of the Deployment and of the image in its manifests."""
    image: Image
    manifests: Path
    """Folder (absolute) that `kubectl apply -k` can use."""
    url: str = ""
    """Where it answers on this machine, placeholders resolved."""
    health: str = "/health"
    """Path below `url` that answers 200 when the service works."""
    openapi: Path | None = None
    """OpenAPI document (absolute) that `test.curl` and the smoke session check against."""
    ready_s: int = 120
    """Seconds until the rollout must be complete and the URL answer."""
    label: Label = "app"
    """Group in `dev-status`."""
    swap: Swap | None = None
    """None: every change goes by image and rollout."""
    sync: tuple[SyncedFiles, ...] = ()
    """Files swapped with the binary; only for a workload with a swap."""

    @property
    def artifact(self) -> str:
        """The stage of its binary; empty for a workload that has none of ours."""
        return self.swap.artifact if self.swap else self.image.artifact


@dataclass(frozen=True)
class Watch:
    """How `dev-watch` turns saves into builds."""

    quiet_ms: int = 10
    """Milliseconds (1 to 5000) without an event that end a batch; editors write within 1 ms."""
    cap_ms: int = 1000
    """Milliseconds after which a batch ends even if events keep coming; at least quiet_ms."""
    on_up: bool = False
    """Whether `dev-up` goes on watching, as if it had been given --watch."""


@dataclass(frozen=True)
class Load:
    """A profile of `test-load`: how many users for how long, and what must hold meanwhile."""

    name: str
    users: int
    """Users at a time (1 to 10000); each waits for its answer before it asks again."""
    hatch_rate: float
    """Users that begin per second (0.1 to 1000); all at once would measure the burst alone."""
    run_time_s: int
    """Seconds of load after all users have begun."""
    max_p95_ms: float
    """Milliseconds within which 95 of 100 requests must be answered."""
    max_error_ratio: float
    """Share (0 to 1) of requests that may have an unexpected status."""
    min_rps: float
    """Requests per second that must be reached; 0 asks for none."""


@dataclass(frozen=True)
class Config:
    """The whole of kindloop.yaml, checked."""

    path: Path
    """The file it was read from (absolute)."""
    name: str = "brrtrouter-dev"
    """Environment: the kind cluster and the namespace. KINDLOOP_NAME overrides it."""
    app: App = App()
    cluster: Cluster = Cluster()
    profile: Profile = "loop"
    """`loop`: incremental, no LTO (1.3 s after a one-line change of the real pet_store).
    `release`: the project's own release profile (67 s for the same change)."""
    core: Path | None = None
    """Manifests (absolute folder) applied before any workload: the namespace and what it needs."""
    stages: Mapping[str, Stage] = field(default_factory=dict)
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    watch: Watch = Watch()
    observability: Observability = "off"
    """`minimal`: Prometheus and Alertmanager. `full`: OpenTelemetry collector, Jaeger and Grafana
    too. Off by default: where no registry answers, its images take minutes of a bake."""
    resources: Resources = "normal"
    """What each part of the observability stack may take of CPU and memory, and for how long it
    keeps data."""
    scrape_s: int = 15
    """Seconds (1 to 300) between two looks of Prometheus at a target; tests want 5."""
    stack: Path | None = None
    """Manifests (absolute folder) of the observability stack; None takes those that kindloop
    ships."""
    load: Mapping[str, Load] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names whose values are shown and logged as `***`. A name is looked up among the variables of
    the environment in which a task is started (stages get those too), as a key in kindloop.yaml
    (`stages.<name>.env`, `swap.env`), and in the manifests as a container's variable, a key of a
    ConfigMap or of a `configMapGenerator`. Values of Kubernetes Secrets and of a `secretGenerator`
    are masked without being named here. What is shorter than 4 characters, a number shorter than 8,
    and words such as `true` or `info` are masked in their own place only, such as behind their
    name. Not masked are the names of the environment, stages and workloads, what follows the first
    32768 characters of a value, and numbers in JSON."""

    def swaps(self, workload: Workload) -> bool:
        """Whether its binary comes by a swap: profile `release` has it in the image."""
        return workload.swap is not None and self.profile == "loop"

    @property
    def root(self) -> Path:
        """The checkout: the folder of kindloop.yaml."""
        return self.path.parent

    @property
    def local(self) -> Path:
        """`.kindloop/` of the checkout: logs and build state."""
        return self.root / ".kindloop"
