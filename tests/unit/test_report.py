"""The renderers: one line a step with its time, details on demand, JSON lines with a schema."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from kindloop import report
from kindloop.report import JsonLines, Plain, Renderer, Silent


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(report, "_ascii", lambda: False)
    before = report.current()
    yield
    report.use(before)


def _work(renderer: Renderer) -> None:
    report.use(renderer)
    with report.step("outer") as outer:
        report.line("a line")
        report.command("ls -l")
        with report.step("inner"):
            report.warn("odd")
        outer.note("3 things")


def test_plain_shows_steps_with_result_and_time_and_hides_commands(out: io.StringIO) -> None:
    _work(Plain(out))
    lines = out.getvalue().splitlines()
    assert lines[0] == "  a line"
    assert lines[1] == "    warning: odd"
    assert lines[2].startswith("  ✓ inner · ")
    assert lines[3].startswith("✓ outer · 3 things · ")
    assert lines[3].endswith(" s")


def test_plain_with_verbosity_shows_beginnings_and_commands(out: io.StringIO) -> None:
    _work(Plain(out, verbosity=1))
    assert "· outer" in out.getvalue().splitlines()[0]
    assert "  $ ls -l" in out.getvalue().splitlines()


def test_a_step_whose_body_raises_is_shown_as_failed_and_raises_on(out: io.StringIO) -> None:
    report.use(Plain(out))
    with pytest.raises(KeyboardInterrupt), report.step("work"):
        raise KeyboardInterrupt
    assert out.getvalue().startswith("✗ work · ")
    with report.step("next"):
        pass
    assert out.getvalue().splitlines()[-1].startswith("✓ next")  # the failed one is not around it


def test_output_is_never_indented(out: io.StringIO) -> None:
    report.use(Plain(out))
    with report.step("s"):
        report.output("table")
    assert out.getvalue().splitlines()[0] == "table"


def test_plain_falls_back_to_ascii(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_ascii", lambda: True)
    report.use(Plain(out))
    with report.step("fine"):
        pass
    with pytest.raises(ValueError, match="x"), report.step("bad"):
        raise ValueError("x")
    marks = [line.split()[0] for line in out.getvalue().splitlines()]
    assert marks == ["ok", "FAILED"]


def test_durations_of_a_minute_and_more_are_minutes(out: io.StringIO) -> None:
    Plain(out).show(report.Event("ended", "s", took_s=125.4))
    assert "2 min 05 s" in out.getvalue()


def test_json_lines_carry_the_schema_and_the_step(out: io.StringIO) -> None:
    _work(JsonLines(out))
    events: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {e["schema"] for e in events} == {report.SCHEMA}
    assert [(e["kind"], e["step"]) for e in events] == [
        ("started", "outer"), ("line", "outer"), ("command", "outer"), ("started", "inner"),
        ("warning", "inner"), ("ended", "inner"), ("ended", "outer"),
    ]  # fmt: skip
    assert events[-1]["text"] == "3 things"
    assert isinstance(events[-1]["took_s"], float)


def test_a_save_and_a_key_are_never_indented(out: io.StringIO) -> None:
    report.use(Plain(out))
    with report.step("s"):
        report.save("a1b2c3d4 fresh in 1.42 s", data={"digest": "a1b2c3d4"})
        report.key("paused")
    assert out.getvalue().splitlines()[:2] == ["a1b2c3d4 fresh in 1.42 s", "paused"]


def test_the_facts_behind_a_save_are_json(out: io.StringIO) -> None:
    report.use(JsonLines(out))
    times = MappingProxyType({"cargo": 1.36})
    facts = {"digest": "a1b2", "took_s": times, "files": (Path("src/a.rs"),), "none": None}
    report.save("stale", ok=False, took_s=1.42, data=facts)
    report.save("fresh")
    stale, fresh = (json.loads(line) for line in out.getvalue().splitlines())
    assert stale.pop("t_s") > 0
    assert stale == {
        "schema": 1,
        "kind": "save",
        "text": "stale",
        "ok": False,
        "took_s": 1.42,
        "data": {"digest": "a1b2", "took_s": {"cargo": 1.36}, "files": ["src/a.rs"], "none": None},
    }
    assert "data" not in fresh


def test_one_event_is_shown_at_a_time() -> None:
    class Counting:
        verbosity = 0
        inside = most = shown = 0

        def show(self, event: report.Event) -> None:
            self.inside += 1
            for _ in range(20):
                time.sleep(0)  # lets the other threads in
                self.most = max(self.most, self.inside)
            self.inside -= 1
            self.shown += 1

    counting = Counting()
    report.use(counting)
    work = [lambda: [report.line("x") for _ in range(50)]] * 4
    threads = [threading.Thread(target=lines) for lines in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counting.most, counting.shown) == (1, 200)


def test_silent_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _work(Silent())
    assert capsys.readouterr() == ("", "")


def test_data_prints_one_document_with_keys_as_given(capsys: pytest.CaptureFixture[str]) -> None:
    report.data({"schema": 1, "b": [1], "a": None})
    said = capsys.readouterr().out
    assert json.loads(said) == {"schema": 1, "b": [1], "a": None}
    assert said.index("schema") < said.index('"b"') < said.index('"a"')
