"""`--json` of every task as a script gets it where there is no environment.

Standard output is one document or one event a line, as its schema says, and nothing else; what is for
people stands on standard error. tests/cluster has the same where there is one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import schemas

from kindloop import tools

Invoke = Callable[..., tools.Result]
EITHER = -1
"""0 or 7: what this machine lacks is not for these tests to say."""
HERE: dict[str, dict[tuple[str, ...], int]] = {
    "bake": {("bake.status",): 0},
    "check": {("config.check",): 0},
    "cluster": {("cluster.status",): 1},
    "doctor": {("dev-doctor",): EITHER},
    "list": {("dev-list",): 0},
    "plan": {("dev-up", "--dry-run"): 0},
    "settings": {("config.show",): 0},
    "stages": {("build.petstore", "--why"): 0},
    "status": {("dev-status",): 1},
    "fresh": {("dev-status", "--wait-fresh", "--timeout", "0"): 3},
}
"""What can be told without an environment: exit code by words and document."""
FAILS: dict[tuple[str, ...], int] = {
    ("swap.status",): 3,
    ("k8s.diff",): 3,
    ("observe.open",): 3,
    ("test-load", "--profile", "nothing"): 2,
    ("dev-status", "--wait-fresh", "--timeout", "soon"): 2,
    ("build",): 2,
}
LINES: dict[tuple[str, ...], int] = {("dev-logs",): 3, ("dev-logs", "--since", "soon"): 2}
"""What prints a document a line; the exit code without an environment."""


@pytest.fixture
def invoke(repo: Path, homes: Path) -> Invoke:
    """Run `invoke WORDS` in this checkout, for an environment that nobody has."""
    env = {"KINDLOOP_NAME": "kl-nobody", "KINDLOOP_PORT_OFFSET": "9000", "KINDLOOP_VERBOSE": "1"}

    def run(*words: str, **more: str) -> tools.Result:
        argv = (sys.executable, "-m", "invoke", *words)
        done = tools.run(*argv, cwd=repo, env={**env, **more}, check=False, timeout_s=300)
        schemas.may_end(words, done.exit_code)
        return done

    return run


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [(name, words, code) for name, asked in HERE.items() for words, code in asked.items()],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else None,
)
def test_a_document_and_nothing_else(
    invoke: Invoke, name: str, words: tuple[str, ...], code: int
) -> None:
    done = invoke(*words, "--json")
    assert "Traceback" not in done.stderr
    found = schemas.said(name, done.stdout)
    missing = any(one["level"] == "error" for one in found.get("findings", ()))
    assert done.exit_code == (code if code != EITHER else 7 * missing), done.stderr
    assert found.get("exit_code", done.exit_code) == done.exit_code


@pytest.mark.parametrize("words", FAILS)
def test_a_failure_is_a_document_too(invoke: Invoke, words: tuple[str, ...]) -> None:
    done = invoke(*words, "--json")
    error = schemas.failed(done.stdout, FAILS[words])
    assert done.exit_code == FAILS[words]
    assert error["hint"]
    assert f"error: {error['message']}" in done.stderr
    assert error["hint"] in done.stderr


@pytest.mark.parametrize("words", LINES)
def test_the_failure_of_what_prints_lines_is_a_line(invoke: Invoke, words: tuple[str, ...]) -> None:
    done = invoke(*words, "--json")
    (line,) = done.stdout.splitlines()
    schemas.failed(line, LINES[words])
    assert done.exit_code == LINES[words]


def test_a_task_that_is_not_asked_for_json_prints_none(invoke: Invoke) -> None:
    done = invoke("k8s.diff")
    assert (done.stdout, done.exit_code) == ("", 3)


@pytest.mark.parametrize("words", [("dev-status",), ("cluster.status",)])
def test_without_an_engine_a_script_can_tell_that_from_what_is_unhealthy(
    invoke: Invoke, fake: Callable[..., Path], words: tuple[str, ...]
) -> None:
    fake("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    done = invoke(*words, "--json")
    assert schemas.failed(done.stdout, 7)["message"] == "the Docker engine does not run"
    assert done.exit_code == 7


def test_a_mistake_in_kindloop_yaml_is_an_error_of_a_task_and_what_the_check_tells(
    invoke: Invoke, tmp_path: Path
) -> None:
    file = tmp_path / "kindloop.yaml"
    file.write_text("version: 1\nname: UPPER\n")
    error = schemas.failed(invoke("dev-status", "--json", KINDLOOP_CONFIG=str(file)).stdout, 2)
    assert error["type"] == "ConfigError"
    assert "UPPER" in error["evidence"][0]
    mistakes = invoke("config.check", "--json", KINDLOOP_CONFIG=str(file))
    assert schemas.said("check", mistakes.stdout)["ok"] is False
    assert mistakes.exit_code == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("dev-watch",), 3),
        (("dev-up", "--observability", "much"), 2),
        (("dev-up", "--wait", "long"), 2),
    ],
)
def test_events_end_with_the_error(invoke: Invoke, words: tuple[str, ...], code: int) -> None:
    done = invoke(*words, "--json")
    assert done.exit_code == code
    last = schemas.events(done.stdout)[-1]
    assert (last["kind"], last["data"]["exit_code"]) == ("error", code)
    assert f"error: {last['text']}" in done.stderr


def test_the_error_of_a_dry_run_is_a_document(invoke: Invoke) -> None:
    done = invoke("dev-up", "--dry-run", "--json", KINDLOOP_PROFILE="fast")
    assert schemas.failed(done.stdout, 2)["message"] == "KINDLOOP_PROFILE is wrong"


def test_the_schema_of_a_document_can_be_had_anywhere(invoke: Invoke, tmp_path: Path) -> None:
    schema = json.loads(invoke("config.schema", "--of", "cluster").stdout)
    document = json.loads(invoke("cluster.status", "--json").stdout)
    jsonschema.Draft202012Validator(schema).validate(document)
    said = invoke("config.schema", "--of", "nothing")
    assert said.exit_code == 2
    assert "there is no document nothing" in said.stderr


def test_hints_name_the_command_that_was_called(repo: Path, homes: Path) -> None:
    env = {"KINDLOOP_NAME": "kl-nobody"}
    argv = (sys.executable, "-m", "kindloop", "k8s.diff", "--json")
    done = tools.run(*argv, cwd=repo, env=env, check=False)
    assert schemas.failed(done.stdout, 3)["hint"] == "kindloop dev-up"


def test_what_is_in_a_bundle_is_a_document(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("dev-doctor", "--json", "--bundle", str(tmp_path / "mine.tar.gz"))
    assert done.exit_code == 0
    found = schemas.said("bundle", done.stdout)
    assert "config.json" in found["files"]
    assert "cluster" in " ".join(found["missing"])


def test_every_document_is_tried_here_or_on_a_live_cluster() -> None:
    """What needs an environment is in tests/cluster/test_up.py."""
    tried = {*HERE, "bundle", "curl", "diff", "error", "event", "line", "load", "pages", "swap"}
    tried.add("outdated")  # it asks the network: tests/unit/test_documents.py has its form
    assert tried == {name for names in schemas.documents().values() for name in names} | {"error"}
