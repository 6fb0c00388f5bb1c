"""What the daily verbs do: up, rebuild, down, restart, logs. Composed of the rooms above."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kindloop import (
    bake,
    cluster,
    host,
    images,
    manifests,
    process,
    report,
    rollout,
    stages,
    state,
    verify,
)
from kindloop.config import Config, Workload
from kindloop.errors import (
    CannotTell,
    ConfigError,
    KindloopError,
    RolloutFailed,
    ToolMissing,
    Unhealthy,
)
from kindloop.sources import baking, fetched, node_image_source, workload_base

__all__ = [
    "Deployed",
    "changing",
    "deploy",
    "diff",
    "down",
    "down_all",
    "ensure_cluster",
    "kubectl",
    "logs",
    "node_image_source",
    "plan_up",
    "rebuild",
    "require_ports",
    "restart",
    "setup",
    "smoke",
    "start",
    "stop",
    "up",
    "workload_images",
]


@dataclass(frozen=True)
class Deployed:
    """A workload after `deploy`: where it answers and how long its parts took, in seconds."""

    workload: str
    url: str
    image: str
    rollout_s: float
    answers_s: float


def up(config: Config, *, recreate: bool = False) -> list[Deployed]:
    """Make everything be there, from the cluster to answering URLs; does only what is missing."""
    engine = host.require_engine()
    with changing(config):
        ensure_cluster(config, recreate=recreate, platform=engine.platform, build=True)
        deployed = deploy(config, engine.platform)
    _farewell(config, deployed)
    return deployed


def rebuild(config: Config, *, clean: bool = False) -> list[Deployed]:
    """Build what is stale and roll it out. `clean` discards the stages' outputs first."""
    engine = host.require_engine()
    with changing(config):
        cluster.require(config)
        if clean:
            stages.clean(config, engine_platform=engine.platform)
        stages.build(config, engine_platform=engine.platform)
        return deploy(config, engine.platform)


def ensure_cluster(
    config: Config, *, platform: str, recreate: bool = False, build: bool = False
) -> None:
    """Make the cluster be there; with `build`, run the stages too, beside a bake if one is due."""
    host.require_kind()
    if not cluster.needs_image(config, recreate=recreate):
        cluster.ensure(config, None, recreate=recreate)
        if build:
            stages.build(config, engine_platform=platform)
        return
    require_ports(config)
    source = node_image_source(config)
    with baking(source) as finish:
        if build:
            stages.build(config, engine_platform=platform)
        finish()
    cluster.ensure(config, cluster.inspect_image(fetched(source)), recreate=recreate)


def deploy(config: Config, platform: str) -> list[Deployed]:
    """Images, manifests and rollout of every workload; ends when each URL answers from here."""
    plans = workload_images(config, platform)
    loaded = []
    for plan in plans.values():
        images.build(config, plan)
        if images.load(config, plan):
            loaded.append(plan)
    documents = _documents(config, {name: p.reference for name, p in plans.items()})
    with report.step("apply") as step:
        applied = manifests.apply(config, documents)
        step.note(f"{len(applied.changed)} objects")
    deployed = [_settle(config, w, plans[w.name].reference) for w in config.workloads.values()]
    for plan in loaded:
        images.prune(config, plan)
    return deployed


def workload_images(config: Config, platform: str) -> dict[str, images.ImagePlan]:
    """The image of each workload as its newest artifact and files make it."""
    return {
        workload.name: images.plan(
            config,
            workload,
            artifact=stages.artifact(config, workload, engine_platform=platform)
            if workload.image.artifact
            else None,
            base=workload_base(workload),
            platform=platform,
        )
        for workload in config.workloads.values()
    }


def diff(config: Config) -> str:
    """What `deploy` would change in the cluster, as a unified diff; empty when nothing."""
    cluster.require(config)
    plans = workload_images(config, host.require_engine().platform)
    return manifests.diff(
        config, _documents(config, {name: p.reference for name, p in plans.items()})
    )


def plan_up(config: Config) -> list[str]:
    """What `up` would do, a line each, without doing it."""
    engine = host.require_engine()
    facts = cluster.status(config)
    lines = [f"cluster {config.name}: {facts['state']}"]
    if cluster.needs_image(config):
        source = node_image_source(config)
        lines.append(f"  create it from {source.reference} ({source.how})")
        if source.how == "bake":
            lines.append(f"  {bake.explain(bake.remaining_s())}")
    for decision in stages.explain(config, engine_platform=engine.platform):
        verb = "run" if decision.stale else "keep"
        lines.append(f"stage {decision.stage}: {verb} ({decision.reason})")
    return lines + [
        f"workload {w.name}: apply {w.manifests.name}, {w.url}" for w in config.workloads.values()
    ]


def down(config: Config) -> bool:
    """Delete the cluster and its data, and this checkout's logs; caches and images stay."""
    with changing(config):
        gone = cluster.delete(config)
    for name in ("logs", "context", "render"):
        shutil.rmtree(config.local / name, ignore_errors=True)
    return gone


def stop(config: Config) -> None:
    """Stop the node; state and images are kept."""
    with changing(config):
        cluster.stop(config)


def start(config: Config) -> None:
    """Start a stopped node and wait until every workload answers."""
    with changing(config):
        if cluster.needs_image(config):
            cluster.require(config)  # there is no node to start: it says what to do
        cluster.ensure(config, None)
        for workload in config.workloads.values():
            _settle(config, workload, "")


def restart(config: Config, name: str = "") -> None:
    """Restart the pods of a workload (all when not named), and wait until it answers."""
    with changing(config):
        cluster.require(config)
        for workload in _named(config, name):
            rollout.restart(config, workload)
            _answers(workload)


def logs(config: Config, name: str = "", *, follow: bool = False, tail: int = 100) -> None:
    """Show the log lines of the workloads' pods, with the pod's name in front."""
    cluster.require(config)
    base = [*cluster.kubectl_argv(config), "logs", "--prefix", f"--tail={tail}", "--all-containers"]
    base += ["--follow"] if follow else []
    with ExitStack() as stack:
        children = {
            w.name: stack.enter_context(
                process.Child(
                    [*base, f"deployment/{w.name}"], on_line=lambda text, _: report.output(text)
                )
            )
            for w in _named(config, name)
        }
        failed = [w for w, child in children.items() if not child.wait().ok]
    if failed:
        raise CannotTell(
            f"the log of {', '.join(failed)} could not be read to its end", hint="invoke dev-status"
        )


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


def kubectl(config: Config, argv: Sequence[str]) -> int:
    """Run kubectl on this environment, its output as it comes; returns its exit code."""
    cluster.require(config)
    words = [*cluster.kubectl_argv(config), *argv]
    done = process.run(words, on_line=lambda text, _: report.output(text))
    return done.exit_code or 0


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


def down_all() -> None:
    """Delete every environment of this user that kindloop made."""
    gone = cluster.delete_all()
    report.output(f"deleted: {', '.join(gone) or 'nothing'}")


def _documents(config: Config, references: Mapping[str, str]) -> list[dict[str, object]]:
    folders: list[Path] = [config.core] if config.core else []
    folders += [w.manifests for w in config.workloads.values()]
    return manifests.render(config, list(dict.fromkeys(folders)), references)


def _settle(config: Config, workload: Workload, image: str) -> Deployed:
    rollout_s = rollout.wait(config, workload)
    return Deployed(workload.name, workload.url, image, rollout_s, _answers(workload))


def _answers(workload: Workload) -> float:
    """Wait for the URL itself: kube-proxy lags behind readiness by a second or two."""
    if not workload.url:
        return 0.0
    with report.step(f"{workload.name} answers") as step:
        step.note(workload.url)
        try:
            return verify.wait_answers(workload.url + workload.health, workload.ready_s)
        except Unhealthy as exc:
            raise RolloutFailed(
                f"{workload.name} is ready in the cluster, but {exc.message}",
                evidence=exc.evidence,
                why="its Service has another targetPort or selector, or not the nodePort that the "
                "kind configuration maps to this URL",
                hint="invoke k8s.kubectl -- get service,endpointslices -o wide",
            ) from exc


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
        raise KindloopError(
            "ports that the cluster needs are taken",
            evidence=lines,
            why="another program or environment listens there; kind can add no port later",
            hint="end it, or move this environment: KINDLOOP_PORT_OFFSET=100 invoke dev-up, "
            "or leave one out in kindloop.yaml: cluster.ports.<name>: off",
        )


def _farewell(config: Config, deployed: list[Deployed]) -> None:
    env = cluster.environment(config)
    for one in deployed:
        report.output(f"{one.workload}: {one.url}")
    report.output(f"export KUBECONFIG={env.kubeconfig}")
    report.output("next: edit a controller, then: invoke dev-rebuild")
