"""The operations of an OpenAPI document, with all that a call of them needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from kindloop.verify.document import METHODS, Document, Node, load

__all__ = [
    "Body",
    "Media",
    "Operation",
    "Parameter",
    "Response",
    "Schema",
    "Scheme",
    "operations",
    "read",
]

_BESIDE_METHODS = ("parameters", "servers", "summary", "description", "$ref")

Location = Literal["path", "query", "header", "cookie"]
STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
"""Styles by location; the first is the default."""
_RESERVED_HEADERS = ("accept", "content-type", "authorization")


@dataclass(frozen=True)
class Schema:
    """A JSON Schema and the JSON pointer to it in the document."""

    value: Any
    pointer: str


@dataclass(frozen=True)
class Media:
    """One media type of a body. `examples` are the document's own values, best first."""

    media_type: str
    schema: Schema | None = None
    examples: tuple[Any, ...] = ()
    encoding: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Parameter:
    """A parameter; `media` is the media type of one described by `content`, else empty."""

    name: str
    location: Location
    style: str
    explode: bool
    required: bool
    schema: Schema
    examples: tuple[Any, ...] = ()
    media: str = ""
    allow_reserved: bool = False


@dataclass(frozen=True)
class Body:
    """The request body, by media type in document order."""

    required: bool
    media: tuple[Media, ...]


@dataclass(frozen=True)
class Response:
    """A documented response. `status` is as in the document: `200`, `2XX` or `default`."""

    status: str
    media: tuple[Media, ...] = ()
    required_headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scheme:
    """A security scheme. `example` is the demo credential (`x-kindloop-example`)."""

    name: str
    kind: str
    """`apiKey`, `bearer` or `basic`; anything else cannot be sent by curl."""
    location: str = "header"
    parameter: str = "Authorization"
    example: str = ""


@dataclass(frozen=True)
class Operation:
    """A method of a path. `security`: alternatives, each the schemes that must all hold."""

    method: str
    path: str
    operation_id: str = ""
    prefix: str = ""
    """Path of the server that serves it, before `path`."""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    responses: tuple[Response, ...] = ()
    security: tuple[tuple[Scheme, ...], ...] = ()

    @property
    def name(self) -> str:
        """Its operationId, else method and path."""
        return self.operation_id or f"{self.method} {self.path}"


def read(path: Path) -> Document:
    """The document at `path`; raises ConfigError with file and place."""
    document = load(path)
    components = document.root.get("components")
    for _, schema in components.entries("schemas") if components else ():
        _checked(schema)
    return document


def operations(document: Document) -> list[Operation]:
    """Every operation in document order; raises ConfigError for one that is not well described."""
    paths = document.root.get("paths")
    if paths is None:
        raise document.root.error("`paths` is missing")
    found = [
        _operation(document.root, item, path, method)
        for path, item in document.root.entries("paths")
        if not path.startswith("x-")
        for method in _methods(paths.raw(path), item, path)
    ]
    ids = [operation.operation_id for operation in found if operation.operation_id]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise document.root.error(f"the operationId `{twice[0]}` is there twice")
    return found


def _methods(written: Node | None, item: Node, path: str) -> Iterator[str]:
    if not path.startswith("/"):
        raise item.error("a path begins with a slash")
    if written and "$ref" in written.value and written.value.keys() & set(METHODS):
        raise written.error("a method beside `$ref` would be left out", "move it to the target")
    for key in item.value or ():
        if key in METHODS:
            yield key
        elif key not in _BESIDE_METHODS and not key.startswith("x-"):
            raise item.error(f"`{key}` is neither a method (lower case) nor a field of a path")


def _operation(root: Node, item: Node, path: str, method: str) -> Operation:
    node = item.child(method).follow()
    operation = Operation(
        method=method.upper(),
        path=path,
        operation_id=node.text("operationId", ""),
        prefix=_prefix(node) or _prefix(item) or _prefix(root) or "",
        parameters=_parameters(item, node),
        body=_body(node),
        responses=_responses(node),
        security=_security(root, node if node.get("security") else root),
    )
    variables = set(re.findall(r"{([^{}]+)}", path))
    described = {p.name for p in operation.parameters if p.location == "path"}
    for name in sorted(variables ^ described):
        missing = "described as a parameter" if name in variables else "in the path"
        raise node.error(f"the path parameter `{name}` is not {missing}")
    return operation


def _prefix(node: Node) -> str | None:
    """Path of the first server with its variables at their defaults; None without servers."""
    for server in node.items("servers"):
        url = server.text("url")
        for name, variable in server.entries("variables"):
            url = url.replace(f"{{{name}}}", variable.text("default"))
        return urlsplit(url).path.rstrip("/")
    return None


def _parameters(item: Node, node: Node) -> tuple[Parameter, ...]:
    found: dict[tuple[str, str], Parameter] = {}
    for entry in (*item.items("parameters"), *node.items("parameters")):
        parameter = _parameter(entry)
        found[parameter.name, parameter.location] = parameter
    # OpenAPI: these three are described elsewhere and ignored as parameters.
    ignored = [key for key in found if key[1] == "header" and key[0].lower() in _RESERVED_HEADERS]
    return tuple(parameter for key, parameter in found.items() if key not in ignored)


def _parameter(node: Node) -> Parameter:
    location = node.text("in")
    if location not in STYLES:
        raise node.error(f"`in` must be one of {', '.join(STYLES)}")
    style = node.text("style", STYLES[location][0])
    if style not in STYLES[location]:
        raise node.error(f"a {location} parameter has no style `{style}`")
    content = next(iter(node.entries("content")), None)
    schema = node.raw("schema") if content is None else content[1].raw("schema")
    return Parameter(
        name=node.text("name"),
        location=location,  # type: ignore[arg-type]
        style=style,
        explode=node.flag("explode", style == "form"),
        required=node.flag("required", False),
        schema=_checked(schema) if schema else Schema(True, ""),
        examples=_examples(node) + (_examples(content[1]) if content else ()),
        media=content[0] if content else "",
        allow_reserved=node.flag("allowReserved", False),
    )


def _body(node: Node) -> Body | None:
    body = node.get("requestBody")
    if body is None:
        return None
    if not (media := _media(body)):
        raise body.error("`content` is missing or empty")
    return Body(body.flag("required", False), media)


def _responses(node: Node) -> tuple[Response, ...]:
    found = node.entries("responses")
    return tuple(_response(key, part) for key, part in found if not key.startswith("x-"))


def _response(status: str, node: Node) -> Response:
    if not re.fullmatch(r"default|[1-5](?:\d\d|XX)", status):
        raise node.error("is not a status code, `2XX` or `default`")
    headers = [name for name, part in node.entries("headers") if part.flag("required", False)]
    return Response(status, _media(node), tuple(headers))


def _media(node: Node) -> tuple[Media, ...]:
    return tuple(_one_media(media_type, media) for media_type, media in node.entries("content"))


def _one_media(media_type: str, node: Node) -> Media:
    schema, encoding = node.raw("schema"), node.get("encoding")
    checked = _checked(schema) if schema else None
    return Media(media_type, checked, _examples(node), encoding.value if encoding else None)


def _examples(node: Node) -> tuple[Any, ...]:
    single = node.raw("example")
    named = [entry.raw("value") for _, entry in node.entries("examples")]
    return tuple(found.value for found in (single, *named) if found is not None)


def _checked(node: Node) -> Schema:
    # Imported here: it takes 0.1 s, which only a smoke test has to pay.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(node.value)
    except SchemaError as exc:
        where = exc.json_path.removeprefix("$").lstrip(".")
        raise node.error(
            f"not a valid schema: {where + ': ' if where else ''}{exc.message}"
        ) from exc
    return Schema(node.value, node.pointer)


def _security(root: Node, node: Node) -> tuple[tuple[Scheme, ...], ...]:
    components = root.get("components")
    schemes = dict(components.entries("securitySchemes")) if components else {}
    alternatives = []
    for alternative in node.items("security"):
        names = alternative.value if isinstance(alternative.value, dict) else {"": None}
        for name in names:
            if name not in schemes:
                raise alternative.error(f"there is no security scheme `{name}`")
        alternatives.append(tuple(_scheme(name, schemes[name]) for name in names))
    return tuple(alternatives)


def _scheme(name: str, node: Node) -> Scheme:
    kind, example = node.text("type"), node.text("x-kindloop-example", "")
    if kind == "apiKey":
        if (location := node.text("in")) not in ("header", "query", "cookie"):
            raise node.error("`in` of an API key must be header, query or cookie")
        return Scheme(name, kind, location, node.text("name"), example)
    if kind == "http":
        kind = node.text("scheme").lower()
    elif kind in ("oauth2", "openIdConnect"):
        kind = "bearer"
    return Scheme(name, kind, example=example)
