"""What kindloop goes by: every setting, its value, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from kindloop import effective, loading
from kindloop.errors import ConfigError

TEXT = """\
version: 1
name: one
cluster:
  ports: {petstore: 8081, grafana: off}
profile: release
stages:
  web:
    run: cargo build
    outputs: ["{target}/web"]
workloads:
  w:
    image: {dockerfile: Dockerfile}
    manifests: k8s
    url: http://127.0.0.1:{ports.petstore}
    swap:
      artifact: web
      env: {RUST_LOG: info}
    sync:
      - {from: a, to: b}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "k8s").mkdir()
    (tmp_path / "Dockerfile").touch()
    (tmp_path / "kindloop.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(project: Path, env: Mapping[str, str] | None = None) -> dict[str, effective.Row]:
    return {row.name: row for row in effective.settings(env or {}, project)}


@pytest.mark.parametrize(
    ("name", "value", "origin"),
    [
        ("name", "one", "kindloop.yaml:2"),
        ("cluster.ports.petstore", 8081, "kindloop.yaml:4"),
        ("cluster.ports.grafana", None, "kindloop.yaml:4"),
        ("cluster.ports.prometheus", 9090, "default"),
        ("cluster.port_offset", 0, "default"),
        ("profile", "release", "kindloop.yaml:5"),
        ("stages.web.outputs", ["{target}/web"], "kindloop.yaml:9"),
        ("stages.web.needs", [], "default"),
        ("stages.supervisor.label", "tools", "default"),
        ("workloads.w.url", "http://127.0.0.1:8081", "kindloop.yaml:14"),
        ("workloads.w.swap.env.RUST_LOG", "info", "kindloop.yaml:17"),
        ("workloads.w.swap.rollback", True, "default"),
        ("workloads.w.sync[0].from", "a", "kindloop.yaml:19"),
        ("workloads.w.sync[0].on_change", "restart", "default"),
        # It is that of the swap, said or not.
        ("workloads.w.image.artifact", "web", "kindloop.yaml:16"),
        ("observability", "off", "default"),
    ],
)
def test_value_and_origin(project: Path, name: str, value: object, origin: str) -> None:
    row = found(project)[name]
    assert (row.value, row.origin) == (value, origin)


def test_paths_are_those_that_are_used(project: Path) -> None:
    rows = found(project)
    assert rows["app.root"].value == str(project)
    assert rows["app.root"].source == "default"
    assert rows["workloads.w.manifests"].value == str(project / "k8s")


def test_every_variable_comes_before_the_file(project: Path) -> None:
    given = {
        "KINDLOOP_NAME": "two", "KINDLOOP_PORT_OFFSET": "100", "KINDLOOP_PROFILE": "loop",
        "KINDLOOP_OBSERVABILITY": "full", "KINDLOOP_RESOURCES": "high", "KINDLOOP_SCRAPE_S": "5",
    }  # fmt: skip
    assert set(given) == set(loading.VARIABLES)
    rows = found(project, given)
    by = {row.place: row.value for row in rows.values() if row.source == "environment"}
    assert by == {**given, "KINDLOOP_PORT_OFFSET": 100, "KINDLOOP_SCRAPE_S": 5}
    assert rows["workloads.w.url"].value == "http://127.0.0.1:8181"


def test_a_swap_that_is_off_is_one_line(project: Path) -> None:
    text = TEXT.partition("    swap:")[0] + "    swap: off\n"
    (project / "kindloop.yaml").write_text(text)
    row = found(project)["workloads.w.swap"]
    assert (row.value, row.origin) == (None, "kindloop.yaml:15")


def test_a_value_of_an_anchor_is_where_it_stands(project: Path) -> None:
    text = TEXT + "load:\n  a: &a {users: 1, hatch_rate: 1, run_time_s: 1, max_p95_ms: 1, "
    text += "max_error_ratio: 0, min_rps: 0}\n  b: *a\n"
    (project / "kindloop.yaml").write_text(text)
    assert found(project)["load.b.users"].origin == "kindloop.yaml:21"


def test_mistakes_are_those_of_loading(project: Path) -> None:
    (project / "kindloop.yaml").write_text(TEXT + "nonsense: 1\n")
    with pytest.raises(ConfigError, match="has 1 mistake"):
        effective.settings({}, project)


def test_the_table_has_a_line_for_each(project: Path) -> None:
    rows = effective.settings({}, project)
    lines = effective.table(rows).splitlines()
    assert len(lines) == len(rows) > 50
    assert lines[0].split() == ["name", "kindloop.yaml:2", "one"]
    grafana = next(line for line in lines if "grafana" in line)
    assert grafana.split() == ["cluster.ports.grafana", "kindloop.yaml:4", "none"]


def test_the_document_leaves_out_the_place_of_a_default(project: Path) -> None:
    document = effective.as_json(project / "kindloop.yaml", effective.settings({}, project))
    assert document["schema"] == 1
    assert document["file"] == str(project / "kindloop.yaml")
    by_name = {row["name"]: row for row in document["settings"]}
    assert by_name["name"] == {
        "name": "name", "value": "one", "source": "file", "place": "kindloop.yaml:2",
    }  # fmt: skip
    assert by_name["scrape_s"] == {"name": "scrape_s", "value": 15, "source": "default"}


def test_the_summary_names_what_there_is(project: Path) -> None:
    said = effective.summary(loading.load(env={}, start=project))
    *lines, ports = said.splitlines()
    assert lines == [
        "kindloop.yaml: ok",
        "environment one, profile release, observability off",
        "stages: web, supervisor",
        "workload w: http://127.0.0.1:8081",
    ]
    assert ports.startswith("ports: petstore 8081, prometheus 9090, ")
