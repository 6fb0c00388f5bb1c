"""docs/FAULTS.md against the tests and the product: no fault without a test, no test that is gone."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from observability import queries
from observability.story import BROKEN

from kindloop.errors import EXIT_CODES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/FAULTS.md").read_text(encoding="utf-8")

REQUIRED = (
    "engine not installed",
    "engine not running",
    "no permission for the engine",
    "kind too old",
    "port taken",
    "disk nearly full before a bake",
    "bake killed by SIGKILL",
    "kindloop.yaml missing",
    "kindloop.yaml not YAML",
    "duplicate key",
    "wrong type",
    "unknown key",
    "unknown need",
    "cycle of needs",
    "stage command missing",
    "stage command failing",
    "stage producing nothing",
    "cargo error",
    "openapi.yaml broken",
    "manifest not YAML",
    "manifest of unknown kind",
    "manifest rejected by the API server",
    "image that cannot start",
    "service that never gets healthy",
    "cluster deleted behind our back",
    "node stopped",
    "two dev-up at once",
    "Ctrl-C during a bake",
    "Ctrl-C during a build",
    "Ctrl-C during kind create",
    "Ctrl-C during an image build",
    "Ctrl-C during an image load",
    "Ctrl-C during a rollout",
    "artifact truncated",
    "artifact with a wrong digest",
    "artifact not executable",
    "artifact of a wrong architecture",
    "artifact removed while it runs",
    "binary panics at once",
    "binary panics after 3 s",
    "binary hangs without listening",
    "binary ignores TERM",
    "binary leaves children that hold the port",
    "pod deleted in mid-swap",
    "supervisor killed",
    "swap directory deleted",
    "disk full while staging",
    "A→B→A swaps",
    "node restarted",
    "watch killed in mid-build",
    "watch killed in mid-swap",
    "odd times of modification",
    "500 writes in 2 s",
    "file replaced by a directory",
    "symlink loop",
    "input directory deleted and made again",
    "compile error under the watch",
    "openapi.yaml broken under the watch",
    "kindloop.yaml broken under the watch",
)
SIGNALS = {137: "SIGKILL, as a shell tells it"}
"""Exit codes that are not the product's own choice."""


@dataclass(frozen=True)
class Fault:
    """A row of the map."""

    name: str
    seen: str
    code: int
    file: Path
    function: str
    case: str


def rows(heading: str) -> list[list[str]]:
    """The cells of every table whose first column is called `heading`."""
    found, inside = [], False
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == heading:
            inside = True
        elif inside and not line.startswith("| ---"):
            found.append(cells)
    return found


def fault(cells: list[str]) -> Fault:
    name, seen, code, test = cells
    parts = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)(?:\[([^]]+)\])?`", test)
    assert parts, f"{test} is not the id of a test"
    return Fault(name, seen, int(code), ROOT / parts[1], parts[2], parts[3] or "")


FAULTS = [fault(cells) for cells in rows("fault")]


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def texts(folder: str) -> list[str]:
    """Every piece of text in the Python files of `folder`, parts of f-strings included."""
    return [
        node.value
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def helped(path: Path, function: str) -> list[ast.FunctionDef]:
    """The test and the functions of its file that it calls, at any depth."""
    known, todo, found = functions(path), [function], {}
    while todo:
        name = todo.pop()
        if name in known and name not in found:
            found[name] = known[name]
            todo += [node.id for node in ast.walk(known[name]) if isinstance(node, ast.Name)]
    return list(found.values())


def compared(node: ast.AST) -> set[object]:
    """The constants that `assert x == CONSTANT` statements below `node` have."""
    return {
        side.value
        for found in ast.walk(node)
        if isinstance(found, ast.Compare) and isinstance(found.ops[0], ast.Eq)
        for side in found.comparators
        if isinstance(side, ast.Constant)
    }


def test_every_fault_that_was_asked_for_is_in_the_map() -> None:
    names = [one.name for one in FAULTS]
    assert set(REQUIRED) - set(names) == set()
    assert sorted(set(names)) == sorted(names)


def test_exit_codes_are_those_of_the_product() -> None:
    assert {int(code): meaning for code, meaning in rows("code")} == EXIT_CODES
    assert {one.code for one in FAULTS} <= EXIT_CODES.keys() | SIGNALS.keys()


def test_no_test_stands_for_two_faults() -> None:
    ids = [(one.file, one.function, one.case) for one in FAULTS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("one", FAULTS, ids=lambda one: one.name)
def test_the_test_of_a_fault_exists_and_asserts_its_exit_code(one: Fault) -> None:
    assert one.function in functions(one.file)
    asserted = set().union(*(compared(node) for node in helped(one.file, one.function)))
    assert one.code in asserted


@pytest.mark.parametrize("one", [f for f in FAULTS if f.case], ids=lambda one: one.name)
def test_the_case_of_a_fault_exists(one: Fault) -> None:
    constants = ast.walk(ast.parse(one.file.read_text(encoding="utf-8")))
    assert one.case in {n.value for n in constants if isinstance(n, ast.Constant)}
    assert "parametrize" in ast.unparse(functions(one.file)[one.function].decorator_list[0])


@pytest.mark.parametrize("one", FAULTS, ids=lambda one: one.name)
def test_what_you_see_is_what_the_product_says(one: Fault) -> None:
    if one.code in SIGNALS:
        assert one.seen.startswith("nothing: ")
        return
    pieces = [piece.strip() for piece in one.seen.split("…") if piece.strip()]
    assert pieces
    unknown = [piece for piece in pieces if not any(piece in text for text in texts("kindloop"))]
    assert unknown == []


def test_every_alert_is_in_the_map_with_its_words_and_a_live_test() -> None:
    alerts = rows("alert")
    assert {cells[0] for cells in alerts} == set(queries.rules())
    cases = {case: wanted["alertname"] for case, wanted in BROKEN.items()}
    told = []
    for name, _, seen, test in alerts:
        summary = queries.rules()[name]["annotations"]["summary"]
        assert re.sub(r"{{.*?}}", "…", summary) == seen
        one = fault([name, seen, "0", test])
        assert one.function in functions(one.file)
        assert not one.case or cases[one.case] == name
        told.append(one.case)
    assert set(cases) <= set(told)
