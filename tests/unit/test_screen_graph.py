"""The tree of an up: what events make of it, and how it is drawn at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from screens import NOW_S, SIZES, event, line_with, project, rendered

from kindloop import loading, report
from kindloop.bake import _minutes
from kindloop.config import Config
from kindloop.report import Event
from kindloop.screen import durations, graph, graphview
from kindloop.screen.graph import Graph


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return project(tmp_path)


@pytest.fixture
def begun(config: Config) -> Graph:
    return graph.begin(config)


def after(now: Graph, *events: Event) -> Graph:
    for one in events:
        now = graph.heard(now, one)
    return now


def done(name: str, text: str = "", took_s: float = 1.0, **more: Any) -> tuple[Event, Event]:
    return event("started", name), event("ended", name, text, took_s=took_s, **more)


def drawn(
    now: Graph, width: int = 80, height: int = 24, *, now_s: float = NOW_S, **estimates: float
) -> list[str]:
    named = {name.replace("_", " "): value for name, value in estimates.items()}
    page = graphview.draw(now, named, now_s=now_s, width=width, height=height)
    return [line.rstrip() for line in rendered(page, width, height)]


def names(now: Graph, group: str) -> Sequence[str]:
    return [node.name for node in now.of(group)]


def busy(begun: Graph) -> Graph:
    return after(
        begun,
        *done("router", "up to date", 0.0),
        event("started", "petstore"),
        *[event("log", "petstore", f"   Compiling crate{n} v1.0") for n in range(20)],
        event("line", text="No image registry answers, so the node image is made from packages"),
        event("line", text="bake kubelet: about 3 min, 11 min left"),
    )


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_every_size_and_shows_what_runs(begun: Graph, width: int, height: int) -> None:
    lines = drawn(busy(begun), width, height)
    assert len(lines) == height
    assert max(cell_len(line) for line in lines) <= width
    assert "Ctrl-C" in lines[-1]
    if height >= 8:
        line_with(lines, "petstore")
    if height >= 12:
        line_with(lines, "bake kubelet")


def test_groups_stand_in_the_order_of_the_graph(begun: Graph) -> None:
    lines = drawn(busy(begun))
    titles = ("node image", "cluster", "stages", "image", "rollout")
    found = [
        n
        for t in titles
        for n, line in enumerate(lines)
        if line[3:].strip("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏·✓ ").split("  ")[0] == t
    ]
    assert found == sorted(found)
    assert len(found) == len(titles)
    assert not any("observability" in line for line in lines), "it is off"


def test_stages_stand_behind_what_they_need(begun: Graph) -> None:
    lines = drawn(begun)
    router, petstore = (line_with(lines, name) for name in ("router", "petstore"))
    assert petstore.index("petstore") == router.index("router") + 2


def test_stages_stand_in_the_order_in_which_they_run(config: Config) -> None:
    backwards = replace(config, stages=dict(reversed(config.stages.items())))
    nodes = {node.name: node.depth for node in graph.begin(backwards).of("stages")}
    assert nodes == {"supervisor": 0, "router": 0, "petstore": 1}
    assert list(nodes).index("router") < list(nodes).index("petstore")


def test_what_runs_has_time_estimate_and_last_lines(begun: Graph) -> None:
    lines = drawn(busy(begun), now_s=NOW_S + 4, petstore=12.0)
    assert "4.00 s · about 8 s left" in line_with(lines, "petstore")
    tail = [line for line in lines if "Compiling" in line]
    assert [line.split()[-2] for line in tail] == ["crate17", "crate18", "crate19"]


def test_what_is_to_come_says_what_it_took_last_time(begun: Graph) -> None:
    assert "took 3 min 05 s last time" in line_with(drawn(begun, petstore=185.0), "petstore")


def test_what_was_there_is_not_waited_for(begun: Graph) -> None:
    now = after(begun, *done("router"), *done("petstore"), *done("supervisor"))
    lines = drawn(now)
    assert "· cluster" in line_with(lines, "cluster"), "stages may run before it"
    lines = drawn(after(now, event("started", "apply")))
    for title in ("node image", "cluster", "image"):
        assert "was there" in line_with(lines, f"✓ {title}")
    line_with(lines, "✓ stages  3.00 s")


def test_a_failure_is_unfolded(begun: Graph) -> None:
    now = after(
        begun,
        event("started", "petstore"),
        *[event("log", "petstore", f"line {n}") for n in range(30)],
        event("ended", "petstore", "app.rs changed", ok=False, took_s=2.0),
    )
    lines = drawn(now)
    line_with(lines, "✗ stages")
    line_with(lines, "✗ petstore", "app.rs changed")
    assert [line.split()[-1] for line in lines if "line " in line] == [
        str(n) for n in range(18, 30)
    ]


def test_a_bake_beside_the_stages_is_read_from_its_lines(
    begun: Graph, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines are those that the bake's own process prints."""
    monkeypatch.setattr(report, "_ascii", lambda: False)
    told = f"bake kubelet: about {_minutes(200.0)}, {_minutes(660.0)} left"
    plain = report.Plain()
    plain.show(event("ended", "bake etcd", "etcd 3.6", took_s=62.3))
    plain.show(event("ended", "bake pause", "pause", ok=False, took_s=3.0))
    ends = capsys.readouterr().out.splitlines()
    now = after(
        begun,
        event("line", text="bake etcd: about 60 s, 12 min left"),
        *[event("line", text=text) for text in ends],
        event("line", text=told),
    )
    states = {node.name: (node.state, round(node.took_s)) for node in now.of("bake")}
    assert states == {
        "bake etcd": ("ok", 62), "bake pause": ("bad", 3), "bake kubelet": ("running", 0),
    }  # fmt: skip
    line = line_with(drawn(now, 120, now_s=NOW_S + 60), "bake kubelet")
    assert "about 3 min" in line
    assert "about 10 min left in all" in line
    assert now.notes == ()


@pytest.mark.parametrize(
    ("step", "group"),
    [
        ("petstore", "stages"),
        ("bake etcd", "bake"),
        ("bake node image", "bake"),
        ("pull kindest/node:v1.34.0", "bake"),
        ("pull alpine:3.22", "image"),
        ("create cluster demo", "cluster"),
        ("remove cluster demo", "cluster"),
        ("start node demo-control-plane", "cluster"),
        ("image", "image"),
        ("load image into the node", "image"),
        ("load 4 images into the node", "observability"),
        ("apply", "rollout"),
        ("wait for kube-proxy", "rollout"),
        ("rollout petstore", "rollout"),
        ("swap petstore", "rollout"),
        ("petstore answers", "rollout"),
        ("observability full", "observability"),
        ("bake jaeger", "observability"),
        ("load image of jaeger", "observability"),
        ("prometheus answers", "observability"),
    ],
)
def test_each_step_has_its_group(step: str, group: str) -> None:
    assert graph.group_of(step, {"router", "petstore"}) == group


def test_every_step_of_the_code_is_known() -> None:
    """A step with a new name would else stand where it does not belong."""
    root = Path(graph.__file__).parents[1]
    files = [
        root / f"{name}.py" for name in ("cluster", "deploying", "images", "rollout", "sources")
    ]
    files += [root / "observing/bringing.py", root / "bake/parts.py", root / "components.py"]
    lines = [line for file in files for line in file.read_text().splitlines()]
    found = [
        line.split("report.step(")[1].split('"')[1] for line in lines if "report.step(" in line
    ]
    assert len(found) > 15
    unknown = [n for n in found if graph.group_of(n, (), "nowhere") == "nowhere"]
    assert unknown == []


def test_estimates_are_what_steps_took_before(config: Config) -> None:
    assert durations.estimates(config) == {}
    for took_s in (10.0, 30.0, 20.0):
        durations.keep(config, {"create cluster demo": took_s, "apply": 0.1, "petstore": 9.0})
    assert durations.estimates(config) == {"create cluster demo": 20.0}
    record = config.local / "build" / config.profile / "petstore.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"duration_s": 62.5}')
    assert durations.estimates(config)["petstore"] == 62.5


def test_what_one_environment_took_another_will(config: Config, tmp_path: Path) -> None:
    durations.keep(config, {"create cluster demo": 12.0})
    other = loading.load(tmp_path / "kindloop.yaml", env={"KINDLOOP_NAME": "other"})
    assert durations.estimates(other) == {"create cluster other": 12.0}


def test_the_last_five_count_and_a_broken_file_is_none(config: Config) -> None:
    for took_s in (100.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        durations.keep(config, {"image": took_s})
    assert durations.estimates(config) == {"image": 3.0}
    (config.local / "durations.json").write_text('{"steps": [')
    assert durations.estimates(config) == {}
    (config.local / "durations.json").write_text('{"steps": {"image": ["x", 4]}}')
    assert durations.estimates(config) == {"image": 4.0}


@pytest.mark.parametrize(
    ("estimate_s", "since_s", "said"),
    [
        (None, 5.0, ""),
        (12.0, 5.0, "about 7 s left"),
        (12.0, 11.9, "about 1 s left"),
        (12.0, 13.0, "about 1 s left"),
        (12.0, 15.0, "longer than the usual 12 s"),
        (600.0, 60.0, "about 9 min left"),
    ],
)
def test_what_is_left(estimate_s: float | None, since_s: float, said: str) -> None:
    assert durations.left(estimate_s, NOW_S, NOW_S + since_s) == said
