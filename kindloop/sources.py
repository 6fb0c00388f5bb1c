"""Where images that we do not build come from: here already, pulled by digest, or baked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kindloop import bake, host, process, report, state, tools
from kindloop.config import Config, Workload
from kindloop.errors import BuildFailed, KindloopError, ToolFailed
from kindloop.versions import section

__all__ = ["Source", "baking", "fetched", "node_image_source", "tagged", "workload_base"]


@dataclass(frozen=True)
class Source:
    """Where the node image comes from: it is `local`, or will be a `pull` or a `bake`."""

    reference: str
    how: str


def node_image_source(config: Config) -> Source:
    """Where the node image will come from; asks engine and registry, changes nothing."""
    wanted = config.cluster.node_image
    if wanted != "auto":
        return Source(wanted, "local" if bake.image_present(wanted) else "pull")
    pulled = section("node")["image"]
    for reference in (bake.node_image(), pulled):
        if bake.image_present(reference):
            return Source(reference, "local")
    if host.registry_reachable():
        return Source(pulled, "pull")
    # An archive keeps tags but no digests: what it brought is there by its tag alone.
    if bake.image_present(tagged(pulled)):
        return Source(tagged(pulled), "local")
    return Source(bake.node_image(), "bake")


def tagged(reference: str) -> str:
    """A pinned reference without its digest: `repository:tag`."""
    return reference.partition("@")[0]


@contextmanager
def baking(source: Source) -> Iterator[Callable[[], object]]:
    """Bake beside what the body does; calling the value waits for the bake."""
    if source.how != "bake":
        yield lambda: None
        return
    host.require_disk(state.cache_home(), bake.DISK_GB, "a bake of the node image")
    report.line(bake.explain(bake.remaining_s()))
    with bake.bake_child("node") as child:

        def finish() -> None:
            done = child.wait()
            if not done.ok:
                raise _bake_failed(done)

        yield finish


def fetched(source: Source) -> str:
    """Pull the image if that is how it comes; returns its reference. Raises BuildFailed."""
    if source.how == "pull":
        with report.step(f"pull {tagged(source.reference)}"):
            _pull(source.reference)
    return source.reference


def workload_base(workload: Workload) -> str:
    """Reference of the base image, by digest, present in the engine."""
    wanted = workload.image.base
    if wanted != "auto":
        if not bake.image_present(wanted):
            _pull(wanted)
        return wanted
    alpine = section("workload")["alpine"]
    for reference in (bake.base_reference(), alpine):
        if bake.image_present(reference):
            return reference
    if host.registry_reachable():
        with report.step(f"pull {tagged(alpine)}"):
            _pull(alpine)
        return alpine
    if bake.image_present(tagged(alpine)):
        return tagged(alpine)
    return bake.bake_base()


def _pull(reference: str) -> None:
    try:
        tools.run("docker", "pull", "--quiet", reference, timeout_s=900)
        if "@" in reference and not bake.image_present(tagged(reference)):
            # Pulled by digest it has no tag, and an archive would keep no name of it.
            name, _, digest = reference.partition("@")
            tools.run("docker", "tag", f"{_repository(name)}@{digest}", name)
    except ToolFailed as exc:
        raise BuildFailed(
            f"image {reference} cannot be pulled",
            evidence=exc.evidence,
            why="the registry does not answer or does not have it",
            hint="invoke dev-doctor; or bring images along: invoke image.load FILE",
        ) from exc


def _repository(name: str) -> str:
    """A name without its tag; a colon before a slash is that of a registry's port."""
    head, _, tail = name.rpartition(":")
    return name if not head or "/" in tail else head


def _bake_failed(done: process.Completed) -> KindloopError:
    lines = [line for line in done.tail if line.strip()]
    start = next((i for i, line in enumerate(lines) if line.startswith("error:")), len(lines))
    return BuildFailed(
        "the node image could not be baked",
        evidence=lines[start:][-14:] or lines[-5:],
        hint="invoke bake.node (goes on where it stopped)",
    )
