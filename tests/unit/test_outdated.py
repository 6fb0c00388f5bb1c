"""Newer releases: which count, what is asked, and that what cannot be asked is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop import host, outdated, versions
from kindloop.outdated import Found, Row, newest_of

ROW = Row("bake.etcd", "v3.6.16", "go", "go.etcd.io/etcd/server/v3")


@pytest.mark.parametrize(
    ("have", "known", "newest", "patch"),
    [
        ("v1.34.4", ["v1.34.3", "v1.34.11", "v1.9.0", "v1.35.0"], "v1.35.0", "v1.34.11"),
        ("v1.34.4", ["v1.34.4", "v1.35.0-rc.1", "v1.35.0-alpha.0"], "v1.34.4", ""),
        ("3.22", ["3.22", "3.23.4", "edge", "latest", "20260101"], "3.23.4", ""),
        ("1.26.8", ["1.26.8", "1.26rc1", "1.27.4"], "1.27.4", ""),
        ("v1.0.0", [], "", ""),
    ],
)
def test_the_newest_release_is_found_and_previews_are_none(
    have: str, known: list[str], newest: str, patch: str
) -> None:
    assert newest_of(have, known) == (newest, patch)


def test_every_pinned_version_and_found_tool_is_asked_for() -> None:
    rows = outdated.rows(versions.section, {"kind": "0.31.0", "python": "3.13.1"})
    names = {row.name: row for row in rows}
    assert names["node.kubernetes"].where == "k8s.io/kubernetes"
    assert names["node.image"].have.startswith("v1.")
    assert names["node.image"].where == "kindest/node"
    assert names["observability.grafana"].source == "registry"
    assert names["tool kind"] == Row("tool kind", "0.31.0", "go", "sigs.k8s.io/kind")
    assert "tool python" not in names
    assert {row.source for row in rows} == {"go", "registry"}


def test_every_module_and_tool_is_one_of_the_data_file() -> None:
    for section, key in outdated.MODULES:
        assert versions.section(section)[key].startswith("v")
    assert set(outdated.TOOLS) <= {spec.name for spec in host.specs()}


@pytest.mark.parametrize(
    ("newest", "known"), [("v3.7.0", True), ("v3.6.16", False), ("v3.5.9", False), ("", None)]
)
def test_outdated_is_what_has_a_newer_release(newest: str, known: bool | None) -> None:
    assert Found(ROW, newest).outdated is known


def test_the_table_says_what_cannot_be_told_and_why() -> None:
    found = [
        Found(ROW, "v3.7.3", "v3.6.20"),
        Found(Row("node.image", "v1.34.3", "registry", "kindest/node"), why="no registry answers"),
    ]
    _, first, second = outdated.table(found).splitlines()
    assert first.split(maxsplit=3) == [
        "bake.etcd", "v3.6.16", "v3.7.3", "outdated, v3.6.20 of the same series",
    ]  # fmt: skip
    assert second.endswith("cannot tell  no registry answers")
    document = outdated.as_json(found)
    assert [one["outdated"] for one in document["versions"]] == [True, None]
    assert document["schema"] == 1


def test_a_proxy_that_does_not_answer_is_told_in_its_own_words(fake: Callable[..., Path]) -> None:
    fake("go", "echo 'go: module lookup disabled by GOPROXY=off' >&2; exit 1")
    found = outdated._ask(ROW, registry=False)
    assert (found.newest, found.outdated) == ("", None)
    assert found.why == "go: module lookup disabled by GOPROXY=off"


def test_the_go_proxy_is_asked_by_go(fake: Callable[..., Path]) -> None:
    fake("go", 'echo "$4" v3.6.16 v3.7.0 v3.8.0-rc.0')
    assert outdated._ask(ROW, registry=False) == Found(ROW, "v3.7.0")


def test_apt_is_asked_once_for_all(fake: Callable[..., Path], tmp_path: Path) -> None:
    outdated._candidates.cache_clear()
    said = "curl:\n  Installed: 7.88.1\n  Candidate: 7.88.1-10+deb12u1\n  Version table:\n"
    said += "docker.io:\n  Installed: (none)\n  Candidate: 5:26.1.5-1\n"
    (tmp_path / "said").write_text(said)
    fake("apt-cache", f'echo "$@" >> {tmp_path}/asked; cat {tmp_path}/said')
    try:
        assert outdated._of_apt("curl") == ["7.88.1"]
        assert outdated._of_apt("docker.io") == ["26.1.5"]
        assert outdated._of_apt("gcc") == []
    finally:
        outdated._candidates.cache_clear()
    assert (tmp_path / "asked").read_text().count("policy") == 1


def test_a_registry_lists_tags(fake: Callable[..., Path]) -> None:
    row = Row("workload.alpine", "3.22", "registry", "alpine")
    assert outdated._ask(row, registry=False).why == "no image registry answers"
    fake("curl", """echo '{"results": [{"name": "3.23.1"}, {"name": "latest"}]}'""")
    assert outdated._ask(row, registry=True) == Found(row, "3.23.1")
    fake("curl", "echo '<html>'")
    assert outdated._ask(row, registry=True).why == "the registry's list of tags cannot be read"
