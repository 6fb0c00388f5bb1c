"""What the documents say about the code is what the code says: settings, codes, links, names."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.program import Program

from kindloop import versions
from kindloop.config import (
    DEFAULT_PORTS,
    NODE_PORTS,
    App,
    Cluster,
    Config,
    CopiedFiles,
    Image,
    Load,
    Stage,
    Swap,
    SyncedFiles,
    Watch,
    Workload,
)
from kindloop.errors import EXIT_CODES
from kindloop.tasks import collection

ROOT = Path(__file__).resolve().parents[2]
MANUAL = "LOCAL_DEVELOPMENT.md"
WORDS = {
    "app.root": "folder of the file",
    "cluster.config": "the one that kindloop ships",
    "stack": "the one that kindloop ships",
    "cluster.ports": "see [ports](#ports)",
    "workloads.<name>.swap.args": "those of the container",
}
"""Defaults that are no plain value."""
SUPERVISORS = {"KINDLOOP_PORT", "KINDLOOP_HEALTH", "KINDLOOP_DIR", "KINDLOOP_LISTEN"}
"""Variables that kindloop sets in a container for the supervisor; its README has them."""
INTERNAL = {"KINDLOOP_RECORDER"}
"""What a watch tells its children, so that a later one knows them."""


def settings() -> Iterator[tuple[str, str]]:
    """Every setting with its default as the manual writes it."""
    yield "version", "required"
    yield from _of(Config, "", {"path", "app", "cluster", "stages", "workloads", "watch", "load"})
    yield from _of(App, "app.", set())
    yield from _of(Cluster, "cluster.", set())
    yield "stages.<name>", "none"
    yield from _of(Stage, "stages.<name>.", {"name"})
    yield "workloads.<name>", "none"
    yield from _of(Workload, "workloads.<name>.", {"name", "image", "swap", "sync"})
    yield "workloads.<name>.swap", "none"
    yield "workloads.<name>.sync", "`[]`"
    yield from _of(Image, "workloads.<name>.image.", set())
    yield from _of(CopiedFiles, "workloads.<name>.image.files[].", set(), {"source": "from"})
    yield from _of(Swap, "workloads.<name>.swap.", set())
    yield from _of(SyncedFiles, "workloads.<name>.sync[].", set(), {"source": "from"})
    yield from _of(Watch, "watch.", set())
    yield "load.<name>", "none"
    yield from _of(Load, "load.<name>.", {"name"})


def _of(
    kind: Any, prefix: str, left_out: set[str], names: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str]]:
    for one in fields(kind):
        if one.name not in left_out:
            name = prefix + (names or {}).get(one.name, one.name)
            yield name, WORDS.get(name) or _default(one)


def _default(one: Field[Any]) -> str:
    value = one.default if one.default_factory is MISSING else one.default_factory()
    if value is MISSING:
        return "required"
    if value in (None, ""):
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{dict(value)}`" if isinstance(value, Mapping) else f"`{value}`"


def table(text: str, *header: str) -> list[list[str]]:
    """The rows of the one table with this header."""
    head = re.escape("| " + " | ".join(header) + " |")
    found = re.findall(rf"^{head}\n\|[ |-]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(found) == 1, f"{len(found)} tables have the header {header}"
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[0].splitlines()]


def test_every_setting_is_in_the_manual_with_its_default(text_of: dict[str, str]) -> None:
    rows = table(text_of[MANUAL], "setting", "default", "meaning")
    assert {row[0].strip("`"): row[1] for row in rows} == dict(settings())
    for name, _, meaning in rows:
        for ending, unit in (("_s`", "seconds "), ("_ms`", "milliseconds ")):
            if name.endswith(ending):
                assert meaning.startswith(unit), f"{name} has no unit"


def test_ports_are_those_of_the_code(text_of: dict[str, str]) -> None:
    rows = table(text_of[MANUAL], "name", "host port", "NodePort")
    assert {n: int(p) for n, p, _ in rows} == dict(DEFAULT_PORTS)
    assert {n: int(p) for n, _, p in rows} == dict(NODE_PORTS)


def test_tools_are_those_of_the_data_file(text_of: dict[str, str]) -> None:
    rows = table(text_of[MANUAL], "tool", "version", "needed", "what for")
    data = tomllib.loads(versions.text())["tool"]
    assert {tuple(row) for row in rows} == {
        (name, each["needed"] or "any", each["when"], each["purpose"])
        for name, each in data.items()
    }


def test_variables_are_those_that_the_code_reads(text_of: dict[str, str]) -> None:
    rows = table(text_of[MANUAL], "variable", "meaning")
    files = [ROOT / "noxfile.py", *ROOT.glob("kindloop/**/*.py"), *ROOT.glob("scripts/**/*.sh")]
    used = {n for f in files for n in re.findall(r"KINDLOOP_[A-Z_]*[A-Z]", f.read_text())}
    assert {row[0].strip("`") for row in rows} == used - SUPERVISORS - INTERNAL


def test_exit_codes_are_those_of_the_code(text_of: dict[str, str]) -> None:
    rows = table(text_of["README.md"], "code", "meaning")
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES
    text = " ".join(text_of.values())
    for code, state in re.findall(r"exit code (\d+)\b(?: \(([^)]*)\))?", text):
        assert int(code) in EXIT_CODES, state


def test_every_relative_link_resolves(page: Path, text_of: dict[str, str]) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of[page.name]):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{target}: {sorted(anchors(linked))}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_task_named_in_backticks_exists(page: Path, text_of: dict[str, str]) -> None:
    spaces = "bake|build|cluster|config|image|k8s|swap|test"
    named = re.findall(rf"`(dev-[a-z]+|(?:{spaces})\.(?!py`)[a-z_]+)`", text_of[page.name])
    known = (
        tasks()
        | {name for name, _ in settings()}
        | {"image.artifact", "image.base", "swap.transport", "swap.probation_ms"}
    )
    assert [name for name in named if name not in known] == []


def test_every_task_is_documented() -> None:
    pages = [ROOT / "README.md", ROOT / "docs" / MANUAL]
    text = " ".join(p.read_text(encoding="utf-8") for p in pages)
    missing = [t for t in tasks() if not re.search(rf"\b{re.escape(t)}\b", text)]
    assert missing == []


def tasks() -> set[str]:
    return set(collection().task_names)


def test_the_supervisors_variables_are_in_its_readme() -> None:
    text = (ROOT / "supervisor/README.md").read_text(encoding="utf-8")
    assert {name for name in SUPERVISORS if name not in text} == set()


def test_no_figure_is_left_to_be_filled_in(page: Path) -> None:
    assert re.findall(r"@@\w+@@", page.read_text(encoding="utf-8")) == []


def hints() -> list[tuple[str, str]]:
    """Each `invoke …` in a string of the package: what a user is told to type."""
    found = set()
    for file in ROOT.glob("kindloop/**/*.py"):
        for text in _strings(ast.parse(file.read_text(encoding="utf-8"))):
            for match in re.finditer(r"invoke ((?:[a-z0-9]+[-.][\w.-]+|build)(?: -[\w-]+)*)", text):
                # A word behind it is an argument when it ends the text or stands for a value.
                word = re.match(r" (?:\w+$|[A-Z]+\b)", text[match.end() :])
                found.add((file.name, match[1] + (word[0] if word else "")))
    return sorted(found)


def _strings(tree: ast.AST) -> Iterator[str]:
    """The strings of a module; the fields of an f-string stand for the name of a stage."""
    pieces: set[ast.AST] = set()  # of an f-string: no strings of their own
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "petstore" for v in node.values]
            yield "".join(map(str, parts))
            pieces.update(node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in pieces:
            yield node.value


@pytest.mark.parametrize(("file", "line"), hints())
def test_every_hint_is_a_command_that_exists(
    monkeypatch: pytest.MonkeyPatch, file: str, line: str
) -> None:
    words = line.removesuffix(" --").split()
    monkeypatch.setattr("sys.argv", ["invoke", *words])
    parser = Parser(contexts=collection().to_contexts(), initial=Program().initial_context)
    try:
        parser.parse_argv(words)
    except ParseError as exc:
        raise AssertionError(f"{file} says: invoke {line}\n{exc}") from exc
