"""What dashboards and alert rules ask: read out of their files, with what each panel claims of itself.

The end of a panel's description says what moves it, in words that this module reads too: `Rises with
load. Empty without pods.` The live tests hold it to that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import promql_parser
import yaml

STACK = Path(__file__).resolve().parents[2] / "k8s/observability"
BOARDS = STACK / "grafana/dashboards"
RULES = STACK / "prometheus/rules.yaml"
RULE_TESTS = STACK / "prometheus/rules.test.yaml"

MOVES = re.compile(
    r"(Rises|Falls) with (load|errors|slow answers|a save|a broken save|a restart|a deaf target|an alert)\."
)
FILLED = re.compile(r"(Filled) by (load|a save|a failed swap|an alert)\.")
GONE = re.compile(r"(Empty|Zero|Falls) without pods\.")

KUBELET = {
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
    "container_start_time_seconds",
    "machine_cpu_cores",
    "machine_memory_bytes",
    "node_cpu_usage_seconds_total",
    "node_memory_working_set_bytes",
}
SYNTHETIC = {"up", "ALERTS"}
"""What Prometheus itself writes, about each target and each alert."""
FAMILIES = {
    "app": re.compile(r"brrtrouter_\w+|process_\w+"),
    "loop": re.compile(r"kindloop_\w+"),
    "node": re.compile("|".join(sorted(KUBELET))),
}
JOBS = {
    "app": {"petstore"},
    "loop": {"loop", "supervisor"},
    "node": {"kubelet", "cadvisor"},
}
"""The jobs that deliver each family."""

GLOBALS = {"__rate_interval"}
"""Variables that Grafana defines by itself; only those that `live` fills in."""
VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)[^}]*\}|\[\[(\w+)\]\]")


@dataclass(frozen=True)
class Claim:
    """`verb` is Rises, Falls, Filled, Empty or Zero; `cause` what makes it so."""

    verb: str
    cause: str


@dataclass(frozen=True)
class Query:
    """One query of a panel, an annotation or a rule; `service` and `operation` are for Jaeger."""

    where: str
    """Title of the dashboard, or `rules`."""
    title: str
    ref: str = "A"
    expr: str = ""
    service: str = ""
    operation: str = ""
    claims: tuple[Claim, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.title}" + (f" ({self.ref})" if self.ref != "A" else "")

    def live(self, window_s: int) -> Query:
        """As Grafana would send it with everything chosen; `window_s` is its rate interval."""
        values = {"__rate_interval": f"{window_s}s", "namespace": ".*"}
        expr = VARIABLE.sub(lambda m: values[next(filter(None, m.groups()))], self.expr)
        return replace(self, expr=expr)

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics that it reads. Raises ValueError where it is no PromQL."""
        return {one.name or "" for one in selectors(self.live(60).expr)}


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Every selector in an expression, those with a window included."""
    found = []

    def look(node: Any) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), look)
    return found


def family(metric: str) -> str:
    """`app`, `loop` or `node`; nothing for a name of none of them."""
    return next((name for name, known in FAMILIES.items() if known.fullmatch(metric)), "")


def boards() -> list[dict[str, Any]]:
    """The dashboards, as their files have them."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(BOARDS.glob("*.json"))]


def claims(description: str) -> tuple[Claim, ...]:
    """What a description claims of its panel."""
    moved = [Claim(*m.groups()) for kind in (MOVES, FILLED) for m in kind.finditer(description)]
    return (*moved, *(Claim(m[1], "no pods") for m in GONE.finditer(description)))


def panel_queries(board: dict[str, Any]) -> Iterator[Query]:
    """The queries of its panels."""
    for panel in board["panels"]:
        for one in panel["targets"]:
            yield Query(
                board["title"],
                panel["title"],
                one["refId"],
                one.get("expr", ""),
                one.get("service", ""),
                one.get("operation", ""),
                claims(panel["description"]),
            )


def annotations(board: dict[str, Any]) -> Iterator[Query]:
    """The queries of what is marked on its panels."""
    for one in board["annotations"]["list"]:
        if not one.get("builtIn"):
            yield Query(board["title"], one["name"], expr=one["expr"])


def rules() -> dict[str, dict[str, Any]]:
    """The alert rules by name."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


def of_panels() -> list[Query]:
    """Every query of every panel."""
    return [query for board in boards() for query in panel_queries(board)]


def of_rules() -> list[Query]:
    """The expression of every rule."""
    return [Query("rules", name, expr=rule["expr"]) for name, rule in rules().items()]


def everything() -> list[Query]:
    """Every query of panels, annotations and rules."""
    return of_panels() + [q for board in boards() for q in annotations(board)] + of_rules()
