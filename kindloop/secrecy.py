"""Which values are secret: those that kindloop.yaml names, and those of Kubernetes Secrets.

They are looked for in the files as they stand, not in `Config`: what tells a mistake of a file
quotes it. `learn` has `report` mask them from then on.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kindloop import loading, report
from kindloop._yaml import absolute, display
from kindloop.config import Config
from kindloop.errors import ConfigError
from kindloop.manifestfacts import KUSTOMIZATIONS
from kindloop.masking import LONGEST, SHORTEST, Secret, common, few

__all__ = [
    "Found",
    "doubts",
    "learn",
    "look",
    "mask_kubeconfig",
    "mask_listed",
    "mask_objects",
    "of_object",
]

Object = Mapping[str, Any]
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Every scalar as the text that it is: a password of digits is no number."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Found:
    """A value that is to be masked, its key, and whose it is, as it is told to the user."""

    value: str
    key: str
    of: str


def learn(env: Mapping[str, str] = os.environ) -> None:
    """Mask, from now on, what the project's files name as secret. Never raises."""
    # A file that is a riddle is told by who needs it.
    with contextlib.suppress(ConfigError, OSError, ValueError, RecursionError):
        file = loading.find(env=env)
        found, own, _ = look(file, env)
        _mask(found, own)


def mask_objects(config: Config, objects: Iterable[Object]) -> None:
    """Mask, from now on, the values of the Secrets among `objects` (of which each has a `kind`)."""
    own = {config.name, *config.stages, *config.workloads}
    _mask((each for one in objects for each in of_object(one)), own)


def mask_listed(config: Config, answer: bytes) -> None:
    """Mask the Secrets in the API server's answer to who asks for those of the namespace.

    Warns when there are none to see because it refuses.
    """
    try:
        document = _mapping(json.loads(answer))
    except ValueError:
        document = {}
    if document.get("kind") != "SecretList":
        said = document.get("message") or "another answer than a list"
        report.warn(f"Secrets of {config.name} are not masked, they cannot be read: {said}")
    listed = map(_mapping, _list(document.get("items")))
    mask_objects(config, [{**each, "kind": "Secret"} for each in listed])


def mask_kubeconfig(file: Path) -> None:
    """Mask, from now on, the keys and tokens of a kubeconfig; of one that cannot be read, none."""
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        document = _mapping(yaml.load(_read(file), Loader=_LOADER))  # noqa: S506 - as in `look`
        for user in map(_mapping, _list(document.get("users"))):
            held = _mapping(user.get("user"))
            values = [str(held[key]) for key in ("client-key-data", "token") if held.get(key)]
            report.mask_with(each for one in values for each in (one, _decoded(one)))


def doubts(file: Path, env: Mapping[str, str] = os.environ) -> list[str]:
    """What will not be masked although it is named, a line each."""
    found, own, names = look(file, env)
    told = []
    for one in found:
        value = one.value.strip()
        if value and value in own:
            told.append(f"{one.of} is also a name of kindloop.yaml: it is not masked")
        elif value and common(value):
            told.append(f"{one.of} {_chance(value)}: it is masked behind its key only")
        elif len(value) > LONGEST:
            told.append(f"{one.of} is longer than {LONGEST} characters: the rest is not masked")
    unset = [name for name in names if not any(one.key == name for one in found)]
    told += [f"secrets: {name} is set nowhere: there is nothing to mask" for name in unset]
    return list(dict.fromkeys(told))


def look(file: Path, env: Mapping[str, str]) -> tuple[list[Found], set[str], list[str]]:
    """What kindloop.yaml and its manifests say is secret; names that never are; `secrets`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return [], set(), []
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - it makes texts, lists, mappings
    except (yaml.YAMLError, ValueError, RecursionError):
        return _in_text(text, env)
    document = document if isinstance(document, dict) else {}
    names = [name for name in _list(document.get("secrets")) if isinstance(name, str)]
    stages, workloads = _mapping(document.get("stages")), _mapping(document.get("workloads"))
    own = {
        str(document.get("name", Config.name)),
        env.get("KINDLOOP_NAME", ""),
        *stages,
        *workloads,
    }
    found = [Found(env[name], name, f"{name}: the variable") for name in names if env.get(name)]
    found += _named(document, names, file)
    for folder in _folders(document, workloads, file.parent, env):
        found += _in_manifests(folder, names, set())
    return found, own, names


def of_object(document: Object, place: str = "") -> Iterator[Found]:
    """The values of a Secret, decoded and as written; nothing for another object. Pure."""
    if document.get("kind") == "List":
        for each in _list(document.get("items")):
            yield from of_object(_mapping(each), place)
    if document.get("kind") != "Secret":
        return
    name = f"Secret {_mapping(document.get('metadata')).get('name', '')}{place and f' in {place}'}"
    for key, value in _mapping(document.get("stringData")).items():
        yield Found(str(value), key, f"{key} of {name}")
    for key, value in _mapping(document.get("data")).items():
        yield Found(_decoded(str(value)), key, f"{key} of {name}")
        if len(str(value)) >= SHORTEST:
            yield Found(str(value), key, f"{key} of {name}, as written,")


def _mask(found: Iterable[Found], own: Collection[str]) -> None:
    report.mask_with(Secret(e.value, e.key) for e in found if e.value.strip() not in own)


def _chance(value: str) -> str:
    """Why a value that is `common` is met in any text."""
    if len(value) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    return "is a number of few digits" if few(value) else "is a word that stands everywhere"


def _decoded(value: str) -> str:
    """The text in base64; empty for what is none, or no text."""
    try:
        return base64.b64decode("".join(value.split()), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""


def _in_text(text: str, env: Mapping[str, str]) -> tuple[list[Found], set[str], list[str]]:
    """The same of a file that is no YAML, as far as its lines tell."""
    listed = re.search(r"^secrets:((?:.*)(?:\n[ \t-].*)*)", text, re.MULTILINE)
    names = re.findall(r"[A-Za-z_]\w*", listed[1]) if listed else []
    found = [Found(env[name], name, f"{name}: the variable") for name in names if env.get(name)]
    for name in names:
        for value in re.findall(rf"\b{name}\s*:\s*(.*)", text):
            # In braces it ends where the next one begins, or it has a comma of its own.
            for text_of in (value, value.partition(",")[0]):
                plain = text_of.strip().strip(",}").strip("'\"")
                found += [Found(plain, name, f"{name}: in kindloop.yaml")] if plain else []
    return found, set(), names


def _named(value: Any, names: Sequence[str], file: Path) -> Iterator[Found]:
    """Values below a key that is one of `names`, and of variables that are called so."""
    if isinstance(value, list):
        for each in value:
            yield from _named(each, names, file)
    if not isinstance(value, dict):
        return
    if value.get("name") in names and isinstance(value.get("value"), str):
        name = value["name"]
        yield Found(value["value"], name, f"{name}: its value in {display(file)}")
    for key, each in value.items():
        if key in names and isinstance(each, str):
            yield Found(each, key, f"{key}: its value in {display(file)}")
        else:
            yield from _named(each, names, file)


def _folders(
    document: Object, workloads: Object, home: Path, env: Mapping[str, str]
) -> Iterator[Path]:
    named = [document.get("core"), document.get("stack")]
    named += [_mapping(each).get("manifests") for each in workloads.values()]
    for text in dict.fromkeys(each for each in named if isinstance(each, str) and each):
        yield absolute(home / _VARIABLE.sub(lambda match: env.get(match[1], ""), text))


def _in_manifests(place: Path, names: Sequence[str], seen: set[Path]) -> Iterator[Found]:
    """The secrets in a file, or in the YAML files of a folder and what its kustomization names."""
    if place in seen:
        return
    seen.add(place)
    if place.is_dir():
        for path in sorted({*place.glob("*.y*ml"), *(place / each for each in KUSTOMIZATIONS)}):
            yield from _in_manifests(path, names, seen)
        return
    text = _read(place)
    kustomization = place.name in KUSTOMIZATIONS
    # Most manifests have nothing of it, and reading them as YAML takes a hundred times longer.
    if not kustomization and not any(word in text for word in ("Secret", *names)):
        return
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        for document in yaml.load_all(text, Loader=_LOADER):
            yield from of_object(_mapping(document), display(place))
            yield from _named(document, names, place)
            if kustomization:
                yield from _of_kustomization(_mapping(document), place, names, seen)


def _of_kustomization(
    document: Object, place: Path, names: Sequence[str], seen: set[Path]
) -> Iterator[Found]:
    listed = ("resources", "bases", "components", "patchesStrategicMerge")
    for text in (each for key in listed for each in _list(document.get(key))):
        if isinstance(text, str) and "://" not in text and "\n" not in text:
            yield from _in_manifests(absolute(place.parent / text), names, seen)
    for kind in ("secretGenerator", "configMapGenerator"):
        for one in map(_mapping, _list(document.get(kind))):
            of = f"{one.get('name', '')} in {display(place)}"
            for key, value in _generated(one, place.parent):
                if kind == "secretGenerator":
                    yield Found(value, key, f"{key} of {of}")
                elif key in names:
                    yield Found(value, key, f"{key}: its value in {display(place)}")


def _generated(one: Object, folder: Path) -> Iterator[tuple[str, str]]:
    """Key and value of what a generator of kustomize makes."""
    lines = [str(each) for each in _list(one.get("literals"))]
    for name in (*_list(one.get("envs")), one.get("env")):
        lines += _read(absolute(folder / str(name))).splitlines() if name else []
    for line in lines:
        key, given, value = line.partition("=")
        if given and not key.startswith("#"):
            yield key.strip(), value.strip().strip("'\"")
    for each in map(str, _list(one.get("files"))):
        key, given, name = each.partition("=")
        path = absolute(folder / (name if given else key))
        yield (key if given else path.name), _read(path)


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")
    return ""


def _mapping(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
