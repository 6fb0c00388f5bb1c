"""What `dev-logs` and the flags of `dev-doctor` print with --json."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

__all__ = ["Bundle", "LogLine", "Outdated", "Version"]


class LogLine(TypedDict):
    """A line of the logs; each is a document on a line of its own."""

    schema: Literal[1]
    kind: Literal["line", "swap", "restart", "note"]
    """`swap`: another binary starts; `restart`: the same one again; `note`: about the logs."""
    text: str
    time: NotRequired[str]
    """When it was written, in UTC with nanoseconds; of a stage, when its run ended."""
    source: NotRequired[Literal["workload", "stage"]]
    name: NotRequired[str]
    """Of the workload or stage."""
    pod: NotRequired[str]
    container: NotRequired[str]
    """Where the pod has several."""
    generation: NotRequired[int]
    """Of a swap: its number."""
    digest: NotRequired[str]
    """Of a swap: the first digits of the binary's sha256."""


class Bundle(TypedDict):
    """What is in the archive that was written, and what is not."""

    schema: Literal[1]
    file: str
    """Path of the archive."""
    files: dict[str, int]
    """Bytes by path in the archive."""
    missing: dict[str, str]
    """Why something could not be had, by what it is."""


class Version(TypedDict):
    """A pinned version, or a tool of this machine."""

    name: str
    """As in versions.toml, such as `bake.etcd`; of a tool, `tool kind`."""
    have: str
    source: Literal["go", "pypi", "apt", "registry"]
    """Who was asked."""
    where: str
    """Module, package or image repository."""
    newest: str
    """Empty when nobody can tell."""
    patch: str
    """The newest of the same series, where it is newer and another."""
    outdated: bool | None
    """null: cannot tell."""
    why: str
    """Why not."""


class Outdated(TypedDict):
    """Which versions have a newer release."""

    schema: Literal[1]
    versions: list[Version]
