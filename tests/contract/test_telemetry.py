"""Traces and metrics of the loop over a real connection, and collectors that do not take them."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from kindloop import process, telemetry
from kindloop.config import Config
from kindloop.errors import BuildFailed
from kindloop.telemetry import Part, Trace
from kindloop.telemetry.sending import QUEUED, Recorder
from kindloop.telemetry.target import Target

PATIENCE_S = 30.0


class Collector:
    """Takes OTLP over HTTP and keeps what it was sent. `status` is what it answers."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.status == 200:
                    collector.take(self.path, body)
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(body))
        elif path == "/v1/metrics":
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))

    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.traces)
            for of_resource in request.resource_spans
            for scope in of_resource.scope_spans
            for span in scope.spans
        ]

    def points(self, name: str) -> dict[tuple[tuple[str, str], ...], Any]:
        """The newest points of a metric by their labels but the environment's."""
        found = {}
        for request in list(self.metrics):
            for of_resource in request.resource_metrics:
                for scope in of_resource.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == name:
                            data = getattr(metric, str(metric.WhichOneof("data")))
                            for point in data.data_points:
                                labels = {a.key: a.value.string_value for a in point.attributes}
                                assert labels.pop("environment") == "mine"
                                found[tuple(sorted(labels.items()))] = point
        return found

    @property
    def port(self) -> int:
        return int(self.server.server_port)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of one that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield int(listening.getsockname()[1])


@pytest.fixture
def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def target(port: int) -> Target:
    base = f"http://127.0.0.1:{port}/v1"
    return Target(f"{base}/traces", f"{base}/metrics", ours=True)


def save(now_s: float | None = None, error: str = "") -> Trace:
    end_s = time.monotonic() if now_s is None else now_s
    swap = Part(
        "swap web", end_s - 2, end_s - 1, "swap", parts=(Part("verify", end_s - 2, end_s - 1.5),)
    )
    parts = (Part("quiet", end_s - 4, end_s - 3, "quiet", error=error), swap)
    attributes = {"kindloop.result": "fresh", "kindloop.files": ("a.rs", "b.rs")}
    root = Part("save", end_s - 4, end_s, error=error, attributes=attributes, parts=parts)
    return Trace(root, "failed" if error else "fresh", counts=True)


Becomes = Callable[[Callable[[], Any]], Any]


def test_a_save_arrives_as_one_trace(collector: Collector, becomes: Becomes) -> None:
    began_ns = time.time_ns()
    with Recorder(target(collector.port), "mine") as recorder:
        recorder.record(save())
        becomes(lambda: len(collector.spans()) == 4)
    spans = {span.name: span for span in collector.spans()}
    root = spans["save"]
    assert not root.parent_span_id
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    assert spans["quiet"].parent_span_id == spans["swap web"].parent_span_id == root.span_id
    assert spans["verify"].parent_span_id == spans["swap web"].span_id
    took_s = (root.end_time_unix_nano - root.start_time_unix_nano) / 1e9
    assert took_s == pytest.approx(4, abs=1e-3)
    assert abs(root.end_time_unix_nano - began_ns) < 60e9, "the time of day"
    assert root.status.code == Status.STATUS_CODE_UNSET
    named = {a.key: a.value for a in root.attributes}
    assert named["kindloop.result"].string_value == "fresh"
    assert [v.string_value for v in named["kindloop.files"].array_value.values] == ["a.rs", "b.rs"]
    resource = collector.traces[0].resource_spans[0].resource
    of_service = {a.key: a.value.string_value for a in resource.attributes}
    assert of_service["service.name"] == "kindloop"
    assert of_service["service.instance.id"] == "mine"


def test_a_failed_save_has_the_status_and_the_line(collector: Collector, becomes: Becomes) -> None:
    with Recorder(target(collector.port), "mine") as recorder:
        recorder.record(save(error="a.rs:1:1: error: no"))
        becomes(collector.spans)
    (root,) = [span for span in collector.spans() if span.name == "save"]
    assert root.status.code == Status.STATUS_CODE_ERROR
    assert root.status.message == "a.rs:1:1: error: no"


def test_each_save_is_a_trace_of_its_own_whatever_the_caller_traces(
    collector: Collector, becomes: Becomes
) -> None:
    with Recorder(target(collector.port), "mine") as recorder:
        recorder.record(save())
        recorder.record(save())
        becomes(lambda: len(collector.spans()) == 8)
    assert len({span.trace_id for span in collector.spans()}) == 2


def test_saves_are_counted_and_timed_by_part(collector: Collector, becomes: Becomes) -> None:
    with Recorder(target(collector.port), "mine") as recorder:
        recorder.record(save())
        recorder.record(save(error="no"))
        recorder.record(Trace(save().root, "fresh"))  # a start: no save
        recorder.failed("web", "rolled_back")
        becomes(collector.metrics.copy)
    saves = {labels[0][1]: one.as_int for labels, one in collector.points("kindloop.saves").items()}
    assert (saves["fresh"], saves["failed"], saves["superseded"]) == (1, 1, 0)
    took = collector.points("kindloop.save.duration")
    assert {labels[0][1] for labels in took} == {"total", "quiet", "swap"}
    total = took[("part", "total"),]
    assert (total.count, total.sum) == (2, pytest.approx(8, abs=1e-3))
    assert (total.explicit_bounds[0], total.explicit_bounds[-1]) == (0.01, 100.0)
    failed = collector.points("kindloop.swap.failures")
    assert failed[("reason", "rolled_back"), ("workload", "web")].as_int == 1


def test_freshness_is_kept_up(collector: Collector, becomes: Becomes) -> None:
    def now(name: str) -> float | None:
        point = collector.points(name).get((("workload", "web"),))
        return None if point is None else float(point.as_int or point.as_double)

    with Recorder(target(collector.port), "mine") as recorder:
        recorder.fresh("web")
        becomes(lambda: now("kindloop.fresh") == 1)
        assert now("kindloop.stale") == 0
        recorder.stale("web", time.monotonic() - 100)
        recorder.stale("web")  # it was stale already
        becomes(lambda: now("kindloop.fresh") == 0)
        assert now("kindloop.stale") >= 100  # type: ignore[operator]
        recorder.fresh("web")
        becomes(lambda: now("kindloop.fresh") == 1)
        failures = collector.points("kindloop.swap.failures")
        assert failures[("reason", "crashed"), ("workload", "web")].as_int == 0
        collector.metrics.clear()
        recorder.only(["api"])
        recorder.fresh("api")
        becomes(lambda: collector.points("kindloop.fresh"))
        assert now("kindloop.fresh") is None


def test_what_is_recorded_at_the_end_is_sent_with_it(
    collector: Collector, becomes: Becomes
) -> None:
    recorder = Recorder(target(collector.port), "mine")
    recorder.record(save())
    becomes(collector.spans)
    recorder.record(save())
    assert recorder.close(PATIENCE_S) == ""
    assert len(collector.spans()) == 8
    assert recorder.close() == "", "twice is once"


def test_the_last_word_on_a_workload_is_no_alarm(collector: Collector, becomes: Becomes) -> None:
    def last(name: str) -> dict[str, float]:
        points = collector.points(name)
        return {dict(labels)["workload"]: p.as_int or p.as_double for labels, p in points.items()}

    recorder = Recorder(target(collector.port), "mine")
    recorder.stale("web", time.monotonic() - 100)
    recorder.fresh("api")
    becomes(lambda: last("kindloop.stale").get("web", 0) >= 100)
    assert recorder.close(PATIENCE_S) == ""
    assert last("kindloop.stale")["web"] < 1
    assert last("kindloop.fresh") == {"web": 0, "api": 1}, "it is not called fresh either"


def test_metrics_that_did_not_arrive_are_in_the_next_ones(
    collector: Collector, becomes: Becomes
) -> None:
    with Recorder(target(collector.port), "mine") as recorder:
        recorder.record(save())
        becomes(collector.metrics.copy)
        collector.status = 400
        recorder.record(save())
        becomes(lambda: recorder._lost)
        collector.status = 200
        recorder.record(save())
        becomes(lambda: collector.points("kindloop.saves")[("result", "fresh"),].as_int == 3)
        assert "1 reports were not sent" in recorder.close(PATIENCE_S)
    assert len(collector.spans()) == 8, "the trace is dropped"


def test_nobody_who_listens_costs_nothing_and_is_told(dead_port: int) -> None:
    def never(*_args: Any) -> Any:
        raise AssertionError("the SDK was asked for")

    recorder = Recorder(target(dead_port), "mine", never)
    recorder.record(save())
    lost = recorder.close(PATIENCE_S)
    assert lost == f"1 reports were not sent: 127.0.0.1:{dead_port}: Connection refused"


def test_a_collector_that_comes_late_is_found(
    collector: Collector, becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(("refused", ""))
    monkeypatch.setattr(telemetry.sending, "deaf", lambda _target: next(said))
    with Recorder(target(collector.port), "mine") as recorder:
        recorder.record(save())
        becomes(lambda: recorder._lost == 1)
        recorder.record(save())
        becomes(collector.spans)


def test_one_that_never_answers_holds_up_neither_a_save_nor_the_end(
    black_hole: int, becomes: Becomes
) -> None:
    recorder = Recorder(target(black_hole), "mine")
    recorder.record(save())
    becomes(lambda: recorder._queue.empty())
    for _ in range(2 * QUEUED):
        recorder.record(save())
    lost = recorder.close(0.0)
    assert recorder._thread.is_alive(), "it was not waited for"
    assert "reports or more were not sent" in lost
    assert QUEUED <= recorder._lost + recorder._queue.qsize() <= 2 * QUEUED


def test_an_sdk_that_does_not_work_is_no_error_of_the_loop(collector: Collector) -> None:
    def broken(*_args: Any) -> Any:
        raise ImportError("protobuf is too old")

    recorder = Recorder(target(collector.port), "mine", broken)
    recorder.record(save())
    assert "protobuf is too old" in recorder.close(PATIENCE_S)


SCRIPT = """
import sys, time
from pathlib import Path
from kindloop import report, telemetry
from kindloop.config import Cluster, Config
from kindloop.telemetry import Part, Trace
report.use(report.Plain(verbosity=int(sys.argv[2])))
ports = {"otlp_http": int(sys.argv[1])}
config = Config(Path("kindloop.yaml"), "mine", cluster=Cluster(ports=ports), observability="full")
with telemetry.opened(config) as recorder:
    recorder.record(Trace(Part("save", 1.0, 2.0), "fresh", counts=True))
    while recorder._queue.qsize():
        time.sleep(0.01)
    if "interrupt" in sys.argv:
        raise KeyboardInterrupt
    if "patient" in sys.argv:
        recorder.close(30.0)
"""


def run(port: int, verbosity: int, *more: str) -> subprocess.CompletedProcess[str]:
    environ = {n: v for n, v in os.environ.items() if not n.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(port), str(verbosity), *more],
        env={**environ, "HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("kind", ["dead_port", "black_hole"])
def test_a_command_ends_and_says_no_more_than_where_it_would_go(
    kind: str, request: pytest.FixtureRequest
) -> None:
    port = request.getfixturevalue(kind)
    done = run(port, 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"saves are traced as service kindloop: http://127.0.0.1:{port}\n"


def test_with_v_the_end_says_what_was_lost(dead_port: int) -> None:
    said = run(dead_port, 1).stdout.splitlines()
    assert said[1:] == [
        f"telemetry: 1 reports were not sent: 127.0.0.1:{dead_port}: Connection refused"
    ]


def test_an_interrupt_goes_on_as_it_was(black_hole: int) -> None:
    done = run(black_hole, 0, "interrupt")
    assert "KeyboardInterrupt" in done.stderr
    assert "telemetry" not in done.stdout


def test_a_proxy_is_not_asked_for_a_collector_on_this_machine(collector: Collector) -> None:
    assert run(collector.port, 0, "patient").returncode == 0
    assert [span.name for span in collector.spans()] == ["save"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """Settings of a checkout of its own, without observability; no variable says anything."""
    for name in [n for n in os.environ if n.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    yield Config(tmp_path / "kindloop.yaml", "mine")
    for child in process._detached:
        child.wait(PATIENCE_S)
    process._detached.clear()


def to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")


def test_a_command_is_a_trace_of_its_steps_sent_by_another_process(
    collector: Collector, mine: Config, becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    to(collector.port, monkeypatch)
    with telemetry.command(mine, "rebuild"), telemetry.report.step("swap web") as step:
        step.note("as it was")
    becomes(collector.spans)
    spans = {span.name: span for span in collector.spans()}
    assert spans["swap web"].parent_span_id == spans["rebuild"].span_id
    assert abs(spans["rebuild"].end_time_unix_nano - time.time_ns()) < 60e9
    log = mine.local / "logs/telemetry.log"
    becomes(lambda: log.read_text() == "sent\n")
    assert [path for path in (mine.local / "telemetry").rglob("*") if path.is_file()] == []
    assert collector.metrics == [], "they are the watch's"


def test_a_command_that_fails_is_recorded_and_fails(
    collector: Collector, mine: Config, becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    to(collector.port, monkeypatch)
    with pytest.raises(BuildFailed), telemetry.command(mine, "push"):
        raise BuildFailed("stage web failed")
    becomes(collector.spans)
    assert collector.spans()[0].status.message == "stage web failed"


def test_a_command_that_nobody_wants_to_hear_of_starts_nothing(
    dead_port: int, mine: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with telemetry.command(mine, "rebuild"):
        pass
    to(dead_port, monkeypatch)
    with telemetry.command(mine, "rebuild"):
        pass
    assert not mine.local.exists()


def test_a_trace_that_cannot_be_handed_over_is_no_error_of_the_command(
    collector: Collector, mine: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    to(collector.port, monkeypatch)
    mine.local.write_text("no folder", encoding="utf-8")
    with telemetry.command(mine, "rebuild"):
        pass


def test_a_collector_that_never_answers_does_not_hold_a_command_up(
    black_hole: int, mine: Config, becomes: Becomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    to(black_hole, monkeypatch)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with telemetry.command(mine, "rebuild"):
        pass
    becomes(lambda: "not sent: " in (mine.local / "logs/telemetry.log").read_text())


def test_the_sdks_own_words_are_kept_from_the_terminal(
    collector: Collector, capfd: pytest.CaptureFixture[str], becomes: Becomes
) -> None:
    collector.status = 400
    with Recorder(target(collector.port), "mine") as recorder:
        recorder.record(save())
        becomes(lambda: recorder._lost)
        assert "400" in recorder.close(PATIENCE_S)
    assert capfd.readouterr().err == ""
    assert logging.getLogger("opentelemetry").handlers == []
