"""An engine that is not as it should be: exit 7, what was found, and the exact next command.

The texts are those of the real client; a fake `docker` says them.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kindloop import bake, flows, host, sources, tools
from kindloop.config import Cluster, Config
from kindloop.errors import KindloopError, ToolMissing
from kindloop.sources import Source

NOT_RUNNING = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
    "Is the docker daemon running?"
)
NO_PERMISSION = (
    "permission denied while trying to connect to the Docker daemon socket at "
    'unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.47/version": '
    "dial unix /var/run/docker.sock: connect: permission denied"
)
TASKS = [
    "dev-up",
    "dev-status",
    "dev-rebuild",
    "build",
    "cluster.ensure",
    "image.build",
    "bake.node",
]


@pytest.fixture
def project(homes: Path, repo: Path) -> Path:
    """A checkout of another project: tasks.py and a minimal kindloop.yaml."""
    folder = homes / "project"
    folder.mkdir()
    (folder / "tasks.py").write_bytes((repo / "tasks.py").read_bytes())
    (folder / "kindloop.yaml").write_text("version: 1\nname: kindloop-contract\n")
    return folder


def _invoke(project: Path, *args: str, path: str | None = None) -> tools.Result:
    env = {"PATH": path if path is not None else os.environ["PATH"]}
    return tools.run(sys.executable, "-m", "invoke", *args, cwd=project, env=env, check=False)


def _refused(said: tools.Result) -> str:
    assert said.exit_code == 7, said.stderr
    assert "Traceback" not in said.stderr
    assert said.stderr.startswith("error: ")
    return said.stderr


@pytest.mark.parametrize("task", TASKS)
def test_docker_not_installed(project: Path, fake: Callable[..., Path], task: str) -> None:
    empty = fake("nothing-of-interest", "").parent
    text = _refused(_invoke(project, task, path=str(empty)))
    assert "docker" in text.lower()
    assert "scripts/dev-setup.sh" in text


@pytest.mark.parametrize("task", TASKS)
def test_the_engine_is_not_running(project: Path, fake: Callable[..., Path], task: str) -> None:
    fake("docker", f"echo '{NOT_RUNNING}' >&2; exit 1")
    fake("dockerd", "exit 1")  # there is one to start
    text = _refused(_invoke(project, task))
    assert NOT_RUNNING in text
    assert "scripts/dev-setup.sh" in text


@pytest.mark.parametrize("task", TASKS)
def test_no_permission_to_use_the_engine(
    project: Path, fake: Callable[..., Path], task: str
) -> None:
    fake("docker", f"echo '{NO_PERMISSION}' >&2; exit 1")
    text = _refused(_invoke(project, task))
    assert "permission denied" in text
    assert "usermod" in text
    assert "scripts/dev-setup.sh" not in text.split("next:")[1].split("usermod")[0]


def test_the_doctor_tells_instead_of_failing_at_the_first(
    project: Path, fake: Callable[..., Path]
) -> None:
    fake("docker", f"echo '{NOT_RUNNING}' >&2; exit 1")
    fake("dockerd", "exit 1")
    said = _invoke(project, "dev-doctor")
    assert said.exit_code == 7
    assert "kubectl" in said.stdout  # the other tools are looked at, too
    assert "Traceback" not in said.stderr


def test_nothing_is_left_behind_by_a_refusal(project: Path, fake: Callable[..., Path]) -> None:
    fake("docker", f"echo '{NOT_RUNNING}' >&2; exit 1")
    fake("dockerd", "exit 1")
    _refused(_invoke(project, "dev-up"))
    assert sorted(p.name for p in project.iterdir() if p.name != "__pycache__") == [
        "kindloop.yaml",
        "tasks.py",
    ]


# -- ports


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def test_a_taken_port_is_named_with_the_process_that_has_it(
    tmp_path: Path, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    ports = {"petstore": port - 100, "grafana": None}
    config = Config(
        path=tmp_path / "kindloop.yaml", name="mine", cluster=Cluster(ports=ports, port_offset=100)
    )
    with pytest.raises(KindloopError) as raised:
        flows.require_ports(config)
    (line,) = raised.value.evidence
    assert line.startswith(f"127.0.0.1:{port} (petstore) is taken by process {os.getpid()}: ")
    listener.close()
    flows.require_ports(config)


def test_a_port_that_is_off_may_be_taken(tmp_path: Path, listener: socket.socket) -> None:
    config = Config(path=tmp_path / "kindloop.yaml", name="mine")
    off = dict.fromkeys(config.cluster.ports)
    flows.require_ports(replace(config, cluster=Cluster(ports=off)))


# -- disk


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of one megabyte: a real one where we may mount, else what the kernel would say."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "kindloop-test", folder]
    mounted = os.geteuid() == 0 and tools.run(*mount, check=False).ok
    if not mounted:
        monkeypatch.setattr(host.probes, "free_gb", lambda _path: 0.001)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    yield folder
    if mounted:
        tools.run("umount", folder)


def test_a_bake_is_not_begun_on_a_disk_that_it_would_fill(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bake, "bake_child", lambda _what: pytest.fail("it began"))
    with (
        pytest.raises(
            ToolMissing, match=rf"needs {bake.DISK_GB:.0f} GB free at .*small.*; there are 0\.0 GB"
        ) as raised,
        sources.baking(Source(bake.node_image(), "bake")),
    ):
        pytest.fail("the body ran")
    assert raised.value.exit_code == 7
    assert "XDG_CACHE_HOME" in raised.value.hint
    assert list(small_disk.iterdir()) == []
