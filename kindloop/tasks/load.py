"""The load test: goose's users on the running service."""

from __future__ import annotations

from invoke.context import Context

from kindloop import loadtest, report
from kindloop.tasks._task import load, task

__all__ = ["TASKS"]


@task(
    "test-load",
    flags={
        "profile": "one of `load` in kindloop.yaml",
        "as_is": "load what runs, without a release build",
    },
    codes=(3, 4, 5, 6, 7, 8, 9),
    document="load",
)
def test_load(
    c: Context, profile: str = "low", as_is: bool = False, json: bool = False, verbose: bool = False
) -> None:
    """Load the service with goose, on its release build.

    Exit codes: 1 a threshold is broken, 3 no environment, 4 stale, 5 not built, 130 ended early,
    with the report.
    """
    config = load(verbose=verbose, json=json)
    done = loadtest.run(config, profile, as_is=as_is)
    if json:
        report.data(done.as_json())
    done.raise_if_broken()


TASKS = (test_load,)
