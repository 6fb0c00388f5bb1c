"""Which requests check a service: one per operation, one per wrong key, one unknown path."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import quote

from kindloop.errors import ConfigError
from kindloop.verify import serialise
from kindloop.verify.document import Document
from kindloop.verify.examples import NoExampleError, chosen, example
from kindloop.verify.openapi import Media, Operation, Parameter, Response, Scheme
from kindloop.verify.serialise import Payload

__all__ = ["Kind", "Probe", "plan", "select"]

Kind = Literal["documented", "wrong key", "unknown path"]

MAX_TIME_S = 10.0
"""Seconds until curl gives an answer up."""
STREAM_TIME_S = 5.0
"""Seconds to listen to an event stream; one event within them is enough."""
_KINDS = ("apiKey", "bearer", "basic")
_WRONG_KEY = "kindloop-wrong-key"
_MAX_BODY_BYTES = 100_000  # Linux takes 128 KiB in one argument, and bodies are arguments


@dataclass(frozen=True)
class Probe:
    """One request and what must come back. `path` is the template, `url` what is called."""

    name: str
    kind: Kind
    method: str
    path: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: Payload | None = None
    expected: tuple[str, ...] = ()
    """Statuses that pass, written as in the document: `200`, `2XX`."""
    responses: tuple[Response, ...] = ()
    """What the document says of each status."""
    operation: Operation | None = None
    max_time_s: float = MAX_TIME_S
    problem: str = ""
    """Why this operation cannot be called at all; such a probe fails without a request."""


@dataclass
class _Request:
    """What the parameters and credentials add up to."""

    path: str
    query: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)
    body: Payload | None = None


def plan(
    document: Document,
    operations: Sequence[Operation],
    base_url: str,
    *,
    unknown_path: bool = True,
) -> list[Probe]:
    """The probes for `operations`, in document order but with each DELETE after its siblings.

    There is exactly one probe of the kind `documented` per operation, one of the kind
    `wrong key` for each that needs a credential, and in the end one for an unknown path. Raises
    ConfigError when the document has no demo credential.
    """
    base_url = base_url.rstrip("/")
    probes = [p for o in _ordered(operations) for p in _probes(document, o, base_url)]
    return [*probes, _unknown_path(operations, base_url)] if unknown_path else probes


def select(operations: Sequence[Operation], only: str) -> list[Operation]:
    """The operations that `only` names: operationId, path or `METHOD /path`, or a glob of one."""
    found = [
        operation
        for operation in operations
        if any(
            name == only or fnmatchcase(name, only)
            for name in (operation.name, operation.path, f"{operation.method} {operation.path}")
        )
    ]
    if not found:
        names = ", ".join(operation.name for operation in operations)
        raise ConfigError(f"no operation is called {only}", hint=f"one of: {names}")
    return found


def _ordered(operations: Sequence[Operation]) -> list[Operation]:
    """DELETE last among all that begins with the fixed part of its path, the deepest first."""
    rest = [o for o in operations if o.method != "DELETE"]
    deletes = [o for o in operations if o.method == "DELETE"]
    for delete in sorted(deletes, key=lambda o: -o.path.count("/")):
        stem = _stem(delete.path)
        below = [i for i, o in enumerate(rest) if o.path == stem or o.path.startswith(stem + "/")]
        earlier = operations[: operations.index(delete)]
        beside = [i for i, o in enumerate(rest) if o in earlier]
        rest.insert(max(below or beside or [-1]) + 1, delete)
    return rest


def _stem(path: str) -> str:
    return path.partition("{")[0].rstrip("/")


def _unknown_path(operations: Sequence[Operation], base_url: str) -> Probe:
    path = "/kindloop-unknown-path"
    templates = [re.sub(r"\\{[^{}]*\\}", "[^/]+", re.escape(o.path)) for o in operations]
    while any(re.fullmatch(template, path) for template in templates):
        path += "/unknown"
    prefix = operations[0].prefix if operations else ""
    return Probe(
        name="unknown path",
        kind="unknown path",
        method="GET",
        path=path,
        url=base_url + prefix + path,
        expected=("404",),
        responses=tuple(_problems(operations))[:1],
    )


def _problems(operations: Iterable[Operation]) -> Iterable[Response]:
    for operation in operations:
        for response in operation.responses:
            problems = tuple(
                media
                for media in response.media
                if serialise.media_name(media.media_type) == "application/problem+json"
            )
            if response.status.startswith("4") and problems:
                yield Response("404", problems)


def _probes(document: Document, operation: Operation, base_url: str) -> Iterable[Probe]:
    try:
        schemes = _credentials(document, operation)
        request = _request(document, operation)
    except NoExampleError as exc:
        yield _bare(operation, base_url, f"cannot be called: {exc}")
        return
    yield _probe(operation, request, schemes, base_url)
    if schemes:
        wrong = tuple(replace(scheme, example=_WRONG_KEY) for scheme in schemes)
        documented = {response.status for response in operation.responses}
        yield replace(
            _probe(operation, request, wrong, base_url),
            name=f"{operation.name} (wrong key)",
            kind="wrong key",
            expected=("401", "403") if "403" in documented else ("401",),
        )


def _bare(operation: Operation, base_url: str, problem: str = "") -> Probe:
    return Probe(
        name=operation.name,
        kind="documented",
        method=operation.method,
        path=operation.path,
        url=base_url + operation.prefix + operation.path,
        expected=_expected(operation),
        responses=operation.responses,
        operation=operation,
        problem=problem,
    )


def _expected(operation: Operation) -> tuple[str, ...]:
    """The documented successes; else redirects; else what `default` means; else all there is."""
    statuses = [response.status for response in operation.responses]
    for wanted in ("2", "3"):
        found = tuple(status for status in statuses if status.startswith(wanted))
        if found:
            return found
    return ("2XX",) if "default" in statuses else tuple(statuses)


def _probe(
    operation: Operation, request: _Request, schemes: Iterable[Scheme], base_url: str
) -> Probe:
    query, headers, cookies = list(request.query), dict(request.headers), list(request.cookies)
    for scheme in schemes:
        _authorise(scheme, query, headers, cookies)
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    url = base_url + operation.prefix + request.path + ("?" + "&".join(query) if query else "")
    probe = replace(
        _bare(operation, base_url), url=url, headers=tuple(headers.items()), body=request.body
    )
    accepted = _accepted(probe)
    if accepted:
        probe = replace(probe, headers=(("Accept", ", ".join(accepted)), *probe.headers))
    stream = "text/event-stream" in map(serialise.media_name, accepted)
    problem = "" if probe.expected else "cannot be judged: no response is documented"
    return replace(probe, max_time_s=STREAM_TIME_S if stream else MAX_TIME_S, problem=problem)


def _accepted(probe: Probe) -> list[str]:
    types = [
        media.media_type
        for response in probe.responses
        if response.status in probe.expected
        for media in response.media
    ]
    return list(dict.fromkeys(types))


def _request(document: Document, operation: Operation) -> _Request:
    request = _Request(operation.path)
    for parameter in operation.parameters:
        examples = parameter.examples or chosen(parameter.schema.value, document.find)
        if examples or parameter.required:
            where = f"{parameter.location} parameter `{parameter.name}`"
            derive = parameter.schema.value
            value = examples[0] if examples else example(derive, document.find, where=where)
            _add(request, parameter, value)
    if operation.body is not None:
        request.body = _payload(document, operation.body.media)
        # curl writes this one itself: it alone knows the boundary.
        if not request.body.parts:
            request.headers["Content-Type"] = request.body.media_type
    return request


def _add(request: _Request, parameter: Parameter, value: Any) -> None:
    match parameter.location:
        case "path":
            text = serialise.path(parameter, value)
            if not text:
                raise NoExampleError(f"path parameter `{parameter.name}`: its example is empty")
            request.path = request.path.replace(f"{{{parameter.name}}}", text)
        case "query":
            request.query += serialise.query(parameter, value)
        case "header":
            request.headers[parameter.name] = serialise.header(parameter, value)
        case "cookie":
            request.cookies += serialise.cookies(parameter, value)


def _payload(document: Document, media: Sequence[Media]) -> Payload:
    """The first body that can be written, in document order."""
    for one in media:
        schema = one.schema.value if one.schema else True
        value = one.examples[0] if one.examples else example(schema, document.find, where="body")
        payload = serialise.payload(one, value, document.find)
        if payload is None:
            continue
        size = sum(len(text.encode()) for text in (payload.text, *(p.value for p in payload.parts)))
        if size > _MAX_BODY_BYTES:
            raise NoExampleError(
                f"body: its example has {size} bytes, at most {_MAX_BODY_BYTES} fit"
            )
        return payload
    types = ", ".join(one.media_type for one in media)
    raise NoExampleError(f"body: {types} needs an `example` that is text")


def _credentials(document: Document, operation: Operation) -> tuple[Scheme, ...]:
    """The schemes of the first alternative that curl can send; none when the call is open."""
    if () in operation.security or not operation.security:
        return ()
    for alternative in operation.security:
        if all(scheme.kind in _KINDS and scheme.example for scheme in alternative):
            return alternative
    schemes = [scheme for alternative in operation.security for scheme in alternative]
    scheme = next((s for s in schemes if s.kind in _KINDS and not s.example), None)
    if scheme is None:
        names = ", ".join(f"{s.name} ({s.kind})" for s in schemes)
        raise NoExampleError(f"security schemes that curl cannot send: {names}")
    raise ConfigError(
        f"{document.path}: components.securitySchemes.{scheme.name}: "
        f"no demo credential for {operation.name}",
        why="the smoke test calls each operation with the key that the document names",
        hint=f"add `x-kindloop-example: test123` to the scheme {scheme.name}",
    )


def _authorise(
    scheme: Scheme, query: list[str], headers: dict[str, str], cookies: list[str]
) -> None:
    key = scheme.example
    if scheme.kind != "apiKey":
        coded = base64.b64encode(key.encode()).decode() if scheme.kind == "basic" else key
        headers["Authorization"] = f"{scheme.kind.capitalize()} {coded}"
    elif scheme.location == "header":
        headers[scheme.parameter] = key
    else:
        pairs = query if scheme.location == "query" else cookies
        pairs.append(f"{quote(scheme.parameter, safe='')}={quote(key, safe='')}")
