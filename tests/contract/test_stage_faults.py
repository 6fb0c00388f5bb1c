"""Stages with real commands, a real cargo and a real git: what goes wrong, and what is left."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kindloop import process, report, stages, state, tools
from kindloop.config import App, Config, Profile, Stage
from kindloop.errors import (
    BuildFailed,
    ConfigError,
    KindloopError,
    Locked,
    NotOurs,
    ToolMissing,
)

ENGINE = f"linux/{platform.machine()}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"):
        monkeypatch.delenv(name, raising=False)


class Project:
    """A checkout in a temporary folder; stages are shell scripts unless they say otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.app = root / "app"
        self.app.mkdir()
        self.stages: dict[str, Stage] = {}
        self.profile: Profile = "loop"

    @property
    def config(self) -> Config:
        return Config(
            self.root / "kindloop.yaml",
            app=App(self.app),
            profile=self.profile,
            stages=self.stages,
        )

    def write(self, name: str, content: str = "") -> Path:
        path = self.app / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
        return path

    def shell(self, name: str, script: str, **settings: object) -> None:
        self.write(f"{name}.sh", script)
        self.stages[name] = Stage(
            name,
            f"sh -eu {name}.sh {{target}}",
            **{"tools": (), **settings},  # type: ignore[arg-type]
        )

    def build(self, *names: str, force: bool = False) -> dict[str, stages.Built]:
        return stages.build(self.config, names or None, engine_platform=ENGINE, force=force)

    def why(self) -> dict[str, str]:
        return {d.stage: d.reason for d in stages.explain(self.config, engine_platform=ENGINE)}

    def log(self, name: str) -> str:
        return (self.root / f".kindloop/logs/build-{name}.log").read_text()

    def target(self, output: str, stage: str) -> Path:
        with stages.opened(self.config, ENGINE) as site:
            return site.path(self.stages[stage], f"{{target}}/{output}")

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
        tools.run("git", *who, *words, cwd=self.root)

    def commit(self) -> None:
        if not (self.root / ".git").exists():
            self.git("init", "-q")
            (self.root / ".gitignore").write_text(".kindloop/\ntarget/\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "all")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def failed(project: Project, *names: str) -> BuildFailed:
    with pytest.raises(BuildFailed) as caught:
        project.build(*names)
    assert caught.value.exit_code == 5
    return caught.value


WRITE = """\
mkdir -p "$1"
cat input.txt > "$1/out"
"""


def writer(project: Project, name: str = "make", **settings: object) -> None:
    project.write("input.txt", "one")
    wanted = {"inputs": ("input.txt",), "outputs": ("{target}/out",), **settings}
    project.shell(name, WRITE, **wanted)


# --- fresh and stale ------------------------------------------------------------------------


def test_a_stage_runs_only_when_it_is_stale(project: Project) -> None:
    writer(project)
    assert project.why() == {"make": "never built"}
    first = project.build()["make"]
    assert (first.ran, first.reason) == (True, "never built")
    assert first.artifact
    assert first.artifact.read_text() == "one"
    second = project.build()["make"]
    assert (second.ran, second.reason, second.outputs) == (False, "up to date", first.outputs)
    project.write("input.txt", "two")
    assert project.why() == {"make": "input.txt changed"}
    third = project.build()["make"]
    assert third.ran
    assert third.outputs != first.outputs


def test_a_touched_input_is_no_change(project: Project) -> None:
    writer(project)
    project.build()
    os.utime(project.app / "input.txt", (1, 1))
    assert project.build()["make"].ran is False


def test_force_runs_the_named_stage_only(project: Project) -> None:
    writer(project)
    project.shell("next", "true", needs=("make",))
    project.build()
    built = project.build("next", force=True)
    assert {name: (b.ran, b.reason) for name, b in built.items()} == {
        "make": (False, "up to date"),
        "next": (True, "forced"),
    }


def test_an_output_that_went_or_changed_is_built_again(project: Project) -> None:
    writer(project)
    artifact = project.build()["make"].artifact
    assert artifact
    artifact.unlink()
    assert project.build()["make"].reason == "output out missing"
    artifact.write_text("by another")
    assert project.build()["make"].reason == "output out changed since it was built"
    assert artifact.read_text() == "one"


def test_a_change_reaches_the_stages_behind_it(project: Project) -> None:
    writer(project)
    project.shell("next", "true", needs=("make",))
    project.build()
    project.write("input.txt", "two")
    assert project.why()["next"] == "needs make, which is stale"
    assert [b.ran for b in project.build().values()] == [True, True]
    assert [b.ran for b in project.build().values()] == [False, False]


def test_a_stage_reads_what_the_stage_before_it_made(project: Project) -> None:
    writer(project, outputs=("made/a.txt",))
    project.shell("make", "mkdir -p made; cp input.txt made/a.txt", inputs=("input.txt",),
                  outputs=("made/a.txt",))  # fmt: skip
    project.shell("next", "cat made/a.txt", inputs=("made",), needs=("make",))
    assert project.why() == {"make": "never built", "next": "never built"}
    project.build()
    assert "one" in project.log("next")
    assert set(project.why().values()) == {"up to date"}
    project.write("input.txt", "two")
    project.build()
    assert "two" in project.log("next")
    assert set(project.why().values()) == {"up to date"}, "recorded as it was when it was read"


def test_a_stage_that_writes_below_its_input_is_not_stale_afterwards(project: Project) -> None:
    project.write("src/mine.txt", "mine")
    project.shell("make", "mkdir -p src/gen; date +%N > src/gen/a", inputs=("src",),
                  outputs=("src/gen",))  # fmt: skip
    project.build()
    assert project.build()["make"].ran is False


def test_the_environment_and_tools_are_inputs(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bin" / "mytool"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho mytool 1.0.0\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    writer(project, env_inputs=("BUILD_ID",), tools=("mytool",))
    project.build()
    monkeypatch.setenv("BUILD_ID", "7")
    assert project.why() == {"make": "environment BUILD_ID changed"}
    project.build()
    fake.write_text("#!/bin/sh\necho mytool 1.10.0\n")
    assert project.why() == {"make": "mytool 1.0.0 → 1.10.0"}


def test_profiles_have_records_and_folders_of_their_own(project: Project) -> None:
    writer(project)
    loop = project.build()["make"].artifact
    project.profile = "release"
    release = project.build()["make"].artifact
    assert loop
    assert release
    assert loop != release
    assert loop.read_text() == release.read_text() == "one"
    project.profile = "loop"
    assert project.build()["make"].ran is False


def test_a_record_counts_for_its_target_only(project: Project) -> None:
    writer(project)
    project.build()
    record = project.root / ".kindloop/build/loop/make.json"
    record.write_text(record.read_text().replace("unknown-linux", "other-linux"))
    assert project.why()["make"].startswith("target ")


def test_each_stage_is_a_step_with_its_reason(project: Project) -> None:
    class Kept:
        verbosity = 0

        def __init__(self) -> None:
            self.events: list[report.Event] = []

        def show(self, event: report.Event) -> None:
            self.events.append(event)

    writer(project)
    kept = Kept()
    before = report.use(kept)
    try:
        project.build()
        project.build()
    finally:
        report.use(before)
    ended = [(e.step, e.text, e.ok) for e in kept.events if e.kind == "ended"]
    assert ended == [("make", "never built", True), ("make", "up to date", True)]


def test_the_output_of_a_stage_is_there_when_it_was_built(project: Project) -> None:
    writer(project)
    with pytest.raises(BuildFailed, match="stage make has not been built"):
        stages.output(project.config, "make", engine_platform=ENGINE)
    built = project.build()["make"]
    assert stages.output(project.config, "make", engine_platform=ENGINE) == built.artifact
    with pytest.raises(ConfigError, match="there is no stage other with outputs"):
        stages.output(project.config, "other", engine_platform=ENGINE)


def test_clean_forgets_and_removes_what_is_below_the_target_folder(project: Project) -> None:
    writer(project)
    project.shell("gen", "mkdir -p gen; echo x > gen/x", outputs=("gen",))
    artifact = project.build()["make"].artifact
    stages.clean(project.config, engine_platform=ENGINE)
    assert artifact
    assert not artifact.exists()
    assert (project.app / "gen/x").exists()
    assert set(project.why().values()) == {"cleaned"}
    with pytest.raises(ConfigError, match="no stage nothing"):
        stages.clean(project.config, ["nothing"], engine_platform=ENGINE)


# --- attempts: one stage fails, a newer save comes ------------------------------------------


def attempt(project: Project, *names: str, **settings: Any) -> stages.Attempt:
    return stages.attempt(project.config, names or None, engine_platform=ENGINE, **settings)


@contextlib.contextmanager
def stopped_by(path: Path) -> Iterator[process.Stop]:
    """A stop that another thread sets as soon as the file is there."""
    stop = process.Stop()

    def watch() -> None:
        while not path.exists():
            time.sleep(0.01)
        stop.set("src/a.rs")

    thread = threading.Thread(target=watch)
    thread.start()
    yield stop
    thread.join()


def test_nothing_behind_a_broken_stage_runs_and_other_branches_do(project: Project) -> None:
    project.shell("gen", "exit 3")
    project.shell("app", "touch app-ran", needs=("gen",))
    project.shell("pack", "touch pack-ran", needs=("app", "docs"))
    project.shell("docs", "touch docs-ran")
    done = attempt(project)
    assert list(done.built) == ["docs"]
    assert {name: error.message for name, error in done.failed.items()} == {
        "gen": "stage gen failed: exit code 3"
    }
    assert done.skipped == {"app": "gen", "pack": "gen"}
    assert not done.superseded
    assert sorted(path.name for path in project.app.glob("*-ran")) == ["docs-ran"]
    (_, gen_ended_s), (docs_began_s, docs_ended_s) = done.took["gen"], done.took["docs"]
    assert gen_ended_s <= docs_began_s < docs_ended_s, "those that ran, the failed one too"
    assert len(done.took) == 2


def test_an_input_that_went_fails_its_stage_alone(project: Project) -> None:
    project.shell("gen", "true", inputs=("spec.txt",))
    project.shell("docs", "true")
    done = attempt(project)
    assert list(done.built) == ["docs"]
    assert done.failed["gen"].exit_code == 2
    project.write("spec.txt", "here again")
    again = attempt(project)
    assert (list(again.built), list(again.took)) == (["gen", "docs"], ["gen"])


def test_an_attempt_of_what_is_no_stage_is_an_error(project: Project) -> None:
    with pytest.raises(ConfigError, match="no stage nothing"):
        attempt(project, "nothing")


def test_a_newer_save_cancels_the_running_stage(project: Project, shown: Any) -> None:
    project.write("input.txt", "one")
    project.shell("make", HALF, outputs=("{target}/out", "gen"), inputs=("input.txt",))
    project.shell("docs", "touch docs-ran")
    with stopped_by(project.app / "pids") as stop:
        done = attempt(project, stop=stop)
    assert (done.built, done.failed, done.superseded) == ({}, {}, True)
    assert list(done.took) == ["make"]
    assert_gone(pids_in(project.app / "pids", 2))
    assert not project.target("out", "make").exists()
    assert not (project.app / "gen/a.rs").exists()
    assert not (project.app / "docs-ran").exists()
    assert project.why()["make"] == "interrupted last time"
    assert [(e.step, e.text, e.ok) for e in shown.events if e.kind == "ended"] == [
        ("make", "superseded", False)
    ]


def test_a_stage_that_has_to_finish_does_and_then_the_newer_save_has_its_turn(
    project: Project,
) -> None:
    script = "touch started; while [ ! -e go ]; do sleep 0.01; done; mkdir -p gen; echo x > gen/x"
    project.shell("gen", script, outputs=("gen",), on_newer="finish")
    project.shell("app", "touch app-ran", needs=("gen",))
    with stopped_by(project.app / "started") as stop:
        stop_set = stop.set

        def set_and_let_go(reason: str) -> None:
            stop_set(reason)
            project.write("go")

        stop.set = set_and_let_go  # type: ignore[method-assign]
        done = attempt(project, stop=stop)
    assert (list(done.built), done.superseded) == (["gen"], True)
    assert (project.app / "gen/x").exists()
    assert not (project.app / "app-ran").exists()
    assert project.why() == {"gen": "up to date", "app": "never built"}


def test_a_stop_that_is_set_already_lets_nothing_begin(project: Project) -> None:
    project.shell("make", "touch ran")
    stop = process.Stop()
    stop.set("src/a.rs")
    assert attempt(project, stop=stop) == stages.Attempt(superseded=True)
    assert not (project.app / "ran").exists()


def test_who_asks_is_told_of_each_stage_right_before_it_runs(project: Project) -> None:
    writer(project)
    project.shell("next", "true", needs=("make",))
    told: list[tuple[str, tuple[str, ...], bool]] = []

    def on_turn(name: str, observed: stages.Observed) -> None:
        told.append((name, tuple(observed.inputs), project.target("out", "make").exists()))

    attempt(project, on_turn=on_turn)
    attempt(project, on_turn=on_turn)
    assert told == [("make", ("input.txt",), False), ("next", (), True)]


def with_library(project: Project) -> None:
    """A library that the program's command builds with it, as cargo does."""
    project.write("lib.txt", "one")
    project.write("app.txt", "one")
    project.write("Cargo.toml")
    project.shell("lib", "echo lib >> ran", inputs=("lib.txt",), built_by="app")
    project.shell(
        "app", "echo app >> ran; grep -q one lib.txt", inputs=("app.txt",), needs=("lib",)
    )


def runs(project: Project) -> list[str]:
    """The commands that ran since this was asked last."""
    path = project.app / "ran"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def test_a_stage_that_another_builds_runs_with_it(project: Project, shown: Any) -> None:
    with_library(project)
    told: list[str] = []
    done = attempt(project, on_turn=lambda name, _seen: told.append(name))
    assert (list(done.built), list(done.took), runs(project)) == (["lib", "app"], ["app"], ["app"])
    assert all(built.ran for built in done.built.values())
    assert told == ["lib", "app"], "an edit of either ends the build"
    assert [(e.step, e.text) for e in shown.events if e.kind == "ended"] == [
        ("lib", "never built, built by app"),
        ("app", "never built"),
    ]
    assert set(project.why().values()) == {"up to date"}
    project.write("lib.txt", "one, edited")
    assert project.why() == {"lib": "lib.txt changed", "app": "needs lib, which is stale"}
    attempt(project)
    assert (runs(project), set(project.why().values())) == (["app"], {"up to date"})


def test_an_edit_before_the_other_runs_is_in_what_it_builds(project: Project) -> None:
    with_library(project)
    project.shell("gen", "echo 'one, edited' > lib.txt", inputs=("app.txt",))
    project.stages["app"] = replace(project.stages["app"], needs=("lib", "gen"))
    attempt(project)
    assert set(project.why().values()) == {"up to date"}


def test_a_stage_that_another_builds_can_be_asked_for_alone(project: Project) -> None:
    with_library(project)
    project.build("lib")
    assert runs(project) == ["lib"]
    project.build()
    assert runs(project) == ["app"]
    project.build("lib", force=True)
    assert (runs(project), project.why()["app"]) == (["lib"], "up to date")


def test_what_is_built_by_a_stage_that_fails_is_not_built(project: Project) -> None:
    with_library(project)
    project.build()
    project.write("lib.txt", "broken")
    done = attempt(project)
    assert (done.built, list(done.failed), done.skipped) == ({}, ["app"], {"lib": "app"})
    assert done.parts(project.stages) == ["lib"]
    assert project.why()["lib"] == "lib.txt changed (and 1 more)"
    project.write("lib.txt", "one")
    assert list(attempt(project).built) == ["lib", "app"]
    assert set(project.why().values()) == {"up to date"}


def test_a_stage_whose_record_went_is_built_by_the_other_again(project: Project) -> None:
    with_library(project)
    project.build()
    runs(project)
    (project.root / ".kindloop/build/loop/lib.json").unlink()
    assert list(project.build()) == ["lib", "app"]
    assert (runs(project), set(project.why().values())) == (["app"], {"up to date"})


def test_an_edit_between_the_look_and_the_command_is_built_next_time(project: Project) -> None:
    writer(project)
    attempt(project, on_turn=lambda _name, _seen: project.write("input.txt", "edited"))
    assert project.target("out", "make").read_text() == "edited"
    assert project.why() == {"make": "input.txt changed"}, "nobody can know what was read"


def test_an_edit_during_the_run_is_built_next_time(project: Project) -> None:
    project.write("src/a.txt", "one")
    project.shell("make", "cp src/a.txt out.txt; echo edited > src/a.txt", inputs=("src",),
                  outputs=("out.txt",))  # fmt: skip
    project.build()
    assert project.why() == {"make": "src/a.txt changed"}


def test_an_edit_that_cancelled_a_run_keeps_its_date(project: Project) -> None:
    """An editor would ask its user about a file that another has changed."""
    project.write("src/a.txt", "one")
    project.shell("make", "true", inputs=("src",))
    project.build()
    project.shell("make", "echo edited > src/a.txt; touch started; sleep 300", inputs=("src",))
    with stopped_by(project.app / "started") as stop:
        assert attempt(project, force=True, stop=stop).superseded
    before = (project.app / "src/a.txt").stat().st_mtime_ns
    project.shell("make", "true", inputs=("src",))
    assert attempt(project).built["make"].ran
    assert (project.app / "src/a.txt").stat().st_mtime_ns == before


def test_a_site_that_is_kept_sees_what_changes(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bin" / "mytool"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho mytool 1.0.0\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    writer(project, tools=("mytool",))

    with stages.opened(project.config, ENGINE) as site:

        def reasons() -> dict[str, str]:
            done = attempt(project, site=site)
            return {name: built.reason for name, built in done.built.items()}

        assert reasons() == {"make": "never built"}
        assert reasons() == {"make": "up to date"}
        project.write("input.txt", "two")
        assert reasons() == {"make": "input.txt changed"}
        fake.write_text("#!/bin/sh\necho mytool 1.10.0\n")
        assert reasons() == {"make": "mytool 1.0.0 → 1.10.0"}
        project.shell("docs", "true")
        assert reasons() == {"make": "up to date", "docs": "never built"}
        explained = stages.explain(project.config, engine_platform=ENGINE, site=site)
        assert {d.reason for d in explained} == {"up to date"}
        project.write("input.txt", "three")
        assert reasons()["make"] == "input.txt changed"


def test_what_a_stage_writes_itself_is_known(project: Project) -> None:
    crate(project, "fn main() {}\n")
    project.shell("gen", "true", outputs=("gen", "{root}/doc.md"))
    with stages.opened(project.config, ENGINE) as site:
        assert stages.own_writes(site, project.stages["gen"]) == (
            project.app / "gen", project.app / "doc.md",
        )  # fmt: skip
        assert stages.own_writes(site, project.stages["tiny"]) == (
            site.path(project.stages["tiny"], "{target}/tiny"), project.app / "Cargo.lock",
        )  # fmt: skip


# --- a stage's command ----------------------------------------------------------------------


def test_a_missing_command(project: Project) -> None:
    project.stages["gen"] = Stage("gen", "no-such-generator --out x", tools=())
    with pytest.raises(ToolMissing, match="stage gen: no-such-generator cannot be run") as caught:
        project.build()
    assert caught.value.exit_code == 7
    assert "stages.gen.run" in caught.value.hint
    assert project.why() == {"gen": "failed last time"}


def test_a_missing_tool(project: Project) -> None:
    project.shell("gen", "true", tools=("no-such-compiler",))
    with pytest.raises(ToolMissing, match="no-such-compiler is not on PATH"):
        project.build()


def test_a_tool_without_a_version(project: Project) -> None:
    project.shell("gen", "true", tools=("false",))
    with pytest.raises(ConfigError, match="false --version"):
        project.build()


def test_a_failing_command(project: Project) -> None:
    project.shell("gen", "for i in $(seq 50); do echo line $i; done; exit 3")
    error = failed(project)
    assert error.message == "stage gen failed: exit code 3"
    assert error.evidence == tuple(f"line {i}" for i in range(31, 51))
    assert ".kindloop/logs/build-gen.log" in error.hint
    lines = project.log("gen").splitlines()
    assert lines[0].startswith(f"$ cd {project.app} && env CARGO_BUILD_TARGET=")
    assert lines[0].endswith(f"sh -eu gen.sh {project.target('', 'gen')}")
    assert lines[1:] == [f"line {i}" for i in range(1, 51)]


def test_a_command_ended_by_a_signal(project: Project) -> None:
    project.shell("gen", "kill -KILL $$")
    assert failed(project).message == "stage gen was ended by a signal: Killed"


def test_a_command_that_takes_too_long(project: Project) -> None:
    project.shell("gen", "sleep 60 & echo $! > pid; wait", timeout_s=1)
    assert failed(project).message == "stage gen did not end within 1 s"
    assert_gone([int((project.app / "pid").read_text())])


def test_a_command_that_makes_nothing(project: Project) -> None:
    project.shell("gen", "echo nothing to do", outputs=("{target}/app", "gen/a.rs"))
    error = failed(project)
    assert error.message.startswith("stage gen ended well but did not make app/target/kindloop/")
    assert error.message.endswith("/release/app, app/gen/a.rs")
    assert error.evidence == ("nothing to do",)
    assert project.why() == {"gen": "failed last time"}


def test_a_failed_stage_ends_the_build(project: Project) -> None:
    project.shell("gen", "exit 1")
    project.shell("next", "touch ran", needs=("gen",))
    failed(project)
    assert not (project.app / "ran").exists()


def test_a_failed_stage_leaves_the_last_good_artifact_or_none(project: Project) -> None:
    writer(project)
    artifact = project.build()["make"].artifact
    assert artifact
    project.write("make.sh", "exit 1")
    project.write("input.txt", "two")
    failed(project)
    assert artifact.read_text() == "one", "the command had not touched it"
    project.write("make.sh", 'echo half > "$1/out"; exit 1')
    failed(project)
    assert not artifact.exists(), "a half-written artifact is none"


def test_inputs_that_match_nothing_are_told_before_anything_runs(project: Project) -> None:
    project.shell("gen", "touch ran")
    project.shell("next", "true", inputs=("srcc",), needs=("gen",))
    with pytest.raises(ConfigError, match="input srcc matches no file"):
        project.build()
    assert not (project.app / "ran").exists()


def test_an_input_that_its_need_did_not_make(project: Project) -> None:
    project.shell("gen", "mkdir -p gen; touch gen/a", outputs=("gen",))
    project.shell("next", "true", inputs=("gen/*.rs",), needs=("gen",))
    with pytest.raises(ConfigError, match=r"input gen/\*\.rs matches no file"):
        project.build()


def test_a_root_that_is_not_there(project: Project) -> None:
    shutil.rmtree(project.app)
    with pytest.raises(ConfigError, match=r"app\.root is not a folder"):
        project.build()


def test_another_build_holds_the_lock(project: Project) -> None:
    writer(project)
    with state.lock(project.root / ".kindloop/build/lock", "the build"), pytest.raises(Locked):
        project.build()
    assert project.build()["make"].ran


def test_an_engine_that_this_machine_cannot_build_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    writer(project)
    with pytest.raises(ToolMissing) as caught:
        stages.build(project.config, engine_platform="linux/arm64")
    assert caught.value.hint == "rustup target add aarch64-unknown-linux-musl"


# --- files that git tracks ------------------------------------------------------------------


def generator(project: Project) -> None:
    project.write("spec.txt", "one")
    project.shell("gen", "mkdir -p gen; cp spec.txt gen/a.rs; echo fixed > gen/b.rs",
                  inputs=("spec.txt",), outputs=("gen",))  # fmt: skip


def refused(project: Project) -> NotOurs:
    with pytest.raises(NotOurs, match="stage gen would overwrite uncommitted edits") as caught:
        project.build()
    assert caught.value.exit_code == 9
    return caught.value


def test_uncommitted_edits_are_not_overwritten(project: Project) -> None:
    generator(project)
    project.build()
    project.commit()
    project.write("gen/b.rs", "my edit")
    project.write("spec.txt", "two")
    error = refused(project)
    assert error.evidence == ("gen/b.rs",)
    assert "git stash" in error.hint
    assert (project.app / "gen/b.rs").read_text() == "my edit"
    assert (project.app / "gen/a.rs").read_text() == "one"
    assert project.why()["gen"].startswith("spec.txt changed"), "a refusal is no failed run"


def test_an_edit_of_a_generated_file_alone_is_refused_too(project: Project) -> None:
    generator(project)
    project.build()
    project.commit()
    project.write("gen/b.rs", "my edit")
    assert project.why() == {"gen": "output gen changed since it was built"}
    refused(project)
    project.git("add", "-A")
    refused(project)
    project.git("commit", "-qm", "mine")
    assert project.build()["gen"].ran, "git has it now"
    assert (project.app / "gen/b.rs").read_text() == "fixed\n"


def test_its_own_uncommitted_work_is_overwritten(project: Project) -> None:
    generator(project)
    project.build()
    project.commit()
    for content in ("two", "three"):
        project.write("spec.txt", content)
        project.build()
        assert (project.app / "gen/a.rs").read_text() == content


def test_the_work_of_another_profile_is_its_own_too(project: Project) -> None:
    generator(project)
    project.build()
    project.commit()
    project.write("spec.txt", "two")
    project.build()
    project.profile = "release"
    assert project.build()["gen"].ran


def test_what_a_failed_run_left_is_its_own_work(project: Project) -> None:
    generator(project)
    project.build()
    project.commit()
    project.write("gen.sh", "echo half > gen/a.rs; echo new > gen/c.rs; exit 1")
    project.write("spec.txt", "two")
    failed(project)
    assert (project.app / "gen/a.rs").read_text() == "half\n", "git has the whole one"
    assert not (project.app / "gen/c.rs").exists(), "git does not have it"
    generator(project)
    project.write("spec.txt", "three")
    project.build()
    assert (project.app / "gen/a.rs").read_text() == "three"


def test_edits_elsewhere_and_deleted_files_do_not_matter(project: Project) -> None:
    generator(project)
    project.write("controllers/mine.rs", "mine")
    project.build()
    project.commit()
    project.write("controllers/mine.rs", "my edit")
    (project.app / "gen/a.rs").unlink()
    project.build()
    assert (project.app / "gen/a.rs").read_text() == "one"
    assert (project.app / "controllers/mine.rs").read_text() == "my edit"


def test_a_file_name_with_a_space_and_a_pattern(project: Project) -> None:
    generator(project)
    project.write("gen/a b[1].rs", "generated")
    project.commit()
    project.write("gen/a b[1].rs", "my edit")
    assert refused(project).evidence == ("gen/a b[1].rs",)


def test_without_git_there_is_nothing_to_compare_with(project: Project) -> None:
    generator(project)
    project.build()
    project.write("gen/b.rs", "edit")
    assert project.build()["gen"].ran


def test_a_git_that_does_not_answer_is_told(project: Project) -> None:
    generator(project)
    project.write("gen/a.rs", "of somebody")
    (project.root / ".git").write_text("gitdir: nowhere\n")
    with pytest.raises(KindloopError, match="git does not say") as caught:
        project.build()
    assert caught.value.exit_code == 3
    assert (project.app / "gen/a.rs").read_text() == "of somebody"


# --- cargo ----------------------------------------------------------------------------------


def crate(project: Project, main: str, *, build_script: str = "") -> None:
    project.write(
        "Cargo.toml",
        """\
        [package]
        name = "tiny"
        version = "0.1.0"
        edition = "2021"

        [profile.release]
        lto = true
        strip = "debuginfo"
        """,
    )
    project.write("src/main.rs", main)
    if build_script:
        project.write("build.rs", build_script)
    project.stages["tiny"] = Stage(
        "tiny", "cargo build --release", inputs=("src", "Cargo.toml"), outputs=("{target}/tiny",)
    )


PANIC = """\
fn main() {
    let given: Vec<String> = std::env::args().collect();
    assert!(given.len() > 9, "too few");
}
"""


def test_cargo_errors_are_file_line_error(project: Project) -> None:
    crate(
        project,
        """\
        fn main() {
            let n: u32 = "text";
            missing(n);
        }
        """,
    )
    error = failed(project)
    assert error.message == "stage tiny failed: 2 errors"
    assert sorted(error.evidence) == [
        "app/src/main.rs:2:18: error[E0308]: mismatched types",
        "app/src/main.rs:3:5: error[E0425]: cannot find function `missing` in this scope",
    ]
    log = project.log("tiny")
    assert "Compiling tiny" in log
    assert "--> src/main.rs:2:18" in log
    assert '{"reason"' not in log
    assert "\x1b[" not in log


@pytest.mark.parametrize("ended", ["well", "badly"])
def test_a_source_that_comes_back_with_its_old_date_is_built_again(
    project: Project, ended: str
) -> None:
    crate(project, 'fn main() { println!("old") }\n')
    project.build()
    main, kept = project.app / "src/main.rs", project.root / "kept.rs"
    main.rename(kept)
    project.write("src/main.rs", 'fn main() { println!("new") }\n')
    if ended == "well":
        project.build()
    else:
        good = project.stages["tiny"]
        project.stages["tiny"] = replace(good, outputs=("{target}/nothing",))
        failed(project)
        project.stages["tiny"] = good
    kept.rename(main)
    artifact = project.build()["tiny"].artifact
    assert artifact
    assert tools.run(artifact).stdout == "old\n"


def test_many_cargo_errors_are_ten_lines(project: Project) -> None:
    calls = "".join(f"    missing_{i}();\n" for i in range(25))
    crate(project, f"fn main() {{\n{calls}}}\n")
    error = failed(project)
    assert error.message == "stage tiny failed: 25 errors"
    assert len(error.evidence) == 10
    assert error.evidence[-1] == "and 16 more"


def test_an_error_of_cargo_itself(project: Project) -> None:
    crate(project, "fn main() {}\n")
    project.write("Cargo.toml", "[package]\nname = 1\n")
    error = failed(project)
    assert error.message == "stage tiny failed: exit code 101"
    assert any("Cargo.toml" in line for line in error.evidence)


def test_a_binary_of_the_loop_is_static_and_its_panic_names_file_and_line(
    project: Project,
) -> None:
    crate(project, PANIC)
    artifact = project.build()["tiny"].artifact
    assert artifact
    assert artifact.is_relative_to(project.app / "target/kindloop/loop")
    said = tools.run(artifact, check=False)
    assert "src/main.rs:3:5" in said.stderr
    traced = tools.run(artifact, check=False, env={"RUST_BACKTRACE": "1"})
    assert "at ./src/main.rs:3" in traced.stderr or f"{project.app}/src/main.rs:3" in traced.stderr
    linked = tools.run("ldd", artifact, check=False)
    assert "=>" not in linked.stdout + linked.stderr


def test_the_release_profile_builds_apart(project: Project) -> None:
    crate(project, PANIC)
    project.profile = "release"
    artifact = project.build()["tiny"].artifact
    assert artifact
    assert artifact.is_relative_to(project.app / "target/kindloop/release")
    assert project.build()["tiny"].ran is False


def test_cargo_run_shows_what_the_program_says(project: Project) -> None:
    crate(project, r"""fn main() { println!("{{\"reason\":\"mine\"}}\nmade it"); }""")
    project.stages["tiny"] = Stage("tiny", "cargo run --release", ("src",), platform="host")
    project.build()
    assert '{"reason":"mine"}\nmade it\n' in project.log("tiny")


def test_a_program_that_cargo_runs_fails(project: Project) -> None:
    crate(project, PANIC)
    project.stages["tiny"] = Stage("tiny", "cargo run --release", ("src",), platform="host")
    error = failed(project)
    assert error.message == "stage tiny failed: exit code 101"
    assert any("src/main.rs:3:5" in line for line in error.evidence)


def test_flags_of_the_user_are_kept_and_the_binary_stays_static(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSTFLAGS", "--cfg mine")
    crate(project, '#[cfg(not(mine))] compile_error!("lost");\nfn main() {}\n')
    artifact = project.build()["tiny"].artifact
    linked = tools.run("ldd", str(artifact), check=False)
    assert "=>" not in linked.stdout + linked.stderr
    monkeypatch.delenv("RUSTFLAGS")
    assert "RUSTFLAGS" in project.why()["tiny"]


@pytest.mark.parametrize("declared", ["Cargo.lock", "Cargo.*", "."])
def test_the_cargo_lock_that_cargo_writes_is_no_edit(project: Project, declared: str) -> None:
    crate(project, "fn main() {}\n")
    stage = project.stages["tiny"]
    project.stages["tiny"] = replace(stage, inputs=("src", "Cargo.toml", declared))
    project.build()
    lock = project.app / "Cargo.lock"
    assert lock.exists()
    assert project.why() == {"tiny": "up to date"}
    project.write("Cargo.toml", (project.app / "Cargo.toml").read_text().replace("0.1.0", "0.2.0"))
    project.build()
    assert "0.2.0" in lock.read_text()
    assert project.why() == {"tiny": "up to date"}
    lock.write_text(lock.read_text() + "# mine\n")
    assert project.why() == {"tiny": "Cargo.lock changed"}


def test_a_cargo_lock_that_another_command_writes_is_an_edit(project: Project) -> None:
    project.write("Cargo.toml")
    project.write("Cargo.lock", "one")
    project.shell("gen", "echo two > Cargo.lock", inputs=("Cargo.lock",))
    project.build()
    assert project.why() == {"gen": "Cargo.lock changed"}


# --- Ctrl-C ---------------------------------------------------------------------------------

RUNNER = """\
import sys
from pathlib import Path
from kindloop import stages
from kindloop.config import App, Config, Stage
from kindloop.errors import KindloopError

root = Path(sys.argv[1])
stage = Stage(sys.argv[2], sys.argv[3], tools=(), outputs=tuple(sys.argv[5:]))
config = Config(root / "kindloop.yaml", app=App(root / "app"), stages={stage.name: stage})
try:
    stages.build(config, engine_platform=sys.argv[4])
except KindloopError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def running(project: Project, stage: str) -> process.Child:
    """A Python process of its own that builds the stage."""
    this = project.stages[stage]
    words = (project.root, stage, this.run, ENGINE, *this.outputs)
    return process.Child([sys.executable, "-c", RUNNER, *words])


def pids_in(path: Path, count: int) -> list[int]:
    """The process ids that the stage wrote to a file, as soon as all are there."""
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        words = path.read_text().split() if path.exists() else []
        if len(words) == count:
            return [int(word) for word in words]
        time.sleep(0.02)
    pytest.fail(f"{path} does not have {count} process ids")


def alive(pid: int) -> bool:
    try:
        state_letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state_letter != "Z"


def assert_gone(pids: list[int]) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s and any(alive(pid) for pid in pids):
        time.sleep(0.02)
    assert [pid for pid in pids if alive(pid)] == []


def interrupt(project: Project, stage: str, pid_file: Path, count: int) -> str:
    """Send SIGINT to the one process, as a terminal's Ctrl-C reaches it; what it said."""
    with running(project, stage) as runner:
        pids = pids_in(pid_file, count)
        os.kill(runner.pid, signal.SIGINT)
        ended = runner.wait(60)
    assert ended.exit_code == 130
    assert_gone(pids)
    return "\n".join(ended.tail)


HALF = """\
mkdir -p "$1"
echo half > "$1/out"
mkdir -p gen
echo half > gen/a.rs
sh -c 'trap "" INT; exec sleep 300' &
echo $$ $! > pids
wait
echo rest >> "$1/out"
"""


def test_ctrl_c_ends_the_whole_group_and_leaves_nothing_half_written(project: Project) -> None:
    project.shell("make", HALF, outputs=("{target}/out", "gen"))
    said = interrupt(project, "make", project.app / "pids", 2)
    assert said.startswith("error: stage make was interrupted\n")
    assert "Traceback" not in said
    assert not project.target("out", "make").exists()
    assert not (project.app / "gen/a.rs").exists()
    assert project.why() == {"make": "interrupted last time"}


def test_ctrl_c_leaves_the_last_good_artifact_that_was_not_touched(project: Project) -> None:
    writer(project, inputs=())
    artifact = project.build()["make"].artifact
    assert artifact
    project.write("make.sh", "echo $$ > pids; sleep 300")
    stage = project.stages["make"]
    project.stages["make"] = Stage("make", stage.run + " again", outputs=stage.outputs, tools=())
    interrupt(project, "make", project.app / "pids", 1)
    assert artifact.read_text() == "one"
    assert project.why()["make"].startswith("interrupted last time")
    project.write("make.sh", WRITE)
    assert project.build()["make"].ran
    assert project.why() == {"make": "up to date"}


def test_ctrl_c_ends_cargo_and_what_it_runs(project: Project) -> None:
    script = """\
    fn main() {
        let at = format!("{}/pids", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        let parent = std::os::unix::process::parent_id();
        std::fs::write(at, format!("{} {}", parent, std::process::id())).unwrap();
        std::thread::sleep(std::time::Duration::from_secs(300));
    }
    """
    crate(project, "fn main() {}\n", build_script=script)
    interrupt(project, "tiny", project.app / "pids", 2)
    assert not project.target("tiny", "tiny").exists()
    project.write("build.rs", "fn main() {}\n")
    assert project.build()["tiny"].ran, "no lock of cargo is left behind"


def test_a_killed_run_counts_as_interrupted(project: Project) -> None:
    project.shell("make", HALF, outputs=("{target}/out", "gen"))
    with running(project, "make") as runner:
        pids = pids_in(project.app / "pids", 2)
        os.kill(runner.pid, signal.SIGKILL)
        assert runner.wait(60).exit_code == -signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pids[0], signal.SIGKILL)
    assert_gone(pids)
    assert project.why() == {"make": "interrupted last time"}
