"""The bench's own arithmetic and shapes; what it measures is measured by running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench import __main__ as program
from bench import bed, edits, facts
from bench.figures import BEGIN, END, KNOWN, Figure, document, into_page, passed, percentile, table
from bench.variants import by_hand, padded

MACHINE = {"cpu": "a fast one", "cores": 2}
GOOD = Figure.of("zero_build_swap", [0.03, 0.04, 0.05])
SLOW = Figure.of("warm_up", [2.5])


@pytest.mark.parametrize(
    ("samples", "share", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 95, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([1.0, 2.0], 50, 1.5),
        ([float(n) for n in range(101)], 95, 95.0),
        ([1.0, 3.0], 95, 2.9),
        ([2.0, 9.0, 4.0], 100, 9.0),
    ],
)
def test_percentile(samples: list[float], share: float, expected: float) -> None:
    assert percentile(samples, share) == pytest.approx(expected)


def test_a_bar_is_met_up_to_its_value() -> None:
    at = Figure.of("zero_build_swap", [0.07])
    assert (at.met, Figure.of("zero_build_swap", [0.0701]).met) == (True, False)


def test_every_statistic_with_a_bar_must_meet_it() -> None:
    quick, slow = [0.05] * 17, [0.2] * 3
    assert Figure.of("zero_build_swap", quick).met
    assert Figure.of("zero_build_swap", quick + slow).met is False


def test_a_figure_without_a_bar_is_reported_only() -> None:
    assert Figure.of("swap_refused_requests", [99.0]).met is None


def test_json_has_the_shape_that_readers_expect() -> None:
    single = Figure.single("soak_failures", 1000, 0)
    reported = Figure.of("swap_refused_requests", [1.0, 2.0])
    made = json.loads(json.dumps(document(MACHINE, [GOOD, single, reported])))
    assert made == {
        "machine": MACHINE,
        "figures": [
            {
                "name": "zero_build_swap",
                "n": 3,
                "p50": 0.04,
                "p95": 0.049,
                "max": 0.05,
                "unit": "s",
                "bar": {"p50": 0.07, "p95": 0.11},
                "met": True,
            },
            {
                "name": "soak_failures",
                "n": 1000,
                "p50": 0,
                "p95": 0,
                "max": 0,
                "unit": "swaps",
                "bar": {"p50": 0},
                "met": True,
            },
            {
                "name": "swap_refused_requests",
                "n": 2,
                "p50": 1.5,
                "p95": 1.95,
                "max": 2.0,
                "unit": "requests a swap",
                "bar": None,
                "met": None,
            },
        ],
    }


def test_what_could_not_be_measured_is_said_and_fails() -> None:
    gone = Figure.missing("exec_swap")
    assert gone.met is False
    assert gone.as_json()["p50"] is None
    assert "not measured" in table([GOOD, gone])
    assert not passed([GOOD, gone], strict=False)


def test_the_table_has_columns() -> None:
    head, good, slow = table([GOOD, SLOW]).splitlines()
    assert head.split() == ["name", "n", "p50", "p95", "max", "unit", "bar", "met"]
    assert good.split()[:6] == ["zero_build_swap", "3", "0.040", "0.049", "0.050", "s"]
    assert good.endswith("p50 <= 0.07, p95 <= 0.11  yes")
    assert slow.endswith("no")
    assert {line.index(" s ") for line in (good, slow)} == {good.index(" s ")}


def test_the_page_gets_the_table_between_the_marks() -> None:
    page = f"# Speed\n\n{BEGIN}\nold\n{END}\n\nmore\n"
    made = into_page(page, MACHINE, [GOOD])
    assert made.startswith(f"# Speed\n\n{BEGIN}\nMachine: cpu a fast one · cores 2.\n\n| name |")
    assert "| `zero_build_swap` | 3 | 0.040 |" in made
    assert made.endswith(f"{END}\n\nmore\n")
    assert "old" not in made
    assert into_page(made, MACHINE, [GOOD]) == made


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places"):
        into_page("# Speed\n", MACHINE, [GOOD])


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program with two groups that measure nothing; returns what runs it."""
    groups = {
        ("zero_build_swap",): lambda _run: [GOOD],
        ("warm_up",): lambda _run: [SLOW],
        ("exec_swap",): lambda _run: 1 / 0,
    }
    monkeypatch.setattr(program, "GROUPS", groups)
    monkeypatch.setattr(program, "RESULT", tmp_path / "build/bench.json")
    monkeypatch.setattr(program, "PAGE", tmp_path / "PERFORMANCE.md")
    monkeypatch.setattr(facts, "machine", lambda: MACHINE)
    return program.main


def test_a_missed_bar_ends_with_1_when_strict(bench: Any, capsys: Any) -> None:
    both = ["--only", "zero_build_swap", "warm_up"]
    assert bench(both) == 0
    assert bench([*both, "--strict"]) == 1
    assert bench(["--only", "zero_build_swap", "--strict"]) == 0
    assert "zero_build_swap" in capsys.readouterr().out


def test_figures_are_written_in_the_order_of_the_bars(bench: Any) -> None:
    bench(["--only", "warm_up", "zero_build_swap"])
    made = json.loads(program.RESULT.read_text())
    assert [figure["name"] for figure in made["figures"]] == ["zero_build_swap", "warm_up"]


def test_a_group_that_fails_leaves_the_others(bench: Any, capsys: Any) -> None:
    assert bench(["--only", "exec_swap", "warm_up"]) == 1
    made = {f["name"]: f for f in json.loads(program.RESULT.read_text())["figures"]}
    assert made["exec_swap"]["n"] == 0
    assert made["warm_up"]["n"] == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_unknown_name_is_refused(bench: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        bench(["--only", "warmup"])
    assert ended.value.code == 2
    assert "'warmup'" in capsys.readouterr().err


def test_the_page_is_written_of_a_whole_run_only(bench: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        bench(["--only", "warm_up", "--write-docs"])
    assert "leave --only" in capsys.readouterr().err
    program.PAGE.write_text(f"{BEGIN}\n{END}\n")
    bench(["--write-docs"])
    assert "| `warm_up` | 1 | 2.500 |" in program.PAGE.read_text()


def test_every_figure_is_measured_by_one_group() -> None:
    names = [name for names in program.GROUPS for name in names]
    assert sorted(names) == sorted(KNOWN)


def test_the_command_of_a_log_can_be_moved_to_another_checkout() -> None:
    log = "$ cd '/a b/app' && env A=1 'FLAGS=-C x=y' DIR='/a b/app/target' cargo build -p x\nmore\n"
    moved = by_hand(log).moved(Path("/a b"), Path("/c"))
    assert moved.folder == Path("/c/app")
    assert moved.env == {"A": "1", "FLAGS": "-C x=y", "DIR": "/c/app/target"}
    assert moved.argv == ("cargo", "build", "-p", "x")


def test_another_first_line_is_no_command() -> None:
    with pytest.raises(ValueError, match="not a command"):
        by_hand("Compiling x\n")


def test_padding_keeps_the_program_and_adds_no_zeros() -> None:
    assert padded(b"\x7fELFabc", 16) == b"\x7fELFabc\x7fELFabc\x7fE"
    with pytest.raises(ValueError, match="more than 3"):
        padded(b"\x7fELF", 3)


@pytest.mark.parametrize("edit", edits.EDITS, ids=lambda edit: edit.name)
def test_an_edit_applies_to_the_sample_and_each_is_another(edit: edits.Edit, repo: Path) -> None:
    text = (repo / bed.APP / edit.file).read_text()
    one, two = edit.changed(text, 1), edit.changed(text, 2)
    assert len({text, one, two}) == 3
    pairs = zip(text.splitlines(), one.splitlines(), strict=True)
    assert sum(old != new for old, new in pairs) == 1
    with pytest.raises(ValueError, match=r"times|no /labels"):
        edit.changed("", 1)


def test_kindloop_yaml_with_a_copy_as_its_stage(repo: Path) -> None:
    original = yaml.safe_load((repo / "kindloop.yaml").read_text())
    before = json.dumps(original)
    made = bed.copying(original, transport="exec", rollback=False)
    swap = made["workloads"]["petstore"]["swap"]
    assert (swap["artifact"], swap["transport"], swap["rollback"]) == ("prepared", "exec", False)
    assert set(made["stages"]) - {"supervisor"} == {"prepared"}
    assert json.dumps(original) == before


def test_processes_are_read_with_brackets_in_their_names() -> None:
    tail = " ".join(["0"] * 19)
    lines = [
        f"7 (a) b)) S 1 {tail} 10 0",
        f"8 (x) Z 7 {tail} 0 0",
        f"9 (y) Z 8 {tail} 0 0",
        f"10 (z) Z 1 {tail} 0 0",
        "",
    ]
    found = facts.processes(lines)
    assert (found[7].name, found[7].parent, found[7].rss_bytes) == ("a) b)", 1, 10 * facts.PAGE)
    assert facts.zombies(found, 7) == 2
