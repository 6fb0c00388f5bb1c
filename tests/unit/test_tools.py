"""Short calls: what comes back, what a child gets, and that nothing outlives the call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kindloop import tools
from kindloop.errors import ToolFailed, ToolMissing

MB_5 = 5_000_000


def test_a_call_returns_what_it_said() -> None:
    result = tools.run("sh", "-c", "echo out; echo err >&2")
    assert (result.ok, result.stdout, result.stderr) == (True, "out\n", "err\n")


@pytest.mark.parametrize("code", [1, 7, 255])
def test_exit_codes_come_back_unchecked_and_raise_checked(code: int) -> None:
    assert tools.run("sh", "-c", f"exit {code}", check=False).exit_code == code
    with pytest.raises(ToolFailed) as raised:
        tools.run("sh", "-c", f"echo why >&2; exit {code}")
    assert raised.value.tool_exit_code == code
    assert raised.value.evidence == ("why",)


def test_a_signal_is_a_negative_code() -> None:
    assert tools.run("sh", "-c", "kill -KILL $$", check=False).exit_code == -9
    with pytest.raises(ToolFailed, match="exit code -9"):
        tools.run("sh", "-c", "kill -KILL $$")


@pytest.mark.parametrize(
    "output", ["", ">/dev/null 2>&1"], ids=["grandchild holds the pipe", "grandchild is silent"]
)
def test_the_deadline_ends_a_grandchild_that_ignores_term(
    tmp_path: Path, pid_in: Callable[[Path], int], ends: Callable[[int], None], output: str
) -> None:
    script = f"(trap '' TERM; sleep 600; sleep 600) {output} & echo $! > pid; wait"
    with pytest.raises(ToolFailed) as raised:
        tools.run("sh", "-c", script, cwd=tmp_path, timeout_s=2.0)
    assert raised.value.tool_exit_code is None
    assert "did not end in time" in raised.value.message
    ends(pid_in(tmp_path / "pid"))


def test_the_deadline_ends_a_child_that_ignores_term_itself(
    tmp_path: Path, pid_in: Callable[[Path], int], ends: Callable[[int], None]
) -> None:
    script = "trap '' TERM; echo $$ > pid; while :; do sleep 1; done"
    with pytest.raises(ToolFailed, match="did not end in time"):
        tools.run("sh", "-c", script, cwd=tmp_path, timeout_s=2.0, check=False)
    ends(pid_in(tmp_path / "pid"))


def test_what_was_said_before_the_deadline_is_kept() -> None:
    with pytest.raises(ToolFailed) as raised:
        tools.run("sh", "-c", "echo so far; sleep 600", timeout_s=2.0)
    assert raised.value.evidence == ("so far",)


def test_a_missing_program_is_exit_7_with_what_to_do() -> None:
    with pytest.raises(ToolMissing) as raised:
        tools.run("kindloop-no-such-program")
    assert raised.value.exit_code == 7
    assert "kindloop-no-such-program is not on PATH" in raised.value.message
    assert "scripts/dev-setup.sh" in raised.value.hint


def test_a_program_that_cannot_be_run_is_exit_7(fake: Callable[..., Path]) -> None:
    fake("odd", "").write_text("#!/no/such/interpreter\n", encoding="utf-8")
    with pytest.raises(ToolMissing, match=r"odd cannot be run: .*No such file"):
        tools.run("odd")


def test_no_kubeconfig_of_the_user_reaches_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/home/somebody/.kube/config")
    assert "KUBECONFIG" not in tools.environ()
    assert tools.run("sh", "-c", "echo ${KUBECONFIG-unset}").stdout == "unset\n"


def test_a_kubeconfig_given_on_purpose_does() -> None:
    result = tools.run("sh", "-c", "echo $KUBECONFIG", env={"KUBECONFIG": "/ours"})
    assert result.stdout == "/ours\n"


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_this_machine_is_never_reached_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv(variable, "corp.example,localhost")
    said = tools.run("sh", "-c", f"echo $HTTPS_PROXY; echo ${variable}").stdout.splitlines()
    assert said[0] == "http://proxy.example:3128"
    hosts = said[1].split(",")
    assert hosts[:2] == ["corp.example", "localhost"]
    assert {"127.0.0.1", "::1", ".svc"} <= set(hosts)
    assert hosts.count("localhost") == 1


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy_is_there_even_when_the_user_has_none(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    assert "127.0.0.1" in tools.environ()[variable].split(",")


def test_big_output_on_both_streams_survives() -> None:
    script = f"head -c {MB_5} /dev/zero | tr '\\0' x; head -c {MB_5} /dev/zero | tr '\\0' y >&2"
    result = tools.run("sh", "-c", script)
    assert result.stdout == "x" * MB_5
    assert result.stderr == "y" * MB_5


@pytest.mark.parametrize("data", ["é" * (MB_5 // 2), b"\x00" * MB_5], ids=["text", "bytes"])
def test_stdin_is_passed_whole(data: Any) -> None:
    assert int(tools.run("wc", "-c", stdin=data).stdout) == MB_5


def test_a_child_that_reads_nothing_does_not_break_the_call() -> None:
    assert tools.run("true", stdin="x" * MB_5).ok


def test_without_stdin_a_reading_child_sees_the_end_at_once() -> None:
    assert tools.run("cat", timeout_s=20).stdout == ""


def test_bytes_that_are_no_utf8_do_not_break_the_call() -> None:
    assert tools.run("printf", "a\\377b").stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_folder_and_environment_are_the_callers(tmp_path: Path) -> None:
    result = tools.run("sh", "-c", "pwd; echo $GREETING", cwd=tmp_path, env={"GREETING": "hi"})
    assert result.stdout.splitlines() == [str(tmp_path.resolve()), "hi"]


def test_commands_are_shown_to_copy_and_polls_are_not(shown: Any) -> None:
    tools.run("echo", "a b")
    tools.run("echo", "poll", quiet=True)
    assert shown.texts("command") == ["echo 'a b'"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("kind v0.31.0 go1.26.1 linux/amd64", (0, 31, 0)),
        ("go version go1.26.6 linux/amd64", (1, 26, 6)),
        ("Client Version: v1.34.3\nKustomize Version: v5.7.1", (1, 34, 3)),
        ("v0.10.0", (0, 10, 0)),
        ("unknown", ()),
        ("", ()),
    ],
)
def test_version_of_takes_the_first_dotted_number(text: str, version: tuple[int, ...]) -> None:
    assert tools.version_of(text) == version


def test_versions_compare_as_numbers() -> None:
    assert tools.version_of("v0.9.0") < tools.version_of("v0.31.0")
