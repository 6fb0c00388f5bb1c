"""An OpenAPI document as a tree that knows where each part is; local `$ref`s are followed.

YAML is read as OpenAPI asks (version 1.2: `no` and `2024-01-01` are text), and a key that is
there twice is an error: the parser would drop the first, an operation among them, in silence.
OpenAPI 3.0 schemas are rewritten to what they mean in JSON Schema 2020-12, so that the rest of
this room knows one dialect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kindloop.errors import ConfigError

__all__ = ["METHODS", "Document", "Node", "load", "rewrite"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_DATA_KEYS = {"example", "examples", "default", "enum", "const"}
_MAP_KEYS = {
    *("properties", "patternProperties", "dependentSchemas", "$defs", "schemas", "responses"),
    *("parameters", "requestBodies", "headers", "securitySchemes", "content", "paths"),
    *("pathItems", "callbacks", "links", "webhooks", "encoding", "variables"),
}
"""Keys whose children are named by the author: a property may be called `default`."""


@dataclass(frozen=True, eq=False)
class Document:
    """A document whose `$ref`s all lead somewhere. `tree` has JSON types and text keys only."""

    path: Path
    tree: dict[str, Any]

    @property
    def root(self) -> Node:
        """The whole document."""
        return Node(self, self.tree, "")

    def find(self, reference: str) -> Any:
        """What a local reference (`#/components/schemas/Pet`) leads to; KeyError when nothing."""
        value: Any = self.tree
        for part in _parts(reference.removeprefix("#")):
            value = value[int(part)] if isinstance(value, list) else value[part]
        return value


@dataclass(frozen=True, eq=False)
class Node:
    """A value and the JSON pointer to it. What `get` and `entries` give has its `$ref` followed."""

    document: Document
    value: Any
    pointer: str

    def raw(self, key: str) -> Node | None:
        """The child `key` as it is written, or None."""
        if not isinstance(self.value, dict):
            raise self.error("must be a mapping")
        return self.child(key) if key in self.value else None

    def child(self, key: str) -> Node:
        """The child `key`, which is there, as it is written."""
        escaped = key.replace("~", "~0").replace("/", "~1")
        return Node(self.document, self.value[key], f"{self.pointer}/{escaped}")

    def get(self, key: str) -> Node | None:
        """The child `key`, or None when it is missing."""
        child = self.raw(key)
        return child.follow() if child else None

    def follow(self) -> Node:
        """Where the `$ref` of this node leads in the end; itself when it has none."""
        node = self
        for _ in range(100):
            if not isinstance(node.value, dict) or not isinstance(node.value.get("$ref"), str):
                return node
            reference = node.value["$ref"]
            node = Node(self.document, _lookup(self.document, node, reference), reference[1:])
        raise self.error(f"`{node.value['$ref']}` leads to itself")

    def entries(self, key: str) -> Iterator[tuple[str, Node]]:
        """Name and node of each child of the mapping `key`; none when it is missing."""
        child = self.get(key)
        if child is None:
            return
        if not isinstance(child.value, dict):
            raise child.error("must be a mapping")
        for name in child.value:
            yield name, child.child(name).follow()

    def items(self, key: str) -> Iterator[Node]:
        """Each item of the list `key`; none when it is missing."""
        child = self.get(key)
        if child is None:
            return
        if not isinstance(child.value, list):
            raise child.error("must be a list")
        for index, value in enumerate(child.value):
            yield Node(self.document, value, f"{child.pointer}/{index}").follow()

    def text(self, key: str, default: str | None = None) -> str:
        """The text at `key`; ConfigError when it is missing without a default, or not text."""
        child = self.get(key)
        if child is None and default is not None:
            return default
        if child is None:
            raise self.error(f"`{key}` is missing")
        if not isinstance(child.value, str):
            raise child.error("must be text")
        return child.value

    def flag(self, key: str, default: bool) -> bool:
        """The boolean at `key`."""
        child = self.get(key)
        if child is None:
            return default
        if not isinstance(child.value, bool):
            raise child.error("must be true or false")
        return child.value

    def error(self, problem: str, hint: str = "") -> ConfigError:
        """An error that names the file and this place in it."""
        where = ".".join(_parts(self.pointer)) or "the document"
        return ConfigError(f"{self.document.path}: {where}: {problem}", hint=hint)


def load(path: Path) -> Document:
    """Read an OpenAPI 3.0 or 3.1 document, `.json` as JSON, anything else as YAML.

    Raises ConfigError with the file and the line or place: unreadable, not OpenAPI 3, a key
    twice, a `$ref` that leads nowhere or out of the file.
    """
    tree = _parse(path, _read(path))
    if not isinstance(tree, dict) or "openapi" not in tree:
        raise ConfigError(f"{path}: `openapi` is missing: not an OpenAPI document")
    version = str(tree["openapi"])
    if not version.startswith(("3.0", "3.1")):
        raise ConfigError(f"{path}: OpenAPI {version} is not supported, only 3.0 and 3.1 are")
    if version.startswith("3.0"):
        tree = rewrite(tree, _from_3_0)
    document = Document(path, tree)
    _check_references(document)
    return document


def rewrite(value: Any, change: Any, *, named: bool = False) -> Any:
    """A copy of a tree with `change` applied to each mapping, children first.

    Example data and mappings named by the author (`named`) are left as they are.
    """
    if isinstance(value, list):
        return [rewrite(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    result = {
        key: child
        if not named and _is_data(key)
        else rewrite(child, change, named=not named and key in _MAP_KEYS)
        for key, child in value.items()
    }
    return result if named else change(result)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 with text keys, each at most once."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                name = f"`{key.value}`" if isinstance(key, yaml.ScalarNode) else "a collection"
                problem = f"{name} cannot be a key here, or is one twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(item, deep=deep) for key, item in node.value}


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
    ("merge", r"^<<$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc


def _parse(path: Path, text: str) -> Any:
    try:
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise ConfigError(f"{path}:{line}: {exc.problem}") from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise ValueError(f"`{twice[0]}` is a key twice")
    return dict(pairs)


def _is_data(key: str) -> bool:
    return key in _DATA_KEYS or key.startswith("x-")


def _from_3_0(node: dict[str, Any]) -> dict[str, Any]:
    if isinstance(node.get("$ref"), str) and not node.keys() & set(METHODS):
        return {"$ref": node["$ref"]}  # what stands beside it has no meaning in 3.0
    if node.get("nullable") is True and isinstance(node.get("type"), str):
        node["type"] = [node["type"], "null"]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(node.get(exclusive), bool) and node.pop(exclusive) and bound in node:
            node[exclusive] = node.pop(bound)
    return node


def _check_references(document: Document) -> None:
    def check(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node.get("$ref"), str):
            _lookup(document, document.root, node["$ref"])
        return node

    rewrite(document.tree, check)


def _lookup(document: Document, node: Node, reference: str) -> Any:
    if not reference.startswith("#/"):
        raise node.error(
            f"`{reference}` is not a reference inside this file (`#/...`)",
            hint="put what it refers to under `components` of the document",
        )
    try:
        return document.find(reference)
    except (KeyError, IndexError, TypeError, ValueError):
        raise node.error(f"`{reference}` leads nowhere in this document") from None


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
