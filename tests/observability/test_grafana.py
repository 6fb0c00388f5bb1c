"""Grafana as its own API tells it: data sources that answer, dashboards with their panels."""

from __future__ import annotations

from typing import Any

import pytest
from observability import queries
from observability.stack import Env
from observability.story import Phase

from kindloop import components, host

ADMIN = "admin:admin"


@pytest.fixture(scope="module")
def ask(env: Env) -> Any:
    """Ask Grafana as its administrator. Where it cannot be had, nothing is checked, and said so."""
    if not env.has("grafana"):
        known = components.look(["grafana"])["grafana"]
        assert known.how == "absent", "its image is here, but the stack came without it"
        assert not host.registry_reachable(), "a registry answers, but the stack came without it"
        pytest.skip(
            "no registry answers and no archive was loaded: its data sources and dashboards are not "
            "asked for; that their files are right is in tests/unit/test_dashboards.py; next: "
            "invoke image.load FILE"
        )
    return lambda path, **query: env.get("grafana", path, user=ADMIN, **query)


def test_data_sources(ask: Any, calm: Phase) -> None:
    """Grafana: its data sources answer through it."""
    assert {one["uid"]: one["type"] for one in ask("/api/datasources")} == {
        "prometheus": "prometheus",
        "jaeger": "jaeger",
    }
    found = ask("/api/datasources/proxy/uid/prometheus/api/v1/query", query='up{job="petstore"}')
    assert [one["value"][1] for one in found["data"]["result"]] == ["1"]
    assert "petstore" in ask("/api/datasources/proxy/uid/jaeger/api/services")["data"]


@pytest.mark.parametrize("board", queries.boards(), ids=lambda board: board["title"])
def test_dashboards(board: dict[str, Any], ask: Any) -> None:
    """Grafana: its dashboards are those of the repository."""
    found = ask(f"/api/dashboards/uid/{board['uid']}")
    assert found["meta"]["provisioned"] is True
    shown = {panel["title"]: panel["targets"] for panel in found["dashboard"]["panels"]}
    assert set(shown) == {panel["title"] for panel in board["panels"]}
    for panel in board["panels"]:
        asked = [one.get("expr", one.get("service")) for one in panel["targets"]]
        assert [one.get("expr", one.get("service")) for one in shown[panel["title"]]] == asked
