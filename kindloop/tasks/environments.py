"""All environments of this user. None of these tasks needs a kindloop.yaml."""

from __future__ import annotations

import time

from invoke.context import Context

from kindloop import environments, report
from kindloop.tasks._task import show, task

__all__ = ["TASKS"]


@task("dev-list", codes=(7,), document="list")
def dev_list(c: Context, json: bool = False, verbose: bool = False) -> None:
    """Show all environments of this user, of every checkout.

    With state, age, memory of the node, port of the service, whether it is watched, what it serves
    and the checkout that made it. `invoke dev-stop NAME` and `invoke dev-down NAME` take one of
    these names, in any folder. --json prints a document with `schema`.
    """
    show(json=json, verbose=verbose)
    found = environments.look()
    if json:
        report.data(environments.as_json(found))
    else:
        report.output(environments.table(found, time.time()))


TASKS = (dev_list,)
