"""Finds kindloop.yaml, reads it into `Config` and tells every mistake of it at once.

What the values of settings may be, `_checks` knows.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

from kindloop._checks import PLACEHOLDER, PORTS, check, value_faults
from kindloop._yaml import Keys, Mistake, Reader, absolute, compose, display, scalar
from kindloop.config import (
    DEFAULT_PORTS,
    SUPERVISOR_STAGE,
    App,
    Config,
    CopiedFiles,
    Observability,
    Profile,
    Resources,
    Stage,
    SyncedFiles,
    Workload,
)
from kindloop.errors import ConfigError

__all__ = ["FILE_KEYS", "FILE_NAME", "VARIABLES", "File", "find", "load"]

FILE_NAME = "kindloop.yaml"
SUPERVISOR_ENV: Mapping[str, str] = MappingProxyType(
    {
        # A file that every pod loads, in whatever profile: small before quickly built. It is
        # built once, and the abort saves the tables for unwinding.
        "CARGO_INCREMENTAL": "0",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "1",
        "CARGO_PROFILE_RELEASE_DEBUG": "0",
        "CARGO_PROFILE_RELEASE_INCREMENTAL": "false",
        "CARGO_PROFILE_RELEASE_LTO": "fat",
        "CARGO_PROFILE_RELEASE_OPT_LEVEL": "s",
        "CARGO_PROFILE_RELEASE_PANIC": "abort",
        "CARGO_PROFILE_RELEASE_STRIP": "symbols",
    }
)

_BEGIN = "printf 'version: 1\\n' > "
FILE_KEYS: Mapping[tuple[type, str], str] = {
    (CopiedFiles, "source"): "from",
    (SyncedFiles, "source"): "from",
}
VARIABLES: Mapping[str, tuple[Any, Keys]] = {
    "KINDLOOP_NAME": (str, ("name",)),
    "KINDLOOP_PORT_OFFSET": (int, ("cluster", "port_offset")),
    "KINDLOOP_PROFILE": (Profile, ("profile",)),
    "KINDLOOP_OBSERVABILITY": (Observability, ("observability",)),
    "KINDLOOP_RESOURCES": (Resources, ("resources",)),
    "KINDLOOP_SCRAPE_S": (int, ("scrape_s",)),
}


@dataclass(frozen=True, kw_only=True)
class File(Config):
    """Config as it stands in the file."""

    version: Literal[1]


def load(
    path: Path | None = None, env: Mapping[str, str] = os.environ, start: Path | None = None
) -> Config:
    """The settings of kindloop.yaml with the overrides of the environment, all checked.

    `path` and `start` as in `find`. KINDLOOP_NAME, KINDLOOP_PORT_OFFSET (0 to 10000),
    KINDLOOP_PROFILE, KINDLOOP_OBSERVABILITY, KINDLOOP_RESOURCES and KINDLOOP_SCRAPE_S (1 to 300)
    override the file. Raises ConfigError, with every mistake as a line
    `kindloop.yaml:LINE:COLUMN: what` of its evidence.
    """
    file = find(path, env, start)
    root = compose(_content(file))
    if isinstance(root, Mistake):
        raise _error(file, "cannot be read as YAML", [root], {}, [])
    reader = Reader(file.parent, env, FILE_KEYS)
    draft = reader.read(File, root, given={"path": file})
    overrides, wrong = _overrides(env)
    check(reader, overrides)
    if reader.mistakes or wrong:
        mistakes = sorted(set(reader.mistakes))
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise _error(file, f"has {count}", mistakes, wrong, reader.unset)
    return _complete(draft, reader, overrides)


def find(
    path: Path | None = None, env: Mapping[str, str] = os.environ, start: Path | None = None
) -> Path:
    """Absolute path of kindloop.yaml: `path`, else KINDLOOP_CONFIG, else from `start` upwards.

    `start` is the current folder when None. Raises ConfigError when there is no such file.
    """
    folder = absolute(start or ".")
    if named := path or env.get("KINDLOOP_CONFIG"):
        file = absolute(folder / named)
        if file.is_file():
            return file
        by = "" if path else " (named by KINDLOOP_CONFIG)"
        begin = f"begin it: {_BEGIN}{shlex.quote(display(file))}"
        raise ConfigError(f"there is no file {display(file)}{by}", hint=begin)
    if "KINDLOOP_CONFIG" in env:
        raise ConfigError("KINDLOOP_CONFIG is empty", hint="unset KINDLOOP_CONFIG")
    for parent in (folder, *folder.parents):
        if (parent / FILE_NAME).is_file():
            return parent / FILE_NAME
    raise ConfigError(
        f"there is no {FILE_NAME} in {folder} or a folder above it",
        hint="go to a checkout that has one, or begin one here: invoke config.init",
    )


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        what = f"{display(file)} cannot be read: {exc.strerror}"
        raise ConfigError(what, hint=f"ls -l {shlex.quote(display(file))}") from exc


def _overrides(env: Mapping[str, str]) -> tuple[dict[Keys, Any], dict[str, str]]:
    """The values of the variables that are set and right, and what is wrong with the others."""
    values: dict[Keys, Any] = {}
    wrong: dict[str, str] = {}
    for name, (kind, keys) in VARIABLES.items():
        if name not in env:
            continue
        try:
            value = scalar(kind, env[name])
            faults = list(value_faults(keys, value))
        except ValueError as exc:
            faults = [str(exc)]
        if faults:
            wrong[name] = faults[0]
        else:
            values[keys] = value
    return values, wrong


def _complete(draft: Config, reader: Reader, overrides: Mapping[Keys, Any]) -> Config:
    cluster = replace(
        draft.cluster,
        ports={**DEFAULT_PORTS, **draft.cluster.ports},
        port_offset=overrides.get(("cluster", "port_offset"), draft.cluster.port_offset),
    )
    ports = cluster.host_ports()
    workloads = {
        name: replace(
            _swappable(each), url=PLACEHOLDER.sub(lambda m: str(ports[PORTS[m[0]]]), each.url)
        )
        for name, each in draft.workloads.items()
    }
    stages = dict(draft.stages)
    if any(each.swap for each in workloads.values()):
        stages.setdefault(SUPERVISOR_STAGE, _supervisor_stage())
    values = {field.name: getattr(draft, field.name) for field in fields(Config)}
    values |= {
        "app": draft.app if ("app", "root") in reader.found else App(reader.folder),
        "cluster": cluster,
        "stages": stages,
        "workloads": workloads,
    }
    values |= {str(keys[0]): value for keys, value in overrides.items() if len(keys) == 1}
    return Config(**values)


def _swappable(workload: Workload) -> Workload:
    """The workload with what its swap says about its image, and `sync.to` as paths are compared."""
    if workload.swap is None:
        return workload
    image = replace(workload.image, artifact=workload.swap.artifact)
    sync = tuple(replace(each, to=str(PurePosixPath(each.to))) for each in workload.sync)
    return replace(workload, image=image, sync=sync)


def _supervisor_stage() -> Stage:
    """PID 1 of swappable pods, built as the service is: its sources come with kindloop."""
    sources = _supervisor_sources()
    manifest = sources / "Cargo.toml"
    return Stage(
        SUPERVISOR_STAGE,
        f"cargo build --release --locked --manifest-path {shlex.quote(str(manifest))}",
        inputs=tuple(str(sources / name) for name in ("src", "Cargo.toml", "Cargo.lock")),
        outputs=(f"{{target}}/{SUPERVISOR_STAGE}",),
        env=dict(SUPERVISOR_ENV),
        label="tools",
    )


def _supervisor_sources() -> Path:
    package = Path(__file__).parent
    packed = package / "data" / "supervisor"
    # A wheel carries them; in the repository they are beside the package.
    return packed if packed.is_dir() else package.parent / "supervisor"


def _error(
    file: Path, state: str, mistakes: list[Mistake], wrong: Mapping[str, str], unset: list[str]
) -> ConfigError:
    shown = display(file)
    what = [f"{file.name} {state}"] if mistakes else []
    what += [f"{name} is wrong" for name in wrong]
    edit = f"edit {shown}:{mistakes[0].line}" if mistakes else f"unset {' '.join(wrong)}"
    if unset and len(unset) == len(mistakes):
        edit = f"export {' '.join(f'{name}=PATH' for name in dict.fromkeys(unset))}"
    lines = [f"{shown}:{fault.line}:{fault.column}: {fault.text}" for fault in mistakes]
    lines += [f"{name}: {text}" for name, text in wrong.items()]
    return ConfigError(
        ", and ".join(what), evidence=lines, hint=f"{edit}, then run the command again"
    )
