"""The verdict on what supervisors report, which pods are asked, and what a log says of a panic."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kindloop import supervised
from kindloop.apiserver import Answer
from kindloop.config import Config, Image, Workload
from kindloop.errors import CannotTell, NotOurs, Unhealthy
from kindloop.supervised import Pods, Report, Silence, judge, last_panic, last_words
from kindloop.swapfiles import Want

A, B, TREE = "a" * 64, "b" * 64, "c" * 64
CONFIG = Config(Path("/app/kindloop.yaml"), name="mine")
WORKLOAD = Workload("web", Image(Path("/app/Dockerfile")), Path("/app/k8s"))
WANT = Want(7, A, 100, None, {}, 2000, 5000, rollback=True, tree=None)
FRESH = Report(
    "web-1", "", 3, "running", ready=True, wanted_generation=7, running_digest=A,
    running_generation=7, outcome="fresh", outcome_generation=7, tree=TREE,
)  # fmt: skip
OLD = replace(FRESH, running_digest=B, running_generation=6, outcome_generation=6)
SECOND = replace(FRESH, pod="web-2")
SILENT = Silence("web-2", "no supervisor listens on port 9909")


def _ended(outcome: str, **changes: Any) -> Report:
    return replace(OLD, outcome=outcome, outcome_generation=7, reason="exit code 101", **changes)


@pytest.mark.parametrize(
    ("replicas", "reports", "state", "code", "reason"),
    [
        (1, [FRESH], "fresh", 0, "1 pod runs aaaaaaaa"),
        (2, [FRESH, SECOND], "fresh", 0, "2 pods run aaaaaaaa"),
        (1, [FRESH, SECOND], "fresh", 0, "2 pods run"),
        (0, [], "unhealthy", 1, "asks for no pod"),
        (0, [FRESH], "unhealthy", 1, "asks for no pod"),
        (1, [], "unknown", 3, "there is no pod to ask"),
        (1, [SILENT], "unknown", 3, "no supervisor answers: web-2: no supervisor listens"),
        (2, [FRESH], "unhealthy", 1, "1 of 2 pods are there"),
        (2, [FRESH, SILENT], "unhealthy", 1, "web-2 does not answer: no supervisor listens"),
        (1, [FRESH, SILENT], "unhealthy", 1, "web-2 does not answer"),
        (1, [OLD], "stale", 4, "bbbbbbbb runs, not aaaaaaaa"),
        (2, [FRESH, replace(OLD, pod="web-2")], "stale", 4, "1 of 2 pods: bbbbbbbb runs"),
        (2, [OLD, SILENT], "stale", 4, "1 of 2 pods: bbbbbbbb runs"),
        (1, [replace(FRESH, running_generation=6)], "stale", 4, "not with the newest settings"),
        (1, [replace(FRESH, running_generation=None)], "stale", 4, "not with the newest settings"),
        (1, [replace(FRESH, tree=None)], "stale", 4, "older synced files"),
        (1, [replace(FRESH, tree=B)], "stale", 4, "older synced files"),
        (1, [replace(FRESH, wanted_generation=8)], "stale", 4, "a newer swap, 8, took the place"),
        (1, [replace(FRESH, ready=False)], "unhealthy", 1, "is not ready (running)"),
        (1, [replace(FRESH, running_digest=None)], "unhealthy", 1, "nothing runs (running)"),
        (1, [replace(FRESH, problem="want.json: no JSON")], "unhealthy", 1, "want.json: no JSON"),
        (1, [replace(FRESH, version=2, problem="newer")], "unknown", 3, "newer"),
        (1, [_ended("rolled_back")], "rolled_back", 4, "rolled back: exit code 101"),
        (1, [_ended("refused")], "unhealthy", 1, "refused: exit code 101"),
        (1, [_ended("failed")], "unhealthy", 1, "failed: exit code 101"),
        (1, [_ended("crashed")], "unhealthy", 1, "crashed: exit code 101"),
        # Between two crashes it may be ready for a moment.
        (1, [replace(FRESH, outcome="crashed")], "unhealthy", 1, "crashed: no reason given"),
        (2, [_ended("rolled_back"), SECOND], "rolled_back", 4, "1 of 2 pods: rolled back"),
        (2, [_ended("rolled_back"), _ended("refused")], "unhealthy", 1, "1 of 2 pods: refused"),
        (2, [_ended("rolled_back"), replace(OLD, pod="web-2")], "rolled_back", 4, "1 of 2 pods"),
    ],
)  # fmt: skip
def test_judge(
    replicas: int, reports: list[Report | Silence], state: str, code: int, reason: str
) -> None:
    verdict = judge(A, 7, TREE, replicas, reports)
    assert (verdict.state, verdict.exit_code) == (state, code)
    assert reason in verdict.reason
    assert bool(verdict.hint) == (state != "fresh")
    assert [*verdict.pods, *verdict.silent] == sorted(reports, key=lambda r: type(r) is Silence)


@pytest.mark.parametrize(
    ("report", "state"),
    [
        (replace(FRESH, running_generation=0, wanted_generation=None, outcome=None), "fresh"),
        (replace(FRESH, tree=None), "fresh"),
        (OLD, "stale"),
        (_ended("rolled_back"), "rolled_back"),
        # What an older generation came to says nothing of the wanted one.
        (replace(FRESH, outcome="crashed", outcome_generation=6), "fresh"),
    ],
)
def test_without_a_generation_the_digest_decides(report: Report, state: str) -> None:
    assert judge(A, None, None, 1, [report]).state == state


DOCUMENT = {
    "version": 1, "supervisor": "0.1.0", "revision": 17, "state": "running", "ready": True,
    "wanted": {"generation": 7, "digest": A}, "tree": TREE, "restarts": 2, "good": B,
    "running": {"generation": 7, "digest": A, "pid": 7, "started_ms": 1, "source": "swap",
                "listens": "0.0.0.0:80"},
    "outcome": {"generation": 7, "result": "fresh", "reason": "ready"}, "problem": None,
    "exit": None, "reaped": 3, "timings_ms": {"verify": 7.1, "stop": 2}, "later": {"x": []},
}  # fmt: skip


def test_a_report_is_read() -> None:
    assert Report.from_json(DOCUMENT, "web-1") == Report(
        "web-1", "", 17, "running", True, 7, A, 7, "fresh", 7, "ready", B, TREE, 2,
        {"verify": 7.1, "stop": 2.0}, listens="0.0.0.0:80",
    )  # fmt: skip


@pytest.mark.parametrize("document", [None, [], "x", 7, {}, {"running": 3, "outcome": [], "tree": 1,
    "ready": "yes", "revision": True, "wanted": {"generation": "7"}, "timings_ms": {"a": "b"}}])  # fmt: skip
def test_what_is_missing_or_odd_stays_unknown(document: Any) -> None:
    report = Report.from_json(document, "web-1")
    assert report == Report("web-1", version=0)
    assert judge(A, None, None, 1, [report]).state == "unhealthy"


def test_a_newer_protocol_is_said_and_not_guessed_at() -> None:
    report = Report.from_json({**DOCUMENT, "version": 2}, "web-1")
    assert "newer protocol (2)" in report.problem
    assert judge(A, 7, TREE, 1, [report]).state == "unknown"


class FakeApi:
    """An API server with one Deployment; `status` answers for a pod, None leaves it silent."""

    def __init__(self, *pods: str, replicas: int | None = None) -> None:
        self.pods: dict[str, dict[str, Any]] = {name: {} for name in pods}
        self.replicas: int | None = len(pods) if replicas is None else replicas
        self.asked: list[str] = []
        self.status: Callable[[str, dict[str, str]], Any] = lambda _pod, _query: None
        self.trouble: Exception | None = None
        self.log: dict[str, Answer] = {}

    def json(self, path: str, timeout_s: float = 5.0, *, or_none: bool = False) -> Any:
        self.asked.append(path)
        if self.trouble:
            raise self.trouble
        if "/deployments/" in path:
            scale = {"spec": {"replicas": self.replicas}, "status": {"selector": "app=web"}}
            return None if self.replicas is None else scale
        items = []
        for name, more in self.pods.items():
            metadata = {"name": name, "uid": f"u-{name}", **more.get("metadata", {})}
            items.append({**more, "metadata": metadata})
        return {"items": items}

    def get(self, path: str, timeout_s: float = 5.0) -> Answer:
        self.asked.append(path)
        parts = urlsplit(path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        if "/log" in parts.path:
            return self.log[query.get("container", "")]
        pod = parts.path.split("/pods/")[1].split(":")[0]
        said = self.status(pod, query)
        if said is None:
            refused = "error trying to reach service: dial tcp 10.1.2.3:9909: connection refused"
            return Answer(503, json.dumps({"kind": "Status", "message": refused}).encode())
        return Answer(200, json.dumps(said).encode())

    def count(self, part: str) -> int:
        """How many requests had `part` in their path."""
        return sum(part in path for path in self.asked)


def _says(generation: int = 7, digest: str = A, result: str | None = "fresh", **more: Any) -> Any:
    outcome = {"generation": generation, "result": result, "reason": "it panicked"}
    running = {"generation": generation, "digest": digest}
    return {**DOCUMENT, "running": running, "outcome": outcome if result else None, **more}


def _wait(api: Any, timeout_s: float = 30.0, pods: Pods | None = None) -> supervised.Verdict:
    return supervised.wait(api, CONFIG, WORKLOAD, WANT, timeout_s, pods=pods)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "LOOK_S", 0.01)


def test_look_leaves_out_pods_that_are_ending_or_have_ended() -> None:
    api: Any = FakeApi("web-1", "web-2", "web-3", replicas=2)
    api.pods["web-2"] = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert supervised.look(api, CONFIG, WORKLOAD) == (2, ["web-1", "web-3"])
    scale, pods = api.asked
    assert scale == "/apis/apps/v1/namespaces/mine/deployments/web/scale?resourceVersion=0"
    assert parse_qs(urlsplit(pods).query) == {
        "labelSelector": ["app=web"],
        "fieldSelector": ["status.phase!=Failed,status.phase!=Succeeded"],
        "resourceVersion": ["0"],
    }


def test_look_without_a_deployment_names_the_next_command() -> None:
    api: Any = FakeApi()
    api.replicas = None
    with pytest.raises(Unhealthy, match="no Deployment web") as caught:
        supervised.look(api, CONFIG, WORKLOAD)
    assert caught.value.hint == "invoke dev-up"
    assert _wait(api).state == "unhealthy"


def test_ask_goes_through_the_pod_proxy() -> None:
    api: Any = FakeApi("web-1")
    api.status = lambda _pod, _query: DOCUMENT
    supervised.ask(api, CONFIG, "web-1")
    supervised.ask(api, CONFIG, "web-1", generation=7, wait_s=99)
    proxy = "/api/v1/namespaces/mine/pods/web-1:9909/proxy/status"
    assert api.asked == [proxy, f"{proxy}?generation=7&wait_s=30.000"]


def test_all_are_asked_and_those_without_a_supervisor_are_named() -> None:
    api: Any = FakeApi("web-1", "web-2")
    api.status = lambda pod, _query: DOCUMENT if pod == "web-1" else None
    said = supervised.ask_all(api, CONFIG, ["web-2", "web-1"])
    assert said == [SILENT, Report.from_json(DOCUMENT, "web-1")]


def test_wait_needs_one_question_and_the_list() -> None:
    api: Any = FakeApi("web-1")
    api.status = lambda _pod, _query: _says()
    verdict = _wait(api)
    assert (verdict.state, verdict.pods[0].uid) == ("fresh", "u-web-1")
    assert len(api.asked) == 3
    assert "generation=7" in api.asked[2]


def test_wait_reads_the_list_when_the_remembered_pods_have_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervised, "LOOK_S", 60.0)
    api: Any = FakeApi("web-1", "web-2")
    pods = Pods(api, CONFIG, WORKLOAD)
    pods.renew()
    api.asked, listed = [], []

    def status(_pod: str, _query: dict[str, str]) -> Any:
        listed.append(api.count("/deployments/"))
        return _says()

    api.status = status
    assert _wait(api, pods=pods).state == "fresh"
    assert (listed, api.count("/deployments/")) == ([0, 0], 1)


def test_a_remembered_pod_that_is_slow_does_not_hold_up_the_list() -> None:
    api: Any = FakeApi("web-1")
    pods = Pods(api, CONFIG, WORKLOAD)
    pods.renew()
    listed = threading.Event()
    api.status = lambda _pod, _query: listed.wait(30) and _says()
    json_, api.asked = api.json, []

    def lists_once_asked(path: str, **more: Any) -> Any:
        # Fails on a `wait` that reads the list first: nothing is asked, and this never ends.
        while not api.count("/proxy/"):
            time.sleep(0.001)
        listed.set()
        return json_(path, **more)

    api.json = lists_once_asked
    assert _wait(api, pods=pods).state == "fresh"
    assert api.count("/proxy/") == 1


def test_a_scaled_deployment_is_seen_in_spite_of_what_is_remembered() -> None:
    api: Any = FakeApi("web-1")
    pods = Pods(api, CONFIG, WORKLOAD)
    pods.renew()
    api.pods["web-2"], api.replicas = {}, 2
    api.status = lambda _pod, _query: _says()
    verdict = _wait(api, pods=pods)
    assert (verdict.state, [one.pod for one in verdict.pods]) == ("fresh", ["web-1", "web-2"])


@pytest.mark.parametrize(
    ("result", "state"),
    [("refused", "unhealthy"), ("failed", "unhealthy"), ("crashed", "unhealthy"),
     ("rolled_back", "rolled_back")],
)  # fmt: skip
def test_wait_ends_at_once_when_it_failed_for_good(result: str, state: str) -> None:
    api: Any = FakeApi("web-1", "web-2")
    api.status = lambda pod, _query: _says(result="fresh" if pod == "web-1" else result)
    verdict = _wait(api, timeout_s=3600)
    assert (verdict.state, len(verdict.pods)) == (state, 2)
    assert "it panicked" in verdict.reason


def test_wait_ends_when_a_newer_swap_came() -> None:
    api: Any = FakeApi("web-1")
    api.status = lambda _pod, _query: _says(8, B, wanted={"generation": 8, "digest": B})
    assert _wait(api, timeout_s=3600).reason.startswith("a newer swap, 8")


def test_wait_finds_the_pod_that_takes_the_place_of_another() -> None:
    api: Any = FakeApi("web-1")

    def status(pod: str, _query: dict[str, str]) -> Any:
        if pod == "web-1":
            api.pods = {"web-2": {}}
            return None
        return _says() if api.count("web-2:") > 2 else None  # it starts

    api.status = status
    verdict = _wait(api, timeout_s=3600)
    assert (verdict.state, [one.pod for one in verdict.pods]) == ("fresh", ["web-2"])


def test_wait_goes_on_when_it_was_fresh_and_is_not_ready() -> None:
    """The answer to `generation` would come at once, again and again."""
    api: Any = FakeApi("web-1")
    said = iter([_says(ready=False), _says(ready=False, revision=18), _says(revision=19)])
    api.status = lambda _pod, _query: next(said)
    assert _wait(api, timeout_s=3600).state == "fresh"
    asked = [parse_qs(urlsplit(path).query) for path in api.asked if "/proxy/" in path]
    assert [q.get("revision") for q in asked] == [None, ["17"], ["18"]]


def test_wait_without_time_asks_once() -> None:
    api: Any = FakeApi("web-1")
    api.status = lambda _pod, _query: _says(6, B, wanted={"generation": 6, "digest": B})
    assert _wait(api, timeout_s=0).state == "stale"
    assert api.count("/proxy/") == 1


def test_wait_says_at_the_deadline_that_nobody_answers() -> None:
    api: Any = FakeApi("web-1")
    verdict = _wait(api, timeout_s=0.05)
    assert (verdict.state, verdict.silent[0].why) == ("unknown", SILENT.why)


def test_an_api_server_that_comes_back_is_waited_for() -> None:
    api: Any = FakeApi("web-1")
    api.status = lambda _pod, _query: _says()
    api.trouble = CannotTell("the API server does not answer", hint="invoke cluster.status")
    assert _wait(api, timeout_s=0).state == "unknown"
    json_ = api.json

    def comes_back(path: str, **more: Any) -> Any:
        if len(api.asked) > 5:
            api.trouble = None
        return json_(path, **more)

    api.json = comes_back
    assert _wait(api, timeout_s=3600).state == "fresh"


def test_another_cluster_is_no_verdict() -> None:
    api: Any = FakeApi("web-1")

    def status(_pod: str, _query: dict[str, str]) -> Any:
        raise NotOurs("another cluster has the port")

    api.status = status
    with pytest.raises(NotOurs):
        _wait(api)


def test_follow_tells_what_changed() -> None:
    api: Any = FakeApi("web-1", "web-2")
    said: dict[str, Iterator[int]] = {"web-1": iter([17, 18]), "web-2": iter([5, 5])}
    api.status = lambda pod, _query: _says(revision=next(said[pod]))
    changed = supervised.follow(api, CONFIG, WORKLOAD, {"web-1": 17, "web-2": 5}, 3600)
    assert [(one.pod, one.revision) for one in changed] == [("web-1", 18)]
    assert api.count("web-1:9909/proxy/status?revision=17&wait_s=1.000") == 2


def test_follow_asks_new_pods_and_restarted_supervisors_without_a_revision() -> None:
    api: Any = FakeApi("web-1")
    said = iter([None, _says(revision=17)])
    api.status = lambda _pod, _query: next(said)
    changed = supervised.follow(api, CONFIG, WORKLOAD, {"web-1": 17}, 3600)
    assert [one.revision for one in changed] == [17]
    assert api.asked[-1].endswith("/status")
    api.status = lambda _pod, _query: _says(revision=1)
    assert supervised.follow(api, CONFIG, WORKLOAD, {}, 3600)[0].revision == 1


def test_follow_ends_without_news() -> None:
    api: Any = FakeApi("web-1")
    api.status = lambda _pod, _query: _says()
    assert supervised.follow(api, CONFIG, WORKLOAD, {"web-1": 17}, 0) == []
    api.trouble = CannotTell("the API server does not answer")
    with pytest.raises(CannotTell):
        supervised.follow(api, CONFIG, WORKLOAD, {"web-1": 17}, 0.02)


PANIC = "thread 'main' (9) panicked at src/b.rs:1:1:\nno"


def _mark(generation: int, digit: str) -> str:
    """The supervisor's line at each start."""
    return f"kindloop: swap generation={generation} digest={digit * 4} pid=7 verify_ms=2 stop_ms=1"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        pytest.param(
            "thread 'main' panicked at src/main.rs:12:5:\nno such spec: x.yaml\n"
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            "src/main.rs:12:5: no such spec: x.yaml", id="since 1.73",
        ),
        pytest.param(
            "\nthread 'main' (8912) panicked at src/main.rs:3:42:\ncalled `Result::unwrap()` on an "
            "`Err` value: ParseIntError { kind: InvalidDigit }\nstack backtrace:\n   0: rust_begin",
            "src/main.rs:3:42: called `Result::unwrap()` on an `Err` value: "
            "ParseIntError { kind: InvalidDigit }", id="since 1.91, with the thread's id",
        ),
        pytest.param(
            "thread 'w-1' panicked at src/lib.rs:9:1:\nassertion `left == right` failed: sum\n"
            "  left: 1\n right: 2\nlistening",
            "src/lib.rs:9:1: assertion `left == right` failed: sum, left: 1, right: 2", id="assert",
        ),
        pytest.param(
            "thread 'main' panicked at 'it's gone', src/x.rs:12:5\nnote: run with `RUST_BACK",
            "src/x.rs:12:5: it's gone", id="before 1.73",
        ),
        pytest.param(
            "thread '<unnamed>' panicked at 'assertion failed: `(left == right)`\n  left: `1`,\n"
            " right: `2`', src/x.rs:12:5",
            "src/x.rs:12:5: assertion failed: `(left == right)`, left: `1`, right: `2`",
            id="before 1.73, over lines",
        ),
        pytest.param(
            "thread 'a' panicked at src/a.rs:1:1:\nfirst\nthread 'b' panicked at src/b.rs:2:2:\nlast",
            "src/b.rs:2:2: last", id="the last",
        ),
        pytest.param(
            "thread 'main' panicked at src/a.rs:1:1:\nin a drop\nstack backtrace:\n"
            "thread 'main' panicked at library/core/src/panicking.rs:233:5:\n"
            "panic in a destructor during cleanup\nthread caused non-unwinding panic. aborting.",
            "src/a.rs:1:1: in a drop", id="our own rather than the library's",
        ),
        pytest.param(
            "thread 'main' panicked at src/a.rs:1:1:\nold\nkindloop: swap 8 aaaaaaaa\nlistening",
            "", id="before the last swap",
        ),
        pytest.param(
            "kindloop: swap 7 b\nthread 'main' panicked at src/a.rs:1:1:\nkindloop: swap 8 a\n"
            "thread 'main' panicked at src/b.rs:1:1:\nkindloop: it ended",
            "src/b.rs:1:1", id="without a message",
        ),
        pytest.param("thread 'main' panicked at src/b.rs:1:1:", "src/b.rs:1:1", id="cut off"),
        pytest.param(
            f"{_mark(7, 'a')}\n{_mark(8, 'b')}\n{PANIC}\nkindloop: rolled back to aaaa: exit code 101\n"
            f"{_mark(7, 'a')}\nlistening\nkindloop: ready generation=7 digest=aaaa start_ms=9.3",
            "src/b.rs:1:1: no", id="rolled back since",
        ),
        pytest.param(
            f"{PANIC}\nkindloop: rolled back to aaaa: exit code 101\n{_mark(7, 'a')}",
            "src/b.rs:1:1: no", id="rolled back since, its mark cut off",
        ),
        pytest.param(
            f"{_mark(8, 'b')}\n{PANIC}\nkindloop: bbbb ended (exit code 101); again in 100 ms\n"
            f"{_mark(8, 'b')}\n{_mark(8, 'b')}",
            "src/b.rs:1:1: no", id="started again since",
        ),
        pytest.param(
            f"{_mark(8, 'b')}\n{PANIC}\nkindloop: bbbb ended (exit code 101); again in 100 ms\n"
            f"{_mark(9, 'c')}\nhanging", "", id="another one swapped in after it crashed",
        ),
        pytest.param(
            f"{_mark(8, 'b')}\n{PANIC}\nkindloop: rolled back to aaaa: exit code 101\n"
            f"{_mark(7, 'a')}\n{_mark(9, 'c')}\nhanging", "", id="another one after a roll back",
        ),
        pytest.param(
            f"{_mark(8, 'b')}\n{PANIC}\nkindloop: rolled back to aaaa: exit code 101\n"
            f"{_mark(9, 'c')}\nhanging", "", id="another one instead of the roll back",
        ),
        pytest.param("thread 'main' panicked at 'cut", "", id="before 1.73, cut off"),
        pytest.param('{"message":"nobody panicked at all"}', "", id="none"),
    ],
)  # fmt: skip
def test_the_last_panic(log: str, said: str) -> None:
    assert last_panic(log.splitlines()) == said


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", []),
        ("one\ntwo", ["one", "two"]),
        (f"old\n{_mark(8, 'b')}\nbad config\n", ["bad config"]),
        (f"{_mark(8, 'b')}\n1\n2\n3\n4\n5\n6", ["2", "3", "4", "5", "6"]),
        (
            (
                f"{_mark(8, 'b')}\nbad config\nkindloop: rolled back to aaaa: exit code 1\n"
                f"{_mark(7, 'a')}\nlistening"
            ),
            ["bad config"],
        ),
        (
            (
                f"{_mark(8, 'b')}\nbad config\nkindloop: bbbb ended (exit code 1); again in 100 ms\n"
                f"{_mark(8, 'b')}"
            ),
            ["bad config"],
        ),
        (f"{_mark(8, 'b')}\nbad config\n{_mark(9, 'c')}\n", []),
        (
            (
                f"{_mark(8, 'b')}\nbad config\nkindloop: rolled back to aaaa: exit code 1\n"
                f"{_mark(7, 'a')}\nkindloop: ready generation=7 digest=aaaa start_ms=3\n"
                f"{_mark(9, 'a')}\nlistening"
            ),
            ["bad config"],
        ),
    ],
    ids=[
        "none",
        "unmarked",
        "the newest",
        "no more than five",
        "rolled back",
        "again",
        "another",
        "published again",
    ],
)
def test_the_last_words(log: str, said: list[str]) -> None:
    assert last_words(log.splitlines()) == said


def test_a_panic_is_looked_for_in_the_workloads_container() -> None:
    api: Any = FakeApi("web-1")
    found = Answer(200, b"thread 'main' panicked at src/b.rs:1:1:\nno\n")
    api.log = {"web": found}
    assert supervised.panic_of(api, CONFIG, WORKLOAD, "web-1") == "src/b.rs:1:1: no"
    api.log = {"web": Answer(400, b"container web is not valid"), "": found}
    assert supervised.panic_of(api, CONFIG, WORKLOAD, "web-1") == "src/b.rs:1:1: no"
    api.log = {"web": Answer(404, b""), "": Answer(404, b"")}
    assert supervised.panic_of(api, CONFIG, WORKLOAD, "web-1") == ""
