"""The tasks: their names, their help, their flags, and that no two are taken for one."""

from __future__ import annotations

import inspect
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invoke import Collection, Context, Exit, Program

from kindloop import report, tools
from kindloop.errors import ConfigError, Interrupted
from kindloop.tasks import collection, dev, steps
from kindloop.tasks._task import DevTask, show, task

NAMES = {
    "dev-setup", "dev-up", "dev-watch", "dev-rebuild", "dev-status", "dev-logs", "dev-restart",
    "dev-stop", "dev-start", "dev-down", "dev-doctor", "dev-list",
    "bake.node", "bake.base", "bake.status", "bake.save", "bake.load",
    "build.all", "build.router", "build.generate", "build.petstore", "build.supervisor",
    "swap.push", "swap.status", "swap.rollback",
    "cluster.ensure", "cluster.status", "cluster.delete",
    "image.build", "image.load", "image.save", "image.prune",
    "config.init", "config.check", "config.schema", "config.show",
    "k8s.diff", "k8s.apply", "k8s.kubectl",
    "observe.open",
    "test-load",
    "test.curl",
}  # fmt: skip
HELP = 60


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A task that is called sets signal handlers and the renderer."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    renderer = report.current()
    yield
    report.use(renderer)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _invoke(*args: str, cwd: Path, **env: str) -> tools.Result:
    return tools.run(sys.executable, "-m", "invoke", *args, cwd=cwd, env=env, check=False)


def _listed(node: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Help by dotted name, from `invoke --list --list-format=json`."""
    found = {f"{prefix}{t['name']}": t["help"] for t in node["tasks"]}
    for inner in node["collections"]:
        found |= _listed(inner, f"{prefix}{inner['name']}.")
    return found


@pytest.fixture(scope="module")
def listed() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return _listed(json.loads(_invoke("--list", "--list-format=json", cwd=root).stdout))


def test_the_names_of_the_tasks_are_a_contract(listed: dict[str, str]) -> None:
    assert set(listed) == NAMES


def test_every_help_is_one_short_sentence(listed: dict[str, str]) -> None:
    for name, text in listed.items():
        assert text, name
        assert text.endswith("."), name
        assert ". " not in text, name
        assert len(text) <= HELP, f"{name}: {len(text)}"
        assert text[0].isupper(), name


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        (
            "dev-up",
            [
                *("--dry-run", "--recreate", "--watch", "--json", "-v, --verbose"),
                *("--observability", "--resources", "--wait"),
            ],
        ),
        ("observe.open", ["--browser", "--json"]),
        ("dev-watch", ["--verify", "--json", "-v, --verbose"]),
        ("dev-status", ["--json", "--wait-fresh", "--timeout", "-v, --verbose"]),
        (
            "dev-logs",
            [
                *("-f, --follow", "--tail", "--workload", "--stage", "--since", "--grep"),
                *("--json", "-v, --verbose"),
            ],
        ),
        ("dev-doctor", ["--bundle", "--force", "--outdated", "--json"]),
        ("dev-rebuild", ["--clean", "--image"]),
        ("dev-down", ["--all", "--name"]),
        ("dev-stop", ["--name"]),
        ("dev-list", ["--json", "-v, --verbose"]),
        ("build.petstore", ["--why", "--force", "--clean", "-v, --verbose"]),
        ("test.curl", ["--only", "--json"]),
    ],
)
def test_help_shows_the_flags(repo: Path, name: str, flags: list[str]) -> None:
    said = _invoke("--help", name, cwd=repo).stdout
    for flag in flags:
        assert flag in said


def _all_tasks() -> list[DevTask[..., Any]]:
    root = collection()
    return [root[name] for name in root.task_names]


@pytest.mark.parametrize("one", _all_tasks(), ids=lambda t: t.body.__name__)
def test_a_task_keeps_signature_and_text_of_its_function(one: DevTask[..., Any]) -> None:
    assert isinstance(one, DevTask)
    parameters = list(inspect.signature(one.body).parameters.values())
    assert parameters[0].name == "c"
    assert [a.name for a in one.get_arguments()] == [p.name for p in parameters[1:]]
    assert {p.kind for p in parameters} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert one.__doc__ == one.body.__doc__


TYPED = """
from invoke.context import Context
from kindloop.tasks._task import task

@task("x")
def x(c: Context, count: int = 1, *, loud: bool = False) -> str:
    \"\"\"Do x.\"\"\"
    return ""

reveal_type(x)
"""


def test_the_wrapper_keeps_the_types(tmp_path: Path, repo: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    said = tools.run(
        sys.executable, "-m", "mypy", "--strict", "--cache-dir", repo / ".mypy_cache",
        "--config-file", repo / "pyproject.toml", tmp_path / "typed.py",
        cwd=repo, timeout_s=300, check=False,
    )  # fmt: skip
    revealed = [line for line in said.stdout.splitlines() if "Revealed type" in line]
    assert len(revealed) == 1, said.stdout
    assert "DevTask[[count: " in revealed[0]
    assert "loud: " in revealed[0]
    assert revealed[0].endswith(', str]"')
    assert " error: " not in said.stdout


# -- identity


def _made_by_a_factory(calls: list[str], text: str) -> DevTask[..., Any]:
    @task("all")
    def body(_c: Context) -> None:
        """Note that it ran."""
        calls.append(text)

    return body


def test_two_tasks_of_one_factory_both_run() -> None:
    calls: list[str] = []
    root = Collection()
    for name in ("one", "two"):
        inner = Collection(name)
        inner.add_task(_made_by_a_factory(calls, name))
        root.add_collection(inner)
    Program(namespace=root).run("invoke one.all two.all", exit=False)
    assert calls == ["one", "two"]


def test_the_same_task_given_twice_runs_once() -> None:
    calls: list[str] = []
    Program(namespace=Collection(_made_by_a_factory(calls, "x"))).run("invoke all all", exit=False)
    assert calls == ["x"]


def test_stages_of_kindloop_yaml_are_tasks_that_differ(repo: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(repo)
    build = collection().collections["build"]
    made = [build.tasks[name] for name in ("router", "generate", "petstore")]
    assert len({hash(t) for t in made}) == 3
    assert len(set(made)) == 3


def test_build_is_the_default_of_its_namespace(repo: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(repo)
    assert collection().collections["build"].default == "all"


# -- errors


def _task_that(raises: BaseException) -> DevTask[..., Any]:
    @task("fails")
    def fails(_c: Context) -> None:
        """Fail."""
        raise raises

    return fails


def test_an_error_of_ours_becomes_its_text_and_exit_code() -> None:
    error = ConfigError("it is wrong", hint="mend it")
    with pytest.raises(Exit) as raised:
        _task_that(error)(Context())
    assert (raised.value.code, raised.value.message) == (2, str(error))


def test_ctrl_c_is_exit_130() -> None:
    with pytest.raises(Exit) as raised:
        _task_that(KeyboardInterrupt())(Context())
    assert raised.value.code == Interrupted.exit_code == 130


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        _task_that(ZeroDivisionError())(Context())


# -- how things are shown


@pytest.mark.parametrize(
    ("variable", "verbose", "verbosity"),
    [("", False, 0), ("0", False, 0), ("1", False, 1), ("", True, 1)],
)
def test_verbosity_is_a_flag_or_a_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, verbose: bool, verbosity: int
) -> None:
    monkeypatch.setenv("KINDLOOP_VERBOSE", variable)
    show(verbose=verbose)
    assert report.current().verbosity == verbosity


def test_with_json_standard_output_is_the_documents_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(json=True)
    with report.step("work"):
        report.line("progress")
    report.data({"schema": 1})
    said = capsys.readouterr()
    assert said.out == '{\n  "schema": 1\n}\n'
    assert "progress" in said.err


def test_kubectl_without_arguments_is_a_mistake(repo: Path) -> None:
    said = _invoke("k8s.kubectl", cwd=repo)
    assert said.exit_code == 2
    assert "invoke k8s.kubectl -- get pods" in said.stderr


# -- a kindloop.yaml with mistakes

BROKEN = "version: 1\nname: UPPER_case\nstages:\n  one: {runs: cargo build}\n"


@pytest.fixture
def broken(tmp_path: Path, repo: Path) -> Path:
    (tmp_path / "tasks.py").write_bytes((repo / "tasks.py").read_bytes())
    (tmp_path / "kindloop.yaml").write_text(BROKEN)
    return tmp_path


def test_the_list_works_with_a_broken_configuration(broken: Path) -> None:
    said = _invoke("--list", cwd=broken)
    assert said.exit_code == 0
    assert "dev-up" in said.stdout
    assert "build.all" in said.stdout
    assert said.stderr == ""


@pytest.mark.parametrize("name", ["dev-status", "dev-up", "build", "cluster.status"])
def test_a_task_then_shows_every_mistake_with_its_line_and_exits_2(broken: Path, name: str) -> None:
    said = _invoke(name, cwd=broken)
    assert said.exit_code == 2
    assert "UPPER_case" in said.stderr
    assert "runs" in said.stderr
    assert "kindloop.yaml:2" in said.stderr
    assert "kindloop.yaml:4" in said.stderr
    assert "Traceback" not in said.stderr
    assert said.stdout == ""


def test_without_a_configuration_the_list_works_and_a_task_says_what_is_missing(
    broken: Path,
) -> None:
    (broken / "kindloop.yaml").unlink()
    assert _invoke("--list", cwd=broken).exit_code == 0
    said = _invoke("dev-status", cwd=broken)
    assert said.exit_code == 2
    assert "kindloop.yaml" in said.stderr
    assert "Traceback" not in said.stderr


def test_tasks_of_the_package_are_all_in_the_collection() -> None:
    ours = [*dev.TASKS, *steps.BAKE, *steps.CLUSTER, *steps.IMAGE, *steps.K8S, *steps.TEST]
    assert {id(t) for t in ours} <= {id(t) for t in _all_tasks()}


def test_the_caller_decides_where_the_configuration_is(broken: Path, tmp_path: Path) -> None:
    """Invoke finds tasks.py upwards; kindloop.yaml is looked for from the same folder."""
    (broken / "deep").mkdir()
    said = _invoke("dev-status", cwd=broken / "deep")
    assert said.exit_code == 2
    assert "UPPER_case" in said.stderr
    assert list((broken / "deep").iterdir()) == []
