"""The one file of versions: complete, pinned, and the same that the package ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kindloop import versions
from kindloop.tools import version_of


def test_the_text_is_the_shipped_file(repo: Path) -> None:
    assert versions.text() == (repo / "kindloop/data/versions.toml").read_text(encoding="utf-8")


COMPONENTS = ("prometheus", "alertmanager", "jaeger", "collector", "grafana")
PULLED = [("node", "image"), ("workload", "alpine"), *(("observability", c) for c in COMPONENTS)]


@pytest.mark.parametrize(("section", "key"), PULLED)
def test_pulled_images_are_pinned_by_digest(section: str, key: str) -> None:
    assert re.fullmatch(r"[^:@]+:[^:@]+@sha256:[0-9a-f]{64}", versions.section(section)[key])


def test_a_baked_and_a_pulled_node_are_of_one_minor_release() -> None:
    node = versions.section("node")
    assert version_of(node["kubernetes"])[:2] == version_of(node["image"])[:2]


def test_the_baked_collector_is_the_pulled_one() -> None:
    """One configuration for both: the collector renames its components from release to release."""
    baked = versions.section("bake_observability")["collector"]
    pulled = versions.section("observability")["collector"]
    assert version_of(baked) == version_of(pulled.partition(":")[2])


def test_the_kubectl_asked_for_is_not_newer_than_the_node() -> None:
    needed = version_of(versions.section("tool")["kubectl"]["needed"])  # type: ignore[index]
    assert needed <= version_of(versions.section("node")["kubernetes"])


def test_the_kind_asked_for_is_the_one_that_the_bake_takes_its_files_from() -> None:
    needed = version_of(versions.section("tool")["kind"]["needed"])  # type: ignore[index]
    assert needed == version_of(versions.section("bake")["kind"])


def test_every_line_can_be_read_by_the_set_up_script(repo: Path) -> None:
    """scripts/dev-setup.sh reads it with bash 3.2: a section or `key = "value"`, no more."""
    shape = re.compile(r'|#.*|\[[a-z_.]+\]|[a-z0-9_]+ = "[^"]*"')
    odd = [line for line in versions.text().splitlines() if not shape.fullmatch(line)]
    assert odd == []


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        versions.section("bake")["etcd"] = "v0"  # type: ignore[index]
