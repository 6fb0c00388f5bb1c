"""Manifests: rendered by kustomize, applied server-side, pruned by a recorded inventory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from kindloop import cluster, report, secrecy, state, tools
from kindloop._yaml import display
from kindloop.config import Config
from kindloop.errors import ConfigError, KindloopError, RolloutFailed, ToolFailed
from kindloop.images import LABEL
from kindloop.manifestfacts import KUSTOMIZATIONS, mistakes

__all__ = [
    "INVENTORY",
    "Applied",
    "Ref",
    "apply",
    "apply_set",
    "diff",
    "overlay",
    "refs",
    "render",
    "stale_refs",
    "with_namespace",
]

FIELD_MANAGER = "kindloop"
ROLLING_LEFT = "spec.strategy.rollingUpdate: Forbidden"
"""What the API server says when a Deployment becomes one of strategy Recreate: it had filled the
field in itself, and a server-side apply can only take back what an apply has set."""
INVENTORY = "kindloop-inventory"
"""ConfigMap in the environment's namespace that lists what was applied."""


@dataclass(frozen=True, order=True)
class Ref:
    """An object by its type (kind.group), namespace (empty for cluster scope) and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Applied:
    """What an apply did: lines of kubectl, and the objects that were pruned."""

    changed: tuple[str, ...]
    pruned: tuple[Ref, ...]


def overlay(
    folders: Sequence[str],
    *,
    namespace: str,
    images: Mapping[str, str],
    label: str,
    components: Sequence[str] = (),
    config_maps: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The kustomization that turns plain manifests into those of an environment. Pure.

    `folders` and `components` (kustomize's) are relative to where the overlay lies; `images` is
    full reference by the name that the manifests use, `config_maps` the files beside the overlay
    that take the place of those in a generated ConfigMap, by its name.
    """
    replaced = []
    for name, reference in sorted(images.items()):
        repository, _, tag = reference.rpartition(":")
        replaced.append({"name": name, "newName": repository, "newTag": tag})
    merged = [
        {"name": name, "behavior": "merge", "files": sorted(files)}
        for name, files in config_maps.items()
    ]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": list(folders),
        **({"components": list(components)} if components else {}),
        **({"configMapGenerator": merged} if merged else {}),
        "images": replaced,
        "labels": [{"pairs": {LABEL: label}, "includeSelectors": False, "includeTemplates": True}],
    }


def render(
    config: Config,
    folders: Sequence[Path],
    images: Mapping[str, str],
    *,
    components: Sequence[Path] = (),
    config_maps: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    work: str = "render",
) -> list[dict[str, Any]]:
    """The objects of `folders` as they are applied to this environment.

    `components` are folders of kustomize's kind Component. `config_maps` is text by file name by
    the name of a generated ConfigMap whose file it replaces; `work` the folder below `.kindloop/`
    in which it is done. Raises ConfigError for what is not YAML or no Kubernetes object.
    """
    place = config.local / work
    shutil.rmtree(place, ignore_errors=True)
    bases = [_base(folder, place / f"base-{index}") for index, folder in enumerate(folders)]
    document = overlay(
        [os.path.relpath(base, place) for base in bases],
        namespace=config.name,
        images=images,
        label=config.name,
        components=[os.path.relpath(each, place) for each in components],
        config_maps=config_maps,
    )
    place.mkdir(parents=True, exist_ok=True)
    for files in config_maps.values():
        for name, text in files.items():
            state.write_atomic(place / name, text)
    state.write_atomic(place / "kustomization.yaml", yaml.safe_dump(document, sort_keys=False))
    try:
        result = tools.run(
            "kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", place, timeout_s=30
        )
    except ToolFailed as exc:
        raise _render_failed(folders, exc.evidence) from exc
    documents = [d for d in yaml.safe_load_all(result.stdout) if d]
    if not all("apiVersion" in d for d in documents):
        raise _render_failed(folders, ())  # kustomize lets it pass
    secrecy.mask_objects(config, documents)
    return documents


def refs(documents: Iterable[Mapping[str, Any]]) -> list[Ref]:
    """The objects by reference, sorted. Pure."""
    out = set()
    for document in documents:
        group = document["apiVersion"].rpartition("/")[0]
        kind = document["kind"] + (f".{group}" if group else "")
        metadata = document["metadata"]
        home = "" if document["kind"] == "Namespace" else metadata.get("namespace", "")
        out.add(Ref(kind, home, metadata["name"]))
    return sorted(out)


def stale_refs(recorded: Iterable[Ref], wanted: Iterable[Ref]) -> list[Ref]:
    """What was applied before and is no longer wanted; a namespace is never among it. Pure."""
    return [r for r in sorted(set(recorded) - set(wanted)) if r.kind != "Namespace"]


def with_namespace(documents: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The documents, with the environment's Namespace if they bring none. Pure."""
    if any(d["kind"] == "Namespace" for d in documents):
        return list(documents)
    metadata = {"name": name, "labels": {LABEL: name}}
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, *documents]


def apply(config: Config, documents: Sequence[Mapping[str, Any]]) -> Applied:
    """Apply server-side, then delete what the inventory has and `documents` no longer have.

    Raises RolloutFailed with the API server's own words when it refuses an object.
    """
    return apply_set(config, with_namespace(documents, config.name), INVENTORY)


def apply_set(
    config: Config,
    documents: Sequence[Mapping[str, Any]],
    inventory: str,
    *,
    kept: Collection[str] = (),
    prune: bool = True,
) -> Applied:
    """`apply` for a set of objects with an inventory of its own, so that sets leave each other be.

    Objects of the kinds in `kept` stay when they are no longer wanted; without `prune` all do,
    until an apply that prunes. Raises as `apply`.
    """
    wanted = refs(documents)
    namespaces = [d for d in documents if d["kind"] == "Namespace"]
    rest = [d for d in documents if d["kind"] != "Namespace"]
    recorded = _recorded(config, inventory)
    left = stale_refs(recorded or (), wanted)
    pruned = [ref for ref in left if prune and ref.kind not in kept]
    listed = sorted({*wanted, *left} - set(pruned))
    lines = _apply(config, namespaces) if recorded is None else []
    lines += _apply(
        config,
        [
            *(namespaces if recorded is not None else ()),
            *rest,
            _inventory_object(config, inventory, listed),
        ],
    )
    for ref in pruned:
        _delete(config, ref)
    changed = [line for line in lines if INVENTORY not in line]
    return Applied(tuple(changed), tuple(pruned))


def diff(config: Config, documents: Sequence[Mapping[str, Any]]) -> str:
    """What an apply would change, as a unified diff; empty when nothing."""
    result = cluster.kubectl(
        config, "diff", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}",
        "--filename=-", stdin=_stream(with_namespace(documents, config.name)), check=False,
    )  # fmt: skip
    if result.exit_code > 1:
        raise _refused(result.stderr)
    return result.stdout


def _base(folder: Path, generated: Path) -> Path:
    """The folder itself when kustomize can use it, else a kustomization that lists its files."""
    if any((folder / name).exists() for name in KUSTOMIZATIONS):
        return folder
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if not files:
        raise ConfigError(f"{folder} holds no manifests", hint="correct its path in kindloop.yaml")
    generated.mkdir(parents=True, exist_ok=True)
    document = {"resources": [os.path.relpath(f, generated) for f in files]}
    state.write_atomic(generated / "kustomization.yaml", yaml.safe_dump(document))
    return generated


def _apply(config: Config, documents: Sequence[Mapping[str, Any]]) -> list[str]:
    if not documents:
        return []
    result = _applied(config, documents)
    if not result.ok and ROLLING_LEFT in result.stderr:
        _recreate(config, documents)
        result = _applied(config, documents)
    if not result.ok:
        raise _refused(result.stderr)
    return result.stdout.splitlines()


def _applied(config: Config, documents: Sequence[Mapping[str, Any]]) -> tools.Result:
    return cluster.kubectl(
        config, "apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}",
        # The API server checks every field and names the object; kubectl's own check does not.
        "--validate=ignore", "--filename=-", stdin=_stream(documents), check=False,
    )  # fmt: skip


def _recreate(config: Config, documents: Iterable[Mapping[str, Any]]) -> None:
    """Take the defaults of a rolling update out of Deployments that are no longer to have one."""
    for document in documents:
        strategy = (document.get("spec") or {}).get("strategy")
        if document["kind"] == "Deployment" and strategy == {"type": "Recreate"}:
            patch = {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}
            metadata = document["metadata"]
            cluster.kubectl(
                config, "patch", "deployment", metadata["name"], "--type=merge",
                f"--namespace={metadata.get('namespace', config.name)}",
                f"--patch={json.dumps(patch)}", check=False,
            )  # fmt: skip


def _stream(documents: Iterable[Mapping[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})


def _inventory_object(config: Config, name: str, listed: Sequence[Ref]) -> dict[str, Any]:
    lines = "\n".join(f"{r.kind} {r.namespace or '-'} {r.name}" for r in listed)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": config.name,
            "labels": {LABEL: config.name},
        },
        "data": {"objects": lines},
    }


def _recorded(config: Config, inventory: str) -> list[Ref] | None:
    """The inventory, or None when nothing was ever applied here."""
    found = cluster.kubectl(
        config, "get", "configmap", inventory, "--output=jsonpath={.data.objects}",
        "--ignore-not-found", check=False, quiet=True,
    )  # fmt: skip
    if not found.ok or not found.stdout.strip():
        return None
    rows = [line.split() for line in found.stdout.splitlines()]
    return [Ref(kind, "" if home == "-" else home, name) for kind, home, name in rows]


def _delete(config: Config, ref: Ref) -> None:
    """Delete an object of ours; one that lost our label is somebody's and stays."""
    home = [f"--namespace={ref.namespace}"] if ref.namespace else []
    result = cluster.kubectl(
        config, "get", ref.kind, ref.name, *home, "--ignore-not-found",
        f"--output=jsonpath={{.metadata.labels.{LABEL.replace('.', chr(92) + '.')}}}",
        check=False,
    )  # fmt: skip
    if result.stdout.strip() != config.name:
        return
    cluster.kubectl(config, "delete", ref.kind, ref.name, *home, "--wait=false")
    report.line(f"pruned {ref}: no longer in the manifests")


def _refused(stderr: str) -> KindloopError:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return RolloutFailed(
        "the API server refused a manifest",
        evidence=lines[-12:],
        why="a field or kind in it is unknown, invalid or not allowed",
        hint="correct it, then: invoke k8s.diff",
    )


def _render_failed(folders: Sequence[Path], evidence: Sequence[str]) -> KindloopError:
    found = mistakes(folders)
    if found:
        return ConfigError(
            found[0], evidence=found[1:], hint="correct it, then the same command again"
        )
    shown = ", ".join(display(folder) for folder in folders)
    return ConfigError(
        f"kustomize does not take the manifests in {shown}",
        evidence=evidence,
        why="a kustomization names something that is not there, or twice",
        hint=f"kubectl kustomize {display(folders[-1])}",
    )
