"""The loop of a day: every save is built and served."""

from __future__ import annotations

from invoke.context import Context

from kindloop import loading, loop
from kindloop.tasks._task import load, task

__all__ = ["TASKS"]


@task("dev-watch")
def dev_watch(c: Context, verbose: bool = False, verify: str = "", json: bool = False) -> None:
    """Build and serve every save until q or Ctrl-C.

    One line a save: what is served, how long each part took. --verify smoke calls every
    operation after each swap; --json prints events, one a line. Keys: r rebuild, g generate,
    p pause, t smoke, L load, l log lines, q quit. Exit codes: 3 no environment, 7 tool missing,
    8 watched already, 9 not ours, 130 interrupted.
    """
    config = load(verbose=verbose, events=json)
    loop.watch(config, verify=verify, json=json, load=loading.load)


TASKS = (dev_watch,)
