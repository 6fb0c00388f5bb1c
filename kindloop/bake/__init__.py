"""Baking: images of node, workload base and components, where no registry is reachable."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kindloop import process, report, state, tools
from kindloop.bake import observability, oci
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
from kindloop.bake.observability import BAKED
from kindloop.bake.parts import Part, architecture, logs, make, plan, sweep
from kindloop.errors import BuildFailed, ConfigError, ToolFailed, ToolMissing
from kindloop.versions import section

__all__ = [
    "BAKED",
    "LABEL",
    "bake_base",
    "bake_child",
    "bake_components",
    "bake_node",
    "base_reference",
    "component_reference",
    "components_remaining_s",
    "explain",
    "image_present",
    "image_tags",
    "images_present",
    "load",
    "load_archive",
    "node_image",
    "promtool",
    "recipe_digest",
    "remaining_s",
    "save",
    "save_archive",
    "status",
    "status_json",
]

ASSEMBLE_S = 45
"""Seconds to put the parts together on 2 cores: import, component images, commit."""
LOAD_S = 10
"""Seconds to load the image of one component into the engine."""
DISK_GB = float(section("bake_cost")["disk_gb"])
"""Free disk that a cold bake needs: Go modules, Go build cache, parts, images."""
TOOLS = {
    "go": "compiles Kubernetes, Jaeger and the collector",
    "gcc": "compiles pause",
    "mmdebstrap": "unpacks Debian packages",
}
"""What baking needs, and for what."""


def image_present(reference: str) -> bool:
    """Whether the engine has the image."""
    return tools.run("docker", "image", "inspect", reference, check=False, quiet=True).ok


def images_present(references: Sequence[str]) -> set[str]:
    """Which of the images the engine has; one call for all."""
    if not references:
        return set()
    found = tools.run(
        "docker", "image", "inspect", "--format={{json .RepoTags}}", *references,
        check=False, quiet=True,
    )  # fmt: skip
    # docker prints an empty line where it finds none of them.
    lines = filter(None, found.stdout.splitlines())
    tags = {tag for line in lines for tag in json.loads(line) or ()}
    return tags & set(references)


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
        _require_tools(TOOLS)
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


def component_reference(name: str) -> str:
    """Reference of the image that a bake of this component (a key of BAKED) gives."""
    return observability.reference(name)


def promtool() -> Path | None:
    """Debian's promtool for this machine; None before Prometheus is baked."""
    found = observability.promtool()
    return found if found.is_file() else None


def components_remaining_s(names: Iterable[str]) -> float:
    """Estimate, in seconds on 2 cores, of what a bake of these components still takes."""
    wanted = {component_reference(name): name for name in names}
    missing = [wanted[r] for r in wanted.keys() - images_present(list(wanted))]
    left = plan([observability.part(name) for name in missing])
    return sum(part.estimate_s for part in left) + LOAD_S * len(missing)


def bake_components(names: Sequence[str]) -> dict[str, str]:
    """Make the images of these components unless the engine has them; reference by name.

    Raises BuildFailed, ToolMissing; a bake that runs already is waited for.
    """
    made = {name: component_reference(name) for name in names}
    if images_present(list(made.values())) == set(made.values()):
        return made
    with _bake_lock():
        there = images_present(list(made.values()))
        missing = [name for name, reference in made.items() if reference not in there]
        parts = [observability.part(name) for name in missing]
        needed = {tool for part in plan(parts) for tool in observability.tools_of(part.name)}
        _require_tools({tool: why for tool, why in TOOLS.items() if tool in needed})
        _make_all(parts, after_s=LOAD_S * len(missing))
        for name in missing:
            with report.step(f"load image of {name}"):
                observability.assemble(name)
    return made


def bake_child(*what: str) -> process.Child:
    """Start a bake of "node", "base" or components as a process of its own, beside cargo.

    Its lines are shown as they come; the caller waits with `Child.wait` and checks the end.
    """
    argv = [sys.executable, "-m", "kindloop.bake", *what]
    return process.Child(argv, on_line=lambda text, _stream: report.line(text))


def status() -> list[tuple[Part, bool]]:
    """Every part with whether it is finished."""
    parts = [*node_parts(), base_part(), *observability.parts()]
    return [(part, part.done) for part in parts]


def status_json() -> dict[str, Any]:
    """The same as a document: the parts, and an estimate in seconds of what is left."""
    parts = [
        {
            "name": part.name,
            "what": part.what,
            "estimate_s": part.estimate_s,
            "done": done,
            "folder": str(part.folder),
        }
        for part, done in status()
    ]
    return {"schema": 1, "parts": parts, "left_s": remaining_s()}


def save(file: Path) -> None:
    """Write node and base image into one archive that `load` reads on another machine."""
    references = [r for r in (node_image(), base_reference()) if image_present(r)]
    if not references:
        raise BuildFailed("there is nothing to save yet", hint="invoke bake.node")
    save_archive(file, references)


def save_archive(file: Path, references: Sequence[str]) -> None:
    """Write images into one archive, whole or not at all. Raises ConfigError, BuildFailed."""
    if not file.parent.is_dir():
        raise ConfigError(f"{file.parent} is no folder", hint=f"mkdir -p {file.parent}")
    partial = file.with_name(f".{file.name}.partial")
    try:
        tools.run("docker", "save", "--output", partial, *references, timeout_s=1800)
        partial.replace(file)
    except (ToolFailed, OSError) as exc:
        raise BuildFailed(
            f"{file} could not be written",
            evidence=exc.evidence if isinstance(exc, ToolFailed) else [str(exc)],
            why="the disk is full, or the folder belongs to somebody else",
            hint=f"df -h {file.parent}; then the same command again",
        ) from exc
    finally:
        partial.unlink(missing_ok=True)


def load(file: Path) -> list[str]:
    """Load an archive of `save`; returns the references that this release can use."""
    load_archive(file)
    usable = [r for r in (node_image(), base_reference()) if image_present(r)]
    if not usable:
        raise ConfigError(
            f"{file} holds no image of this release ({node_image()})",
            why="it was saved by another version of kindloop",
            hint="save it again with the same version of kindloop",
        )
    return usable


def load_archive(file: Path) -> list[str]:
    """Load every image of an archive; references, or `sha256:` ids where there is no name."""
    if not file.is_file():
        raise ConfigError(
            f"{file} does not exist", hint="invoke image.save FILE on the other machine"
        )
    try:
        said = tools.run("docker", "load", "--input", file, timeout_s=1800).stdout
    except ToolFailed as exc:
        raise ConfigError(
            f"{file} cannot be loaded",
            evidence=exc.evidence,
            why="it is no archive of images (docker save makes them), it was cut short on its "
            "way, or the disk is full",
            hint=f"tar -tf {file}; compare its size with that on the other machine",
        ) from exc
    return re.findall(r"^Loaded image(?: ID)?: (\S+)$", said, re.MULTILINE)


def _make_all(parts: Sequence[Part], *, after_s: float) -> None:
    missing = plan(parts)
    for index, part in enumerate(missing):
        left = sum(p.estimate_s for p in missing[index:]) + after_s
        report.line(f"bake {part.name}: about {_minutes(part.estimate_s)}, {_minutes(left)} left")
        make(part)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _require_tools(needed: Mapping[str, str]) -> None:
    missing = [f"{tool}: {why}" for tool, why in needed.items() if tools.find(tool) is None]
    if missing:
        raise ToolMissing(
            "baking needs tools that are not here",
            evidence=missing,
            why="no image registry answers, so images are made from packages",
            hint=tools.SETUP if tools.HAS_SETUP else "invoke dev-doctor",
        )


@contextmanager
def _bake_lock() -> Iterator[None]:
    """One bake at a time on this machine: checkouts and tests share the cache."""
    state.cache_home().mkdir(parents=True, exist_ok=True)
    with state.lock(state.cache_home() / "bake.lock", "the bake", wait_s=3600):
        sweep()
        shutil.rmtree(state.cache_home() / "work", ignore_errors=True)
        yield
