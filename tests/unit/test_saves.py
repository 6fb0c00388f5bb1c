"""The line of a save, what a report changes later, and what a look finds undone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import saves
from kindloop.config import Stage
from kindloop.saves import Job, Saved, Standing
from kindloop.stage_plan import Decision, Observed
from kindloop.supervised import Report, Verdict

NEW, OLD = "b2c3d4e5" + "0" * 56, "a1b2c3d4" + "0" * 56
STAGES = {
    "router": Stage("router", "cargo build --lib"),
    "generate": Stage("generate", "cargo run", needs=("router",), on_newer="finish"),
    "petstore": Stage("petstore", "cargo build", needs=("generate",)),
    "docs": Stage("docs", "mdbook build"),
}


def saved(result: Any, **more: Any) -> Saved:
    more = {"digest": NEW, "served": OLD, "shown": "src/app.rs", **more}
    return Saved(result, 1.4213, workload="petstore", **more)


def test_a_fresh_save_tells_its_digest_time_parts_and_file() -> None:
    line = saved("fresh", parts={"cargo": 1.364, "swap": 0.041}).line()
    assert line == "b2c3d4e5 fresh in 1.42 s · cargo 1.36 · swap 0.04 · src/app.rs"


def test_the_workload_is_named_only_where_there_are_several() -> None:
    assert saved("fresh", named=True).line().startswith("petstore b2c3d4e5 fresh")


def test_what_takes_no_time_worth_telling_is_left_out_of_the_line_but_not_of_the_data() -> None:
    one = saved("fresh", parts={"swap": 0.041, "verify": 0.002})
    assert "verify" not in one.line()
    assert one.data()["parts"] == {"swap": 0.041, "verify": 0.002}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("not built", "petstore not built; still served: a1b2c3d4"),
        ("rolled_back", "b2c3d4e5 rolled back to a1b2c3d4: src/main.rs:12:5: no"),
        ("refused", "b2c3d4e5 refused, a1b2c3d4 goes on: src/main.rs:12:5: no"),
        ("failed", "not served; still served: a1b2c3d4"),
    ],
)
def test_a_save_that_is_not_served_tells_what_is(result: str, expected: str) -> None:
    one = saved(result, reason="src/main.rs:12:5: no", stages=("petstore",))
    assert one.line() == f"{expected} · src/app.rs"
    assert not one.ok
    assert one.data()["fresh"] is False


def test_nothing_served_is_said_so() -> None:
    assert "still served: nothing" in saved("not built", served="", stages=("petstore",)).line()


def test_every_result_has_words_and_data_that_json_takes() -> None:
    for result in saves.Result.__args__:
        one = saved(result, reason="why")
        assert one.line()
        assert json.loads(json.dumps(one.data()))["verdict"] == result


def test_the_time_of_two_saves_in_one_counts_from_the_first() -> None:
    first = Job("save", 10.0, frozenset({Path("/a")}))
    newer = Job("save", 11.5, frozenset({Path("/b")}), everything=True)
    both = first.joined(newer)
    assert both.since_s == 10.0
    assert both.paths == {Path("/a"), Path("/b")}
    assert both.everything


def test_a_save_that_overtakes_a_repair_is_a_save() -> None:
    assert Job("heal", 1.0).joined(Job("save", 2.0)).cause == "save"
    assert Job("generate", 1.0, forced=("generate",)).joined(Job("save", 2.0)).forced == (
        "generate",
    )


def test_all_of_cargo_is_one_part_and_others_go_by_their_name() -> None:
    ran = {"router": 1.0, "petstore": 0.5, "docs": 0.25}
    assert saves.parts_of(STAGES, ran) == {"cargo": 1.5, "docs": 0.25}


def test_the_generator_is_the_one_named_so_or_the_first_that_finishes() -> None:
    assert saves.generator(STAGES) == "generate"
    renamed = {"a": Stage("a", "x"), "b": Stage("b", "x", on_newer="finish")}
    assert saves.generator(renamed) == "b"
    assert saves.generator({"a": Stage("a", "x")}) == ""


# -- lost events


def look(*stale: str) -> tuple[list[Decision], dict[str, Observed]]:
    decisions = [Decision(name, name in stale, "") for name in STAGES]
    return decisions, {name: Observed("run", inputs={"a": "1"}) for name in STAGES}


def test_a_stale_stage_without_an_event_was_missed() -> None:
    decisions, observed = look("petstore")
    assert saves.missed(STAGES, decisions, observed, {}) == ("petstore",)


def test_what_failed_as_it_is_now_is_not_missed_nor_is_what_needs_it() -> None:
    decisions, observed = look("generate", "petstore", "docs")
    tried = {"generate": observed["generate"]}
    assert saves.missed(STAGES, decisions, observed, tried) == ("docs",)


def test_what_failed_and_is_well_again_is_missed() -> None:
    decisions, observed = look()
    tried = {"generate": replace(observed["generate"], outputs={"a.rs": "edited"})}
    assert saves.missed(STAGES, decisions, observed, tried) == ("generate",)


def test_what_failed_otherwise_is_missed() -> None:
    decisions, observed = look("generate")
    tried = {"generate": replace(observed["generate"], inputs={"a": "2"})}
    assert saves.missed(STAGES, decisions, observed, tried) == ("generate",)


# -- what failed is not tried again as it is

BUILT_BY = {
    "router": Stage("router", "cargo build --lib", built_by="petstore"),
    "petstore": Stage("petstore", "cargo build", needs=("router",)),
    "docs": Stage("docs", "mdbook build"),
}
NEEDS = {"router": ["router"], "petstore": ["router", "petstore"], "docs": ["docs"]}


@pytest.mark.parametrize(
    ("tried", "touched", "expected"),
    [
        ((), (), ["router", "petstore", "docs"]),
        (("petstore",), ("docs",), ["docs"]),
        (("petstore",), ("petstore",), ["router", "petstore", "docs"]),
        (("petstore", "router"), ("petstore",), ["router", "petstore", "docs"]),
        (("petstore", "router"), ("router",), ["router", "petstore", "docs"]),
        (("petstore", "router"), ("docs",), ["docs"]),
    ],
)
def test_what_failed_waits_for_a_save_of_it_or_of_what_it_builds(
    tried: tuple[str, ...], touched: tuple[str, ...], expected: list[str]
) -> None:
    assert saves.hopeful(BUILT_BY, NEEDS, tried, touched) == expected


@pytest.mark.parametrize(
    ("stale", "tried", "expected"),
    [
        (("router", "petstore"), {}, ("router", "petstore")),
        (("router", "petstore"), {"petstore": "1", "router": "1"}, ()),
        (("petstore",), {"petstore": "1"}, ()),
        (("router", "petstore"), {"petstore": "1"}, ("petstore",)),
        (("router", "petstore"), {"petstore": "1", "router": "0"}, ("petstore",)),
        (("router", "petstore"), {"petstore": "0", "router": "1"}, ("petstore",)),
    ],
)
def test_what_is_built_by_another_stage_is_missed_with_it(
    stale: tuple[str, ...], tried: dict[str, str], expected: tuple[str, ...]
) -> None:
    decisions = [Decision(name, name in stale, "") for name in BUILT_BY]
    observed = {name: Observed("run", inputs={"a": "1"}) for name in BUILT_BY}
    then = {name: Observed("run", inputs={"a": seen}) for name, seen in tried.items()}
    assert saves.missed(BUILT_BY, decisions, observed, then) == expected


# -- what supervisors report later

STANDING = Standing(7, NEW, "fresh", NEW, {"pod-1": 0})


def report(outcome: str, **more: Any) -> Report:
    given = {"outcome": outcome, "outcome_generation": 7, "running_digest": NEW, **more}
    return Report("pod-1", **given)


def test_a_later_roll_back_is_worth_a_line_once() -> None:
    said = report("rolled_back", running_digest=OLD)
    now, worth = saves.turn(STANDING, said)
    assert worth
    assert (now.result, now.served) == ("rolled_back", OLD)
    assert saves.turn(now, said) == (now, False)


def test_a_restart_is_worth_a_line() -> None:
    now, worth = saves.turn(STANDING, report("fresh", restarts=1))
    assert worth
    assert now.result == "fresh"
    assert saves.turn(now, report("fresh", restarts=1))[1] is False


def test_a_report_about_another_generation_changes_nothing() -> None:
    said = report("crashed", outcome_generation=6)
    assert saves.turn(STANDING, said) == (STANDING, False)


def test_the_same_again_is_no_news() -> None:
    assert saves.turn(STANDING, report("fresh")) == (STANDING, False)


@pytest.mark.parametrize(
    ("state", "outcome", "generation", "expected"),
    [
        ("fresh", "fresh", 7, "fresh"),
        ("unhealthy", "refused", 7, "refused"),
        ("unhealthy", "crashed", 7, "crashed"),
        ("unhealthy", "crashed", 6, "unhealthy"),
        ("unhealthy", "failed", 7, "unhealthy"),
        ("rolled_back", "rolled_back", 7, "rolled_back"),
    ],
)
def test_the_result_is_what_the_supervisor_says_of_this_generation(
    state: Any, outcome: str, generation: int, expected: str
) -> None:
    verdict = Verdict(state, "", (report(outcome, outcome_generation=generation),))
    assert saves.result_of(verdict, 7) == expected
