"""The variables of a swap that follow the level of observability."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kindloop import cluster, loading, swapenv
from kindloop.config import Config, Image, Observability, Swap, Workload
from kindloop.telemetry.sending import IDLE_S
from kindloop.telemetry.target import target_of

ENV = {"RUST_LOG": "info", "OTEL_SDK_DISABLED": "{otel.disabled}", "PATTERN": "{a}{ports.x}"}


@pytest.fixture
def config(homes: Path) -> Config:
    return Config(homes / "kindloop.yaml", "mine")


def workload(config: Config, **env: str) -> Workload:
    return Workload("web", Image(config.path), config.path.parent, swap=Swap("web", env=env))


def disabled(config: Config) -> str:
    swap = swapenv.resolved(config, workload(config, **ENV)).swap
    assert swap
    assert {**swap.env, "OTEL_SDK_DISABLED": ""} == {**ENV, "OTEL_SDK_DISABLED": ""}
    return swap.env["OTEL_SDK_DISABLED"]


@pytest.mark.parametrize(
    ("level", "said"), [("off", "true"), ("minimal", "true"), ("full", "false")]
)
def test_only_full_has_a_collector(config: Config, level: Observability, said: str) -> None:
    assert disabled(replace(config, observability=level)) == said


def test_what_was_brought_counts_and_not_what_another_command_would_bring(config: Config) -> None:
    swapenv.remember(replace(config, observability="off"))
    assert disabled(replace(config, observability="full")) == "true"
    swapenv.remember(replace(config, observability="full"))
    assert disabled(replace(config, observability="off")) == "false"


def test_who_sends_traces_looks_for_who_was_brought(config: Config) -> None:
    full = replace(config, observability="full")
    assert target_of(swapenv.as_brought(full), {}).ours
    swapenv.remember(replace(config, observability="minimal"))
    assert not target_of(swapenv.as_brought(full), {}).wanted


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"observability": "much"}'])
def test_a_level_that_cannot_be_read_is_that_of_the_settings(config: Config, content: str) -> None:
    home = cluster.environment(config).home
    home.mkdir(parents=True)
    (home / swapenv.FILE).write_text(content)
    assert disabled(replace(config, observability="full")) == "false"


def test_what_has_no_placeholder_stays_as_it_is(config: Config) -> None:
    plain = workload(config, RUST_LOG="info")
    assert swapenv.resolved(config, plain) is plain
    without = replace(plain, swap=None)
    assert swapenv.resolved(config, without) is without


def test_the_pet_store_has_it(repo: Path, homes: Path) -> None:
    config = loading.load(repo / "kindloop.yaml", env={"KINDLOOP_OBSERVABILITY": "off"})
    swap = swapenv.resolved(config, config.workloads["petstore"]).swap
    assert swap
    assert swap.env["OTEL_SDK_DISABLED"] == "true"


def test_a_collector_forgets_a_watch_that_was_killed_and_none_that_is_quiet(repo: Path) -> None:
    file = repo / "k8s/observability/collector/config.yaml"
    exporter = yaml.safe_load(file.read_text())["exporters"]["prometheus"]
    expires_s = int(exporter["metric_expiration"].removesuffix("s"))
    assert 2 * IDLE_S < expires_s <= 120
