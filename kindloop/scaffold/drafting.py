"""The files of a project that begins with kindloop: facts and wishes in, texts out."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType

from kindloop.config import SUPERVISOR_PORT, SUPERVISOR_STAGE
from kindloop.errors import ConfigError
from kindloop.scaffold.clues import Clues
from kindloop.scaffold.facts import Binary

__all__ = ["DEFAULT_HEALTH", "DEFAULT_PORT", "Draft", "Wishes", "draft"]

DEFAULT_PORT = 8080
"""Where nothing tells the port: what most examples of HTTP services listen on."""
DEFAULT_HEALTH = "/health"
PRIVILEGED = 1024
"""Ports below it are for root, unless the pod says otherwise."""
NAME_CHARS = 40
COLUMNS = 100
TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "tasks.py": "tasks.py",
        "@folder@dockerfiles/Dockerfile.dev": "Dockerfile.dev",
        "@folder@k8s/core/kustomization.yaml": "k8s/core/kustomization.yaml",
        "@folder@k8s/core/namespace.yaml": "k8s/core/namespace.yaml",
        "@folder@k8s/app/kustomization.yaml": "k8s/app/kustomization.yaml",
        "@folder@k8s/app/deployment.yaml": "k8s/app/deployment.yaml",
        "@folder@k8s/app/service.yaml": "k8s/app/service.yaml",
        # Last: without it there is no project, whatever happens before.
        "kindloop.yaml": "kindloop.yaml",
    }
)
"""Template below `kindloop/data/templates` by the file that it becomes."""
KIND_CONFIG = "@folder@k8s/cluster/kind-config.yaml"
"""The one that kindloop ships, under the environment's name."""

_PLACE = re.compile(r"^@(?P<line>\w+)@\n|@(?P<part>\w+)@", re.MULTILINE)
_PLAIN = re.compile(r"-{0,2}[A-Za-z0-9_./][\w./@+=-]*", re.ASCII)
_DIGITS = re.compile(r"[0-9.]*[0-9][0-9.]*")


@dataclass(frozen=True)
class Wishes:
    """What the user said; empty and 0 is left to us."""

    name: str = ""
    """The environment."""
    port: int = 0
    health: str = ""
    args: tuple[str, ...] = ()
    into: str = ""
    """Folder, relative to kindloop.yaml, for Dockerfile and manifests."""
    tasks: bool = True
    """Whether tasks.py is wanted; the command `kindloop` does without."""


@dataclass(frozen=True)
class Draft:
    """Text by file name, in the order of writing, and what to tell about them."""

    files: Mapping[str, str]
    told: tuple[str, ...] = ()
    """What was chosen and why, a line each."""
    doubts: tuple[str, ...] = field(default=())
    """What the user should look at, a line each."""


def draft(
    binary: Binary, inputs: Sequence[str], clues: Clues, wishes: Wishes, *, root: str = "."
) -> Draft:
    """The files with which `dev-up` runs the binary. Pure but for reading our own templates.

    `inputs` is what it is built from, relative to the workspace; `root` is where the workspace is,
    relative to kindloop.yaml. Raises ConfigError for a name or port that cannot be.
    """
    workload = _label(binary.name)
    _refuse(binary, workload, wishes)
    port = wishes.port or (int(clues.port.value) if clues.port else DEFAULT_PORT)
    health = wishes.health or (clues.health.value if clues.health else DEFAULT_HEALTH)
    values = {
        "environment": wishes.name or f"{workload[: NAME_CHARS - 4].rstrip('-')}-dev",
        "folder": f"{wishes.into.strip('/')}/" if wishes.into.strip("./") else "",
        "workload": workload,
        "binary": binary.name,
        "run": _text(_command(binary)),
        "inputs": _listed(inputs, "    inputs: ", "      "),
        "port": str(port),
        "health": json.dumps(health) if not _PLAIN.fullmatch(health) else health,
        "app": _app(root),
        "args": _arguments(wishes.args),
        "env": _environment(clues, port),
        "sync": _sync(clues.folders),
        "openapi": _openapi(clues.openapi, root),
        "sysctls": _sysctls(port),
    }
    files = {_fill(name, values): _fill(_template(of), values) for name, of in TEMPLATES.items()}
    named = f"name: {values['environment']}"
    kind_config = re.sub("^name: .*$", named, _shipped("kind-config.yaml"), flags=re.MULTILINE)
    files = {_fill(KIND_CONFIG, values): kind_config, **files}
    if not wishes.tasks:
        del files["tasks.py"]
    told = (f"binary {binary}", *_told(clues, wishes, port, health))
    return Draft(files, told, tuple(_doubts(inputs, clues, wishes)))


def _refuse(binary: Binary, workload: str, wishes: Wishes) -> None:
    if binary.name == SUPERVISOR_STAGE:
        raise ConfigError(
            f"the binary is called {SUPERVISOR_STAGE}, as process 1 of the pod is",
            hint="give it another name in Cargo.toml: [[bin]] name",
        )
    if not workload:
        raise ConfigError(
            f"{binary.name} gives no name of a Deployment: it has no letter of a-z and no digit",
            hint="give it another name in Cargo.toml: [[bin]] name",
        )
    if wishes.name and (_label(wishes.name) != wishes.name or len(wishes.name) > NAME_CHARS):
        raise ConfigError(
            f"{wishes.name} is no name of an environment: a-z, 0-9 and - between them, at most "
            f"{NAME_CHARS} characters",
            hint=f"invoke config.init --name {_label(wishes.name)[:NAME_CHARS] or 'NAME'}",
        )
    if wishes.port == SUPERVISOR_PORT or not 0 <= wishes.port <= 65_535:
        raise ConfigError(
            f"--port {wishes.port} is no port that a service can have",
            why=f"it is 1 to 65535, and the supervisor answers at {SUPERVISOR_PORT}",
            hint=f"invoke config.init --port {DEFAULT_PORT}",
        )
    if wishes.health and not re.fullmatch(r"/[!-~]*", wishes.health):
        raise ConfigError(
            f"--health {wishes.health} is no path: it begins with / and has no spaces",
            hint=f"invoke config.init --health {DEFAULT_HEALTH}",
        )


def _told(clues: Clues, wishes: Wishes, port: int, health: str) -> Iterator[str]:
    by = "as you said" if wishes.port else clues.port.at if clues.port else "a guess"
    yield f"port {port} ({by})"
    by = "as you said" if wishes.health else clues.health.at if clues.health else "a guess"
    yield f"health path {health} ({by})"


def _doubts(inputs: Sequence[str], clues: Clues, wishes: Wishes) -> Iterator[str]:
    if "Cargo.lock" not in inputs:
        yield "there is no Cargo.lock yet: when cargo has written it, add it to inputs"
    if not wishes.port and clues.ports:
        found = ", ".join(f"{clue.value} ({clue.at})" for clue in clues.ports)
        yield f"several ports are in the sources: {found}; --port says which"
    elif not wishes.port and not clues.port:
        yield "no port is in the sources; --port says which it listens on"
    if not wishes.health and not clues.health:
        yield "no health path is in the sources; --health names a path that answers 200"
    if clues.here_only:
        yield (
            f"{clues.here_only.at} has {clues.here_only.value}: in a pod it must listen on "
            "0.0.0.0, by its code, or by --args"
        )
    if clues.folders:
        found = ", ".join(clues.folders)
        yield f"{found}: what it reads of these while it runs belongs to sync in kindloop.yaml"


def _label(name: str) -> str:
    """`name` as Kubernetes takes it: pet_store → pet-store."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")


def _command(binary: Binary) -> str:
    words = ["cargo", "build", "--release", "-p", binary.package, "--bin", binary.name]
    if binary.features:
        words += ["--features", ",".join(binary.features)]
    return shlex.join(words)


def _app(root: str) -> str:
    if root == ".":
        return ""
    return (
        "# The Cargo workspace. Commands run there, and inputs and outputs are relative to it.\n"
        f"app:\n  root: {_text(root)}\n"
    )


def _arguments(args: Sequence[str]) -> str:
    if not args:
        return ""
    return "\n".join(["          args:", *(f"            - {_text(each)}" for each in args)])


def _environment(clues: Clues, port: int) -> str:
    own = f', PORT: "{port}"' if clues.reads_port else ""
    return f"{{RUST_LOG: info{own}}}"


def _sync(folders: Sequence[str]) -> str:
    """Examples only: nobody can tell what a program reads."""
    return "\n".join(
        f"    #   - {{from: {_text(each)}, to: {_text(each.rpartition('/')[2])}}}"
        for each in folders or ("config",)
    )


def _openapi(document: str, root: str) -> str:
    if not document:
        return "    # openapi: openapi.yaml"
    return f"    openapi: {_text(document if root == '.' else f'{root}/{document}')}"


def _sysctls(port: int) -> str:
    if port >= PRIVILEGED:
        return ""
    return (
        "        sysctls:\n"
        f"          # Nobody but root may listen on {port} otherwise.\n"
        f'          - {{name: net.ipv4.ip_unprivileged_port_start, value: "{port}"}}'
    )


def _listed(items: Sequence[str], before: str, indent: str) -> str:
    texts = [_text(item) for item in items]
    line = f"[{', '.join(texts)}]"
    return line if len(before + line) <= COLUMNS else "".join(f"\n{indent}- {t}" for t in texts)


def _text(value: str) -> str:
    """`value` as YAML takes it for text."""
    words = {"true", "false", "yes", "no", "on", "off", "null"}
    plain = all(_PLAIN.fullmatch(word) for word in value.split(" "))
    if plain and not _DIGITS.fullmatch(value) and value.lower() not in words:
        return value
    return json.dumps(value, ensure_ascii=False)


def _fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with its places filled; a line that is one place with nothing in it goes."""

    def filled(match: re.Match[str]) -> str:
        value = values[match["line"] or match["part"]]
        return f"{value}\n" if match["line"] and value else value

    return _PLACE.sub(filled, text)


def _template(name: str) -> str:
    return _shipped(f"templates/{name}.txt")


def _shipped(name: str) -> str:
    return (resources.files("kindloop") / "data" / name).read_text(encoding="utf-8")
