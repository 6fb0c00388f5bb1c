"""The status: its exit code, its table and its document are all made of the same lines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import observing, status
from kindloop.config import Config, Image, Workload
from kindloop.status import Line, Status

OK = Line("build", "stage", "petstore", "ok", "up to date")
STALE = Line("build", "stage", "petstore", "stale", "main.rs changed")
BAD = Line("app", "url", "petstore", "bad", "no answer")
OLD = Line("app", "swap", "petstore", "stale", "stale, runs a1b2c3d4")
UNKNOWN = Line("build", "stages", "all", "unknown", "cargo is missing")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], 0),
        ([OK], 0),
        ([OK, STALE], 0),
        ([OK, UNKNOWN], 3),
        ([UNKNOWN, BAD], 1),
        ([OK, STALE, BAD], 1),
        ([OK, OLD], 4),
        ([OLD, UNKNOWN], 3),
        ([OLD, BAD], 1),
    ],
)
def test_exit_code(lines: list[Line], code: int) -> None:
    assert status.exit_code(lines) == code


def _status(*lines: Line, **more: Any) -> Status:
    return Status("mine", tuple(lines), **more)


def test_the_table_groups_by_label_in_a_fixed_order() -> None:
    text = status.table(_status(Line("tools", "cluster", "mine", "ok", "running"), BAD, STALE))
    lines = text.splitlines()
    assert lines[0] == "environment mine"
    assert [line for line in lines if not line.startswith(" ")][1:] == ["build", "app", "tools"]
    assert lines[2].split() == ["~", "stage", "petstore", "main.rs", "changed"]
    assert [line.split()[0] for line in lines if line.startswith(" ")] == ["~", "✗", "✓"]


def test_the_table_shows_unknown_as_a_question_mark() -> None:
    assert status.table(_status(UNKNOWN)).splitlines()[-1].split()[0] == "?"


def test_the_table_ends_with_memory_and_the_kubeconfig_to_copy() -> None:
    memory = {"a": 10, "b": 300, "c": 20, "d": 5, "e": 1}
    text = status.table(_status(OK, memory_mb=memory, kubeconfig="/state/kubeconfig"))
    assert text.splitlines()[-2:] == [
        "memory 336 MiB: b 300, c 20, a 10, d 5",
        "export KUBECONFIG=/state/kubeconfig",
    ]


def test_the_table_leaves_out_what_there_is_not() -> None:
    assert "memory" not in status.table(_status(OK))
    assert "KUBECONFIG" not in status.table(_status(OK))


@pytest.mark.parametrize(("lines", "healthy"), [([OK, STALE], True), ([OK, BAD], False)])
def test_the_document_says_what_the_exit_code_says(lines: list[Line], healthy: bool) -> None:
    document = json.loads(json.dumps(_status(*lines).as_json()))
    assert document["schema"] == status.SCHEMA
    assert (document["healthy"], document["exit_code"]) == (healthy, 0 if healthy else 1)
    assert document["lines"][0] == {
        "label": "build", "kind": "stage", "name": "petstore", "state": "ok",
        "detail": "up to date",
    }  # fmt: skip
    assert list(document) == [
        "schema", "environment", "exit_code", "healthy", "kubeconfig", "memory_mb", "lines",
        "observability",
    ]  # fmt: skip


PART = observing.State("jaeger", "ok", "", "http://127.0.0.1:16686", True, 21, 8)
BROKEN = observing.State("collector", "broken", "scaled to 0; next: invoke dev-up")
ABSENT = observing.State("grafana", "absent", "Grafana is left out")
RECORD = observing.Record("full", "normal")


def _stack(*parts: observing.State, **settings: Any) -> list[Line]:
    config = Config(Path("kindloop.yaml"), observability="full", **settings)
    return status.stack_lines(config, RECORD, parts)


def test_a_part_that_is_broken_is_a_warning_and_the_application_decides() -> None:
    lines = _stack(PART, BROKEN, ABSENT)
    assert [line.state for line in lines] == ["ok", "warning", "note", "note"]
    assert status.exit_code([OK, *lines]) == 0
    text = status.table(_status(OK, *lines)).splitlines()
    assert [t.split()[:3] for t in text if t.startswith("  ")][1:] == [
        ["✓", "part", "jaeger"], ["!", "part", "collector"], ["·", "part", "grafana"],
        ["·", "total", "full"],
    ]  # fmt: skip


def test_a_part_that_cannot_be_had_is_no_fault() -> None:
    assert status.exit_code(_stack(PART, ABSENT)) == 0


@pytest.mark.parametrize(("parts", "healthy"), [([PART, ABSENT], True), ([PART, BROKEN], False)])
def test_the_document_says_how_the_stack_is(parts: list[observing.State], healthy: bool) -> None:
    document = replace(_status(OK), stack=tuple(parts)).as_json()["observability"]
    assert (document["healthy"], document["memory_mb"], document["cpu_m"]) == (healthy, 21, 8)
    assert [part["name"] for part in document["parts"]] == [part.name for part in parts]


def test_settings_that_were_not_brought_are_told() -> None:
    assert _stack(PART)[-1].detail == "21 MiB, 0.01 CPU, resources normal"
    assert _stack(PART, resources="high")[-1].detail.endswith(
        "; the settings say full, high; next: invoke dev-up"
    )


def test_without_a_stack_there_are_no_rows_of_it() -> None:
    assert _stack() == []
    assert status.stack_lines(Config(Path("kindloop.yaml")), None, [PART]) == []


@pytest.mark.parametrize(
    ("state", "healthy", "detail"),
    [
        ("running", True, "running, node:1"),
        ("absent", False, "absent; next: invoke dev-up"),
        ("stopped", False, "stopped, node:1; next: invoke dev-start"),
    ],
)
def test_the_clusters_line_names_the_next_command(state: str, healthy: bool, detail: str) -> None:
    image = None if state == "absent" else "node:1"
    facts = {"state": state, "healthy": healthy, "image": image, "name": "mine"}
    line = status._cluster_line(facts)
    assert (line.state, line.detail) == ("ok" if healthy else "bad", detail)


def test_a_pod_that_serves_an_older_binary_is_no_fault_of_its_own() -> None:
    unready = Line("app", "workload", "petstore", "bad", "petstore-1 Running 0/1 ready")
    url = Line("app", "url", "petstore", "ok", "http://127.0.0.1:8080")
    assert status.exit_code([*status._blamed([unready, url], [OLD]), OLD]) == 4
    assert status.exit_code([*status._blamed([unready, BAD], [OLD]), OLD]) == 1
    fresh = replace(OLD, state="ok")
    assert status.exit_code([*status._blamed([unready, url], [fresh]), fresh]) == 1
    gone = replace(unready, detail="no Deployment; next: invoke dev-up")
    assert status.exit_code([*status._blamed([gone, url], [OLD]), OLD]) == 1


def test_a_workload_without_a_url_is_not_asked_for_an_answer() -> None:
    inside = Workload("stock", Image(Path("Dockerfile")), Path("k8s"))
    assert status._url_lines(inside) == []
    (line,) = status._url_lines(replace(inside, url="http://127.0.0.1:1"))
    assert (line.kind, line.state) == ("url", "bad")
