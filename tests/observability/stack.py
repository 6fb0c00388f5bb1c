"""The live stack as the tests ask it: Prometheus, Alertmanager, Jaeger and Grafana by their APIs."""

from __future__ import annotations

import base64
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from live import Loop
from observability.queries import Query

from kindloop.config import DEFAULT_PORTS

T = TypeVar("T")
Labels = Mapping[str, str]

SCRAPE_S = 5
WINDOW_S = 4 * SCRAPE_S
"""What Grafana takes for $__rate_interval."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Env:
    """An environment with the whole stack, in a checkout that the tests may edit."""

    loop: Loop

    @property
    def root(self) -> Path:
        return self.loop.root

    def url(self, name: str) -> str:
        """Where a part answers on this machine."""
        return f"http://127.0.0.1:{DEFAULT_PORTS[name] + self.loop.offset}"

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        return self.loop.kubectl(*words, stdin=stdin)

    def say(self, *words: str, timeout_s: float = 900) -> Any:
        return self.loop.say(*words, timeout_s=timeout_s)

    def has(self, name: str) -> bool:
        """Whether there is a Deployment of this name."""
        return bool(self.kubectl("get", "deployment", name, "--ignore-not-found", "-o", "name"))

    def get(self, name: str, path: str, *, user: str = "", **query: str) -> Any:
        """The JSON that a part answers; raises OSError where it does not."""
        url = self.url(name) + path + ("?" + urllib.parse.urlencode(query) if query else "")
        request = urllib.request.Request(url)
        if user:
            request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
        with DIRECT.open(request, timeout=20) as answer:
            return json.load(answer)

    def samples(self, expr: str) -> list[tuple[Labels, float]]:
        """What Prometheus returns now for an expression that gives a vector."""
        found = self.get("prometheus", "/api/v1/query", query=expr)["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def values(self, query: Query) -> tuple[float, ...]:
        """What a panel would draw now: values of Prometheus, or the seconds that traces took."""
        if query.service:
            found = self.traces(query.service, query.operation)
            return tuple(max(span["duration"] for span in one["spans"]) / 1e6 for one in found)
        values = [value for _, value in self.samples(query.live(WINDOW_S).expr)]
        return tuple(value for value in values if not math.isnan(value))

    def traces(self, service: str, operation: str = "") -> list[Any]:
        """The newest traces of a service."""
        chosen = {"operation": operation} if operation else {}
        found = self.get(
            "jaeger", "/api/traces", service=service, limit="20", lookback="1h", **chosen
        )
        return list(found["data"] or [])

    def trace(self, trace_id: str) -> list[Any]:
        """The spans of a trace; none as long as Jaeger does not know it."""
        try:
            found = self.get("jaeger", f"/api/traces/{trace_id}")["data"]
        except urllib.error.HTTPError as exc:
            if exc.code == 404:
                return []
            raise
        return [span for one in found for span in one["spans"]]

    def firing(self) -> list[Labels]:
        """Labels of the alerts that fire in Prometheus."""
        found = self.get("prometheus", "/api/v1/alerts")["data"]["alerts"]
        return [one["labels"] for one in found if one["state"] == "firing"]

    def held(self) -> list[Labels]:
        """Labels of the alerts that Alertmanager holds as active."""
        return [one["labels"] for one in self.get("alertmanager", "/api/v2/alerts", active="true")]

    def stuck(self) -> str:
        """The pods, for who reads why something did not come."""
        return self.kubectl("get", "pods", "-o", "wide")


def matches(labels: Labels, wanted: Labels) -> bool:
    """Whether `labels` has all of `wanted`."""
    return wanted.items() <= labels.items()


def soon(look: Callable[[], T], patience_s: float, seen: Callable[[], object] = str) -> T:
    """Ask until the answer is something; `seen` says what is there instead."""
    deadline_s = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, f"not within {patience_s:g} s: {seen()}"
        time.sleep(0.2)
    return found


def tags(span: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a span as Jaeger gives them."""
    return {one["key"]: one["value"] for one in span["tags"]}


def parent_of(span: Mapping[str, Any]) -> str:
    """Id of the span above; nothing for a root."""
    return next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), "")
