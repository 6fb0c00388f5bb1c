"""The OpenTelemetry SDK at work: facts become spans and metrics, and go out as OTLP over HTTP.

The only module that imports the SDK; nobody imports this one before there is something to send.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode

from kindloop import __version__, report
from kindloop.telemetry.facts import BUCKETS_S, Part, Trace, durations
from kindloop.telemetry.sending import Fact, Failure, Freshness
from kindloop.telemetry.target import Target

__all__ = ["SERVICE", "Sender"]

SERVICE = "kindloop"
SEND_S = 2.0
"""Seconds for a request with all its attempts, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise."""
RESULTS = ("fresh", "unchanged", "not_built", "rolled_back", "superseded", "failed")
REASONS = ("rolled_back", "refused", "crashed", "unhealthy", "failed")
"""What is counted from 0 on, before the first of its kind: an increase is seen from there only."""


class Sender:
    """Sends facts of one environment to a target."""

    def __init__(
        self, target: Target, environment: str, freshness: Callable[[], Freshness]
    ) -> None:
        self._words = _LastWords()
        # One watch per environment: after a restart it goes on with the same series.
        resource = Resource.create(
            {
                "service.name": SERVICE,
                "service.version": __version__,
                "service.instance.id": environment,
            }
        )
        self._traces = _Traces(target, resource) if target.traces else None
        self._metrics = (
            _Metrics(target, resource, environment, freshness) if target.metrics else None
        )

    def send(self, facts: Iterable[Fact]) -> str:
        """Send; why the traces did not arrive, or nothing. Metrics are told anew each time."""
        for fact in facts:
            if isinstance(fact, Trace) and self._traces:
                self._traces.add(fact)
            if self._metrics:
                self._metrics.add(fact)
        self._words.last = ""
        arrived = self._traces.send() if self._traces else True
        why = "" if arrived else self._words.last or "the collector did not take them"
        if self._metrics:
            self._metrics.send()
        return why

    def close(self) -> None:
        """Let go of the connections, and of the SDK's loggers."""
        for signal in (self._traces, self._metrics):
            if signal:
                signal.close()
        self._words.close()


class _Traces:
    """Traces become spans with their own times."""

    def __init__(self, target: Target, resource: Resource) -> None:
        self._exporter = OTLPSpanExporter(
            target.traces, timeout=_timeout_s("TRACES"), session=_session(target)
        )
        self._ended = _Ended()
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer(SERVICE, __version__)

    def add(self, fact: Trace) -> None:
        # An empty context, or it would be the child of what happens to run.
        self._span(fact.root, Context(), time.time_ns() - time.monotonic_ns())

    def _span(self, part: Part, parent: Context, offset_ns: int) -> None:
        """A span, and those below it; `offset_ns` makes times of day of ours."""
        span = self._tracer.start_span(
            report.masked(part.name),
            parent,
            SpanKind.INTERNAL,
            report.masked_data(part.attributes),
            start_time=_ns(part.began_s) + offset_ns,
        )
        if part.error:
            span.set_status(Status(StatusCode.ERROR, report.masked(part.error)))
        for below in part.parts:
            self._span(below, trace.set_span_in_context(span, Context()), offset_ns)
        span.end(_ns(part.ended_s) + offset_ns)

    def send(self) -> bool:
        """Whether what was added has arrived; it is not sent twice."""
        spans = self._ended.taken()
        return not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # of its own package


class _Metrics:
    """Counters, histogram and gauges. What they count is told in full each time."""

    def __init__(
        self,
        target: Target,
        resource: Resource,
        environment: str,
        freshness: Callable[[], Freshness],
    ) -> None:
        self._environment = environment
        self._freshness = freshness
        exporter = OTLPMetricExporter(
            target.metrics, timeout=_timeout_s("METRICS"), session=_session(target)
        )
        self._reader = PeriodicExportingMetricReader(exporter, math.inf)
        self._provider = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        meter = self._provider.get_meter(SERVICE, __version__)
        self._saves = meter.create_counter("kindloop.saves", "{save}", "Saves by how they ended.")
        self._took = meter.create_histogram(
            "kindloop.save.duration",
            "s",
            "Time of a save by part; total is from its first event to the first fresh answer.",
            explicit_bucket_boundaries_advisory=BUCKETS_S,
        )
        self._failures = meter.create_counter(
            "kindloop.swap.failures", "{failure}", "Swaps that did not serve what was built."
        )
        # No unit: "1" would make it a ratio by name.
        meter.create_observable_gauge(
            "kindloop.fresh", [self._fresh], "", "1 when the workload serves what was saved last."
        )
        meter.create_observable_gauge(
            "kindloop.stale", [self._stale], "s", "Time that the workload is not fresh for."
        )
        self._known: set[str] = set()
        for result in RESULTS:
            self._saves.add(0, self._labels(result=result))

    def add(self, fact: Fact) -> None:
        if isinstance(fact, Failure):
            self._failures.add(1, self._labels(workload=fact.workload, reason=fact.reason))
        elif fact.counts:
            self._saves.add(1, self._labels(result=fact.result))
            for part, took_s in durations(fact).items():
                self._took.record(took_s, self._labels(part=part))

    def send(self) -> None:
        for workload in self._freshness().keys() - self._known:
            self._known.add(workload)
            for reason in REASONS:
                self._failures.add(0, self._labels(workload=workload, reason=reason))
        self._reader.collect()

    def close(self) -> None:
        self._provider.shutdown()

    def _labels(self, **labels: str) -> Mapping[str, str]:
        return {"environment": self._environment, **labels}

    def _fresh(self, _options: CallbackOptions) -> Iterator[Observation]:
        for name, since_s in self._freshness().items():
            yield Observation(int(since_s is None), self._labels(workload=name))

    def _stale(self, _options: CallbackOptions) -> Iterator[Observation]:
        now_s = time.monotonic()
        for name, since_s in self._freshness().items():
            stale_s = 0.0 if since_s is None else now_s - since_s
            yield Observation(stale_s, self._labels(workload=name))


class _Ended(SpanProcessor):
    """Keeps spans that have ended, until they are taken: one request for a whole trace."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.context and span.context.trace_flags.sampled:
            self._spans.append(span)

    def taken(self) -> Sequence[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


class _LastWords(logging.Handler):
    """Keeps what the SDK would else print about a collector that does not answer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        logging.getLogger("opentelemetry").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage().partition("\n")[0]

    def close(self) -> None:
        logging.getLogger("opentelemetry").removeHandler(self)
        super().close()


def _session(target: Target) -> requests.Session | None:
    """A session without proxies for a collector on this machine; else the SDK makes its own."""
    if not target.ours:
        return None
    session = requests.Session()
    session.trust_env = False
    return session


def _timeout_s(signal: str) -> float | None:
    """Seconds for a request, None when the variables say it and the SDK reads them."""
    names = (f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    return None if any(os.environ.get(name) for name in names) else SEND_S


def _ns(at_s: float) -> int:
    return int(at_s * 1e9)
