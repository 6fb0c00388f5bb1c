"""The one data file of versions, as Python sees it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

__all__ = ["section", "text"]


@cache
def text() -> str:
    """The content of `kindloop/data/versions.toml`."""
    return (resources.files("kindloop") / "data" / "versions.toml").read_text(encoding="utf-8")


@cache
def section(name: str) -> Mapping[str, str]:
    """The keys of one section, such as `bake` or `node`."""
    return MappingProxyType(tomllib.loads(text())[name])
