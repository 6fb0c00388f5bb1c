# /// script
# dependencies = ["nox>=2024.10"]
# ///
"""Proofs of this repository. Plain `nox` runs them all, the ones on a live cluster included.

Everything runs in the environment that scripts/dev-setup.sh made: nothing is installed twice,
and a machine without network can run it again.
"""

from __future__ import annotations

import os
from typing import Any

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = True

# nox gives a child 0.3 s after Ctrl-C; a cluster that is half made needs longer to be left well.
PATIENT: dict[str, Any] = {"interrupt_timeout": 90, "terminate_timeout": 30}
LOOP = {
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "64",
    "CARGO_TERM_COLOR": "never",
}


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff on Python, shellcheck on the scripts."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("shellcheck", "scripts/dev-setup.sh", "scripts/dev-teardown.sh")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and contract tests: no cluster."""
    session.run("pytest", "tests/unit", "tests/contract", *session.posargs, **PATIENT)


@nox.session
def docs(session: nox.Session) -> None:
    """Every code block of README and docs, run or parsed."""
    session.run("pytest", "tests/docs", *session.posargs, **PATIENT)


@nox.session
def rust(session: nox.Session) -> None:
    """The sample's own tests, and another OpenAPI document generated, compiled and called."""
    with session.chdir("examples/petstore"):
        session.run("cargo", "test", "--workspace", "--locked", *session.posargs, external=True)
        session.run(
            *("cargo", "test", "--locked", "-p", "petstore-gen", "--test", "other_document"),
            *("--", "--ignored"),
            external=True,
        )


@nox.session
def cluster(session: nox.Session) -> None:
    """Faults and healing on a kind cluster of its own."""
    session.run("pytest", "tests/cluster", "-m", "cluster", *session.posargs, **PATIENT)


@nox.session
def smoke(session: nox.Session) -> None:
    """Every operation of the live service, by curl; brings the environment up if it is not."""
    found = session.run("invoke", "cluster.status", silent=True, success_codes=[0, 1])
    there = "state: absent" not in str(found)
    try:
        session.run("invoke", "dev-up", **PATIENT)
        session.run("invoke", "test.curl", *session.posargs)
    finally:
        # Leave the machine as it was found, unless somebody wants to look.
        if not there and "KINDLOOP_KEEP" not in os.environ:
            session.run("invoke", "dev-down", **PATIENT)
