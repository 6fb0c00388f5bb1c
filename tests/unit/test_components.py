"""Where the image of a component comes from, and what is told where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kindloop import bake, components, host, images, sources
from kindloop.components import COMPONENTS, Prepared
from kindloop.config import Config
from kindloop.errors import ConfigError
from kindloop.versions import section

BAKED = {name: bake.component_reference(name) for name in bake.BAKED}
PULLED = {name: sources.tagged(section("observability")[name]) for name in COMPONENTS}
MINE = "grafana/grafana-oss:11.2.0"


def _decide(name: str, present: set[str], *, registry: bool | None, brought: str = "") -> Prepared:
    return components.decide(name, present, brought, lambda: registry)


def test_there_are_a_baked_and_a_pulled_image_of_all_but_grafana() -> None:
    assert set(BAKED) == set(COMPONENTS) - {"grafana"}
    assert set(PULLED) == set(section("observability"))


@pytest.mark.parametrize("name", BAKED)
def test_what_is_here_is_taken_and_no_registry_is_asked(name: str) -> None:
    def asked() -> bool:
        raise AssertionError("a registry was asked")

    one = components.decide(name, {BAKED[name], PULLED[name]}, "", asked)
    assert (one.reference, one.how) == (BAKED[name], "local")
    one = components.decide(name, {PULLED[name]}, "", asked)
    assert (one.reference, one.how, one.api_only) == (PULLED[name], "local", False)


def test_only_what_is_baked_without_its_web_page_is_api_only() -> None:
    baked = {name: _decide(name, {BAKED[name]}, registry=False).api_only for name in BAKED}
    assert {name for name, api_only in baked.items() if api_only} == {"alertmanager", "jaeger"}


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_registry_that_answers_is_pulled_from(name: str) -> None:
    one = _decide(name, set(), registry=True)
    assert (one.reference, one.how, one.note) == (PULLED[name], "pull", "")


@pytest.mark.parametrize("name", BAKED)
def test_without_a_registry_it_is_baked_and_missing_for_who_only_looks(name: str) -> None:
    assert _decide(name, set(), registry=False).how == "bake"
    one = _decide(name, set(), registry=None)
    assert (one.how, one.reference) == ("missing", BAKED[name])


@pytest.mark.parametrize("registry", [False, None])
def test_grafana_without_registry_and_archive_is_left_out_in_one_line(
    registry: bool | None,
) -> None:
    one = _decide("grafana", set(), registry=registry)
    assert (one.how, one.reference) == ("absent", "")
    assert "invoke image.load FILE" in one.note
    assert "\n" not in one.note


def test_grafana_of_an_archive_wins_over_a_pulled_one_as_long_as_it_is_there() -> None:
    one = _decide("grafana", {MINE, PULLED["grafana"]}, registry=False, brought=MINE)
    assert (one.reference, one.how, one.note) == (MINE, "archive", "")
    one = _decide("grafana", {PULLED["grafana"]}, registry=False, brought=MINE)
    assert (one.reference, one.how) == (PULLED["grafana"], "local")
    assert _decide("grafana", set(), registry=False, brought=MINE).how == "absent"


def test_an_unknown_name_is_told_with_those_that_there_are(homes: Path) -> None:
    with pytest.raises(ConfigError, match="no component loki") as raised:
        components.prepare(["prometheus", "loki"])
    assert all(name in raised.value.hint for name in COMPONENTS)


def _engine(fake: Callable[..., Path], log: Path, *present: str) -> None:
    """An engine that has these images and notes every other call."""
    tags = "\n".join(f"{r}) echo '[\"{r}\"]';;" for r in present)
    fake(
        "docker",
        f'if [ "$1 $2" != "image inspect" ]; then echo "$@" >> {log}; exit 0; fi\n'
        f'for r in "$@"; do case $r in\n{tags}\nesac; done\n'
        # as `image_present` sees it: the exit code of the last one asked for
        f'case "$3" in {"|".join(present) or "none"}) exit 0;; *) exit 1;; esac',
    )


def test_looking_changes_nothing_and_estimates_what_is_missing(
    homes: Path, fake: Callable[..., Path], tmp_path: Path
) -> None:
    log = tmp_path / "calls"
    _engine(fake, log, BAKED["prometheus"])
    found = components.look(COMPONENTS)
    assert {name: one.how for name, one in found.items()} == {
        "prometheus": "local", "alertmanager": "missing", "collector": "missing",
        "jaeger": "missing", "grafana": "absent",
    }  # fmt: skip
    assert found["jaeger"].estimate_s >= bake.BAKED["jaeger"].estimate_s
    assert found["prometheus"].estimate_s == 0
    assert not log.exists()


def test_a_pulled_image_is_pulled_by_digest_and_gets_its_tag(
    homes: Path, fake: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    shown: Any,
) -> None:  # fmt: skip
    log = tmp_path / "calls"
    _engine(fake, log)
    monkeypatch.setattr(host, "registry_reachable", lambda: True)
    found = components.prepare(["alertmanager"])
    pinned = section("observability")["alertmanager"]
    tag, _, digest = pinned.partition("@")
    repository = tag.partition(":")[0]
    assert found["alertmanager"].reference == tag
    assert log.read_text().splitlines() == [
        f"pull --quiet {pinned}", f"tag {repository}@{digest} {tag}",
    ]  # fmt: skip


def test_without_a_registry_all_that_is_missing_is_baked_at_once(
    homes: Path, fake: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    shown: Any,
) -> None:  # fmt: skip
    _engine(fake, tmp_path / "calls", BAKED["jaeger"])
    asked: list[list[str]] = []
    monkeypatch.setattr(host, "registry_reachable", lambda: False)
    monkeypatch.setattr(bake, "bake_components", asked.append)
    found = components.prepare(["prometheus", "jaeger", "collector", "grafana"])
    assert asked == [["prometheus", "collector"]]
    assert {name: one.how for name, one in found.items()} == {
        "prometheus": "bake", "jaeger": "local", "collector": "bake", "grafana": "absent",
    }  # fmt: skip
    assert any("about 2 min" in text for text in shown.texts("line"))
    components.prepare(["collector"])
    several, one = shown.texts("line")
    assert "so prometheus, collector are made from packages, once" in several
    assert "so collector is made from packages, once" in one


def test_what_was_brought_is_remembered_for_all_environments(
    homes: Path, fake: Callable[..., Path], tmp_path: Path
) -> None:
    _engine(fake, tmp_path / "calls", MINE)
    components.bring("grafana", f"docker.io/{MINE}")
    assert components.look(["grafana"])["grafana"] == Prepared("grafana", MINE, "archive")
    assert components.candidates("grafana") == [MINE, PULLED["grafana"]]


def test_the_node_gets_what_it_lacks_in_one_call(
    monkeypatch: pytest.MonkeyPatch, shown: Any, tmp_path: Path
) -> None:
    loaded: list[list[str]] = []
    there = {f"docker.io/{PULLED['collector']}": "sha256:1", BAKED["jaeger"]: "sha256:2"}
    monkeypatch.setattr(images, "in_node", lambda _config: there)
    monkeypatch.setattr(images, "load_references", lambda _config, r: loaded.append(r))
    config = Config(path=tmp_path / "kindloop.yaml")
    prepared = [
        Prepared("collector", PULLED["collector"], "local"),
        Prepared("jaeger", BAKED["jaeger"], "bake"),
        Prepared("prometheus", BAKED["prometheus"], "bake"),
        Prepared("grafana", MINE, "archive"),
        Prepared("alertmanager", BAKED["alertmanager"], "missing"),
    ]
    assert components.load(config, prepared) == [BAKED["prometheus"], MINE]
    assert loaded == [[BAKED["prometheus"], MINE]]
    assert components.load(config, prepared[:2]) == []
    assert len(loaded) == 1
