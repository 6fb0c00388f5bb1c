"""How a watch ends, by keys, signals and kills: nothing of it stays, and the next one goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import Bay, inside, sha256
from live import Loop, marked
from watching import READY, Terminal, Watch, becomes, call, pets, saves

NAMES = iter(f"Kat{number:02d}" for number in range(100))
"""A name for each save: no two tests may save the same."""
LINGERING = """\
#!/bin/sh
# A cargo that leaves a child behind which hears no signal but KILL.
case " $* " in
*" build "*) (trap '' TERM HUP INT; exec sleep 1000) >/dev/null 2>&1 & ;;
esac
exec {cargo} "$@"
"""


@pytest.fixture(scope="module", autouse=True)
def _settled(first_up: tuple[Loop, str]) -> Iterator[None]:
    loop, _ = first_up
    loop.mended()
    yield
    loop.mended()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, ("dev-up", "--watch", "--json")),
        (signal.SIGTERM, ()),
        (signal.SIGHUP, ()),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_leaves_no_child(up: Loop, number: signal.Signals, words: tuple[str, ...]) -> None:
    with Watch(up, *words) as watch:
        call(up, next(NAMES))
        watch.running.until(lambda running: running.runs("rustc"))
        code = watch.end(number)
        assert code == 130
        assert watch.left() == {}


def test_killed_in_mid_build_and_the_next_start_sweeps(up: Loop, tmp_path: Path) -> None:
    up.ok("build")  # or the start of the watch would already leave a child of that cargo behind
    cargo = shutil.which("cargo")
    shim = tmp_path / "cargo"
    shim.write_text(LINGERING.format(cargo=cargo))
    shim.chmod(0o755)
    with Watch(up, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}) as killed:
        name = next(NAMES)
        call(up, name)
        killed.running.until(lambda running: running.runs("rustc"))
        assert killed.end(signal.SIGKILL) == 137
        lingers = [pid for pid, words in killed.left().items() if words == ["sleep", "1000"]]
        assert lingers, "nothing to sweep"
        with Watch(up) as watch:
            assert watch.told("was killed")
            becomes(lambda: killed.left() == {}, lambda: str(killed.left()))
            assert name in pets(up), "what was saved before the kill is served"
            assert watch.end() == 130


def test_killed_in_mid_swap_and_the_next_start_goes_on(
    up: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", up.environ["XDG_STATE_HOME"])
    bay = Bay(up, tmp_path)
    with Watch(up) as killed:
        before = bay.swap_folder.want()
        running = bay.reports()[0].running_digest
        assert before
        assert running
        status = inside(up, "cat", f"/proc/{bay.processes(running)[0]}/status")
        supervisor = next(s.split()[1] for s in status.splitlines() if s.startswith("PPid:"))
        inside(up, "kill", "-STOP", supervisor)  # so that the swap cannot end before the kill
        try:
            name = next(NAMES)
            call(up, name)
            killed.running.until(lambda _: bay.swap_folder.want() != before)
            assert killed.end(signal.SIGKILL) == 137
        finally:
            inside(up, "kill", "-CONT", supervisor)
        assert saves(killed.events())[-1]["verdict"] in ("fresh", "unchanged"), "of the start"
        becomes(lambda: name in pets(up))
        with Watch(up) as watch:
            assert name in pets(up)
            want = bay.swap_folder.want()
            assert want
            assert want.digest == sha256(bay.built)
            later = next(NAMES)
            watch.saved(lambda: call(up, later))
            assert later in pets(up)
            assert watch.end() == 130
    assert killed.left() == {}
    bay.close()


def test_keys_and_the_line_of_a_save(up: Loop) -> None:
    with Terminal(up, "dev-watch", "--verify", "smoke") as screen:
        screen.read(READY.pattern + "; \\? shows the keys")
        screen.press("?")
        screen.read("r rebuild · g generate · p pause · t smoke · L load · l log lines · q quit")

        call(up, next(NAMES))
        line = screen.read(r"\n([0-9a-f]{8}) fresh in (\d+\.\d\d) s · (.+) · (?:\S*/)?app\.rs\n")
        parts = [part.split()[0] for part in line[3].split(" · ")]
        assert [part for part in parts if part != "verify"] == ["cargo", "swap", "smoke"]

        screen.press("p")
        screen.read("paused: saves wait for p")
        waiting = next(NAMES)
        call(up, waiting)
        screen.press("l")
        screen.read("kindloop: fresh ")  # the supervisor's own line in the log
        assert waiting not in pets(up)
        screen.press("p")
        screen.read("goes on; saved: 1 file")
        screen.read(r"[0-9a-f]{8} fresh in ")
        assert waiting in pets(up)

        screen.press("t")
        screen.read(r"0 failed")
        screen.press("g")
        screen.read("generate runs")
        screen.read("still fresh")
        screen.press("r")
        screen.read("everything is built again")
        screen.read("still fresh")
        screen.press("q")
        screen.read("the environment stays; invoke dev-down removes it")
        assert screen.drained() == 0
    assert marked(screen.mark) == {}
    assert waiting in pets(up)


def test_a_closed_terminal_leaves_no_child(up: Loop) -> None:
    with Terminal(up, "dev-watch") as screen:
        screen.read(READY.pattern)
        call(up, next(NAMES))
        becomes(lambda: any("rustc" in " ".join(words) for words in marked(screen.mark).values()))
        screen.close()
        becomes(lambda: screen.popen.poll() is not None)
        becomes(lambda: marked(screen.mark) == {})


def test_piped_it_tells_plain_lines(up: Loop) -> None:
    running = up.start("dev-watch")
    try:
        running.until(lambda now: READY.search(now.text))
        assert "shows the keys" not in running.text
        name = next(NAMES)
        call(up, name)
        line = re.compile(
            r"^[0-9a-f]{8} fresh in \d+\.\d\d s · cargo \d.* · swap \d.*app\.rs$", re.MULTILINE
        )
        running.until(lambda now: line.search(now.text))
        assert name in pets(up)
        assert "\x1b" not in running.text
        running.interrupt()
        assert running.end().code == 130
    finally:
        running.popen.kill()


def test_without_an_environment_there_is_nothing_to_watch(up: Loop) -> None:
    said = up.say("dev-watch", env={"KINDLOOP_NAME": "klnone"})
    assert said.code == 3
    assert "there is no cluster klnone" in said.message
