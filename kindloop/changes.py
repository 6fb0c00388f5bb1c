"""What a batch of changed files means: which parts of the environment it concerns. All of it pure.

Nothing here looks at a file. Whether content really changed is for digests to say; a part named
here only has to be looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kindloop import fingerprint
from kindloop.config import Config, Stage, Workload
from kindloop.watchroots import Root, merged

__all__ = [
    "Change",
    "Place",
    "classify",
    "declared",
    "relative",
    "summary",
    "supersedes",
    "watched",
]

Place = Callable[[Stage, str], str]
"""Fills in the placeholders of a stage's input, as `Site.place` does."""


@dataclass(frozen=True)
class Change:
    """What a batch concerns."""

    settings: bool = False
    """kindloop.yaml."""
    stages: frozenset[str] = frozenset()
    """Names of stages with changed inputs."""
    sync: frozenset[str] = frozenset()
    """Names of workloads with changed synced files."""
    images: frozenset[str] = frozenset()
    """Names of workloads whose Dockerfile or copied files changed."""
    manifests: bool = False
    """Those of a workload, or the core's."""
    cluster: bool = False
    """The kind configuration: it counts when the cluster is made again."""
    paths: frozenset[Path] = frozenset()
    """The changed paths that concern any of these."""

    def __bool__(self) -> bool:
        """Whether it concerns anything."""
        return bool(self.paths)


def declared(config: Config) -> tuple[Root, ...]:
    """Everything that kindloop.yaml names, and itself, as declared; never below `{target}`."""
    roots = [Root(config.path, recursive=False)]
    roots += [Root(path) for path in _manifests(config)]
    if config.cluster.config:
        roots.append(Root(config.cluster.config, recursive=False))
    for stage in config.stages.values():
        patterns = [text for text in stage.inputs if "{target}" not in text]
        roots += [_root(_absolute(config, _placed(config, text))) for text in patterns]
    for workload in config.workloads.values():
        roots.append(Root(workload.image.dockerfile, recursive=False))
        roots += [Root(path) for path in (*_copied(config, workload), *_synced(config, workload))]
    return tuple(roots)


def watched(config: Config) -> tuple[Root, ...]:
    """The same without those that lie in another: what a watcher has to watch."""
    return merged(declared(config))


def classify(config: Config, place: Place, paths: Iterable[Path]) -> Change:
    """Which parts the changed paths concern. A path may concern several, or none.

    `place` fills in the placeholders of a stage's inputs. A path that is a folder stands for
    everything in it.
    """
    if not (paths := tuple(paths)):
        return Change()
    inputs = _inputs(config, place)
    sync = {name: _synced(config, workload) for name, workload in config.workloads.items()}
    images = {
        name: [workload.image.dockerfile, *_copied(config, workload)]
        for name, workload in config.workloads.items()
    }
    cluster = [config.cluster.config] if config.cluster.config else []
    found = {
        path: Change(
            _touches(path, [config.path]),
            _stages(inputs, path),
            frozenset(name for name, places in sync.items() if _touches(path, places)),
            frozenset(name for name, places in images.items() if _touches(path, places)),
            _touches(path, _manifests(config)),
            _touches(path, cluster),
        )
        for path in paths
    }
    concerned = {path: change for path, change in found.items() if change != Change()}
    changes = concerned.values()
    return Change(
        any(change.settings for change in changes),
        frozenset().union(*(change.stages for change in changes)),
        frozenset().union(*(change.sync for change in changes)),
        frozenset().union(*(change.images for change in changes)),
        any(change.manifests for change in changes),
        any(change.cluster for change in changes),
        frozenset(concerned),
    )


def summary(config: Config, paths: Iterable[Path]) -> str:
    """The paths in a few words, such as "controllers/add_pet.rs and 3 more"; "" for none.

    Two are both named.

    A path is told from the declared folder it lies in, or from app.root where that says too
    little. What people write comes before lock files and what stages write.
    """
    written = [
        Path(_absolute(config, _placed(config, output)))
        for stage in config.stages.values()
        for output in stage.outputs
        if "{target}" not in output
    ]
    ranked = sorted(set(paths), key=lambda p: (p.suffix == ".lock", _within(p, written), p))
    if not ranked:
        return ""
    first, *others = (_shown(config, path) for path in ranked[:2])
    more = len(ranked) - 1
    return " and ".join([first, *(others if more == 1 else [f"{more} more"] if more else [])])


def relative(config: Config, path: Path) -> str:
    """A saved path for programs: from the checkout, or from app.root where that lies elsewhere."""
    around = (top for top in (config.root, config.app.root) if path.is_relative_to(top))
    top = next(around, None)
    return str(path.relative_to(top)) if top else str(path)


def supersedes(
    config: Config,
    place: Place,
    paths: Iterable[Path],
    *,
    digest: Callable[[Path], str | None],
    observed: Mapping[str, Mapping[str, str]],
    own: Collection[Path] = (),
) -> bool:
    """Whether paths that changed during a build make it out of date: a newer save.

    `observed` has the inputs of the stages that ran or run in this build as they were digested for
    them, by path relative to app.root; those of later stages will be read anew anyway. `digest`
    tells the same of a path as it is now, None when it is no file. `own` are the files and folders
    that the running stage writes itself.
    """
    root, declared_inputs = config.app.root, _inputs(config, place)
    for path in paths:
        if _within(path, own):
            continue
        name = os.path.relpath(path, root)
        for stage in _stages(declared_inputs, path) & observed.keys():
            inputs = observed[stage]
            if digest(path) != inputs.get(name):
                return True
            inside = (other for other in inputs if other.startswith(f"{name}/") or name == ".")
            if any(digest(root / other) != inputs[other] for other in inside):
                return True
    return False


def _inputs(config: Config, place: Place) -> dict[str, list[str]]:
    """The inputs of each stage as absolute patterns."""
    return {
        name: [_absolute(config, place(stage, text)) for text in stage.inputs]
        for name, stage in config.stages.items()
    }


def _stages(inputs: Mapping[str, Iterable[str]], path: Path) -> frozenset[str]:
    """The stages that have the path, or something in it, as an input."""
    text = str(path)
    return frozenset(n for n, patterns in inputs.items() if any(_names(p, text) for p in patterns))


def _touches(path: Path, places: Iterable[Path]) -> bool:
    """Whether the path is one of `places`, lies in one, or is a folder around one."""
    return any(path.is_relative_to(p) or p.is_relative_to(path) for p in places)


def _within(path: Path, places: Iterable[Path]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _manifests(config: Config) -> Iterator[Path]:
    if config.core:
        yield config.core
    yield from (workload.manifests for workload in config.workloads.values())


def _copied(config: Config, workload: Workload) -> list[Path]:
    return [Path(_absolute(config, files.source)) for files in workload.image.files]


def _synced(config: Config, workload: Workload) -> list[Path]:
    return [Path(_absolute(config, files.source)) for files in workload.sync]


def _absolute(config: Config, pattern: str) -> str:
    # Text, not paths: a save asks this of every input, and a Path takes ten times as long.
    return os.path.normpath(os.path.join(config.app.root, pattern))  # noqa: PTH118


def _placed(config: Config, text: str) -> str:
    """The placeholders that need to know nothing of the machine."""
    return text.replace("{root}", str(config.app.root)).replace("{here}", str(config.root))


def _fixed(pattern: str) -> tuple[str, list[str]]:
    """An absolute pattern as the path before its first wildcard, and the parts from there on."""
    parts = pattern.split("/")
    first = next((i for i, part in enumerate(parts) if fingerprint.MAGIC.search(part)), len(parts))
    return "/".join(parts[:first]) or "/", parts[first:]


def _root(pattern: str) -> Root:
    top, wild = _fixed(pattern)
    # `*.yaml` must not watch all that lies below its folder.
    return Root(Path(top), recursive=len(wild) != 1 or wild == ["**"])


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> tuple[str, re.Pattern[str], tuple[re.Pattern[str], ...]]:
    """The fixed part of a pattern, what the rest must match, and what folders on the way must."""
    top, wild = _fixed(pattern)
    way = tuple(fingerprint.translate(wild[: i + 1]) for i in range(len(wild) - 1))
    return top, fingerprint.translate(wild), way


def _names(pattern: str, path: str) -> bool:
    """Whether an absolute pattern names the path, or something in it should it be a folder."""
    top, expression, way = _expression(pattern)
    if path == top or top.startswith(f"{path}/"):
        return True
    if not path.startswith(f"{top}/"):
        return False
    rest = path[len(top) + 1 :]
    if top == pattern or expression.fullmatch(rest):
        return True
    # A folder that went away as a whole is told by its own name only; most have no suffix.
    may_be_folder = "." not in rest.rpartition("/")[2]
    return may_be_folder and any(part.fullmatch(rest) for part in way)


def _shown(config: Config, path: Path) -> str:
    around = [root.path for root in declared(config) if path.is_relative_to(root.path)]
    nearest = max(around, key=lambda place: len(place.parts), default=path)
    inside = path.relative_to(nearest)
    if len(inside.parts) > 1:
        return inside.as_posix()
    tops = (config.app.root, config.root)
    top = next((top for top in tops if path.is_relative_to(top) and path != top), None)
    return path.relative_to(top).as_posix() if top else path.as_posix()
