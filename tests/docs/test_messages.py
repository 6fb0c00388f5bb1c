"""What the manual shows as printed is really printed: its words are those of a string of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANUAL = ROOT / "docs" / "LOCAL_DEVELOPMENT.md"
FEWEST = 6
"""Letters of a string that count: a shorter one is met by chance."""
SHORT = 5
"""Letters of a word that may be named by itself."""
MARKS = re.compile(r"^(?:error: |warn(?:ing)?: | +why: +| +next: +| +\| |[✗✓!~] )")
DATA = re.compile(
    r"""
    (?:
        (?:GET|POST|PUT|PATCH|DELETE)\ /.*   # a request
        | https?://\S+             # a URL
        | [\w./~-]+\.(?:rs|yaml|html)\S*    # a file
        | [~/][\w./~-]+                     # a folder
        | [\w<>.-]+                          # a name, a setting or a digest
        | [\d.,]+\ ?\w*                     # a figure
    )$
    """,
    re.VERBOSE,
)
EXEMPT = {
    "kindloop set-up: up to 130 MB to download, 5 min, 0.5 GB of disk:": "of a shell script",
    "── swap a1b2c3d4 ── petstore/wtjn2": "a rule: all but `swap` is filled in",
}
COMPILERS = re.compile(r"error(?:\[E\d+\])?: |Finished `|[\w/]+ \| \{")
"""How a line of rustc's, cargo's or the service's is told: they are not ours."""


def console(text: str) -> list[str]:
    """The lines that the console blocks of a text show as answers."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [x for x in lines if x.strip() not in ("", "…") and not x.startswith("$ ")]


def shown() -> list[str]:
    """Each line that a page shows as an answer, and each message that the manual names."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [line for page in pages for line in console(page.read_text(encoding="utf-8"))]
    text = MANUAL.read_text(encoding="utf-8").partition("\n## Troubleshooting\n")[2]
    text = text.partition("\n## ")[0]
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    return found + [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


@cache
def templates() -> tuple[re.Pattern[str], ...]:
    """Every string of the package and the supervisor, what is filled in matching anything."""
    found = {t for file in ROOT.glob("kindloop/**/*.py") for t in _of_python(file)}
    for file in ROOT.glob("supervisor/src/*.rs"):
        for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', file.read_text(encoding="utf-8")):
            found.add(tuple(re.split(r"\{[^{}]*\}", text)))
    return tuple(
        re.compile(".*?".join(map(re.escape, parts)) + ("" if parts[-1] else ".*"), re.DOTALL)
        for parts in found
        if sum(map(str.isalpha, "".join(parts))) >= FEWEST
    )


def _of_python(file: Path) -> Iterator[tuple[str, ...]]:
    """The strings of a module, cut where something is filled in."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [""]
            for value in node.values:
                if isinstance(value, ast.Constant):
                    parts[-1] += str(value.value)
                else:
                    parts.append("")
            yield tuple(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield tuple(re.split(r"\{[^{}]*\}", node.value))


def is_printed(line: str) -> bool:
    """Whether one of our strings makes up most of a line.

    A message that is named in the text, with `…` for what is filled in, is a part of a string.
    """
    text = MARKS.sub("", line).strip()
    for pattern in templates():
        match = pattern.search(text)
        if match and len(match[0]) * 2 >= len(text):
            return True
    pieces = [piece.strip() for piece in text.split("…") if len(piece.strip()) >= SHORT]
    return bool(pieces) and all(_is_part(piece) for piece in pieces)


def _is_part(piece: str) -> bool:
    return any(piece in pattern.pattern.replace("\\", "") for pattern in templates())


def pieces(text: str, separator: str) -> list[str]:
    """Its parts that are words of ours: no names, numbers, URLs, paths, digests."""
    found = [piece.strip() for piece in re.split(separator, text)]
    return [one for one in found if sum(map(str.isalpha, one)) >= FEWEST and not DATA.match(one)]


@pytest.mark.parametrize("line", sorted(set(shown()) - set(EXEMPT)))
def test_what_is_shown_is_printed(line: str) -> None:
    text = MARKS.sub("", line)
    if not COMPILERS.search(text) and not is_printed(line):
        cells = pieces(text, r" · | {2,}|(?<=\w): |\b[0-9a-f]{8}\b")
        odd = [p for cell in cells if not is_printed(cell) for p in pieces(cell, ", ")]
        assert [piece for piece in odd if not is_printed(piece)] == []


def test_exemptions_are_few_and_used() -> None:
    assert set(EXEMPT) <= set(shown())
    assert len(EXEMPT) == 2


def test_there_are_many() -> None:
    assert len(shown()) > 30


@pytest.mark.parametrize(
    "line",
    [
        "error: the cluster could not be reached by the frobnicator",
        "  next: invoke dev-heal",
        "  why:  the moon is full, and so is the disk",
        "ports the cluster wants are in use",
    ],
)
def test_what_nobody_prints_is_found(line: str) -> None:
    assert not is_printed(line)
