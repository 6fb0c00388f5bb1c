"""Dashboards and alert rules as files: nothing double, nothing undefined, nothing without its words.

That their queries return data is shown on a live cluster, by tests/observability.
"""

from __future__ import annotations

import json
import re
import string
from typing import Any

import promql_parser
import pytest
import yaml
from observability import queries
from observability.queries import Query

from kindloop import tasks

BOARDS = {board["uid"]: board for board in queries.boards()}
PANELS = [
    pytest.param(board, panel, id=f"{uid}-{panel['title']}")
    for uid, board in BOARDS.items()
    for panel in board["panels"]
]
QUERIES = queries.everything()
ASKED = [query for query in QUERIES if query.expr]

TITLES = {"petstore": "Pet Store", "loop": "Development loop", "cluster": "Cluster"}
MUST_SHOW = {
    "petstore": {
        "brrtrouter_requests_total",
        "brrtrouter_request_duration_seconds_bucket",
        "brrtrouter_active_requests",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    },
    "loop": {
        "kindloop_save_duration_seconds_sum",
        "kindloop_saves_total",
        "kindloop_swap_failures_total",
        "kindloop_fresh",
        "kindloop_stale_seconds",
        "kindloop_swaps_total",
        "kindloop_swap_seconds",
    },
    "cluster": {
        "node_cpu_usage_seconds_total",
        "node_memory_working_set_bytes",
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_start_time_seconds",
    },
}
UNITS = {"reqps", "percentunit", "s", "bytes", "none"}
"""Of those that Grafana knows, the ones that these metrics have."""
ALERTS = {
    "TargetDown",
    "HighErrorRatio",
    "HighLatencyP95",
    "Restarts",
    "MemoryNearLimit",
    "StaleTooLong",
}


def uids() -> dict[str, str]:
    """Type of each data source by its uid."""
    path = queries.STACK / "grafana/provisioning/datasources.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"]
    return {one["uid"]: one["type"] for one in found}


def test_the_dashboards_are_these() -> None:
    assert {uid: board["title"] for uid, board in BOARDS.items()} == TITLES
    assert {path.stem for path in queries.BOARDS.iterdir()} == set(TITLES)


@pytest.mark.parametrize("uid", TITLES)
def test_a_dashboard_is_tidy(uid: str) -> None:
    board = BOARDS[uid]
    text = (queries.BOARDS / f"{uid}.json").read_text(encoding="utf-8")
    assert text == json.dumps(board, indent=2, ensure_ascii=False) + "\n"
    assert board["schemaVersion"] >= 36  # that of Grafana 9
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in board["panels"]]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("uid", TITLES)
def test_panels_do_not_lie_on_each_other(uid: str) -> None:
    cells = [
        (x, y)
        for panel in BOARDS[uid]["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24  # the width of Grafana's grid


@pytest.mark.parametrize("uid", TITLES)
def test_a_dashboard_shows_what_was_asked_for(uid: str) -> None:
    shown = {m for q in queries.panel_queries(BOARDS[uid]) if q.expr for m in q.metrics}
    assert MUST_SHOW[uid] - shown == set()


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_says_what_it_shows_and_asks_for_it(
    board: dict[str, Any], panel: dict[str, Any]
) -> None:
    sources = uids()
    assert panel["description"].endswith(".")
    assert panel["targets"]
    refs = [one["refId"] for one in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for one in [panel, *panel["targets"]]:
        assert sources[one["datasource"]["uid"]] == one["datasource"]["type"]
    if panel["datasource"]["uid"] == "prometheus":
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert all(one["expr"] for one in panel["targets"])
    else:
        assert all(one["queryType"] == "search" and one["service"] for one in panel["targets"])


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_what_a_panel_claims_of_itself_can_be_read(
    board: dict[str, Any], panel: dict[str, Any]
) -> None:
    """A claim in other words would be one that nobody holds it to."""
    sentences = re.findall(r"(?:Rises|Falls|Filled|Empty|Zero)\b[^.]*\.", panel["description"])
    assert len(sentences) == len(queries.claims(panel["description"]))
    if board["uid"] == "petstore":
        of_pods = any(c.cause == "no pods" for c in queries.claims(panel["description"]))
        assert of_pods or panel["datasource"]["uid"] == "jaeger"  # which keeps what it has


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_no_variable_is_undefined(board: dict[str, Any]) -> None:
    defined = {one["name"] for one in board["templating"]["list"]}
    used = {
        next(filter(None, match.groups()))
        for text in texts(board)
        for match in queries.VARIABLE.finditer(text)
    }
    assert used - defined - queries.GLOBALS == set()
    assert defined - used == set()


def texts(node: Any) -> list[str]:
    """Every text below, but not Grafana's own names such as `$__all`."""
    if isinstance(node, str):
        return [node]
    if isinstance(node, dict):
        return [t for key, value in node.items() if key != "current" for t in texts(value)]
    return [t for value in node for t in texts(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("query", ASKED, ids=str)
def test_a_query_reads_metrics_of_app_loop_or_node(query: Query) -> None:
    assert query.metrics
    assert {m for m in query.metrics - queries.SYNTHETIC if not queries.family(m)} == set()


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_legend_names_labels_that_are_left(board: dict[str, Any], panel: dict[str, Any]) -> None:
    for one in panel["targets"]:
        named = set(re.findall(r"{{(\w+)}}", one.get("legendFormat", "")))
        assert "{" not in re.sub(r"{{\w+}}", "", one.get("legendFormat", ""))
        if named:
            expr = Query(board["title"], panel["title"], expr=one["expr"]).live(60).expr
            assert named <= left(promql_parser.parse(expr))


def left(node: Any) -> set[str]:
    """The labels by which an expression aggregates."""
    if isinstance(node, promql_parser.AggregateExpr):
        return set(node.modifier.labels) if node.modifier else set()
    if isinstance(node, promql_parser.Call):
        return set().union(*(left(arg) for arg in node.args)) - {"le"}
    if isinstance(node, promql_parser.BinaryExpr):
        return left(node.lhs)
    if isinstance(node, promql_parser.ParenExpr):
        return left(node.expr)
    return set()


def test_the_alerts_are_these() -> None:
    assert set(queries.rules()) == ALERTS


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_what_is_and_what_to_do(name: str) -> None:
    rule = queries.rules()[name]
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "next"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert int(rule.get("for", "0s").removesuffix("s")) <= 60  # somebody sits in front of it
    known = set(tasks.collection().task_names)
    commands = re.findall(r"invoke ([\w.-]+)", said["next"])
    assert commands
    assert set(commands) <= known


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_has_a_test_that_fires_and_one_that_resolves(name: str) -> None:
    tests = yaml.safe_load(queries.RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    looks = [
        [
            bool(look.get("exp_alerts"))
            for look in one["alert_rule_test"]
            if look["alertname"] == name
        ]
        for one in tests
    ]
    assert any(
        found[0] is False and True in found and found[-1] is False for found in looks if found
    )


def test_words_of_alerts_are_templates_that_end() -> None:
    for rule in queries.rules().values():
        for text in rule["annotations"].values():
            assert text.count("{{") == text.count("}}")
            assert set(text) <= set(string.printable)
