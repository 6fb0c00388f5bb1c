"""What the values of kindloop.yaml may be: each by itself, and as they refer to each other.

A fault is text alone; `check` notes it in the reader with the line and column of its value.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

from kindloop._yaml import Keys, Reader, display, dotted, suggest
from kindloop.config import DEFAULT_PORTS, NODE_PORTS, OTEL_DISABLED, SUPERVISOR_STAGE, Stage, Watch

__all__ = [
    "MAX_OFFSET",
    "MAX_PORT",
    "NAME_CHARS",
    "PLACEHOLDER",
    "PORTS",
    "check",
    "range_of",
    "value_faults",
]

NAME_CHARS = 40
"""kind appends `-control-plane` for the node's host name, which holds 63 characters at most."""
MAX_OFFSET = 10_000
"""Shifts the highest default port without leaving the range of ports."""
MAX_PORT = 65_535
PLACEHOLDER = re.compile(r"\{[A-Za-z_][\w.-]*\}")
PORTS = {f"{{ports.{name}}}": name for name in NODE_PORTS}
"""Name of the port by the placeholder that stands for it."""

_FOLDERS = ("{target}", "{root}", "{here}")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_STAGE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MILLISECONDS: Mapping[str, tuple[int, int]] = {
    "grace_ms": (0, 60_000),
    "probation_ms": (100, 600_000),
    "quiet_ms": (1, 5_000),
}
"""Least and most by the name of a setting."""
_WHOLE: Mapping[Keys, tuple[int, int]] = MappingProxyType(
    {("cluster", "port_offset"): (0, MAX_OFFSET), ("scrape_s",): (1, 300)}
)
"""Least and most of a setting that stands at one place."""
_LOAD: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "users": (1, 10_000),
        "hatch_rate": (0.1, 1000),
        "run_time_s": (1, 86_400),
        "max_p95_ms": (0.1, 600_000),
        "max_error_ratio": (0, 1),
        "min_rps": (0, 1_000_000),
    }
)
"""Least and most by the name of a setting of a load profile."""


def check(reader: Reader, overrides: Mapping[Keys, Any]) -> None:
    """Note every mistake of what was read; `overrides` has the values that come before it."""
    for keys, at in reader.key_marks.items():
        for text in _key_faults(keys):
            reader.mistake(at, text)
    values = {**{keys: found.value for keys, found in reader.found.items()}, **overrides}
    stages = [str(keys[1]) for keys in reader.key_marks if keys[:-1] == ("stages",)]
    for keys, found in reader.found.items():
        for text in (
            *value_faults(keys, found.value),
            *_reference_faults(keys, found.value, values, stages),
            *_placeholder_faults(keys, found.value, values),
        ):
            reader.mistake((found.line, found.column), text, keys)
    _check_ports(reader, values.get(("cluster", "port_offset"), 0))
    _check_cycles(reader)
    _check_built_by(reader, values, stages)
    _check_watch(reader, values)
    _check_swaps(reader, values)


def _key_faults(keys: Keys) -> Iterator[str]:
    match keys:
        case ("cluster", "ports", str(name)) if name not in NODE_PORTS:
            yield f"cluster.ports: unknown port {name}{suggest(name, NODE_PORTS)}"
        case ("stages", str(name)) if not _STAGE_NAME.fullmatch(name):
            yield f"stages: {name!r} is no name: use letters, digits, dots, - and _"
        case ("load", str(name)) if not _STAGE_NAME.fullmatch(name):
            yield f"load: {name!r} is no name: use letters, digits, dots, - and _"
        case ("workloads", str(name)):
            yield from (f"workloads: {text}" for text in _label_faults(name, 63))
        case ("workloads", *_, "swap", "env", str(name)):
            yield from (f"{dotted(keys[:-1])}: {text}" for text in _variable_faults(name))


def value_faults(keys: Keys, value: Any) -> Iterator[str]:
    """What is wrong with a value whatever the others are."""
    match keys:
        case ("name",):
            yield from _label_faults(value, NAME_CHARS)
        case ("app", "root") | ("core",) | ("stack",) | ("workloads", _, "manifests"):
            yield from _path_faults(value, "folder")
        case ("cluster", "config") | ("workloads", *_, "openapi" | "dockerfile"):
            yield from _path_faults(value, "file")
        case ("stages", _, "run"):
            yield from _command_faults(value)
        case ("workloads", _, "health") if not value.startswith("/"):
            yield f"expected a path that begins with /, found {value}"
        case ("workloads", _, "url") if value and not re.match("https?://.", value):
            yield f"expected a URL that begins with http:// or https://, found {value}"
        case ("workloads", _, "sync", _, "to"):
            yield from _place_faults(value)
        case ("secrets", _) if not _VARIABLE.fullmatch(value):
            yield f"{value!r} is no name of a variable: use letters, digits and _"
        case _ if isinstance(value, int | float):
            yield from _range_faults(value, *range_of(keys))


def range_of(keys: Keys) -> tuple[float | None, float | None]:
    """Least and most that the number at `keys` may be; None for no limit. Pure."""
    match keys:
        case ("cluster", "port_offset") | ("scrape_s",):
            return _WHOLE[keys]
        case ("cluster", "ports", _):
            return 1, MAX_PORT
        case ("workloads", _, "swap", str(name)) | ("watch", str(name)) if name in _MILLISECONDS:
            return _MILLISECONDS[name]
        case ("load", _, str(name)) if name in _LOAD:
            return _LOAD[name]
        case (*_, str(last)) if last.endswith("_s"):
            return 1, None
    return None, None


def _label_faults(name: str, most: int) -> Iterator[str]:
    if not _DNS_LABEL.fullmatch(name):
        yield f"{name!r} is no name: use a-z, 0-9 and - between them"
    elif len(name) > most:
        yield f"{name} has {len(name)} characters, at most {most} are possible"


def _variable_faults(name: str) -> Iterator[str]:
    if not _VARIABLE.fullmatch(name):
        yield f"{name!r} is no name of a variable: use letters, digits and _"
    elif name.startswith("KINDLOOP_"):
        yield f"{name} is the supervisor's own: it hands no KINDLOOP_ variable on"


def _place_faults(to: str) -> Iterator[str]:
    place = PurePosixPath(to)
    if place.is_absolute() or ".." in place.parts or not place.parts:
        yield f"expected a path below the image's working directory, found {to or 'nothing'}"


def _path_faults(path: Path | None, kind: Literal["file", "folder"]) -> Iterator[str]:
    try:
        if path and not (path.is_file() if kind == "file" else path.is_dir()):
            state = f"is not a {kind}" if path.exists() else "does not exist"
            yield f"{display(path)} {state}"
    except OSError as exc:  # a folder on the way that is closed to us, a name that is too long
        yield f"{path and display(path)} cannot be looked at: {exc.strerror}"


def _range_faults(value: float, least: float | None, most: float | None) -> Iterator[str]:
    if least is not None and most is None and value < least:
        yield f"expected at least {least} second, found {value}"
    elif least is not None and most is not None and not least <= value <= most:
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
        case (
            ("stages", _, "needs", _)
            | ("stages", _, "built_by")
            | ("workloads", _, "image" | "swap", "artifact")
        ) if value not in stages:
            yield f"unknown stage {value}{suggest(value, stages)}"
        case ("workloads", _, "image" | "swap", "artifact") if (
            "stages",
            value,
            "outputs",
            0,
        ) not in values:
            yield f"the stage {value} has no outputs; the first is to be the binary"
        case ("workloads", _, "swap", "artifact") if (
            PurePosixPath(values["stages", value, "outputs", 0]).name == SUPERVISOR_STAGE
        ):
            yield f"the binary of {value} is called {SUPERVISOR_STAGE}, as process 1 of the pod is"
        case ("workloads", name, "image", "artifact"):
            swapped = values.get(("workloads", name, "swap", "artifact"), value)
            if swapped != value:
                yield f"swap.artifact is {swapped}: leave this out, it would be the same"


def _placeholder_faults(keys: Keys, value: Any, values: Mapping[Keys, Any]) -> Iterator[str]:
    allowed: tuple[str, ...] = ()
    match keys:
        case ("workloads", _, "swap", "env", _):
            # The one that is; any other braces are the value's own.
            value = value.replace(OTEL_DISABLED, "")
        case ("stages", _, "run") | ("stages", _, "inputs" | "outputs", _):
            allowed = _FOLDERS
        case ("workloads", _, "url"):
            allowed = tuple(PORTS)
    for name in PLACEHOLDER.findall(value) if isinstance(value, str) else ():
        if allowed and name not in allowed:
            yield f"unknown placeholder {name}{suggest(name, allowed)}"
        elif name not in allowed and name in (*_FOLDERS, *PORTS, OTEL_DISABLED):
            yield f"{name} is not replaced here"
        elif values.get(("cluster", "ports", PORTS.get(name, "")), "") is None:
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


def _check_built_by(reader: Reader, values: Mapping[Keys, Any], stages: Sequence[str]) -> None:
    """A stage that another builds is ready when that one is: nothing may ask for it before."""
    for keys, found in reader.found.items():
        if keys[:1] != ("stages",) or keys[2:] != ("built_by",) or found.value not in stages:
            continue
        name, by = str(keys[1]), found.value
        needs = {stage: _listed(values, stage, "needs") for stage in stages}
        others = [stage for stage in stages if stage != by and name in needs[stage]]
        at = (found.line, found.column)
        if name not in needs[by]:
            reader.mistake(at, f"{by} does not need {name}: add it to stages.{by}.needs", keys)
        if others:
            reader.mistake(at, f"{others[0]} needs {name} too, so it has to run by itself", keys)
        if _listed(values, name, "outputs"):
            reader.mistake(at, f"{name} has outputs, which only its own command makes", keys)
        if ("stages", by, "built_by") in values:
            reader.mistake(at, f"{by} has a built_by of its own", keys)
        platforms = [values.get(("stages", s, "platform"), Stage.platform) for s in (name, by)]
        if platforms[0] != platforms[1]:
            text = f"{name} is built for the {platforms[0]}, {by} for the {platforms[1]}"
            reader.mistake(at, text, keys)


def _listed(values: Mapping[Keys, Any], stage: str, setting: str) -> list[Any]:
    return [found for keys, found in values.items() if keys[:3] == ("stages", stage, setting)]


def _check_watch(reader: Reader, values: Mapping[Keys, Any]) -> None:
    keys: tuple[Keys, Keys] = (("watch", "quiet_ms"), ("watch", "cap_ms"))
    quiet, cap = values.get(keys[0], Watch.quiet_ms), values.get(keys[1], Watch.cap_ms)
    if cap < quiet:
        told = keys[1] if keys[1] in reader.found else keys[0]
        found = reader.found[told]
        text = f"a batch would end ({cap} ms) before it is quiet ({quiet} ms)"
        reader.mistake((found.line, found.column), text, told)


def _check_swaps(reader: Reader, values: Mapping[Keys, Any]) -> None:
    names = [keys[1] for keys in reader.key_marks if keys[:-1] == ("workloads",)]
    swapped = [name for name in names if _is_on(("workloads", name, "swap"), reader)]
    for name in names:
        sync = ("workloads", name, "sync")
        if name in swapped:
            _check_places(reader, name, values)
        elif sync in reader.key_marks:
            text = "files are swapped with a binary; without a swap, image.files copies them"
            reader.mistake(reader.key_marks[sync], text, sync)
    own = ("stages", SUPERVISOR_STAGE)
    if swapped and own in reader.key_marks and (*own, "outputs", 0) not in values:
        text = "it has no outputs; the first is to be the program that workloads with swap run"
        reader.mistake(reader.key_marks[own], text, own)


def _is_on(keys: Keys, reader: Reader) -> bool:
    """Whether a mapping that may be `off` is there."""
    return keys in reader.key_marks and keys not in reader.found


def _check_places(reader: Reader, name: str | int, values: Mapping[Keys, Any]) -> None:
    """Synced files are links in the image: nothing else lies there, or inside, or around."""
    taken = {PurePosixPath(SUPERVISOR_STAGE): "the supervisor"}
    stage = str(values.get(("workloads", name, "swap", "artifact"), ""))
    if output := values.get(("stages", stage, "outputs", 0)):
        taken[PurePosixPath(PurePosixPath(output).name)] = "the binary"
    linked = set(taken)
    for keys, found in reader.found.items():
        if keys[:2] != ("workloads", name) or keys[-1] != "to" or any(_place_faults(found.value)):
            continue
        place, synced = PurePosixPath(found.value), keys[2] == "sync"
        for other, what in taken.items():
            nested = place.is_relative_to(other) or other.is_relative_to(place)
            if nested and (synced or other in linked):
                reader.mistake((found.line, found.column), f"{place} meets {what} ({other})", keys)
        taken.setdefault(place, dotted(keys[2:-1]))
        linked |= {place} if synced else set()


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
