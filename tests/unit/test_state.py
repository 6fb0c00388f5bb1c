"""What is remembered: whole or not at all, private where it must be, one holder of a lock."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kindloop import state
from kindloop.errors import Locked


def _crash(*_args: Any) -> None:
    raise OSError("the power went off")


def test_a_write_that_is_cut_off_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "owner.json"
    state.write_json(file, {"status": "ready"})
    monkeypatch.setattr(Path, "replace", _crash)
    with pytest.raises(OSError, match="power"):
        state.write_json(file, {"status": "creating"})
    assert state.read_json(file) == {"status": "ready"}
    assert [p.name for p in tmp_path.iterdir()] == ["owner.json"]


def test_content_reaches_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), sync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    state.write_atomic(tmp_path / "file", b"x")
    assert order == ["fsync", "replace"]


def test_files_get_the_mode_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        state.write_atomic(tmp_path / "open", "x")
        state.write_atomic(tmp_path / "secret", "x", 0o600)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("open", "secret")]
    assert modes == [0o644, 0o600]


def test_folders_of_credentials_are_private_even_if_they_were_not(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    folder.mkdir(mode=0o755)
    assert stat.S_IMODE(state.private_dir(folder).stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", '{"status": "rea', "\x00"])
def test_a_file_that_is_no_json_reads_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "f").write_text(content)
    assert state.read_json(tmp_path / "f") is None


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert state.read_json(tmp_path / "missing") is None


def test_places_follow_the_xdg_variables(homes: Path) -> None:
    assert state.cache_home() == homes / "cache-home" / "kindloop"
    assert state.state_home() == homes / "state-home" / "kindloop"


@pytest.mark.parametrize("value", [None, ""])
def test_places_without_the_xdg_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert state.cache_home() == tmp_path / ".cache" / "kindloop"
    assert state.state_home() == tmp_path / ".local" / "state" / "kindloop"


def test_a_lock_is_held_once_and_free_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "env.lock"
    with (
        state.lock(file, "environment x"),
        pytest.raises(Locked, match=f"environment x is in use by process {os.getpid()}: "),
        state.lock(file, "environment x"),
    ):
        pass
    assert file.read_text() == ""  # nobody is named who does not have it
    with state.lock(file, "environment x"):
        pass


def test_a_lock_is_freed_by_an_error_in_its_body(tmp_path: Path) -> None:
    file = tmp_path / "env.lock"
    with pytest.raises(ZeroDivisionError), state.lock(file, "environment x"):
        raise ZeroDivisionError
    with state.lock(file, "environment x"):
        pass
