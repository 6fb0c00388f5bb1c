"""The verbs of a day: set up, bring up, rebuild, look, take down."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

from invoke.context import Context
from invoke.exceptions import Exit

from kindloop import (
    environments,
    flows,
    freshness,
    loading,
    loop,
    report,
    screen,
    status,
    swapenv,
    telemetry,
)
from kindloop.config import Config, Observability, Resources
from kindloop.errors import ConfigError
from kindloop.tasks._task import PLAIN, load, show, task

__all__ = ["TASKS"]

LONGEST_S = 86_400.0
BY_NAME = "the environment of this name, in any folder; see dev-list"


@task("dev-setup", flags={"yes": "install without asking"}, codes=(7,))
def dev_setup(c: Context, yes: bool = False, verbose: bool = False) -> None:
    """Prepare this machine: tools, engine, environment."""
    flows.setup(load(verbose=verbose).root, yes=yes)


@task(
    "dev-up",
    flags={
        "dry_run": "show the plan and change nothing",
        "recreate": "delete the cluster with its data first",
        "watch": "go on as dev-watch does",
        "observability": "off, minimal or full; comes before kindloop.yaml",
        "resources": "minimal, normal or high; comes before kindloop.yaml",
        "wait": "app: return when the service answers; all: when every part of the stack does",
        "json": "print events as JSON, one a line; with --dry-run the plan as one document",
        "plain": PLAIN,
    },
    codes=(3, 4, 5, 6, 7, 8, 9),
    document="event plan",
)
def dev_up(  # noqa: PLR0917 - Invoke gives all of them by name
    c: Context,
    dry_run: bool = False,
    recreate: bool = False,
    watch: bool = False,
    observability: str = "",
    resources: str = "",
    wait: str = "app",
    json: bool = False,
    verbose: bool = False,
    plain: bool = False,
) -> None:
    """Bring everything up: cluster, stages, image, service.

    Does only what is missing, so a second run changes nothing. Returns when the service answers;
    what of the stack takes longer goes on. Exit codes: 5 build, 6 rollout, 7 tool missing,
    8 locked, 9 not ours or settings differ.
    """
    settings = _flags(observability=observability, resources=resources)
    wait_all = _choice("--wait", wait, ("app", "all")) == "all"
    if dry_run:
        _show_plan(load(verbose=verbose, json=json, settings=settings), json=json)
        return
    config = load(verbose=verbose, events=json, settings=settings)
    watching = watch or config.watch.on_up
    with screen.bringing_up(config, plain=plain):
        flows.up(config, recreate=recreate, watching=watching, wait_all=wait_all)
    if watching:
        again = functools.partial(loading.load, env={**os.environ, **settings})
        with screen.watching(config, plain=plain):
            loop.watch(config, json=json, load=again)


def _show_plan(config: Config, *, json: bool) -> None:
    plan = flows.plan_up(config)
    if json:
        report.data(plan.as_json())
    else:
        report.output("\n".join(plan.lines()))


def _flags(*, observability: str, resources: str) -> dict[str, str]:
    """The flags that were given, as the variables that say the same."""
    given = {
        "KINDLOOP_OBSERVABILITY": ("--observability", observability, get_args(Observability)),
        "KINDLOOP_RESOURCES": ("--resources", resources, get_args(Resources)),
    }
    return {
        name: _choice(flag, value, known) for name, (flag, value, known) in given.items() if value
    }


def _choice(flag: str, value: str, known: Sequence[str]) -> str:
    if value in known:
        return value
    raise ConfigError(
        f"{flag} {value} is none of {', '.join(known)}", hint=f"invoke dev-up {flag} {known[-1]}"
    )


@task(
    "dev-rebuild",
    flags={
        "clean": "discard the stages' outputs first",
        "image": "put the binary into the image",
    },
    codes=(3, 4, 5, 6, 7, 8, 9),
)
def dev_rebuild(
    c: Context, clean: bool = False, image: bool = False, verbose: bool = False
) -> None:
    """Build what changed and swap it in.

    Where a swap cannot serve (Dockerfile, base or manifests changed) it says so and rolls out.
    Exit code 4: the new binary was rolled back.
    """
    config = load(verbose=verbose)
    with telemetry.command(swapenv.as_brought(config), "rebuild"):
        flows.rebuild(config, clean=clean, image=image)


@task(
    "dev-status",
    flags={
        "wait_fresh": "wait until what answers is built from the files as they are",
        "timeout": "seconds for --wait-fresh, 0 to 86400",
    },
    codes=(3, 4, 7, 9),
    document="status fresh",
)
def dev_status(
    c: Context,
    json: bool = False,
    wait_fresh: bool = False,
    timeout: str = "30",
    verbose: bool = False,
) -> None:
    """Show what runs, what is stale, what answers.

    With --wait-fresh, whether what answers is built from the files as they are. Exit codes:
    0 healthy or fresh, 1 unhealthy, 3 cannot tell, 4 stale.
    """
    config = load(verbose=verbose, json=json)
    if wait_fresh:
        _wait_fresh(config, _seconds(timeout), json=json)
        return
    found = status.gather(config)
    if json:
        report.data(found.as_json())
    else:
        report.output(status.table(found))
    code = status.exit_code(found.lines)
    if code:
        raise Exit(code=code)


def _seconds(text: str) -> float:
    """A number of seconds up to a day. Raises ConfigError; Invoke's own cast is a traceback."""
    with contextlib.suppress(ValueError):
        if 0 <= (found := float(text)) <= LONGEST_S:
            return found
    raise ConfigError(
        f"--timeout {text} is no number of seconds",
        hint="invoke dev-status --wait-fresh --timeout 30",
    )


def _wait_fresh(config: Config, timeout_s: float, *, json: bool) -> None:
    found = freshness.wait(config, timeout_s)
    code = freshness.exit_code(found)
    if json:
        rows = [asdict(one) for one in found]
        report.data({"schema": 1, "exit_code": code, "fresh": code == 0, "workloads": rows})
    else:
        report.output("\n".join(str(one) for one in found))
    if code:
        raise Exit(code=code)


@task("dev-restart", codes=(3, 4, 6, 7, 8, 9))
def dev_restart(c: Context, workload: str = "", verbose: bool = False) -> None:
    """Restart the pods and wait until they answer."""
    flows.restart(load(verbose=verbose), workload)


@task("dev-stop", word="name", flags={"name": BY_NAME}, codes=(7, 8, 9))
def dev_stop(c: Context, name: str = "", verbose: bool = False) -> None:
    """Stop the node; its state is kept.

    With a NAME of `invoke dev-list` it is that environment, in any folder; exit code 8 while a
    command or a watch has it.
    """
    if name:
        show(verbose=verbose)
        environments.stop(name)
    else:
        flows.stop(load(verbose=verbose))


@task("dev-start", codes=(3, 6, 7, 8, 9))
def dev_start(c: Context, verbose: bool = False) -> None:
    """Start a stopped node and wait for the service."""
    flows.start(load(verbose=verbose))


@task(
    "dev-down",
    word="name",
    flags={
        "name": BY_NAME,
        "all": "delete every environment of this user, whatever its checkout",
    },
    codes=(7, 8, 9),
)
def dev_down(
    c: Context,
    name: str = "",
    all: bool = False,  # noqa: A002 - flag
    verbose: bool = False,
) -> None:
    """Delete cluster and data; caches and images stay.

    With a NAME of `invoke dev-list` it is that environment, in any folder; --all deletes every
    environment of this user, whatever its checkout. One that a command or a watch has is left:
    exit code 8.
    """
    if name and all:
        raise ConfigError(
            f"{name} and --all do not go together",
            why="--all is every environment of this user",
            hint=f"invoke dev-down {name}",
        )
    if name:
        show(verbose=verbose)
        environments.delete(name)
    elif all:
        show(verbose=verbose)
        environments.delete_all()
    else:
        flows.down(load(verbose=verbose))


TASKS = (
    dev_setup,
    dev_up,
    dev_rebuild,
    dev_status,
    dev_restart,
    dev_stop,
    dev_start,
    dev_down,
)
