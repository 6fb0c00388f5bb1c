"""The command `kindloop`, and the tasks about kindloop.yaml: run as a user would."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kindloop
from kindloop import report, tools
from kindloop.errors import EXIT_CODES
from kindloop.tasks import collection
from kindloop.tasks.program import program

RIGHT = "version: 1\nname: one\nstages:\n  web: {run: cargo build}\n"
WRONG = "version: 1\nname: One\nnonsense: 1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "kindloop.yaml").write_text(RIGHT)
    return tmp_path


@pytest.fixture
def _as_kindloop() -> Iterator[None]:
    report.call_program("kindloop")
    yield
    report.call_program("invoke")


def run(*words: str, cwd: Path, **env: str) -> tools.Result:
    return tools.run(sys.executable, "-m", "kindloop", *words, cwd=cwd, env=env, check=False)


# -- the command


def test_its_tasks_are_those_of_invoke_and_init(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo)
    own = program().namespace
    assert own
    assert set(own.task_names) == {*collection().task_names, "init"}
    assert own["init"] is own["config.init"]


def test_stages_of_the_project_above_are_tasks(project: Path) -> None:
    (project / "deep/er").mkdir(parents=True)
    said = run("--list", cwd=project / "deep/er")
    assert said.ok
    assert "build.web" in said.stdout


def test_it_says_its_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"kindloop {kindloop.__version__}\n"


def test_an_error_is_no_traceback_and_names_this_command(project: Path) -> None:
    (project / "kindloop.yaml").write_text("version: 1\nworkloads: {}\n")
    said = run("dev-logs", "--workload", "nothing", cwd=project)
    assert said.exit_code in EXIT_CODES
    assert said.exit_code != 0
    assert "Traceback" not in said.stderr
    assert "invoke " not in said.stderr


def test_a_task_that_does_not_exist_is_invokes_own_error(project: Path) -> None:
    said = run("dev-upp", cwd=project)
    assert (said.exit_code, said.stderr) == (1, "No idea what 'dev-upp' is!\n")


@pytest.mark.usefixtures("_as_kindloop")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("next: invoke dev-up", "next: kindloop dev-up"),
        ("KINDLOOP_NAME=x invoke dev-up, or invoke build", "KINDLOOP_NAME=x kindloop dev-up, or kindloop build"),
        ("`invoke k8s.kubectl -- get pods`", "`kindloop k8s.kubectl -- get pods`"),
        ("they invoke the handler", "they invoke the handler"),
        ("inv-invoke dev", "inv-invoke dev"),
    ],
)  # fmt: skip
def test_hints_name_the_command_that_was_called(text: str, said: str) -> None:
    assert report.spoken(text) == said


def test_hints_of_invoke_stay_as_they_are() -> None:
    assert report.spoken("next: invoke dev-up") == "next: invoke dev-up"


@pytest.mark.usefixtures("_as_kindloop")
def test_lines_and_documents_are_spoken_too(capsys: pytest.CaptureFixture[str]) -> None:
    before = report.use(report.Plain())
    report.output("next: invoke dev-watch")
    report.data({"next": "invoke dev-watch"})
    report.use(before)
    assert "invoke" not in capsys.readouterr().out


# -- init


def test_init_outside_of_a_project(tmp_path: Path) -> None:
    said = run("init", cwd=tmp_path)
    assert said.exit_code == 2
    assert said.stderr.startswith("error: there is no Cargo.toml in ")
    assert said.stderr.splitlines()[-1].endswith("kindloop config.init --root FOLDER")
    assert list(tmp_path.iterdir()) == []


def test_init_where_a_project_has_begun(project: Path) -> None:
    before = (project / "kindloop.yaml").read_text()
    said = run("init", cwd=project)
    assert said.exit_code == 2
    assert "next: kindloop config.check" in said.stderr
    assert [path.name for path in project.iterdir()] == ["kindloop.yaml"]
    assert (project / "kindloop.yaml").read_text() == before


# -- config.check, config.schema, config.show


def test_check_says_ok_and_what_there_is(project: Path) -> None:
    said = run("config.check", cwd=project)
    assert said.ok
    assert said.stdout.startswith("kindloop.yaml: ok\nenvironment one, ")


def test_check_tells_every_mistake(project: Path) -> None:
    (project / "kindloop.yaml").write_text(WRONG)
    said = run("config.check", cwd=project)
    assert said.exit_code == 2
    assert "kindloop.yaml:2:" in said.stderr
    assert "kindloop.yaml:3:" in said.stderr
    assert "next: edit kindloop.yaml:2" in said.stderr
    assert "Traceback" not in said.stderr


def test_check_as_a_document(project: Path) -> None:
    right = json.loads(run("config.check", "--json", cwd=project).stdout)
    file = str(project / "kindloop.yaml")
    assert right == {"schema": 1, "ok": True, "mistakes": [], "file": file, "warnings": []}
    (project / "kindloop.yaml").write_text(WRONG)
    said = run("config.check", "--json", cwd=project)
    wrong = json.loads(said.stdout)
    assert said.exit_code == 2
    assert (wrong["ok"], len(wrong["mistakes"])) == (False, 2)
    assert wrong["mistakes"][0].startswith("kindloop.yaml:2:")


def test_a_wrong_variable_is_a_mistake_too(project: Path) -> None:
    said = run("config.check", cwd=project, KINDLOOP_PROFILE="fast")
    assert said.exit_code == 2
    assert "KINDLOOP_PROFILE is wrong" in said.stderr


def test_show_as_text_and_as_a_document(project: Path) -> None:
    lines = run("config.show", cwd=project, KINDLOOP_NAME="two").stdout.splitlines()
    assert lines[0].split() == ["name", "KINDLOOP_NAME", "two"]
    document = json.loads(run("config.show", "--json", cwd=project).stdout)
    assert document["schema"] == 1
    assert document["settings"][0]["place"] == "kindloop.yaml:2"


def test_the_schema_is_a_document(tmp_path: Path) -> None:
    """Also where there is no project."""
    document = json.loads(run("config.schema", cwd=tmp_path).stdout)
    assert document["properties"]["stages"]["additionalProperties"]["required"] == ["run"]


# -- config.init


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.rs").write_text('fn main() { bind("127.0.0.1:4000") }\n')
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "web"\nversion = "0.1.0"\n')
    return tmp_path


def test_a_dry_run_names_the_files_and_writes_none(crate: Path) -> None:
    before = sorted(crate.rglob("*"))
    said = run("init", "--dry-run", cwd=crate)
    assert said.ok
    assert "would write kindloop.yaml" in said.stdout
    assert "port 4000 (src/main.rs:1)" in said.stdout
    assert "in a pod it must listen on 0.0.0.0" in said.stdout
    assert "next:" not in said.stdout
    assert sorted(crate.rglob("*")) == before


def test_every_flag_arrives(crate: Path) -> None:
    said = run(
        "init", "--bin", "web", "--name", "mine", "--port", "81", "--health", "/up", "--args",
        "--a 'b c'", "--into", "ops", "--no-tasks", "--root", "..", cwd=crate / "src",
    )  # fmt: skip
    assert said.ok, said.stderr
    written = {str(p.relative_to(crate)) for p in crate.rglob("*") if p.is_file()}
    assert {"src/kindloop.yaml", "src/ops/k8s/app/deployment.yaml"} <= written
    assert "src/tasks.py" not in written
    deployment = (crate / "src/ops/k8s/app/deployment.yaml").read_text()
    for part in ("containerPort: 81", "path: /up", "            - b c\n"):
        assert part in deployment
    text = (crate / "src/kindloop.yaml").read_text()
    assert "\nname: mine\n" in text
    assert "  root: ..\n" in text
    assert run("config.check", cwd=crate / "src").ok


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--port", "many"], "--port many is no port"),
        (["--port", "0"], "--port 0 is no port"),
        (["--args", "it's"], "--args cannot be split into words"),
        (["--bin", "nothing"], "there is no binary nothing"),
        (["--name", "No Name"], "No Name is no name of an environment"),
    ],
)
def test_a_mistake_in_a_flag_is_exit_2(crate: Path, words: list[str], text: str) -> None:
    said = run("init", *words, cwd=crate)
    assert said.exit_code == 2
    assert text in said.stderr
    assert "next: " in said.stderr
    assert "Traceback" not in said.stderr
    assert not (crate / "kindloop.yaml").exists()
