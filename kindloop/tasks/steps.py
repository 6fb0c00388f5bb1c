"""The single steps that the daily verbs are made of: cluster, bake, build, image, k8s, test."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit

from kindloop import (
    archives,
    bake,
    cluster,
    deploying,
    flows,
    host,
    images,
    kubectl_call,
    report,
    stages,
)
from kindloop.config import Config
from kindloop.errors import ConfigError
from kindloop.tasks._task import DevTask, load, show, task

__all__ = ["BAKE", "CLUSTER", "IMAGE", "K8S", "TEST", "build_tasks"]

BUILD: Mapping[str, str] = {
    "why": "tell of each stage whether it is stale and why, and build nothing",
    "force": "run the stages also when they are up to date",
    "clean": "remove their outputs first",
    "json": "print what --why tells as one JSON document",
}
BUILD_CODES = (3, 5, 7, 8, 9)


@task(
    "ensure",
    flags={"recreate": "delete the cluster with its data first"},
    codes=(5, 6, 7, 8, 9),
)
def cluster_ensure(c: Context, recreate: bool = False, verbose: bool = False) -> None:
    """Make the cluster be there and answer."""
    config = load(verbose=verbose)
    platform = host.require_engine().platform
    with flows.changing(config):
        flows.ensure_cluster(config, platform=platform, recreate=recreate)


@task("status", codes=(7,), document="cluster")
def cluster_status(c: Context, json: bool = False) -> None:
    """Show the cluster's state; exit 1 unless it answers."""
    config = load(json=json)
    host.require_engine()
    facts = cluster.status(config)
    if json:
        report.data({"schema": 1, **facts})
    else:
        report.output("\n".join(f"{key}: {value}" for key, value in facts.items()))
    if not facts["healthy"]:
        raise Exit(code=1)


@task("delete", codes=(7, 8, 9))
def cluster_delete(c: Context, verbose: bool = False) -> None:
    """Delete the cluster and its data."""
    flows.down(load(verbose=verbose))


@task("node", codes=(5, 7, 8))
def bake_node(c: Context, verbose: bool = False) -> None:
    """Make the node image from packages; resumes."""
    show(verbose=verbose)
    host.require_engine()
    report.output(bake.bake_node())


@task("base", codes=(5, 7, 8))
def bake_base(c: Context, verbose: bool = False) -> None:
    """Make the workload base image from packages."""
    show(verbose=verbose)
    host.require_engine()
    report.output(bake.bake_base())


@task("status", document="bake")
def bake_status(c: Context, json: bool = False) -> None:
    """Show the parts of the bake and what is left."""
    show(json=json)
    if json:
        report.data(bake.status_json())
        return
    rows = [
        f"{'✓' if done else '·'} {part.name:<24} {part.what:<28} "
        f"{part.estimate_s:>4.0f} s  {part.folder}"
        for part, done in bake.status()
    ]
    report.output("\n".join(rows))
    report.output(f"left: about {bake.remaining_s():.0f} s")


@task("save", flags={"file": "the archive to write"}, codes=(5, 7))
def bake_save(c: Context, file: str, verbose: bool = False) -> None:
    """Write the baked images into one archive."""
    show(verbose=verbose)
    bake.save(Path(file))
    report.output(file)


@task("load", flags={"file": "an archive of bake.save"}, codes=(7,))
def bake_load(c: Context, file: str, verbose: bool = False) -> None:
    """Load baked images from an archive of bake.save."""
    show(verbose=verbose)
    report.output("\n".join(bake.load(Path(file))))


@task("build", default=True, codes=(5, 7, 8))
def image_build(c: Context, verbose: bool = False) -> None:
    """Build the workloads' images from the newest artifacts."""
    for config, plan in _images(verbose=verbose, node=False):
        built = images.build(config, plan)
        report.output(f"{plan.reference} {'built' if built else 'was there'}")


@task(
    "save",
    words="names",
    flags={
        "file": "the archive to write",
        "names": "images to write: node, base, a component or a workload; all where none is named",
    },
    codes=(5, 7),
)
def image_save(
    c: Context, file: str, names: list[str] | None = None, verbose: bool = False
) -> None:
    """Write images into one archive: image.save FILE [NAME...].

    NAME is node, base, a component of the observability stack or a workload; without any, all
    that are there.
    """
    config = load(verbose=verbose)
    host.require_engine()
    for each in archives.save(config, Path(file), names or ()):
        report.output(f"{each.name:<14} {each.reference}")


@task(
    "load",
    word="file",
    flags={"file": "an archive of image.save or docker save"},
    codes=(3, 5, 7, 8, 9),
)
def image_load(c: Context, file: str = "", verbose: bool = False) -> None:
    """Load images into the node, or those of FILE here.

    Without FILE: the workloads' images, into the node. With FILE, an archive of image.save or
    docker save: into the engine; each image is told what it is for. Grafana comes so where no
    registry answers.
    """
    if file:
        _load_archive(Path(file), verbose=verbose)
        return
    for config, plan in _images(verbose=verbose):
        loaded = images.load(config, plan)
        report.output(f"{plan.reference} {'loaded' if loaded else 'was there'}")


def _load_archive(file: Path, *, verbose: bool) -> None:
    config = load(verbose=verbose)
    host.require_engine()
    for one in archives.load(config, file):
        told = one.purpose or f"of no use here: {one.useless}"
        report.output(f"{one.reference}  {told}")


@task("prune", codes=(3, 5, 7, 8, 9))
def image_prune(c: Context, verbose: bool = False) -> None:
    """Remove our images beyond the newest two."""
    for config, plan in _images(verbose=verbose):
        for reference in images.prune(config, plan):
            report.output(f"removed {reference}")


def _images(*, verbose: bool, node: bool = True) -> Iterator[tuple[Config, images.ImagePlan]]:
    """Each workload's image, with the environment held; with `node`, the cluster must be there."""
    config = load(verbose=verbose)
    platform = host.require_engine().platform
    with flows.changing(config):
        if node:
            cluster.require(config)
        for plan in deploying.workload_images(config, platform).values():
            yield config, plan


@task("diff", codes=(3, 5, 7, 9), document="diff")
def k8s_diff(c: Context, json: bool = False, verbose: bool = False) -> None:
    """Show what an apply would change."""
    found = flows.diff(load(verbose=verbose, json=json))
    if json:
        report.data({"schema": 1, "differs": bool(found), "diff": found})
    else:
        report.output(found or "no difference")


@task("apply", codes=(3, 4, 5, 6, 7, 8, 9))
def k8s_apply(c: Context, verbose: bool = False) -> None:
    """Apply the manifests and wait for the rollout."""
    config = load(verbose=verbose)
    platform = host.require_engine().platform
    with flows.changing(config):
        cluster.require(config)
        deploying.deploy(config, platform)


@task("kubectl", codes=(3, 7, 9))
def k8s_kubectl(c: Context) -> None:
    """Run kubectl on this environment: k8s.kubectl -- ARGS.

    Standard input is kubectl's, as for apply -f -, and its lines are shown masked. At a terminal,
    exec -it, edit and what else asks the user have that terminal: nothing is masked there. Once
    kubectl runs, the exit code is its own.
    """
    config = load(json=True)  # standard output is kubectl's alone
    # Invoke joins what follows "--" into one string; the words themselves keep their spaces.
    argv = sys.argv
    words = argv[argv.index("--") + 1 :] if "--" in argv else shlex.split(c.remainder)
    if not words:
        raise ConfigError("no arguments", hint="invoke k8s.kubectl -- get pods")
    raise Exit(code=kubectl_call.run(config, words))


@task("curl", flags={"only": "one operation, by its operationId"}, codes=(7,), document="curl")
def test_curl(c: Context, only: str = "", json: bool = False, verbose: bool = False) -> None:
    """Call every operation of the service with curl.

    --only takes an operationId. Exit 1 names what failed, with the curl command to copy.
    """
    reports = flows.smoke(load(verbose=verbose, json=json), only=only or None)
    if json:
        report.data({"schema": 1, "reports": [asdict(found) for found in reports]})
    for found in reports:
        found.raise_if_failed()


CLUSTER = (cluster_ensure, cluster_status, cluster_delete)
BAKE = (bake_node, bake_base, bake_status, bake_save, bake_load)
IMAGE = (image_build, image_load, image_save, image_prune)
K8S = (k8s_diff, k8s_apply, k8s_kubectl)
TEST = (test_curl,)


def build_tasks(config: Config | None, stages: Iterable[str] = ()) -> list[DevTask[..., Any]]:
    """`build` for all stages, and one task for each of `stages` or that kindloop.yaml names."""
    return [_build_all(), *(_build_one(name) for name in (config.stages if config else stages))]


def _build_all() -> DevTask[..., Any]:
    @task("all", default=True, flags=BUILD, codes=BUILD_CODES, document="stages")
    def build_all(  # noqa: PLR0917 - Invoke gives all of them by name
        c: Context,
        why: bool = False,
        force: bool = False,
        clean: bool = False,
        json: bool = False,
        verbose: bool = False,
    ) -> None:
        """Build every stage that is stale; --why tells why."""
        _build(None, why=why, force=force, clean=clean, json=json, verbose=verbose)

    return build_all


def _build_one(name: str) -> DevTask[..., Any]:
    def body(  # noqa: PLR0917 - as above
        c: Context,
        why: bool = False,
        force: bool = False,
        clean: bool = False,
        json: bool = False,
        verbose: bool = False,
    ) -> None:
        _build([name], why=why, force=force, clean=clean, json=json, verbose=verbose)

    body.__doc__ = f"Build stage {name} and what it needs; --why tells why."
    return task(name, flags=BUILD, codes=BUILD_CODES, document="stages")(body)


def _build(
    names: list[str] | None, *, why: bool, force: bool, clean: bool, json: bool, verbose: bool
) -> None:
    config = load(verbose=verbose, json=json)
    if json and not why:
        raise ConfigError("--json tells why, and builds nothing", hint="invoke build --why --json")
    platform = host.require_engine().platform
    if why:
        _explain(list(stages.explain(config, names, engine_platform=platform)), json=json)
        return
    if clean:
        stages.clean(config, names, engine_platform=platform)
    stages.build(config, names, engine_platform=platform, force=force)


def _explain(decisions: list[stages.Decision], *, json: bool) -> None:
    if json:
        report.data({"schema": 1, "stages": [asdict(one) for one in decisions]})
        return
    for one in decisions:
        report.output(f"{one.stage}: {'stale' if one.stale else 'fresh'}, {one.reason}")
