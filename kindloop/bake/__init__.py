"""Baking: the node image and the workload base, from packages, where no registry is reachable."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kindloop import process, report, state, tools
from kindloop.bake import oci
from kindloop.bake.assembly import assemble
from kindloop.bake.debian import rootfs_part
from kindloop.bake.node import (
    LABEL,
    base_part,
    image_tags,
    node_image,
    node_parts,
    recipe_digest,
)
from kindloop.bake.parts import Part, architecture, logs, make, plan, sweep
from kindloop.errors import BuildFailed, ConfigError, ToolMissing
from kindloop.versions import section

__all__ = [
    "LABEL",
    "bake_base",
    "bake_child",
    "bake_node",
    "base_reference",
    "explain",
    "image_present",
    "image_tags",
    "load",
    "node_image",
    "recipe_digest",
    "remaining_s",
    "save",
    "status",
]

ASSEMBLE_S = 45
"""Seconds to put the parts together on 2 cores: import, component images, commit."""
DISK_GB = float(section("bake_cost")["disk_gb"])
"""Free disk that a cold bake needs: Go modules, Go build cache, parts, images."""


def image_present(reference: str) -> bool:
    """Whether the engine has the image."""
    return tools.run("docker", "image", "inspect", reference, check=False, quiet=True).ok


def base_reference() -> str:
    """Reference of the workload base that a bake gives."""
    return f"kindloop/base:{base_part().digest}"


def remaining_s() -> float:
    """Estimate, in seconds on 2 cores, of what a bake of the node still takes."""
    if image_present(node_image()):
        return 0.0
    missing = plan([*node_parts(), base_part()])
    return sum(part.estimate_s for part in missing) + ASSEMBLE_S


def explain(left_s: float) -> str:
    """What a bake will take and why it is done: shown before it starts."""
    minutes = max(round(left_s / 60), 1)
    return (
        f"No image registry answers, so the node image is made from packages, once: "
        f"about {minutes} min on 2 cores, {DISK_GB:.0f} GB of free disk, "
        f"{section('bake_cost')['download_mb']} MB to download. "
        "Interrupted, it goes on where it stopped."
    )


def bake_node() -> str:
    """Make the node image unless the engine has it; returns its reference.

    Raises BuildFailed, ToolMissing; Locked never: a second bake waits for the first.
    """
    if image_present(node_image()):
        return node_image()
    with _bake_lock():
        if image_present(node_image()):
            return node_image()
        _require_tools()
        _make_all([*node_parts(), base_part()], after_s=ASSEMBLE_S)
        return assemble(logs() / "bake-node.log")


def bake_base() -> str:
    """Make the workload base image unless the engine has it; returns its reference."""
    if image_present(base_reference()):
        return base_reference()
    with _bake_lock():
        if image_present(base_reference()):
            return base_reference()
        _make_all([rootfs_part(), base_part()], after_s=0)
        archive = state.cache_home() / "work" / f"base-{base_part().digest}.tar"
        archive.parent.mkdir(parents=True, exist_ok=True)
        layer = base_part().folder / "layer.tar"
        labels = {LABEL: base_part().digest}
        spec = oci.ImageSpec(base_reference(), layer, architecture(), ["/bin/sh"], labels=labels)
        oci.write_archive(archive, [spec])
        tools.run("docker", "load", "--input", archive, timeout_s=120)
        archive.unlink()
        return base_reference()


def bake_child(what: str) -> process.Child:
    """Start a bake of "node" or "base" as a process of its own, so that it runs beside cargo.

    Its lines are shown as they come; the caller waits with `Child.wait` and checks the end.
    """
    argv = [sys.executable, "-m", "kindloop.bake", what]
    return process.Child(argv, on_line=lambda text, _stream: report.line(text))


def status() -> list[tuple[Part, bool]]:
    """Every part with whether it is finished."""
    return [(part, part.done) for part in [*node_parts(), base_part()]]


def save(file: Path) -> None:
    """Write node and base image into one archive that `load` reads on another machine."""
    references = [r for r in (node_image(), base_reference()) if image_present(r)]
    if not references:
        raise BuildFailed("there is nothing to save yet", hint="invoke bake.node")
    partial = file.with_name(f".{file.name}.partial")
    try:
        tools.run("docker", "save", "--output", partial, *references, timeout_s=600)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def load(file: Path) -> list[str]:
    """Load an archive of `save`; returns the references that this release can use."""
    if not file.is_file():
        raise ConfigError(
            f"{file} does not exist", hint="invoke bake.save FILE on the other machine"
        )
    tools.run("docker", "load", "--input", file, timeout_s=600)
    usable = [r for r in (node_image(), base_reference()) if image_present(r)]
    if not usable:
        raise ConfigError(
            f"{file} holds no image of this release ({node_image()})",
            why="it was saved by another version of kindloop",
            hint="save it again with the same version of kindloop",
        )
    return usable


def _make_all(parts: Sequence[Part], *, after_s: float) -> None:
    missing = plan(parts)
    for index, part in enumerate(missing):
        left = sum(p.estimate_s for p in missing[index:]) + after_s
        report.line(f"bake {part.name}: about {_minutes(part.estimate_s)}, {_minutes(left)} left")
        make(part)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _require_tools() -> None:
    needed = {
        "go": "compiles Kubernetes",
        "gcc": "compiles pause",
        "mmdebstrap": "makes the node's file system",
    }
    missing = [f"{tool}: {why}" for tool, why in needed.items() if tools.find(tool) is None]
    if missing:
        raise ToolMissing(
            "baking needs tools that are not here",
            evidence=missing,
            why="no image registry answers, so the node image is made from packages",
            hint="scripts/dev-setup.sh",
        )


@contextmanager
def _bake_lock() -> Iterator[None]:
    """One bake at a time on this machine: checkouts and tests share the cache."""
    state.cache_home().mkdir(parents=True, exist_ok=True)
    with state.lock(state.cache_home() / "bake.lock", "the bake", wait_s=3600):
        sweep()
        shutil.rmtree(state.cache_home() / "work", ignore_errors=True)
        yield
