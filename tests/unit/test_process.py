"""Long-lived children: output pumped, tail bounded, log whole, and nobody left behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop import process
from kindloop.errors import ToolMissing

Pid = Callable[[Path], int]
Ends = Callable[[int], None]

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
