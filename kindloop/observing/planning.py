"""Which objects the observability stack is made of: settings and images in, documents out."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kindloop import manifests
from kindloop._yaml import display
from kindloop.config import Config
from kindloop.errors import ConfigError
from kindloop.observing.parts import PARTS

__all__ = ["documents", "fingerprint", "folder_of", "with_images", "with_interval"]

WORK = "render-observability"
"""Below `.kindloop/`: a background run must not meet the application's."""
INTERVALS = re.compile(
    r"^(\s*(?:scrape_interval|evaluation_interval|timeInterval): )\S+$", re.MULTILINE
)
TIMED: Mapping[str, tuple[str, str, str]] = {
    "prometheus": ("prometheus", "prometheus.yml", "prometheus/prometheus.yml"),
    "grafana": ("grafana-datasources", "datasources.yaml", "grafana/provisioning/datasources.yaml"),
}
"""By part: ConfigMap, file name in it and file below the folder that have `scrape_s` in them."""


def folder_of(config: Config) -> Path:
    """The manifests of the stack: the project's own, else those that kindloop ships."""
    if config.stack:
        return config.stack
    package = Path(__file__).parents[1]
    packed = package / "data" / "observability"
    # A wheel carries them; in the repository they are beside the package.
    return packed if packed.is_dir() else package.parent / "k8s" / "observability"


def fingerprint(config: Config, references: Mapping[str, str]) -> str:
    """SHA-256 over all that decides the documents: settings, images, every manifest's content."""
    folder = folder_of(config)
    settings = [config.name, config.resources, config.scrape_s, dict(references)]
    whole = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(folder)} {content}\n".encode())
    return whole.hexdigest()


def documents(config: Config, references: Mapping[str, str]) -> list[dict[str, Any]]:
    """The objects of the parts in `references` (image by part), as they are applied.

    Raises ConfigError when the project's own folder lacks a part, or is not what kustomize takes.
    """
    if not references:
        return []
    folder = folder_of(config)
    components = [] if config.resources == "normal" else [folder / "resources" / config.resources]
    wanted = [folder / name for name in PARTS if name in references]
    for path in (*wanted, *components):
        if not path.is_dir():
            raise ConfigError(
                f"{display(folder)} has no folder {path.relative_to(folder)}",
                hint="add it, compare with k8s/observability of kindloop, or leave stack out of "
                "kindloop.yaml",
            )
    rendered = manifests.render(
        config,
        wanted,
        {},
        components=components,
        config_maps=_timed(config, folder, references),
        work=WORK,
    )
    return with_images(rendered, references)


def with_images(
    rendered: Sequence[Mapping[str, Any]], references: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The documents with the image of each part in its container. Pure."""
    images = {PARTS[name].deployment: reference for name, reference in references.items()}
    out = [copy.deepcopy(dict(document)) for document in rendered]
    for document in out:
        name = document["metadata"]["name"]
        if document["kind"] != "Deployment" or name not in images:
            continue
        for container in document["spec"]["template"]["spec"]["containers"]:
            if container["name"] == name:
                container["image"] = images[name]
    return out


def with_interval(text: str, scrape_s: int) -> str:
    """A settings file with `scrape_s` as its intervals. Pure."""
    return INTERVALS.sub(rf"\g<1>{scrape_s}s", text)


def _timed(config: Config, folder: Path, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The files in which another interval than the one they have is to stand, by ConfigMap."""
    out = {}
    for name, (config_map, file_name, path) in TIMED.items():
        file = folder / path
        if name not in names or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8")
        timed = with_interval(text, config.scrape_s)
        if timed != text:
            out[config_map] = {file_name: timed}
    return out
