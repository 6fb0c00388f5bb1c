"""What a killed watch leaves behind is ended by the next one, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kindloop import orphans, process

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="no /proc: that what a killed watch leaves behind is found and ended is not tested; that "
    "nothing is recorded here is in tests/unit/test_orphans.py",
)

Pid = Callable[[Path], int]
Ends = Callable[[int], None]
Runs = Callable[[int], bool]

OBEDIENT = "echo $$ > parent; sh -c 'echo $$ > child; exec sleep 600' & wait"
STUBBORN = (
    "trap '' TERM; echo $$ > parent; "
    "sh -c 'echo $$ > child; while :; do sleep 1; done' & while :; do sleep 1; done"
)
RECORDER = """
import sys
from pathlib import Path
from kindloop import process
process.record_into(Path("children"))
process.run(["sh", "-c", sys.argv[1]])
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a Python that records what it runs."""
    started: list[subprocess.Popen[bytes]] = []

    def go(script: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", RECORDER, script]
        started.append(subprocess.Popen(argv, cwd=tmp_path, start_new_session=True))
        return started[-1]

    yield go
    for python in started:
        python.kill()
        python.wait()
    for name in ("parent", "child"):
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((tmp_path / name).read_text()), signal.SIGKILL)


@pytest.fixture
def bystander(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody recorded, which leads a session."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
        yield other
        other.kill()


def recorded(folder: Path, becomes: Callable[[Callable[[], Any]], Any]) -> Path:
    """The one record in the folder, waited for."""
    paths: list[Path] = becomes(lambda: list(folder.glob("*.json")))
    assert len(paths) == 1
    return paths[0]


def test_a_group_whose_leader_the_kernel_has_ended(
    tmp_path: Path,
    start: Callable[[str], subprocess.Popen[bytes]],
    pid_in: Pid,
    ends: Ends,
    runs: Runs,
    becomes: Callable[[Callable[[], Any]], Any],
) -> None:
    python = start(OBEDIENT)
    parent, child = (pid_in(tmp_path / name) for name in ("parent", "child"))
    recorded(tmp_path / "children", becomes)
    python.kill()
    python.wait()
    ends(parent)
    assert runs(child), "else there would be nothing to sweep"
    said = process.sweep(tmp_path / "children")
    assert said == [
        f"ended sh (group {parent}, 1 process): process {python.pid}, which ran it, was killed"
    ]
    ends(child)
    assert process.sweep(tmp_path / "children") == []
    assert list((tmp_path / "children").iterdir()) == []


def test_a_family_that_ignores_term_is_killed(
    tmp_path: Path,
    start: Callable[[str], subprocess.Popen[bytes]],
    pid_in: Pid,
    ends: Ends,
    becomes: Callable[[Callable[[], Any]], Any],
) -> None:
    python = start(STUBBORN)
    family = [pid_in(tmp_path / name) for name in ("parent", "child")]
    recorded(tmp_path / "children", becomes)
    python.kill()
    python.wait()
    said = orphans.sweep(tmp_path / "children", grace_s=0.1)
    assert len(said) == 1
    assert said[0].startswith(f"ended sh (group {family[0]}, ")
    for pid in family:
        ends(pid)


def test_children_of_a_recorder_that_lives_are_left_alone(
    tmp_path: Path,
    start: Callable[[str], subprocess.Popen[bytes]],
    pid_in: Pid,
    runs: Runs,
    becomes: Callable[[Callable[[], Any]], Any],
) -> None:
    start(OBEDIENT)
    child = pid_in(tmp_path / "child")
    record = recorded(tmp_path / "children", becomes)
    assert process.sweep(tmp_path / "children") == []
    assert runs(child)
    assert record.exists()


def test_a_record_lasts_as_long_as_its_child(
    tmp_path: Path, pid_in: Pid, becomes: Callable[[Callable[[], Any]], Any]
) -> None:
    process.record_into(tmp_path / "children")
    try:
        with process.Child(["sh", "-c", OBEDIENT], cwd=tmp_path) as child:
            pid_in(tmp_path / "child")
            record = recorded(tmp_path / "children", becomes)
            document = json.loads(record.read_text())
            assert (document["pid"], document["argv0"]) == (child.pid, "sh")
            assert document["ours"]["pid"] == os.getpid()
    finally:
        process.record_into(None)
    assert not record.exists()


def forged(folder: Path, pid: int, **changes: Any) -> Path:
    """The record of a recorder that is dead about a process that lives."""
    leader = orphans.look(pid)
    assert leader
    group = orphans.Group(leader, "sleep", orphans._boot(), orphans.Process(pid, 1))
    document = {**group.as_json(), **changes}
    folder.mkdir()
    path = folder / f"{pid}.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    "changes",
    [{}, {"start_ticks": 1}, {"boot": "another"}],
    ids=["it lacks the mark", "its number was given out anew", "the machine has started anew"],
)
def test_a_process_that_may_be_another_is_never_ended(
    tmp_path: Path, bystander: subprocess.Popen[bytes], runs: Runs, changes: dict[str, Any]
) -> None:
    record = forged(tmp_path / "children", bystander.pid, **changes)
    assert orphans.sweep(tmp_path / "children", grace_s=0.1) == []
    assert runs(bystander.pid)
    assert not record.exists()


@pytest.mark.parametrize(
    "ticks", [0, 1, -1], ids=["it is the leader", "it is older", "it has the number after it"]
)
def test_the_mark_and_the_start_tell_a_process(tmp_path: Path, runs: Runs, ticks: int) -> None:
    """The counterpart of the one above: all is right, but for the start in one case."""
    env = {**os.environ, orphans.MARK: "1.1"}
    with subprocess.Popen(["sleep", "600"], start_new_session=True, env=env) as marked:
        try:
            leader = orphans.look(marked.pid)
            assert leader
            ours = {"pid": 1, "start_ticks": 1}
            changes = {"ours": ours, "start_ticks": leader.start_ticks + ticks}
            forged(tmp_path / "children", marked.pid, **changes)
            said = orphans.sweep(tmp_path / "children", grace_s=0.1)
            assert len(said) == (1 if ticks == 0 else 0)
            assert runs(marked.pid) is (ticks != 0)
        finally:
            marked.kill()


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1, "pid": 1}'])
def test_a_record_that_was_cut_off_goes(tmp_path: Path, content: str) -> None:
    (tmp_path / "1.json").write_text(content)
    assert process.sweep(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_there_is_nothing_to_sweep(tmp_path: Path) -> None:
    assert process.sweep(tmp_path / "nowhere") == []


DETACHING = """
from pathlib import Path
from kindloop import process
words = ["sh", "-c", "echo $GREETING; echo $$ > parent; sh -c 'echo $$ > child; exec sleep 600' & wait"]
process.detach(words, {"GREETING": "hello"}, Path("logs/detached.log"), Path("records"))
"""


@pytest.fixture
def detached(tmp_path: Path, becomes: Callable[[Callable[[], Any]], Any]) -> Iterator[Path]:
    """The record of a process whose starter has ended long ago."""
    subprocess.run([sys.executable, "-c", DETACHING], cwd=tmp_path, check=True)
    yield recorded(tmp_path / "records", becomes)
    for name in ("parent", "child"):
        with suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((tmp_path / name).read_text()), signal.SIGKILL)


def test_what_is_detached_outlives_its_starter_and_is_found(
    tmp_path: Path, detached: Path, pid_in: Pid, runs: Runs
) -> None:
    child = pid_in(tmp_path / "child")
    assert runs(child)
    assert orphans.runs(detached)
    assert (tmp_path / "logs/detached.log").read_text() == "hello\n"
    # It leads a session: no Ctrl-C of a terminal reaches it.
    parent = pid_in(tmp_path / "parent")
    assert os.getsid(parent) == parent


def test_what_is_detached_is_ended_with_all_that_it_started(
    tmp_path: Path, detached: Path, pid_in: Pid, ends: Ends, bystander: subprocess.Popen[bytes]
) -> None:
    family = [pid_in(tmp_path / name) for name in ("parent", "child")]
    assert orphans.end(detached)
    for pid in family:
        ends(pid)
    assert not detached.exists()
    assert bystander.poll() is None


def test_what_has_ended_by_itself_does_not_run(
    tmp_path: Path, detached: Path, pid_in: Pid, ends: Ends
) -> None:
    for name in ("child", "parent"):
        pid = pid_in(tmp_path / name)
        os.kill(pid, signal.SIGKILL)
        ends(pid)
    assert not orphans.runs(detached)
    assert orphans.end(detached)
    assert not detached.exists()


def test_a_record_that_names_somebody_else_hits_nobody(
    detached: Path, bystander: subprocess.Popen[bytes]
) -> None:
    """A number that was given out anew is another process, whatever the record says."""
    document = json.loads(detached.read_text())
    start = orphans.look(bystander.pid)
    assert start is not None
    ticks = start.start_ticks
    other = detached.with_name("other.json")
    other.write_text(json.dumps({**document, "pid": bystander.pid, "start_ticks": ticks}))
    assert not orphans.runs(other)
    assert orphans.end(other)
    assert bystander.poll() is None
