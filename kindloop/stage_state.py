"""What stages are like now: their inputs, tools and environment, and what they have made."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kindloop import cargo, fingerprint
from kindloop.config import Stage
from kindloop.stage_plan import TRIPLE, Observed, order
from kindloop.stage_site import Site

__all__ = [
    "Made",
    "Site",
    "after_run",
    "inspect",
    "inspect_stage",
    "look_at_outputs",
    "made",
    "own_locks",
    "own_writes",
    "tree_files",
]


def inspect(site: Site, names: Iterable[str] | None = None) -> dict[str, Observed]:
    """Look at `names` (None: all stages) and all that they need; needs come first."""
    return {name: inspect_stage(site, name) for name in order(site.config.stages, names)}


def inspect_stage(site: Site, name: str, *, strict: bool = False, outputs: bool = True) -> Observed:
    """Look at one stage. `strict`: what it needs has been built, so no input may be missing.

    Outputs are looked at when `outputs`: to read a large one again costs milliseconds. Raises
    ConfigError for an input that matches nothing, ToolMissing for a tool or a target that this
    machine lacks.
    """
    stage = site.config.stages[name]
    site.plan_for(stage).ready()
    missing: list[str] = []

    def may_miss(pattern: str) -> bool:
        own = Path(os.path.normpath(site.root / pattern)) in own_locks(site, stage)
        if not own and (strict or not _made_by_needs(site, stage, pattern)):
            return False
        missing.append(pattern)
        return True

    patterns = [site.place(stage, pattern) for pattern in stage.inputs]
    inputs = fingerprint.digest_inputs(site.root, patterns, site.digests, may_miss=may_miss)
    given = site.settings(stage)
    observed = Observed(
        command=stage.run,
        settings={**given, **_digested({n: given[n] for n in stage.env if n != TRIPLE})},
        env_inputs={
            **dict.fromkeys(stage.env_inputs),
            **_digested({n: os.environ[n] for n in stage.env_inputs if n in os.environ}),
        },
        tools={tool: site.toolchain.version(tool) for tool in stage.tools},
        inputs=_without_outputs(site, stage, inputs),
        missing=tuple(missing),
        left=site.left(name),
    )
    return look_at_outputs(site, stage, observed) if outputs else observed


def _digested(values: Mapping[str, str]) -> dict[str, str]:
    """Values of variables that people set as records have them: any of them may be a secret."""
    return {
        name: f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
        for name, value in values.items()
    }


def look_at_outputs(site: Site, stage: Stage, observed: Observed) -> Observed:
    """What was observed, with the digests of the outputs."""
    return replace(observed, outputs=made(site, stage).outputs)


def after_run(
    site: Site, stage: Stage, observed: Observed, absent: Iterable[Path] = ()
) -> Observed:
    """What was observed before a run, with what the command itself may have written since.

    `absent` has those of `own_locks` that were not there before the run. Any other input keeps
    its digest from before: an edit during the run has to be built.
    """
    inputs = dict(observed.inputs)
    for lock in own_locks(site, stage):
        name = os.path.relpath(lock, site.root)
        new = lock in absent and lock.exists()
        if not new and name not in inputs:
            continue
        # One that is new may be an input by a folder or a glob, or none at all.
        patterns = [site.place(stage, p) for p in stage.inputs] if new else [name]
        found = fingerprint.digest_inputs(
            site.root, patterns, site.digests, may_miss=lambda _: True
        )
        if name in found:
            inputs[name] = found[name]
        else:
            inputs.pop(name, None)
    return replace(observed, inputs=inputs)


def own_writes(site: Site, stage: Stage) -> tuple[Path, ...]:
    """The files and folders (absolute) that the stage writes itself: a change there is no edit."""
    outputs = (site.path(stage, output) for output in stage.outputs)
    return (*outputs, *own_locks(site, stage))


def own_locks(site: Site, stage: Stage) -> tuple[Path, ...]:
    """Each Cargo.lock (absolute) that the stage's command may write; it need not be there."""
    return cargo.lock_files(site.argv(stage), site.root)


@dataclass(frozen=True)
class Made:
    """The outputs of a stage as they are now."""

    outputs: Mapping[str, str | None]
    """By output as declared: of a file its sha256, of a folder that of all in it; None: missing."""
    files: Mapping[str, str]
    """sha256 of each file outside of the target folder, by path relative to app.root."""


def made(site: Site, stage: Stage) -> Made:
    """Read all that the stage has made, each file once."""
    outputs: dict[str, str | None] = {}
    files: dict[str, str] = {}
    for output in stage.outputs:
        path = site.path(stage, output)
        digests = _below(site, path)
        if digests is None or path.is_file():
            outputs[output] = (digests or {}).get(path.name)
        else:
            outputs[output] = fingerprint.digest_mapping(digests)
        files |= _in_tree(site, path, digests)
    return Made(outputs, files)


def tree_files(site: Site, stage: Stage) -> dict[str, str]:
    """`made(...).files` alone: no artifact is read for it."""
    files: dict[str, str] = {}
    for path in (site.path(stage, output) for output in stage.outputs):
        if not path.is_relative_to(site.target_dir):
            files |= _in_tree(site, path, _below(site, path))
    return files


def _below(site: Site, path: Path) -> dict[str, str] | None:
    """Digest of the file, or of each file in the folder, by path relative to what it is in."""
    files = fingerprint.find(path.parent, path.name)
    if files is None:
        return None
    result = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile
            result[file[0]] = site.digests.of(file[1], file[2])
    return result


def _in_tree(site: Site, path: Path, digests: Mapping[str, str] | None) -> dict[str, str]:
    if path.is_relative_to(site.target_dir):
        return {}
    above = os.path.relpath(path.parent, site.root)
    return {os.path.normpath(f"{above}/{name}"): d for name, d in (digests or {}).items()}


def _without_outputs(site: Site, stage: Stage, inputs: Mapping[str, str]) -> dict[str, str]:
    """A stage that writes below one of its inputs would else be stale after every run."""
    own = [os.path.relpath(site.path(stage, output), site.root) for output in stage.outputs]
    if not own:
        return dict(inputs)
    below = tuple(f"{output}/" for output in own)
    return {n: d for n, d in inputs.items() if n not in own and not n.startswith(below)}


def _made_by_needs(site: Site, stage: Stage, pattern: str) -> bool:
    """Whether a stage before this one writes where the pattern looks."""
    path = os.path.normpath(site.root / pattern.split("*", maxsplit=1)[0])
    for name in order(site.config.stages, stage.needs):
        need = site.config.stages[name]
        for output in (str(site.path(need, output)) for output in need.outputs):
            if f"{path}/".startswith(f"{output}/") or f"{output}/".startswith(path):
                return True
    return False
