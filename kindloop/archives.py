"""Images of an environment in one archive: written here, read on another machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kindloop import bake, components, host, images, report, sources, tools
from kindloop.config import Config
from kindloop.errors import BuildFailed, ConfigError
from kindloop.versions import section

__all__ = ["Carried", "Loaded", "judge", "load", "looks_like_grafana", "save"]

GRAFANA = re.compile(r"grafana(-oss|-enterprise)?(-dev)?")
"""Last part of the repositories that Grafana is published in, whatever mirror serves them."""


@dataclass(frozen=True)
class Carried:
    """An image that goes into an archive."""

    name: str
    """node, base, a component, or a workload of kindloop.yaml."""
    reference: str


@dataclass(frozen=True)
class Loaded:
    """An image that came out of an archive, and what for."""

    reference: str
    purpose: str
    """What uses it; empty where nothing here does."""
    useless: str = ""
    """Why nothing here uses it."""
    component: str = ""
    """The component that a user brought with it; `load` remembers it."""


def save(config: Config, file: Path, names: Sequence[str] = ()) -> list[Carried]:
    """Write images of this environment into one archive, whole or not at all.

    Without names: all that are there. Raises ConfigError for a name that is none, BuildFailed
    for an image that is not there yet.
    """
    known = _references(config)
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"{unknown[0]} is no image of this environment", hint=f"one of: {', '.join(known)}"
        )
    present = bake.images_present([r for references in known.values() for r in references])
    there = {name: next((r for r in known[name] if r in present), "") for name in known}
    if absent := [name for name in names if not there[name]]:
        raise BuildFailed(
            f"the image of {absent[0]} is not there yet", hint=_how_to_get(config, absent[0])
        )
    chosen = [Carried(name, there[name]) for name in names or known if there[name]]
    if not chosen:
        raise BuildFailed("there is nothing to save yet", hint="invoke dev-up")
    with report.step(f"write {file.name}") as step:
        bake.save_archive(file, [each.reference for each in chosen])
        step.note(f"{file.stat().st_size / 1e6:.0f} MB")
    return chosen


def load(config: Config, file: Path) -> list[Loaded]:
    """Load an archive into the engine; says what each image is for and what is of no use.

    Raises ConfigError when the file is no archive, or nothing in it is of use here.
    """
    found = []
    with report.step(f"read {file.name}"):
        references = bake.load_archive(file)
        known = _references(config)
        for image in _inspected(references):
            one = judge(image, known, config.name, host.require_engine().platform)
            found.append(_named(one, image["Id"]) if one.component else one)
    for one in found:
        if one.component:
            components.bring(one.component, one.reference)
    if not any(one.purpose for one in found):
        raise ConfigError(
            f"{file.name} holds no image that is of use here",
            evidence=[f"{one.reference}: {one.useless}" for one in found],
            why="it was saved by another version of kindloop, or for something else",
            hint="invoke image.save FILE on the other machine, with the same version of kindloop",
        )
    return found


def judge(
    image: Mapping[str, Any], known: Mapping[str, Sequence[str]], environment: str, platform: str
) -> Loaded:
    """What one image is for. Pure.

    `image` is what `docker image inspect` says of it, with the reference that it was loaded by
    under `Loaded`; `known` has the references that serve, by name; `platform` is linux/amd64.
    """
    reference = str(image["Loaded"])
    is_for = f"{image.get('Os')}/{image.get('Architecture')}"
    if is_for != platform:
        return Loaded(reference, "", f"it is for {is_for}, this engine runs {platform}")
    named = _repository(reference).rpartition("/")[2]
    if GRAFANA.fullmatch(named) or (reference.startswith("sha256:") and looks_like_grafana(image)):
        if looks_like_grafana(image):
            return Loaded(reference, _purpose("grafana"), component="grafana")
        return Loaded(reference, "", f"it is named {named}, but does not start Grafana")
    for name, references in known.items():
        if reference in references:
            return Loaded(reference, _purpose(name))
    return Loaded(reference, "", _why_useless(_repository(reference), environment))


def looks_like_grafana(image: Mapping[str, Any]) -> bool:
    """Whether anything in the image's settings is Grafana's: every release has more than one."""
    settings = image.get("Config") or {}
    words = [*(settings.get("Entrypoint") or ()), *(settings.get("Cmd") or ())]
    return (
        any("grafana" in word or word == "/run.sh" for word in words)
        or any(variable.startswith("GF_") for variable in settings.get("Env") or ())
        or "3000/tcp" in (settings.get("ExposedPorts") or ())
    )


def _purpose(name: str) -> str:
    if name == "node":
        return "the cluster's node"
    if name == "base":
        return "base of the workloads' images"
    if name in components.COMPONENTS:
        return f"{name} of the observability stack"
    return f"workload {name}, while its binary and files are the same"


def _why_useless(repository: str, environment: str) -> str:
    ours = repository.removeprefix("kindloop.local/")
    if repository in ("kindloop/node", "kindloop/base") or ours in bake.BAKED:
        return "it is of another version of kindloop"
    owner, slash, _ = ours.partition("/")
    if ours != repository and slash:
        if owner == environment:
            return "no workload of kindloop.yaml, or of other content"
        return f"it is of environment {owner}"
    return "nothing of kindloop uses it"


def _references(config: Config) -> dict[str, list[str]]:
    """References that serve, the preferred one first, by name."""
    node, base = section("node")["image"], section("workload")["alpine"]
    wanted = config.cluster.node_image
    known = {
        "node": [bake.node_image(), sources.tagged(node)] if wanted == "auto" else [wanted],
        "base": [bake.base_reference(), sources.tagged(base)],
        **{name: components.candidates(name) for name in components.COMPONENTS},
    }
    for workload in config.workloads.values():
        if workload.image.base not in ("auto", *known["base"]):
            known["base"].append(workload.image.base)
        known.setdefault(workload.name, []).extend(images.built(config, workload))
    return known


def _how_to_get(config: Config, name: str) -> str:
    if name in ("node", "base"):
        return "invoke bake.node" if name == "node" else "invoke bake.base"
    if name in config.workloads:
        return "invoke image.build"
    return "invoke image.load FILE" if name == "grafana" else "invoke dev-up --observability full"


def _inspected(references: Iterable[str]) -> list[dict[str, Any]]:
    """What the engine says of each image, with the reference that it was loaded by."""
    found = []
    for reference in references:
        shown = tools.run("docker", "image", "inspect", reference, quiet=True)
        found.append({**json.loads(shown.stdout)[0], "Loaded": reference})
    return found


def _named(one: Loaded, identity: str) -> Loaded:
    """Give an image without a name one: pods and archives need it."""
    if not one.reference.startswith("sha256:"):
        return one
    name = f"kindloop.local/{one.component}:{identity.removeprefix('sha256:')[:12]}"
    tools.run("docker", "tag", one.reference, name)
    return Loaded(name, one.purpose, component=one.component)


def _repository(reference: str) -> str:
    head, _, tail = reference.partition("@")[0].rpartition(":")
    return reference if not head or "/" in tail else head
