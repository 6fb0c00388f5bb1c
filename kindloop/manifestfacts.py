"""Where manifests are wrong, by file and line: kustomize's own words bury that, or get it wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from kindloop._yaml import display

__all__ = ["KUSTOMIZATIONS", "mistakes"]

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""Names that kustomize takes for its own file."""


def mistakes(folders: Iterable[Path]) -> list[str]:
    """What is wrong in the YAML files of `folders`, each with file and line; empty when unknown."""
    return [text for folder in folders for path in _files(folder) for text in _of_file(path)]


def _files(folder: Path) -> list[Path]:
    """The kustomization and what it lists, without the files of its ConfigMaps; else all YAML."""
    found = next((folder / name for name in KUSTOMIZATIONS if (folder / name).exists()), None)
    if found is None:
        return sorted({*folder.glob("*.yaml"), *folder.glob("*.yml")})
    try:
        document = yaml.safe_load(found.read_text(encoding="utf-8"))
        listed = [str(each) for each in document["resources"]]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        listed = []
    below = [folder / each for each in listed if "://" not in each]
    inside = [path for each in below if _is_below(each, folder) for path in _files(each)]
    return sorted({found, *(path for path in below if path.is_file()), *inside})


def _is_below(path: Path, folder: Path) -> bool:
    return path.is_dir() and folder.resolve() in path.resolve().parents


def _of_file(path: Path) -> Iterator[str]:
    try:
        roots = list(yaml.compose_all(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as exc:
        # Where a bracket or quote was opened helps more than where the parser gave up.
        opened = any(word in (exc.context or "") for word in ("flow", "quoted"))
        mark = exc.context_mark if opened else exc.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        yield f"{display(path)}{line}: not YAML: {exc.problem or exc.context}"
    except (OSError, ValueError, yaml.YAMLError) as exc:
        yield f"{display(path)}: cannot be read: {exc}"
    else:
        check = _of_kustomization if path.name in KUSTOMIZATIONS else _of_object
        for root in roots:
            yield from check(path, root)


def _of_kustomization(path: Path, root: yaml.Node) -> Iterator[str]:
    listed = _fields(root).get("resources")
    for node in listed.value if isinstance(listed, yaml.SequenceNode) else ():
        local = isinstance(node, yaml.ScalarNode) and "://" not in node.value
        if local and not (path.parent / node.value).exists():
            yield f"{_at(path, node)}: resource {node.value} does not exist"


def _of_object(path: Path, root: yaml.Node) -> Iterator[str]:
    found = _fields(root)
    if isinstance(root, yaml.ScalarNode) and not root.value:
        return  # an empty document between two `---`
    missing = [key for key in ("apiVersion", "kind", "metadata") if key not in found]
    if missing:
        yield f"{_at(path, root)}: no Kubernetes object: it has no {', '.join(missing)}"


def _fields(node: yaml.Node) -> dict[str, yaml.Node]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {str(key.value): value for key, value in pairs}


def _at(path: Path, node: yaml.Node) -> str:
    return f"{display(path)}:{node.start_mark.line + 1}"
