"""The justfile: a recipe for every task, the task's name with dashes, its arguments passed on."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kindloop import tools
from kindloop.tasks import collection

OF_ITS_OWN = {"_default", "nox"}
"""Recipes that are no task: the list itself, and the sessions."""


@pytest.fixture
def recipes(repo: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    _just_of_this_environment(monkeypatch)
    dumped = tools.run("just", "--dump", "--dump-format=json", cwd=repo).stdout
    found: dict[str, Any] = json.loads(dumped)["recipes"]
    return found


def _just_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`just` is a development dependency: beside the Python that runs the tests."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


def _tasks(repo: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.chdir(repo)
    return set(collection().task_names)


def _called(recipe: dict[str, Any]) -> str:
    ((line,),) = recipe["body"]
    if line == '@scripts/dev-setup.sh "$@"':
        return "dev-setup"  # the script itself: there is no invoke before it ran
    match = re.fullmatch(r'@invoke (\S+)( --)? "\$@"', line)
    assert match, f"{recipe['name']}: {line}"
    return match.group(1)


def test_every_recipe_calls_the_task_of_its_name(recipes: dict[str, Any]) -> None:
    for name in recipes.keys() - OF_ITS_OWN:
        assert _called(recipes[name]).replace(".", "-") == name


def test_every_task_has_a_recipe_and_every_recipe_a_task(
    recipes: dict[str, Any], repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = {_called(recipes[name]) for name in recipes.keys() - OF_ITS_OWN}
    tasks = {"build" if name == "build.all" else name for name in _tasks(repo, monkeypatch)}
    assert called == tasks


def test_every_recipe_is_in_a_group_and_says_what_it_does(recipes: dict[str, Any]) -> None:
    for name in recipes.keys() - {"_default"}:
        groups = [a["group"] for a in recipes[name]["attributes"] if "group" in a]
        assert len(groups) == 1, name
        assert 0 < len(recipes[name]["doc"]) <= 60, name


def test_the_list_can_be_shown(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _just_of_this_environment(monkeypatch)
    assert "dev-up" in tools.run("just", cwd=repo).stdout


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["dev-up", "--dry-run", "-v"], ["dev-up", "--dry-run", "-v"]),
        (["k8s-kubectl", "get", "pods", "-l", "a b"], ["k8s.kubectl", "--", "get", "pods", "-l", "a b"]),
        (["build"], ["build"]),
    ],
)  # fmt: skip
def test_arguments_arrive_as_they_were_given(
    repo: Path,
    tmp_path: Path,
    fake: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    passed: list[str],
) -> None:
    just = shutil.which("just", path=str(Path(sys.executable).parent))
    assert just, "just is a development dependency"
    fake("invoke", 'for word; do echo "<$word>"; done')
    shutil.copy(repo / "justfile", tmp_path)
    said = tools.run(just, *given, cwd=tmp_path).stdout.splitlines()
    assert said == [f"<{word}>" for word in passed]
