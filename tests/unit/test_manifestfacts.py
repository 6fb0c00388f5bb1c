"""Where manifests are wrong: found in the files themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from kindloop.manifestfacts import mistakes

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def test_good_manifests_have_no_mistakes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"---\n{GOOD}---\n{GOOD}---\n")
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [a.yaml, ../.., 'https://example.invalid/x']\n"
    )
    assert mistakes([tmp_path]) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [b\nc: d\n", ":1: not YAML: expected ',' or ']', but got ':'"),
        ('a: b\nc: "d\n', ":2: not YAML: found unexpected end of stream"),
        ("a:\n  b: c\n d: e\n", ":3: not YAML: expected <block end>, but found"),
        ("a: b\n\tc\n", ":2: not YAML: found character '\\t' that cannot start any token"),
        (f"{GOOD}---\nkind: Pod\n", ":5: no Kubernetes object: it has no apiVersion, metadata"),
        ("- a\n", ":1: no Kubernetes object: it has no apiVersion, kind, metadata"),
        ("text\n", ":1: no Kubernetes object: it has no apiVersion, kind, metadata"),
    ],
)
def test_a_mistake_has_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    (found,) = mistakes([tmp_path])
    assert f"a.yaml{told}" in found


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"a: \xff\n")
    (found,) = mistakes([tmp_path])
    assert "a.yml: cannot be read: 'utf-8' codec" in found


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_a_listed_file_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("resources:\n  - there.yaml\n  - gone.yaml\n")
    (tmp_path / "there.yaml").write_text(GOOD)
    (found,) = mistakes([tmp_path])
    assert found.endswith(f"{name}:3: resource gone.yaml does not exist")


def test_files_of_config_maps_are_no_manifests(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [part]\nconfigMapGenerator: [{name: x, files: [settings.yaml]}]\n"
    )
    (tmp_path / "settings.yaml").write_text("global: {}\n")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (tmp_path / "part" / "a.yaml").write_text("text\n")
    (found,) = mistakes([tmp_path])
    assert "part/a.yaml:1: no Kubernetes object" in found


def test_every_folder_is_looked_at(tmp_path: Path) -> None:
    for name in ("core", "app"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text("kind: [\n")
    assert len(mistakes([tmp_path / "core", tmp_path / "app"])) == 2
