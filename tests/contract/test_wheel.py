"""kindloop as others get it: a wheel in an empty environment, outside of this repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import wheels

SERVICE = Path(__file__).parents[1] / "service"
Said = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.install(wheel, tmp_path_factory.mktemp("empty") / "venv")


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """The service of these tests, somewhere else."""
    ignored = shutil.ignore_patterns("target", ".kindloop")
    return shutil.copytree(SERVICE, tmp_path / "service", ignore=ignored)


@pytest.fixture
def begun(service: Path, programs: Path) -> Path:
    said = wheels.run(programs, "kindloop", "init", cwd=service)
    assert said.returncode == 0, said.stderr
    return service


def _files(repo: Path, *folders: str) -> Iterator[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *folders],
        cwd=repo, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return (name for name in listed.stdout.split("\0") if name and (repo / name).is_file())


def test_the_wheel_has_what_is_needed_at_run_time(wheel: Path, repo: Path) -> None:
    inside = {name: zipfile.ZipFile(wheel).read(name) for name in zipfile.ZipFile(wheel).namelist()}
    expected = {name: name for name in _files(repo, "kindloop")}
    for folder in ("k8s/observability", "supervisor/src"):
        last = folder.replace("k8s/", "")
        for name in _files(repo, folder):
            expected[name] = f"kindloop/data/{last}{name.removeprefix(folder)}"
    assert [name for name, to in expected.items() if to not in inside] == []
    for name, to in expected.items():
        assert inside[to] == (repo / name).read_bytes(), name
    for part in ("bake/recipes/kubernetes/go.mod", "data/kind-config.yaml", "data/versions.toml",
                 "data/templates/Dockerfile.dev.txt", "data/supervisor/Cargo.lock",
                 "data/observability/prometheus/rules.yaml"):  # fmt: skip
        assert f"kindloop/{part}" in inside


def test_nothing_of_this_checkout_is_used(programs: Path, tmp_path: Path) -> None:
    code = "import kindloop, sys; print(kindloop.__file__); print(sys.path)"
    said = wheels.run(programs, "python", "-c", code, cwd=tmp_path)
    assert str(programs.parent) in said.stdout.splitlines()[0]
    assert str(wheels.ROOT / "kindloop") not in said.stdout


def test_the_command_lists_the_tasks(programs: Path, tmp_path: Path) -> None:
    said = wheels.run(programs, "kindloop", "--list", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    for name in ("init", "dev-up", "dev-watch", "config.check", "bake.node"):
        assert f"  {name} " in said.stdout
    as_module = wheels.run(programs, "python", "-m", "kindloop", "--list", cwd=tmp_path)
    assert as_module.stdout == said.stdout


def test_a_service_begins_and_is_accepted(programs: Path, begun: Path) -> None:
    said = wheels.run(programs, "kindloop", "config.check", cwd=begun / "src")
    assert said.returncode == 0, said.stderr
    assert "kindloop.yaml: ok" in said.stdout
    assert "workload greeter: http://127.0.0.1:8080" in said.stdout
    rendered = subprocess.run(["kubectl", "kustomize", begun / "k8s/app"], capture_output=True)
    assert rendered.returncode == 0, rendered.stderr


def test_invoke_finds_the_same_tasks_in_the_written_tasks_file(programs: Path, begun: Path) -> None:
    said = wheels.run(programs, "python", "-m", "invoke", "--list", cwd=begun)
    assert said.returncode == 0, said.stderr
    assert "build.greeter" in said.stdout


def test_the_supervisor_and_the_stack_come_with_it(programs: Path, begun: Path) -> None:
    shown = wheels.run(programs, "kindloop", "config.show", "--json", cwd=begun)
    by_name = {each["name"]: each["value"] for each in json.loads(shown.stdout)["settings"]}
    inputs = [Path(each) for each in by_name["stages.supervisor.inputs"]]
    assert {each.name for each in inputs} == {"src", "Cargo.toml", "Cargo.lock"}
    for each in inputs:
        assert each.exists()
        assert programs.parent in each.parents
    code = (
        "from kindloop import loading, observing\n"
        "from kindloop.observing.planning import folder_of\n"
        "print(folder_of(loading.load()))"
    )
    said = wheels.run(programs, "python", "-c", code, cwd=begun)
    folder = Path(said.stdout.strip())
    assert programs.parent in folder.parents, said.stderr
    assert (folder / "prometheus" / "kustomization.yaml").is_file()


@pytest.mark.parametrize("words", [["dev-up"], ["config.check"], ["config.show"], ["dev-status"]])
def test_without_a_project_it_says_how_to_begin(
    programs: Path, tmp_path: Path, words: list[str]
) -> None:
    said = wheels.run(programs, "kindloop", *words, cwd=tmp_path)
    assert said.returncode == 2
    assert said.stderr.splitlines()[-1].endswith("kindloop config.init")
    assert "Traceback" not in said.stderr


def test_hints_name_no_script_that_a_wheel_is_without(programs: Path, begun: Path) -> None:
    (begun / "bin").mkdir()
    (begun / "bin/python").symlink_to(programs / "python")
    none = {"PATH": str(begun / "bin")}
    up = wheels.run(programs, "kindloop", "dev-up", cwd=begun, env=none)
    assert up.returncode == 7
    assert "next: install Docker Engine" in up.stderr
    doctor = wheels.run(programs, "kindloop", "dev-doctor", cwd=begun, env=none)
    assert doctor.returncode == 7
    assert "install kind" in doctor.stdout
    assert "dev-setup" not in up.stderr + doctor.stdout + doctor.stderr


def test_the_end_of_init_names_the_next_command(programs: Path, service: Path) -> None:
    said = wheels.run(programs, "kindloop", "init", "--no-tasks", cwd=service)
    assert said.stdout.splitlines()[-1] == "next: kindloop dev-up"
    assert not (service / "tasks.py").exists()
    again = wheels.run(programs, "kindloop", "init", cwd=service)
    assert again.returncode == 2
    assert "next: kindloop config.check" in again.stderr


def test_bash_completes_tasks_and_flags(programs: Path, begun: Path) -> None:
    script = (
        'eval "$(kindloop --print-completion-script bash)"\n'
        "complete -p kindloop\n"
        "for word in dev-re build.gr config.s; do\n"
        "  COMP_WORDS=(kindloop $word); _complete_kindloop kindloop $word kindloop\n"
        '  echo "${COMPREPLY[*]}"\n'
        "done\n"
        "COMP_WORDS=(kindloop dev-up --rec); _complete_kindloop kindloop --rec dev-up\n"
        'echo "${COMPREPLY[*]}"\n'
    )
    (begun / "try.sh").write_text(script)
    (programs / "bash").unlink(missing_ok=True)
    (programs / "bash").symlink_to(str(shutil.which("bash")))
    said = wheels.run(programs, "bash", "--norc", "try.sh", cwd=begun)
    assert said.stdout.splitlines() == [
        "complete -o default -F _complete_kindloop kindloop",
        "dev-rebuild dev-restart",
        "build.greeter",
        "config.schema config.show",
        "--recreate",
    ], said.stderr


@pytest.mark.parametrize(
    ("shell", "part"),
    [("zsh", "compctl -K _complete_kindloop"), ("fish", "complete --command kindloop ")],
)
def test_there_is_a_script_for_other_shells(
    programs: Path, tmp_path: Path, shell: str, part: str
) -> None:
    said = wheels.run(programs, "kindloop", "--print-completion-script", shell, cwd=tmp_path)
    assert said.returncode == 0
    assert part in said.stdout


def test_a_reader_that_has_seen_enough_is_no_traceback(programs: Path, tmp_path: Path) -> None:
    reading = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reading.wait()
    with subprocess.Popen(
        [programs / "kindloop", "--list"],
        cwd=tmp_path, stdout=reading.stdin, stderr=subprocess.PIPE, text=True,
    ) as listing:  # fmt: skip
        assert reading.stdin
        reading.stdin.close()
        assert listing.stderr
        assert listing.stderr.read() == ""
