"""Finds kindloop.yaml, reads it into `Config` and tells every mistake of it at once."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from kindloop._yaml import Keys, Mistake, Reader, absolute, compose, display, scalar, suggest
from kindloop.config import DEFAULT_PORTS, NODE_PORTS, App, Config, CopiedFiles, Profile
from kindloop.errors import ConfigError

__all__ = ["FILE_NAME", "find", "load"]

FILE_NAME = "kindloop.yaml"
NAME_CHARS = 40
"""kind appends `-control-plane` for the node's host name, which holds 63 characters at most."""
MAX_OFFSET = 10_000
"""Shifts the highest default port without leaving the range of ports."""
MAX_PORT = 65_535

_BEGIN = "printf 'version: 1\\n' > "
_FILE_KEYS: Mapping[tuple[type, str], str] = {(CopiedFiles, "source"): "from"}
_VARIABLES: Mapping[str, tuple[Any, Keys]] = {
    "KINDLOOP_NAME": (str, ("name",)),
    "KINDLOOP_PORT_OFFSET": (int, ("cluster", "port_offset")),
    "KINDLOOP_PROFILE": (Profile, ("profile",)),
}
_PLACEHOLDER = re.compile(r"\{[A-Za-z_][\w.-]*\}")
_FOLDERS = ("{target}", "{root}", "{here}")
_PORTS = {f"{{ports.{name}}}": name for name in NODE_PORTS}
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_STAGE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class _File(Config):
    """Config as it stands in the file."""

    version: Literal[1]


def load(
    path: Path | None = None, env: Mapping[str, str] = os.environ, start: Path | None = None
) -> Config:
    """The settings of kindloop.yaml with the overrides of the environment, all checked.

    `path` and `start` as in `find`. KINDLOOP_NAME, KINDLOOP_PORT_OFFSET (0 to 10000) and
    KINDLOOP_PROFILE override the file. Raises ConfigError, with every mistake as a line
    `kindloop.yaml:LINE:COLUMN: what` of its evidence.
    """
    file = find(path, env, start)
    root = compose(_content(file))
    if isinstance(root, Mistake):
        raise _error(file, "cannot be read as YAML", [root], {}, [])
    reader = Reader(file.parent, env, _FILE_KEYS)
    draft = reader.read(_File, root, given={"path": file})
    overrides, wrong = _overrides(env)
    _check(reader, overrides)
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
        hint=f"go to a checkout that has one, or begin one here: {_BEGIN}{FILE_NAME}",
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
    for name, (kind, keys) in _VARIABLES.items():
        if name not in env:
            continue
        try:
            value = scalar(kind, env[name])
            faults = list(_value_faults(keys, value))
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
        name: replace(each, url=_PLACEHOLDER.sub(lambda m: str(ports[_PORTS[m[0]]]), each.url))
        for name, each in draft.workloads.items()
    }
    values = {field.name: getattr(draft, field.name) for field in fields(Config)}
    values |= {
        "app": draft.app if ("app", "root") in reader.found else App(reader.folder),
        "cluster": cluster,
        "workloads": workloads,
        "name": overrides.get(("name",), draft.name),
        "profile": overrides.get(("profile",), draft.profile),
    }
    return Config(**values)


def _check(reader: Reader, overrides: dict[Keys, Any]) -> None:
    for keys, at in reader.key_marks.items():
        for text in _key_faults(keys):
            reader.mistake(at, text)
    values = {keys: found.value for keys, found in reader.found.items()} | overrides
    stages = [str(keys[1]) for keys in reader.key_marks if keys[:-1] == ("stages",)]
    for keys, found in reader.found.items():
        for text in (
            *_value_faults(keys, found.value),
            *_reference_faults(keys, found.value, values, stages),
            *_placeholder_faults(keys, found.value, values),
        ):
            reader.mistake((found.line, found.column), text, keys)
    _check_ports(reader, values.get(("cluster", "port_offset"), 0))
    _check_cycles(reader)


def _key_faults(keys: Keys) -> Iterator[str]:
    match keys:
        case ("cluster", "ports", str(name)) if name not in NODE_PORTS:
            yield f"cluster.ports: unknown port {name}{suggest(name, NODE_PORTS)}"
        case ("stages", str(name)) if not _STAGE_NAME.fullmatch(name):
            yield f"stages: {name!r} is no name: use letters, digits, dots, - and _"
        case ("workloads", str(name)):
            yield from (f"workloads: {text}" for text in _label_faults(name, 63))


def _value_faults(keys: Keys, value: Any) -> Iterator[str]:
    match keys:
        case ("name",):
            yield from _label_faults(value, NAME_CHARS)
        case ("app", "root") | ("core",) | ("workloads", _, "manifests"):
            yield from _path_faults(value, "folder")
        case ("cluster", "config") | ("workloads", *_, "openapi" | "dockerfile"):
            yield from _path_faults(value, "file")
        case ("cluster", "port_offset"):
            yield from _range_faults(value, 0, MAX_OFFSET)
        case ("cluster", "ports", _) if value is not None:
            yield from _range_faults(value, 1, MAX_PORT)
        case ("stages", _, "run"):
            yield from _command_faults(value)
        case ("workloads", _, "health") if not value.startswith("/"):
            yield f"expected a path that begins with /, found {value}"
        case ("workloads", _, "url") if value and not re.match("https?://.", value):
            yield f"expected a URL that begins with http:// or https://, found {value}"
        case (*_, str(last)) if last.endswith("_s") and isinstance(value, int) and value < 1:
            yield f"expected at least 1 second, found {value}"


def _label_faults(name: str, most: int) -> Iterator[str]:
    if not _DNS_LABEL.fullmatch(name):
        yield f"{name!r} is no name: use a-z, 0-9 and - between them"
    elif len(name) > most:
        yield f"{name} has {len(name)} characters, at most {most} are possible"


def _path_faults(path: Path | None, kind: Literal["file", "folder"]) -> Iterator[str]:
    if path and not (path.is_file() if kind == "file" else path.is_dir()):
        state = f"is not a {kind}" if path.exists() else "does not exist"
        yield f"{display(path)} {state}"


def _range_faults(value: int, least: int, most: int) -> Iterator[str]:
    if not least <= value <= most:
        yield f"expected {least} to {most}, found {value}"


def _command_faults(command: str) -> Iterator[str]:
    try:
        if not shlex.split(command):
            yield "expected a command, found nothing"
    except ValueError as exc:
        yield f"cannot be split into words: {str(exc).lower()}"


def _reference_faults(
    keys: Keys, value: Any, values: Mapping[Keys, Any], stages: list[str]
) -> Iterator[str]:
    match keys:
        case ("stages", _, "needs", _) | ("workloads", _, "image", "artifact") if (
            value not in stages
        ):
            yield f"unknown stage {value}{suggest(value, stages)}"
        case ("workloads", _, "image", "artifact") if ("stages", value, "outputs", 0) not in values:
            yield f"the stage {value} has no outputs; the first is to be the binary"


def _placeholder_faults(keys: Keys, value: Any, values: Mapping[Keys, Any]) -> Iterator[str]:
    allowed: tuple[str, ...] = ()
    match keys:
        case ("stages", _, "run") | ("stages", _, "inputs" | "outputs", _):
            allowed = _FOLDERS
        case ("workloads", _, "url"):
            allowed = tuple(_PORTS)
    for name in _PLACEHOLDER.findall(value) if isinstance(value, str) else ():
        if allowed and name not in allowed:
            yield f"unknown placeholder {name}{suggest(name, allowed)}"
        elif name not in allowed and name in (*_FOLDERS, *_PORTS):
            yield f"{name} is not replaced here"
        elif values.get(("cluster", "ports", _PORTS.get(name, "")), "") is None:
            yield f"{name} names a port that is off"


def _check_ports(reader: Reader, offset: int) -> None:
    owners = {
        port: f"{name} (its default)"
        for name, port in DEFAULT_PORTS.items()
        if ("cluster", "ports", name) not in reader.key_marks
    }
    for keys, found in reader.found.items():
        if keys[:2] == ("cluster", "ports") and found.value is not None:
            port, at = found.value, (found.line, found.column)
            if port in owners:
                reader.mistake(at, f"{port} is also the port of {owners[port]}", keys)
            elif port <= MAX_PORT < port + offset:
                reader.mistake(at, f"{port} + offset {offset} is over {MAX_PORT}", keys)
            owners.setdefault(port, str(keys[-1]))


def _check_cycles(reader: Reader) -> None:
    needs: dict[str, dict[str, tuple[int, int]]] = {}
    for keys, found in reader.found.items():
        if keys[:1] == ("stages",) and keys[2:3] == ("needs",):
            needs.setdefault(str(keys[1]), {})[found.value] = (found.line, found.column)
    while cycle := _cycle(needs):
        reader.mistake(needs[cycle[0]].pop(cycle[1]), f"stages: cycle {' -> '.join(cycle)}")


def _cycle(needs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One cycle, from its first stage in the file and back to it; empty when there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as exc:
        # graphlib lists what is needed before what needs it, and closes the ring.
        ring = exc.args[1][:0:-1]
        turn = ring.index(min(ring, key=list(needs).index))
        return [*ring[turn:], *ring[: turn + 1]]
    return []


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
