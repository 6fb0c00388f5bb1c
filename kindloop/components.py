"""Components of the observability stack: where their images come from and what each lacks.

An image is here already, pulled by digest, made from packages, or brought in an archive.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kindloop import bake, host, images, report, sources, state, tools
from kindloop.config import Config
from kindloop.errors import ConfigError
from kindloop.versions import section

__all__ = [
    "COMPONENTS",
    "How",
    "Prepared",
    "bring",
    "candidates",
    "decide",
    "load",
    "look",
    "prepare",
    "promtool",
    "to_load",
]

COMPONENTS = ("prometheus", "alertmanager", "collector", "jaeger", "grafana")
"""Every component, in the order in which they are started."""
DISK_GB = 4.0
"""Free disk that a cold bake of all needs: 2.7 GB of Go's caches, parts and images."""

How = Literal["local", "pull", "bake", "archive", "missing", "absent"]
"""`local`: it was here. `pull`, `bake`: it came so, just now. `archive`: a user brought it.
`missing` (of `look` only): the next `prepare` gets it. `absent`: it cannot be had here."""


@dataclass(frozen=True)
class Prepared:
    """The image of a component, or why there is none."""

    name: str
    reference: str
    """Empty where it is `absent`; where it is `missing`, that of a bake."""
    how: How
    api_only: bool = False
    """Whether it was built without its web page."""
    note: str = ""
    """One line for the user; empty where there is nothing to say."""
    estimate_s: float = 0.0
    """Seconds on 2 cores that a bake of what is `missing` takes."""


def candidates(name: str) -> list[str]:
    """References that serve as this component, the preferred one first."""
    found = [bake.component_reference(name)] if name in bake.BAKED else []
    brought = _brought().get(name)
    found += [brought] if brought else []
    return [*found, sources.tagged(section("observability")[name])]


def look(names: Iterable[str]) -> dict[str, Prepared]:
    """What `prepare` would find, by name; asks the engine once and no registry."""
    return _decided(names, lambda: None)


def prepare(names: Iterable[str]) -> dict[str, Prepared]:
    """Make the images of these components be in the engine, by name.

    Where no registry answers, the missing ones are made from packages: minutes. What cannot be
    had is `absent`, no error. Raises BuildFailed, ToolMissing, ConfigError for unknown names.
    """
    found = _decided(names, host.registry_reachable)
    for one in found.values():
        if one.how == "pull":
            sources.fetched(sources.Source(section("observability")[one.name], "pull"))
    baked = [one.name for one in found.values() if one.how == "bake"]
    if baked:
        left_s = bake.components_remaining_s(baked)
        host.require_disk(state.cache_home(), DISK_GB, "a bake of the observability components")
        verb = "is" if len(baked) == 1 else "are"
        report.line(
            f"No image registry answers, so {', '.join(baked)} {verb} made from packages, once: "
            f"about {max(round(left_s / 60), 1)} min on 2 cores."
        )
        bake.bake_components(baked)
    return found


def load(config: Config, prepared: Iterable[Prepared]) -> list[str]:
    """Bring images into the node unless it has them; returns the references that were brought."""
    missing = to_load(config, prepared)
    if missing:
        with report.step(f"load {len(missing)} images into the node"):
            images.load_references(config, missing)
    return missing


def to_load(config: Config, prepared: Iterable[Prepared]) -> list[str]:
    """References that the engine has and the node lacks."""
    wanted = [p.reference for p in prepared if p.how not in ("missing", "absent")]
    there = {_familiar(reference) for reference in images.in_node(config)} if wanted else set()
    return [reference for reference in wanted if _familiar(reference) not in there]


def bring(name: str, reference: str) -> None:
    """Remember which image of an archive serves as this component, for all environments."""
    state.write_json(_record(), {**_brought(), name: _familiar(reference)})


def promtool() -> Path | None:
    """A promtool that runs on this machine: Debian's of a bake, one of its own, or the image's.

    None where there is none: `prepare(["prometheus"])` gets one on Linux.
    """
    if platform.system() != "Linux":
        return tools.find("promtool")
    return bake.promtool() or tools.find("promtool") or _promtool_of_image()


def decide(
    name: str,
    present: Iterable[str],
    brought: str,
    registry: Callable[[], bool | None],
) -> Prepared:
    """Where one component comes from. `registry` is asked only if that matters. Pure.

    It says None where nothing is to be fetched: then what is not here is `missing` or `absent`.
    """
    pinned = sources.tagged(section("observability")[name])
    baked = bake.component_reference(name) if name in bake.BAKED else ""
    api_only = name in bake.BAKED and not bake.BAKED[name].web
    if baked and baked in present:
        return Prepared(name, baked, "local", api_only)
    if brought and brought in present:
        return Prepared(name, brought, "archive")
    if pinned in present:
        return Prepared(name, pinned, "local")
    reachable = registry()
    if reachable:
        return Prepared(name, pinned, "pull")
    if baked:
        how: How = "missing" if reachable is None else "bake"
        return Prepared(name, baked, how, api_only)
    note = (
        f"{name.capitalize()} is left out: it comes from a registry, which does not answer, "
        "or from an archive: invoke image.load FILE"
    )
    return Prepared(name, "", "absent", note=note)


def _decided(names: Iterable[str], registry: Callable[[], bool | None]) -> dict[str, Prepared]:
    wanted = list(names)
    if unknown := [name for name in wanted if name not in COMPONENTS]:
        raise ConfigError(
            f"there is no component {unknown[0]}", hint=f"one of: {', '.join(COMPONENTS)}"
        )
    brought = _brought()
    present = bake.images_present([r for name in wanted for r in candidates(name)])
    found = {name: decide(name, present, brought.get(name, ""), registry) for name in wanted}
    return {name: _estimated(one) for name, one in found.items()}


def _estimated(one: Prepared) -> Prepared:
    if one.how != "missing":
        return one
    left_s = bake.components_remaining_s([one.name])
    note = f"not there yet; where no registry answers, it takes about {left_s:.0f} s to make"
    return replace(one, note=note, estimate_s=left_s)


def _record() -> Path:
    return state.cache_home() / "brought.json"


def _brought() -> Mapping[str, str]:
    """Reference by component of what users brought in archives."""
    found = state.read_json(_record())
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _familiar(reference: str) -> str:
    """The reference as docker shows it, without the registry that it takes for granted."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def _promtool_of_image() -> Path | None:
    """The program of the pulled image: static, so any Linux of this architecture runs it."""
    pinned = section("observability")["prometheus"]
    target = state.cache_home() / f"promtool-{pinned.rpartition(':')[2][:12]}"
    if target.is_file():
        return target
    image = sources.tagged(pinned)
    if not bake.image_present(image):
        return None
    container = tools.run("docker", "create", image).stdout.strip()
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        tools.run("docker", "cp", f"{container}:/bin/promtool", partial)
        partial.replace(target)
    finally:
        tools.run("docker", "rm", "--force", container, check=False)
    return target
