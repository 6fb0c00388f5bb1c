"""The settings by themselves: defaults, ports, folders."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from kindloop.config import (
    DEFAULT_PORTS,
    NODE_PORTS,
    SUPERVISOR_PORT,
    Cluster,
    Config,
    Image,
    Profile,
    Swap,
    Watch,
    Workload,
)


def test_every_default_port_has_a_node_port_and_back() -> None:
    assert set(DEFAULT_PORTS) == set(NODE_PORTS)


def test_ports_are_distinct_and_node_ports_in_the_range_of_kubernetes() -> None:
    assert len(set(DEFAULT_PORTS.values())) == len(DEFAULT_PORTS)
    assert len(set(NODE_PORTS.values())) == len(NODE_PORTS)
    assert all(30_000 <= port <= 32_767 for port in NODE_PORTS.values())


def test_the_largest_offset_keeps_default_ports_in_range() -> None:
    assert max(Cluster(port_offset=10_000).host_ports().values()) <= 65_535


def test_host_ports_are_shifted_and_leave_out_those_that_are_off() -> None:
    cluster = Cluster(ports={"petstore": 8080, "grafana": None}, port_offset=100)
    assert cluster.host_ports() == {"petstore": 8180}


def test_root_and_local_stand_beside_the_file(tmp_path: Path) -> None:
    config = Config(tmp_path / "kindloop.yaml")
    assert config.root == tmp_path
    assert config.local == tmp_path / ".kindloop"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    config = Config(tmp_path / "kindloop.yaml")
    with pytest.raises(FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        DEFAULT_PORTS["petstore"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("swap", "profile", "swaps"),
    [
        (Swap("web"), "loop", True),
        (Swap("web"), "release", False),  # the binary is in the image
        (None, "loop", False),
        (None, "release", False),
    ],
)
def test_a_binary_comes_by_a_swap_in_profile_loop_only(
    tmp_path: Path, swap: Swap | None, profile: Profile, swaps: bool
) -> None:
    workload = Workload("web", Image(tmp_path / "Dockerfile"), tmp_path, swap=swap)
    config = Config(tmp_path / "kindloop.yaml", profile=profile, workloads={"web": workload})
    assert config.swaps(workload) is swaps


def test_the_supervisors_port_is_nobodys_default() -> None:
    assert SUPERVISOR_PORT not in {*DEFAULT_PORTS.values(), *NODE_PORTS.values()}


def test_defaults_of_the_loop() -> None:
    assert (Watch().quiet_ms, Watch().cap_ms, Watch().on_up) == (10, 1000, False)
    swap = Swap("web")
    assert (swap.grace_ms, swap.probation_ms, swap.rollback) == (2000, 5000, True)
    assert (swap.args, swap.env, swap.transport) == (None, {}, "auto")
