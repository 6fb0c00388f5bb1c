"""Image archives that `docker load` and `ctr images import` read, written without an engine.

The format is the one of `docker save` (manifest.json, a config and layers named by digest), as
described by the OCI image specification for config and layers. Same input, same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "ImageSpec",
    "add_file",
    "add_folder",
    "add_link",
    "add_text",
    "layer_from_files",
    "write_archive",
]

EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class ImageSpec:
    """One image of a single layer: its reference, layer tar, entrypoint and labels."""

    reference: str
    layer: Path
    architecture: str
    entrypoint: Sequence[str] = ()
    env: Sequence[str] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """`uid:gid` that it runs as where a pod says nothing; empty is root."""


def add_file(tar: tarfile.TarFile, source: Path, name: str, mode: int = 0o755) -> None:
    """Add the content of `source` as `name`, owned by root, without a date."""
    info = tarfile.TarInfo(name.lstrip("/"))
    info.size = source.stat().st_size
    info.mode = mode
    with source.open("rb") as file:
        tar.addfile(info, file)


def add_text(tar: tarfile.TarFile, text: str, name: str, mode: int = 0o644) -> None:
    """Add `text` as the file `name`."""
    content = text.encode()
    info = tarfile.TarInfo(name.lstrip("/"))
    info.size = len(content)
    info.mode = mode
    tar.addfile(info, io.BytesIO(content))


def add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    """Add a symbolic link `name` → `target`."""
    info = tarfile.TarInfo(name.lstrip("/"))
    info.type = tarfile.SYMTYPE
    info.linkname = target
    info.mode = 0o777
    tar.addfile(info)


def add_folder(tar: tarfile.TarFile, name: str, mode: int = 0o755, owner: int = 0) -> None:
    """Add an empty folder; `owner` is the number of both user and group."""
    info = tarfile.TarInfo(name.strip("/"))
    info.type = tarfile.DIRTYPE
    info.mode = mode
    info.uid = info.gid = owner
    tar.addfile(info)


def layer_from_files(path: Path, files: Mapping[str, Path]) -> Path:
    """Write a layer that holds `files` (name in the image → file here), all executable."""
    with tarfile.open(path, "w") as tar:
        for name in sorted(files):
            add_file(tar, files[name], name)
    return path


def write_archive(path: Path, images: Iterable[ImageSpec]) -> None:
    """Write all `images` into one archive at `path`."""
    manifest = []
    with tarfile.open(path, "w") as tar:
        for image in images:
            digest = _sha256(image.layer)
            config = json.dumps(_config(image, digest), sort_keys=True).encode()
            config_name = f"{hashlib.sha256(config).hexdigest()}.json"
            layer_name = f"{digest}/layer.tar"
            add_file(tar, image.layer, layer_name, 0o644)
            _add_bytes(tar, config, config_name)
            manifest.append(
                {"Config": config_name, "RepoTags": [image.reference], "Layers": [layer_name]}
            )
        _add_bytes(tar, json.dumps(manifest).encode(), "manifest.json")


def _config(image: ImageSpec, layer_digest: str) -> dict[str, object]:
    return {
        "architecture": image.architecture,
        "os": "linux",
        "created": EPOCH,
        "config": {
            "Entrypoint": list(image.entrypoint) or None,
            "Env": list(image.env),
            "Labels": dict(image.labels) or None,
            "WorkingDir": "/",
            **({"User": image.user} if image.user else {}),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": EPOCH, "created_by": "kindloop bake"}],
    }


def _add_bytes(tar: tarfile.TarFile, content: bytes, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(content))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
