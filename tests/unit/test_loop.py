"""The decisions of the watch: what a round does, what ends it, what a look finds."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import (
    changes,
    cluster,
    deploying,
    flows,
    loop,
    secrecy,
    stages,
    state,
    swapenv,
    swapfiles,
    telemetry,
    verify,
)
from kindloop.config import App, Config, Image, Stage, Swap, SyncedFiles, Workload
from kindloop.errors import (
    BuildFailed,
    CannotTell,
    ConfigError,
    Interrupted,
    KindloopError,
    Locked,
    NotOurs,
    Unhealthy,
)
from kindloop.fingerprint import Digests
from kindloop.loop import engine as engine_room
from kindloop.loop import patrol as patrol_room
from kindloop.loop import recording, settling
from kindloop.loop import world as world_room
from kindloop.loop.engine import Engine
from kindloop.loop.followers import News
from kindloop.loop.patrol import Patrol
from kindloop.loop.referee import Referee, unseen
from kindloop.loop.rounds import Round
from kindloop.loop.world import Listener, World, hushed, patiently, told
from kindloop.process import Stop
from kindloop.saves import Job, Saved, Standing
from kindloop.stage_plan import Observed, Record
from kindloop.stages import Attempt, Built
from kindloop.supervised import Report, Verdict
from kindloop.swap import Pushed
from kindloop.swapfiles import Want
from kindloop.watching import Batch


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class FakeSite:
    """Where stages run, as far as decisions ask."""

    config: Config
    records: dict[str, Record] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests)

    @property
    def root(self) -> Path:
        return self.config.app.root

    def place(self, _stage: Stage, text: str) -> str:
        return text

    def path(self, _stage: Stage, output: str) -> Path:
        return self.root / output

    def argv(self, stage: Stage) -> tuple[str, ...]:
        return tuple(stage.run.split())

    def record(self, name: str) -> Record | None:
        return self.records.get(name)

    def recorded(self, name: str, inputs: dict[str, str], **files: str) -> None:
        self.records[name] = Record("k", "run", {}, {}, {}, inputs, {}, {}, files)


class FakeDesk:
    """A swap that ends as the test says."""

    def __init__(self) -> None:
        self.restored: list[str] = []
        self.published: dict[str, str] = {}
        self.pushed: list[tuple[str, bool]] = []
        self.states: dict[str, str] = {}
        self.hangs: set[str] = set()
        self.released = threading.Event()
        self.panics = ""
        self.kind = "mount"
        self.error: KindloopError | None = None
        self.forgot = 0
        self.api = None
        self.back: dict[str, int] = {}
        self.along: tuple[str, ...] = ()

    def push(
        self, workload: Workload, artifact: Path, *, digest: str = "", again: bool = False
    ) -> Pushed:
        self.pushed.append((workload.name, again))
        digest = sha(artifact.name)
        changed = ("binary",) if self.published.get(workload.name) != digest or again else ()
        changed += self.along
        self.published[workload.name] = digest
        return Pushed(workload.name, want(digest), changed, 0.01)

    def settle(self, workload: Workload, wanted: Want, _timeout_s: float) -> Verdict:
        if workload.name in self.hangs:
            self.released.wait(30)
        return self.verdict(workload, wanted.digest)

    def verdict(self, workload: Workload, digest: str) -> Verdict:
        if self.error:
            raise self.error
        now = self.states.get(workload.name, "fresh")
        outcome = now if now in ("fresh", "rolled_back") else "crashed"
        runs = digest if now == "fresh" else sha("good")
        knows = 0 if now == "stale" else 1
        said = Report(
            "pod-1",
            wanted_generation=knows,
            running_digest=runs,
            outcome=outcome,
            outcome_generation=1,
        )
        return Verdict("fresh" if now == "fresh" else now, now, (said,))  # type: ignore[arg-type]

    def panic(self, _workload: Workload, _verdict: Verdict) -> str:
        return self.panics

    def back_to_good(self, workload: Workload, _want: Want, _verdict: Verdict) -> bool:
        self.restored.append(workload.name)
        return True

    def went_back(self, workload: Workload, generation: int) -> bool:
        return self.back.get(workload.name) == generation

    def choice(self, _workload: Workload) -> Any:
        return type("Choice", (), {"kind": self.kind, "reason": "a test"})()

    def forget(self) -> None:
        self.forgot += 1


def want(digest: str, generation: int = 1) -> Want:
    return Want(generation, digest, 1, None, {}, 2000, 5000, True, None)


@pytest.fixture
def config(homes: Path) -> Config:
    root = homes / "checkout"
    for name in ("lib/a.rs", "web/b.rs", "api/c.rs", "conf/d.yaml", "k8s/e.yaml", "Dockerfile"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    (root / "kindloop.yaml").touch()
    named = {
        "lib": Stage("lib", "cargo build --lib", ("lib",)),
        "web": Stage("web", "cargo build -p web", ("web",), ("out/web",), ("lib",)),
        "api": Stage("api", "cargo build -p api", ("api",), ("out/api",)),
    }
    image = Image(root / "Dockerfile")
    workloads = {
        name: Workload(
            name,
            image,
            root / "k8s",
            swap=Swap(name),
            sync=(SyncedFiles("conf", "conf"),) if name == "web" else (),
        )
        for name in ("web", "api")
    }
    return Config(root / "kindloop.yaml", "mine", App(root), stages=named, workloads=workloads)


@pytest.fixture
def world(config: Config, monkeypatch: pytest.MonkeyPatch) -> World:
    @contextlib.contextmanager
    def changing(_config: Config) -> Iterator[None]:
        yield

    monkeypatch.setattr(flows, "changing", changing)
    monkeypatch.setattr(cluster, "require", lambda _config: None)
    monkeypatch.setattr(deploying, "plan", lambda *_: "planned")
    monkeypatch.setattr(deploying, "why_rollout", lambda *_: "")
    desk: Any = FakeDesk()
    site: Any = FakeSite(config)
    return World(config, "linux/amd64", desk, site)


class Hands:
    """Stages that end as the test says; `asked` are the names of each attempt."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.asked: list[list[str]] = []
        self.ran: set[str] = set()
        self.broken: dict[str, KindloopError] = {}
        self.superseded = False

    def attempt(self, config: Config, names: Any, **more: Any) -> Attempt:
        self.asked.append(list(names))
        done = Attempt(superseded=self.superseded)
        for name in stages.order(config.stages, names):
            needs = config.stages[name].needs
            lacking = next((n for n in needs if n not in done.built), None)
            if name in self.broken:
                done.failed[name] = self.broken[name]
            elif lacking:
                done.skipped[name] = lacking
            else:
                ran = name in self.ran or more["force"]
                outputs = {config.app.root / o: "" for o in config.stages[name].outputs}
                done.built[name] = Built(name, ran, "", 1.0, outputs)
                if ran:
                    done.took[name] = (time.monotonic(), time.monotonic())
        return done


@pytest.fixture
def hands(config: Config, monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands(config)
    monkeypatch.setattr(stages, "attempt", made.attempt)
    monkeypatch.setattr(world_room, "inspect_stage", lambda _site, name: Observed(name))
    return made


class Nobody:
    def __init__(self, *joined: Path) -> None:
        self._joined = frozenset(joined)

    def on_turn(self, name: str, observed: Observed) -> None: ...

    def all_turned(self) -> None: ...

    def joined(self, until_s: float) -> frozenset[Path]:
        return self._joined


def serve(
    world: World,
    *names: str,
    stop: Stop | None = None,
    listener: Listener | None = None,
    **more: Any,
) -> list[Saved] | None:
    paths = frozenset(world.config.root / name for name in names)
    job = Job(more.pop("cause", "save"), 0.0, paths, **more)
    return Round(world, job, stop or Stop(), listener or Nobody()).run()


def results(lines: list[Saved] | None) -> dict[str, str]:
    assert lines is not None
    return {line.workload: line.result for line in lines}


def wrong(place: str = "web/b.rs:1:1") -> BuildFailed:
    return BuildFailed("stage web failed: 1 error", evidence=[f"{place}: error: no"])


# -- a round


def test_only_the_workload_behind_the_saved_file_is_swapped(world: World, hands: Hands) -> None:
    hands.ran = {"web"}
    lines = serve(world, "web/b.rs")
    assert results(lines) == {"web": "fresh"}
    assert lines is not None
    assert list(lines[0].parts) == ["cargo", "swap"]
    assert lines[0].paths == ("web/b.rs",)
    assert world.desk.pushed == [("web", False)]  # type: ignore[attr-defined]


def test_the_line_names_what_was_saved_during_the_build_too(world: World, hands: Hands) -> None:
    hands.ran = {"lib", "web"}
    lines = serve(world, "lib/a.rs", listener=Nobody(world.config.root / "web/b.rs"))
    assert lines is not None
    assert lines[0].paths == ("lib/a.rs", "web/b.rs")
    assert lines[0].shown == "lib/a.rs and web/b.rs"


def test_a_library_reaches_what_is_built_from_it(world: World, hands: Hands) -> None:
    hands.ran = {"lib", "web"}
    assert results(serve(world, "lib/a.rs")) == {"web": "fresh"}


def test_a_synced_file_is_swapped_without_a_build(world: World, hands: Hands) -> None:
    assert results(serve(world, "conf/d.yaml")) == {"web": "fresh"}


def test_the_same_binary_is_not_swapped_twice(world: World, hands: Hands) -> None:
    hands.ran = {"web"}
    serve(world, "web/b.rs")
    assert results(serve(world, "web/b.rs")) == {"web": "unchanged"}


def test_a_broken_stage_is_told_with_what_is_still_served(
    world: World, hands: Hands, shown: Any
) -> None:
    serve(world, everything=True, cause="start")
    hands.broken = {"web": wrong()}
    lines = serve(world, "web/b.rs")
    assert results(lines) == {"web": "not built"}
    assert lines is not None
    assert lines[0].served == sha("web")
    assert lines[0].errors == ("web/b.rs:1:1: error: no",)
    assert shown.texts("line")[-1] == "web/b.rs:1:1: error: no"


def test_nothing_behind_a_broken_stage_is_swapped_but_what_does_not_need_it_is(
    world: World, hands: Hands
) -> None:
    hands.ran, hands.broken = {"api"}, {"lib": wrong("lib/a.rs:1:1")}
    assert results(serve(world, "lib/a.rs", "api/c.rs")) == {"web": "not built", "api": "fresh"}


def test_what_failed_is_not_tried_again_by_a_save_elsewhere(world: World, hands: Hands) -> None:
    hands.broken = {"web": wrong()}
    serve(world, "web/b.rs")
    hands.ran = {"api"}
    assert results(serve(world, "api/c.rs")) == {"api": "fresh"}
    assert hands.asked[-1] == ["lib", "api"]


@pytest.mark.parametrize("name", ["web/b.rs", "lib/a.rs"])
def test_what_failed_is_tried_again_when_it_or_what_it_needs_is_saved(
    world: World, hands: Hands, name: str
) -> None:
    hands.broken = {"web": wrong()}
    serve(world, "web/b.rs")
    hands.broken, hands.ran = {}, {"web"}
    assert results(serve(world, name)) == {"web": "fresh"}
    assert world.tried == {}


def test_an_edit_that_a_stage_refused_and_that_is_undone_is_told(
    world: World, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Observed("lib", outputs={"web": "edited"})
    monkeypatch.setattr(world_room, "inspect_stage", lambda _site, name: replace(now, command=name))
    serve(world, everything=True, cause="start")
    hands.broken = {"lib": NotOurs("stage lib would overwrite uncommitted edits")}
    serve(world, "lib/a.rs")
    assert results(serve(world, "web/b.rs")) == {"web": "not built"}
    assert hands.asked[-1] == ["api"], "as it is it would fail again"
    hands.broken, now = {}, replace(now, outputs={"web": "as it was"})
    lines = serve(world, "web/b.rs")
    assert results(lines) == {"web": "unchanged"}
    assert world.tried == {}
    assert serve(world, "web/b.rs") == []


def test_what_waits_for_a_broken_stage_is_told_when_somebody_saves_it(
    world: World, hands: Hands
) -> None:
    hands.broken = {"lib": wrong("lib/a.rs:1:1")}
    serve(world, "lib/a.rs")
    lines = serve(world, "web/b.rs")
    assert results(lines) == {"web": "not built"}
    assert lines is not None
    assert lines[0].stages == ("lib",)
    assert lines[0].errors == ("lib/a.rs:1:1: error: no",), "a screen goes on showing them"
    assert serve(world, cause="heal", stages=frozenset({"web"})) == []
    lib = replace(world.config.stages["lib"], outputs=("web/b.rs",))
    world.config.stages["lib"].__dict__.update(lib.__dict__)  # it had written that before it failed
    assert serve(world, "web/b.rs") == []


def test_synced_files_wait_for_a_broken_binary(world: World, hands: Hands) -> None:
    hands.broken = {"web": wrong()}
    serve(world, "web/b.rs")
    assert results(serve(world, "conf/d.yaml")) == {"web": "not built"}


def test_a_rolled_back_binary_tells_why_and_the_next_save_tries_again(
    world: World, hands: Hands
) -> None:
    desk: Any = world.desk
    desk.states, desk.panics = {"web": "rolled_back"}, "src/main.rs:12:5: no"
    lines = serve(world, "web/b.rs", cause="save")
    hands.ran = {"web"}
    lines = serve(world, "web/b.rs")
    assert lines is not None
    assert (lines[0].result, lines[0].served) == ("rolled_back", sha("good"))
    assert lines[0].reason == "src/main.rs:12:5: no"
    desk.states = {}
    assert results(serve(world, "web/b.rs")) == {"web": "fresh"}
    assert desk.pushed[-1] == ("web", True)


def test_what_is_served_after_a_roll_back_is_the_last_good_one(world: World, hands: Hands) -> None:
    said = Report("pod-1", outcome="rolled_back", outcome_generation=1, good=sha("good"))
    desk: Any = world.desk
    desk.verdict = lambda *_: Verdict("rolled_back", "", (said,))
    lines = serve(world, "conf/d.yaml")
    assert lines is not None
    assert lines[0].served == sha("good")


def test_synced_files_saved_without_a_change_are_no_line(world: World, hands: Hands) -> None:
    serve(world, "conf/d.yaml")
    assert serve(world, "conf/d.yaml") == []


def test_synced_files_that_a_swap_took_along_unseen_have_a_line_of_their_own(
    world: World, hands: Hands
) -> None:
    desk: Any = world.desk
    hands.ran, desk.along = {"web"}, ("files",)
    assert results(serve(world, "web/b.rs")) == {"web": "fresh"}
    hands.ran, desk.along = set(), ()
    assert results(serve(world, "conf/d.yaml")) == {"web": "fresh"}
    assert serve(world, "conf/d.yaml") == []


def test_a_repair_says_nothing_when_all_is_well(world: World, hands: Hands) -> None:
    serve(world, everything=True, cause="start")
    assert serve(world, cause="heal", stages=frozenset({"web"})) == []


def test_the_url_must_answer_too(
    world: World, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_url: str, _timeout_s: float) -> float:
        raise Unhealthy("it did not answer", evidence=["last seen: refused"])

    monkeypatch.setattr(verify, "wait_quick", silent)
    object.__setattr__(world.config.workloads["web"], "url", "http://127.0.0.1:1")
    lines = serve(world, "conf/d.yaml")
    assert results(lines) == {"web": "unhealthy"}
    assert lines is not None
    assert "last seen: refused" in lines[0].line()


def test_stages_that_no_workload_needs_are_told_as_built(world: World, hands: Hands) -> None:
    world.config.workloads["web"].__dict__["swap"] = None  # its image has no binary of ours
    hands.ran = {"lib"}
    world.rollout_due = False
    assert results(serve(world, "lib/a.rs")) == {"": "built"}


def test_a_superseded_build_ends_in_no_line(world: World, hands: Hands) -> None:
    hands.superseded = True
    assert serve(world, "web/b.rs") is None


def test_a_newer_save_does_not_wait_for_a_binary_that_hangs(
    world: World, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk: Any = world.desk
    desk.hangs = {"web"}
    monkeypatch.setattr(settling, "LAST_WORD_S", 0.01)
    stop = Stop()
    push = desk.push

    def pushed(*args: Any, **more: Any) -> Pushed:
        stop.set("a newer save")
        return push(*args, **more)

    desk.push = pushed
    assert serve(world, "conf/d.yaml", stop=stop) is None
    assert "web" not in world.standing
    desk.released.set()


def test_forced_stages_run_before_the_rest(world: World, hands: Hands) -> None:
    serve(world, cause="generate", forced=("lib",))
    assert hands.asked == [["lib"], ["lib", "web", "api"]]


def test_manifests_ask_for_a_rollout_and_code_does_not(
    world: World, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(deploying, "why_rollout", lambda *_: asked.append("why") or "")
    hands.ran = {"web"}
    serve(world, "web/b.rs")
    assert asked == []
    serve(world, "k8s/e.yaml")
    assert asked == ["why"]
    assert not world.rollout_due


def test_a_rollout_waits_for_broken_stages_and_is_done_afterwards(
    world: World, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(deploying, "why_rollout", lambda *_: asked.append("why") or "")
    hands.broken = {"web": wrong()}
    serve(world, "web/b.rs", "Dockerfile")
    assert world.rollout_due
    assert asked == []
    hands.broken = {}
    serve(world, "web/b.rs")
    assert asked == ["why"]


# -- while a round runs


@pytest.fixture
def listening(world: World) -> Iterator[tuple[Referee, queue.SimpleQueue[Any], Stop]]:
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = Stop()
    with Referee(inbox, world, stop) as referee:
        yield referee, inbox, stop


def batch(*paths: Path) -> Batch:
    return Batch(frozenset(paths), 1.0, 1.0)


def test_a_changed_input_of_the_running_stage_ends_the_round(
    config: Config, listening: Any, becomes: Any
) -> None:
    referee, inbox, stop = listening
    referee.on_turn("web", Observed("run", inputs={"web/b.rs": sha("before")}))
    inbox.put(batch(config.root / "web/b.rs"))
    becomes(stop.is_set)
    assert "b.rs" in stop.reason


def test_what_was_read_as_it_is_now_ends_nothing(
    config: Config, listening: Any, becomes: Any
) -> None:
    referee, inbox, stop = listening
    referee.on_turn("web", Observed("run", inputs={"web/b.rs": sha("web/b.rs")}))
    inbox.put(batch(config.root / "web/b.rs", config.root / "api/c.rs"))
    becomes(lambda: referee.kept)
    inbox.put("p")
    becomes(lambda: len(referee.kept) == 2)
    assert not stop.is_set()


def test_a_changed_input_of_a_stage_before_the_running_one_ends_the_round(
    config: Config, world: World, listening: Any, becomes: Any
) -> None:
    referee, inbox, stop = listening
    world.site.recorded("lib", {"lib/a.rs": sha("before")})  # type: ignore[attr-defined]
    referee.on_turn("web", Observed("run", inputs={"web/b.rs": sha("web/b.rs")}))
    inbox.put(batch(config.root / "lib/a.rs"))
    becomes(stop.is_set)


def test_what_a_later_stage_will_read_joins_the_round(
    config: Config, world: World, listening: Any, becomes: Any
) -> None:
    referee, inbox, stop = listening
    site: Any = world.site
    for name, path in (("web", "web/b.rs"), ("api", "api/c.rs")):
        site.recorded(name, {path: sha("before")})
    referee.on_turn("web", Observed("run", inputs={"web/b.rs": sha("web/b.rs")}))
    saved = config.root / "api/c.rs"
    inbox.put(Batch(frozenset({saved}), 1.0, 2.0))
    becomes(lambda: referee.joined(2.0))
    assert referee.joined(2.0) == {saved}
    assert referee.joined(1.9) == frozenset(), "it came too late for what was made by then"
    assert not stop.is_set()


def test_what_a_stage_writes_or_is_as_it_was_joins_nothing(
    config: Config, world: World, listening: Any, becomes: Any
) -> None:
    referee, inbox, _ = listening
    site: Any = world.site
    site.recorded("api", {"api/c.rs": sha("api/c.rs")})
    generates = replace(config.stages["lib"], outputs=("web/made.rs",))
    world.config = replace(config, stages={**config.stages, "lib": generates})
    made = config.root / "web/made.rs"
    made.touch()
    inbox.put(batch(config.root / "api/c.rs", made))
    becomes(lambda: referee.kept)
    inbox.put("p")
    becomes(lambda: len(referee.kept) == 2)
    assert referee.joined(1.0) == frozenset()


def test_q_ends_the_round_and_is_kept(listening: Any, becomes: Any) -> None:
    referee, inbox, stop = listening
    inbox.put("q")
    becomes(stop.is_set)
    assert referee.kept == ["q"]


# -- what counts as a save


def test_a_file_saved_without_a_change_is_no_save(world: World, config: Config) -> None:
    path = config.root / "web/b.rs"
    site: Any = world.site
    site.recorded("web", {"web/b.rs": sha("web/b.rs")})
    assert unseen(world, [path], Digests()) == frozenset()
    path.write_text("other", encoding="utf-8")
    assert unseen(world, [path], Digests()) == {path}


def test_what_a_stage_wrote_is_no_save(world: World, config: Config) -> None:
    site: Any = world.site
    site.recorded("lib", {}, **{"web/b.rs": sha("web/b.rs")})
    assert unseen(world, [config.root / "web/b.rs"], Digests()) == frozenset()


def test_after_a_roll_back_the_same_content_counts_again(world: World, config: Config) -> None:
    path = config.root / "web/b.rs"
    site: Any = world.site
    site.recorded("web", {"web/b.rs": sha("web/b.rs")})
    world.standing["web"] = Standing(1, "d", "rolled_back")
    assert unseen(world, [path], Digests()) == {path}


def test_a_removed_input_is_a_save_and_a_stranger_is_none(world: World, config: Config) -> None:
    site: Any = world.site
    site.recorded("web", {"web/b.rs": sha("web/b.rs")})
    (config.root / "web/b.rs").unlink()
    paths = [config.root / "web/b.rs", config.root / "README.md"]
    assert unseen(world, paths, Digests()) == {paths[0]}


def test_only_a_save_of_the_settings_has_the_secrets_looked_for_again(
    world: World, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[str] = []
    monkeypatch.setattr(secrecy, "learn", lambda: learned.append("learned"))
    config.path.write_text("version: 1\n", encoding="utf-8")
    engine = Engine(config, "linux/amd64", lambda: config, smoke=False)
    engine._world = world
    for path in (config.root / "web/b.rs", config.root / "web", config.path):
        engine._job(Batch(frozenset({path}), 0.0, 0.0))
        assert learned == (["learned"] if path == config.path else [])


# -- looking around


@pytest.fixture
def patrol(world: World, monkeypatch: pytest.MonkeyPatch) -> Patrol:
    for name in ("web", "api"):
        world.standing[name] = Standing(1, sha(name), "fresh", sha(name), {"pod-1": 0})

    class Folder:
        def __init__(self, name: str) -> None:
            self.name = name

        def want(self) -> Want:
            return want(sha(self.name))

    monkeypatch.setattr(swapfiles, "folder_of", lambda _config, w: Folder(w.name))
    monkeypatch.setattr(patrol_room.supervised, "panic_of", lambda *_: "src/x.rs:1:1: no")
    return Patrol(world)


def look(patrol: Patrol) -> tuple[dict[str, str], Job | None]:
    lines, job = patrol.look(stages_too=False)
    return results(lines), job


def test_nothing_new_is_no_line(patrol: Patrol) -> None:
    assert look(patrol) == ({}, None)


def test_a_later_roll_back_is_told_at_once(patrol: Patrol, world: World) -> None:
    said = Report("pod-1", outcome="rolled_back", outcome_generation=1, running_digest=sha("good"))
    line = patrol.heard(News("web", said))
    assert line is not None
    assert "rolled back" in line.line()
    assert "src/x.rs:1:1: no" in line.line()
    assert patrol.heard(News("web", said)) is None
    assert world.standing["web"].served == sha("good")


def test_a_pod_made_anew_is_looked_at_and_told_when_fresh(patrol: Patrol, world: World) -> None:
    assert patrol.heard(News("web", Report("pod-2"))) is None
    assert patrol.due_s == 0.0
    world.standing["web"] = Standing(1, sha("web"), "fresh", sha("web"), {"pod-0": 0})
    assert look(patrol)[0] == {"web": "fresh again"}
    assert look(patrol)[0] == {}


def test_a_workload_that_fell_is_told_once_and_when_it_is_back(
    patrol: Patrol, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk: Any = world.desk
    desk.states = {"web": "stale"}
    assert look(patrol)[0] == {}, "another command may be swapping"
    monkeypatch.setattr(patrol_room, "PASSING_S", 0.0)
    assert look(patrol)[0] == {"web": "stale"}
    assert look(patrol)[0] == {}
    desk.states = {}
    assert look(patrol)[0] == {"web": "fresh again"}


def test_a_roll_back_that_its_round_told_is_not_told_again(
    patrol: Patrol, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.standing["web"] = Standing(1, sha("web"), "rolled_back", sha("good"), {"pod-1": 0})
    desk: Any = world.desk
    desk.states = {"web": "rolled_back"}
    assert look(patrol)[0] == look(patrol)[0] == {}
    desk.states = {}
    world.standing["web"] = Standing(1, sha("web"), "fresh", sha("web"), {"pod-1": 0})
    assert look(patrol)[0] == {}, "the round that made it fresh has said so"


def test_older_files_that_came_back_after_a_roll_back_are_not_called_fresh(
    patrol: Patrol, world: World
) -> None:
    """The supervisor runs what was published last; what was saved last is newer."""
    desk: Any = world.desk
    world.standing["web"] = Standing(0, sha("web"), "rolled_back", sha("good"), {"pod-1": 0})
    desk.back = {"web": 1}
    assert look(patrol)[0] == look(patrol)[0] == {}
    assert world.standing["web"].result == "rolled_back"
    assert desk.restored == []
    world.standing["web"] = Standing(1, sha("web"), "unknown", "", {"pod-1": 0})
    said = Report("pod-1", outcome="fresh", outcome_generation=1, running_digest=sha("good"))
    assert patrol.heard(News("web", said)) is None
    assert world.standing["web"].result == "rolled_back"
    desk.back = {}
    world.standing["web"] = Standing(1, sha("web"), "unknown", "", {"pod-1": 0})
    line = patrol.heard(News("web", said))
    assert line is not None
    assert line.result == "fresh again"


def test_a_url_that_falls_silent_is_told_with_what_was_seen(
    patrol: Patrol, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patrol_room, "PASSING_S", 0.0)
    monkeypatch.setattr(verify, "answers", lambda _url: "status 503")
    object.__setattr__(world.config.workloads["web"], "url", "http://127.0.0.1:1")
    lines, _ = patrol.look(stages_too=False)
    assert [(line.workload, line.result) for line in lines] == [("web", "unhealthy")]
    assert "http://127.0.0.1:1/health: status 503" in lines[0].line()
    monkeypatch.setattr(verify, "answers", lambda _url: "")
    assert look(patrol)[0] == {"web": "fresh again"}


def test_a_swap_by_another_command_is_told_as_such(patrol: Patrol, world: World) -> None:
    world.standing["web"] = Standing(0, sha("old"), "fresh", sha("old"), {"pod-1": 0})
    assert look(patrol)[0] == {"web": "swapped"}


def test_what_was_published_and_is_gone_is_published_again(
    patrol: Patrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = type("Folder", (), {"want": lambda _self: None})()
    monkeypatch.setattr(swapfiles, "folder_of", lambda *_: empty)
    _, job = look(patrol)
    assert job is not None
    assert (job.cause, job.stages) == ("heal", {"web", "api"})


def test_a_pod_without_a_binary_is_served_where_the_transport_is_a_stream(
    patrol: Patrol, world: World
) -> None:
    desk: Any = world.desk
    desk.kind, desk.states = "exec", {"web": "stale"}
    _, job = look(patrol)
    assert job is not None
    assert job.stages == {"web"}


def test_what_was_rolled_back_is_not_served_again_and_again(patrol: Patrol, world: World) -> None:
    desk: Any = world.desk
    desk.kind, desk.states = "exec", {"web": "rolled_back"}
    _, job = look(patrol)
    assert job is None


def test_a_stage_that_two_looks_find_stale_was_missed(
    patrol: Patrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look may come between a save and its event."""
    found = [{"web"}, set(), {"web"}, {"web"}, set()]
    monkeypatch.setattr(patrol, "_missed", lambda: found.pop(0))
    jobs = [patrol.look(stages_too=True)[1] for _ in range(5)]
    assert [job.stages if job else None for job in jobs] == [None, None, None, {"web"}, None]


def test_another_command_that_swapped_is_looked_at(patrol: Patrol) -> None:
    due_s = patrol.due_s
    assert patrol.heard(News("web", Report("pod-1", wanted_generation=1))) is None
    assert patrol.due_s == due_s
    patrol.heard(News("web", Report("pod-1", wanted_generation=2)))
    assert patrol.due_s == 0.0


@pytest.mark.parametrize("kind", [CannotTell, NotOurs])
def test_an_environment_that_went_away_ends_the_watch(
    patrol: Patrol, world: World, monkeypatch: pytest.MonkeyPatch, shown: Any, kind: Any
) -> None:
    def gone(_config: Config) -> None:
        raise kind("there is no cluster mine")

    world.desk.error = CannotTell("the API server does not answer")  # type: ignore[attr-defined]
    monkeypatch.setattr(cluster, "require", gone)
    with pytest.raises(kind, match="no cluster"):
        patrol.look(stages_too=False)
    assert "the watch ends" in shown.texts("line")[-1]


def test_a_stopped_node_is_told_once_and_waited_for(
    patrol: Patrol, world: World, monkeypatch: pytest.MonkeyPatch, shown: Any
) -> None:
    def stopped(_config: Config) -> None:
        raise Unhealthy("the node is stopped", hint="invoke dev-start")

    desk: Any = world.desk
    desk.error = CannotTell("the API server does not answer")
    monkeypatch.setattr(cluster, "require", stopped)
    assert look(patrol) == look(patrol) == ({}, None)
    assert [t for t in shown.texts("line") if "stopped" in t] == [
        "✗ the node is stopped; next: invoke dev-start"
    ]
    assert desk.forgot == 2
    desk.error = None
    assert look(patrol)[0] == {"web": "fresh again", "api": "fresh again"}


def test_a_command_that_changes_the_environment_is_waited_for(
    patrol: Patrol, world: World, monkeypatch: pytest.MonkeyPatch, shown: Any
) -> None:
    def held(_config: Config) -> Any:
        raise Locked("environment mine is in use by process 7")

    world.desk.error = CannotTell("the API server does not answer")  # type: ignore[attr-defined]
    monkeypatch.setattr(flows, "changing", held)
    monkeypatch.setattr(cluster, "require", lambda _: pytest.fail("asked meanwhile"))
    assert look(patrol) == ({}, None)
    assert "process 7" in shown.texts("line")[-1]


# -- the engine


@pytest.fixture
def engine(world: World, hands: Hands, patrol: Patrol, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(engine_room.Engine, "_follow", lambda _self: None)
    monkeypatch.setattr(engine_room.gitstate, "busy", lambda _root: "")
    made = Engine(world.config, "linux/amd64", lambda: world.config, smoke=False)
    made._world, made._patrol = world, patrol
    made._settings = None
    return made


def test_a_newer_save_is_served_together_with_the_one_it_overtakes(
    engine: Engine, world: World, hands: Hands, shown: Any
) -> None:
    newer = batch(world.config.root / "api/c.rs")
    attempts = iter((True, False))
    attempt = hands.attempt

    def overtaken(*args: Any, **more: Any) -> Attempt:
        if next(attempts):
            more["on_turn"]("api", Observed("run", inputs={"api/c.rs": sha("before")}))
            engine._inbox.put(newer)
            with more["stop"].waking(lambda: stopped.set()):
                assert stopped.wait(30)
            return Attempt(superseded=True)
        hands.ran = {"web", "api"}
        return attempt(*args, **more)

    stopped = threading.Event()
    stages.attempt = overtaken  # restored with the fixture's own
    engine._take(batch(world.config.root / "web/b.rs"))
    lines = [e for e in shown.events if e.kind == "save"]
    assert {e.data["workload"] for e in lines} == {"web", "api"}
    assert lines[0].data["paths"] == ["api/c.rs", "web/b.rs"]


def test_a_save_that_overtakes_one_in_the_pods_counts_from_itself(
    engine: Engine, world: World, hands: Hands, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LAST_WORD_S", 0.01)
    desk: Any = world.desk
    desk.hangs = {"web"}
    push = desk.push

    def pushed(*args: Any, **more: Any) -> Pushed:
        if not desk.pushed:
            engine._inbox.put(Batch(frozenset({world.config.root / "web/b.rs"}), now_s, now_s))
        else:
            desk.hangs = set()
        return push(*args, **more)

    site: Any = world.site
    site.recorded("web", {"web/b.rs": sha("before")})
    desk.push = pushed
    now_s = time.monotonic()
    engine._take(Batch(frozenset({world.config.root / "conf/d.yaml"}), now_s - 1000, now_s))
    desk.released.set()
    (line,) = [e for e in shown.events if e.kind == "save"]
    assert line.data["paths"] == ["conf/d.yaml", "web/b.rs"]
    assert line.took_s < 900


def test_paused_saves_are_built_together_on_resume(
    engine: Engine, world: World, hands: Hands, shown: Any
) -> None:
    engine._take("p")
    engine._take(batch(world.config.root / "web/b.rs"))
    engine._take(batch(world.config.root / "api/c.rs"))
    assert hands.asked == []
    hands.ran = {"web", "api"}
    engine._take("p")
    assert len(hands.asked) == 1
    assert "2 files" in shown.texts("key")[-1]
    assert len(shown.texts("save")) == 2


def test_saves_wait_for_a_rebase_and_are_served_after_it(
    engine: Engine, world: World, hands: Hands, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_room.gitstate, "busy", lambda _root: "rebase")
    for name in ("web/b.rs", "api/c.rs"):
        engine._take(batch(world.config.root / name))
    assert hands.asked == []
    assert len([t for t in shown.texts("line") if "rebase" in t]) == 1
    monkeypatch.setattr(engine_room.gitstate, "busy", lambda _root: "")
    engine._take(None)
    assert len(hands.asked) == 1
    assert "the rebase is over" in shown.texts("line")


def test_a_save_that_finds_the_rebase_over_is_served_with_those_before_it(
    engine: Engine, world: World, hands: Hands, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_room.gitstate, "busy", lambda _root: "rebase")
    engine._take(batch(world.config.root / "web/b.rs"))
    monkeypatch.setattr(engine_room.gitstate, "busy", lambda _root: "")
    hands.ran = {"web", "api"}
    engine._take(batch(world.config.root / "api/c.rs"))
    assert "the rebase is over" in shown.texts("line")
    assert len(hands.asked) == 1
    assert len(shown.texts("save")) == 2
    assert engine._held is None


def test_r_builds_everything_and_what_waits(engine: Engine, world: World, hands: Hands) -> None:
    engine._take("p")
    engine._take(batch(world.config.root / "web/b.rs"))
    engine._take("r")
    assert hands.asked[0] == ["lib", "web", "api"]
    assert engine._held is None


def test_an_error_in_a_round_is_told_and_the_watch_goes_on(
    engine: Engine, world: World, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any, **_more: Any) -> Attempt:
        raise ConfigError("a stage is wrong", hint="mend it")

    monkeypatch.setattr(stages, "attempt", fails)
    engine._take(batch(world.config.root / "web/b.rs"))
    assert any("a stage is wrong" in text for text in shown.texts("line"))
    assert shown.texts("save")[-1].startswith("✗ not served")


def test_a_full_disk_ends_neither_the_watch_nor_the_other_workload(
    engine: Engine, world: World, hands: Hands, shown: Any
) -> None:
    desk: Any = world.desk
    push = desk.push

    def full(workload: Workload, *args: Any, **more: Any) -> Pushed:
        if workload.name == "web":
            raise OSError(errno.ENOSPC, "No space left on device", "/state/bin/x")
        return push(workload, *args, **more)

    desk.push = full
    hands.ran = {"web", "api"}
    engine._take(batch(world.config.root / "web/b.rs", world.config.root / "api/c.rs"))
    lines = {e.data["workload"]: e.data["verdict"] for e in shown.events if e.kind == "save"}
    assert lines == {"web": "failed", "api": "fresh"}
    assert any("No space left" in text for text in shown.texts("line"))


def test_output_that_nobody_reads_ends_the_watch(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unheard(*_args: Any, **_more: Any) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(loop, "_watch", unheard)
    with pytest.raises(Interrupted, match="nobody reads"):
        loop.watch(config, load=lambda: config)


def test_faulty_settings_leave_the_old_ones_in_force(
    engine: Engine, world: World, hands: Hands, shown: Any
) -> None:
    def faulty() -> Config:
        raise ConfigError("kindloop.yaml has 1 mistake", evidence=["kindloop.yaml:3:1: no"])

    engine._load = faulty
    engine._take(batch(world.config.path))
    assert shown.texts("line")[-1] == "the settings from before stay in force"
    assert hands.asked == []
    assert world.config.stages


def test_another_environments_settings_are_refused(world: World) -> None:
    other = Config(world.config.path, "other")
    with pytest.raises(ConfigError, match="name is other"):
        world.take_over(other)


def test_settings_that_the_cluster_cannot_have_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(_config: Config) -> None:
        raise NotOurs("cluster mine was created with other settings")

    monkeypatch.setattr(cluster, "require", differs)
    before = world.config
    with pytest.raises(NotOurs):
        world.take_over(Config(before.path, before.name))
    assert world.config is before


def test_q_during_a_round_ends_it_without_another(
    engine: Engine, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def overtaken(*_args: Any, **more: Any) -> Attempt:
        asked.append("attempt")
        assert len(asked) == 1, "a round after q"
        stopped = threading.Event()
        engine._inbox.put("q")
        with more["stop"].waking(stopped.set):
            assert stopped.wait(30)
        return Attempt(superseded=True)

    monkeypatch.setattr(stages, "attempt", overtaken)
    engine._take(batch(world.config.root / "web/b.rs"))
    engine._take(engine._next())
    assert engine._quits


def test_q_ends_it(engine: Engine) -> None:
    engine._take("q")
    assert engine._quits


# -- what is recorded


class Heard(telemetry.Muted):
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.traces: list[telemetry.Trace] = []
        self.failures: list[tuple[str, str]] = []
        self.since_s: dict[str, float | None] = {}

    def record(self, trace: telemetry.Trace) -> None:
        self.traces.append(trace)

    def failed(self, workload: str, reason: str) -> None:
        self.failures.append((workload, reason))

    def fresh(self, workload: str) -> None:
        self.since_s[workload] = None

    def stale(self, workload: str, since_s: float | None = None) -> None:
        self.since_s[workload] = self.since_s.get(workload) or since_s or time.monotonic()

    def names(self) -> list[str]:
        (trace,) = self.traces
        return [part.name for part in trace.root.parts]


@pytest.fixture
def heard(world: World) -> Heard:
    world.recorder = Heard()
    return world.recorder


def saved(world: World, name: str) -> Batch:
    now_s = time.monotonic()
    return Batch(frozenset({world.config.root / name}), now_s - 2.0, now_s - 2.0, now_s - 1.0)


def test_a_save_is_recorded_with_its_parts(
    engine: Engine, world: World, hands: Hands, heard: Heard
) -> None:
    hands.ran = {"web"}
    engine._take(saved(world, "web/b.rs"))
    assert heard.names() == ["quiet", "wait", "look", "stage web", "digest", "swap web"]
    (trace,) = heard.traces
    assert (trace.root.name, trace.result, trace.counts) == ("save", "fresh", True)
    assert trace.root.attributes["kindloop.files"] == ("web/b.rs",)
    assert trace.root.began_s == trace.root.parts[0].began_s
    assert trace.root.ended_s >= trace.root.parts[-1].ended_s


def test_the_answer_of_the_url_is_a_part_of_the_save(
    engine: Engine, world: World, hands: Hands, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "wait_quick", lambda *_: 0.1)
    web = replace(world.config.workloads["web"], url="http://127.0.0.1:1")
    world.config = replace(world.config, workloads={"web": web})
    engine._take(saved(world, "conf/d.yaml"))
    assert heard.names() == ["quiet", "wait", "look", "digest", "swap web", "answer"]


def test_a_save_that_is_not_built_is_recorded_with_the_compilers_first_error(
    engine: Engine, world: World, hands: Hands, heard: Heard
) -> None:
    hands.broken = {"web": wrong()}
    engine._take(saved(world, "web/b.rs"))
    (trace,) = heard.traces
    assert (trace.result, trace.root.error) == ("not_built", "web/b.rs:1:1: error: no")
    assert heard.failures == [], "nothing was swapped"


def test_a_roll_back_is_recorded_and_counted(
    engine: Engine, world: World, hands: Hands, heard: Heard
) -> None:
    desk: Any = world.desk
    desk.states, desk.panics = {"web": "rolled_back"}, "src/main.rs:12:5: no"
    engine._take(saved(world, "conf/d.yaml"))
    (trace,) = heard.traces
    assert (trace.result, trace.root.error) == ("rolled_back", "src/main.rs:12:5: no")
    assert trace.root.parts[-1].error
    assert heard.failures == [("web", "rolled_back")]


def test_a_save_that_is_overtaken_is_recorded_and_so_is_the_one_after_it(
    engine: Engine, world: World, hands: Hands, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = iter((True, False))
    attempt = hands.attempt

    def overtaken(*args: Any, **more: Any) -> Attempt:
        if next(attempts):
            engine._inbox.put(saved(world, "api/c.rs"))
            more["on_turn"]("api", Observed("run", inputs={"api/c.rs": sha("before")}))
            return Attempt(superseded=True, took={"web": (1.0, 2.0)})
        return attempt(*args, **more)

    hands.ran = {"web", "api"}
    monkeypatch.setattr(stages, "attempt", overtaken)
    engine._take(saved(world, "web/b.rs"))
    assert [(t.result, bool(t.root.error)) for t in heard.traces] == [
        ("superseded", True),
        ("fresh", False),
    ]
    assert heard.traces[0].root.began_s == heard.traces[1].root.began_s
    assert "stage web" in [part.name for part in heard.traces[0].root.parts]


def test_a_late_roll_back_is_counted_and_an_answer_that_is_missing_is_not(
    patrol: Patrol, world: World, heard: Heard
) -> None:
    desk: Any = world.desk
    desk.states = {"web": "rolled_back"}
    assert look(patrol)[0] == {"web": "rolled_back"}
    assert heard.failures == [("web", "rolled_back")]
    desk.states = {"web": "unhealthy"}
    look(patrol)
    assert len(heard.failures) == 1


def test_a_round_that_q_ends_is_no_failed_save(
    engine: Engine, world: World, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*_args: Any, **more: Any) -> Attempt:
        stopped = threading.Event()
        engine._inbox.put("q")
        with more["stop"].waking(stopped.set):
            assert stopped.wait(30)
        return Attempt(superseded=True)

    monkeypatch.setattr(stages, "attempt", overtaken)
    engine._take(saved(world, "web/b.rs"))
    assert heard.traces == []


def test_a_round_that_fails_as_a_whole_is_recorded(
    engine: Engine, world: World, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any, **_more: Any) -> Attempt:
        raise ConfigError("a stage is wrong", hint="mend it")

    monkeypatch.setattr(stages, "attempt", fails)
    engine._take(saved(world, "web/b.rs"))
    (trace,) = heard.traces
    assert (trace.result, trace.root.error) == ("failed", "a stage is wrong")


def test_what_waits_for_p_was_not_long_in_coming(
    engine: Engine, world: World, hands: Hands, heard: Heard
) -> None:
    hands.ran = {"web"}
    engine._take("p")
    engine._take(saved(world, "web/b.rs"))
    engine._take("p")
    assert "quiet" not in heard.names(), "it was quiet before the time that counts began"


def test_a_workload_is_stale_from_the_save_until_it_is_served(
    engine: Engine, world: World, hands: Hands, heard: Heard
) -> None:
    batch = saved(world, "web/b.rs")
    hands.broken = {"web": wrong()}
    engine._take(batch)
    assert heard.since_s == {"web": batch.first_s}
    hands.ran, hands.broken = {"web"}, {}
    engine._take(saved(world, "web/b.rs"))
    assert heard.since_s["web"], "served, but nobody has looked around yet"
    engine._inbox.put("p")
    engine._next()
    assert heard.since_s["web"] is None


def test_freshness_follows_what_is_known(
    engine: Engine, world: World, hands: Hands, heard: Heard
) -> None:
    def seen() -> dict[str, bool]:
        recording.keep_up(world)
        return {name: since_s is None for name, since_s in heard.since_s.items()}

    world.standing.clear()
    assert seen() == {}, "nobody knows yet"
    serve(world, everything=True, cause="start")
    assert seen() == {"web": True, "api": True}
    world.standing["web"] = replace(world.standing["web"], result="rolled_back")
    assert seen() == {"web": False, "api": True}
    world.tried["api"] = Observed("api")
    assert seen() == {"web": False, "api": False}
    world.tried["lib"] = world.tried.pop("api")
    world.standing["web"] = replace(world.standing["web"], result="fresh")
    assert seen() == {"web": False, "api": True}, "web needs lib"


# -- small things


def test_a_lock_of_another_command_is_waited_for_with_a_word(shown: Any) -> None:
    answers: list[Callable[[], str]] = [held, held, lambda: "done"]
    assert patiently(Stop(), lambda: answers.pop(0)()) == "done"
    assert shown.texts("line") == ["waiting: environment mine is in use by process 7"]


@dataclass(frozen=True)
class Engined:
    platform: str


def held() -> str:
    raise Locked("environment mine is in use by process 7")


def test_after_waiting_for_another_command_nothing_is_taken_for_fresh(
    world: World, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(world, "conf/d.yaml")
    changing, answers = flows.changing, [held, held]

    def contended(config: Config) -> Any:
        return answers.pop()() if answers else changing(config)

    monkeypatch.setattr(flows, "changing", contended)
    desk: Any = world.desk
    desk.states = {"web": "stale"}
    assert results(serve(world, "conf/d.yaml")) == {"web": "stale"}
    assert desk.pushed[-1] == ("web", False)


def test_steps_of_a_save_are_hushed_unless_details_are_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from kindloop import report

    for verbosity, expected in ((0, ["seen"]), (1, ["· lib", "  seen", "✓ lib · 0.0 s"])):
        before = report.use(report.Plain(verbosity=verbosity))
        try:
            with hushed(), report.step("lib"):
                report.line("seen")
        finally:
            report.use(before)
        assert capsys.readouterr().out.splitlines() == expected


def test_errors_of_a_compiler_stand_for_themselves() -> None:
    assert told(wrong()) == ("web/b.rs:1:1: error: no",)
    noisy = BuildFailed("failed", evidence=["Running x", "a.yaml:2:5: error: no", "more"])
    assert told(noisy) == ("a.yaml:2:5: error: no", "more")
    assert told(ConfigError("no", hint="mend it")) == ["error: no", "  next: mend it"]


def test_an_unknown_check_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="--verify load"):
        loop.watch(config, verify="load", load=lambda: config)


def test_the_second_watch_of_an_environment_is_told_who_has_it(config: Config) -> None:
    path = state.state_home() / "mine.watch.lock"
    with state.lock(path, "the watch of mine"), pytest.raises(Locked, match="the watch of mine"):
        loop.watch(config, load=lambda: config)


def test_the_loop_is_traced_as_its_environment_was_brought(
    config: Config, world: World, monkeypatch: pytest.MonkeyPatch, shown: Any
) -> None:
    class Silent:
        def run(self, *, keys: bool) -> None: ...

    monkeypatch.setattr(loop, "Engine", lambda *_, **__: Silent())
    monkeypatch.setattr(loop.host, "require_engine", lambda: Engined("linux/amd64"))
    monkeypatch.setattr(telemetry, "installed", lambda: True)
    full = replace(config, observability="full")
    for brought, said in ((replace(config, observability="off"), 0), (full, 1)):
        swapenv.remember(brought)
        loop.watch(full, load=lambda: full)
        assert sum("saves are traced" in line for line in shown.texts("line")) == said


def test_everything_declared_is_watched(config: Config) -> None:
    roots = {root.path for root in changes.watched(config)}
    assert {config.path, config.root / "web", config.root / "conf"} <= roots
