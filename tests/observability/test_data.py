"""Every panel and rule on live data: it reads what is really scraped, and moves as it says."""

from __future__ import annotations

import pytest
from observability import queries
from observability.queries import Claim, Query
from observability.stack import Env
from observability.story import Counted, Loaded, Phase

PANELS = queries.of_panels()
ANNOTATIONS = [query for board in queries.boards() for query in queries.annotations(board)]
ASKED = [query for query in queries.everything() if query.expr]
MOVED = [
    pytest.param(query, claim, id=f"{query} {claim.verb.lower()} with {claim.cause}")
    for query in PANELS
    for claim in query.claims
    if claim.cause != "no pods"
]
GONE = [
    pytest.param(query, claim, id=f"{query} {claim.verb.lower()}")
    for query in PANELS
    for claim in query.claims
    if claim.cause == "no pods"
]


@pytest.mark.parametrize("query", PANELS, ids=str)
def test_data(query: Query, loaded: Loaded, broken: Phase) -> None:
    """Panels return data."""
    causes = {claim.cause for claim in query.claims} - {"no pods"}
    phase = loaded.phase if causes <= {"load"} else broken
    assert query in phase.filled


@pytest.mark.parametrize(("query", "claim"), MOVED)
def test_moves(query: Query, claim: Claim, loaded: Loaded, broken: Phase) -> None:
    """Panels move with load and faults as they say."""
    phase = loaded.phase if claim.cause == "load" else broken
    seen = f"before {phase.before.get(query, ())}, last {phase.values[query]}"
    assert (query, claim) in phase.held, seen


@pytest.mark.parametrize(("query", "claim"), GONE)
def test_gone(query: Query, claim: Claim, gone: Phase) -> None:
    """Panels of the service are empty or zero with no pod."""
    seen = f"before {gone.before.get(query, ())}, last {gone.values[query]}"
    assert (query, claim) in gone.held, seen


@pytest.mark.parametrize("query", ASKED, ids=str)
def test_metrics(query: Query, env: Env, broken: Phase) -> None:
    """Panels and rules read metrics of app, loop or node that are really scraped."""
    for metric in sorted(query.metrics - queries.SYNTHETIC):
        found = env.samples(f"count by (job) (last_over_time({metric}[15m]))")
        jobs = {labels["job"] for labels, _ in found}
        assert jobs & queries.JOBS[queries.family(metric)], (
            f"{metric} comes from {jobs or 'nobody'}"
        )


@pytest.mark.parametrize("query", ANNOTATIONS, ids=str)
def test_marks(query: Query, env: Env, broken: Phase) -> None:
    """Marks on the panels return data."""
    assert env.values(query)


@pytest.mark.parametrize("name", sorted(queries.rules()))
def test_rules(name: str, env: Env, broken: Phase) -> None:
    """Rules are evaluated without an error."""
    groups = env.get("prometheus", "/api/v1/rules", type="alert")["data"]["groups"]
    rule = {rule["name"]: rule for group in groups for rule in group["rules"]}[name]
    assert (rule["health"], rule.get("lastError", "")) == ("ok", "")


def test_counts(counted: Counted) -> None:
    """Requests counted by Prometheus, by route and status, are those that were sent."""
    assert counted.counted == counted.sent
