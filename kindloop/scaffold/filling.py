"""Texts of another project's first files: our templates, and values as YAML takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

__all__ = ["as_text", "fill", "is_plain", "label", "listed", "shipped", "template"]

COLUMNS = 100
_PLACE = re.compile(r"^@(?P<line>\w+)@\n|@(?P<part>\w+)@", re.MULTILINE)
_PLAIN = re.compile(r"-{0,2}[A-Za-z0-9_./][\w./@+=-]*", re.ASCII)
_DIGITS = re.compile(r"[0-9.]*[0-9][0-9.]*")


def is_plain(value: str) -> bool:
    """Whether YAML takes it for one word of text, or a number."""
    return _PLAIN.fullmatch(value) is not None


def label(name: str) -> str:
    """`name` as Kubernetes takes it: pet_store → pet-store."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")


def listed(items: Sequence[str], before: str, indent: str) -> str:
    """A list of texts behind `before`: in its line, or a line each where that is too long."""
    texts = [as_text(item) for item in items]
    line = f"[{', '.join(texts)}]"
    return line if len(before + line) <= COLUMNS else "".join(f"\n{indent}- {t}" for t in texts)


def as_text(value: str) -> str:
    """`value` as YAML takes it for text."""
    words = {"true", "false", "yes", "no", "on", "off", "null"}
    plain = all(_PLAIN.fullmatch(word) for word in value.split(" "))
    if plain and not _DIGITS.fullmatch(value) and value.lower() not in words:
        return value
    return json.dumps(value, ensure_ascii=False)


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with its places filled; a line that is one place with nothing in it goes."""

    def filled(match: re.Match[str]) -> str:
        value = values[match["line"] or match["part"]]
        return f"{value}\n" if match["line"] and value else value

    return _PLACE.sub(filled, text)


def template(name: str) -> str:
    """The template of a file."""
    return shipped(f"templates/{name}.txt")


def shipped(name: str) -> str:
    """A file of `kindloop/data`."""
    return (resources.files("kindloop") / "data" / name).read_text(encoding="utf-8")
