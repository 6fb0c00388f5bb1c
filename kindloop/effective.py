"""What kindloop goes by: the value of every setting, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from kindloop._yaml import Keys, Reader, compose, display, dotted
from kindloop.config import Config
from kindloop.loading import FILE_KEYS, VARIABLES, File, load

__all__ = ["Row", "as_json", "rows", "settings", "summary", "table"]

Source = Literal["default", "file", "environment"]
SCHEMA = 1
"""Version of the document of `as_json`."""


@dataclass(frozen=True)
class Row:
    """A setting. `value` is text, a number, a truth value, None, or a list or mapping of these."""

    name: str
    """As in error messages: workloads.petstore.swap.env.RUST_LOG."""
    value: Any
    source: Source
    place: str = ""
    """`kindloop.yaml:12`, or the variable's name; empty for a default."""

    @property
    def origin(self) -> str:
        """The place, or that it is the default."""
        return self.place or "default"


def settings(env: Mapping[str, str] = os.environ, start: Path | None = None) -> list[Row]:
    """Every setting as it counts, in the order of `config`. Raises ConfigError as `load` does."""
    config = load(env=env, start=start)
    reader = Reader(config.root, env, FILE_KEYS)
    root = compose(config.path.read_bytes())
    if isinstance(root, yaml.Node):  # it was read a moment ago
        reader.read(File, root, given={"path": config.path})
    lines = {keys: found.line for keys, found in reader.found.items()}
    lines |= {keys: at[0] for keys, at in reader.key_marks.items() if keys and keys not in lines}
    variables = {keys: name for name, (_, keys) in VARIABLES.items() if name in env}
    return rows(config, lines, variables)


def rows(config: Config, lines: Mapping[Keys, int], variables: Mapping[Keys, str]) -> list[Row]:
    """The settings of `config`. Pure.

    `lines` is the line of kindloop.yaml by the setting's keys, `variables` the name of the
    variable of the environment that overrides it.
    """
    found = []
    for keys, value in _leaves(config, ()):
        if keys == ("path",):
            continue
        line = lines.get(keys) or lines.get(_followed(keys))
        if keys in variables:
            found.append(Row(dotted(keys), value, "environment", variables[keys]))
        elif line:
            place = f"{display(config.path)}:{line}"
            found.append(Row(dotted(keys), value, "file", place))
        else:
            found.append(Row(dotted(keys), value, "default"))
    return found


def table(found: list[Row]) -> str:
    """The rows as text: name, origin, value."""
    names = max(len(row.name) for row in found)
    origins = max(len(row.origin) for row in found)
    return "\n".join(
        f"{row.name:<{names}}  {row.origin:<{origins}}  {_shown(row.value)}" for row in found
    )


def as_json(config: Path, found: list[Row]) -> dict[str, Any]:
    """The rows as a document with `schema`."""
    listed = [
        {
            "name": row.name,
            "value": row.value,
            "source": row.source,
            **({"place": row.place} if row.place else {}),
        }
        for row in found
    ]
    return {"schema": SCHEMA, "file": str(config), "settings": listed}


def summary(config: Config) -> str:
    """What a right kindloop.yaml says, in a few lines."""
    ports = ", ".join(f"{name} {port}" for name, port in config.cluster.host_ports().items())
    stages = ", ".join(config.stages) or "none"
    how = f"profile {config.profile}, observability {config.observability}"
    lines = [
        f"{display(config.path)}: ok",
        f"environment {config.name}, {how}",
        f"stages: {stages}",
        *(f"workload {each.name}: {each.url or 'no url'}" for each in config.workloads.values()),
        f"ports: {ports}",
    ]
    return "\n".join(lines)


def _leaves(value: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    if is_dataclass(value):
        for one in fields(value):
            if one.name == "name" and keys:
                continue  # it is the key
            name = FILE_KEYS.get((type(value), one.name), one.name)
            yield from _leaves(getattr(value, one.name), (*keys, name))
    elif isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from _leaves(each, (*keys, name))
    elif isinstance(value, tuple) and any(is_dataclass(each) for each in value):
        for index, each in enumerate(value):
            yield from _leaves(each, (*keys, index))
    else:
        yield keys, _plain(value)


def _followed(keys: Keys) -> Keys:
    """The setting that an artifact is taken from: that of the swap is that of the image."""
    match keys:
        case ("workloads", name, "image", "artifact"):
            return ("workloads", name, "swap", "artifact")
    return keys


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return "{}" if value == {} else str(value)
