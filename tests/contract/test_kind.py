"""A kind that is too old, or none: exit 7 before anything is made, by the real engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop import host, tools
from kindloop.errors import ToolMissing
from kindloop.versions import section

NEEDED = section("tool")["kind"]["needed"]  # type: ignore[index]


@pytest.mark.parametrize("task", ["dev-up", "cluster.ensure"])
def test_an_old_kind_is_named_with_what_is_needed(
    homes: Path, repo: Path, fake: Callable[..., Path], task: str
) -> None:
    fake("kind", 'echo "$@" >> "$0.calls"; echo "kind v0.20.0 go1.20.4 linux/amd64"')
    project = homes / "project"
    project.mkdir()
    (project / "tasks.py").write_bytes((repo / "tasks.py").read_bytes())
    (project / "kindloop.yaml").write_text("version: 1\nname: kindloop-contract\n")
    said = tools.run(sys.executable, "-m", "invoke", task, cwd=project, check=False)
    assert said.exit_code == 7
    assert f"kind 0.20.0 is too old: {NEEDED} or newer is needed" in said.stderr
    assert "scripts/dev-setup.sh" in said.stderr
    assert "Traceback" not in said.stderr
    calls = (homes / "fake-bin" / "kind.calls").read_text().splitlines()
    assert set(calls) == {"version"}  # it was asked, and nothing was made with it


def test_no_kind_at_all(fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake("nothing-of-interest", "").parent
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(ToolMissing, match=f"kind is not installed: {NEEDED} or newer is needed"):
        host.require_kind()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (f"kind v{NEEDED} go1.26.1 linux/amd64", NEEDED),
        ("kind v0.100.0 go1.30.0 linux/amd64", "0.100.0"),
        ("kind (@v1.2.3)", "1.2.3"),
    ],
)
def test_a_kind_that_is_new_enough(fake: Callable[..., Path], said: str, found: str) -> None:
    fake("kind", f"echo '{said}'")
    assert host.require_kind().version == found


def test_a_kind_that_does_not_answer_is_no_kind(fake: Callable[..., Path]) -> None:
    fake("kind", "echo 'illegal instruction' >&2; exit 132")
    with pytest.raises(ToolMissing):
        host.require_kind()
