"""The files of a project that begins with kindloop: facts and wishes in, texts out."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from kindloop.config import SUPERVISOR_PORT, SUPERVISOR_STAGE
from kindloop.errors import ConfigError
from kindloop.scaffold.clues import Clues
from kindloop.scaffold.facts import Binary
from kindloop.scaffold.filling import as_text, fill, is_plain, label, listed, shipped, template

__all__ = ["DEFAULT_HEALTH", "DEFAULT_PORT", "Draft", "Service", "Wishes", "draft_all"]

DEFAULT_PORT = 8080
"""Where nothing tells the port: what most examples of HTTP services listen on."""
DEFAULT_HEALTH = "/"
"""Where nothing tells the path: a service without a path for this has one for its users."""
PRIVILEGED = 1024
"""Ports below it are for root, unless the pod says otherwise."""
NAME_CHARS = 40
TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "tasks.py": "tasks.py",
        "@folder@k8s/core/kustomization.yaml": "k8s/core/kustomization.yaml",
        "@folder@k8s/core/namespace.yaml": "k8s/core/namespace.yaml",
    }
)
"""Template below `kindloop/data/templates` by the file that it becomes."""
OF_EACH: Mapping[str, str] = MappingProxyType(
    {
        "@folder@@dockerfile@": "Dockerfile.dev",
        "@folder@@manifests@/kustomization.yaml": "k8s/app/kustomization.yaml",
        "@folder@@manifests@/deployment.yaml": "k8s/app/deployment.yaml",
        "@folder@@manifests@/service.yaml": "k8s/app/service.yaml",
    }
)
"""The same, once for each service."""
KIND_CONFIG = "@folder@k8s/cluster/kind-config.yaml"
"""The one that kindloop ships, under the environment's name."""


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


@dataclass(frozen=True)
class Service:
    """A binary that serves, what it is built from (relative to the workspace), and its clues."""

    binary: Binary
    inputs: Sequence[str]
    clues: Clues

    @property
    def workload(self) -> str:
        """The name of its Deployment."""
        return label(self.binary.name)


def draft_all(
    services: Sequence[Service], wishes: Wishes, *, root: str = ".", title: str = ""
) -> Draft:
    """The files with which `dev-up` runs the services. Pure but for reading our own templates.

    The first has the URL on this machine. `root` is where the workspace is, relative to
    kindloop.yaml; of several services, `title` names the environment. Raises ConfigError for a
    name or port that cannot be, or a name that two would have.
    """
    several = len(services) > 1
    for one in services:
        _refuse(one.binary, one.workload, wishes)
    _refuse_twins(services)
    if several and (wishes.port or wishes.health or wishes.args):
        raise ConfigError(
            "--port, --health and --args are for one service",
            evidence=[str(one.binary) for one in services],
            hint=f"invoke config.init --bin {services[0].binary.name}",
        )
    first = (several and label(title)) or services[0].workload
    common = {
        "environment": wishes.name or f"{first[: NAME_CHARS - 4].rstrip('-')}-dev",
        "folder": f"{wishes.into.strip('/')}/" if wishes.into.strip("./") else "",
        "app": _app(root),
    }
    each = [
        {**common, **_values(one, wishes, root, several=several, first=one is services[0])}
        for one in services
    ]
    named = f"name: {common['environment']}"
    kind_config = re.sub("^name: .*$", named, shipped("kind-config.yaml"), flags=re.MULTILINE)
    files = {fill(KIND_CONFIG, common): kind_config}
    files |= {fill(name, common): fill(template(of), common) for name, of in TEMPLATES.items()}
    for values in each:
        files |= {fill(name, values): fill(template(of), values) for name, of in OF_EACH.items()}
    if not wishes.tasks:
        del files["tasks.py"]
    common["stages"] = "".join(fill(template("stage.yaml"), v) for v in each).rstrip("\n")
    common["workloads"] = "".join(fill(template("workload.yaml"), v) for v in each).rstrip("\n")
    # Last: without it there is no project, whatever happens before.
    files["kindloop.yaml"] = fill(template("kindloop.yaml"), common)
    return Draft(
        files,
        tuple(line for one in services for line in _told(one, wishes)),
        tuple(line for one in services for line in _doubts(one, wishes))
        + tuple(_inside(services[1:])),
    )


def _values(
    one: Service, wishes: Wishes, root: str, *, several: bool, first: bool
) -> dict[str, str]:
    """What stands at the places of the templates, but for what all services have in common."""
    binary, clues, workload = one.binary, one.clues, one.workload
    port, health = _port(clues, wishes), _health(clues, wishes)
    args = wishes.args or (clues.listens.words(port) if clues.listens else ())
    return {
        "workload": workload,
        "binary": binary.name,
        "dockerfile": f"dockerfiles/Dockerfile.{workload if several else 'dev'}",
        "manifests": f"k8s/app/{workload}" if several else "k8s/app",
        "run": as_text(_command(binary)),
        "inputs": listed(one.inputs, "    inputs: ", "      "),
        "port": str(port),
        "health": json.dumps(health) if not is_plain(health) else health,
        "args": _arguments(args),
        "env": _environment(clues, port, args),
        "todo": "\n".join(f"  # TODO: {each}" for each in _todo(clues, wishes, port, health)),
        "sync": _sync(clues.folders),
        "url": "    url: http://127.0.0.1:{ports.petstore}"
        if first
        else "    # No url: one port of this machine is for a service. In the cluster it is\n"
        f"    # http://{workload}",
        "openapi": _openapi(clues.openapi if first else "", root),
        "sysctls": _sysctls(port),
        "service": "NodePort" if first else "ClusterIP",
        "nodeport": "      # kind-config.yaml maps this port to 127.0.0.1:8080.\n"
        "      nodePort: 30080"
        if first
        else "",
    }


def _port(clues: Clues, wishes: Wishes) -> int:
    return wishes.port or (int(clues.port.value) if clues.port else DEFAULT_PORT)


def _health(clues: Clues, wishes: Wishes) -> str:
    return wishes.health or (clues.health.value if clues.health else DEFAULT_HEALTH)


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
    if wishes.name and (label(wishes.name) != wishes.name or len(wishes.name) > NAME_CHARS):
        raise ConfigError(
            f"{wishes.name} is no name of an environment: a-z, 0-9 and - between them, at most "
            f"{NAME_CHARS} characters",
            hint=f"invoke config.init --name {label(wishes.name)[:NAME_CHARS] or 'NAME'}",
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


def _refuse_twins(services: Sequence[Service]) -> None:
    """Stage, Deployment and image are called as the binary is: two cannot be called the same."""
    for one in services:
        twins = [str(each.binary) for each in services if each.workload == one.workload]
        if len(twins) > 1:
            raise ConfigError(
                f"{len(twins)} services would be called {one.workload}",
                evidence=twins,
                why="each has the name of its binary, as Kubernetes takes it",
                hint="give one another name in Cargo.toml: [[bin]] name, or take one alone: "
                f"invoke config.init --bin {one.binary.package}/{one.binary.name}",
            )


def _told(one: Service, wishes: Wishes) -> Iterator[str]:
    clues, port, health = one.clues, _port(one.clues, wishes), _health(one.clues, wishes)
    yield f"binary {one.binary}"
    by = "as you said" if wishes.port else clues.port.at if clues.port else "a guess"
    yield f"port {port} ({by})"
    by = "as you said" if wishes.health else clues.health.at if clues.health else "a guess"
    yield f"health path {health} ({by})"
    if clues.listens and not wishes.args:
        variables = [f"{n}={v}" for n, v in clues.listens.variables(port).items()]
        how = " ".join((*clues.listens.words(port), *variables))
        yield f"told to listen on all addresses: {how} ({clues.listens.at})"


def _todo(clues: Clues, wishes: Wishes, port: int, health: str) -> Iterator[str]:
    """What kindloop.yaml says of guesses, a line each."""
    if not wishes.port and not clues.port:
        yield f"does it listen on {port}? Else correct containerPort in the Deployment."
    if not wishes.health and not clues.health:
        yield f"does {health} answer 200? Else correct `health` here, and the Deployment's probes."
    if clues.here_only and not clues.listens:
        yield f"{clues.here_only.at} has {clues.here_only.value}: it must be 0.0.0.0 in a pod."


def _inside(services: Sequence[Service]) -> Iterator[str]:
    for one in services:
        yield f"{one.workload} has no URL on this machine; in the cluster it is http://{one.workload}"


def _doubts(one: Service, wishes: Wishes) -> Iterator[str]:
    clues = one.clues
    if "Cargo.lock" not in one.inputs:
        yield "there is no Cargo.lock yet: when cargo has written it, add it to inputs"
    if not wishes.port and clues.ports:
        found = ", ".join(f"{clue.value} ({clue.at})" for clue in clues.ports)
        yield f"several ports are in the sources: {found}; --port says which"
    elif not wishes.port and not clues.port:
        yield "no port is in the sources; --port says which it listens on"
    if not wishes.health and not clues.health:
        yield "no health path is in the sources; --health names a path that answers 200"
    if clues.here_only and not clues.listens:
        yield (
            f"{clues.here_only.at} has {clues.here_only.value}: in a pod it must listen on "
            "0.0.0.0, by its code, or by --args"
        )
    if clues.folders:
        found = ", ".join(clues.folders)
        yield f"{found}: what it reads of these while it runs belongs to sync in kindloop.yaml"


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
        f"app:\n  root: {as_text(root)}\n"
    )


def _arguments(args: Sequence[str]) -> str:
    if not args:
        return ""
    return "\n".join(["          args:", *(f"            - {as_text(each)}" for each in args)])


def _environment(clues: Clues, port: int, args: Sequence[str]) -> str:
    found = {"PORT": str(port)} if clues.reads_port else {}
    found |= clues.listens.variables(port) if clues.listens and not args else {}
    return f"{{RUST_LOG: info{''.join(f', {n}: {json.dumps(v)}' for n, v in found.items())}}}"


def _sync(folders: Sequence[str]) -> str:
    """Examples only: nobody can tell what a program reads."""
    return "\n".join(
        f"    #   - {{from: {as_text(each)}, to: {as_text(each.rpartition('/')[2])}}}"
        for each in folders or ("config",)
    )


def _openapi(document: str, root: str) -> str:
    if not document:
        return "    # openapi: openapi.yaml"
    return f"    openapi: {as_text(document if root == '.' else f'{root}/{document}')}"


def _sysctls(port: int) -> str:
    if port >= PRIVILEGED:
        return ""
    return (
        "        sysctls:\n"
        f"          # Nobody but root may listen on {port} otherwise.\n"
        f'          - {{name: net.ipv4.ip_unprivileged_port_start, value: "{port}"}}'
    )
