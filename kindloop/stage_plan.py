"""What is stale and why: pure comparisons of what was recorded with what is there now.

A stage counts by its key: the digest of everything that it depends on, the keys of its needs
included. So a change in a library makes all that is built from it stale, also when the stage in
between wrote the same bytes again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kindloop.config import Stage
from kindloop.errors import ConfigError
from kindloop.fingerprint import digest_mapping
from kindloop.tools import version_of

__all__ = [
    "TRIPLE",
    "Decision",
    "Ended",
    "Left",
    "Observed",
    "Record",
    "decide",
    "key_of",
    "order",
    "plan",
]

SCHEMA = 1
"""Part of every key and record; raised when a key no longer means the same."""
UP_TO_DATE = "up to date"
TRIPLE = "CARGO_BUILD_TARGET"
"""The one setting of a stage whose value is told when it changes."""
Ended = Literal["interrupted", "failed", "cleaned"]


@dataclass(frozen=True)
class Left:
    """What a run that did not end well left behind, or one whose outputs were cleaned."""

    how: Ended
    files: Mapping[str, str] = field(default_factory=dict)
    """Digest of each output file then, by path relative to app.root."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Digest of each input that it was given, by path relative to app.root."""
    started_s: float = 0.0
    """When it began, in seconds since the epoch; 0 when that is not known."""


@dataclass(frozen=True)
class Observed:
    """A stage as it is now."""

    command: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables that its command is given by kindloop and by the stage."""
    env_inputs: Mapping[str, str | None] = field(default_factory=dict)
    """Value of each declared variable of the caller; None when it is not set."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """What each tool says about its version."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Digest by path relative to app.root."""
    missing: tuple[str, ...] = ()
    """Inputs that match nothing as long as a needed stage has not made them."""
    outputs: Mapping[str, str | None] = field(default_factory=dict)
    """Digest by output as declared, None when it does not exist; empty when nobody looked."""
    left: Left | None = None


@dataclass(frozen=True)
class Record:
    """A stage as it was when it last ended well.

    The inputs are those from before the run, so that an edit during the run is a change; only
    what the command itself may write (Cargo.lock) is as it was afterwards.
    """

    key: str
    command: str
    settings: Mapping[str, str]
    env_inputs: Mapping[str, str | None]
    tools: Mapping[str, str]
    inputs: Mapping[str, str]
    needs: Mapping[str, str]
    """Key of each needed stage."""
    outputs: Mapping[str, str]
    files: Mapping[str, str]
    """Digest of each output file outside of the target folder, relative to app.root."""
    duration_s: float = 0.0
    started_s: float = 0.0
    """When the run began, in seconds since the epoch; 0 when that is not known."""
    schema: int = SCHEMA

    def as_json(self) -> dict[str, Any]:
        """The record as a JSON document."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Record | None:
        """The record in a document, or None when it is of another schema or cut off."""
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            return None
        try:
            return cls(**document)
        except TypeError:
            return None


@dataclass(frozen=True)
class Decision:
    """Whether a stage has to run. `changes` has every reason, `reason` is the short form."""

    stage: str
    stale: bool
    reason: str
    changes: tuple[str, ...] = ()


def order(stages: Mapping[str, Stage], names: Iterable[str] | None = None) -> list[str]:
    """`names` (None: all) and all that they need, each behind its needs.

    Raises ConfigError for a name that is not a stage and for stages that need each other.
    """
    done: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            ring = " → ".join((*path[path.index(name) :], name))
            raise ConfigError(f"stages need each other: {ring}")
        if name not in stages:
            raise _unknown(name, path, stages)
        if name not in done:
            for need in stages[name].needs:
                visit(need, (*path, name))
            done[name] = None

    for name in stages if names is None else names:
        visit(name, ())
    return list(done)


def plan(
    stages: Mapping[str, Stage],
    recorded: Mapping[str, Record],
    observed: Mapping[str, Observed],
) -> list[Decision]:
    """A decision for every observed stage, needs first."""
    decisions: dict[str, Decision] = {}
    keys: dict[str, str] = {}
    for name in order(stages, observed):
        needs = {need: keys[need] for need in stages[name].needs}
        stale_needs = [need for need in needs if decisions[need].stale]
        keys[name] = key_of(observed[name], needs)
        decisions[name] = decide(name, recorded.get(name), observed[name], needs, stale_needs)
    return list(decisions.values())


def key_of(observed: Observed, needs: Mapping[str, str]) -> str:
    """The sha256 of everything the stage's outputs depend on; `needs` has the upstream keys."""
    parts = {
        "schema": SCHEMA,
        "command": observed.command,
        "settings": dict(observed.settings),
        "env_inputs": {k: v for k, v in observed.env_inputs.items() if v is not None},
        "tools": dict(observed.tools),
        "inputs": digest_mapping(observed.inputs),
        "needs": dict(needs),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def decide(
    name: str,
    record: Record | None,
    observed: Observed,
    needs: Mapping[str, str],
    stale_needs: Sequence[str] = (),
) -> Decision:
    """Whether this stage is stale, given the keys of its needs and which of them are stale."""
    if record is None:
        changes = [_why_unrecorded(observed.left)]
    else:
        changes = _interruption(observed, "interrupted")
        changes += _changes(record, observed)
        changes += _need_changes(record.needs, needs, stale_needs)
        # Told last: what was edited since the last good run is likely why it failed.
        changes += _interruption(observed, "failed")
    if not changes:
        return Decision(name, False, UP_TO_DATE)
    more = len(changes) - 1
    reason = f"{changes[0]} (and {more} more)" if more else changes[0]
    return Decision(name, True, reason, tuple(changes))


def _unknown(name: str, path: Sequence[str], stages: Mapping[str, Stage]) -> ConfigError:
    asked = f"stage {path[-1]} needs {name}, which is not a stage" if path else f"no stage {name}"
    return ConfigError(asked, hint=f"the stages of kindloop.yaml: {', '.join(stages) or 'none'}")


def _why_unrecorded(left: Left | None) -> str:
    if left is None:
        return "never built"
    return "cleaned" if left.how == "cleaned" else f"{left.how} last time"


def _interruption(observed: Observed, how: str) -> list[str]:
    return [f"{how} last time"] if observed.left and observed.left.how == how else []


def _changes(record: Record, observed: Observed) -> list[str]:
    changes = ["command changed"] if record.command != observed.command else []
    changes += _input_changes(record.inputs, observed.inputs)
    changes += [f"input {pattern} missing" for pattern in observed.missing]
    changes += _setting_changes(record.settings, observed.settings)
    changes += _variable_changes(record.env_inputs, observed.env_inputs)
    changes += _tool_changes(record.tools, observed.tools)
    return changes + _output_changes(record.outputs, observed.outputs)


def _input_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    if old == new:
        return []
    changed = [f"{name} changed" for name in new if name in old and old[name] != new[name]]
    added = [f"{name} added" for name in new if name not in old]
    removed = [f"{name} removed" for name in old if name not in new]
    return sorted(changed) + sorted(added) + sorted(removed)


def _setting_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    if old.get(TRIPLE) != new.get(TRIPLE):
        return [f"target {old.get(TRIPLE, 'none')} → {new.get(TRIPLE, 'none')}"]
    return _variable_changes(old, new)


def _variable_changes(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> list[str]:
    names = sorted({*old, *new})
    return [f"environment {name} changed" for name in names if old.get(name) != new.get(name)]


def _tool_changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changes = [
        f"{tool} {_versions(old[tool], said)}"
        for tool, said in new.items()
        if tool in old and old[tool] != said
    ]
    changes += [f"tool {tool} added" for tool in new if tool not in old]
    return changes + [f"tool {tool} removed" for tool in old if tool not in new]


def _versions(old: str, new: str) -> str:
    """Version numbers when they tell the difference, else all that was said."""
    short = [".".join(map(str, version_of(text))) for text in (old, new)]
    old, new = short if short[0] != short[1] else (old, new)
    return f"{old} → {new}"


def _output_changes(old: Mapping[str, str], new: Mapping[str, str | None]) -> list[str]:
    changes = []
    for name, digest in new.items():
        shown = name.removeprefix("{target}/").removeprefix("{root}/")
        if digest is None:
            changes.append(f"output {shown} missing")
        elif name not in old:
            changes.append(f"output {shown} added")
        elif old[name] != digest:
            changes.append(f"output {shown} changed since it was built")
    return changes


def _need_changes(
    old: Mapping[str, str], new: Mapping[str, str], stale: Sequence[str]
) -> list[str]:
    changes = [f"no longer needs {need}" for need in old if need not in new]
    for need in new:
        if old.get(need) != new[need]:
            how = "is stale" if need in stale else "is newer"
            changes.append(f"needs {need}, which {how}")
    return changes
