"""What the sources tell of a service: its port, its health path, whether others can reach it.

Nobody can read that from a program for certain: each clue has its place, which is told, and what
has none, or several, is a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kindloop.scaffold.facts import Binary, Project
from kindloop.scaffold.listening import ANYWHERE, Way, find

__all__ = ["Clue", "Clues", "collect", "read"]

MAX_BYTES = 1_000_000
"""A larger file is data, not somebody's source."""
MAX_FILES = 2000
HEALTH = (
    "/health", "/healthz", "/health_check", "/health-check", "/healthcheck", "/api/health",
    "/livez", "/readyz", "/ready", "/ping",
)  # fmt: skip
"""Paths that answer 200 when a service works, the most telling first."""
OTHERS = frozenset({"3306", "4317", "4318", "5432", "5672", "6379", "9092", "11211", "27017"})
"""Ports of databases, queues and collectors: a service calls them."""
OPENAPI = ("openapi.yaml", "openapi.yml", "openapi.json")
AT_RUN_TIME = ("config", "static", "templates", "public", "assets", "doc")
"""Folders that services often read while they run."""

_EVERYWHERE = r"0\.0\.0\.0|\[::\]"
_HERE_ONLY = r"127\.0\.0\.1|localhost|\[::1\]"
_LISTENS = (
    # "0.0.0.0:3000"; behind a slash or an @ it is the address of something that is called
    re.compile(rf"(?<![\w/@.])(?:{_EVERYWHERE}|(?P<here>{_HERE_ONLY})):(?P<port>\d{{2,5}})\b"),
    re.compile(r"\[\s*(?:0|(?P<here>127))(?:\s*,\s*[01]){3}\s*\]\s*,\s*(?P<port>\d{2,5})\b"),
    re.compile(r"Ipv[46]Addr::(?:UNSPECIFIED|(?P<here>LOCALHOST))\s*,\s*(?P<port>\d{2,5})\b"),
)
_DEFAULTS = (
    re.compile(r"\b[A-Z_]*PORT\s*:\s*u16\s*=\s*(?P<port>\d{2,5})\b"),
    # fn default_port() -> u16 { 5000 }
    re.compile(r"\bfn\s+\w*port\w*\(\)\s*->\s*u16\s*\{\s*(?P<port>\d{2,5})\s*\}"),
    # args.port.unwrap_or(4000)
    re.compile(r"\bport(?:\(\))?\s*\.unwrap_or\(\s*(?P<port>\d{2,5})\b"),
    # env::var("PORT").unwrap_or_else(|_| "3000".to_string())
    re.compile(
        r"var\(\s*\"(?:[A-Z]+_)*PORT\"\s*\)[^;]{0,160}?unwrap_or[^;]{0,60}?\"?\b(?P<port>\d{2,5})\b"
    ),
    # #[arg(long, default_value_t = 3000)] port: u16
    re.compile(
        r"default_value(?:_t)?\s*=\s*\"?(?P<port>\d{2,5})\"?[^\]]*\]"
        r"\s*(?:(?://[^\n]*|#\[[^\]]*\])\s*)*(?:pub\s+)?port\s*:"
    ),
    # Arg::new("port").long("port").default_value("3000")
    re.compile(
        r"(?:new|with_name)\(\s*\"port\"\s*\)(?:(?!Arg::)[^;]){0,400}?"
        r"\.default_value\(\s*\"(?P<port>\d{2,5})\""
    ),
)
_SOMEWHERE_HERE = re.compile(rf"Ipv[46]Addr::LOCALHOST|\"(?:{_HERE_ONLY})\"")
_BOUND_HERE = re.compile(rf"default_value\w*\s*[(=]\s*\"(?P<host>{_HERE_ONLY})\"")
_EXPOSED = re.compile(r"^EXPOSE\s+(?P<port>\d{2,5})(?:/tcp)?\s*$", re.MULTILINE)
_READS_PORT = re.compile(r"(?:var|var_os|env!?)\s*(?:\(|=)\s*\"PORT\"")
_ROOT_ROUTE = re.compile(r"(?:route|get|at|path)\s*\(\s*\"/\"|Method::GET\s*,\s*\"/\"")
_HEALTHY = re.compile(r"\"(?P<path>(?:/|\w+/)[^\"{}\s]*health[^\"{}\s]*)\"")
_TESTS = re.compile(r"^#\[cfg\(test\)\]\s*mod\b", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*//[^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class Clue:
    """A value and its place: `src/main.rs:12`."""

    value: str
    at: str


ROCKET = Clue("8000", "Rocket's own")
"""It listens on 127.0.0.1:8000 unless its variables say something else."""


@dataclass(frozen=True)
class Clues:
    """What was found; None and empty where nothing, or no single thing, tells."""

    port: Clue | None = None
    health: Clue | None = None
    here_only: Clue | None = None
    """An address on which only the pod itself would hear it."""
    listens: Way | None = None
    """How it can be told to listen on all addresses, where it may not by itself."""
    reads_port: Clue | None = None
    """Where it takes its port from the variable PORT."""
    ports: tuple[Clue, ...] = ()
    """All ports, when they are several."""
    openapi: str = ""
    """Its OpenAPI document, relative to the workspace."""
    folders: tuple[str, ...] = ()
    """Folders that it may read while it runs, relative to the workspace."""


def collect(project: Project, binary: Binary) -> Clues:
    """The clues in the sources of the binary's package, and in what lies beside it."""
    top = project.root / binary.folder
    files = sorted((top / "src").rglob("*.rs"))[:MAX_FILES]
    files += [project.root / binary.source, project.root / "Dockerfile", top / "Dockerfile"]
    texts = {}
    for path in files:
        if path.is_file() and path.stat().st_size <= MAX_BYTES:
            name = path.relative_to(project.root).as_posix()
            texts[name] = path.read_text(encoding="utf-8", errors="replace")
    own = (binary.folder, ".")
    documents = _there(project.root, (*own, "docs", "doc", "api"), OPENAPI)
    folders = _there(project.root, own, AT_RUN_TIME)
    return read(
        texts, openapi=next(iter(documents), ""), folders=tuple(folders), server=binary.server
    )


def read(
    texts: Mapping[str, str],
    *,
    openapi: str = "",
    folders: tuple[str, ...] = (),
    server: str = "",
) -> Clues:
    """The clues in `texts` (by file name); `server` is the crate that serves HTTP. Pure."""
    code = {n: _code(text) for n, text in texts.items() if not _is_dockerfile(n)}
    docker = {name: text for name, text in texts.items() if _is_dockerfile(name)}
    addresses = list(_addresses(code))
    ports = (
        _ports(address.port for address in addresses if not address.here_only)
        or _ports(address.port for address in addresses)
        or _ports(clue for each in _DEFAULTS for clue in _matches(code, each, "port"))
        or _ports(_matches(docker, _EXPOSED, "port"))
        or _ports([ROCKET] if server == "rocket" else [])
    )
    here_only = _here_only(code, addresses)
    perhaps = here_only or next(_matches(code, _SOMEWHERE_HERE), None)
    listens = find(code) if perhaps else None
    if server == "rocket":
        listens = Way("Rocket", env={"ROCKET_ADDRESS": ANYWHERE, "ROCKET_PORT": "{port}"})
    return Clues(
        port=ports[0] if len(ports) == 1 else None,
        ports=ports if len(ports) > 1 else (),
        health=_health(code),
        here_only=here_only,
        listens=listens,
        reads_port=next(_matches(code, _READS_PORT), None),
        openapi=openapi,
        folders=folders,
    )


def _code(text: str) -> str:
    """The program without comments and without the tests at its end; lines keep their numbers."""
    tests = _TESTS.search(text)
    return _COMMENT.sub("", text[: tests.start()] if tests else text)


def _is_dockerfile(name: str) -> bool:
    return name.rpartition("/")[2] == "Dockerfile"


def _there(root: Path, places: Iterable[str], names: Iterable[str]) -> list[str]:
    found = [root / place / name for place in dict.fromkeys(places) for name in names]
    return [path.relative_to(root).as_posix() for path in found if path.exists()]


@dataclass(frozen=True)
class _Address:
    whole: Clue
    port: Clue
    here_only: bool


def _addresses(texts: Mapping[str, str]) -> Iterator[_Address]:
    for pattern in _LISTENS:
        for name, text in texts.items():
            for match in pattern.finditer(text):
                at = _at(name, text, match)
                if match["port"] not in OTHERS:
                    port = Clue(match["port"], at)
                    yield _Address(Clue(match[0], at), port, bool(match["here"]))


def _here_only(texts: Mapping[str, str], addresses: Sequence[_Address]) -> Clue | None:
    if any(not each.here_only for each in addresses):
        return None
    bound = _matches(texts, _BOUND_HERE, "host")
    return next((each.whole for each in addresses), None) or next(bound, None)


def _ports(found: Iterable[Clue]) -> tuple[Clue, ...]:
    """Each port once, with its first place."""
    first: dict[str, Clue] = {}
    for clue in found:
        first.setdefault(clue.value, clue)
    return tuple(first.values())


def _health(texts: Mapping[str, str]) -> Clue | None:
    for path in HEALTH:
        found = next(_matches(texts, re.compile(f'"(?P<path>{re.escape(path)})"'), "path"), None)
        if found:
            return found
    other = next(_matches(texts, _HEALTHY, "path"), None)
    if other:
        return Clue(f"/{other.value.lstrip('/')}", other.at)
    root = next(_matches(texts, _ROOT_ROUTE), None)
    return Clue("/", root.at) if root else None


def _matches(texts: Mapping[str, str], pattern: re.Pattern[str], group: str = "") -> Iterator[Clue]:
    for name, text in texts.items():
        for match in pattern.finditer(text):
            yield Clue(match[group or 0], _at(name, text, match))


def _at(name: str, text: str, match: re.Match[str]) -> str:
    return f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
