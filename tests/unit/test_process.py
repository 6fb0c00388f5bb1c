"""Long-lived children: output pumped, tail bounded, log whole, and nobody left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop import process
from kindloop.errors import ToolMissing

Pid = Callable[[Path], int]
Ends = Callable[[int], None]
Runs = Callable[[int], bool]

STUBBORN = "trap '' TERM; (echo $$ > parent; sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done') & while :; do sleep 1; done"


def test_the_ladder_ends_a_family_that_ignores_term(
    tmp_path: Path, pid_in: Pid, ends: Ends
) -> None:
    child = process.Child(["sh", "-c", STUBBORN], cwd=tmp_path)
    grandchild = pid_in(tmp_path / "child")
    child.stop(grace_s=0.2)
    ends(grandchild)
    ends(child.pid)


def test_a_child_that_obeys_term_is_not_killed(tmp_path: Path, pid_in: Pid) -> None:
    script = "trap 'echo bye > said; exit 0' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    child = process.Child(["sh", "-c", script], cwd=tmp_path)
    pid_in(tmp_path / "pid")
    child.stop(grace_s=20)
    assert (tmp_path / "said").read_text() == "bye\n"
    assert child.poll() == 0


def test_a_grandchild_that_outlives_its_parent_is_ended(
    tmp_path: Path, pid_in: Pid, ends: Ends
) -> None:
    script = "sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' & wait"
    child = process.Child(["sh", "-c", script], cwd=tmp_path)
    grandchild = pid_in(tmp_path / "child")
    child.stop(grace_s=20)  # the parent obeys TERM, the grandchild does not
    ends(grandchild)


def test_leaving_the_context_ends_the_child(tmp_path: Path, pid_in: Pid, ends: Ends) -> None:
    script = ["sh", "-c", "echo $$ > pid; sleep 600"]
    with pytest.raises(ZeroDivisionError), process.Child(script, cwd=tmp_path):
        pid = pid_in(tmp_path / "pid")
        raise ZeroDivisionError
    ends(pid)


def test_the_deadline_gives_no_exit_code_and_ends_the_group(
    tmp_path: Path, pid_in: Pid, ends: Ends
) -> None:
    done = process.run(
        ["sh", "-c", "sleep 600 & echo $! > pid; echo before; wait"], cwd=tmp_path, timeout_s=2.0
    )
    assert done.exit_code is None
    assert not done.ok
    assert done.tail == ("before",)
    ends(pid_in(tmp_path / "pid"))


def test_the_tail_is_bounded_and_the_log_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "run.log"
    done = process.run([sys.executable, "-c", "for n in range(5000): print(n)"], log=log)
    assert done.ok
    assert done.tail == tuple(str(n) for n in range(5000 - process.TAIL_LINES, 5000))
    assert log.read_text().splitlines() == [str(n) for n in range(5000)]


def test_the_log_is_that_of_the_last_run(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    for text in ("first", "second"):
        process.run(["echo", text], log=log)
    assert log.read_text() == "second\n"


def test_lines_are_told_with_their_stream_and_an_unended_one_too() -> None:
    seen: list[tuple[str, str]] = []
    script = "echo one; echo two >&2; printf three"
    process.run(["sh", "-c", script], on_line=lambda text, stream: seen.append((text, stream)))
    assert sorted(seen) == [("one", "out"), ("three", "out"), ("two", "err")]


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 9", 9), ("kill -9 $$", -9)])
def test_exit_codes(script: str, code: int) -> None:
    done = process.run(["sh", "-c", script])
    assert (done.exit_code, done.ok) == (code, code == 0)


def test_a_missing_program_is_exit_7() -> None:
    with pytest.raises(ToolMissing, match="kindloop-no-such-program cannot be run") as raised:
        process.run(["kindloop-no-such-program"])
    assert raised.value.exit_code == 7


def test_a_child_has_no_standard_input() -> None:
    assert process.run(["cat"], timeout_s=20).exit_code == 0


def test_no_kubeconfig_of_the_user_reaches_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/home/somebody/.kube/config")
    done = process.run(["sh", "-c", "echo ${KUBECONFIG-unset} $MINE"], env={"MINE": "yes"})
    assert done.tail == ("unset yes",)


def test_bytes_that_are_no_utf8_do_not_break_the_pump() -> None:
    assert process.run(["printf", "a\\377b\\n"]).tail == ("a\N{REPLACEMENT CHARACTER}b",)


# --- Stop -----------------------------------------------------------------------------------


def test_a_stop_keeps_its_first_reason() -> None:
    stop = process.Stop()
    assert (stop.is_set(), stop.reason) == (False, "")
    stop.set("src/a.rs")
    stop.set("src/b.rs")
    assert (stop.is_set(), stop.reason) == (True, "src/a.rs")


def test_a_stop_wakes_who_waits_and_nobody_else() -> None:
    stop, woken = process.Stop(), []
    with stop.waking(lambda: woken.append("left before")):
        pass
    with stop.waking(lambda: woken.append("waits")):
        stop.set("now")
    with stop.waking(lambda: woken.append("comes late")):
        pass
    assert woken == ["waits", "comes late"]


def test_a_stop_of_another_thread_ends_the_group(tmp_path: Path, pid_in: Pid, ends: Ends) -> None:
    stop = process.Stop()

    def watch() -> None:
        pid_in(tmp_path / "child")
        stop.set("a newer save")

    thread = threading.Thread(target=watch)
    thread.start()
    script = "echo said; sh -c 'echo $$ > child; exec sleep 600' & wait"
    done = process.run(["sh", "-c", script], cwd=tmp_path, stop=stop)
    thread.join()
    assert (done.stopped, done.ok, done.exit_code) == (True, False, -signal.SIGTERM)
    assert done.tail == ("said",)
    ends(pid_in(tmp_path / "child"))


def test_nothing_of_a_stopped_group_runs_when_it_is_told(
    tmp_path: Path, pid_in: Pid, runs: Runs
) -> None:
    script = "sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 1; done' & wait"
    child = process.Child(["sh", "-c", script], cwd=tmp_path)
    grandchild = pid_in(tmp_path / "child")
    stop = process.Stop()
    stop.set("now")
    child.wait(stop=stop)
    assert not runs(grandchild)


def test_a_command_that_ends_well_when_it_is_stopped_has_not_ended_well(
    tmp_path: Path, pid_in: Pid
) -> None:
    script = "trap 'exit 0' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    child = process.Child(["sh", "-c", script], cwd=tmp_path)
    pid_in(tmp_path / "pid")
    stop = process.Stop()
    stop.set("now")
    done = child.wait(stop=stop)
    assert (done.exit_code, done.stopped, done.ok) == (0, True, False)


def test_a_stop_that_comes_after_the_end_changes_nothing(ends: Ends) -> None:
    child = process.Child(["true"])
    ends(child.pid)
    assert child.wait().ok
    stop = process.Stop()
    stop.set("too late")
    done = child.wait(stop=stop)
    assert (done.ok, done.stopped) == (True, False)


# --- what a child says, and what it leaves behind -------------------------------------------


def test_others_that_hold_the_pipes_are_not_waited_for(
    tmp_path: Path, pid_in: Pid, runs: Runs
) -> None:
    """They live on and may still write: nobody takes the pipes away from them."""
    script = "echo said; sh -c 'while :; do echo more; sleep 0.01; done' & echo $! > pid"
    done = process.run(["sh", "-c", script], cwd=tmp_path)
    other = pid_in(tmp_path / "pid")
    try:
        assert done.ok
        assert done.tail[0] == "said"
        assert runs(other)
    finally:
        os.kill(other, signal.SIGKILL)


def test_all_that_a_child_says_with_its_last_breath_is_heard(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! > pid; seq 12000"  # less than a pipe holds
    heard: list[str] = []
    process.run(["sh", "-c", script], cwd=tmp_path, on_line=lambda text, _: heard.append(text))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert heard == [str(n) for n in range(1, 12001)]


def test_line_ends_of_all_kinds_end_lines() -> None:
    assert process.run(["printf", "a\\r\\nb\\rc\\nd"]).tail == ("a", "b", "c", "d")


def test_a_character_cut_in_two_is_one() -> None:
    code = "import os, time; os.write(1, b'\\xc3'); time.sleep(0.1); os.write(1, b'\\xa4')"
    assert process.run([sys.executable, "-c", code]).tail == (
        "\N{LATIN SMALL LETTER A WITH DIAERESIS}",
    )


def test_a_callback_that_fails_ends_the_child_and_is_told(tmp_path: Path, ends: Ends) -> None:
    def fail(text: str, stream: str) -> None:
        raise ZeroDivisionError(text)

    script = "echo $$ > pid; echo first; echo second; exec sleep 600"
    with pytest.raises(ZeroDivisionError, match="first"):
        process.run(["sh", "-c", script], cwd=tmp_path, on_line=fail)
    ends(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("tether", [True, False], ids=["setpriv", "no setpriv"])
def test_programs_are_found_and_missed_as_without_a_tether(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tether: bool
) -> None:
    if not tether:
        monkeypatch.setattr(process, "_tether", tuple)
    elif not process._tether():
        lacks = "no setpriv of util-linux: commands behind it are not tested"
        if sys.platform == "linux" and os.environ.get("CI"):
            pytest.fail(lacks)
        pytest.skip(f"{lacks}; those without it are, in the other case of this test")
    (tmp_path / "here").write_text("#!/bin/sh\necho here $1\n")
    with pytest.raises(ToolMissing, match="here cannot be run: Permission denied"):
        process.run(["./here"], cwd=tmp_path)
    (tmp_path / "here").chmod(0o755)
    assert process.run(["./here", "--help"], cwd=tmp_path).tail == ("here --help",)
    for argv, cwd in ((["./here"], None), (["here"], tmp_path), (["true"], tmp_path / "gone")):
        with pytest.raises(ToolMissing, match="cannot be run: No such file or directory"):
            process.run(argv, cwd=cwd)
