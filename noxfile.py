# /// script
# dependencies = ["nox>=2024.10"]
# ///
"""Proofs of this repository. Plain `nox` runs them all, the ones on a live cluster included.

`smoke` and `load` are steps of `e2e`, so plain `nox` leaves them out, as it does `bench`.
Everything runs in the environment that scripts/dev-setup.sh made: nothing is installed twice,
and a machine without network can run it again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = True

# nox gives a child 0.3 s after Ctrl-C; a cluster that is half made needs longer to be left well.
PATIENT: dict[str, Any] = {"interrupt_timeout": 90, "terminate_timeout": 30}
# Half of what these tests take is waiting: for processes that end, for pods that start.
BESIDE = ("--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder")
CLUSTERS = 3
"""Most that `cluster` has at a time with two workers: theirs, and one more of one of them."""
INOTIFY_OF_A_CLUSTER = 27
"""Instances that the programs of a node were seen to take; 128 for each user is a usual limit."""


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff on Python, shellcheck on the scripts."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run(
        "shellcheck",
        "-x",
        "scripts/dev-setup.sh",
        "scripts/dev-teardown.sh",
        "examples/brrtrouter/generate.sh",
    )


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and contract tests: no cluster."""
    # First what takes long; the many small ones fill the end.
    session.run("pytest", "tests/contract", "tests/unit", *BESIDE, *session.posargs, **PATIENT)


@nox.session
def docs(session: nox.Session) -> None:
    """Every code block of README and docs, run or parsed."""
    session.run("pytest", "tests/docs", *session.posargs, **PATIENT)


@nox.session
def rust(session: nox.Session) -> None:
    """The sample's own tests, another OpenAPI document served, and the supervisor's tests."""
    with session.chdir("examples/petstore"):
        session.run("cargo", "test", "--workspace", "--locked", *session.posargs, external=True)
        session.run(
            *("cargo", "test", "--locked", "-p", "petstore-gen", "--test", "other_document"),
            *("--", "--ignored"),
            external=True,
        )
    with session.chdir("supervisor"):
        session.run("cargo", "test", "--locked", external=True)


@nox.session(default=False)  # e2e has it
def smoke(session: nox.Session) -> None:
    """Every operation of the live service, by curl."""
    with running(session) as env:
        session.run("invoke", "test.curl", *session.posargs, env=env)


@nox.session
def observability(session: nox.Session) -> None:
    """Every panel, rule, alert and trace on live data, on a kind cluster of its own."""
    session.run("pytest", "tests/observability", "-m", "cluster", *session.posargs, **PATIENT)


@nox.session(default=False)  # e2e has it, with profile low
def load(session: nox.Session) -> None:
    """Load on the live service by goose, profile low; `-- --profile medium` takes another."""
    with running(session) as env:
        session.run("invoke", "test-load", *session.posargs, env=env, **PATIENT)


@nox.session
def e2e(session: nox.Session) -> None:
    """What a user judges by, from up to a warm second up, on a kind cluster of its own."""
    path = {"PYTHONPATH": os.pathsep.join(("tests", "tests/cluster"))}
    session.run("python", "-m", "e2e", *session.posargs, env=path, **PATIENT)


@nox.session
def cluster(session: nox.Session) -> None:
    """Faults and healing on kind clusters of its own, two side by side where there is room.

    After e2e on purpose: the checkouts begin with what cargo compiled there.
    """
    where = ("tests/cluster", "-m", "cluster")
    beside = BESIDE if inotify_left() > CLUSTERS * INOTIFY_OF_A_CLUSTER else ()
    if not beside:
        session.warn("one cluster in place of two: other clusters have the inotify instances")
    session.run("pytest", *where, *beside, *session.posargs, **PATIENT)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """How fast a save is served, on a kind cluster of its own; --strict fails on a missed bar."""
    path = {"PYTHONPATH": os.pathsep.join(("tests", "tests/cluster"))}
    session.run("python", "-m", "bench", *session.posargs, env=path, **PATIENT)


@contextmanager
def running(session: nox.Session) -> Iterator[dict[str, str]]:
    """The environment of this checkout when it is up, brought up to date.

    Else one of the session's own, with a name and ports that nobody has, deleted afterwards
    (`KINDLOOP_KEEP=1` keeps it). Yields the variables that name it.
    """
    said = session.run(
        "invoke", "cluster.status", "--json", silent=True, success_codes=[0, 1], log=False
    )
    if json.loads(str(said))["healthy"]:
        session.run("invoke", "dev-up", **PATIENT)
        yield {}
        return
    with alone(session):
        env = own_environment()
        try:
            session.run("invoke", "dev-up", env=env, **PATIENT)
            yield env
        finally:
            if "KINDLOOP_KEEP" not in os.environ:
                session.run("invoke", "dev-down", env=env, **PATIENT)


@contextmanager
def alone(session: nox.Session) -> Iterator[None]:
    """Hold the sessions' environment: a second run of this checkout would delete it under us."""
    path = Path(__file__).parent / "build/nox.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            session.error(f"the environment of this session is in use by {file.read()}")
        file.truncate(0)
        file.write(f"process {os.getpid()}: nox -s {session.name}")
        file.flush()
        yield


def own_environment() -> dict[str, str]:
    """Name and port offset of an environment beside whatever runs on this machine."""
    here = hashlib.sha256(os.fsencode(Path(__file__).parent.resolve())).hexdigest()[:6]
    ports = (8080, 3000, 9090, 9093, 16686, 4317, 4318)
    offset = next(o for o in range(500, 9000, 100) if all(is_free(p + o) for p in ports))
    return {
        "KINDLOOP_NAME": f"klsmoke-{here}",
        "KINDLOOP_PORT_OFFSET": str(offset),
        "KINDLOOP_OBSERVABILITY": "off",
    }


def inotify_left() -> float:
    """How many inotify instances this user may still have."""
    try:
        limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    except OSError:
        return math.inf  # no Linux, no such limit
    return limit - sum(is_inotify(fd) for fd in Path("/proc").glob("[0-9]*/fd/*"))


def is_inotify(fd: Path) -> bool:
    """Whether an open file is an inotify instance; those of others cannot be read."""
    try:
        return str(fd.readlink()) == "anon_inode:inotify"
    except OSError:
        return False


def is_free(port: int) -> bool:
    """Whether nobody listens on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
