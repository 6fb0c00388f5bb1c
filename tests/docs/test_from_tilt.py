"""docs/FROM_TILT.md: all that Tilt has is in it, and what it names of ours is real."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from kindloop import config
from kindloop.keys import KEYS
from kindloop.tasks import collection

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "FROM_TILT.md"
TEXT = PAGE.read_text(encoding="utf-8")
TILT = (Path(__file__).parent / "data" / "tilt.txt").read_text(encoding="utf-8").splitlines()
WITH_ARGUMENTS = (
    "local_resource",
    "docker_build",
    "custom_build",
    "docker_build_with_restart",
    "k8s_resource",
)
BUTTONS = ("cmd_button",)
"""The same, of which the rows are below another heading."""
"""Functions of which each argument has its row below their heading."""
SHARED = {"ref", "live_update", "entrypoint", "ignore", "match_in_env_vars", "context"}
"""Arguments of which another heading has the row."""
WORDS = {
    "tasks.py": "every project's own",
    "kindloop.yaml": "every project's own",
    "kustomization.yaml": "kustomize's",
    "args": "a field of a container",
    "trees": "a folder of the swap directory",
    "scratch": "an image",
    "c.run": "Invoke's",
    "${NAME}": "a variable of the environment in kindloop.yaml",
    "{here}": "a placeholder in a stage",
    "helm template": "Helm's",
    "secretGenerator": "kustomize's",
    "configMapGenerator": "kustomize's",
    "extraMounts": "kind's",
    "zigbuild": "cargo-zigbuild's",
    "loadtest": "the crate of the load test",
    "api_load_test": "BRRTRouter's",
    "Dockerfile.dev": "a file of examples/brrtrouter",
    "generate.sh": "a file of examples/brrtrouter",
    "router": "a stage of examples/brrtrouter",
    "tar": "a program in the container",
    "rm": "a program in the container",
    "docs/resource_dependencies.md": "a file of tilt.build",
    '@task(name="…")': "Invoke's",
    'c.run("…")': "Invoke's",
    'c.run("…", env={…})': "Invoke's",
    'c.cd("…")': "Invoke's",
    "input()": "Python's",
    "zsh": "a shell",
    "fish": "a shell",
    "cluster": "a row of dev-status",
    "invoke": "the command",
    "-it": "kubectl's",
}
"""What else stands in the columns of our side, with whose word it is."""


def functions() -> dict[str, list[str]]:
    """Arguments by function of a Tiltfile."""
    rows = [line.split() for line in TILT if line.startswith("function ")]
    return {name: arguments for _, name, *arguments in rows}


def section(heading: str) -> str:
    """What stands below a heading of the third level."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading}"
    return found[1]


def named(text: str) -> set[str]:
    return {code.removesuffix("()") for code in re.findall(r"`([^`\n]+)`", text)}


def listed(kind: str) -> list[str]:
    """Names of one kind: `command`, `below` (those below another), `flag`, `value`, `old`, ..."""
    return [line.partition(" ")[2] for line in TILT if line.startswith(f"{kind} ")]


def left() -> str:
    """All that stands in code on Tilt's side of the tables."""
    return " ".join(code for row in rows() for code in named(row[0])) + " "


def test_every_command_of_tilt_is_there() -> None:
    assert len(listed("command")) > 25
    assert len(listed("below")) > 20
    shown = left()
    commands = [*listed("command"), *listed("below")]
    assert [c for c in commands if not re.search(rf"tilt {c}(?![\w-])", shown)] == []


@pytest.mark.parametrize("kind", ["flag", "value", "old", "shortcut"])
def test_every_flag_value_and_shortcut_is_there(kind: str) -> None:
    assert len(listed(kind)) > 5
    shown, edge = left(), r"(?<![\w-])"
    found = {name: re.search(f"{edge}{re.escape(name)}(?=[ =])", shown) for name in listed(kind)}
    assert [name for name in found if not found[name]] == []


def test_every_function_of_a_tiltfile_is_there() -> None:
    assert len(functions()) > 60
    shown = named(TEXT) | set(re.findall(r"^### (\w+)$", TEXT, re.MULTILINE))
    assert [name for name in functions() if name not in shown] == []


@pytest.mark.parametrize("function", WITH_ARGUMENTS)
def test_every_argument_has_its_row(function: str) -> None:
    assert set(functions()[function]) - named(section(function)) - SHARED == set()


@pytest.mark.parametrize("function", BUTTONS)
def test_every_argument_of_a_button_has_its_row(function: str) -> None:
    assert set(functions()[function]) - named(section("Buttons")) == set()


def rows() -> Iterator[list[str]]:
    """The rows of all tables, without their headers, as cells."""
    for table in re.findall(r"(?:^\|.*\|\n)+", TEXT, re.MULTILINE):
        for row in table.splitlines()[2:]:
            yield [cell.strip() for cell in row.strip().strip("|").split("|")]


def ours() -> list[tuple[str, str]]:
    """(Tilt's side, a word in code on our side), for each row of each table."""
    found = []
    for left, *right in rows():
        found += [(left, code) for cell in right for code in re.findall(r"`([^`]+)`", cell)]
    return found


def test_the_columns_of_our_side_are_many() -> None:
    assert len(ours()) > 150


@pytest.mark.parametrize(("left", "code"), ours())
def test_what_is_named_of_ours_is_real(left: str, code: str) -> None:
    assert is_real(code), f"{left}: {code} is none of ours"


@pytest.mark.parametrize(
    "code",
    [
        "workloads.<name>.swop",
        "KINDLOOP_NMAE",
        "--frobnicate",
        "x",
        "invoke dev-upp",
        "k8s/nothing",
    ],
)
def test_what_is_none_of_ours_is_found(code: str) -> None:
    assert not is_real(code)


def is_real(code: str) -> bool:
    """Whether a word in code is a command, setting, value, variable, flag, key or file of ours."""
    first = code.split()[0]
    if first in {"invoke", "kindloop"} and len(code.split()) > 1:
        # Its flags and arguments are checked with all commands of the documents.
        return code.split()[1] in known_tasks() or code.split()[1].startswith("--")
    if first in {"just", "sh"} and len(code.split()) > 1:
        return first == "sh" or code.split()[1] in {t.replace(".", "-") for t in known_tasks()}
    return (
        code in WORDS
        or code in known_settings()
        or code in values()
        or code in set(KEYS)
        or code in flags()
        or code in tilts()
        or f"`{code}`" in (ROOT / "docs/LOCAL_DEVELOPMENT.md").read_text(encoding="utf-8")
        or (ROOT / code.split()[0]).exists()
    )


@cache
def known_tasks() -> frozenset[str]:
    contexts = collection().to_contexts()
    return frozenset(name for c in contexts for name in (c.name, *c.aliases) if name)


def documented_settings() -> list[str]:
    """The first column of the table of settings; a test of its own holds that to the code."""
    text = " ".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs").glob("*.md"))
    found = re.search(r"^\| setting \|.*\n\|[ |-]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, "no table of settings"
    return re.findall(r"^\| `([^`]+)`", found[1], re.MULTILINE)


@cache
def known_settings() -> frozenset[str]:
    """Settings as the reference writes them, their last words, and `name: value` of them."""
    names = documented_settings()
    parents = [name.rsplit(".", 1)[0] for name in names if "." in name]
    last = [name.removeprefix("workloads.<name>.").removeprefix("stages.<name>.") for name in names]
    pairs = [f"{name}: {value}" for name in last for value in values()]
    return frozenset([*names, *parents, *last, *pairs, "stages", "workloads"])


@cache
def values() -> frozenset[str]:
    """The words that a setting may have."""
    kinds = [getattr(config, name) for name in ("Profile", "Label", "Transport", "Observability")]
    more = ["restart", "none", "host", "cluster", "finish", "cancel"]
    return frozenset([*more, *(word for kind in kinds for word in get_args(kind))])


@cache
def flags() -> frozenset[str]:
    return frozenset(flag for context in collection().to_contexts() for flag in context.flags) | {
        "--help"
    }


@cache
def tilts() -> frozenset[str]:
    """Names of Tilt: a note may say of which it is."""
    kinds = ("command ", "function ", "value ")
    words = [line.split()[1:] for line in TILT if line.startswith(kinds)]
    commands = [f"tilt {line.split()[1]}" for line in TILT if line.startswith("command ")]
    return frozenset([*(word for row in words for word in row), *commands])


def test_buttons_are_tasks_that_a_file_defines() -> None:
    block = re.search(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert block
    tree = ast.parse(block[1])
    assert [n.name for n in tree.body if isinstance(n, ast.FunctionDef)] == ["reseed", "migrate"]
