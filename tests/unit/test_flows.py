"""The flows: where images come from, whose ports are taken, and what refuses to start."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import bake, cluster, deploying, flows, host, process, sources, state, swapenv
from kindloop.config import Cluster, Config, Image, Observability, Swap, Workload
from kindloop.errors import (
    BuildFailed,
    CannotTell,
    ConfigError,
    KindloopError,
    Locked,
    RolloutFailed,
    ToolMissing,
)
from kindloop.sources import Source
from kindloop.versions import section

BAKED, PULLED = bake.node_image(), section("node")["image"]
BASE, ALPINE = bake.base_reference(), section("workload")["alpine"]


@pytest.fixture
def config(homes: Path) -> Config:
    checkout = homes / "checkout"
    checkout.mkdir()
    workload = Workload("web", Image(checkout / "Dockerfile"), manifests=checkout / "k8s")
    return Config(path=checkout / "kindloop.yaml", name="mine", workloads={"web": workload})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Say which images the engine has and whether a registry answers; returns what is pulled."""

    def make(*present: str, registry: bool) -> list[str]:
        pulled: list[str] = []
        monkeypatch.setattr(bake, "image_present", lambda reference: reference in present)
        monkeypatch.setattr(host, "registry_reachable", lambda: registry)
        monkeypatch.setattr(sources, "_pull", pulled.append)
        monkeypatch.setattr(bake, "bake_base", lambda: f"baked {BASE}")
        return pulled

    return make


@pytest.mark.parametrize(
    ("present", "registry", "source"),
    [
        ([BAKED], True, Source(BAKED, "local")),
        ([BAKED], False, Source(BAKED, "local")),
        ([PULLED], False, Source(PULLED, "local")),
        ([BAKED, PULLED], True, Source(BAKED, "local")),
        ([], True, Source(PULLED, "pull")),
        ([], False, Source(BAKED, "bake")),
    ],
)
def test_the_node_image_is_local_else_pulled_else_baked(
    config: Config, world: Any, present: list[str], registry: bool, source: Source
) -> None:
    world(*present, registry=registry)
    assert flows.node_image_source(config) == source


@pytest.mark.parametrize(("present", "how"), [(["my/node:1"], "local"), ([], "pull")])
def test_a_node_image_of_the_users_choice_is_taken_or_pulled_never_baked(
    config: Config, world: Any, present: list[str], how: str
) -> None:
    world(*present, registry=False)
    chosen = replace(config, cluster=Cluster(node_image="my/node:1"))
    assert flows.node_image_source(chosen) == Source("my/node:1", how)


def test_the_pulled_image_is_asked_for_by_digest() -> None:
    assert "@sha256:" in PULLED
    assert "@sha256:" in ALPINE


@pytest.mark.parametrize(
    ("present", "registry", "reference", "pulled"),
    [
        ([BASE], True, BASE, []),
        ([ALPINE], False, ALPINE, []),
        ([], True, ALPINE, [ALPINE]),
        ([], False, f"baked {BASE}", []),
    ],
)
def test_the_base_of_a_workload_is_local_else_pulled_else_baked(
    config: Config,
    world: Any,
    present: list[str],
    registry: bool,
    reference: str,
    pulled: list[str],
) -> None:
    seen = world(*present, registry=registry)
    assert sources.workload_base(config.workloads["web"]) == reference
    assert seen == pulled


def test_a_base_of_the_users_choice_is_pulled_when_missing(config: Config, world: Any) -> None:
    seen = world(registry=False)
    web = config.workloads["web"]
    chosen = replace(web, image=replace(web.image, base="debian:12"))
    assert sources.workload_base(chosen) == "debian:12"
    assert seen == ["debian:12"]


def test_an_image_that_cannot_be_pulled_is_a_failed_build(fake: Callable[..., Path]) -> None:
    fake("docker", "echo 'manifest unknown' >&2; exit 1")
    with pytest.raises(BuildFailed, match="my/node:1 cannot be pulled") as raised:
        sources.fetched(Source("my/node:1", "pull"))
    assert raised.value.evidence == ("manifest unknown",)


# -- a bake beside the build


def _child(script: str) -> process.Child:
    return process.Child(["sh", "-c", script])


@pytest.fixture
def baking(monkeypatch: pytest.MonkeyPatch, homes: Path) -> Callable[[str], None]:
    """Let the bake's child run this shell script."""

    def make(script: str) -> None:
        monkeypatch.setattr(bake, "bake_child", lambda _what: _child(script))
        monkeypatch.setattr(bake, "remaining_s", lambda: 60.0)

    return make


def test_no_bake_is_started_for_an_image_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake, "bake_child", lambda _what: pytest.fail("started"))
    for how in ("local", "pull"):
        with sources.baking(Source("x", how)) as finish:
            finish()


def test_the_user_is_told_before_a_bake(baking: Any, shown: Any) -> None:
    baking("exit 0")
    with sources.baking(Source(BAKED, "bake")) as finish:
        finish()
    assert any("about 1 min" in text for text in shown.texts("line"))


def test_a_bake_that_fails_shows_its_error_and_no_line_of_its_progress(baking: Any) -> None:
    baking("echo '· compiling'; echo 'error: no mirror'; echo '  next: look'; exit 5")
    with (
        pytest.raises(BuildFailed, match="could not be baked") as raised,
        sources.baking(Source(BAKED, "bake")) as finish,
    ):
        finish()
    assert raised.value.evidence == ("error: no mirror", "  next: look")
    assert "invoke bake.node" in raised.value.hint


def test_a_build_that_fails_ends_the_bake_beside_it(
    baking: Any, tmp_path: Path, pid_in: Callable[[Path], int], ends: Callable[[int], None]
) -> None:
    baking(f"echo $$ > {tmp_path}/pid; sleep 600")
    with (
        pytest.raises(BuildFailed, match="does not compile"),
        sources.baking(Source(BAKED, "bake")),
    ):
        pid = pid_in(tmp_path / "pid")
        raise BuildFailed("does not compile")
    ends(pid)


# -- ports


def _taken(monkeypatch: pytest.MonkeyPatch, *taken: host.TakenPort) -> None:
    monkeypatch.setattr(host, "ports_taken", lambda _ports: list(taken))


def test_free_ports_are_fine(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    _taken(monkeypatch)
    flows.require_ports(config)


def test_taken_ports_are_all_named_with_who_has_them(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    _taken(
        monkeypatch,
        host.TakenPort("petstore", 8080, "process 12: nginx"),
        host.TakenPort("grafana", 3000, "container other-control-plane"),
    )
    with pytest.raises(KindloopError) as raised:
        flows.require_ports(config)
    assert raised.value.evidence == (
        "127.0.0.1:8080 (petstore) is taken by process 12: nginx",
        "127.0.0.1:3000 (grafana) is taken by container other-control-plane",
    )
    assert "KINDLOOP_PORT_OFFSET=100" in raised.value.hint


def test_the_half_created_node_that_is_about_to_go_is_not_in_the_way(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    _taken(monkeypatch, host.TakenPort("petstore", 8080, "container mine-control-plane"))
    flows.require_ports(config)


# -- the level of observability that is brought


LEVELLED = {"OTEL_SDK_DISABLED": "{otel.disabled}"}
Deploy = Callable[[Callable[[Config], None]], None]


@pytest.fixture
def leveled(config: Config) -> Callable[[Observability], Config]:
    """The settings with a level; what its workload swaps in follows that."""
    web = replace(config.workloads["web"], swap=Swap("web", env=LEVELLED))
    return lambda level: replace(config, observability=level, workloads={"web": web})


@pytest.fixture
def deploys(monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Let `up` find all that it needs, and do this for its deployment."""

    def make(act: Callable[[Config], None]) -> None:
        monkeypatch.setattr(host, "require_engine", lambda: host.Engine("", "28", "linux", "amd64"))
        monkeypatch.setattr(deploying, "deploy", lambda config, _platform: act(config) or [])
        for name in ("ensure_cluster", "observe", "_farewell"):
            monkeypatch.setattr(flows, name, lambda *_words, **_more: None)

    return make


def test_a_level_that_was_not_deployed_is_not_remembered(
    leveled: Callable[[Observability], Config], deploys: Deploy
) -> None:
    def refuse(_config: Config) -> None:
        raise RolloutFailed("web is not ready")

    swapenv.remember(leveled("full"))
    deploys(refuse)
    with pytest.raises(RolloutFailed):
        flows.up(leveled("off"))
    assert swapenv.level(leveled("off")) == "full"


def test_a_deployment_has_the_level_that_it_brings_and_that_is_remembered(
    leveled: Callable[[Observability], Config], deploys: Deploy
) -> None:
    seen: list[str] = []

    def see(config: Config) -> None:
        swap = swapenv.resolved(config, config.workloads["web"]).swap
        assert swap
        seen.extend(swap.env.values())

    deploys(see)
    swapenv.remember(leveled("full"))
    flows.up(leveled("off"))
    assert swapenv.level(leveled("full")) == "off"
    flows.up(leveled("full"))
    assert swapenv.level(leveled("off")) == "full"
    assert seen == ["true", "false"]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("full", "off", 1),
        ("minimal", "full", 1),
        ("full", "full", 0),
        ("off", "minimal", 0),
    ],
)
def test_a_watch_beside_goes_on_as_it_was_and_that_is_told(
    leveled: Callable[[Observability], Config], deploys: Deploy, shown: Any,
    before: Observability, now: Observability, told: int,
) -> None:  # fmt: skip
    deploys(lambda _config: None)
    swapenv.remember(leveled(before))
    with state.lock(cluster.environment(leveled(now)).watch_lock, "the watch of mine"):
        flows.up(leveled(now))
    said = [one for one in shown.texts("line") if "traces of saves follow when the watch" in one]
    assert len(said) == told
    swapenv.remember(leveled(before))
    flows.up(leveled(now))
    assert [one for one in shown.texts("line") if "traces of saves" in one] == said


# -- what refuses


NOTHING = 'echo "Error response from daemon: No such container: x" >&2; exit 1'


@pytest.mark.parametrize("call", [flows.start, flows.restart, flows.diff])
def test_without_a_cluster_the_next_command_is_dev_up(
    config: Config, fake: Callable[..., Path], call: Callable[[Config], Any]
) -> None:
    fake("docker", NOTHING)
    with pytest.raises(CannotTell, match="there is no cluster mine") as raised:
        call(config)
    assert raised.value.hint == "invoke dev-up"


@pytest.mark.parametrize(
    "call", [flows.start, flows.stop, flows.restart, flows.down], ids=lambda f: f.__name__
)
def test_what_changes_the_environment_waits_for_nobody(
    config: Config, call: Callable[[Config], Any]
) -> None:
    with (
        state.lock(cluster.environment(config).lock_file, "environment mine"),
        pytest.raises(Locked, match=f"environment mine is in use by process {os.getpid()}"),
    ):
        call(config)


def test_down_without_a_cluster_removes_what_can_be_made_again_and_says_nothing_was_there(
    config: Config, fake: Callable[..., Path]
) -> None:
    fake("docker", NOTHING)
    for name in ("logs", "context", "render", "build"):
        (config.local / name).mkdir(parents=True)
    assert flows.down(config) is False
    kept = [p.name for p in config.local.iterdir()]
    assert kept == ["build"]  # the state of the stages is a cache


def test_a_workload_that_is_not_there_is_exit_2_with_those_there_are(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "require", cluster.environment)
    with pytest.raises(ConfigError, match="there is no workload wbe") as raised:
        flows.restart(config, "wbe")
    assert raised.value.hint == "one of: web"


def test_smoke_without_a_document_is_a_mistake_of_the_configuration(config: Config) -> None:
    with pytest.raises(ConfigError, match="names an OpenAPI document"):
        flows.smoke(config)


def test_setup_of_a_checkout_without_the_script_points_to_the_doctor(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        flows.setup(tmp_path, yes=False)
    assert "invoke dev-doctor" in raised.value.hint


@pytest.mark.parametrize(("yes", "args"), [(True, "--yes"), (False, "")])
def test_setup_runs_the_script_of_the_checkout(
    tmp_path: Path, shown: Any, yes: bool, args: str
) -> None:
    script = tmp_path / "scripts" / "dev-setup.sh"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\npwd; echo "args: $*"\n')
    script.chmod(0o755)
    flows.setup(tmp_path, yes=yes)
    assert shown.texts("output") == [str(tmp_path.resolve()), f"args: {args}"]
    script.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(ToolMissing, match="did not finish"):
        flows.setup(tmp_path, yes=yes)


def test_observability_that_fails_is_a_warning(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application comes first: it answers, and that is what the exit code is about."""

    def refused(_config: Config, *, here: bool) -> None:
        raise RolloutFailed("the API server refused a manifest", hint="correct it")

    said: list[str] = []
    monkeypatch.setattr(flows.observing, "bring", refused)
    monkeypatch.setattr(flows.report, "warn", said.append)
    flows.observe(config)
    assert said[0].startswith("observability: ")
    assert "the API server refused a manifest" in said[0]
    with pytest.raises(RolloutFailed):
        flows.observe(config, wait_all=True)


def test_a_mistake_in_the_stacks_settings_is_no_warning(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(_config: Config, *, here: bool) -> None:
        raise ConfigError("there is no folder jaeger")

    monkeypatch.setattr(flows.observing, "bring", wrong)
    with pytest.raises(ConfigError):
        flows.observe(config)
