"""The swap tasks: what is chosen, what is gone back to, what a row shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kindloop import cluster, deploying, flows, freshness, host, supervised, swapfiles, swapping
from kindloop.config import App, Config, Image, Swap, Workload
from kindloop.errors import ConfigError, Locked, Stale
from kindloop.freshness import Fresh
from kindloop.supervised import Report, Silence
from kindloop.swap import Desk, Pushed
from kindloop.swapfiles import Folder, Want
from kindloop.swapping import Row
from kindloop.transports import Choice


@pytest.fixture
def config(homes: Path) -> Config:
    """`web` and `api` are swapped, `static` is not."""
    root = homes / "checkout"
    root.mkdir()
    image = Image(root / "Dockerfile")
    workloads = {
        name: Workload(name, image, root / "k8s", swap=Swap(name) if name != "static" else None)
        for name in ("web", "static", "api")
    }
    made = Config(root / "kindloop.yaml", "mine", App(root), workloads=workloads)
    cluster.environment(made).swap.mkdir(parents=True)
    return made


@pytest.fixture
def folder(config: Config) -> Folder:
    return swapfiles.folder_of(config, config.workloads["web"])


@pytest.fixture
def swapped(config: Config) -> Callable[[str], Want]:
    """Swap an artifact with this content in, without asking anybody."""

    def make(content: str) -> Want:
        path = config.app.root / "web"
        path.write_text(content)
        return Desk(config).push(config.workloads["web"], path).want

    return make


class World:
    """What the tasks do: calls in order, and whether the environment was held meanwhile."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.held = False
        self.error: Exception | None = None

    @contextmanager
    def changing(self, _config: Config) -> Iterator[None]:
        self.held = True
        yield
        self.held = False

    def swap_one(
        self, _config: Config, workload: Workload, platform: str, _desk: Desk, *, again: bool
    ) -> None:
        assert self.held
        self.calls.append(("swap", workload.name, platform, again))

    def settle_swap(self, workload: Workload, _desk: Desk, pushed: Pushed) -> None:
        assert self.held
        self.calls.append(("settle", workload.name, pushed.want))
        if self.error:
            raise self.error

    def require(self, _config: Config) -> None:
        self.calls.append("require")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(flows, "changing", made.changing)
    monkeypatch.setattr(cluster, "require", made.require)
    monkeypatch.setattr(deploying, "swap_one", made.swap_one)
    monkeypatch.setattr(deploying, "settle_swap", made.settle_swap)
    monkeypatch.setattr(host, "require_engine", lambda: SimpleNamespace(platform="linux/arm64"))
    return made


# -- push


@pytest.mark.parametrize(("name", "chosen"), [("", ["web", "api"]), ("api", ["api"])])
def test_push_tries_again_what_was_rolled_back(
    config: Config, world: World, name: str, chosen: list[str]
) -> None:
    swapping.push(config, name)
    swaps = [("swap", one, "linux/arm64", True) for one in chosen]
    assert world.calls == ["require", *swaps]


@pytest.mark.parametrize("call", [swapping.push, swapping.rollback])
@pytest.mark.parametrize(
    ("name", "profile", "message", "why", "hint"),
    [
        ("wbe", "loop", "there is no workload wbe", "", "one of: web, static, api"),
        (
            "static", "loop", "workload static is not swapped",
            "it has no `swap` in kindloop.yaml, or the profile is release", "invoke dev-rebuild",
        ),
        (
            "", "release", "no workload is swapped",
            "none has `swap` in kindloop.yaml, or the profile is release", "invoke dev-rebuild",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_swapped_is_told_before_anything_is_done(
    config: Config,
    world: World,
    call: Callable[[Config, str], None],
    name: str,
    profile: Any,
    message: str,
    why: str,
    hint: str,
) -> None:
    with pytest.raises(ConfigError) as raised:
        call(replace(config, profile=profile), name)
    assert (raised.value.message, raised.value.why, raised.value.hint) == (message, why, hint)
    assert world.calls == []


@pytest.mark.parametrize("call", [swapping.push, swapping.rollback])
def test_nothing_is_swapped_while_another_command_changes_the_environment(
    config: Config, world: World, call: Callable[[Config], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def changing(_config: Config) -> Iterator[None]:
        raise Locked("environment mine is in use")
        yield

    monkeypatch.setattr(flows, "changing", changing)
    with pytest.raises(Locked):
        call(config)
    assert world.calls == []


# -- rollback


def test_rollback_publishes_the_binary_before_and_asks_whether_it_runs(
    config: Config, world: World, folder: Folder, swapped: Callable[[str], Want], shown: Any
) -> None:
    swapped("\x7fELF zero")
    old = swapped("\x7fELF one")
    new = swapped("\x7fELF two")
    swapping.rollback(config, "web")
    now = folder.want()
    assert now is not None
    assert now.generation > new.generation
    assert now == replace(old, generation=now.generation)
    assert world.calls == ["require", ("settle", "web", now)]
    assert shown.texts("line") == [f"web runs {old.digest[:8]} until the next save"]


def test_a_second_rollback_goes_forward_again(
    config: Config, world: World, folder: Folder, swapped: Callable[[str], Want]
) -> None:
    swapped("\x7fELF one")
    new = swapped("\x7fELF two")
    for _ in range(2):
        swapping.rollback(config, "web")
    now = folder.want()
    assert now is not None
    assert now.digest == new.digest


def test_the_same_binary_with_other_settings_is_nothing_to_go_back_to(
    config: Config, world: World, folder: Folder, swapped: Callable[[str], Want]
) -> None:
    old = swapped("\x7fELF one")
    swapped("\x7fELF two")
    web = config.workloads["web"]
    debug = replace(web, swap=Swap("web", env={"RUST_LOG": "debug"}))
    Desk(config).push(debug, config.app.root / "web")
    swapping.rollback(config, "web")
    now = folder.want()
    assert now is not None
    assert now.digest == old.digest


@pytest.mark.parametrize("loads", [1, 4])
@pytest.mark.parametrize("killed", [False, True])
def test_what_ran_for_a_load_is_nothing_to_go_back_to(
    config: Config, world: World, folder: Folder, swapped: Callable[[str], Want],
    loads: int, killed: bool,
) -> None:  # fmt: skip
    web, release = config.workloads["web"], config.app.root / "release"
    old = swapped("\x7fELF one")
    saved = swapped("\x7fELF two")
    for number in range(loads):
        release.write_text(f"\x7fELF release {number}")
        loaded = Desk(config).push(web, release, for_load=True).want
        folder.prune([loaded.digest, saved.digest])
        if not killed:
            now = swapped("\x7fELF two")
            folder.prune([now.digest, loaded.digest])
    swapping.rollback(config, "web")
    now = folder.want()
    assert now is not None
    # One that was killed left the release build there: the save is what was before it.
    assert (now.digest, now.for_load) == ((saved if killed else old).digest, False)


def test_binaries_that_were_removed_are_passed_over(
    config: Config, world: World, folder: Folder, swapped: Callable[[str], Want]
) -> None:
    oldest = swapped("\x7fELF one")
    gone = swapped("\x7fELF two")
    swapped("\x7fELF three")
    (folder.bin / gone.digest).unlink()
    swapping.rollback(config, "web")
    now = folder.want()
    assert now is not None
    assert now.digest == oldest.digest


@pytest.mark.parametrize("state", ["nothing", "one", "twice", "removed", "withdrawn"])
def test_with_nothing_to_go_back_to_the_error_says_what_to_do(
    config: Config, world: World, folder: Folder, swapped: Callable[[str], Want], state: str
) -> None:
    first = swapped("\x7fELF one") if state != "nothing" else None
    if state == "twice":
        Desk(config).push(config.workloads["web"], config.app.root / "web", again=True)
    if state in ("removed", "withdrawn"):
        swapped("\x7fELF two")
    if state == "removed" and first:
        (folder.bin / first.digest).unlink()
    if state == "withdrawn":
        folder.withdraw()
    before = folder.want()
    with pytest.raises(ConfigError, match="web has no binary to go back to") as raised:
        swapping.rollback(config, "web")
    assert raised.value.hint == "git checkout an older commit, then: invoke dev-rebuild"
    assert world.calls == ["require"]
    assert folder.want() == before


def test_a_rollback_that_does_not_run_does_not_say_that_it_does(
    config: Config, world: World, swapped: Callable[[str], Want], shown: Any
) -> None:
    swapped("\x7fELF one")
    swapped("\x7fELF two")
    world.error = Stale("rolled back")
    with pytest.raises(Stale):
        swapping.rollback(config, "web")
    assert shown.texts("line") == []


# -- status

REPORT = Report(
    "web-1", state="running", ready=True, running_digest="a" * 64, restarts=2,
    timings_ms={"verify": 7.1, "stop": 2.0, "start": 9.6},
)  # fmt: skip


def test_a_row_has_a_line_for_the_workload_and_one_for_each_pod() -> None:
    pods = (
        REPORT,
        Report("web-2", state="waiting"),
        Silence("web-3", "no supervisor listens on port 9909"),
    )
    row = Row(Fresh("web", "unhealthy", "1 of 3 pods"), "mount: the node sees it", pods)
    assert list(row.lines()) == [
        "web: unhealthy, 1 of 3 pods (mount: the node sees it)",
        "  web-1: runs aaaaaaaa, running, 2 restarts, verify 7 ms, stop 2 ms, start 10 ms",
        "  web-2: runs nothing, waiting, 0 restarts",
        "  web-3: no supervisor listens on port 9909",
    ]


def test_a_row_without_pods_is_one_line() -> None:
    row = Row(Fresh("web", "unknown", "there is no pod to ask"), "exec: a setting", ())
    assert list(row.lines()) == ["web: unknown, there is no pod to ask (exec: a setting)"]


def test_status_has_a_row_for_each_workload_with_a_swap(
    config: Config, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Desk, "api", SimpleNamespace())
    monkeypatch.setattr(Desk, "choice", lambda _desk, w: Choice("exec", f"{w.name} says so"))
    monkeypatch.setattr(supervised, "look", lambda _api, _config, w: (1, [f"{w.name}-1"]))
    monkeypatch.setattr(
        supervised, "ask_all", lambda _api, _config, pods: [Silence(p, "no") for p in pods]
    )
    monkeypatch.setattr(
        freshness, "running", lambda _config, w, platform, _desk: Fresh(w.name, "fresh", platform)
    )
    assert swapping.status(config) == [
        Row(
            Fresh(name, "fresh", "linux/arm64"),
            f"exec: {name} says so",
            (Silence(f"{name}-1", "no"),),
        )
        for name in ("web", "api")
    ]
    assert world.calls == ["require"]
    assert not world.held  # looking waits for nobody
