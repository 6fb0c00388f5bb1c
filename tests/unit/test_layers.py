"""The order of the rooms, by their imports: a room knows only those before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kindloop

PACKAGE = Path(kindloop.__file__).parent
# A package is one room: its modules may import each other.
ROOMS = (
    "errors", "masking", "events", "versions", "config", "_yaml", "_checks", "loading", "described", "schema", "effective", "report", "tools", "orphans",
    "pump", "stopping", "process", "state", "telemetry", "fingerprint", "probes", "hostfacts", "host", "kindconfig",
    "clusterfacts", "cluster", "bake", "toolchain", "targets", "cargo", "stage_plan", "stage_site",
    "stage_state", "stage_guard", "stage_run", "stage_turns", "stages", "images", "manifestfacts",
    "secrecy", "swapenv", "swapmanifests", "manifests", "pods", "rollout", "verify", "sources", "components",
    "archives", "apiserver", "swapfiles",
    "supervised", "transports", "swapplan", "swap", "deployplan", "deploying", "observing", "environments", "freshness", "status", "logs", "kubectl_call", "upplan", "flows", "swapping", "bundle", "outdated", "loadplan", "loadrun", "loadtest",
    "gitstate", "keys", "watchroots", "watchsource", "watching", "changes", "saves", "loop", "screen",
    "scaffold", "sessions", "documents", "reference", "tasks", "__main__",
)  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 350
FRONTENDS = {"invoke", "nox"}


def _room(file: Path) -> str:
    """The room that a file belongs to; empty for the package's own `__init__`."""
    first = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def _imports(file: Path) -> Iterator[str]:
    """Dotted names of everything imported anywhere in the file, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = str(node.module)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _rooms_of(file: Path) -> set[str]:
    """The rooms of ours that a file imports."""
    found = set()
    for name in _imports(file):
        parts = name.split(".")
        if parts[0] == "kindloop" and len(parts) > 1 and parts[1] in ROOMS:
            found.add(parts[1])
    return found - {_room(file)}


def _id(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def test_every_room_is_listed_and_every_listed_room_exists() -> None:
    assert {_room(f) for f in FILES} - {""} == set(ROOMS)


@pytest.mark.parametrize("file", FILES, ids=_id)
def test_a_room_imports_only_rooms_before_it(file: Path) -> None:
    room = _room(file)
    allowed = set(ROOMS[: ROOMS.index(room)]) if room else {"errors"}
    assert _rooms_of(file) <= allowed


def test_the_imports_are_really_found() -> None:
    """Were `_imports` blind, everything above would pass."""
    assert {"tools", "errors", "host"} <= _rooms_of(PACKAGE / "sources.py")
    assert {"bake", "flows", "stages"} <= _rooms_of(PACKAGE / "tasks" / "steps.py")


@pytest.mark.parametrize("file", [f for f in FILES if _room(f) != "tasks"], ids=_id)
def test_domain_rooms_know_neither_invoke_nor_nox(file: Path) -> None:
    assert not {name.split(".")[0] for name in _imports(file)} & FRONTENDS


def _importers(module: str) -> set[str]:
    return {_id(f) for f in FILES if module in {name.split(".")[0] for name in _imports(f)}}


def test_only_tools_imports_sh() -> None:
    assert _importers("sh") == {"tools.py"}


def test_only_the_sender_imports_the_telemetry_sdk() -> None:
    assert _importers("opentelemetry") == {"telemetry/otel.py"}
    importing = {_id(file) for file in FILES if "kindloop.telemetry.otel" in _imports(file)}
    assert importing == {"telemetry/sending.py", "telemetry/__main__.py"}


def test_only_what_draws_imports_rich_and_nothing_before_there_is_a_screen() -> None:
    drawing = {f"screen/{name}.py" for name in ("display", "drawing", "dayview", "graphview")}
    assert _importers("rich") <= drawing | {"screen/screens.py"}
    assert "screen/drawing.py" in _importers("rich")
    for file in FILES:  # what is imported at once, by `invoke --list`
        eager = ast.parse(file.read_text(encoding="utf-8")).body
        names = {
            alias.name for node in eager if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {str(n.module) for n in eager if isinstance(n, ast.ImportFrom)}
        if _id(file) not in drawing:
            assert not {n for n in names if n.split(".")[0] == "rich"}, file
            if _room(file) != "screen":
                assert not {n for n in names if n.startswith("kindloop.screen.")}, file


def test_only_process_imports_subprocess() -> None:
    assert _importers("subprocess") <= {"tools.py", "process.py"}
    assert "process.py" in _importers("subprocess")


def test_nobody_spawns_behind_their_backs() -> None:
    assert _importers("multiprocessing") | _importers("pty") | _importers("asyncio") == set()
    spawners = {"system", "popen", "fork", "forkpty", "posix_spawn", "execv", "execvp", "execve"}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("os", s) for s in spawners}, file


def _writes_to_a_standard_stream(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "print"
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "write"
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in ("stdout", "stderr")
    )


def test_only_report_prints() -> None:
    printing = {
        _id(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if _writes_to_a_standard_stream(node)
    }
    assert printing == {"report.py"}


def _exported(file: Path) -> list[str] | None:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("file", [f for f in FILES if f.name != "__main__.py"], ids=_id)
def test_every_module_says_what_is_public(file: Path) -> None:
    exported = _exported(file)
    assert exported is not None
    assert len(set(exported)) == len(exported)


@pytest.mark.parametrize("file", FILES, ids=_id)
def test_a_file_can_be_read_at_one_sitting(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_the_repositorys_tasks_file_only_takes_the_collection(repo: Path) -> None:
    text = (repo / "tasks.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 25
    assert list(_imports(repo / "tasks.py")) == ["kindloop.tasks.collection"]
