"""A project's kindloop.yaml: begin it, check it, show what it means."""

from __future__ import annotations

import shlex
from pathlib import Path

from invoke.context import Context

from kindloop import documents, effective, loading, report, scaffold, schema, secrecy
from kindloop._yaml import display
from kindloop.errors import ConfigError
from kindloop.tasks._task import show, task

__all__ = ["TASKS", "config_init"]


@task(
    "init",
    flags={
        "root": "folder of the Cargo workspace; the files are then written here",
        "bin": "one of several binaries, by its name, or several services with commas between",
        "name": "name of the environment",
        "port": "where the service listens",
        "health": "path that answers 200",
        "args": "arguments of the binary, quoted as for a shell",
        "into": "folder for the Dockerfile and the manifests",
        "tasks": "tasks.py is left out with --no-tasks",
        "dry_run": "name the files and write none",
    },
    codes=(7,),
)
def config_init(  # noqa: PLR0917 - Invoke gives all of them by name
    c: Context,
    root: str = "",
    bin: str = "",  # noqa: A002 - cargo's own word
    name: str = "",
    port: str = "",
    health: str = "",
    args: str = "",
    into: str = "",
    tasks: bool = True,
    dry_run: bool = False,
    verbose: bool = False,
) -> None:
    """Begin a project: write kindloop.yaml, tasks.py, manifests.

    Asks cargo for the binaries, and the sources for port, address and health path; says what is a
    guess. --root names the workspace's folder and writes here, not beside its Cargo.toml. --bin
    takes one of several binaries, or several services with commas between; without it, each package
    that serves HTTP is one. --name names the environment. --port and --health say where the service
    listens and which path answers 200; --args are the binary's arguments. --into puts Dockerfile
    and manifests into a folder of their own; --no-tasks writes no tasks.py. --dry-run names
    the files. Nothing is ever overwritten: exit code 2.
    """
    show(verbose=verbose)
    wishes = scaffold.Wishes(
        name=name, port=_port(port), health=health, args=_words(args), into=into, tasks=tasks
    )
    place, made = scaffold.draft_for(Path.cwd(), wishes, root=root, binary=bin)
    if not dry_run:
        scaffold.write(place, made)
    verb = "would write" if dry_run else "wrote"
    report.output("\n".join(f"{verb} {display(place / file)}" for file in made.files))
    report.output("\n".join(made.told))
    for doubt in made.doubts:
        report.warn(doubt)
    if not dry_run:
        report.output("next: invoke dev-up")


def _port(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise ConfigError(f"--port {text} is no port", hint="invoke config.init --port 8080")
    return int(text or 0)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as exc:
        raise ConfigError(
            f"--args cannot be split into words: {exc}",
            hint="quote them as for a shell: invoke config.init --args WORDS",
        ) from exc


@task("check", document="check")
def config_check(c: Context, json: bool = False) -> None:
    """Read kindloop.yaml and tell every mistake of it.

    Exit code 2 with mistakes, each with line and column. --json prints a document with `schema`.
    """
    show(json=json)
    try:
        config = loading.load()
    except ConfigError as exc:
        if json:
            report.data({"schema": 1, "ok": False, "mistakes": list(exc.evidence or [exc.message])})
        raise
    doubts = secrecy.doubts(config.path)
    if json:
        facts = {"ok": True, "mistakes": [], "file": str(config.path), "warnings": doubts}
        report.data({"schema": 1, **facts})
    else:
        report.output(effective.summary(config))
    for doubt in doubts:
        report.warn(doubt)


@task("schema", flags={"of": "a document of --json, such as status; without it, kindloop.yaml"})
def config_schema(c: Context, of: str = "") -> None:
    """Print the JSON Schema of kindloop.yaml, for editors.

    With --of it is that of a document which a task prints with --json.
    """
    show(json=True)
    report.data(documents.schema_of(of) if of else schema.document())


@task("show", document="settings")
def config_show(c: Context, json: bool = False) -> None:
    """Show every setting and where its value comes from.

    From kindloop.yaml with the line, from a variable of the environment, or the default. --json
    prints a document with `schema`.
    """
    show(json=json)
    found = effective.settings()
    if json:
        report.data(effective.as_json(loading.find(), found))
    else:
        report.output(effective.table(found))


TASKS = (config_init, config_check, config_schema, config_show)
