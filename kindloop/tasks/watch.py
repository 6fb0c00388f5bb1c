"""The loop of a day: every save is built and served."""

from __future__ import annotations

from invoke.context import Context

from kindloop import loading, loop, screen
from kindloop.tasks._task import PLAIN, load, task

__all__ = ["TASKS"]


@task(
    "dev-watch",
    flags={
        "verify": "smoke: call every operation after each swap",
        "json": "print events as JSON, one a line",
        "plain": PLAIN,
    },
    codes=(3, 7, 8, 9),
    document="event",
)
def dev_watch(
    c: Context,
    verbose: bool = False,
    verify: str = "",
    json: bool = False,
    plain: bool = False,
) -> None:
    """Build and serve every save until q or Ctrl-C.

    One line a save: what is served, how long each part took. Keys: r rebuild, g generate, p pause,
    t smoke, L load, l log lines, q quit, ? help. Exit codes: 3 no environment, 7 tool missing,
    8 watched already, 9 not ours, 130 interrupted.
    """
    config = load(verbose=verbose, events=json)
    with screen.watching(config, plain=plain):
        loop.watch(config, verify=verify, json=json, load=loading.load)


TASKS = (dev_watch,)
