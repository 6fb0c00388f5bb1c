"""Reads the documents: fenced blocks, the commands in them, inline code.

A test that takes `python_block`, `yaml_block`, `command` or `page` runs once for each.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
OURS = ("invoke", "kindloop", "just", "nox", "scripts/dev-setup.sh", "scripts/dev-teardown.sh")
"""Programs whose commands are checked in prose too."""


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is the number of its first line of text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One simple command: `cd` before it and variables in front of it are taken off."""

    at: str
    words: tuple[str, ...]
    folder: Path
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.at} {shlex.join(self.words)}"


def prose(page: Path) -> str:
    """The page with its blocks blanked, lines kept."""
    return FENCE.sub(lambda m: "\n" * m[0].count("\n"), page.read_text(encoding="utf-8"))


def blocks(*languages: str) -> list[Block]:
    """Blocks of these languages (none named: all) in all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            found.append(Block(page, line, match[1], match[2]))
    return [b for b in found if not languages or b.language in languages]


def commands() -> list[Command]:
    """Every command of the console and bash blocks, and those of ours in prose."""
    found = [c for block in blocks("console", "bash") for c in _of_block(block)]
    for page in PAGES:
        for number, line in enumerate(prose(page).splitlines(), 1):
            for code in INLINE.findall(line):
                if code.split()[0] in OURS and len(code.split()) > 1:
                    found += _split(f"{page.name}:{number}", code, ROOT)[0]
    return found


def _of_block(block: Block) -> Iterator[Command]:
    folder = ROOT
    for number, line in enumerate(block.text.splitlines(), block.line):
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        found, folder = _split(f"{block.page.name}:{number}", line, folder)
        yield from found


def _split(at: str, line: str, folder: Path) -> tuple[list[Command], Path]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    found: list[Command] = []
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word.strip("&|;"):
            words.append(word)
            continue
        variables = words[: _first_word(words)]
        rest = words[len(variables) :]
        rest = rest[: rest.index(">")] if ">" in rest else rest
        if rest[:1] == ["cd"]:
            folder = folder / rest[1]
        elif rest:
            found.append(Command(at, tuple(rest), folder, tuple(variables)))
        words = []
    return found, folder


def _first_word(words: list[str]) -> int:
    return next((i for i, w in enumerate(words) if not ASSIGNMENT.fullmatch(w)), len(words))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for language in ("python", "yaml"):
        if f"{language}_block" in metafunc.fixturenames:
            metafunc.parametrize(f"{language}_block", blocks(language), ids=str)
    if "command" in metafunc.fixturenames:
        metafunc.parametrize("command", commands(), ids=str)
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", PAGES, ids=lambda p: p.name)


@pytest.fixture(scope="session")
def all_blocks() -> list[Block]:
    """Every fenced block."""
    return blocks()


@pytest.fixture(scope="session")
def all_commands() -> list[Command]:
    """Every command that the documents show."""
    return commands()


@pytest.fixture(scope="session")
def text_of() -> dict[str, str]:
    """Prose of each page, blocks blanked, by name."""
    return {page.name: prose(page) for page in PAGES}


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of stages are those of this checkout's kindloop.yaml, whatever the caller has set."""
    monkeypatch.chdir(ROOT)
    for name in ("KINDLOOP_CONFIG", "KINDLOOP_NAME", "KINDLOOP_PORT_OFFSET", "KINDLOOP_PROFILE"):
        monkeypatch.delenv(name, raising=False)
