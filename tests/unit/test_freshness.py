"""Freshness: green only when everything was asked, and else the state that is really there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kindloop import (
    cluster,
    deploying,
    deployplan,
    freshness,
    host,
    rollout,
    stages,
    state,
    swapfiles,
    verify,
)
from kindloop.config import App, Cluster, Config, Image, Stage, Swap, SyncedFiles, Workload
from kindloop.errors import (
    BuildFailed,
    CannotTell,
    ConfigError,
    KindloopError,
    NotOurs,
    RolloutFailed,
    Stale,
    ToolFailed,
    ToolMissing,
    Unhealthy,
)
from kindloop.freshness import Fresh
from kindloop.kindconfig import SWAP_IN_NODE
from kindloop.stage_plan import Decision
from kindloop.supervised import Report, Verdict
from kindloop.swap import Desk

PLATFORM = "linux/amd64"
URL = "http://127.0.0.1:1"
FRESH = Verdict("fresh", "1 pod runs it", (Report("web-1"),))


@pytest.fixture
def config(homes: Path) -> Config:
    root = homes / "checkout"
    (root / "conf").mkdir(parents=True)
    (root / "conf/a.yaml").write_text("a")
    (root / "web").write_text("\x7fELF one")
    sync = (SyncedFiles("conf", "conf"),)
    image = Image(root / "Dockerfile")
    web = Workload("web", image, root / "k8s", url=URL, swap=Swap("web"), sync=sync)
    made = Config(
        root / "kindloop.yaml", "mine", App(root), cluster=Cluster(ports={}),
        stages={"web": Stage("web", "cargo build", outputs=("web",))}, workloads={"web": web},
    )  # fmt: skip
    cluster.environment(made).swap.mkdir(parents=True)
    return made


@pytest.fixture
def web(config: Config) -> Workload:
    return config.workloads["web"]


class FakeDesk:
    """Supervisors that say `verdict`, or cannot be asked."""

    def __init__(self) -> None:
        self.verdicts: Iterator[Verdict | Exception] | None = None
        self.now: Verdict | Exception = FRESH
        self.asked: list[tuple[str, str]] = []
        self.forgot = 0

    def verdict(self, workload: Workload, digest: str) -> Verdict:
        self.asked.append((workload.name, digest))
        answer = next(self.verdicts) if self.verdicts else self.now
        if isinstance(answer, Exception):
            raise answer
        return answer

    def forget(self) -> None:
        self.forgot += 1

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Around:
    """What else is asked: stages, engine, cluster, the URL."""

    def __init__(self) -> None:
        self.decisions = [Decision("lib", False, "up to date"), Decision("web", False, "")]
        self.url = ""
        self.undeployed = ""
        self.called: list[str] = []

    def explain(self, _config: Config, names: list[str], *, engine_platform: str) -> Any:
        assert engine_platform == PLATFORM
        self.called.append(f"explain {' '.join(names)}")
        return self.decisions

    def answers(self, url: str) -> str:
        self.called.append(url)
        return self.url


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Around:
    made = Around()
    monkeypatch.setattr(stages, "explain", made.explain)
    monkeypatch.setattr(stages, "output", lambda config, name, **_: config.app.root / name)
    monkeypatch.setattr(verify, "answers", made.answers)
    monkeypatch.setattr(deployplan, "undeployed", lambda *_: made.undeployed)
    monkeypatch.setattr(host, "require_engine", lambda: SimpleNamespace(platform=PLATFORM))
    monkeypatch.setattr(cluster, "require", lambda _config: None)
    return made


@pytest.fixture
def desk(around: Around, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = FakeDesk()
    monkeypatch.setattr(freshness, "Desk", lambda _config: made)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes only by sleeping; returns the pauses."""
    pauses: list[float] = []

    def monotonic() -> float:
        return sum(pauses)

    fake = SimpleNamespace(monotonic=monotonic, sleep=pauses.append)
    monkeypatch.setattr(freshness, "time", fake)
    return pauses


def published(config: Config, **changed: Any) -> str:
    """Publish the artifact with the workload as changed; returns its digest."""
    web = replace(config.workloads["web"], **changed)
    return Desk(config).push(web, config.app.root / "web").want.digest


# -- the exit code


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], 3),
        (["fresh"], 0),
        (["fresh", "stale"], 4),
        (["stale", "unknown"], 3),
        (["unknown", "unhealthy", "stale"], 1),
        (["unknown", "fresh"], 3),
        (["unhealthy", "fresh"], 1),
    ],
)
def test_the_exit_code_is_that_of_the_worst(states: list[Any], code: int) -> None:
    assert freshness.exit_code(Fresh("web", one, "") for one in states) == code


def test_a_line_says_workload_state_and_why() -> None:
    assert str(Fresh("web", "stale", "an older one runs")) == "web: stale, an older one runs"


# -- one workload


def test_fresh_is_when_stages_pods_and_url_were_all_asked(
    config: Config, web: Workload, around: Around, desk: Any
) -> None:
    digest = published(config)
    found = freshness.look(config, web, PLATFORM, desk)
    assert found == Fresh("web", "fresh", digest[:8])
    assert desk.asked == [("web", digest)]
    assert around.called == ["explain web", f"{URL}/health"]


def test_several_pods_are_counted(config: Config, web: Workload, desk: Any) -> None:
    digest = published(config)
    desk.now = replace(FRESH, pods=(Report("web-1"), Report("web-2")))
    found = freshness.running(config, web, PLATFORM, desk)
    assert found.detail == f"{digest[:8]} in 2 pods"


def test_a_stage_that_is_not_built_is_stale_with_the_next_command(
    config: Config, web: Workload, around: Around, desk: Any
) -> None:
    around.decisions[0] = Decision("lib", True, "src/a.rs changed")
    found = freshness.look(config, web, PLATFORM, desk)
    assert found == Fresh(
        "web", "stale", "stage lib is not built: src/a.rs changed; next: invoke dev-rebuild"
    )


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("unhealthy", "unhealthy"), ("unknown", "unknown"), ("stale", "stale"),
     ("rolled_back", "stale")],
)  # fmt: skip
def test_the_supervisors_word_counts(
    config: Config, web: Workload, around: Around, desk: Any, verdict: Any, expected: str
) -> None:
    desk.now = Verdict(verdict, "the reason")
    found = freshness.look(config, web, PLATFORM, desk)
    assert found == Fresh("web", expected, "the reason")  # type: ignore[arg-type]
    assert around.called == ["explain web"]  # the URL of what is not fresh says nothing


def test_a_url_that_does_not_answer_is_unhealthy(
    config: Config, web: Workload, around: Around, desk: Any
) -> None:
    around.url = "status 503"
    found = freshness.look(config, web, PLATFORM, desk)
    assert found == Fresh("web", "unhealthy", f"{URL}/health: status 503")
    around.called.clear()
    assert freshness.look(config, replace(web, url=""), PLATFORM, desk).state == "fresh"
    assert around.called == ["explain web"]


def test_images_and_manifests_that_are_not_deployed_are_stale(
    config: Config, web: Workload, around: Around, desk: Any
) -> None:
    around.undeployed = "the manifests changed"
    found = freshness.look(config, web, PLATFORM, desk)
    assert found == Fresh("web", "stale", "the manifests changed; next: invoke dev-rebuild")
    desk.now = Verdict("unhealthy", "it crashed")
    assert freshness.look(config, web, PLATFORM, desk).detail == "it crashed"


def test_what_is_not_built_is_stale_without_asking_the_pods(
    config: Config, web: Workload, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def output(*_: Any, **_more: Any) -> Path:
        raise BuildFailed("stage web has not been built", hint="invoke build.web")

    monkeypatch.setattr(stages, "output", output)
    found = freshness.running(config, web, PLATFORM, desk)
    assert found == Fresh("web", "stale", "stage web has not been built; next: invoke build.web")
    assert desk.asked == []


def test_an_artifact_that_is_no_file_is_stale(config: Config, web: Workload, desk: Any) -> None:
    (config.app.root / "web").unlink()
    (config.app.root / "web").mkdir()
    found = freshness.running(config, web, PLATFORM, desk)
    assert found.state == "stale"
    assert "is a directory" in found.detail.lower()
    assert found.detail.endswith("next: invoke dev-rebuild --clean")


def test_without_an_artifact_nothing_can_be_told(
    config: Config, web: Workload, desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying, "artifact", lambda *_: None)
    assert freshness.running(config, web, PLATFORM, desk).state == "unknown"
    assert desk.asked == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"swap": Swap("web", env={"RUST_LOG": "debug"})}, "env"),
        ({"swap": Swap("web", args=("--x",))}, "args"),
        ({"swap": Swap("web", grace_ms=1, rollback=False)}, "settings"),
        ({"sync": (SyncedFiles("conf", "etc"),)}, "files"),
        ({"sync": ()}, "files"),
    ],
)
def test_settings_and_files_that_are_not_swapped_in_are_stale(
    config: Config, web: Workload, desk: Any, changed: dict[str, Any], words: str
) -> None:
    published(config, **changed)
    found = freshness.running(config, web, PLATFORM, desk)
    assert found == Fresh(
        "web", "stale", f"{words} changed and not swapped in; next: invoke dev-rebuild"
    )


def test_without_synced_files_none_are_missed(config: Config, web: Workload, desk: Any) -> None:
    published(config, sync=())
    alone = replace(web, sync=())
    assert freshness.running(config, alone, PLATFORM, desk).state == "fresh"


def test_a_synced_file_that_was_edited_is_stale_until_it_is_swapped_in(
    config: Config, web: Workload, desk: Any
) -> None:
    published(config)
    (config.app.root / "conf/a.yaml").write_text("b")
    assert freshness.running(config, web, PLATFORM, desk).state == "stale"
    published(config)
    assert freshness.running(config, web, PLATFORM, desk).state == "fresh"


def test_nothing_published_and_another_binary_are_for_the_pods_to_tell(
    config: Config, web: Workload, desk: Any
) -> None:
    desk.now = Verdict("stale", "an older one runs")
    for _ in range(2):
        assert freshness.running(config, web, PLATFORM, desk).detail == "an older one runs"
        published(config, swap=Swap("web", env={"A": "b"}))
        (config.app.root / "web").write_text("\x7fELF two")
    desk.now = FRESH
    published(config, swap=Swap("web", env={"A": "b"}))
    assert freshness.running(config, web, PLATFORM, desk).state == "stale"
    release = replace(config, profile="release")
    assert freshness.running(release, web, PLATFORM, desk).state == "fresh"


# -- a workload without a supervisor


def deployment(name: str, image: str, available: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "generation": 2},
        "spec": {
            "replicas": 1,
            "template": {"spec": {"containers": [{"image": "sidecar:1"}, {"image": image}]}},
        },
        "status": {
            "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1,
            "availableReplicas": available,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([deployment("web", "web:2")], Fresh("web", "fresh", "web:2")),
        ([deployment("web", "web:2", available=0)], Fresh("web", "unhealthy", "web:2")),
        (
            [deployment("web", "web:1")],
            Fresh("web", "stale", "image sidecar:1; next: invoke dev-rebuild"),
        ),
        (
            [deployment("api", "web:2")],
            Fresh("web", "unhealthy", "no Deployment; next: invoke dev-up"),
        ),
    ],
    ids=["fresh", "not complete", "another image", "no Deployment"],
)
def test_without_a_supervisor_the_image_tells(
    config: Config,
    web: Workload,
    around: Around,
    desk: Any,
    monkeypatch: pytest.MonkeyPatch,
    objects: list[Any],
    expected: Fresh,
) -> None:
    plans = {"web": SimpleNamespace(reference="web:2")}
    monkeypatch.setattr(deploying, "workload_images", lambda *_: plans)
    monkeypatch.setattr(rollout, "objects", lambda _config, _kind: objects)
    static = replace(web, swap=None, sync=())
    assert freshness.look(config, static, PLATFORM, desk) == expected
    assert desk.asked == []
    # It names no stage, so none is asked; the URL is when all else is well.
    assert around.called == ([f"{URL}/health"] if expected.state == "fresh" else [])


# -- waiting


def test_a_timeout_of_nothing_asks_once(config: Config, desk: Any, clock: list[float]) -> None:
    desk.now = Verdict("stale", "an older one runs")
    assert freshness.wait(config, 0) == [Fresh("web", "stale", "an older one runs")]
    assert (len(desk.asked), clock) == (1, [])
    desk.now = FRESH
    assert freshness.exit_code(freshness.wait(config, 0)) == 0
    assert (len(desk.asked), clock) == (2, [])


def test_waiting_ends_as_soon_as_all_is_fresh(
    config: Config, desk: Any, clock: list[float]
) -> None:
    old = Verdict("stale", "an older one runs")
    desk.verdicts = iter([old, CannotTell("the API server does not answer"), FRESH])
    found = freshness.wait(config, 3600)
    assert [one.state for one in found] == ["fresh"]
    assert len(clock) == 2
    assert desk.forgot == 1


def test_waiting_ends_with_the_last_answers_when_the_time_is_over(
    config: Config, desk: Any, clock: list[float]
) -> None:
    desk.now = Verdict("unhealthy", "nothing runs")
    assert freshness.wait(config, 1.0) == [Fresh("web", "unhealthy", "nothing runs")]
    assert sum(clock) == pytest.approx(1.0, abs=freshness.ASK_S)


def test_every_workload_has_to_be_fresh(config: Config, desk: Any, clock: list[float]) -> None:
    web = config.workloads["web"]
    both = replace(config, workloads={"web": web, "api": replace(web, name="api")})
    cluster.environment(both).swap.mkdir(exist_ok=True)
    desk.verdicts = iter([FRESH, Verdict("stale", "old"), FRESH, FRESH])
    found = freshness.wait(both, 3600)
    assert [str(one) for one in found if one.state != "fresh"] == []
    assert len(desk.asked) == 4


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [
        (CannotTell("no cluster", hint="invoke dev-up"), "unknown", 3),
        (ToolMissing("no engine"), "unknown", 3),
        (ToolFailed(["docker", "inspect"], 1), "unknown", 3),
        (NotOurs("another checkout has it"), "unknown", 3),
        (ConfigError("a synced file is missing"), "unknown", 3),
        (RolloutFailed("no"), "unknown", 3),
        (Unhealthy("the node is stopped", hint="invoke dev-start"), "unhealthy", 1),
        (Stale("old"), "unhealthy", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_could_not_be_asked_is_never_green(
    config: Config, desk: Any, clock: list[float], error: KindloopError, expected: str, code: int
) -> None:
    desk.now = error
    (found,) = freshness.wait(config, 0)
    assert (found.workload, found.state) == ("mine", expected)
    assert found.detail == error.message + (f"; next: {error.hint}" if error.hint else "")
    assert freshness.exit_code([found]) == code
    assert desk.forgot == 1


def test_what_was_told_before_the_trouble_is_kept(
    config: Config, desk: Any, clock: list[float]
) -> None:
    web = config.workloads["web"]
    both = replace(config, workloads={"web": web, "api": replace(web, name="api")})
    desk.verdicts = iter([FRESH, CannotTell("the API server does not answer")])
    found = freshness.wait(both, 0)
    assert [(one.workload, one.state) for one in found] == [("web", "fresh"), ("mine", "unknown")]


# -- with what the engine really says


INSPECT = {
    "State": {"Running": False},
    "Config": {"Image": "kindloop/node:v1"},
    "HostConfig": {"PortBindings": {}},
}


@pytest.mark.parametrize(
    ("says", "expected", "code"),
    [
        ("away", "unknown", 3),
        ("away after a moment", "unknown", 3),
        ("no node", "unknown", 3),
        ("stopped", "unhealthy", 1),
    ],
)
def test_an_engine_that_is_away_cannot_tell_and_a_stopped_node_is_unhealthy(
    config: Config, fake: Callable[..., Path], says: str, expected: str, code: int
) -> None:
    env = cluster.environment(config)
    owner = {"name": "mine", "checkout": str(config.root), "status": "ready"}
    state.write_json(env.owner_file, owner)
    mounts = [{"Destination": SWAP_IN_NODE, "Source": str(env.swap)}]
    away = 'echo "Cannot connect to the Docker daemon at unix:///x. Is it running?" >&2; exit 1'
    inspect = {
        "away after a moment": away,
        "no node": 'echo "Error response from daemon: No such container: x" >&2; exit 1',
    }.get(says, f"echo '{json.dumps([{**INSPECT, 'Mounts': mounts}])}'")
    version = json.dumps({"Version": "28.0.0", "Os": "linux", "Arch": "amd64"})
    script = f"""case "$1" in
  version) echo '{version}' ;;
  info) echo / ;;
  container) {inspect} ;;
esac"""
    fake("docker", away if says == "away" else script)
    (found,) = freshness.wait(config, 0)
    assert (found.workload, found.state) == ("mine", expected)
    assert freshness.exit_code([found]) == code
    assert "; next: " in found.detail
    if says == "stopped":
        assert found.detail == "the node of mine is stopped; next: invoke dev-start"


def test_nothing_is_published_by_asking(config: Config, web: Workload, desk: Any) -> None:
    published(config)
    folder = swapfiles.folder_of(config, web)
    before = sorted(p.relative_to(folder.path) for p in folder.path.rglob("*"))
    want = folder.want()
    (config.app.root / "conf/a.yaml").write_text("b")
    freshness.running(config, web, PLATFORM, desk)
    assert folder.want() == want
    assert sorted(p.relative_to(folder.path) for p in folder.path.rglob("*")) == before
