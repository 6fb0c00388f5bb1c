"""Looking closer: the logs, this machine, and all of it in one file for a report of a fault."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit

from kindloop import bundle as doctor
from kindloop import cluster, host, logs, report
from kindloop import outdated as newer
from kindloop.config import DEFAULT_PORTS, Config
from kindloop.errors import ConfigError
from kindloop.tasks._task import load, task

__all__ = ["TASKS"]


@task(
    "dev-logs",
    flags={
        "workload": "the pods of this workload, and no stages",
        "stage": "the last run of this stage, and no pods",
        "follow": "go on until Ctrl-C",
        "tail": "newest lines of each source; -1: all; 100, and all with --since",
        "since": "what is no older, such as 90s or 1h30m",
        "grep": "only lines in which this regular expression is found",
        "json": "print each line as a JSON document of its own",
    },
    codes=(3, 7, 9),
    document="line",
)
def dev_logs(  # noqa: PLR0917 - Invoke gives all of them by name
    c: Context,
    workload: str = "",
    follow: bool = False,
    tail: str = "",
    since: str = "",
    grep: str = "",
    stage: str = "",
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Show the lines of workloads and stages; -f follows.

    All in one, by time, with a rule at each swap. -f goes on across swaps, restarts and new pods.
    The lines of a stage have the time at which its run ended; those of runs before the first line
    shown of a pod are left out. Where there is no line at all, standard error says so. Exit codes:
    2 no such name, duration or regular expression, 3 no environment, or nothing has started yet.
    """
    config = load(json=json, verbose=verbose)
    wanted = logs.wishes(
        config, workload=workload, stage=stage, since=since, grep=grep, tail=tail, follow=follow
    )
    logs.show(config, wanted, json=json)


@task(
    "dev-doctor",
    flags={
        "bundle": "write settings, plans, state, logs and events, masked, into this archive",
        "force": "take the place of the file that --bundle names",
        "outdated": "ask for newer releases of pinned versions and tools",
    },
    codes=(7,),
    document="doctor bundle outdated",
)
def dev_doctor(  # noqa: PLR0917 - Invoke gives all of them by name
    c: Context,
    json: bool = False,
    bundle: str = "",
    force: bool = False,
    outdated: bool = False,
    verbose: bool = False,
) -> None:
    """Show what this machine has and what is missing.

    Without a readable kindloop.yaml it looks at the default ports. Exit code 7: something is
    missing. --bundle FILE (.tar.gz or .zip) writes one archive for the report of a fault, also
    without cluster, engine or a right kindloop.yaml; it says what is not in it. --outdated shows
    what has a newer release, as far as this machine's network tells.
    """
    if bundle and outdated:
        raise ConfigError(
            "--bundle and --outdated do not go together", hint="invoke dev-doctor --outdated"
        )
    config, fault = _config(json=json, verbose=verbose)
    if bundle:
        _show(doctor.make(Path(bundle), config, fault, force=force), json=json)
    elif outdated:
        found = newer.look()
        if json:
            report.data(newer.as_json(found))
        else:
            report.output(newer.table(found))
    else:
        _diagnose(config, fault, json=json)


def _config(*, json: bool, verbose: bool) -> tuple[Config | None, ConfigError | None]:
    """The settings, or why there are none."""
    try:
        return load(json=json, verbose=verbose), None
    except ConfigError as exc:
        return None, exc


def _show(made: doctor.Bundle, *, json: bool) -> None:
    if json:
        report.data(made.as_json())
    else:
        report.output("\n".join(made.lines()))


def _diagnose(config: Config | None, fault: ConfigError | None, *, json: bool) -> None:
    if fault:
        report.warn(f"{fault.message}; looking at the default ports")
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


TASKS = (dev_logs, dev_doctor)
