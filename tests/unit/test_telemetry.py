"""What is recorded of a save, where it goes, and how a command's steps become spans."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kindloop import report, telemetry
from kindloop.config import Cluster, Config, Stage
from kindloop.errors import BuildFailed, KindloopError
from kindloop.loop import recording
from kindloop.saves import Job, Saved
from kindloop.stages import Attempt
from kindloop.supervised import Report, Verdict
from kindloop.swap import Pushed
from kindloop.swapfiles import Want
from kindloop.telemetry import Part, Timeline, Trace, end_to_end, target
from kindloop.telemetry.facts import BUCKETS_S, durations
from kindloop.telemetry.steps import Steps
from kindloop.telemetry.target import Target, target_of

CONFIG = Config(Path("/checkout/kindloop.yaml"), "mine", stages={"web": Stage("web", "true")})
FULL = Config(CONFIG.path, "mine", cluster=Cluster(port_offset=2000), observability="full")


def trace_with(*parts: Part) -> Trace:
    return Trace(Part("save", 10.0, 20.0, parts=parts), "fresh", counts=True)


# -- facts


def test_the_durations_of_a_save_are_those_of_its_parts_and_the_whole() -> None:
    found = durations(
        trace_with(
            Part("quiet", 10.0, 10.5, "quiet"),
            Part("stage lib", 11.0, 12.0, "stage:lib"),
            Part("stage web", 13.0, 15.0, "stage:web"),
            Part("unlabelled", 15.0, 16.0),
        )
    )
    assert found == {"total": 10.0, "quiet": 0.5, "stage:lib": 1.0, "stage:web": 2.0, "build": 4.0}


def test_swaps_side_by_side_count_from_the_first_begin_to_the_last_end() -> None:
    parts = Part("swap web", 11.0, 13.0, "swap"), Part("swap api", 11.0, 12.0, "swap")
    assert durations(trace_with(*parts))["swap"] == 2.0


def test_parts_with_durations_only_are_laid_before_their_end() -> None:
    parts = end_to_end({"verify": 1.0, "stop": 2.0, "start": 3.0}, 20.0)
    assert [(p.name, p.began_s, p.ended_s) for p in parts] == [
        ("verify", 14.0, 15.0),
        ("stop", 15.0, 17.0),
        ("start", 17.0, 20.0),
    ]


def test_what_raises_is_a_part_with_its_error() -> None:
    timeline = Timeline()
    with pytest.raises(KindloopError), timeline.taking("answer"):
        raise KindloopError("no answer", why="nobody listens")
    (part,) = timeline.parts
    assert (part.name, part.label, part.error) == ("answer", "answer", "no answer")
    assert part.ended_s >= part.began_s


def test_the_buckets_reach_from_a_file_in_place_to_a_release_build() -> None:
    assert (BUCKETS_S[0], BUCKETS_S[-1]) == (0.01, 100.0)
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))


# -- where to


@pytest.mark.parametrize(
    ("config", "variables", "expected"),
    [
        (CONFIG, {}, Target()),
        (
            FULL,
            {},
            Target(
                "http://127.0.0.1:6318/v1/traces", "http://127.0.0.1:6318/v1/metrics", ours=True
            ),
        ),
        (FULL, {"OTEL_SDK_DISABLED": "TRUE"}, Target()),
        (
            CONFIG,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/base/"},
            Target("https://collector/base/v1/traces", "https://collector/base/v1/metrics"),
        ),
        (
            FULL,
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://here:1/t"},
            Target("http://here:1/t", "http://127.0.0.1:6318/v1/metrics"),
        ),
        (
            CONFIG,
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://here:1/m"},
            Target("", "http://here:1/m"),
        ),
    ],
)
def test_where_it_goes(config: Config, variables: dict[str, str], expected: Target) -> None:
    assert target_of(config, variables) == expected


def test_a_collector_whose_port_is_left_out_is_not_looked_for() -> None:
    config = Config(FULL.path, "mine", cluster=Cluster(ports={}), observability="full")
    assert not target_of(config, {}).wanted


def test_a_protocol_that_is_not_spoken_is_said_and_nothing_is_sent() -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    found = target_of(CONFIG, variables)
    assert not found.wanted
    assert "grpc" in found.why_not
    assert target_of(FULL, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).wanted, "the own collector"


def test_only_what_is_on_this_machine_is_knocked_at() -> None:
    assert Target("http://127.0.0.1:1/t", "http://127.0.0.1:1/m").local() == (("127.0.0.1", 1),)
    assert Target("https://localhost/t", "http://elsewhere/m").local() == (("localhost", 443),)


# -- without it


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def test_an_environment_without_observability_says_nothing_of_it(shown: Any) -> None:
    with telemetry.opened(CONFIG) as recorder:
        recorder.record(trace_with())
        recorder.stale("web")
    assert type(recorder) is telemetry.Muted
    assert shown.events == []


def test_without_the_extra_a_line_says_how_to_get_it(
    shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "installed", lambda: False)
    with telemetry.opened(FULL) as recorder:
        recorder.record(trace_with())
    assert shown.texts("line") == ["no traces of the loop: pip install 'kindloop[otel]'"]


def test_the_extra_is_one_and_is_tested_here(repo: Path) -> None:
    extras = tomllib.loads((repo / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    extra = telemetry.INSTALL.split("'")[1]
    (ours,) = (one for one in extras["dev"] if one.startswith("kindloop["))
    assert extra.strip("]").split("[")[1] in ours.strip("]").split("[")[1].split(",")
    assert {name.split(">")[0] for name in extras["otel"]} == {
        "opentelemetry-sdk",
        "opentelemetry-exporter-otlp-proto-http",
    }


def test_the_extra_is_looked_for_and_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert target.installed()
    monkeypatch.setattr(target.importlib.util, "find_spec", lambda _name: None)
    assert not target.installed()


def test_no_task_imports_the_sdk() -> None:
    """It takes longer than `dev-up` may take to find that nothing is to do."""
    code = (
        "import sys, kindloop.tasks; from kindloop.telemetry import target; target.installed();"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.', 'requests', 'google'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Looking for a package imports those that it is in: namespaces without a file.
    assert "sdk" not in done.stdout
    assert "requests" not in done.stdout
    assert "google" not in done.stdout


# -- steps of a command


def test_the_steps_of_a_command_are_its_spans(shown: Any) -> None:
    taken: list[Trace] = []
    with Steps("rebuild", CONFIG, taken.append):
        with report.step("web") as step:
            step.note("src changed")
        with report.step("swap web"), report.step("inside"):
            report.line("seen")
        with report.step("web answers"):
            pass
    (trace,) = taken
    assert (trace.root.name, trace.result, trace.counts) == ("rebuild", "fresh", False)
    assert [one.name for one in trace.root.parts] == ["stage web", "swap web", "answer"]
    assert [one.name for one in trace.root.parts[1].parts] == ["inside"]
    assert trace.root.parts[0].attributes == {"kindloop.note": "src changed"}
    assert trace.root.attributes["kindloop.environment"] == "mine"
    assert shown.texts("line") == ["seen"]
    assert report.current() is shown


def test_a_command_that_fails_is_a_trace_with_the_first_line_of_why(shown: Any) -> None:
    taken: list[Trace] = []
    with pytest.raises(BuildFailed), Steps("push", CONFIG, taken.append), report.step("web"):
        raise BuildFailed("stage web failed: 1 error", hint="mend it")
    (trace,) = taken
    assert (trace.result, trace.root.error) == ("failed", "stage web failed: 1 error")
    assert trace.root.parts[0].error


# -- a round


JOB = Job("save", 10.0, ready_s=10.2)
GOOD = Saved("fresh", 3.0, workload="web", digest="d1", paths=("src/a.rs",))


def test_a_save_is_a_trace_from_its_first_event_to_the_answer() -> None:
    parts = [Part("stage web", 10.3, 11.0, "stage:web"), Part("answer", 12.0, 12.5, "answer")]
    trace = recording.trace_of("mine", JOB, parts, [GOOD], 12.5)
    root = trace.root
    assert (root.name, root.began_s, root.ended_s, root.error) == ("save", 10.0, 12.5, "")
    assert [(one.name, one.began_s, one.ended_s) for one in root.parts] == [
        ("quiet", 10.0, 10.2),
        ("wait", 10.2, 10.3),
        ("stage web", 10.3, 11.0),
        ("answer", 12.0, 12.5),
    ]
    assert root.attributes == {
        "kindloop.environment": "mine",
        "kindloop.result": "fresh",
        "kindloop.cause": "save",
        "kindloop.digest": "d1",
        "kindloop.files": ("src/a.rs",),
        "kindloop.workload": "web",
    }
    assert trace.counts


@pytest.mark.parametrize(
    ("lines", "result", "error"),
    [
        (None, "superseded", "a newer save took its place: a.rs"),
        (
            [Saved("not built", 1.0, errors=("a.rs:1:1: error: no", "b"))],
            "not_built",
            "a.rs:1:1: error: no",
        ),
        (
            [GOOD, Saved("rolled_back", 1.0, reason="main.rs:1:1: no\nmore")],
            "rolled_back",
            "main.rs:1:1: no",
        ),
        ([Saved("stale", 1.0)], "stale", "stale"),
    ],
)
def test_a_save_that_failed_is_a_trace_with_its_first_error(
    lines: list[Saved] | None, result: str, error: str
) -> None:
    trace = recording.trace_of("mine", JOB, [], lines, 12.0, newer="a.rs")
    assert (trace.result, trace.root.error) == (result, error)


@pytest.mark.parametrize("cause", ["start", "heal", "rebuild", "generate"])
def test_what_nobody_saved_is_a_trace_and_no_save(cause: Any) -> None:
    trace = recording.trace_of("mine", Job(cause, 10.0), [], [GOOD], 12.0)
    assert (trace.root.name, trace.root.parts, trace.counts) == (cause, (), False)


def test_the_stages_that_ran_are_parts_failed_ones_with_their_error() -> None:
    failed = BuildFailed("stage web failed", evidence=["Compiling", "a.rs:1:1: error: no"])
    attempt = Attempt(failed={"web": failed}, took={"lib": (2.0, 3.0), "web": (3.0, 4.5)})
    timeline = Timeline()
    recording.built(timeline, attempt, 1.5)
    assert [(p.name, p.label, p.began_s, p.ended_s, p.error) for p in timeline.parts] == [
        ("look", "look", 1.5, 2.0, ""),
        ("stage lib", "stage:lib", 2.0, 3.0, ""),
        ("stage web", "stage:web", 3.0, 4.5, "a.rs:1:1: error: no"),
    ]


PUSHED = Pushed("web", Want(7, "d1", 1, None, {}, 2000, 5000, True, None), ("binary",), 0.01)
TIMED = {"start": 20.0, "verify": 5.0, "stop": 10.0}


def said(generation: int) -> Report:
    return Report("web-1", outcome="fresh", outcome_generation=generation, timings_ms=TIMED)


def test_a_swap_has_the_supervisors_timings_in_their_order() -> None:
    timeline = Timeline()
    verdict = Verdict("fresh", "", (said(7), said(6)))
    part = recording.swapped(timeline, PUSHED, verdict, 1.0)
    assert (part.name, part.label, part.began_s, part.error) == ("swap web", "swap", 1.0, "")
    assert part.attributes == {"kindloop.workload": "web", "kindloop.digest": "d1"}
    assert [(one.name, round(one.took_s, 6)) for one in part.parts] == [
        ("verify", 0.005),
        ("stop", 0.01),
        ("start", 0.02),
    ], "one that reports of another generation tells nothing of this swap"
    assert part.parts[-1].ended_s == part.ended_s
    assert {one.attributes["k8s.pod.name"] for one in part.parts} == {"web-1"}


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (KindloopError("the API server does not answer"), "the API server does not answer"),
        (Verdict("rolled_back", "rolled back", (Report("web-1", reason="exit 1"),)), "exit 1"),
        (Verdict("unknown", ""), "unknown"),
    ],
)
def test_a_swap_that_failed_says_why(verdict: Verdict | KindloopError, error: str) -> None:
    part = recording.swapped(Timeline(), PUSHED, verdict, 1.0)
    assert (part.error, part.parts) == (error, ())
