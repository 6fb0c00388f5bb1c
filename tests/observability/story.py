"""The parts of the story: what is done to the environment, and what was seen meanwhile.

Each waits until all that it should bring about is seen, or for its patience; what is still missing
then is for the tests to say.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from observability import breaking, queries
from observability.queries import Claim, Query
from observability.stack import SCRAPE_S, WINDOW_S, Env, Labels, matches, soon
from observability.traffic import KEY, Load, ask
from watching import Watch

PANELS = queries.of_panels()
PATIENCE_S = 300
"""Seconds until everything of a part must be seen, on a machine that others use too; only a failure
waits so long."""
CALM_S = 2 * SCRAPE_S
"""Seconds of which the calmest moment is what a panel is compared with."""
TURN_S = 1.0
BROKEN = {
    "HighErrorRatio": {"alertname": "HighErrorRatio", "workload": "petstore"},
    "HighLatencyP95": {"alertname": "HighLatencyP95", "workload": "petstore"},
    "StaleTooLong": {"alertname": "StaleTooLong", "workload": "petstore"},
    "Restarts of a process": {"alertname": "Restarts", "workload": "petstore"},
    "Restarts of a container": {"alertname": "Restarts", "container": "crasher"},
    "MemoryNearLimit": {"alertname": "MemoryNearLimit", "container": "hog"},
    "TargetDown, one that does not answer": {"alertname": "TargetDown", "job": "deaf"},
}
"""Alerts that all fire at once, by the labels that theirs must have."""
JOBS = {"petstore", "supervisor", "kubelet", "cadvisor", "loop", "prometheus", "alertmanager"}
"""Without these nothing else can be seen."""
GONE = {"alertname": "TargetDown", "workload": "petstore"}
COUNTED: dict[tuple[str, str, str], tuple[str, str, dict[str, str], int]] = {
    # method, route and status as the metrics name them: what is sent, and how often
    ("GET", "/pets", "200"): ("GET", "/pets", KEY, 17),
    ("GET", "/pets", "401"): ("GET", "/pets", {}, 5),
    ("GET", "/pets/{id}", "200"): ("GET", "/pets/1", KEY, 23),
    ("GET", "/pets/{id}", "404"): ("GET", "/pets/999999", KEY, 7),
    ("HEAD", "/pets/{id}", "200"): ("HEAD", "/pets/1", KEY, 3),
    ("GET", "/labels/{color}", "200"): ("GET", "/labels/.red", KEY, 11),
    ("POST", "/pets", "400"): ("POST", "/pets", KEY, 4),
    ("GET", "unmatched", "404"): ("GET", "/nothing/here", KEY, 6),
    ("GET", "/docs", "200"): ("GET", "/docs", {}, 2),
}


@dataclass
class Phase:
    """What was seen in a part of the story: the newest of each query, the claims that held."""

    values: dict[Query, tuple[float, ...]] = field(default_factory=dict)
    before: dict[Query, tuple[float, ...]] = field(default_factory=dict)
    held: set[tuple[Query, Claim]] = field(default_factory=set)
    alerts: dict[str, set[str]] = field(default_factory=dict)
    """By name, where it was seen to fire, or to have ended: `Prometheus`, `Alertmanager`."""
    filled: set[Query] = field(default_factory=set)
    """Queries that returned data at any time."""


@dataclass(frozen=True)
class Counted:
    """Requests by method, route and status: sent, and counted by Prometheus."""

    sent: dict[tuple[str, str, str], int]
    counted: dict[tuple[str, str, str], int]
    calm: dict[Query, tuple[float, ...]]
    """The panels at their lowest after these few requests: the start of the environment is over by
    then, and what the machine does beside it comes and goes."""


@dataclass(frozen=True)
class Loaded:
    """Load, and how many requests it made while there was no collector."""

    phase: Phase
    answered: int
    lost: tuple[str, ...]
    healed: bool


def observe(
    env: Env,
    phase: Phase,
    causes: Iterable[str] = (),
    also: Callable[[], bool] = lambda: True,
    patience_s: float = PATIENCE_S,
) -> Phase:
    """Look at every panel until all claims of these causes held once and `also` is true."""
    wanted = {(q, c) for q in PANELS for c in q.claims if c.cause in set(causes)}
    deadline_s = time.monotonic() + patience_s
    while True:
        for query in PANELS:
            values = env.values(query)
            phase.values[query] = values
            if values:
                phase.filled.add(query)
            for claim in query.claims:
                if (query, claim) in wanted - phase.held and holds(
                    claim, phase.before.get(query, ()), values
                ):
                    phase.held.add((query, claim))
        if (also() and wanted <= phase.held) or time.monotonic() > deadline_s:
            return phase
        time.sleep(TURN_S)


def holds(claim: Claim, before: tuple[float, ...], now: tuple[float, ...]) -> bool:
    """Whether what a panel claims of itself is so."""
    if claim.verb == "Empty":
        return not now
    if claim.verb == "Zero":
        return bool(now) and not any(now)
    if claim.verb == "Filled" or not now:
        return bool(now)
    return sum(now) > sum(before) if claim.verb == "Rises" else sum(now) < sum(before)


def fired(env: Env, phase: Phase, wanted: dict[str, dict[str, str]]) -> bool:
    """Note which of the alerts fire now; whether each was seen to."""
    return _noted(phase, wanted, env, lambda labels, all_: any(matches(a, labels) for a in all_))


def ended(env: Env, phase: Phase, wanted: dict[str, dict[str, str]]) -> bool:
    """Note which of the alerts do not fire any more; whether that is so of each."""
    return _noted(
        phase, wanted, env, lambda labels, all_: not any(matches(a, labels) for a in all_)
    )


def _noted(
    phase: Phase,
    wanted: dict[str, dict[str, str]],
    env: Env,
    seen: Callable[[dict[str, str], list[Labels]], bool],
) -> bool:
    for place, alerts in (("Prometheus", env.firing()), ("Alertmanager", env.held())):
        for name, labels in wanted.items():
            if seen(labels, alerts):
                phase.alerts.setdefault(name, set()).add(place)
    return all(len(phase.alerts.get(name, ())) == 2 for name in wanted)


def calm(env: Env) -> Phase:
    """Wait until every target was scraped often enough for a rate, and look."""
    soon(
        lambda: (
            not env.samples(f"count_over_time(up[{WINDOW_S}s]) < 3 or up == 0")
            and {labels["job"] for labels, _ in env.samples("up")} >= JOBS
        ),
        PATIENCE_S,
        lambda: [(labels["job"], value) for labels, value in env.samples("up")],
    )
    phase = Phase()
    also = lambda: ended(env, phase, BROKEN | {"TargetDown": GONE})  # noqa: E731
    return observe(env, phase, also=also)


def counted(env: Env) -> Counted:
    """Send a known number of requests to each route; what Prometheus counts of it."""
    before = _counters(env)
    for (_, _, status), (method, path, headers, times) in COUNTED.items():
        body = "{}" if method == "POST" else ""
        kind = {"Content-Type": "application/json"} if body else {}
        for _ in range(times):
            seen, _ = ask(env.url("petstore"), path, method, {**headers, **kind}, body)
            assert str(seen) == status, f"{method} {path}: {seen}"
    last_s = time.time()
    # Counted is what is scraped after the last request.
    soon(
        lambda: all(
            at_s > last_s for _, at_s in env.samples("timestamp(brrtrouter_requests_total)")
        ),
        PATIENCE_S,
    )
    after = _counters(env)
    calm = _lowest(env)
    more = {key: int(value - before.get(key, 0)) for key, value in after.items()}
    sent = {key: times for key, (_, _, _, times) in COUNTED.items()}
    return Counted(sent, {key: value for key, value in more.items() if value}, calm)


def _lowest(env: Env) -> dict[Query, tuple[float, ...]]:
    """The panels at their lowest within CALM_S."""
    found = {query: env.values(query) for query in PANELS}
    until_s = time.monotonic() + CALM_S
    while time.monotonic() < until_s:
        time.sleep(TURN_S)
        for query in PANELS:
            found[query] = min(found[query], env.values(query), key=sum)
    return found


def _counters(env: Env) -> dict[tuple[str, str, str], float]:
    """The counters themselves, probes and scrapes left out."""
    found: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for labels, value in env.samples('brrtrouter_requests_total{path!~"/health|/metrics"}'):
        found[labels["method"], labels["path"], labels["status"]] += int(value)
    return dict(found)


def loaded(env: Env, before: Counted, load: Load) -> Loaded:
    """Delete the collector under load, look at what load moves, and bring the collector back."""
    soon(lambda: load.count() > 200, PATIENCE_S)
    # The service is older than the collector: it may have been told a moment ago that there is no
    # such name, and the cluster's DNS remembers that for a while.
    soon(lambda: bool(env.traces("petstore")), PATIENCE_S)
    answered, lost = load.count(), len(load.lost)
    env.kubectl("delete", "deployment", "otel-collector", "--wait=false")
    chosen = ("-l", "app.kubernetes.io/name=otel-collector")
    soon(lambda: not env.kubectl("get", "pods", *chosen, "-o", "name"), PATIENCE_S)
    without = load.count()
    phase = observe(
        env,
        Phase(before=before.calm),
        {"load"},
        lambda: load.count() > without + 500,
    )
    answered, said = load.count() - answered, tuple(load.lost[lost:])
    healed = env.say("dev-up", "--wait", "all").code == 0
    return Loaded(phase, answered, said, healed and env.has("otel-collector"))


def broken(env: Env, watch: Watch) -> Phase:
    """Break everything that has an alert, and look until all of them fire."""
    # The collector's deleted pod stays a target that does not answer until discovery forgets it.
    soon(lambda: not env.samples("up == 0"), PATIENCE_S)
    phase = Phase(before=observe(env, Phase()).values)
    breaking.place(env)
    watch.saved(lambda: breaking.save_errors(env))
    told = [query for query in PANELS if Claim("Falls", "a broken save") in query.claims]
    soon(lambda: all(env.values(query) == (1.0,) for query in told), PATIENCE_S)
    phase.before |= {query: env.values(query) for query in told}
    breaking.kill_process(env)
    watch.saved(lambda: breaking.save_what_does_not_run(env), "rolled_back")
    causes = {c.cause for q in PANELS for c in q.claims} - {"load", "no pods"}
    return observe(env, phase, causes, lambda: fired(env, phase, BROKEN))


def healed(env: Env, watch: Watch) -> Phase:
    """Mend it all; every alert ends while users go on asking."""
    breaking.remove(env)
    breaking.mend(env, watch)
    phase = Phase()
    return observe(env, phase, also=lambda: ended(env, phase, BROKEN))


def gone(env: Env, before: Phase) -> Phase:
    """Scale the pet store to nothing."""
    phase = Phase(before=before.values)
    breaking.scale(env, 0)
    also = lambda: fired(env, phase, {"TargetDown": GONE})  # noqa: E731
    return observe(env, phase, {"no pods"}, also)


def back(env: Env) -> Phase:
    """What is seen when it is there again."""
    phase = Phase()
    return observe(env, phase, also=lambda: ended(env, phase, {"TargetDown": GONE}))
