"""What cargo says of a project: its binaries, and the files that each is built from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kindloop import tools
from kindloop.errors import ConfigError, ToolFailed

__all__ = ["Binary", "Project", "choose", "inspect", "read"]

ANSWER_S = 300.0
"""Seconds: rustup may first install the toolchain that the project's file asks for."""
BUILT_FROM = (
    "src", "build.rs", "Cargo.toml", "askama.toml", ".sqlx", "assets", "migrations", "proto",
    "resources", "static", "templates",
)  # fmt: skip
"""What a package is usually built from, by the names that macros and build scripts expect."""
SHARED = (
    "Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain",
    ".cargo/config.toml", ".cargo/config",
)  # fmt: skip
"""What all packages of a workspace are built from."""
SERVERS = (
    "axum", "actix-web", "rocket", "warp", "poem", "salvo", "tonic", "tide", "may_minihttp",
    "tiny_http", "rouille", "hyper",
)  # fmt: skip
"""Crates that serve HTTP; who depends on one of these is likely the service."""
FRONTS = frozenset({"api", "app", "front", "frontend", "gateway", "server", "web"})
"""Names of services that people, and not other services, call."""


@dataclass(frozen=True)
class Binary:
    """A program that cargo can build. Folders are relative to the workspace's."""

    name: str
    package: str
    folder: str = "."
    """Of its package."""
    source: str = "src/main.rs"
    """Its first source file, relative to the workspace."""
    features: tuple[str, ...] = ()
    """Features without which cargo does not build it."""
    default: bool = False
    """Whether its package says that `cargo run` means this one."""
    server: str = ""
    """A crate that serves HTTP on which its package depends; empty when none is known."""
    needs: tuple[str, ...] = ()
    """Folders of packages on this machine that it is built from, other than its own."""

    def __str__(self) -> str:
        return f"{self.name} (package {self.package}{f', {self.server}' if self.server else ''})"


@dataclass(frozen=True)
class Project:
    """A Cargo workspace: its folder (absolute) and its binaries, sorted by name."""

    root: Path
    binaries: tuple[Binary, ...]

    def inputs(self, binary: Binary) -> tuple[str, ...]:
        """What the binary is built from: those of the usual files and folders that are there."""
        folders = (binary.folder, *binary.needs)
        source = os.path.dirname(binary.source)  # noqa: PTH120 - text, as cargo gave it
        wanted = [os.path.normpath(f"{folder}/{name}") for folder in folders for name in BUILT_FROM]
        if not any(source == each or source.startswith(f"{each}/") for each in wanted):
            wanted.insert(0, source or binary.source)
        there = [each for each in (*wanted, *SHARED) if (self.root / each).exists()]
        return tuple(dict.fromkeys(there))


def inspect(folder: Path) -> Project:
    """The workspace that `folder` is in, asked of cargo.

    Raises ConfigError when there is none or cargo does not take it, ToolMissing without cargo.
    """
    argv = ("cargo", "metadata", "--format-version=1", "--no-deps")
    try:
        said = tools.run(*argv, cwd=folder, timeout_s=ANSWER_S, env={"CARGO_TERM_COLOR": "never"})
    except ToolFailed as exc:
        lines = [line for line in exc.evidence if line.strip()]
        if any("could not find `Cargo.toml`" in line for line in lines):
            raise ConfigError(
                f"there is no Cargo.toml in {folder} or a folder above it",
                hint="go to the Cargo project, or: invoke config.init --root FOLDER",
            ) from exc
        raise ConfigError(
            "cargo does not take this project",
            evidence=lines,
            hint="correct it until cargo metadata --no-deps ends well",
        ) from exc
    return read(json.loads(said.stdout))


def read(document: Mapping[str, Any]) -> Project:
    """The project in the JSON of `cargo metadata --no-deps`. Pure."""
    root = Path(document["workspace_root"])
    members = set(document["workspace_members"])
    packages = {_folder(p): p for p in document["packages"] if p["id"] in members}
    found = [
        _binary(root, packages, package, target)
        for package in packages.values()
        for target in package["targets"]
        if "bin" in target["kind"]
    ]
    return Project(root, tuple(sorted(found, key=lambda b: (b.name, b.package))))


def choose(project: Project, wanted: str = "") -> tuple[Binary, ...]:
    """The binaries named `wanted` (each NAME or PACKAGE/NAME, commas between), in that order.

    Without a name: the only one, the default one, or of each package the one that serves HTTP, the
    likely front first. Raises ConfigError that lists the binaries when it cannot tell. Pure.
    """
    found = project.binaries
    if not found:
        raise ConfigError(
            f"{project.root} has no binary",
            why="a service needs a src/main.rs, or a [[bin]] in Cargo.toml",
            hint="cargo init, or name another folder: invoke config.init --root FOLDER",
        )
    if wanted:
        return tuple(dict.fromkeys(_named(project, name.strip()) for name in wanted.split(",")))
    if only := _only(found):
        return (only,)
    servers = [b for b in found if b.server]
    packages, names = {b.package for b in servers}, {b.name for b in servers}
    if not servers or len(servers) > min(len(packages), len(names)):
        why = "which of them serve HTTP cannot be told; several services: --bin ONE,OTHER"
        raise _several(project, found, why, min(found, key=lambda b: not b.server).name)
    return tuple(sorted(servers, key=lambda b: (b.name not in FRONTS, b.name)))


def _named(project: Project, wanted: str) -> Binary:
    found = tuple(b for b in project.binaries if wanted in (b.name, f"{b.package}/{b.name}"))
    if only := _only(found):
        return only
    if found:
        why = f"packages have one called {wanted} each"
        raise _several(project, found, why, f"{found[0].package}/{found[0].name}")
    raise ConfigError(
        f"there is no binary {wanted} in {project.root}",
        evidence=[str(each) for each in project.binaries],
        hint=f"invoke config.init --bin {project.binaries[0].name}",
    )


def _only(found: Sequence[Binary]) -> Binary | None:
    """The only one, else the only default one; None where that is no single one."""
    alone = found if len(found) == 1 else [b for b in found if b.default]
    return alone[0] if len(alone) == 1 else None


def _several(project: Project, found: Iterable[Binary], why: str, likely: str) -> ConfigError:
    return ConfigError(
        f"there are several binaries in {project.root}",
        evidence=[str(each) for each in found],
        why=why,
        hint=f"invoke config.init --bin {likely}",
    )


def _binary(
    root: Path,
    packages: Mapping[Path, Mapping[str, Any]],
    package: Mapping[str, Any],
    target: Mapping[str, Any],
) -> Binary:
    names = {each["name"] for each in _dependencies(package)}
    folder = _folder(package)
    return Binary(
        name=target["name"],
        package=package["name"],
        folder=os.path.relpath(folder, root),
        source=os.path.relpath(target["src_path"], root),
        features=tuple(target.get("required-features") or ()),
        default=package.get("default_run") == target["name"],
        server=next((name for name in SERVERS if name in names), ""),
        needs=tuple(os.path.relpath(each, root) for each in _needed(packages, folder)),
    )


def _needed(packages: Mapping[Path, Mapping[str, Any]], first: Path) -> list[Path]:
    """Folders of the packages on this machine that the one in `first` is built from, sorted."""
    found: set[Path] = set()
    waiting = [first]
    while waiting:
        package = packages.get(waiting.pop())
        paths = {Path(d["path"]) for d in _dependencies(package or {}) if d.get("path")}
        waiting += paths - found
        found |= paths
    return sorted(found - {first})


def _dependencies(package: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those of the build; what only tests need is none."""
    every: Iterable[Mapping[str, Any]] = package.get("dependencies") or ()
    return (each for each in every if each.get("kind") != "dev")


def _folder(package: Mapping[str, Any]) -> Path:
    return Path(package["manifest_path"]).parent
