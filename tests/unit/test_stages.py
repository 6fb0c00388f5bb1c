"""The order of stages, their keys, and what is stale and why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import report
from kindloop.config import App, Config, Stage
from kindloop.errors import ConfigError
from kindloop.fingerprint import Digests
from kindloop.stage_plan import Left, Observed, Record, decide, key_of, order, plan
from kindloop.stage_state import Site, inspect_stage
from kindloop.targets import Target, TargetPlan
from kindloop.toolchain import Toolchain

STAGES = {
    "petstore": Stage("petstore", "cargo build", needs=("generate",)),
    "router": Stage("router", "cargo build --lib"),
    "generate": Stage("generate", "cargo run", needs=("router",)),
    "docs": Stage("docs", "mdbook build"),
}

SEEN = Observed(
    command="cargo build",
    settings={"CARGO_BUILD_TARGET": "x86_64-unknown-linux-gnu", "RUST_LOG": "info"},
    env_inputs={"BUILD_ID": None, "MODE": "a"},
    tools={"cargo": "cargo 1.85.0 (aaa 2025-02-17)", "rustc": "rustc 1.85.0"},
    inputs={"src/a.rs": "1", "src/b.rs": "2", "Cargo.toml": "3"},
    outputs={"{target}/pet_store": "4", "pet_store/doc": "5"},
)


def recorded(observed: Observed, needs: dict[str, str] | None = None) -> Record:
    """The record of a run that ended well with what was observed."""
    return Record(
        key=key_of(observed, needs or {}),
        command=observed.command,
        settings=observed.settings,
        env_inputs=observed.env_inputs,
        tools=observed.tools,
        inputs=observed.inputs,
        needs=needs or {},
        outputs={name: digest for name, digest in observed.outputs.items() if digest},
        files={},
    )


def reason(observed: Observed, record: Record | None = None) -> str:
    decision = decide("petstore", record or recorded(SEEN), observed, {})
    assert decision.stale
    return decision.reason


def test_needs_come_first() -> None:
    assert order(STAGES) == ["router", "generate", "petstore", "docs"]


def test_only_what_a_stage_needs_comes_with_it() -> None:
    assert order(STAGES, ["generate"]) == ["router", "generate"]
    assert order(STAGES, []) == []


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(ConfigError, match="no stage petstor") as caught:
        order(STAGES, ["petstor"])
    assert "petstore" in caught.value.hint


def test_an_unknown_need_is_named() -> None:
    with pytest.raises(ConfigError, match="stage a needs b, which is not a stage"):
        order({"a": Stage("a", "x", needs=("b",))})


def test_stages_that_need_each_other_are_named() -> None:
    ring = {n: Stage(n, "x", needs=(to,)) for n, to in (("a", "b"), ("b", "c"), ("c", "b"))}
    with pytest.raises(ConfigError, match="b → c → b"):
        order(ring)


def test_nothing_changed() -> None:
    decision = decide("petstore", recorded(SEEN), SEEN, {})
    assert (decision.stale, decision.reason, decision.changes) == (False, "up to date", ())


def test_never_built() -> None:
    assert decide("petstore", None, SEEN, {}).reason == "never built"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"command": "cargo build --release"}, "command changed"),
        ({"inputs": {**SEEN.inputs, "src/b.rs": "9"}}, "src/b.rs changed"),
        ({"inputs": {**SEEN.inputs, "Cargo.lock": "9"}}, "Cargo.lock added"),
        ({"inputs": {"src/a.rs": "1", "Cargo.toml": "3"}}, "src/b.rs removed"),
        ({"missing": ("made",)}, "input made missing"),
        ({"settings": {**SEEN.settings, "RUST_LOG": "debug"}}, "environment RUST_LOG changed"),
        (
            {"settings": {**SEEN.settings, "CARGO_BUILD_TARGET": "aarch64-unknown-linux-musl"}},
            "target x86_64-unknown-linux-gnu → aarch64-unknown-linux-musl",
        ),
        ({"env_inputs": {"BUILD_ID": "7", "MODE": "a"}}, "environment BUILD_ID changed"),
        ({"env_inputs": {"BUILD_ID": None, "MODE": None}}, "environment MODE changed"),
        ({"tools": {**SEEN.tools, "cargo": "cargo 1.95.0 (bbb)"}}, "cargo 1.85.0 → 1.95.0"),
        (
            {"tools": {**SEEN.tools, "rustc": "rustc 1.85.0 (patched)"}},
            "rustc rustc 1.85.0 → rustc 1.85.0 (patched)",
        ),
        ({"tools": {**SEEN.tools, "go": "go1.26"}}, "tool go added"),
        ({"tools": {"cargo": SEEN.tools["cargo"]}}, "tool rustc removed"),
    ],
)
def test_what_changed_is_named_and_changes_the_key(change: dict[str, Any], expected: str) -> None:
    now = replace(SEEN, **change)
    assert reason(now) == expected
    assert (key_of(now, {}) == key_of(SEEN, {})) is ("missing" in change)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({**SEEN.outputs, "{target}/pet_store": None}, "output pet_store missing"),
        ({**SEEN.outputs, "pet_store/doc": "6"}, "output pet_store/doc changed since it was built"),
        ({**SEEN.outputs, "{root}/new": "6"}, "output new added"),
    ],
)
def test_outputs_make_stale_without_changing_the_key(
    outputs: dict[str, str | None], expected: str
) -> None:
    now = replace(SEEN, outputs=outputs)
    assert reason(now) == expected
    assert key_of(now, {}) == key_of(SEEN, {})


def test_several_changes_are_counted_and_all_told() -> None:
    now = replace(SEEN, inputs={"src/b.rs": "8", "src/a.rs": "9", "new.rs": "1"})
    decision = decide("petstore", recorded(SEEN), now, {})
    assert decision.reason == "src/a.rs changed (and 3 more)"
    assert decision.changes[1:] == ("src/b.rs changed", "new.rs added", "Cargo.toml removed")


def test_an_interrupted_run_is_told_first() -> None:
    assert reason(replace(SEEN, left=Left("interrupted"))) == "interrupted last time"
    now = replace(SEEN, command="other", left=Left("interrupted"))
    assert reason(now) == "interrupted last time (and 1 more)"
    assert decide("petstore", None, now, {}).reason == "interrupted last time"


def test_a_failed_run_is_told_last() -> None:
    assert reason(replace(SEEN, left=Left("failed"))) == "failed last time"
    now = replace(SEEN, command="other", left=Left("failed"))
    assert reason(now) == "command changed (and 1 more)"


def test_the_order_of_inputs_does_not_matter() -> None:
    shuffled = replace(SEEN, inputs=dict(reversed(SEEN.inputs.items())))
    assert key_of(shuffled, {}) == key_of(SEEN, {})


def looked_at() -> tuple[dict[str, Observed], dict[str, Record]]:
    """All stages built and unchanged."""
    observed = {name: Observed(stage.run, inputs={name: "1"}) for name, stage in STAGES.items()}
    records: dict[str, Record] = {}
    for name in order(STAGES):
        needs = {need: records[need].key for need in STAGES[name].needs}
        records[name] = recorded(observed[name], needs)
    return observed, records


def test_a_plan_has_every_stage_needs_first() -> None:
    observed, records = looked_at()
    decisions = plan(STAGES, records, observed)
    assert [d.stage for d in decisions] == ["router", "generate", "petstore", "docs"]
    assert not any(d.stale for d in decisions)


def test_a_change_reaches_everything_that_needs_it() -> None:
    observed, records = looked_at()
    observed["router"] = replace(observed["router"], inputs={"router/src/lib.rs": "2"})
    reasons = {d.stage: d.reason for d in plan(STAGES, records, observed)}
    assert reasons == {
        "router": "router/src/lib.rs added (and 1 more)",
        "generate": "needs router, which is stale",
        "petstore": "needs generate, which is stale",
        "docs": "up to date",
    }


def test_a_need_that_was_built_meanwhile_is_newer() -> None:
    observed, records = looked_at()
    observed["router"] = replace(observed["router"], inputs={"router": "2"})
    records["router"] = recorded(observed["router"])
    reasons = {d.stage: d.reason for d in plan(STAGES, records, observed)}
    assert reasons["router"] == "up to date"
    assert reasons["generate"] == "needs router, which is newer"


def test_a_need_that_only_lost_its_output_does_not_spread() -> None:
    observed, records = looked_at()
    observed["router"] = replace(observed["router"], outputs={"lib": None})
    stale = [d.stage for d in plan(STAGES, records, observed) if d.stale]
    assert stale == ["router"]


def test_a_need_that_was_dropped_is_told() -> None:
    record = recorded(SEEN, {"router": "k"})
    assert reason(SEEN, record) == "no longer needs router"


def test_a_record_survives_its_file() -> None:
    record = recorded(SEEN, {"router": "k"})
    again = Record.from_json(json.loads(json.dumps(record.as_json())))
    assert again == record


@pytest.mark.parametrize("document", [None, [], {}, {"schema": 0}, {"schema": 1, "key": "k"}])
def test_a_record_that_cannot_be_read_is_none(document: Any) -> None:
    assert Record.from_json(document) is None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = tmp_path / "app"
    ready = TargetPlan(Target("x86_64-unknown-linux-gnu", ("-C", "target-feature=+crt-static")))
    host = TargetPlan(Target("aarch64-apple-darwin"))
    config = Config(tmp_path / "kindloop.yaml", app=App(root), profile="loop")
    return Site(config, Digests(), Toolchain(root), ready, host)


def test_placeholders_are_filled_in_after_the_split(site: Site) -> None:
    root = site.root
    stage = Stage("a", "gen '{root}/a b' {here}/c --to {target}/x --json '{\"k\": 1}'")
    binaries = root / "target/kindloop/loop/x86_64-unknown-linux-gnu/release"
    assert site.argv(stage) == (
        "gen", f"{root}/a b", f"{root.parent}/c", "--to", f"{binaries}/x", "--json", '{"k": 1}',
    )  # fmt: skip


def test_an_input_may_lie_beside_kindloop_yaml(site: Site) -> None:
    stage = Stage("a", "sh {here}/gen.sh", inputs=("{here}/gen.sh",), tools=())
    site = replace(site, config=replace(site.config, stages={"a": stage}))
    (site.config.root / "gen.sh").write_text("one")
    before = inspect_stage(site, "a").inputs
    assert before.keys() == {"../gen.sh"}
    (site.config.root / "gen.sh").write_text("two")
    assert inspect_stage(site, "a").inputs != before


def test_host_stages_have_the_target_of_the_host(site: Site) -> None:
    stage = Stage("a", "cargo run", platform="host", outputs=("{target}/gen",))
    assert site.settings(stage)["CARGO_BUILD_TARGET"] == "aarch64-apple-darwin"
    assert site.path(stage, "{target}/gen").parent.parent.name == "aarch64-apple-darwin"


@pytest.mark.parametrize("command", ["", "  ", "echo 'open"])
def test_a_command_that_cannot_be_split_is_named(site: Site, command: str) -> None:
    with pytest.raises(ConfigError, match=r"stages\.a\.run"):
        site.argv(Stage("a", command))


def test_a_stage_may_override_the_profile_but_not_lose_the_static_flags(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CARGO_ENCODED_RUSTFLAGS", raising=False)
    env = {"CARGO_PROFILE_RELEASE_LTO": "thin", "RUSTFLAGS": "-g", "SPEC": "{root}/openapi.yaml"}
    settings = site.settings(Stage("a", "cargo build", env=env))
    assert settings["CARGO_PROFILE_RELEASE_LTO"] == "thin"
    assert settings["RUSTFLAGS"] == "-g -C target-feature=+crt-static"
    here = site.settings(Stage("a", "cargo run", env=env, platform="host"))
    assert here["RUSTFLAGS"] == "-g"
    assert settings["SPEC"] == f"{site.root}/openapi.yaml"


def test_values_that_people_set_are_kept_as_digests(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is known to be a secret by now: what is recorded must not depend on that."""
    monkeypatch.setenv("TOKEN", "of-the-shell")
    env = {"URL": "postgres://of-the-file", "CARGO_BUILD_TARGET": "x86_64-unknown-linux-gnu"}
    stage = Stage("a", "true", env=env, env_inputs=("TOKEN",), tools=())
    site = replace(site, config=replace(site.config, stages={"a": stage}))
    seen = inspect_stage(site, "a")
    assert not any("of-the" in str(value) for value in (*seen.settings.values(), seen.env_inputs))
    assert seen.settings["CARGO_BUILD_TARGET"] == "x86_64-unknown-linux-gnu"
    monkeypatch.setattr(report, "masked", lambda _text: "***")
    assert inspect_stage(site, "a") == seen
    monkeypatch.setenv("TOKEN", "another")
    assert inspect_stage(site, "a") != seen


def test_a_mark_that_was_cut_off_counts_as_interrupted(site: Site) -> None:
    site.mark("a", Left("failed", {"gen.rs": "1"}))
    assert site.left("a") == Left("failed", {"gen.rs": "1"})
    (site.build_dir / "a.running").write_text('{"how": "fai')
    assert site.left("a") == Left("interrupted")


def test_a_good_run_replaces_the_mark(site: Site) -> None:
    site.mark("a", Left("interrupted"))
    site.keep("a", recorded(SEEN))
    assert site.left("a") is None
    assert site.record("a") == recorded(SEEN)
