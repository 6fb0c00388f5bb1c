"""Logs: wishes, times, what was seen before, swaps marked, colours, files of stages, order."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import cluster, logs, report
from kindloop.config import Config, Image, Stage, Workload
from kindloop.errors import CannotTell, ConfigError, Interrupted
from kindloop.logs import fetching
from kindloop.logs.fetching import Container
from kindloop.logs.following import Following
from kindloop.logs.lines import Line, Seen, Source, mark_of, parse
from kindloop.logs.showing import Showing, coloured
from kindloop.logs.stagefiles import StageFiles
from kindloop.logs.wishes import Wishes, duration_s, wishes

POD = Source("workload", "shop", "shop-7789b6bdf7-wtjn2")
SECOND = 1_000_000_000
SWAP = "kindloop: swap generation={} digest={} verify_ms=1.2 stop_ms=3.4"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    shops = {
        name: Workload(name, Image(tmp_path / "Dockerfile"), tmp_path) for name in ("shop", "cart")
    }
    stages = {name: Stage(name, "true") for name in ("gen", "shop")}
    return Config(tmp_path / "kindloop.yaml", workloads=shops, stages=stages)


def _line(t_s: float, text: str, source: Source = POD) -> Line:
    return Line(source, int(t_s * SECOND), text)


# -- wishes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("1m0.5s", 60.5)],
)
def test_a_duration_is_kubectls(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["10", "m", "10 m", "-1m", "1d", "10m ", "1h-30m"])
def test_what_is_no_duration_is_exit_2(text: str) -> None:
    with pytest.raises(ConfigError, match="is no duration") as raised:
        duration_s(text)
    assert raised.value.hint == "invoke dev-logs --since 10m"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workload": "shpo"}, r"there is no workload shpo \(did you mean shop\?\)"),
        ({"stage": "ge"}, r"there is no stage ge \(did you mean gen\?\)"),
        ({"grep": "a("}, "is no regular expression: missing"),
        ({"tail": "ten"}, "--tail ten is no number of lines"),
        ({"tail": "-2"}, "--tail -2 is no number of lines"),
        ({"since": "5"}, "--since 5 is no duration"),
    ],
)
def test_a_wish_that_cannot_be_is_exit_2(
    config: Config, given: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        wishes(config, **given)  # type: ignore[arg-type]
    assert raised.value.exit_code == 2
    assert raised.value.hint


def test_a_workload_leaves_the_stages_out_and_a_stage_the_workloads(config: Config) -> None:
    every = wishes(config)
    assert ([w.name for w in every.workloads], every.stages) == (["shop", "cart"], ("gen", "shop"))
    one = wishes(config, workload="cart")
    assert ([w.name for w in one.workloads], one.stages) == (["cart"], ())
    stage = wishes(config, stage="shop")
    assert (stage.workloads, stage.stages, stage.stages_named) == ((), ("shop",), True)
    both = wishes(config, workload="shop", stage="gen")
    assert ([w.name for w in both.workloads], both.stages) == (["shop"], ("gen",))


@pytest.mark.parametrize(
    ("tail", "since", "lines"),
    [("", "", 100), ("", "5m", None), ("7", "5m", 7), ("-1", "", None), ("0", "", 0)],
)
def test_since_means_all_since_unless_a_number_is_given(
    config: Config, tail: str, since: str, lines: int | None
) -> None:
    assert wishes(config, tail=tail, since=since).tail == lines


# -- lines


@pytest.mark.parametrize(
    ("stamp", "t_ns"),
    [
        ("2026-11-23T17:32:05.123456789Z", 123_456_789),
        ("2026-11-23T17:32:05.12Z", 120_000_000),
        ("2026-11-23T17:32:05Z", 0),
        ("2026-11-23T18:32:05.5+01:00", 500_000_000),
    ],
)
def test_a_time_is_read_to_the_nanosecond(stamp: str, t_ns: int) -> None:
    line = parse(POD, f"{stamp}   a line: with 2026-11-23T17:32:05Z")
    assert line is not None
    assert line.t_ns == 1_795_455_125 * SECOND + t_ns
    assert line.text == "  a line: with 2026-11-23T17:32:05Z"


def test_a_line_may_be_empty_and_what_has_no_time_is_none() -> None:
    line = parse(POD, "2026-11-23T17:32:05.123456789Z ")
    assert line is not None
    assert (line.t_ns, line.text) == (1_795_455_125_123_456_789, "")
    assert parse(POD, "failed to try resolving symlinks in path") is None


def test_of_lines_that_come_twice_each_is_new_as_often_as_it_was_there() -> None:
    seen = Seen()
    first = [_line(10.1, "a"), _line(10.5, "b"), _line(10.5, "b"), _line(10.4, "late")]
    assert [seen.reading().is_new(line) for line in first[:1]] == [True]
    for line in first[1:]:
        seen.add(line)
    assert seen.since_s == 10
    reading = seen.reading()
    again = [*first, _line(10.5, "b"), _line(10.6, "c")]
    assert [reading.is_new(line) for line in again] == [False] * 4 + [True, True]


def test_a_line_is_remembered_as_long_as_it_can_come_again_and_no_longer() -> None:
    seen = Seen()
    lines = [Line(POD, 100 * SECOND + n * 10_000_000, f"line {n}") for n in range(10_000)]
    for line in lines:
        seen.add(line)
    assert seen.since_s == 199
    reading = seen.reading()
    assert not any(reading.is_new(line) for line in lines if line.t_ns >= 199 * SECOND)
    assert len(seen._kept) < 500


def test_what_is_older_than_what_was_wished_for_is_not_new() -> None:
    seen = Seen(oldest_ns=10 * SECOND + 5)
    assert not seen.reading().is_new(_line(10, "old"))
    assert seen.reading().is_new(_line(10.1, "new"))


def test_a_swap_is_recognised_by_the_supervisors_line() -> None:
    mark = mark_of(SWAP.format(12, "a1b2c3d4e5f6"))
    assert mark is not None
    assert (mark.generation, mark.digest) == (12, "a1b2c3d4")
    assert mark_of("kindloop: fresh generation=12 digest=a1b2c3d4 start_ms=3") is None
    assert mark_of("a kindloop: swap generation=12 digest=a1b2c3d4") is None


# -- containers


def _pod(**status: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": POD.pod, "uid": "u1"},
        "spec": {"containers": [{"name": "shop"}]},
        "status": status,
    }


def _status(identity: str, restarts: int = 0, **state: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "containerID": identity,
        "restartCount": restarts,
        "state": state or {"running": {}},
    }


def test_a_pods_containers_are_those_with_a_status() -> None:
    assert fetching.containers_of("shop", _pod()) == []
    (one,) = fetching.containers_of("shop", _pod(containerStatuses=[_status("c1", 2)]))
    assert (one.source, one.id, one.restarts, one.running) == (POD, "c1", 2, True)
    init = {"name": "init", "containerID": "i1", "state": {"terminated": {}}}
    found = fetching.containers_of(
        "shop", _pod(initContainerStatuses=[init], containerStatuses=[_status("c1")])
    )
    assert [c.source.shown for c in found] == ["shop/wtjn2/init", "shop/wtjn2"]


def test_where_nothing_started_the_reason_is_told(config: Config) -> None:
    waiting = {"waiting": {"reason": "ErrImageNeverPull"}}
    pod = _pod(containerStatuses=[{"name": "shop", "image": "shop:dev", "state": waiting}])
    error = fetching.not_started(config.workloads["shop"], [pod])
    assert error.exit_code == 3
    assert "no container of shop has started yet" in error.message
    assert "ErrImageNeverPull" in error.why


# -- showing


def _shown(
    shown: Any, lines: list[Line], *, grep: str = "", tail: int | None = None, **how: Any
) -> list[str]:
    wanted = Wishes((), (), grep=re.compile(grep) if grep else None, tail=tail)
    Showing(wanted, **{"colours": False, **how}).backlog(lines)
    return list(shown.texts("output"))


def test_each_line_says_whose_it_is_and_a_rule_marks_each_swap(shown: Any) -> None:
    lines = [
        _line(1, "before"),
        _line(2, SWAP.format(2, "a1b2c3d4")),
        _line(3, "after"),
        _line(4, "Compiling", Source("stage", "gen")),
        _line(5, SWAP.format(2, "a1b2c3d4")),
    ]
    assert _shown(shown, lines) == [
        "shop/wtjn2 | before",
        "── swap a1b2c3d4 ── shop/wtjn2",
        "shop/wtjn2 | after",
        "stage gen  | Compiling",
        "── a1b2c3d4 started again ── shop/wtjn2",
    ]


def test_with_a_pattern_a_swap_stands_only_before_a_line_that_is_chosen(shown: Any) -> None:
    lines = [
        _line(1, SWAP.format(1, "aaaaaaaa")),
        _line(2, "dull"),
        _line(3, SWAP.format(2, "bbbbbbbb")),
        _line(4, "an error here"),
        _line(5, "dull"),
    ]
    assert _shown(shown, lines, grep="err.r") == [
        "── swap bbbbbbbb ── shop/wtjn2",
        "shop/wtjn2 | an error here",
    ]


def test_with_a_pattern_the_newest_lines_are_those_that_are_chosen(shown: Any) -> None:
    lines = [_line(n, "yes" if n % 10 == 0 else "no") for n in range(100)]
    lines += [_line(n, f"yes {n}", Source("stage", "gen")) for n in range(2)]
    texts = _shown(shown, lines, grep="^yes", tail=3)
    assert texts == ["shop/wtjn2 | yes"] * 3 + ["stage gen  | yes 0", "stage gen  | yes 1"]


def test_a_source_keeps_its_colour_in_a_new_pod(shown: Any) -> None:
    other = Source("workload", "shop", "shop-7789b6bdf7-zzzzz")
    cart = Source("workload", "cart", "cart-1-2")
    texts = _shown(shown, [_line(1, "a"), _line(2, "b", other), _line(3, "c", cart)], colours=True)
    codes = [re.match(r"\x1b\[(\d+)m", text) for text in texts]
    assert all(codes)
    first, second, third = (code[1] for code in codes if code)
    assert first == second != third
    assert all(text.count("\x1b[0m") == 1 for text in texts)


def test_as_json_each_line_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    showing = Showing(Wishes((), (), tail=None), json=True)
    showing.backlog([_line(1.5, 'a "quoted" line'), _line(2, SWAP.format(3, "a1b2"))])
    showing.note("shop/wtjn2 is gone", POD)
    line, swap, note = map(json.loads, capsys.readouterr().out.splitlines())
    assert line == {
        "schema": 1, "kind": "line", "text": 'a "quoted" line',
        "time": "1970-01-01T00:00:01.500000000Z", "source": "workload", "name": "shop",
        "pod": POD.pod,
    }  # fmt: skip
    assert (swap["kind"], swap["generation"], swap["digest"]) == ("swap", 3, "a1b2")
    assert (note["kind"], note["text"], note["pod"]) == ("note", "shop/wtjn2 is gone", POD.pod)


def test_there_are_colours_only_on_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert not coloured()


# -- stages


def _log(config: Config, stage: str, text: str, age_s: float = 0.0) -> Path:
    path = fetching.log_file(config, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    at_s = time.time() - age_s
    os.utime(path, (at_s, at_s))
    return path


def test_stages_stand_where_their_runs_ended_and_old_ones_are_left_out(config: Config) -> None:
    _log(config, "gen", "one\ntwo\n", age_s=1000)
    _log(config, "shop", "three\n", age_s=10)
    every = wishes(config)
    assert [line.text for line in fetching.of_stages(config, every)] == ["one", "two", "three"]
    oldest_ns = time.time_ns() - 100 * SECOND
    assert [line.text for line in fetching.of_stages(config, every, oldest_ns)] == ["three"]
    named = wishes(config, stage="gen")
    assert [line.text for line in fetching.of_stages(config, named, oldest_ns)] == ["one", "two"]
    recent = wishes(config, stage="gen", since="5m")
    assert list(fetching.of_stages(config, recent)) == []
    last = wishes(config, stage="gen", tail="1")
    assert [line.text for line in fetching.of_stages(config, last)] == ["two"]


def test_a_stages_file_is_followed_through_its_next_run(config: Config) -> None:
    path = _log(config, "gen", "old\n", age_s=5)
    files = StageFiles(config, ["gen", "shop"])
    assert list(files.news()) == []
    path.write_text("$ new run\nfir")
    assert [line.text for line in files.news()] == ["$ new run"]
    with path.open("a") as file:
        file.write("st\nsecond\n")
    assert [line.text for line in files.news()] == ["first", "second"]
    assert list(files.news()) == []
    _log(config, "gen", "$ new run\nshort\n")
    assert [line.text for line in files.news()] == ["$ new run", "short"]
    _log(config, "shop", "hello\n\nworld\n")
    assert [line.text for line in files.news()] == ["hello", "", "world"]
    path.unlink()
    assert list(files.news()) == []


def test_lines_are_merged_by_time_and_keep_their_order() -> None:
    stage = Source("stage", "gen")
    lines = [_line(3, "c"), _line(1, "a"), _line(2, "x", stage), _line(2, "y", stage)]
    assert [line.text for line in fetching.merged(lines)] == ["a", "x", "y", "c"]


def test_logs_of_stages_need_no_cluster(config: Config, shown: Any) -> None:
    _log(config, "gen", "one\n", age_s=1000)
    logs.show(config, wishes(config, stage="gen"))
    assert shown.texts("output") == ["stage gen | one"]


def test_a_stage_that_never_ran_is_told(config: Config) -> None:
    with pytest.raises(CannotTell, match="there is no log of stage gen") as raised:
        logs.show(config, wishes(config, stage="gen"))
    assert raised.value.hint == "invoke build.gen"


def test_without_a_cluster_the_next_command_is_dev_up(
    config: Config, homes: Path, fake: Callable[..., Path]
) -> None:
    fake("docker", 'echo "Error response from daemon: No such container: x" >&2; exit 1')
    with pytest.raises(CannotTell, match="there is no cluster") as raised:
        logs.show(config, wishes(config))
    assert raised.value.hint == "invoke dev-up"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no line of stage gen, stage shop; next: invoke build (runs what is stale)\n"),
        ({"tail": "0"}, "no line of stage gen, stage shop with --tail; next: the same without --tail\n"),
    ],
)  # fmt: skip
def test_where_nothing_was_logged_it_says_what_it_looked_for(
    config: Config, capsys: pytest.CaptureFixture[str], given: dict[str, str], said: str
) -> None:
    logs.show(replace(config, workloads={}), wishes(replace(config, workloads={}), **given))  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"grep": "x"}, "no line of stage gen with --grep; next: the same without --grep\n"),
        ({"grep": "x", "since": "1h"}, "no line of stage gen with --grep and --since; next: the same without --grep and --since\n"),
        ({"grep": "one"}, ""),
    ],
)  # fmt: skip
def test_where_no_line_is_chosen_it_says_by_what(
    config: Config, capsys: pytest.CaptureFixture[str], given: dict[str, str], said: str
) -> None:
    _log(config, "gen", "one\n")
    logs.show(config, wishes(config, stage="gen", **given))  # type: ignore[arg-type]
    assert capsys.readouterr().err == said


def test_the_key_of_the_watch_says_it_as_the_watch_does(
    config: Config, shown: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "require", cluster.environment)
    silent = Container(POD, "uid", POD.pod, "shop", "containerd://1", 0, running=True)
    monkeypatch.setattr(logs, "_of_workloads", lambda *_: {silent: []})
    logs.recent(config, 20)
    assert shown.texts("line") == [
        "no line of shop, cart; next: invoke dev-logs -f (waits for lines)"
    ]
    assert capsys.readouterr().err == ""


def test_a_follower_says_that_it_waits(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Following, "run", lambda *_: None)
    logs.show(config, wishes(config, stage="gen", follow=True))
    assert capsys.readouterr().err == "no line of stage gen yet; waiting, Ctrl-C ends it\n"


def test_what_a_stage_says_while_the_pods_are_asked_is_told_once(
    config: Config, monkeypatch: pytest.MonkeyPatch, shown: Any
) -> None:
    path = _log(config, "gen", "one\n")

    def asked(*_: object) -> dict[Container, list[Line]]:
        with path.open("a") as file:
            file.write("two\n")
        return {}

    monkeypatch.setattr(logs, "_of_workloads", asked)
    monkeypatch.setattr(Following, "run", lambda _self, every: every())
    logs.show(config, wishes(config, stage="gen", follow=True))
    assert shown.texts("output") == ["stage gen | one", "stage gen | two"]


def test_who_reads_no_more_ends_it_quietly(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    _log(config, "gen", "one\n")

    class Closed:
        verbosity = 0

        def show(self, event: report.Event) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(report, "_renderer", Closed())
    with pytest.raises(Interrupted, match="nobody reads the output any more"):
        logs.show(config, wishes(config, stage="gen"))


# -- following


class Follows(Following):
    """Following without a cluster: what would be asked is counted."""

    def __init__(self, config: Config, lines: list[Line]) -> None:
        super().__init__(config, config.workloads.values(), Showing(Wishes((), ()), colours=False))
        self.asked: list[bool] = []
        self.lines = lines

    def _read(self, slot: Any) -> None:
        slot.due_s, slot.reading = None, slot.seen.reading()
        slot.child = object()

    def _asked(self, slot: Any, since: int, *, previous: bool) -> list[Line]:
        self.asked.append(previous)
        return [line for line in self.lines if line.t_ns >= since * SECOND]


def _heard(following: Follows, identity: str, kind: str = "MODIFIED", **state: Any) -> None:
    pod = _pod(containerStatuses=[_status(identity, **state)])
    following._take(("pod", ("shop", {"type": kind, "object": pod})))


def _began(following: Follows) -> Any:
    """Begin what is due; the one container there is."""
    (slot,) = following._slots.values()
    if slot.child is None and slot.due_s is not None:
        following._read(slot)
    return slot


def test_a_container_that_is_started_again_loses_no_line_and_doubles_none(
    config: Config, shown: Any
) -> None:
    last = [_line(11.2, "second"), _line(11.3, "last words")]
    following = Follows(config, last)
    _heard(following, "c1", "ADDED")
    slot = _began(following)
    for line in (_line(10.0, "first"), _line(11.2, "second")):
        following._take(("line", (slot.now.key, line)))
    _heard(following, "c2")
    assert following.asked == []  # its reader still has lines to bring
    following._take(("ended", (slot.now.key, "c1")))
    assert following.asked == [True]
    slot = _began(following)
    for line in (*last, _line(12.0, "again")):
        following._take(("line", (slot.now.key, line)))
    assert [text.partition(" | ")[2] or text for text in shown.texts("output")] == [
        "── shop/wtjn2 started ──",
        "first",
        "second",
        "── shop/wtjn2 was started again ──",
        "last words",
        "again",
    ]


def test_a_reader_whose_connection_was_cut_is_begun_again(config: Config) -> None:
    following = Follows(config, [])
    _heard(following, "c1", "ADDED")
    slot = _began(following)
    following._take(("ended", (slot.now.key, "c1")))
    assert slot.child is None
    assert slot.due_s > time.monotonic()
    assert following.asked == []


def test_a_container_that_has_ended_is_read_to_its_end_and_no_more(
    config: Config, shown: Any
) -> None:
    following = Follows(config, [_line(10, "last words")])
    _heard(following, "c1", "ADDED")
    slot = _began(following)
    _heard(following, "c1", terminated={"exitCode": 1})
    following._take(("ended", (slot.now.key, "c1")))
    assert following.asked == [False]
    assert shown.texts("output")[-1] == "shop/wtjn2 | last words"
    _heard(following, "c1", waiting={"reason": "CrashLoopBackOff"})
    assert _began(following).child is None


def test_a_pod_that_is_gone_is_read_no_more(config: Config, shown: Any) -> None:
    following = Follows(config, [])
    _heard(following, "c1", "ADDED")
    slot = _began(following)
    _heard(following, "c1", "DELETED")
    following._take(("ended", (slot.now.key, "c1")))
    assert (slot.child, slot.due_s) == (None, None)
    assert shown.texts("output")[-1] == "── shop/wtjn2 is gone ──"
