"""The swap by hand: publish the newest artifact, look at what runs, go back."""

from __future__ import annotations

from dataclasses import asdict

from invoke.context import Context
from invoke.exceptions import Exit

from kindloop import freshness, report, swapenv, swapping, telemetry
from kindloop.tasks._task import load, task

__all__ = ["TASKS"]


@task("push", codes=(3, 4, 5, 6, 7, 8, 9))
def swap_push(c: Context, workload: str = "", verbose: bool = False) -> None:
    """Swap in the newest artifact as it is; builds nothing.

    What was rolled back is tried once more. Exit codes: 4 rolled back, 5 not built, 6 it does
    not run.
    """
    config = load(verbose=verbose)
    with telemetry.command(swapenv.as_brought(config), "push"):
        swapping.push(config, workload)


@task("status", codes=(3, 4, 7, 9), document="swap")
def swap_status(c: Context, json: bool = False, verbose: bool = False) -> None:
    """Show which binary each pod runs.

    Exit codes: 0 fresh, 1 unhealthy, 3 cannot tell, 4 stale, 9 the node does not see the folder.
    """
    config = load(verbose=verbose, json=json)
    rows = swapping.status(config)
    code = freshness.exit_code(row.fresh for row in rows)
    if json:
        report.data({"schema": 1, "exit_code": code, "workloads": [asdict(row) for row in rows]})
    else:
        report.output("\n".join(line for row in rows for line in row.lines()))
    if code:
        raise Exit(code=code)


@task("rollback", codes=(3, 4, 6, 7, 8, 9))
def swap_rollback(c: Context, workload: str = "", verbose: bool = False) -> None:
    """Swap back to the binary before the present one.

    The next save or swap.push goes forward again; until then dev-status says stale.
    """
    swapping.rollback(load(verbose=verbose), workload)


TASKS = (swap_push, swap_status, swap_rollback)
