"""How a service is told from outside on which address to listen: a flag or a variable of its own.

A pod is reached at its own address, so what listens on 127.0.0.1 there is heard by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["ANYWHERE", "Way", "find"]

ANYWHERE = "0.0.0.0"  # noqa: S104 - inside of a pod
_BY_HOST = r"host(?:name)?|ip|interfaces?|(?:bind|listen)[-_](?:host|ip)"
_BY_ADDRESS = r"addr(?:ess)?|bind|listen|(?:bind|listen|http|server)[-_]addr(?:ess)?"
_NAMES = re.compile(rf"(?P<host>{_BY_HOST})|(?:{_BY_ADDRESS})")
"""Of a flag."""
# #[arg(long = "addr", conflicts_with_all = ["port"])] addr: Option<SocketAddr>
_DERIVED = re.compile(
    r"#\[(?:arg|clap|structopt)\((?P<said>(?:(?!\)\]).){0,600})\)\]\s*"
    r"(?:#\[[^\]]*\]\s*)*(?:pub(?:\([a-z]+\))?\s+)?(?P<field>\w+)\s*:\s*(?P<type>[\w:<>]+)",
    re.DOTALL,
)
# Arg::new("bind").long("bind").default_value("127.0.0.1")
_BUILT = re.compile(
    r"(?:Arg::|\b)(?:new|with_name)\(\s*\"(?P<field>[\w-]+)\"\s*\)(?P<said>(?:(?!Arg::)[^;]){0,600})",
    re.DOTALL,
)
# env::var("BIND_ADDR").unwrap_or("127.0.0.1:3000".into())
_VARIABLE = re.compile(
    r"(?:\bvar|\bvar_os)\(\s*\"(?P<name>[A-Z][A-Z0-9_]*)\"\s*\)(?P<said>[^;]{0,200})", re.DOTALL
)
_LONG = re.compile(r"\blong\s*(?:=\s*|\(\s*)\"(?P<name>[\w-]+)\"")
_VARIABLES = re.compile(
    r"(?:[A-Z0-9]+_)*(?:BIND|LISTEN)(?:_ADDR(?:ESS)?|(?P<bound>_HOST|_IP))?"
    r"|(?:(?:APP|HTTP|SERVER|SERVICE|WEB)_)?(?:ADDR(?:ESS)?|(?P<host>HOST))"
)
"""DATABASE_HOST is somebody else's, HOSTNAME the pod's."""
_WITH_PORT = re.compile(r"\"[^\"\s]*:\d{2,5}\"")


@dataclass(frozen=True)
class Way:
    """Arguments or variables, `{port}` standing for the port, and where the sources have them."""

    at: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def words(self, port: int) -> tuple[str, ...]:
        """The arguments for a port."""
        return tuple(each.format(port=port) for each in self.args)

    def variables(self, port: int) -> dict[str, str]:
        """The variables for a port."""
        return {name: each.format(port=port) for name, each in self.env.items()}


def find(texts: Mapping[str, str]) -> Way | None:
    """The way that the sources have, a flag before a variable; None without one. Pure."""
    flags = list(_flags(texts))
    alone = not any(name == "port" for name, *_ in flags)
    for name, said, at in flags:
        known = _NAMES.fullmatch(name)
        if known:
            by_host = bool(known["host"])
            value = _value(by_host=by_host, said=said, alone=alone)
            return Way(at, args=(f"--{name}", value))
    for file, text in texts.items():
        for match in _VARIABLE.finditer(text):
            known = _VARIABLES.fullmatch(match["name"])
            if known:
                by_host = bool(known["host"] or known["bound"])
                value = _value(by_host=by_host, said=match["said"], alone=True)
                return Way(_at(file, text, match), env={match["name"]: value})
    return None


def _flags(texts: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each flag's name, what the sources say of it, its place."""
    for file, text in texts.items():
        for match in _DERIVED.finditer(text):
            said = match["said"]
            if re.search(r"\blong\b", said) and match["type"] != "bool":
                long = _LONG.search(said)
                name = long["name"] if long else match["field"].replace("_", "-")
                yield name, f"{said} {match['type']}", _at(file, text, match)
        for match in _BUILT.finditer(text):
            long = _LONG.search(match["said"])
            if long:
                yield long["name"], match["said"], _at(file, text, match)


def _value(*, by_host: bool, said: str, alone: bool) -> str:
    """The address, with the port where it is given in one; `alone`: there is no flag for it."""
    if _WITH_PORT.search(said) or "SocketAddr" in said:
        return f"{ANYWHERE}:{{port}}"
    if by_host or "IpAddr" in said or not alone:
        return ANYWHERE
    return f"{ANYWHERE}:{{port}}"


def _at(name: str, text: str, match: re.Match[str]) -> str:
    return f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
