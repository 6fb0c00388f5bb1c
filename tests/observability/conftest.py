"""An environment with the whole stack, taken through one story: calm, load, faults, healing, no pods.

Each part of the story is a fixture that keeps what was seen; the tests judge it. So the clusters'
minutes are spent once. `KINDLOOP_KEEP=1` leaves the cluster for a look and takes it again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.record import Outcome, State, table
from live import CHECKOUT, FOREIGN_KUBECONFIG, ROOT, Loop, free_offset, own_checkout, sync
from observability import breaking, story
from observability.stack import SCRAPE_S, Env
from observability.story import Counted, Phase
from observability.traffic import Load
from watching import Watch

from kindloop.config import DEFAULT_PORTS, NODE_PORTS

NAME = "klobs-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
STATE = ROOT / "build/observability-state"
FEW = 10
"""Cases up to which each is named."""
KEEP = "KINDLOOP_KEEP" in os.environ


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
    # What switches the stack off and on again comes after what looks at it.
    items.sort(key=lambda item: item.get_closest_marker("destructive") is not None)


@pytest.fixture(scope="session")
def env() -> Iterator[Env]:
    """The environment, up with every part."""
    with own_checkout():
        yield from _up()


def _up() -> Iterator[Env]:
    STATE.mkdir(parents=True, exist_ok=True)
    users = STATE / "users-kubeconfig"
    users.write_text(FOREIGN_KUBECONFIG)
    variables = {
        "XDG_STATE_HOME": str(STATE),
        "KUBECONFIG": str(users),
        "KINDLOOP_OBSERVABILITY": "full",
        "KINDLOOP_SCRAPE_S": str(SCRAPE_S),
    }
    if not KEEP:
        Loop(CHECKOUT, NAME, 1000, variables).run("dev-down")  # what a killed run left
    loop = Loop(CHECKOUT, NAME, _offset(), variables)
    try:
        loop.ok("dev-up", "--wait", "all", timeout_s=3000)
        yield Env(loop)
    finally:
        sync(ROOT, CHECKOUT)
        if not KEEP:
            loop.run("dev-down")


def _offset() -> int:
    """The offset of the cluster that an earlier run kept, else one that is free now."""
    config = STATE / "kindloop" / NAME / "kind-config.yaml"
    if KEEP and config.exists():
        node = yaml.safe_load(config.read_text())["nodes"][0]
        ports = {m["containerPort"]: m["hostPort"] for m in node["extraPortMappings"]}
        return int(ports[NODE_PORTS["petstore"]]) - DEFAULT_PORTS["petstore"]
    return free_offset()


@pytest.fixture(scope="session")
def calm(env: Env) -> Phase:
    """Every target answers, nobody asks for anything."""
    return story.calm(env)


@pytest.fixture(scope="session")
def counted(env: Env, calm: Phase) -> Counted:
    """A known number of requests to each route, and nobody else who asks."""
    return story.counted(env)


@pytest.fixture(scope="session")
def load(env: Env, counted: Counted) -> Iterator[Load]:
    """Users who ask all the time, until nothing is left to answer them."""
    with Load(env.url("petstore")) as load:
        yield load


@pytest.fixture(scope="session")
def loaded(env: Env, counted: Counted, load: Load) -> story.Loaded:
    """Load, and the collector deleted under it."""
    return story.loaded(env, counted, load)


@pytest.fixture(scope="session")
def watch(env: Env, loaded: story.Loaded) -> Iterator[Watch]:
    """A watch that tells of itself to the collector."""
    with Watch(env.loop) as watch:
        yield watch


@pytest.fixture(scope="session")
def broken(env: Env, loaded: story.Loaded, watch: Watch) -> Iterator[Phase]:
    """Everything broken that has an alert, at once."""
    try:
        yield story.broken(env, watch)
    finally:
        breaking.remove(env)


@pytest.fixture(scope="session")
def healed(env: Env, broken: Phase, watch: Watch) -> Phase:
    """Everything mended, while the users go on asking."""
    return story.healed(env, watch)


@pytest.fixture(scope="session")
def gone(env: Env, healed: Phase, load: Load, watch: Watch) -> Iterator[Phase]:
    """The pet store scaled to nothing."""
    load.stop()
    watch.end()
    try:
        yield story.gone(env, healed)
    finally:
        breaking.scale(env, 1)


@pytest.fixture(scope="session")
def back(env: Env, gone: Phase) -> Phase:
    """And back."""
    breaking.scale(env, 1)
    return story.back(env)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was checked, and how it ended; what was not is never green."""
    outcomes = list(_outcomes(terminalreporter.stats))
    if outcomes:
        terminalreporter.section("what was checked")
        terminalreporter.write_line(table(outcomes))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every check goes by the first line of its test's documentation, else by its name."""
    name = getattr(item, "originalname", item.name).removeprefix("test_").replace("_", " ")
    says = (getattr(item, "obj", None).__doc__ or name).strip().partition("\n")[0]
    callspec = getattr(item, "callspec", None)
    item.user_properties.append(("check", says.rstrip(".")))
    item.user_properties.append(("case", callspec.id if callspec else ""))


def _outcomes(stats: dict[str, Sequence[Any]]) -> Iterator[Outcome]:
    """One for each check; those of several cases say how many, and which did not pass."""
    checks: dict[str, dict[str, tuple[str, str, float]]] = {}
    for kind in ("passed", "skipped", "failed", "error"):
        for report in stats.get(kind, ()):
            known = dict(getattr(report, "user_properties", ()))
            if "check" in known:
                cases = checks.setdefault(known["check"], {})
                cases[known["case"]] = (kind, _why(report), report.duration)
    for check, cases in checks.items():
        kinds = {kind for kind, _, _ in cases.values()}
        state: State = "passed"
        if kinds != {"passed"}:
            state = "failed" if kinds & {"failed", "error"} else "not checked"
        took_s = sum(seconds for _, _, seconds in cases.values())
        yield Outcome(check, state, took_s, "; ".join(_told(cases)))


def _told(cases: dict[str, tuple[str, str, float]]) -> Iterator[str]:
    """How many cases are well, which they are when they are few, and why the others are not."""
    good = [case for case, (kind, _, _) in cases.items() if kind == "passed"]
    if len(cases) > 1:
        yield f"{len(good)} of {len(cases)}"
    if 1 < len(good) <= FEW:
        yield " · ".join(good)
    why: dict[str, list[str]] = {}
    for case, (kind, reason, _) in cases.items():
        if kind != "passed":
            why.setdefault(reason, []).append(case)
    for reason, those in why.items():
        yield ": ".join(filter(None, [" · ".join(filter(None, those)), reason]))


def _why(report: Any) -> str:
    """The reason of a skip, or the last line of a failure."""
    if report.skipped:
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).partition("\n")[0][:120] if crash else ""
