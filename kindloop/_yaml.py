"""YAML to frozen dataclasses, with the line and column of every mistake.

A node is read by the type of the field that it fills, never by what YAML 1.1 takes it for: there
`no` is false, `1.10` is 1.1 and `22:30` is 1350.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

__all__ = [
    "Keys",
    "Mistake",
    "Reader",
    "absolute",
    "compose",
    "display",
    "dotted",
    "scalar",
    "suggest",
]

Keys = tuple[str | int, ...]
"""Where a value stands: ("stages", "router", "needs", 0)."""

_TAG = "tag:yaml.org,2002:"
_TAGS = re.compile(_TAG + "(map|seq|str|int|float|bool|null|timestamp|merge|value)")
_NOTHING = ("off", "null", "~")
_TRUTH = {"true": True, "false": False}
# Nine digits hold every number we know; leading zeros would be octal in YAML 1.1 only.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_NUMBER = re.compile(_WHOLE.pattern + r"(\.[0-9]{1,9})?")
_VARIABLE = re.compile(r"\$\{(\w+)\}")

_PLAIN_WORDS = {
    "'\\t' that cannot start": "a tab indents this line; YAML takes spaces only",
    "mapping values are not allowed": "a colon where no key can stand: "
    "look at the indentation, or quote text that has a colon",
    "could not find expected ':'": "a key without its colon",
    "expected <block end>": "the indentation fits no line above",
    "expected ',' or": "a bracket is not closed here, or text with { or [ needs quotes",
    "unexpected end of stream": "a quote is not closed",
    "another document": "a second document begins here; there must be one",
    "undefined alias": "an alias without its anchor",
}
"""What PyYAML says, and what it most often means."""


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake of the file; line and column count from 1."""

    line: int
    column: int
    text: str


@dataclass(frozen=True)
class Found:
    """A scalar of the file, read; line and column count from 1."""

    value: Any
    line: int
    column: int


def compose(raw: bytes) -> yaml.Node | Mistake:
    """The root node of a document in UTF-8, or why there is none."""
    try:
        text = raw.decode("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return root or Mistake(1, 1, "the file is empty; it must begin with version: 1")
    except yaml.MarkedYAMLError as exc:
        problem = exc.problem or "not YAML"
        # At the end of the file, the place where the quote or bracket began helps more.
        mark = exc.context_mark if "stream" in problem else exc.problem_mark
        words = next((plain for said, plain in _PLAIN_WORDS.items() if said in problem), "")
        told = f"{words} ({problem})" if words else problem
        return Mistake(mark.line + 1, mark.column + 1, told) if mark else Mistake(1, 1, told)
    except UnicodeDecodeError as exc:
        return _after(raw[: exc.start].decode(), "a byte that is not UTF-8")
    except yaml.reader.ReaderError as exc:
        return _after(text[: exc.position], f"a control character ({exc.reason})")
    except RecursionError:
        return Mistake(1, 1, "brackets nested too deep")


def suggest(word: str, known: Iterable[str]) -> str:
    """What to append to "unknown WORD": the near name, else those that are known."""
    options = list(known)
    near = difflib.get_close_matches(word, options, n=1)
    if near:
        return f" (did you mean {near[0]}?)"
    return f" (known: {', '.join(options)})" if options else ""


def absolute(path: Path | str) -> Path:
    """`path` from the root, by its text alone: resolve() would fail at a loop of links."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def display(path: Path) -> str:
    """The shorter of its relative and its absolute name."""
    return min(os.path.relpath(path), str(path), key=len)


def dotted(keys: Keys) -> str:
    """Where a value stands as one reads it: workloads.petstore.image.files[0].to."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(parts).removeprefix(".")


def scalar(kind: Any, text: str, *, plain: bool = True) -> Any:
    """`text` as a `kind`: str, int, float, bool, a Literal, or one of them `| None`.

    `plain` is whether it stands without quotes. Raises ValueError in the user's words.
    """
    inner = _inner(kind)
    if _optional(kind) and plain and text in _NOTHING:
        return None
    if get_origin(inner) is Literal:
        choices = {str(choice): choice for choice in get_args(inner)}
        if text in choices:
            return choices[text]
        near = suggest(text, choices) if len(choices) > 1 else ""
        raise ValueError(f"expected {_wanted(kind)}, found {text}{near}")
    if inner is bool:
        # YAML 1.1 also has yes, no, on, off and their capitals; one way to say it is enough.
        if plain and text in _TRUTH:
            return _TRUTH[text]
        raise ValueError(f"expected {_wanted(kind)}, found {_shown(text, plain)}")
    pattern = {int: _WHOLE, float: _NUMBER}.get(inner)
    if pattern and not (plain and pattern.fullmatch(text)):
        raise ValueError(f"expected {_wanted(kind)}, found {_shown(text, plain)}")
    return inner(text)


class Reader:
    """Reads nodes into dataclasses and collects every mistake instead of stopping at one.

    A dataclass in a mapping gets its key as `name`. `file_keys` names the fields whose key in
    the file is another. Paths are relative to `folder`, and `${NAME}` in them is taken from
    `env`; `unset` has the names without a value. `found` has each scalar, `key_marks` the
    (line, column) of each key.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str], file_keys: Mapping[tuple[type, str], str]
    ) -> None:
        self.folder = folder
        self.env = env
        self.file_keys = file_keys
        self.mistakes: list[Mistake] = []
        self.unset: list[str] = []
        self.found: dict[Keys, Found] = {}
        self.key_marks: dict[Keys, tuple[int, int]] = {(): (1, 1)}

    def read(
        self, kind: Any, node: yaml.Node, keys: Keys = (), given: Mapping[str, Any] | None = None
    ) -> Any:
        """The node as a `kind`, whole only while there are no `mistakes`.

        `given` has the fields of a dataclass that do not stand in the file.
        """
        if not _TAGS.fullmatch(node.tag):
            return self._report(node, f"the tag {node.tag} has no meaning", keys)
        inner = _inner(kind)
        whole = is_dataclass(inner) or get_origin(inner) in (Mapping, tuple)
        if whole and inner is not kind and _is_nothing(node):
            self.found[keys] = Found(None, *_at(node))
            return None
        if is_dataclass(inner):
            return self._fields(inner, node, keys, given or {})
        if get_origin(inner) is Mapping:
            return self._mapping(get_args(inner)[1], node, keys)
        if get_origin(inner) is tuple:
            return self._items(get_args(inner)[0], node, keys)
        return self._leaf(kind, node, keys)

    def mistake(self, at: tuple[int, int], text: str, keys: Keys = ()) -> None:
        """Note a mistake at (line, column), in the value that stands at `keys`."""
        self.mistakes.append(Mistake(*at, f"{dotted(keys)}: {text}" if keys else text))

    def _report(self, node: yaml.Node, text: str, keys: Keys) -> Any:
        self.mistake(_at(node), text, keys)

    def _unfit(self, kind: Any, node: yaml.Node, keys: Keys) -> Any:
        self._report(node, f"expected {_wanted(kind)}, found {_described(node)}", keys)

    def _pairs(self, node: yaml.MappingNode, keys: Keys) -> dict[str, yaml.Node]:
        pairs: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._report(key, "a key must be text", keys)
            elif key.value in pairs:
                first = self.key_marks[(*keys, key.value)][0]
                self._report(key, f"duplicate key {key.value} (first: line {first})", keys)
            else:
                self.key_marks[(*keys, key.value)] = _at(key)
                pairs[key.value] = value
        return pairs

    def _fields(self, kind: Any, node: yaml.Node, keys: Keys, given: Mapping[str, Any]) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self._unfit(kind, node, keys)
        own = [field for field in fields(kind) if field.name not in given]
        by_key = {self.file_keys.get((kind, field.name), field.name): field for field in own}
        pairs = self._pairs(node, keys)
        at = self.key_marks.get(keys, _at(node))  # an item of a list has no key
        self._unknown_and_missing(by_key, pairs, keys, at)
        hints = get_type_hints(kind)
        values = {
            by_key[key].name: self.read(hints[by_key[key].name], value, (*keys, key))
            for key, value in pairs.items()
            if key in by_key
        }
        return None if self.mistakes else kind(**given, **values)

    def _unknown_and_missing(
        self,
        by_key: Mapping[str, Field[Any]],
        pairs: Mapping[str, yaml.Node],
        keys: Keys,
        at: tuple[int, int],
    ) -> None:
        for key in pairs.keys() - by_key.keys():
            text = f"unknown key {key}{suggest(key, by_key)}"
            self.mistake(self.key_marks[(*keys, key)], text, keys)
        for key, field in by_key.items():
            if field.default is field.default_factory is MISSING and key not in pairs:
                self.mistake(at, f"the key {key} is missing", keys)

    def _mapping(self, kind: Any, node: yaml.Node, keys: Keys) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self._unfit(Mapping, node, keys)
        named = is_dataclass(kind) and any(field.name == "name" for field in fields(kind))
        return {
            key: self.read(kind, value, (*keys, key), {"name": key} if named else None)
            for key, value in self._pairs(node, keys).items()
        }

    def _items(self, kind: Any, node: yaml.Node, keys: Keys) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self._unfit(tuple, node, keys)
        return tuple(self.read(kind, item, (*keys, i)) for i, item in enumerate(node.value))

    def _leaf(self, kind: Any, node: yaml.Node, keys: Keys) -> Any:
        optional = _optional(kind)
        if not isinstance(node, yaml.ScalarNode) or (
            node.tag == _TAG + "null" and not (optional and node.value)
        ):
            return self._unfit(kind, node, keys)
        plain = not node.style
        try:
            if _inner(kind) is not Path:
                value = scalar(kind, node.value, plain=plain)
            elif optional and plain and node.value in _NOTHING:
                value = None
            else:
                value = self._path(node.value)
        except ValueError as exc:
            return self._report(node, str(exc), keys)
        self.found[keys] = Found(value, *_at(node))
        return value

    def _path(self, text: str) -> Path:
        for name in _VARIABLE.findall(text):
            if not self.env.get(name):
                self.unset.append(name)
                state = "empty" if name in self.env else "not set"
                raise ValueError(f"the environment variable {name} is {state}")
        whole = _VARIABLE.sub(lambda match: self.env[match[1]], text)
        return absolute(self.folder / whole)


def _after(before: str, text: str) -> Mistake:
    lines = before.split("\n")
    return Mistake(len(lines), len(lines[-1]) + 1, text)


def _at(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NOTHING


def _inner(kind: Any) -> Any:
    return next(arg for arg in get_args(kind) if arg is not NoneType) if _optional(kind) else kind


def _wanted(kind: Any) -> str:
    if _optional(kind):
        return f"{_wanted(_inner(kind))} or off"
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    words = {
        str: "text", int: "a whole number", float: "a number", bool: "true or false",
        Path: "a path", tuple: "a list",
    }  # fmt: skip
    return words.get(kind, "a mapping")


def _described(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return _shown(node.value, not node.style) if node.value or node.style else "nothing"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        return "a mapping (text that begins with { needs quotes)"
    return "a mapping"


def _shown(text: str, plain: bool) -> str:
    short = text if len(text) <= 40 else text[:37] + "..."
    return short if plain else f'the text "{short}"'
