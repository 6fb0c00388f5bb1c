"""A checkout and a kind cluster of the tests' own.

The cluster is real; there is no skip: a machine without engine or kind fails here. Name and ports
are ours alone, so an environment that somebody uses beside is never touched, and what a killed
run left is swept first. `KINDLOOP_KEEP=1` leaves the cluster for a look.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from live import (
    CHECKOUT,
    CHECKOUTS,
    FOREIGN,
    FOREIGN_KUBECONFIG,
    NAME,
    ROOT,
    STATE,
    USERS_KUBECONFIG,
    Loop,
    docker,
    free_offset,
    own_checkout,
    seed,
    sync,
)
from sweeping import sweep

from kindloop.config import DEFAULT_PORTS, NODE_PORTS


def pytest_sessionstart(session: pytest.Session) -> None:
    """Sweep, and begin the checkouts of all workers, before the first of them builds in its own."""
    if hasattr(session.config, "workerinput"):
        return
    if "KINDLOOP_KEEP" not in os.environ and not session.config.option.collectonly:
        sweep()
    for worker in range(1, getattr(session.config.option, "numprocesses", None) or 1):
        seed(CHECKOUT, CHECKOUTS / f"test-checkout-{worker}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.cluster)
    # A cluster that a test deletes must be made again: such tests come last. Before them goes what
    # has many tests, so that two workers, who take file by file, end together.
    count = collections.Counter(item.path for item in ours)
    items.sort(
        key=lambda item: (item.get_closest_marker("destructive") is not None, -count[item.path])
    )


@pytest.fixture(scope="session")
def checkout() -> Iterator[Path]:
    """A checkout of the tests' own."""
    with own_checkout() as checkout:
        yield checkout


@pytest.fixture(scope="session")
def down(checkout: Path) -> Iterator[Loop]:
    """kindloop in the tests' checkout, with no cluster yet and a state directory of the tests' own.

    So `--all` can mean this environment only. KUBECONFIG names a file that stands for the user's.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    USERS_KUBECONFIG.write_text(FOREIGN_KUBECONFIG)
    env = {"XDG_STATE_HOME": str(STATE), "KUBECONFIG": str(USERS_KUBECONFIG)}
    if "KINDLOOP_KEEP" not in os.environ:
        Loop(checkout, NAME, 1000, env).run("dev-down")
    loop = Loop(checkout, NAME, _offset(), env)
    yield loop
    if "KINDLOOP_KEEP" not in os.environ:
        loop.run("dev-down")


def _offset() -> int:
    """The offset of the cluster that an earlier run kept, else one that is free now."""
    config = STATE / "kindloop" / NAME / "kind-config.yaml"
    if "KINDLOOP_KEEP" in os.environ and config.exists():
        node = yaml.safe_load(config.read_text())["nodes"][0]
        ports = {m["containerPort"]: m["hostPort"] for m in node["extraPortMappings"]}
        return int(ports[NODE_PORTS["petstore"]]) - DEFAULT_PORTS["petstore"]
    return free_offset()


@pytest.fixture(scope="session")
def first_up(down: Loop) -> tuple[Loop, str]:
    """The environment brought up once, with what `dev-up` said."""
    return down, down.ok("dev-up", timeout_s=3000)


@pytest.fixture
def up(first_up: tuple[Loop, str]) -> Iterator[Loop]:
    """A healthy environment; a test that breaks the checkout gets it mended afterwards."""
    loop, _ = first_up
    yield loop
    sync(ROOT, loop.root)


@pytest.fixture
def healed(up: Loop) -> Iterator[Loop]:
    """A healthy environment for a test that breaks what runs: `dev-up` must heal it afterwards."""
    yield up
    up.mended()


@pytest.fixture(scope="module")
def own_state(first_up: tuple[Loop, str]) -> Iterator[Loop]:
    """This process sees the environment of the tests, too; it is mended before a module and after.

    So no rollout is due before the first test.
    """
    loop, _ = first_up
    loop.mended()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in loop.env.items():
            patch.setenv(name, value)
        yield loop
    loop.mended()


@pytest.fixture
def foreign(up: Loop) -> Iterator[str]:
    """A container that kind takes for the node of a cluster that is not ours; its name."""
    name = f"{FOREIGN}-control-plane"
    # Any image with a program that waits does; ours starts from one with busybox.
    image = docker("image", "ls", "--quiet", f"kindloop.local/{up.name}/petstore").split()[0]
    labels = [
        f"--label=io.x-k8s.kind.cluster={FOREIGN}",
        "--label=io.x-k8s.kind.role=control-plane",
    ]
    docker("rm", "--force", name, check=False)
    run = ["run", "--detach", "--name", name, *labels, "--entrypoint=/bin/busybox"]
    docker(*run, image, "sleep", "3600")
    started = docker("inspect", "--format={{.Id}} {{.State.StartedAt}}", name)
    yield FOREIGN
    assert docker("inspect", "--format={{.Id}} {{.State.StartedAt}}", name) == started
    docker("rm", "--force", name)
