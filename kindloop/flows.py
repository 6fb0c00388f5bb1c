"""What the daily verbs do: up, rebuild, down, restart, logs. Composed of the rooms above."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kindloop import (
    apiserver,
    bake,
    cluster,
    deploying,
    host,
    manifests,
    observing,
    process,
    report,
    rollout,
    stages,
    state,
    swapenv,
    verify,
)
from kindloop.clusterfacts import Environment, owner_of
from kindloop.config import Config, Workload
from kindloop.deploying import Deployed
from kindloop.errors import (
    ConfigError,
    KindloopError,
    ToolFailed,
    ToolMissing,
)
from kindloop.sources import baking, fetched, node_image_source
from kindloop.swap import Desk
from kindloop.upplan import NodeSource, ToApply, UpPlan

__all__ = [
    "Deployed",
    "changing",
    "diff",
    "down",
    "ensure_cluster",
    "node_image_source",
    "observe",
    "plan_up",
    "rebuild",
    "require_ports",
    "restart",
    "setup",
    "smoke",
    "start",
    "stop",
    "up",
]


def up(
    config: Config, *, recreate: bool = False, watching: bool = False, wait_all: bool = False
) -> list[Deployed]:
    """Make everything be there, from the cluster to answering URLs; does only what is missing.

    The application comes first: what of the observability stack takes longer goes on after the
    return, and what fails of it is a warning. With `wait_all` it is waited for, and raised.
    `watching` says that a watch follows, so that the farewell does not send for it.
    """
    engine = host.require_engine()
    with changing(config):
        ensure_cluster(config, recreate=recreate, platform=engine.platform, build=True)
        deployed = deploying.deploy(swapenv.bringing(config), engine.platform)
        swapenv.remember(config)
        observe(config, wait_all=wait_all)
    if wait_all:
        observing.wait(config)
    _farewell(config, deployed, watching=watching)
    return deployed


def observe(config: Config, *, wait_all: bool = False) -> None:
    """Have the observability stack be as the settings say; see `up`."""
    try:
        observing.bring(config, here=wait_all)
    except ConfigError:
        raise
    except KindloopError as exc:
        if wait_all:
            raise
        report.warn(f"observability: {exc}")


def rebuild(config: Config, *, clean: bool = False, image: bool = False) -> list[Deployed]:
    """Build what is stale and serve it: by a swap, or by image and rollout where that must be.

    `clean` discards the stages' outputs first; `image` puts the binary into the image.
    """
    engine = host.require_engine()
    with changing(config), Desk(config) as desk:
        cluster.require(config)
        if clean:
            stages.clean(config, engine_platform=engine.platform)
        stages.build(config, engine_platform=engine.platform)
        planned = deploying.plan(config, engine.platform, desk, with_binary=image)
        why = deploying.why_rollout(config, planned)
        if not why:
            return deploying.swap_all(config, engine.platform, desk)
        report.line(f"image and rollout instead of a swap: {why}")
        return deploying.deploy(config, engine.platform, planned=planned)


def ensure_cluster(
    config: Config, *, platform: str, recreate: bool = False, build: bool = False
) -> None:
    """Make the cluster be there; with `build`, run the stages too, beside a bake if one is due."""
    host.require_kind()
    if not cluster.needs_image(config, recreate=recreate):
        _ensure_there(config)
        if build:
            stages.build(config, engine_platform=platform)
        return
    require_ports(config)
    # What is replaced, or half made, may have a process that still brings its stack.
    _end_observing(config)
    source = node_image_source(config)
    with baking(source) as finish:
        if build:
            stages.build(config, engine_platform=platform)
        finish()
    cluster.ensure(config, cluster.inspect_image(fetched(source)), recreate=recreate)


def _ensure_there(config: Config) -> None:
    """Start the node if it is stopped; tell who has a port that it had before."""
    try:
        cluster.ensure(config, None)
    except ToolFailed as exc:
        if exc.argv[:2] == ("docker", "start"):
            require_ports(config)
        raise


def diff(config: Config) -> str:
    """What `deploy` would change in the cluster, as a unified diff; empty when nothing."""
    cluster.require(config)
    with Desk(config) as desk, apiserver.connect(config):
        planned = deploying.plan(config, host.require_engine().platform, desk)
    return manifests.diff(config, planned.documents)


def plan_up(config: Config) -> UpPlan:
    """What `up` would do, without doing it."""
    engine = host.require_engine()
    facts = cluster.status(config)
    node = None
    if cluster.needs_image(config):
        source = node_image_source(config)
        left_s = bake.remaining_s() if source.how == "bake" else 0.0
        node = NodeSource(source.reference, source.how, left_s)
    return UpPlan(
        config.name,
        facts["state"],
        node,
        tuple(stages.explain(config, engine_platform=engine.platform)),
        tuple(ToApply(w.name, w.manifests.name, w.url) for w in config.workloads.values()),
        tuple(observing.explain(config)),
    )


def down(config: Config) -> bool:
    """Delete the cluster and its data, and this checkout's logs; caches and images stay."""
    with changing(config):
        _end_observing(config)
        gone = cluster.delete(config)
    for name in ("logs", "context", "render", "render-observability"):
        shutil.rmtree(config.local / name, ignore_errors=True)
    return gone


def stop(config: Config) -> None:
    """Stop the node; state and images are kept."""
    with changing(config):
        _end_observing(config)
        cluster.stop(config)


def start(config: Config) -> None:
    """Start a stopped node and wait until every workload answers."""
    with changing(config):
        if cluster.needs_image(config):
            cluster.require(config)  # there is no node to start: it says what to do
        _ensure_there(config)
        for workload in config.workloads.values():
            rollout.wait(config, workload)
            deploying.answers(config, workload)
        stack = observing.read(config)
        if stack and not stack.applied:  # `stop` has ended what brought it
            observe(replace(config, observability=stack.level, resources=stack.resources))


def restart(config: Config, name: str = "") -> None:
    """Restart the pods of a workload (all when not named), and wait until it answers."""
    with changing(config), Desk(config) as desk:
        cluster.require(config)
        for workload in _named(config, name):
            deploying.restart(config, workload, desk)


def smoke(config: Config, *, only: str | None = None) -> list[verify.Report]:
    """Call every operation of every workload's OpenAPI document; the caller judges the reports."""
    reports = [
        verify.smoke(workload.url, workload.openapi, only=only)
        for workload in config.workloads.values()
        if workload.openapi is not None
    ]
    if not reports:
        raise ConfigError(
            "no workload names an OpenAPI document",
            hint="set workloads.<name>.openapi in kindloop.yaml",
        )
    return reports


def setup(root: Path, *, yes: bool) -> None:
    """Run the machine's set-up script of this checkout."""
    script = root / "scripts" / "dev-setup.sh"
    if not script.exists():
        raise ConfigError(
            f"{root} has no scripts/dev-setup.sh",
            hint="invoke dev-doctor (shows what is missing and how to get it)",
        )
    argv: list[str | Path] = [script, *(["--yes"] if yes else [])]
    done = process.run(argv, cwd=root, on_line=lambda text, _: report.output(text))
    if not done.ok:
        raise ToolMissing("the set-up did not finish", hint=str(script))


def _named(config: Config, name: str) -> list[Workload]:
    if name and name not in config.workloads:
        raise ConfigError(
            f"there is no workload {name}", hint=f"one of: {', '.join(config.workloads)}"
        )
    return [w for w in config.workloads.values() if name in ("", w.name)]


@contextmanager
def changing(config: Config) -> Iterator[None]:
    """Hold the environment: two commands that change it would undo each other's work."""
    with state.lock(cluster.environment(config).lock_file, f"environment {config.name}"):
        yield


def require_ports(config: Config) -> None:
    """Raise KindloopError when another program listens on a port that the cluster needs."""
    # A node of ours that is about to be replaced has them: a half-created one, or --recreate.
    own = f"container {cluster.environment(config).node}"
    taken = [p for p in host.ports_taken(config.cluster.host_ports()) if p.by != own]
    if taken:
        lines = [f"127.0.0.1:{p.port} ({p.name}) is taken by {p.by}" for p in taken]
        by = {f"container {Environment(name).node}": name for name in Environment.names()}
        end = f"invoke dev-stop {by[taken[0].by]}" if taken[0].by in by else "end it"
        other = f"KINDLOOP_PORT_OFFSET={config.cluster.port_offset + 100}"
        raise KindloopError(
            "ports that the cluster needs are taken",
            evidence=lines,
            why="another program or environment listens there; kind can add no port later",
            hint=f"{end}, or move this environment: {other} invoke dev-up, or leave one out in "
            "kindloop.yaml: cluster.ports.<name>: off",
        )


def _end_observing(config: Config) -> None:
    """End what still brings the stack, unless the environment is another checkout's."""
    environment = cluster.environment(config)
    owner = owner_of(environment)
    if owner and owner.checkout == str(config.root):
        observing.end(environment)


def _farewell(config: Config, deployed: list[Deployed], *, watching: bool) -> None:
    env = cluster.environment(config)
    for one in deployed:
        report.output(f"{one.workload}: {one.url or 'in the cluster only'}")
    if observing.read(config):
        with apiserver.connect(config) as api:
            for part in observing.look(config, api):
                report.output(f"{part.name}: {observing.line(part)}")
    report.output(f"export KUBECONFIG={env.kubeconfig}")
    if not watching:
        report.output("next: invoke dev-watch")
