"""The screen of a watch: what events and keys make of it, and how it is drawn at any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from screens import NOW_S, SIZES, event, line_with, project, rendered

from kindloop import loading, observing
from kindloop.config import Config
from kindloop.report import Event
from kindloop.saves import Saved
from kindloop.screen import asking, day, dayview
from kindloop.screen.day import Day, Row, Trouble

FRESH = Saved(
    "fresh",
    1.42,
    workload="petstore",
    digest="4c883b08" + "0" * 56,
    parts={"cargo": 1.27, "swap": 0.09, "verify": 0.001},
    paths=("examples/petstore/pet_store/src/app.rs",),
    shown="pet_store/src/app.rs",
)
ERRORS = ("src/app.rs:69:72: error: prefix `walks` is unknown", "src/app.rs:70:1: error: no")
BROKEN = Saved(
    "not built",
    0.5,
    workload="petstore",
    served="4c883b08" + "0" * 56,
    stages=("petstore",),
    errors=ERRORS,
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return project(tmp_path)


@pytest.fixture
def begun(config: Config) -> Day:
    return day.begin(config)


def saved(one: Saved) -> Event:
    text = one.line() if one.ok else f"✗ {one.line()}"
    return event("save", text=text, ok=one.ok, took_s=one.took_s, data=one.data())


def after(now: Day, *events: Event) -> Day:
    for one in events:
        now = day.heard(now, one)
    return now


def drawn(
    now: Day, width: int = 80, height: int = 24, *, now_s: float = NOW_S, **estimates: float
) -> list[str]:
    page = dayview.draw(now, estimates, now_s=now_s, width=width, height=height)
    return rendered(page, width, height)


def full(begun: Day) -> Day:
    """A watch with everything on its screen."""
    now = after(
        begun,
        event("line", text="watching 19 files and folders; ? shows the keys"),
        event("started", "router"),
        event("ended", "router", "up to date", took_s=0.0),
        saved(FRESH),
        *[event("line", text=text) for text in ERRORS],
        saved(BROKEN),
        event("started", "petstore"),
        event("log", "petstore", "   Compiling pet_store v0.1.0"),
        event("warning", text="odd"),
    )
    return day.told(now, [Row("tools", "cluster", "demo", "ok", "its API server answers")])


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("pane", ["", "l", "?"])
def test_it_fits_every_size_with_the_keys_at_the_foot(
    begun: Day, width: int, height: int, pane: str
) -> None:
    now = full(begun)
    if pane:
        now, _ = day.pressed(now, pane)
        now = after(now, event("output", text="x" * 500), event("output", text="größe 漢字 " * 40))
    lines = drawn(now, width, height)
    assert len(lines) == height
    assert max(cell_len(line) for line in lines) <= width
    assert lines[-1].split()[0] in {"r", "Esc", "↑"}
    if width >= 80:
        assert "q quit" in lines[-1]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_what_is_wrong_is_on_top_and_whole(begun: Day, width: int, height: int) -> None:
    lines = drawn(full(begun), width, height)
    assert lines[0].split()[0] == "demo"
    assert lines[1].startswith("✗ petstore not built; still served: 4c883b08")
    assert [line.strip() for line in lines[2:4]] == list(ERRORS)


def test_states_stand_under_their_labels(begun: Day) -> None:
    lines = [line.rstrip() for line in drawn(full(begun))]
    build, app, tools = (lines.index(label) for label in ("build", "app", "tools"))
    assert build < app < tools
    assert "✓ stage    router           up to date" in lines[build + 1]
    assert "stage    petstore" in lines[build + 2]
    assert "✗ workload petstore         not built; served: 4c883b08" in lines[app + 1]
    assert "· stage    supervisor" in lines[tools + 1]
    assert "✓ cluster  demo" in lines[tools + 2]
    assert "observability" not in lines


def test_what_runs_has_its_time_an_estimate_and_its_last_line(begun: Day) -> None:
    now = full(begun)
    line = line_with(drawn(now, 120, now_s=NOW_S + 2, petstore=12.0), "stage", "petstore")
    assert "2.0 s · about 10 s left  Compiling pet_store v0.1.0" in line
    late = line_with(drawn(now, 120, now_s=NOW_S + 20, petstore=12.0), "stage", "petstore")
    assert "longer than the usual 12 s" in late
    assert "left" not in line_with(drawn(now, 120), "stage", "petstore")


def test_the_estimate_is_the_last_run_of_this_watch(begun: Day) -> None:
    now = after(
        begun,
        event("started", "petstore"),
        event("ended", "petstore", "app.rs changed", took_s=3.0),
        event("started", "petstore"),
    )
    assert "about 3 s left" in line_with(drawn(now, 120, petstore=60.0), "stage", "petstore")


@pytest.mark.parametrize("width", [80, 200])
def test_a_save_has_its_parts_as_a_bar(begun: Day, width: int) -> None:
    line = line_with(drawn(after(begun, saved(FRESH)), width), "4c883b08", "1.42 s")
    assert "17:31:02 ✓ 4c883b08" in line
    cargo, swap = line.count("█"), line.count("▓")
    assert cargo > 8 * swap > 0
    assert "cargo 1.27 swap 0.09" in line
    assert "verify" not in line, "a part of a millisecond"
    assert "app.rs" in line


def test_the_file_is_named_before_the_shortest_part_is(begun: Day) -> None:
    slow = replace(FRESH, took_s=3.34, parts={"cargo": 3.14, "swap": 0.12, "verify": 0.04})
    now = after(begun, saved(slow))
    narrow = line_with(drawn(now), "3.34 s")
    assert narrow.rstrip().endswith("cargo 3.14 swap 0.12  src/app.rs")
    assert "▒" in narrow, "the bar has it"
    assert "verify 0.04" in line_with(drawn(now, 120), "3.34 s")


def test_what_people_write_is_named_before_a_lock_file(begun: Day) -> None:
    paths = ("Cargo.lock", "Cargo.toml", "examples/pet_store/src/app.rs")
    both = replace(FRESH, paths=paths)
    assert day.heard(begun, saved(both)).saves[0].files == "Cargo.toml and 2 more"
    alone = replace(FRESH, paths=paths[:1])
    assert day.heard(begun, saved(alone)).saves[0].files == "Cargo.lock"


def test_what_came_back_by_itself_is_told_without_a_bar(begun: Day) -> None:
    back = Saved("fresh again", 0.0, workload="petstore", digest="aa" * 32)
    lines = drawn(after(begun, saved(back)))
    assert line_with(lines, "17:31:02").rstrip().endswith("✓ aaaaaaaa fresh again")
    assert "✓ workload petstore         aaaaaaaa fresh" in line_with(lines, "workload")


def test_bars_compare_saves_and_a_rollout_does_not_dwarf_them(begun: Day) -> None:
    quick = replace(FRESH, took_s=0.71, parts={"cargo": 0.6, "swap": 0.1})
    rollout = replace(FRESH, took_s=60.0, parts={"rollout": 58.0})
    lines = drawn(after(begun, saved(rollout), saved(FRESH), saved(quick)), 120)
    bars = [line.count("█") for line in lines if "cargo" in line]
    assert len(bars) == 2
    assert bars[1] > 1.5 * bars[0] > 3, "newest first"


def test_the_newest_saves_are_shown_where_there_is_little_room(begun: Day) -> None:
    many = [saved(replace(FRESH, digest=f"{number:08d}")) for number in range(60)]
    now = after(begun, *many)
    for height in (24, 12):
        shown = [line.split()[2] for line in drawn(now, 80, height) if " ✓ 000000" in line]
        assert shown == sorted(shown, reverse=True)
        assert shown[0] == "00000059"


def test_a_good_save_ends_what_was_wrong(begun: Day) -> None:
    now = full(begun)
    assert [one.of for one in now.troubles] == ["petstore"]
    assert after(now, saved(FRESH)).troubles == ()
    other = replace(FRESH, workload="other")
    assert [one.of for one in after(now, saved(other)).troubles] == ["petstore"]


def test_an_error_without_a_save_is_on_top_until_it_is_dismissed(begun: Day) -> None:
    lines = ("error: 2 of 31 checks failed: a, b", "  | a: GET /a: 500", "  next: run curl")
    now = after(begun, *[event("line", text=text) for text in lines])
    told = ("| a: GET /a: 500", "next: run curl")
    assert now.troubles == (Trouble("", "2 of 31 checks failed: a, b", told),)
    dismissed, ours = day.pressed(now, "escape")
    assert ours
    assert dismissed.troubles == ()
    assert after(now, saved(FRESH)).troubles == ()


def test_why_a_save_failed_is_what_was_said_before_it(begun: Day) -> None:
    failed = Saved("failed", 3.0, workload="petstore", reason="rollout failed")
    said = ("rollout: image", "error: rollout failed", "  why:  no image", "  next: look")
    now = after(begun, *[event("line", text=text) for text in said], saved(failed))
    (trouble,) = now.troubles
    assert trouble.lines == said[1:]


def test_a_rolled_back_save_says_why_on_its_line(begun: Day) -> None:
    reason = "panicked at src/main.rs:3"
    gone = Saved(
        "rolled_back", 5.0, workload="petstore", digest="aa" * 32, served="bb" * 32, reason=reason
    )
    lines = drawn(after(begun, saved(gone)), 120)
    assert lines[1].startswith("✗ aaaaaaaa rolled back to bbbbbbbb: panicked at src/main.rs:3")
    assert "rolled back; served: bbbbbbbb" in line_with(lines, "workload")


def test_keys_of_the_loop_reach_it_and_others_are_the_screens(begun: Day) -> None:
    reach = {key: not day.pressed(begun, key)[1] for key in "rgptLlq?"}
    assert reach == {key: key != "?" for key in "rgptLlq?"}
    assert all(day.pressed(begun, key)[1] for key in ("up", "down", "escape", "home", ""))


def test_what_a_key_asks_for_takes_the_screen_and_scrolls(begun: Day) -> None:
    now, _ = day.pressed(full(begun), "l")
    assert "as soon as what runs has ended" in line_with(drawn(now), "log lines")
    now = after(now, event("output", text="\n".join(f"log {n}" for n in range(100))))
    assert any("log 99" in line for line in drawn(now))
    assert "build" not in [line.strip() for line in drawn(now)]
    assert drawn(now)[1].startswith("✗"), "what is wrong stays on top"
    most = dayview.most_up(now, width=80, height=24)
    up, _ = day.pressed(now, "home", most_up=most)
    assert [line.strip() for line in drawn(up)][4] == "log 0"
    higher, _ = day.pressed(up, "page up", most_up=most)
    down, _ = day.pressed(higher, "down", most_up=most)
    assert [line.strip() for line in drawn(down)][4] == "log 1"
    closed, _ = day.pressed(down, "escape")
    assert closed.pane is None


def test_a_table_that_is_too_wide_loses_its_padding_first(begun: Day) -> None:
    row = "ok  GET" + " " * 30 + "/pets" + " " * 60 + "status, type, schema  200    3 ms"
    now = after(day.pressed(begun, "t")[0], event("output", text=row))
    assert "ok  GET  /pets  status, type, schema  200  3 ms" in [s.rstrip() for s in drawn(now)]
    assert row in line_with(drawn(now, 200), "/pets")


def test_without_a_pane_a_table_is_no_more_than_a_note(begun: Day) -> None:
    now = after(begun, event("output", text="head\n49 checks: 49 passed, 0 failed"))
    assert now.pane is None
    assert now.notes == ("49 checks: 49 passed, 0 failed",)


def test_help_names_every_key(begun: Day) -> None:
    now, _ = day.pressed(begun, "?")
    text = "\n".join(drawn(now))
    for key in "rgptLlq":
        assert f"\n{key}      " in text
    assert day.pressed(now, "?")[0].pane is None


def test_paused_is_said_and_what_to_press(begun: Day) -> None:
    now = after(begun, event("key", text="paused", data={"key": "p", "paused": True}))
    assert "paused: saves wait for p" in drawn(now)[0]
    assert "p go on" in drawn(now)[-1]
    again = after(now, event("key", text="goes on", data={"key": "p", "paused": False}))
    assert "paused" not in drawn(again)[0]


def test_what_a_program_says_cannot_move_the_cursor(begun: Day) -> None:
    evil = "\x1b[2J\x1b]0;title\x07red \x1b[31malert\x1b[0m\rover\x08\x9b5n\ttab"
    now = after(day.pressed(begun, "l")[0], event("output", text=evil), event("line", text=evil))
    text = "".join(drawn(now)) + "".join(drawn(day.pressed(now, "escape")[0]))
    assert not {c for c in text if ord(c) < 32 or 127 <= ord(c) < 160}
    assert "red alert" in text


def test_other_settings_have_other_rows(tmp_path: Path, begun: Day) -> None:
    now = after(full(begun), event("ended", "petstore", "app.rs changed", took_s=1.0))
    file = tmp_path / "kindloop.yaml"
    text = file.read_text().replace(
        "  router: {", "  extra: {run: echo, inputs: [src]}\n  router: {"
    )
    file.write_text(text.replace(", needs: [router]", "").replace("label: tools", "label: build"))
    lines = drawn(day.renewed(now, loading.load(file, env={})))
    assert "· stage    extra" in line_with(lines, "extra")
    assert "✓ stage    petstore         app.rs changed" in line_with(lines, "stage    petstore")
    labels = [line.strip() for line in lines]
    assert labels.index("build") < lines.index(line_with(lines, "supervisor")) < labels.index("app")
    line_with(lines, "✓ cluster  demo")


def test_a_superseded_stage_is_no_failure(begun: Day) -> None:
    now = after(
        begun, event("started", "petstore"), event("ended", "petstore", "superseded", ok=False)
    )
    assert "~ stage    petstore" in line_with(drawn(now), "petstore", "superseded")


def test_the_stack_and_a_silent_api_server_are_told(config: Config, begun: Day) -> None:
    stack = [
        observing.State("prometheus", "ok", url="http://127.0.0.1:9090"),
        observing.State("grafana", "absent", "no archive"),
        observing.State("jaeger", "broken", "no image"),
    ]
    lines = drawn(day.told(begun, asking.rows_of(config, stack)))
    labels = [line.strip() for line in lines]
    assert labels.index("app") < labels.index("observability") < labels.index("tools")
    assert "✓ part     prometheus" in line_with(lines, "http://127.0.0.1:9090")
    assert "· part     grafana" in line_with(lines, "no archive")
    assert "! part     jaeger" in line_with(lines, "no image")
    silent = day.told(
        day.told(begun, asking.rows_of(config, stack)), asking.rows_of(config, (), "no answer")
    )
    assert "! cluster  demo" in line_with(drawn(silent), "no answer")
    assert not any("prometheus" in line for line in drawn(silent)), "nobody knows"
