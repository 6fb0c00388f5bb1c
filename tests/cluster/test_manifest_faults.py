"""Manifests that cannot be rendered or are refused: named, and what runs goes on running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from live import Loop, edit, line_of


@pytest.fixture(scope="module", autouse=True)
def _settled(first_up: tuple[Loop, str]) -> None:
    """No rollout may be due: objects that are not refused are applied."""
    first_up[0].ok("dev-up")


@pytest.fixture
def untouched(up: Loop) -> Iterator[Loop]:
    """A refused manifest must leave the pods as they were."""
    before = up.pods()
    yield up
    assert up.pods() == before


def test_manifest_that_is_not_yaml_names_file_and_line(untouched: Loop) -> None:
    broken = untouched.manifests / "service.yaml"
    edit(broken, "type: NodePort", "type: [NodePort")
    line = line_of(broken.read_text(), "[NodePort")
    said = untouched.say("dev-up")
    assert said.code == 2
    assert said.message == (
        f"error: k8s/app/service.yaml:{line}: not YAML: expected ',' or ']', but got ':'"
    )


def test_manifest_that_is_listed_but_missing_is_named(untouched: Loop) -> None:
    listed = untouched.manifests / "kustomization.yaml"
    edit(listed, "service.yaml", "servce.yaml")
    line = line_of(listed.read_text(), "servce.yaml")
    said = untouched.say("k8s.apply")
    assert said.code == 2
    assert (
        said.message
        == f"error: k8s/app/kustomization.yaml:{line}: resource servce.yaml does not exist"
    )


def test_manifest_of_unknown_kind_is_named(untouched: Loop) -> None:
    extra = untouched.manifests / "extra.yaml"
    extra.write_text("apiVersion: v1\nkind: Wibble\nmetadata:\n  name: strange\n")
    edit(
        untouched.manifests / "kustomization.yaml",
        "  - service.yaml",
        "  - service.yaml\n  - extra.yaml",
    )
    said = untouched.say("dev-up")
    assert said.code == 6
    assert said.message == "error: the API server refused a manifest"
    assert 'no matches for kind "Wibble" in version "v1"' in said.error


def test_manifest_with_an_unknown_field_is_rejected_by_the_api_server(untouched: Loop) -> None:
    edit(untouched.manifests / "deployment.yaml", "replicas: 1", "replicaz: 1")
    said = untouched.say("dev-up")
    assert said.code == 6
    assert said.message == "error: the API server refused a manifest"
    assert ".spec.replicaz: field not declared in schema" in said.error
    assert f"({untouched.name}/petstore; apps/v1, Kind=Deployment)" in said.error


def test_manifest_with_an_invalid_value_is_rejected_by_the_api_server(untouched: Loop) -> None:
    edit(untouched.manifests / "service.yaml", "nodePort: 30080", "nodePort: 99")
    said = untouched.say("dev-up")
    assert said.code == 6
    assert "nodePort" in said.error
    assert "30000-32767" in said.error
