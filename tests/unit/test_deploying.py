"""Deploying: when a swap does not serve, in which order the rest happens, and how it fails."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import (
    apiserver,
    cluster,
    deploying,
    deployplan,
    images,
    manifests,
    rollout,
    stages,
    state,
    swapfiles,
    swapplan,
    transports,
    verify,
)
from kindloop.config import App, Config, Image, Stage, Swap, Workload
from kindloop.deploying import Plan
from kindloop.errors import (
    BuildFailed,
    CannotTell,
    KindloopError,
    NotOurs,
    RolloutFailed,
    Stale,
    Unhealthy,
)
from kindloop.images import ImagePlan
from kindloop.manifests import Applied
from kindloop.supervised import Report, Verdict
from kindloop.swap import Desk
from kindloop.swapfiles import Want
from kindloop.transports import Choice

PLATFORM = "linux/amd64"
URL = "http://127.0.0.1:1/health"
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "template": {
            "spec": {"containers": [{"name": "web", "ports": [{"containerPort": 8080}]}]},
        }
    },
}


@pytest.fixture
def config(homes: Path) -> Config:
    """Two workloads with a swap: `web` has a URL, `api` has none."""
    root = homes / "checkout"
    root.mkdir()
    for name in ("web", "api", "supervisor", "Dockerfile"):
        (root / name).write_text(f"\x7fELF {name}")
    workloads = {
        name: Workload(name, Image(root / "Dockerfile", base="alpine:3"), root / "k8s",
                       url=url, swap=Swap(name), ready_s=7)
        for name, url in (("web", "http://127.0.0.1:1"), ("api", ""))
    }  # fmt: skip
    named = {n: Stage(n, "cargo build", outputs=(n,)) for n in ("web", "api", "supervisor")}
    config = Config(
        root / "kindloop.yaml", "mine", App(root), core=root / "core", stages=named,
        workloads=workloads,
    )  # fmt: skip
    cluster.environment(config).swap.mkdir(parents=True)
    return config


def planned(**changed: Any) -> Plan:
    found = {
        name: ImagePlan(f"kindloop.local/mine/{name}", "1", "base", Path("Dockerfile"), {})
        for name in ("web", "api")
    }
    plan = Plan(found, [DEPLOYMENT], {"web": "mount", "api": "mount"}, with_binary=False)
    return replace(plan, **changed)


def another_image(plan: Plan) -> dict[str, ImagePlan]:
    return {**plan.images, "api": replace(plan.images["api"], tag="2")}


def record(config: Config) -> Any:
    return state.read_json(cluster.environment(config).home / "deployed.json")


def recorded(config: Config, what: Any) -> None:
    state.write_json(cluster.environment(config).home / "deployed.json", what)


# -- whether a swap serves


@pytest.mark.parametrize("with_binary", [False, True])
def test_what_is_not_deployed_is_told_as_the_image_was_made(
    config: Config, monkeypatch: pytest.MonkeyPatch, with_binary: bool
) -> None:
    now = planned(with_binary=with_binary)

    def plan(*_: Any, with_binary: bool) -> Plan:
        assert with_binary is now.with_binary
        return now

    monkeypatch.setattr(deployplan, "plan", plan)
    desk = Desk(config)
    recorded(config, planned(with_binary=with_binary).as_record())
    assert deployplan.undeployed(config, PLATFORM, desk) == ""
    now = replace(now, images=another_image(now))
    what = "its binary, Dockerfile" if with_binary else "its Dockerfile"
    assert what in deployplan.undeployed(config, PLATFORM, desk)
    now = planned(with_binary=with_binary, documents=[])
    assert deployplan.undeployed(config, PLATFORM, desk) == "the manifests changed"


def test_nothing_deployed_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployplan, "plan", lambda *_, **_more: planned())
    desk = Desk(config)
    assert deployplan.undeployed(config, PLATFORM, desk) == "nothing was deployed yet"
    recorded(config, {})
    assert deployplan.undeployed(config, PLATFORM, desk) == "the last deployment did not end"


def test_a_swap_serves_what_was_deployed_as_it_is(config: Config) -> None:
    recorded(config, planned().as_record())
    assert deploying.why_rollout(config, planned()) == ""


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "image": (
        {"images": another_image(planned())},
        "the image of api changed: its Dockerfile, base, supervisor or files",
    ),
    "transport": ({"transports": {"web": "mount", "api": "exec"}}, "the transport changed"),
    "manifests": (
        {"documents": [{**DEPLOYMENT, "metadata": {"name": "web", "labels": {"a": "b"}}}]},
        "the manifests changed",
    ),
    "one manifest more": ({"documents": [DEPLOYMENT, DEPLOYMENT]}, "the manifests changed"),
    "with the binary": ({"with_binary": True}, "the binary is to be in the image"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_a_swap_cannot_serve_is_told(config: Config, what: str) -> None:
    changed, said = CHANGED[what]
    recorded(config, planned().as_record())
    assert deploying.why_rollout(config, planned(**changed)) == said


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (None, "nothing was deployed yet"),
        ({}, "the last deployment did not end"),
        ({"of": "an older version"}, "the image of web changed"),
    ],
)
def test_without_a_record_of_a_deployment_there_is_one(
    config: Config, before: Any, said: str
) -> None:
    if before is not None:
        recorded(config, before)
    assert deploying.why_rollout(config, planned()).startswith(said)


def test_a_workload_without_a_swap_is_rolled_out(config: Config) -> None:
    recorded(config, planned().as_record())
    static = replace(config.workloads["api"], swap=None)
    mixed = replace(config, workloads={**config.workloads, "api": static})
    assert deploying.why_rollout(mixed, planned()) == "api has no swap in profile loop"
    release = replace(config, profile="release")
    assert deploying.why_rollout(release, planned()) == "web, api has no swap in profile release"


def test_what_is_remembered_of_a_plan_is_the_same_after_it_was_read(config: Config) -> None:
    before = planned().as_record()
    assert json.loads(json.dumps(before)) == before
    other_order = dict(reversed(DEPLOYMENT.items()))
    assert planned(documents=(other_order,)).as_record() == before
    assert before["images"] == {
        "web": "kindloop.local/mine/web:1", "api": "kindloop.local/mine/api:1",
    }  # fmt: skip


# -- the plan


@pytest.fixture
def built(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that are built, and the base images that they need."""
    monkeypatch.setattr(
        stages, "output", lambda config, name, engine_platform: config.app.root / name
    )
    monkeypatch.setattr(deployplan, "workload_base", lambda _workload: "alpine:3@sha256:1")


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Path], dict[str, str]]]:
    seen: list[tuple[list[Path], dict[str, str]]] = []

    def render(_config: Config, folders: list[Path], references: dict[str, str]) -> list[Any]:
        seen.append((folders, references))
        return [DEPLOYMENT]

    monkeypatch.setattr(manifests, "render", render)
    return seen


@pytest.mark.parametrize("kind", ["mount", "exec"])
def test_a_plan_is_made_for_the_way_files_go(
    config: Config, built: None, rendered: list[Any], kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "choose", lambda *_: Choice(kind, "a test"))
    plan = deploying.plan(config, PLATFORM, Desk(config))
    assert plan.transports == {"web": kind, "api": kind}
    ((folders, references),) = rendered
    # The namespace first; a folder that two workloads share, once.
    assert folders == [config.root / "core", config.root / "k8s"]
    assert references == {name: one.reference for name, one in plan.images.items()}
    (volume,) = plan.documents[0]["spec"]["template"]["spec"]["volumes"]
    assert ("hostPath" in volume) is (kind == "mount")
    assert set(plan.images["web"].files) == {"supervisor"}


@pytest.mark.parametrize("release", [True, False])
def test_with_the_binary_in_the_image_no_way_of_files_is_tried(
    config: Config,
    built: None,
    rendered: list[Any],
    release: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transports, "choose", lambda *_: pytest.fail("tried"))
    chosen = replace(config, profile="release" if release else "loop")
    plan = deploying.plan(chosen, PLATFORM, Desk(chosen), with_binary=not release)
    assert plan.transports == {"web": "none", "api": "none"}
    assert set(plan.images["web"].files) == {"supervisor", "web"}
    assert "volumes" not in plan.documents[0]["spec"]["template"]["spec"]


def test_a_workload_without_a_swap_has_neither_supervisor_nor_transport(
    config: Config, built: None, rendered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "choose", lambda *_: Choice("mount", "a test"))
    static = replace(config.workloads["api"], swap=None, image=Image(config.root / "Dockerfile"))
    mixed = replace(config, workloads={**config.workloads, "api": static})
    plan = deploying.plan(mixed, PLATFORM, Desk(mixed))
    assert plan.transports == {"web": "mount"}
    assert plan.images["api"].files == {}
    assert deploying.artifact(mixed, static, PLATFORM) is None


# -- the order of a deployment


class Hands:
    """What is done to engine and cluster, in order; `broken` says at which step it fails."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.done: list[str] = []
        self.present: set[str] = set()
        self.broken: dict[str, Exception] = {}
        self.seen_at_apply: dict[str, Want | None] = {}
        self.gave_up = self.until_asked = False
        self.ended: KindloopError | None = None
        self.pods = iter([(2, 1, 1)])
        """What the Deployment counts, by question: seen generation, pods, those of the new one."""

    def do(self, step: str) -> None:
        self.done.append(step)
        if step in self.broken:
            raise self.broken[step]

    def build(self, _config: Config, image: ImagePlan) -> bool:
        self.do(f"build {name_of(image)}")
        return True

    def load(self, _config: Config, image: ImagePlan) -> bool:
        self.do(f"load {name_of(image)}")
        return name_of(image) not in self.present

    def prune(self, _config: Config, image: ImagePlan) -> list[str]:
        self.do(f"prune {name_of(image)}")
        return []

    def apply(self, config: Config, documents: Sequence[Any]) -> Applied:
        self.seen_at_apply = {
            name: swapfiles.folder_of(config, one).want() for name, one in config.workloads.items()
        }
        self.do(f"apply {len(documents)}")
        return Applied(("deployment.apps/web",), ())

    def wait(
        self,
        _config: Config,
        workload: Workload,
        *,
        gave_up: Callable[[], KindloopError | None] = lambda: None,
    ) -> float:
        self.do(f"rollout {workload.name}")
        if self.until_asked:
            for thread in threading.enumerate():
                if thread.name.endswith("(ask)"):
                    thread.join(30)
            self.ended = gave_up()
        if self.gave_up:
            # The pods never become ready: only the supervisors' word ends it.
            for _ in itertools.count():
                if error := gave_up():
                    raise error
        return 1.5

    def restart(self, _config: Config, workload: Workload) -> None:
        self.do(f"restart {workload.name}")

    def wait_quick(self, url: str, timeout_s: float) -> float:
        assert timeout_s in (7, deploying.BACK_S, deploying.SERVICE_LAG_S)
        back = timeout_s == deploying.BACK_S
        self.do(f"is the last good one back at {url}" if back else f"ask {url}")
        return 0.25

    def json(self, path: str, *, or_none: bool) -> Any:
        """The Deployment; the last of `pods` stays."""
        assert "/namespaces/mine/deployments/" in path
        self.counts = next(self.pods, None) or self.counts
        seen, replicas, updated = self.counts
        status = {"observedGeneration": seen, "replicas": replicas, "updatedReplicas": updated}
        return {"metadata": {"generation": 2}, "status": status}


def name_of(image: ImagePlan) -> str:
    return image.repository.rpartition("/")[2]


@pytest.fixture
def hands(config: Config, built: None, monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands(config)
    monkeypatch.setattr(images, "build", made.build)
    monkeypatch.setattr(images, "load", made.load)
    monkeypatch.setattr(images, "prune", made.prune)
    monkeypatch.setattr(manifests, "apply", made.apply)
    monkeypatch.setattr(rollout, "wait", made.wait)
    monkeypatch.setattr(rollout, "renew", made.restart)
    monkeypatch.setattr(verify, "wait_quick", made.wait_quick)
    monkeypatch.setattr(transports, "choose", lambda *_: Choice("mount", "a test"))
    monkeypatch.setattr(apiserver, "connect", lambda _config: nullcontext(made))
    monkeypatch.setattr(Desk, "_settled", lambda *_: Verdict("fresh", "1 pod runs it"))
    monkeypatch.setattr(deploying, "TURN_S", 0.001)
    monkeypatch.setattr(deploying, "SERVICE_LAG_S", 0.001)
    return made


def deploy(config: Config, **changed: Any) -> list[deploying.Deployed]:
    return deploying.deploy(config, PLATFORM, planned=planned(**changed))


def test_binaries_are_published_before_the_pods_are_made_that_look_for_them(
    config: Config, hands: Hands
) -> None:
    deployed = deploy(config)
    assert hands.done == [
        "build web", "load web", "build api", "load api", "apply 1", "rollout web",
        f"ask {URL}", "rollout api", "prune web", "prune api",
    ]  # fmt: skip
    wants = [want for name in ("web", "api") if (want := hands.seen_at_apply[name])]
    assert [one.digest for one in deployed] == [want.digest for want in wants]
    first = deployed[0]
    assert (first.workload, first.url, first.image) == (
        "web", "http://127.0.0.1:1", "kindloop.local/mine/web:1",
    )  # fmt: skip
    assert (first.rollout_s, first.answers_s, deployed[1].answers_s) == (1.5, 0.25, 0.0)


def test_images_that_the_node_has_are_no_reason_to_remove_others(
    config: Config, hands: Hands
) -> None:
    hands.present = {"web"}
    deploy(config)
    assert [step for step in hands.done if step.startswith("prune")] == ["prune api"]


@pytest.mark.parametrize(
    ("before", "waits"),
    [(None, False), ("same", False), ("another port", True), ("failed", True)],
)
def test_the_url_is_not_asked_while_old_rules_of_a_service_may_answer(
    config: Config,
    hands: Hands,
    monkeypatch: pytest.MonkeyPatch,
    before: str | None,
    waits: bool,
) -> None:
    def service(port: int) -> dict[str, Any]:
        return {"kind": "Service", "spec": {"ports": [{"targetPort": port}]}}

    now = [DEPLOYMENT, service(80)]
    known = {"same": planned(documents=now), "another port": planned(documents=[service(81)])}
    if before:
        recorded(config, known[before].as_record() if before in known else {})
    paused: list[float] = []
    monkeypatch.setattr(deploying, "SERVICE_LAG_S", 7.5)
    monkeypatch.setattr(deploying.time, "sleep", paused.append)
    deploy(config, documents=now)
    assert (7.5 in paused) is waits


def test_an_image_with_the_binary_finds_nothing_published(config: Config, hands: Hands) -> None:
    deploy(config)
    deployed = deploy(config, transports={"web": "none", "api": "mount"})
    assert hands.seen_at_apply["web"] is None
    assert hands.seen_at_apply["api"] is not None
    assert [one.digest == "" for one in deployed] == [True, False]


def test_a_workload_without_a_swap_is_only_rolled_out(config: Config, hands: Hands) -> None:
    static = replace(config.workloads["api"], swap=None)
    mixed = replace(config, workloads={**config.workloads, "api": static})
    deployed = deploy(mixed, transports={"web": "mount"})
    assert hands.seen_at_apply["api"] is None
    assert [one.digest == "" for one in deployed] == [False, True]


def test_what_does_not_come_up_is_rolled_out_again(config: Config, hands: Hands) -> None:
    hands.broken = {"rollout web": RolloutFailed("no")}
    with pytest.raises(RolloutFailed):
        deploy(config)
    assert record(config) == {}
    assert deploying.why_rollout(config, planned()) == "the last deployment did not end"


def test_a_binary_that_was_rolled_back_needs_no_other_rollout(config: Config, hands: Hands) -> None:
    hands.broken = {"rollout web": Stale("rolled back")}
    with pytest.raises(Stale):
        deploy(config)
    assert record(config) == planned().as_record()
    assert deploying.why_rollout(config, planned()) == ""


@pytest.mark.parametrize("first", [True, False])
def test_what_was_refused_is_not_remembered_nor_is_what_was_there_before(
    config: Config, hands: Hands, first: bool
) -> None:
    if not first:
        deploy(config)
    hands.broken = {"apply 0": RolloutFailed("refused")}
    with pytest.raises(RolloutFailed, match="refused"):
        deploy(config, documents=[])
    # Some of it may be there: going back to what was before takes an apply too.
    for plan in (planned(), planned(documents=[])):
        assert deploying.why_rollout(config, plan) == "the last deployment did not end"
    hands.broken = {}
    deploy(config)
    assert deploying.why_rollout(config, planned()) == ""


def test_what_cannot_be_built_changes_nothing(config: Config, hands: Hands) -> None:
    deploy(config)
    before = record(config)
    web = swapfiles.folder_of(config, config.workloads["web"])
    want = web.want()
    (config.app.root / "web").write_text("\x7fELF two")
    hands.done.clear()
    hands.broken = {"build api": BuildFailed("no")}
    with pytest.raises(BuildFailed):
        deploy(config)
    assert hands.done == ["build web", "load web", "build api"]
    assert (record(config), web.want()) == (before, want)


def test_pods_that_mount_a_deleted_folder_are_replaced_after_the_apply(
    config: Config, hands: Hands, says: Callable[[Any], None], shown: Any
) -> None:
    says(Verdict("fresh", "1 pod runs it"))
    deploy(config)
    hands.done.clear()
    web = swapfiles.folder_of(config, config.workloads["web"])
    web.path.rename(web.path.with_name("deleted"))
    deploy(config)
    assert hands.done[4:7] == ["apply 1", "restart web", "rollout web"]
    assert "restart api" not in hands.done


def test_the_first_pods_are_not_replaced(config: Config, hands: Hands) -> None:
    deploy(config)
    assert not [step for step in hands.done if step.startswith("restart")]


def test_a_plan_is_made_where_none_is_given(
    config: Config, hands: Hands, rendered: list[Any]
) -> None:
    deploying.deploy(config, PLATFORM, with_binary=True)
    assert record(config)["with_binary"] is True
    assert hands.seen_at_apply == {"web": None, "api": None}


# -- what ends it


@pytest.fixture
def says(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let the supervisors of `web` come to this verdict, or asking them to this error."""

    def make(answer: Verdict | Exception) -> None:
        def settle(_desk: Desk, workload: Workload, _want: Want, timeout_s: float) -> Verdict:
            assert timeout_s in (workload.ready_s, swapplan.patience_s(workload))
            if workload.name != "web":
                return Verdict("fresh", "1 pod runs it")
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(Desk, "settle", settle)
        monkeypatch.setattr(Desk, "panic", lambda *_: "src/main.rs:1:2: no")

    return make


BAD = Verdict("unhealthy", "crashed: exit code 101", (Report("web-1", state="crashed"),))
PODS = (Report("web-1", reason="a pod's word"),)
BACK = Verdict("rolled_back", "rolled back: exit code 101", PODS)


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (BAD, RolloutFailed, "web: crashed: exit code 101"),
        (BACK, Stale, "web: rolled back: exit code 101"),
        (Verdict("stale", "an older one runs", PODS), Stale, "web: an older one runs"),
        (Verdict("unknown", "newer protocol", PODS), RolloutFailed, "web: newer protocol"),
        (CannotTell("no API server"), RolloutFailed, "no API server"),
        (NotOurs("another cluster"), NotOurs, "another cluster"),
        (ZeroDivisionError("a mistake of ours"), RolloutFailed, "web: ZeroDivisionError"),
    ],
)
def test_a_bad_word_of_the_supervisors_ends_the_rollout_or_counts_after_it(
    config: Config,
    hands: Hands,
    says: Callable[[Any], None],
    answer: Any,
    error: type[KindloopError],
    message: str,
    ready: bool,
) -> None:
    hands.gave_up = not ready
    says(answer)
    with pytest.raises(error) as raised:
        deploy(config)
    assert raised.value.message.startswith(message)
    assert "rollout web" in hands.done
    assert not {"rollout api", f"ask {URL}"} & {*hands.done}
    if answer is BAD:
        assert raised.value.evidence == ("web-1: crashed", "panicked at src/main.rs:1:2: no")


def test_of_pods_that_are_not_there_the_rollout_knows_more(
    config: Config, hands: Hands, says: Callable[[Any], None]
) -> None:
    says(Verdict("unknown", "there is no pod to ask"))
    hands.until_asked = True
    with pytest.raises(RolloutFailed, match="there is no pod to ask"):
        deploy(config)  # it counts in the end
    assert hands.ended is None
    hands.broken = {"rollout web": RolloutFailed("the image cannot be pulled")}
    with pytest.raises(RolloutFailed, match="cannot be pulled"):
        deploy(config)


def test_no_pod_of_before_the_apply_answers_for_the_new_ones(
    config: Config, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not seen yet; seen, the old one is still there; gone; the new one is there.
    counts = [(1, 1, 1), (2, 1, 0), (2, 2, 1), (2, 1, 1)]
    hands.pods = iter(counts)
    settled_at: list[Any] = []

    def settle(*_: Any) -> Verdict:
        settled_at.append(hands.counts)
        return Verdict("fresh", "1 pod runs it", PODS)

    monkeypatch.setattr(Desk, "settle", settle)
    deploy(config)
    assert settled_at == [(2, 1, 1)] * 2
    assert next(hands.pods, None) is None


@pytest.mark.parametrize("answers", [True, False])
def test_after_a_roll_back_it_is_said_whether_the_last_good_one_answers(
    config: Config, hands: Hands, says: Callable[[Any], None], answers: bool
) -> None:
    says(BACK)
    back = f"is the last good one back at {URL}"
    if not answers:
        hands.broken = {back: Unhealthy("it did not answer 200")}
    with pytest.raises(Stale) as raised:
        deploying.swap_one(config, config.workloads["web"], PLATFORM, Desk(config))
    assert hands.done == [back]
    assert ("the last good one serves" in raised.value.why) is answers
    assert ("does not answer yet" in raised.value.why) is not answers


def test_pods_that_are_ready_and_have_not_said_what_they_run_are_no_success(
    config: Config, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def settle(*_: Any) -> Verdict:
        released.wait(30)
        return Verdict("fresh", "too late")

    monkeypatch.setattr(Desk, "settle", settle)
    monkeypatch.setattr(deploying, "patience_s", lambda _workload: 0.05)
    with pytest.raises(RolloutFailed, match="have not said what they run"):
        deploy(config)
    released.set()


def test_a_url_that_does_not_answer_is_told_with_what_is_behind_it(
    config: Config, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Unhealthy(f"{URL} did not answer 200", evidence=["last seen: status 503"])
    hands.broken = {f"ask {URL}": late}
    monkeypatch.setattr(rollout, "proxy_trouble", lambda *_: None)
    with pytest.raises(RolloutFailed) as raised:
        deploy(config)
    assert "web is ready in the cluster, but http://" in raised.value.message
    assert raised.value.evidence == ("last seen: status 503",)
    assert "get service,endpointslices" in raised.value.hint


@pytest.mark.parametrize(
    ("listens", "unheard"),
    [
        (["127.0.0.1:8080"], True),
        (["[::1]:8080", "127.0.0.5:8080"], True),
        (["[::ffff:127.0.0.1]:8080"], True),
        (["0.0.0.0:8080"], False),
        (["[::]:8080"], False),
        (["127.0.0.1:8080", "0.0.0.0:8080"], False),
        ([""], False),
        ([], False),
    ],
)
def test_a_program_that_only_its_pod_hears_is_told(
    config: Config,
    hands: Hands,
    monkeypatch: pytest.MonkeyPatch,
    listens: list[str],
    unheard: bool,
) -> None:
    monkeypatch.setattr(rollout, "proxy_trouble", lambda *_: None)
    hands.broken = {f"ask {URL}": Unhealthy(f"{URL} did not answer 200")}
    pods = [Report("web-1", listens=each) for each in listens]
    web = config.workloads["web"]
    with pytest.raises(RolloutFailed) as raised:
        deploying.answers(config, web, pods)
    assert ("where nobody else hears it" in raised.value.message) is unheard
    assert ("have it listen on 0.0.0.0:8080" in raised.value.hint) is unheard
    hands.broken = {}
    deploying.answers(config, web, pods)  # something in front of it hears it: well


def test_the_service_is_not_blamed_for_a_kube_proxy_that_does_not_run(
    config: Config, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands.broken = {f"ask {URL}": Unhealthy(f"{URL} did not answer 200", hint="")}
    known = RolloutFailed("kube-proxy does not run", hint="invoke dev-start")
    monkeypatch.setattr(rollout, "proxy_trouble", lambda *_: known)
    with pytest.raises(RolloutFailed) as raised:
        deploy(config)
    assert raised.value is known


# -- a swap


def test_a_swap_asks_the_supervisors_and_the_url_and_nothing_else(
    config: Config, hands: Hands, says: Callable[[Any], None], shown: Any
) -> None:
    says(Verdict("fresh", "1 pod runs it"))
    desk = Desk(config)
    one, other = deploying.swap_all(config, PLATFORM, desk)
    assert hands.done == [f"ask {URL}"]
    want = swapfiles.folder_of(config, config.workloads["web"]).want()
    assert want is not None
    assert (one.workload, one.image, one.digest) == ("web", "", want.digest)
    assert other.workload == "api"
    assert any(f"{want.digest[:8]} binary" in text for text in shown.texts("ended"))
    deploying.swap_one(config, config.workloads["web"], PLATFORM, desk)
    assert any("as it was" in text for text in shown.texts("ended"))


def test_what_was_rolled_back_is_tried_again_only_when_that_is_asked_for(
    config: Config, hands: Hands, says: Callable[[Any], None]
) -> None:
    says(Verdict("fresh", "1 pod runs it"))
    desk, web = Desk(config), config.workloads["web"]
    folder = swapfiles.folder_of(config, web)
    generations = []
    for again in (False, False, True):
        deploying.swap_one(config, web, PLATFORM, desk, again=again)
        want = folder.want()
        generations.append(want.generation if want else 0)
    assert generations[0] == generations[1] < generations[2]


@pytest.mark.parametrize(
    ("answer", "error", "code"), [(BAD, RolloutFailed, 6), (BACK, Stale, 4)]
)  # fmt: skip
def test_a_swap_that_does_not_end_well_has_its_exit_code_and_the_panic(
    config: Config,
    hands: Hands,
    says: Callable[[Any], None],
    answer: Verdict,
    error: type[KindloopError],
    code: int,
) -> None:
    says(answer)
    with pytest.raises(error) as raised:
        deploying.swap_one(config, config.workloads["web"], PLATFORM, Desk(config))
    assert raised.value.exit_code == code
    assert raised.value.evidence[-1] == "panicked at src/main.rs:1:2: no"
    assert f"ask {URL}" not in hands.done


def test_a_swap_without_an_artifact_is_refused(
    config: Config, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def output(*_: Any, **_more: Any) -> Path:
        raise BuildFailed("stage web has not been built", hint="invoke build.web")

    monkeypatch.setattr(stages, "output", output)
    web, desk = config.workloads["web"], Desk(config)
    with pytest.raises(BuildFailed):
        deploying.swap_one(config, web, PLATFORM, desk)
    with pytest.raises(ValueError, match="web has no artifact"):
        deploying.swap_one(config, replace(web, swap=None), PLATFORM, desk)
    assert swapfiles.folder_of(config, web).want() is None


def test_a_deployment_closes_its_connection(
    config: Config, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []

    @contextmanager
    def connect(_config: Config) -> Iterator[Any]:
        yield hands
        closed.append(True)

    def settled(desk: Desk, *_: Any) -> Verdict:
        assert desk.api
        assert closed == []
        return Verdict("fresh", "1 pod runs it")

    monkeypatch.setattr(apiserver, "connect", connect)
    monkeypatch.setattr(Desk, "_settled", settled)
    deploy(config)
    assert closed == [True]
