"""What the papers say of the repository: rooms, files, figures, links, and what must be in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted((ROOT / "docs").glob("*.md"))
OTHERS = [ROOT / "supervisor" / "README.md", *sorted((ROOT / "examples").glob("*/README.md"))]
TROUBLES = (
    "A port is in use",
    "The cluster does not start",
    "The build fails",
    "The service does not answer",
    "Slow builds",
    "Stale code",
    "The disk is full",
    "Too few inotify watches",
    "A proxy, or no network",
)
FIGURES = {"kindloop, mount": "zero_build_swap", "kindloop, exec": "exec_swap"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rooms() -> tuple[str, ...]:
    """`ROOMS` of the test of layers."""
    for node in ast.parse(text_of("tests/unit/test_layers.py")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS":
            return tuple(ast.literal_eval(node.value))
    raise AssertionError("there is no ROOMS")


def test_rooms_are_those_of_the_test_of_layers() -> None:
    text = text_of("CONTRIBUTING.md").partition("\n## Rooms\n")[2].partition("\n## ")[0]
    cells = [row.split("|")[2] for row in text.splitlines() if row.startswith("| ")][2:]
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert named == list(rooms()), "the table of rooms in CONTRIBUTING.md is another one"


def test_every_paper_is_linked_from_the_readme() -> None:
    text = text_of("README.md")
    assert [p.name for p in PAPERS if f"](docs/{p.name})" not in text] == []


@pytest.mark.parametrize("name", ["docs/IMPLEMENTATION.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name: str) -> None:
    named = re.findall(r"`((?:kindloop|tests|supervisor|examples|k8s)/[\w./-]*)`", text_of(name))
    assert len(named) > 4
    assert [path for path in named if not (ROOT / path).exists()] == []


def measured() -> dict[str, tuple[str, str]]:
    """p50 and p95 by name, as the table of the bench has them."""
    rows = [line.strip("|").split("|") for line in text_of("docs/PERFORMANCE.md").splitlines()]
    return {row[0].strip(" `"): (row[2].strip(), row[3].strip()) for row in rows if len(row) > 4}


def test_figures_are_those_of_the_bench() -> None:
    text = text_of("docs/IMPLEMENTATION.md")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| kindloop, ")
    ]
    assert {row[0] for row in rows} == set(FIGURES)
    for what, p50, p95, _ in rows:
        assert (p50.removesuffix(" s"), p95.removesuffix(" s")) == measured()[FIGURES[what]]
    bare, served = (measured()[f"controller_edit_{name}"][0] for name in ("bare", "served"))
    assert f"{bare} s for bare `cargo build`, {served} s until" in " ".join(text.split())


def test_figures_of_brrtrouter_are_those_of_the_page() -> None:
    found = re.search(
        r"([\d.]+) s \(p50\) until the URL answers anew, ([\d.]+) s", _flat("FROM_TILT")
    )
    assert found
    assert f"served after {found[1]} s (p50), of which cargo took {found[2]} s" in _flat(
        "PERFORMANCE"
    )


def _flat(name: str) -> str:
    return " ".join(text_of(f"docs/{name}.md").split())


def test_each_trouble_has_a_command() -> None:
    text = text_of("docs/LOCAL_DEVELOPMENT.md").partition("\n## Troubleshooting\n")[2]
    for name in TROUBLES:
        found = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert "```bash\n" in found or "| `invoke " in found or "`invoke " in found, name


@pytest.mark.parametrize("other", OTHERS, ids=lambda p: p.parent.name)
def test_links_of_other_pages_resolve(other: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", other.read_text(encoding="utf-8")):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            linked = (other.parent / file).resolve() if file else other
            assert linked.exists(), f"{other} links to {target}"
            assert not anchor or anchor in _anchors(linked), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
