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

from kindloop import cluster, flows, freshness, host, loading, loop, report, status, telemetry
from kindloop.config import DEFAULT_PORTS, Config, Observability, Resources
from kindloop.errors import ConfigError
from kindloop.tasks._task import load, show, task

__all__ = ["TASKS"]

LONGEST_S = 86_400.0


@task("dev-setup")
def dev_setup(c: Context, yes: bool = False, verbose: bool = False) -> None:
    """Prepare this machine: tools, engine, environment."""
    flows.setup(load(verbose=verbose).root, yes=yes)


@task("dev-up")
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
) -> None:
    """Bring everything up: cluster, stages, image, service.

    Does only what is missing, so a second run changes nothing. --dry-run shows the plan;
    --recreate deletes the cluster with its data first; --watch goes on as dev-watch does;
    --observability off|minimal|full and --resources minimal|normal|high come before
    kindloop.yaml; --wait all returns when every part of the stack answers, and not when the
    service does; --json prints events, one a line. Exit codes: 5 build, 6 rollout, 7 tool
    missing, 8 locked, 9 not ours or settings differ.
    """
    settings = _flags(observability=observability, resources=resources)
    wait_all = _choice("--wait", wait, ("app", "all")) == "all"
    config = load(verbose=verbose, events=json, settings=settings)
    if dry_run:
        report.output("\n".join(flows.plan_up(config)))
        return
    watching = watch or config.watch.on_up
    flows.up(config, recreate=recreate, watching=watching, wait_all=wait_all)
    if watching:
        again = functools.partial(loading.load, env={**os.environ, **settings})
        loop.watch(config, json=json, load=again)


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


@task("dev-rebuild")
def dev_rebuild(
    c: Context, clean: bool = False, image: bool = False, verbose: bool = False
) -> None:
    """Build what changed and swap it in.

    Where a swap cannot serve (Dockerfile, base or manifests changed) it says so and rolls out.
    --clean discards the stages' outputs first; --image puts the binary into the image. Exit
    code 4: the new binary was rolled back.
    """
    config = load(verbose=verbose)
    with telemetry.command(config, "rebuild"):
        flows.rebuild(config, clean=clean, image=image)


@task("dev-status")
def dev_status(
    c: Context,
    json: bool = False,
    wait_fresh: bool = False,
    timeout: str = "30",
    verbose: bool = False,
) -> None:
    """Show what runs, what is stale, what answers.

    Exit codes: 0 healthy, 1 unhealthy, 3 cannot tell, 4 stale. --json prints a document with
    `schema`. --wait-fresh waits up to --timeout seconds until what answers is built from the
    files as they are.
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


@task("dev-logs")
def dev_logs(c: Context, workload: str = "", follow: bool = False, tail: int = 100) -> None:
    """Show the workloads' log lines; -f follows."""
    flows.logs(load(), workload, follow=follow, tail=tail)


@task("dev-restart")
def dev_restart(c: Context, workload: str = "", verbose: bool = False) -> None:
    """Restart the pods and wait until they answer."""
    flows.restart(load(verbose=verbose), workload)


@task("dev-stop")
def dev_stop(c: Context, verbose: bool = False) -> None:
    """Stop the node; its state is kept."""
    flows.stop(load(verbose=verbose))


@task("dev-start")
def dev_start(c: Context, verbose: bool = False) -> None:
    """Start a stopped node and wait for the service."""
    flows.start(load(verbose=verbose))


@task("dev-down")
def dev_down(c: Context, all: bool = False, verbose: bool = False) -> None:  # noqa: A002 - flag
    """Delete cluster and data; caches and images stay.

    --all deletes every environment of this user, whatever its checkout.
    """
    if all:
        show(verbose=verbose)
        flows.down_all()
    else:
        flows.down(load(verbose=verbose))


@task("dev-doctor")
def dev_doctor(c: Context, json: bool = False) -> None:
    """Show what this machine has and what is missing.

    Without a readable kindloop.yaml it looks at the default ports. Exit code 7: something is
    missing.
    """
    config = None
    try:
        config = load(json=json)
    except ConfigError as exc:
        report.warn(f"{exc.message}; looking at the default ports")
    ports = config.cluster.host_ports() if config else dict(DEFAULT_PORTS)
    own = cluster.environment(config).node if config else ""
    facts = host.inspect(ports, own_node=own)
    if json:
        report.data(host.as_json(facts))
    else:
        report.output(host.table(facts))
    code = host.exit_code(facts)
    if code:
        raise Exit(code=code)


TASKS = (
    dev_setup,
    dev_up,
    dev_rebuild,
    dev_status,
    dev_logs,
    dev_restart,
    dev_stop,
    dev_start,
    dev_down,
    dev_doctor,
)
