"""Which pinned versions and which tools have a newer release, as far as this machine can ask.

The Go module proxy, PyPI and the system's packages are asked by their own tools; image registries
only where one answers. What cannot be asked is told, and never guessed.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from kindloop import host, tools, versions
from kindloop.errors import KindloopError
from kindloop.tools import version_of

__all__ = ["Found", "Row", "as_json", "look", "newest_of", "rows", "table"]

SCHEMA = 1
ASK_S = 8.0
"""Seconds for one question: a proxy that has to ask another takes two or three."""
AT_ONCE = 6
"""Questions at a time."""
Source = Literal["go", "pypi", "apt", "registry"]
MODULES: Mapping[tuple[str, str], str] = {
    ("node", "kubernetes"): "k8s.io/kubernetes",
    ("bake", "etcd"): "go.etcd.io/etcd/server/v3",
    ("bake", "coredns"): "github.com/coredns/coredns",
    ("bake", "local_path_provisioner"): "github.com/rancher/local-path-provisioner",
    ("bake", "kind"): "sigs.k8s.io/kind",
    ("bake_observability", "jaeger"): "github.com/jaegertracing/jaeger",
    ("bake_observability", "collector"): "go.opentelemetry.io/collector",
}
"""Go module by section and key of versions.toml. The collector's parts have its version."""
TOOLS: Mapping[str, tuple[Source, str]] = {
    "kind": ("go", "sigs.k8s.io/kind"),
    "kubectl": ("go", "k8s.io/kubernetes"),
    "go": ("go", "go"),
    "just": ("pypi", "rust-just"),
    "docker": ("apt", "docker.io"),
    "gcc": ("apt", "gcc"),
    "cargo": ("apt", "cargo"),
    "curl": ("apt", "curl"),
    "mmdebstrap": ("apt", "mmdebstrap"),
}
"""Where a tool's newest version is asked for; Python is the user's own choice."""
_IMAGE = re.compile(r"(?P<repository>[^:@]+):(?P<tag>[^@]+)@sha256:[0-9a-f]{64}")
_CANDIDATE = re.compile(
    r"^(\S+):\n(?:^ .*\n)*?^ *Candidate: (?:\d+:)?(\d+(?:\.\d+)+)", re.MULTILINE
)
_RELEASE = re.compile(r"v?\d+(\.\d+)+")
HUB = "https://hub.docker.com/v2/repositories/{}/tags?page_size=100&ordering=last_updated"


@dataclass(frozen=True)
class Row:
    """A version that we have, and where a newer one would be."""

    name: str
    """As in versions.toml, `bake.etcd`; of a tool, `tool kind`."""
    have: str
    source: Source
    where: str
    """Module, package or image repository."""


@dataclass(frozen=True)
class Found:
    """A row with the newest release; `newest` is empty when nobody can tell, and `why` says why."""

    row: Row
    newest: str = ""
    patch: str = ""
    """The newest with the same first two numbers, where it is another."""
    why: str = ""

    @property
    def outdated(self) -> bool | None:
        """Whether there is a newer one; None: cannot tell."""
        if not self.newest:
            return None
        return version_of(self.newest) > version_of(self.row.have)


def look() -> list[Found]:
    """Ask for all; bounded by some seconds. Never raises for what does not answer."""
    facts = host.inspect({})
    found = {tool.spec.name: tool.version for tool in facts.tools if tool.version}
    listed = rows(versions.section, found)
    with contextlib.suppress(KindloopError):
        _candidates()  # before there are threads that would all ask
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda row: _ask(row, registry=facts.registry), listed))


def rows(section: Callable[[str], Mapping[str, str]], found: Mapping[str, str]) -> list[Row]:
    """What is to be asked. Pure.

    `section` gives the keys of a section of versions.toml, `found` is version by tool on this
    machine.
    """
    listed = [
        Row(f"{name}.{key}", section(name)[key], "go", module)
        for (name, key), module in MODULES.items()
    ]
    for name in ("node", "workload", "observability"):
        for key, value in section(name).items():
            if image := _IMAGE.fullmatch(value):
                listed.append(Row(f"{name}.{key}", image["tag"], "registry", image["repository"]))
    for spec in host.specs():
        source = TOOLS.get(spec.name)
        if source and spec.name in found:
            listed.append(Row(f"tool {spec.name}", found[spec.name], *source))
    return listed


def newest_of(have: str, known: Iterable[str]) -> tuple[str, str]:
    """The newest release, and the newest after `have` with its first two numbers, if any. Pure.

    Previews are none, nor what looks otherwise than `have`: a tag may name a distribution.
    """
    releases = sorted(filter(_RELEASE.fullmatch, known), key=version_of)
    ours = version_of(have)
    newest = releases[-1] if releases else ""
    patches = [
        one for one in releases if version_of(one)[:2] == ours[:2] and version_of(one) > ours
    ]
    return newest, patches[-1] if patches else ""


def _ask(row: Row, *, registry: bool) -> Found:
    try:
        known = _known(row, registry=registry)
    except KindloopError as exc:
        return Found(row, why=_short(exc))
    newest, patch = newest_of(row.have, known)
    if not newest:
        return Found(row, why="no release is listed")
    return Found(row, newest, patch if patch != newest else "")


def _known(row: Row, *, registry: bool) -> list[str]:
    match row.source:
        case "go":
            return _of_go(row.where)
        case "pypi":
            return _of_pypi(row.where)
        case "apt":
            return _of_apt(row.where)
        case "registry":
            return _of_registry(row.where, reachable=registry)


def _of_go(module: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:  # outside of any module, and of a go.work
        said = tools.run(
            "go", "list", "-m", "-versions", module,
            cwd=Path(folder), env={"GOWORK": "off", "GOFLAGS": ""}, timeout_s=ASK_S, quiet=True,
        )  # fmt: skip
    return said.stdout.split()[1:]


def _of_pypi(package: str) -> list[str]:
    said = tools.run(
        sys.executable, "-m", "pip", "index", "versions", "--disable-pip-version-check", package,
        timeout_s=ASK_S, quiet=True,
    )  # fmt: skip
    listed = re.search(r"^Available versions: (.*)$", said.stdout, re.MULTILINE)
    return listed[1].split(", ") if listed else []


def _of_apt(package: str) -> list[str]:
    return [version] if (version := _candidates().get(package)) else []


@cache
def _candidates() -> Mapping[str, str]:
    """What apt would install, by package: asked once, for it reads all its lists each time."""
    packages = [where for source, where in TOOLS.values() if source == "apt"]
    said = tools.run("apt-cache", "policy", *packages, timeout_s=ASK_S, quiet=True).stdout
    listed = _CANDIDATE.findall(said)
    return dict(listed)


def _of_registry(repository: str, *, reachable: bool) -> list[str]:
    if not reachable:
        raise KindloopError("no image registry answers")
    name = repository if "/" in repository else f"library/{repository}"
    said = tools.run(
        "curl", "-fsS", "--max-time", str(ASK_S), HUB.format(name), timeout_s=ASK_S + 1, quiet=True
    )
    try:
        return [str(each["name"]) for each in json.loads(said.stdout)["results"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise KindloopError("the registry's list of tags cannot be read") from exc


def table(found: Sequence[Found]) -> str:
    """Name, what we have, the newest, and where that was asked. Pure."""
    lines = [("version", "have", "newest", "")]
    for one in found:
        newest = one.newest or "cannot tell"
        state = one.why if one.outdated is None else "outdated" if one.outdated else "up to date"
        state += f", {one.patch} of the same series" if one.patch else ""
        lines.append((one.row.name, one.row.have, newest, state))
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    return "\n".join(
        f"{'  '.join(map(str.ljust, line, widths))}  {line[3]}".rstrip() for line in lines
    )


def as_json(found: Sequence[Found]) -> dict[str, Any]:
    """The document of `--json`. Pure."""
    listed = [
        {**asdict(one.row), "newest": one.newest, "patch": one.patch, "outdated": one.outdated,
         "why": one.why}
        for one in found
    ]  # fmt: skip
    return {"schema": SCHEMA, "versions": listed}


def _short(exc: KindloopError) -> str:
    """Why, in a line: the last word of a tool, not the command."""
    said = [line for line in exc.evidence if line.strip()]
    text = said[-1] if said else exc.message
    return text if len(text) <= 80 else f"{text[:77]}..."
