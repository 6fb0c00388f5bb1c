"""What stands below the fields of a class: the text that documents and editors show for them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["field_text", "texts_of"]


def field_text(owner: Any, name: str) -> str:
    """The text below the field `name`, in whichever class declares it; empty without one."""
    classes = getattr(owner, "__mro__", (owner,))
    declaring = (c for c in classes if name in inspect.get_annotations(c))
    declared = next(declaring, owner)
    return texts_of(declared.__module__).get((declared.__name__, name), "")


@cache
def texts_of(module: str) -> Mapping[tuple[str, str], str]:
    """The text below each field of a module's classes, by class and field."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.ClassDef):
            for one, following in zip(node.body, node.body[1:], strict=False):
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                    found[node.name, one.target.id] = " ".join(_text(following).split())
    return found


def _text(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""
