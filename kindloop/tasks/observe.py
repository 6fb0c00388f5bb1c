"""What there is to look at: the pages of the observability stack."""

from __future__ import annotations

from invoke.context import Context

from kindloop import observing, report
from kindloop.tasks._task import load, task

__all__ = ["TASKS"]


@task(
    "open",
    flags={"browser": "open those that have a page"},
    codes=(3, 7, 9),
    document="pages",
)
def observe_open(
    c: Context, browser: bool = False, json: bool = False, verbose: bool = False
) -> None:
    """Print where metrics, traces and dashboards are."""
    pages = observing.pages(load(verbose=verbose, json=json))
    if json:
        report.data({"schema": 1, "pages": [page.as_json() for page in pages]})
    else:
        report.output("\n".join(str(page) for page in pages))
    if browser:
        observing.browse([page.url for page in pages if page.opens])


TASKS = (observe_open,)
