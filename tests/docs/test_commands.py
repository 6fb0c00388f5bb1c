"""Every command that a document shows: really run where that is safe and quick, else checked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
import yaml
from invoke.parser import Parser
from invoke.program import Program

from kindloop.config import DEFAULT_PORTS
from kindloop.tasks import collection
from kindloop.tasks.program import program

if TYPE_CHECKING:
    from conftest import Command

ROOT = Path(__file__).resolve().parents[2]
RUN = {
    "invoke --list",
    "invoke bake.status",
    "invoke build --why",
    "invoke config.check",
    "invoke config.show",
    "kindloop --print-completion-script bash",
    "kindloop --version",
    "invoke dev-doctor",
    "invoke dev-up --dry-run",
    "invoke dev-up --help",
    "just --list",
    "nox --list",
}
"""Safe and quick, with or without a cluster: these must end with 0."""
EXEMPT = {
    "source .venv/bin/activate": "a line for the reader's own shell",
    "sudo sysctl fs.inotify.max_user_instances=512": "changes the machine, needs root",
    "pre-commit install": "writes into .git, and pre-commit is no dependency",
    "docker system df": "the engine's own; it may not run here",
    "head -n 1 .kindloop/logs/build-petstore.log": "there is such a file after a build",
}
VARIABLES = {"KINDLOOP_NAME", "KINDLOOP_PORT_OFFSET", "KINDLOOP_PROFILE"}


def test_command_can_be_run(command: Command) -> None:
    line = shlex.join(command.words)
    assert {v.partition("=")[0] for v in command.variables} <= VARIABLES
    assert command.folder.is_dir()
    if line in EXEMPT:
        return
    if line in RUN:
        done = run(*command.words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip()
        return
    check(command.words, command.folder)


def test_exemptions_are_few_and_used(all_commands: list[Command]) -> None:
    shown = {shlex.join(c.words) for c in all_commands}
    assert set(EXEMPT) <= shown
    assert len(EXEMPT) == 5


def test_every_command_that_is_run_here_is_documented(all_commands: list[Command]) -> None:
    assert {shlex.join(c.words) for c in all_commands} >= RUN


@pytest.mark.parametrize(
    "line",
    [
        "invoke dev-upp",
        "kindloop inti",
        "invoke dev-up --frce",
        "invoke dev-logs petstore",
        "invoke build petstore",
        "nox -s nothing",
        "just dev-upp",
        "just --frobnicate",
        "scripts/dev-setup.sh --no-such-flag",
        "scripts/nothing.sh",
        "scripts/dev-setup.sh invoke dev-upp",
        "cargo run -p nothing",
        "curl http://127.0.0.1:8080/no/such/path",
        "curl http://127.0.0.1:1234/pets",
        "sed -i s/no-such-text/x/ examples/petstore/pet_store/src/app.rs",
        "export KINDLOOP_NMAE=x",
        "make install",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises((AssertionError, SyntaxError)):
        check(tuple(shlex.split(line)), ROOT / "examples/petstore")


def check(words: tuple[str, ...], folder: Path) -> None:
    """Check what a command names; an unknown program is an error."""
    program, arguments = words[0], words[1:]
    if program.startswith("scripts/"):
        check_script(program, arguments)
        return
    assert program in CHECKS, f"{program} can be neither run nor checked: exempt it with a reason"
    CHECKS[program](arguments, folder)


def check_script(script: str, arguments: tuple[str, ...]) -> None:
    assert (ROOT / script).is_file()
    assert run("bash", "-n", script).returncode == 0
    usage = run(script, "--help").stdout
    assert usage.startswith(f"usage: {script}")
    flags = [w for w in arguments if w.startswith("-")]
    rest = arguments[next((i for i, w in enumerate(arguments) if w[0] != "-"), len(arguments)) :]
    for flag in flags if not rest else flags[: len(arguments) - len(rest)]:
        assert flag in usage, f"{script} has no {flag}"
    if rest:
        check(rest, ROOT)


def check_invoke(arguments: tuple[str, ...], _folder: Path) -> None:
    if arguments != ("--list",):
        check_tasks("invoke", parser, arguments)


def check_kindloop(arguments: tuple[str, ...], _folder: Path) -> None:
    own = program()
    assert own.namespace
    contexts = own.namespace.to_contexts()
    check_tasks("kindloop", lambda: Parser(contexts, own.initial_context), arguments)


def check_tasks(name: str, parser: Callable[[], Parser], arguments: tuple[str, ...]) -> None:
    try:
        with patch("sys.argv", [name, *arguments]):  # a task may look how many words it has
            found = parser().parse_argv(list(arguments))
    except Exception as exc:  # Invoke's parse errors have no common class with a message
        raise AssertionError(f"{name} {shlex.join(arguments)}: {exc}") from exc
    assert any(context.name for context in found), "no task is named"


def check_nox(arguments: tuple[str, ...], _folder: Path) -> None:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    assert own in ((), ("--list",)) or own[0] == "-s"
    assert set(own[1:]) <= sessions(), f"the sessions are {sessions()}"


def check_just(arguments: tuple[str, ...], _folder: Path) -> None:
    assert arguments[0] in (*run("just", "--summary").stdout.split(), "--list")


def check_cargo(arguments: tuple[str, ...], folder: Path) -> None:
    workspace = next(
        tomllib.loads(file.read_text())
        for at in (folder, *folder.parents)
        if (file := at / "Cargo.toml").is_file() and "[workspace]" in file.read_text()
    )
    assert arguments[0] == "run"
    assert arguments[arguments.index("-p") + 1] in workspace["workspace"]["members"]


def check_curl(arguments: tuple[str, ...], _folder: Path) -> None:
    url = urlsplit(next(w for w in arguments if w.startswith("http")))
    document = yaml.safe_load((ROOT / "examples/petstore/openapi.yaml").read_text())
    assert (url.hostname, url.port) == ("127.0.0.1", DEFAULT_PORTS["petstore"])
    assert any(_template(path).fullmatch(url.path) for path in document["paths"])


def _template(path: str) -> re.Pattern[str]:
    """A path of the document, anything in the place of a parameter."""
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{[^}]*\}", path))))


def check_sed(arguments: tuple[str, ...], _folder: Path) -> None:
    flag, expression, file = arguments
    _, old, _, _ = expression.split("/")
    assert flag == "-i"
    assert (ROOT / file).read_text().count(old) == 1


def check_export(arguments: tuple[str, ...], _folder: Path) -> None:
    assert {a.partition("=")[0] for a in arguments} <= VARIABLES


CHECKS: dict[str, Callable[[tuple[str, ...], Path], None]] = {
    "invoke": check_invoke,
    "kindloop": check_kindloop,
    "nox": check_nox,
    "just": check_just,
    "cargo": check_cargo,
    "curl": check_curl,
    "sed": check_sed,
    "export": check_export,
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    beside = str(Path(sys.executable).parent)
    return subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def parser() -> Parser:
    """Invoke's own parser with the tasks of this checkout."""
    return Parser(contexts=collection().to_contexts(), initial=Program().initial_context)


@cache
def sessions() -> frozenset[str]:
    # Its JSON leaves out what plain `nox` does not run.
    return frozenset(re.findall(r"^[*-] (\w+)", run("nox", "--list").stdout, re.MULTILINE))
