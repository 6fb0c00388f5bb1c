"""Where there is no /proc: nothing is recorded, so nothing is swept. All else: tests/contract."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from kindloop import orphans, process


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that is not Linux, as far as our code can see."""
    monkeypatch.setattr(orphans, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(process, "_tether", tuple)  # it is asked once


@pytest.mark.usefixtures("elsewhere")
def test_without_proc_a_child_runs_and_is_not_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "children"
    process.record_into(folder)
    try:
        done = process.run(["sh", "-c", f'echo "marked: ${orphans.MARK}."'])
        assert orphans.record(folder, os.getpid(), "sh") is None
    finally:
        process.record_into(None)
    assert (done.ok, done.tail) == (True, ("marked: .",))
    assert not folder.exists()


@pytest.mark.usefixtures("elsewhere")
def test_without_proc_the_record_of_another_system_ends_nobody(tmp_path: Path) -> None:
    ours = orphans.Process(os.getpid(), 1)
    group = orphans.Group(ours, "sh", "a boot of another system", orphans.Process(1, 1))
    path = tmp_path / "1.json"
    path.write_text(json.dumps(group.as_json()))
    assert not orphans.runs(path)
    assert process.sweep(tmp_path) == []
    assert not path.exists()
