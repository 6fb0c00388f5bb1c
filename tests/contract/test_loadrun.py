"""A run of a load test that goes wrong, or is compared, with a program in goose's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import loadrun, loadtest
from kindloop.config import App, Config, Image, Load, Workload
from kindloop.errors import (
    CannotTell,
    ConfigError,
    KindloopError,
    Stale,
    ToolMissing,
    Unhealthy,
)
from kindloop.freshness import Fresh
from kindloop.loadrun import Build
from kindloop.process import Stop

DATA = Path(__file__).parents[1] / "unit" / "data"
LOAD = Load("low", 2, 2, 2, 50, 0, 10)
RELEASE = Build("release", "ab" * 32)
# As goose does: the reports where it is told, its threshold's exit code.
GOOSE = """
while [ $# -gt 0 ]; do
  case "$1" in --report-file) shift; case "$1" in *.json) cp {data} "$1";; esac;; esac
  shift
done
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "kindloop.yaml"
    return Config(path, load={"low": LOAD, "wide": replace(LOAD, name="wide", users=3)})


@pytest.fixture
def goose(fake: Callable[..., Path]) -> Callable[..., Path]:
    """A program that leaves a report which a real goose wrote."""

    def make(name: str = "whole", then: str = "") -> Path:
        return fake("loadtest", GOOSE.format(data=DATA / f"goose-{name}.json") + then)

    return make


def measured(
    config: Config,
    program: Path,
    name: str = "low",
    build: Build = RELEASE,
    stop: Stop | None = None,
) -> loadrun.Done:
    return loadrun.measure(config, name, "http://127.0.0.1:9", program, build, stop=stop)


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run in a second of its own, as runs that take seconds are."""
    seconds = iter(range(10, 60))
    monkeypatch.setattr(loadrun.time, "strftime", lambda _: f"20260102T0000{next(seconds)}")


def test_a_program_that_is_missing(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="cannot be run") as caught:
        measured(config, tmp_path / "nothing")
    assert caught.value.exit_code == 7


def test_a_run_that_goose_refuses(config: Config, fake: Callable[..., Path]) -> None:
    program = fake("loadtest", "echo 'error: invalid option --users'; exit 2")
    with pytest.raises(KindloopError, match="the load test failed: exit code 2") as caught:
        measured(config, program)
    assert caught.value.exit_code == 1
    assert caught.value.evidence == ("error: invalid option --users",)
    assert "goose.log" in caught.value.hint


def test_a_run_without_a_report(config: Config, fake: Callable[..., Path]) -> None:
    with pytest.raises(KindloopError, match="the load test failed: exit code 0"):
        measured(config, fake("loadtest", "true"))


def test_a_run_that_does_not_end(
    config: Config, fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loadrun.loadplan, "longest_s", lambda _: 0.2)
    with pytest.raises(KindloopError, match="the load test failed: did not end in time") as caught:
        measured(config, fake("loadtest", "exec sleep 60"))
    assert caught.value.exit_code == 1


def test_a_report_of_another_goose(config: Config, goose: Callable[..., Path]) -> None:
    program = goose(then="echo '{}' > report.json")
    with pytest.raises(CannotTell, match="goose's report cannot be read") as caught:
        measured(config, program)
    assert caught.value.exit_code == 3


def test_a_broken_threshold_is_named_and_nothing_is_lost(
    config: Config, goose: Callable[..., Path], shown: Any
) -> None:
    done = measured(config, goose("broken", "exit 1"))
    with pytest.raises(Unhealthy, match=r"p95 is 0\.354 ms, at most 50 ms") as caught:
        done.raise_if_broken()
    assert caught.value.exit_code == 1
    assert done.as_json()["broken"]
    assert (done.folder / "report.json").exists()
    assert any(text.startswith("request ") for text in shown.texts("output"))


def test_there_is_no_earlier_run_at_first(
    config: Config, goose: Callable[..., Path], shown: Any
) -> None:
    done = measured(config, goose())
    assert done.before is None
    assert any("no earlier run" in text for text in shown.texts("line"))
    done.raise_if_broken()


def test_the_next_run_is_compared_with_the_one_before(
    config: Config, goose: Callable[..., Path], shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch)
    first = measured(config, goose("broken", "exit 1"))
    second = measured(config, goose())
    assert second.before == first.outcome
    assert any(f"compared with {first.folder.name}" in text for text in shown.texts("line"))
    assert f"--baseline-file {first.folder / 'report.json'}" in " ".join(shown.texts("command"))


@pytest.mark.parametrize("other", ["build", "users", "early", "unreadable"])
def test_what_is_not_alike_is_not_compared(
    config: Config, goose: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    later(monkeypatch)
    build = Build("loop", "cd" * 32) if other == "build" else RELEASE
    first = measured(config, goose(), build=build)
    if other == "users":
        config = replace(config, load={"low": replace(LOAD, users=9)})
    if other == "early":
        record = json.loads((first.folder / "run.json").read_text())
        (first.folder / "run.json").write_text(json.dumps(record | {"complete": False}))
    if other == "unreadable":  # goose would refuse to run
        (first.folder / "report.json").write_text("{}")
    assert measured(config, goose()).before is None


def test_old_runs_go_and_those_of_another_profile_stay(
    config: Config, goose: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch)
    wide = measured(config, goose(), "wide").folder
    kept = [measured(config, goose()).folder for _ in range(7)]
    assert {*config.local.joinpath("load").iterdir()} == {wide, *kept[-5:]}


def test_a_run_that_is_stopped_is_judged_by_nothing(
    config: Config, goose: Callable[..., Path], becomes: Callable[..., Any]
) -> None:
    stop = Stop()
    early = {**json.loads((DATA / "goose-broken.json").read_text()), "ended_by": "canceled"}
    (config.root / "early.json").write_text(json.dumps(early))
    program = goose(then=ENDS.format(report=config.root / "early.json", ready=config.root / "go"))
    waiting = threading.Thread(
        target=lambda: (becomes((config.root / "go").exists), stop.set("a key was pressed"))
    )
    waiting.start()
    done = measured(config, program, stop=stop)
    waiting.join()
    assert not done.outcome.complete
    done.raise_if_broken()
    assert json.loads((done.folder / "run.json").read_text())["complete"] is False


ENDS = """
rm report.json
trap 'cp {report} report.json; exit 0' TERM
touch {ready}
while :; do sleep 0.05; done
"""
CTRL_C = """
from pathlib import Path
from kindloop import loadrun, report
from kindloop.config import Config, Load
report.use(report.Plain())
config = Config(Path({path!r}), load={{"low": Load("low", 2, 2, 2, 50, 0, 10)}})
try:
    loadrun.measure(
        config, "low", "http://127.0.0.1:9", Path({program!r}), loadrun.Build("release", "")
    )
except loadrun.Interrupted as exc:
    print(exc)
    raise SystemExit(exc.exit_code)
"""


def test_ctrl_c_leaves_the_report(
    config: Config, goose: Callable[..., Path], becomes: Callable[..., Any]
) -> None:
    ready = config.root / "go"
    program = goose(then=ENDS.format(report=DATA / "goose-whole.json", ready=ready))
    code = CTRL_C.format(path=str(config.path), program=str(program))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as python:
        becomes(ready.exists)
        os.killpg(python.pid, signal.SIGINT)  # what a terminal does
        said, _ = python.communicate(timeout=60)
    assert python.returncode == 130
    assert "load low was ended early" in said
    assert "request " in said  # the table
    folder = next(config.local.joinpath("load").iterdir())
    assert (folder / "report.json").exists()


def test_a_profile_that_is_not_there(config: Config) -> None:
    with pytest.raises(ConfigError, match="no load profile high") as caught:
        loadtest.run(config, "high")
    assert caught.value.exit_code == 2
    assert caught.value.hint == "one of: low, wide"


def test_a_file_without_profiles(config: Config) -> None:
    with pytest.raises(ConfigError, match="no load profile low") as caught:
        loadtest.chosen(replace(config, load={}))
    assert "no section load" in caught.value.why


def test_the_first_profile_stands_in_for_low(config: Config) -> None:
    assert loadtest.chosen(config) == "low"
    assert loadtest.chosen(replace(config, load={"wide": LOAD})) == "wide"


def test_nothing_to_load(config: Config) -> None:
    with pytest.raises(ConfigError, match="no workload has a URL"):
        loadtest.run(config, "low")


def test_a_project_without_a_load_test(config: Config) -> None:
    workload = Workload("app", Image(config.root), config.root, url="http://127.0.0.1:9")
    config = replace(config, app=App(config.root), workloads={"app": workload})
    with pytest.raises(ConfigError, match="there is no load test") as caught:
        loadtest.run(config, "low")
    assert caught.value.exit_code == 2
    assert "cargo new --bin" in caught.value.hint


@pytest.mark.parametrize(
    ("found", "kind", "code", "hint"),
    [
        (
            Fresh("app", "stale", "stage app is not built: x; next: invoke build"),
            Stale,
            4,
            "invoke build",
        ),
        (Fresh("app", "stale", "f1 runs, f2 is wanted"), Stale, 4, "invoke dev-rebuild"),
        (Fresh("app", "unhealthy", "no pod"), Unhealthy, 1, "invoke dev-status"),
        (Fresh("app", "unknown", "no answer"), CannotTell, 3, "invoke dev-status"),
    ],
)
def test_a_service_that_is_not_fresh_is_refused(
    found: Fresh, kind: type[KindloopError], code: int, hint: str
) -> None:
    with pytest.raises(kind, match="no load on a service that is not fresh: app: ") as caught:
        loadtest.refuse(found)
    assert (caught.value.exit_code, caught.value.hint) == (code, hint)
