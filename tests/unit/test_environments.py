"""dev-list, and stop and delete by name: the decisions, and a docker and a kind that are scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from kindloop import apiserver, environments, state, tools
from kindloop.clusterfacts import Environment, Node, Owner
from kindloop.environments import Listed
from kindloop.errors import ConfigError, Locked, NotOurs
from kindloop.kindconfig import SWAP_IN_NODE

HERE = Owner("mine", "/home/me/shop", "ready", created_s=1000.0)
NODE = Node(running=True, image="node", ports={30080: 8180}, swap="/state/mine/swap")
DOCKER = """
echo "docker $*" >> "$LOG"
case "$1 $2" in
"container inspect") cat "$NODES/$3" 2>/dev/null || { echo "Error: No such container: $3" >&2; exit 1; } ;;
"version --format") echo '{"Version": "28.0.0", "Os": "linux", "Arch": "amd64"}' ;;
"stats --no-stream") printf 'mine-control-plane\\t512MiB / 8GiB\\n' ;;
esac
"""

Fake = Callable[..., Path]


@pytest.fixture
def machine(homes: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no environment; what docker and kind were told is in the file `log`."""
    monkeypatch.setenv("LOG", str(homes / "log"))
    monkeypatch.setenv("NODES", str(homes / "nodes"))
    (homes / "nodes").mkdir()
    (homes / "log").touch()
    fake("docker", DOCKER)
    fake("kind", 'echo "kind $*" >> "$LOG"')
    return homes


def made(
    machine: Path, name: str, *, checkout: Path, running: bool = True, swap: str = "", node: bool = True
) -> Environment:  # fmt: skip
    """An environment as the files of this machine and its docker have it."""
    env = Environment(name)
    env.swap.mkdir(parents=True)
    owner = {"name": name, "checkout": str(checkout), "status": "ready", "created_s": 1000.0}
    state.write_json(env.owner_file, owner)
    document = {
        "State": {"Running": running},
        "Config": {"Image": "node"},
        "HostConfig": {"PortBindings": {"30080/tcp": [{"HostPort": "8180"}]}},
        "Mounts": [{"Destination": SWAP_IN_NODE, "Source": swap or str(env.swap)}],
    }
    if node:
        (machine / "nodes" / env.node).write_text(json.dumps([document]))
    return env


def told(machine: Path, word: str) -> list[str]:
    """The lines of the log that begin with `word`."""
    return [one for one in (machine / "log").read_text().splitlines() if one.startswith(word)]


# -- what is known


@pytest.mark.parametrize(
    ("owner", "node", "ours", "busy", "answers", "word"),
    [
        (HERE, NODE, True, False, True, "running"),
        (HERE, NODE, True, False, False, "no answer"),
        (HERE, Node(False, "node", {}, ""), True, False, False, "stopped"),
        (HERE, None, True, False, False, "gone"),
        (HERE, NODE, False, False, False, "not ours"),
        (None, NODE, False, False, False, "not ours"),
        (None, NODE, True, False, True, "record lost"),
        (Owner("mine", "/x", "creating"), NODE, True, False, False, "half-created"),
        (Owner("mine", "/x", "creating"), None, True, False, False, "half-created"),
        (Owner("mine", "/x", "creating"), NODE, True, True, False, "creating"),
    ],
)  # fmt: skip
def test_the_word_for_it(
    owner: Owner | None, node: Node | None, ours: bool, busy: bool, answers: bool, word: str
) -> None:
    found = environments.state_of(owner, node, ours=ours, busy=busy, answers=answers)
    assert found == word


def test_figures_of_docker_become_mib() -> None:
    text = "a-control-plane\t533.7MiB / 23.5GiB\nb\t1.5GiB / 2GiB\nc\t0B / 0B\nd\t--\n"
    assert environments.parse_memory(text) == {"a-control-plane": 534, "b": 1536, "c": 0}


def test_a_pod_belongs_to_the_longest_name_that_fits() -> None:
    workloads = ["web", "web-api"]
    assert environments.workload_of("web-api-5d8f-x2", workloads) == "web-api"
    assert environments.workload_of("web-5d8f-x2", workloads) == "web"
    assert environments.workload_of("other-1", workloads) == "other-1"


def test_the_table_has_a_line_for_each() -> None:
    found = [
        Listed(
            "mine", "running", "/home/me/shop", checkout_exists=True, created_s=1000.0,
            ports={"petstore": 8180, "grafana": 3100}, memory_mib=512, watched=True,
            serves={"shop": "ab" * 32},
        ),
        Listed("old", "stopped", "/gone", busy="process 7: invoke dev-up"),
        Listed("lost", "record lost"),
    ]  # fmt: skip
    text = environments.table(found, 1000.0 + 7300).splitlines()
    assert [line.split("  ")[0] for line in text] == ["name", "mine", "old", "lost"]
    assert text[1].split() == [
        "mine", "running", "2", "h", "512", "MiB", "8180", "(+100)", "yes", "shop", "abababab",
        "/home/me/shop",
    ]  # fmt: skip
    assert "stopped, process 7: invoke dev-up" in text[2]
    assert text[2].endswith("/gone (gone)")


def test_an_age_has_one_unit() -> None:
    one = Listed("a", "gone", created_s=1.0)
    texts = [environments.table([one], 1.0 + seconds) for seconds in (5, 130, 90_000)]
    assert all(
        f"  {age}  " in text for age, text in zip(("5 s", "2 min", "1 d"), texts, strict=True)
    )


def test_without_any_it_says_how_to_begin() -> None:
    assert environments.table([], 0.0) == "no environments; next: invoke dev-up"


def test_a_deleted_swap_folder_leaves_nothing_to_be_served(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answers:
        def __init__(self, _kubeconfig: Path) -> None: ...
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...
        def json(self, *_: object) -> dict[str, list[str]]:
            return {"items": []}

    env = made(machine, "mine", checkout=tmp_path)
    monkeypatch.setattr(apiserver, "Api", Answers)
    env.swap.rmdir()
    (found,) = environments.look()
    assert (found.state, found.serves) == ("running", {})


def test_looking_finds_each_state(machine: Path, tmp_path: Path) -> None:
    made(machine, "mine", checkout=tmp_path)
    made(machine, "off", checkout=tmp_path, running=False)
    made(machine, "other", checkout=tmp_path, swap="/somewhere/else")
    made(machine, "away", checkout=tmp_path / "removed", node=False)
    Environment("lost").swap.mkdir(parents=True)
    with state.lock(Environment("mine").watch_lock, "the watch"):
        found = {one.name: one for one in environments.look()}
    assert {name: one.state for name, one in found.items()} == {
        "mine": "no answer", "off": "stopped", "other": "not ours", "away": "gone",
        "lost": "record lost",
    }  # fmt: skip
    assert (found["mine"].memory_mib, found["mine"].watched) == (512, True)
    assert found["mine"].ports == {"petstore": 8180}
    assert found["other"].ports == {}
    assert (found["mine"].checkout_exists, found["away"].checkout_exists) == (True, False)
    assert [found[name].watched for name in ("off", "other")] == [False, False]


def test_the_holder_of_a_lock_is_told_while_it_has_it(homes: Path) -> None:
    path = homes / "x.lock"
    assert state.holder(path) == ""
    with state.lock(path, "x"):
        assert state.holder(path).startswith("process ")
    assert state.holder(path) == ""
    path.write_text('{"pid": 1, "command": "killed"}')
    assert state.holder(path) == ""


# -- by name


def test_stopping_stops_that_node_alone(machine: Path, tmp_path: Path) -> None:
    env = made(machine, "mine", checkout=tmp_path)
    made(machine, "other", checkout=tmp_path)
    environments.stop("mine")
    assert told(machine, "docker stop") == [f"docker stop {env.node}"]
    assert env.home.is_dir()


def test_what_is_stopped_stays_so(machine: Path, tmp_path: Path) -> None:
    made(machine, "mine", checkout=tmp_path, running=False)
    environments.stop("mine")
    assert told(machine, "docker stop") == []


@pytest.mark.parametrize("node", [True, False])
def test_deleting_takes_cluster_and_folder(machine: Path, tmp_path: Path, node: bool) -> None:
    env = made(machine, "mine", checkout=tmp_path / "removed", node=node)
    other = made(machine, "other", checkout=tmp_path)
    environments.delete("mine")
    assert told(machine, "kind") == [
        f"kind delete cluster --name mine --kubeconfig {env.kubeconfig}"
    ]
    assert not env.home.exists()
    assert other.owner_file.exists()


@pytest.mark.parametrize("act", [environments.stop, environments.delete])
@pytest.mark.parametrize("name", ["nobody", "../state-home", "", ".", "mine/swap"])
def test_a_name_that_is_none_is_refused(
    machine: Path, tmp_path: Path, act: Callable[[str], None], name: str
) -> None:
    env = made(machine, "mine", checkout=tmp_path)
    with pytest.raises(ConfigError) as failed:
        act(name)
    assert failed.value.exit_code == 2
    assert failed.value.message == f"there is no environment {name}"
    assert failed.value.evidence == ("mine",)
    assert env.owner_file.exists()


@pytest.mark.parametrize("act", [environments.stop, environments.delete])
def test_another_cluster_of_the_name_is_never_touched(
    machine: Path, tmp_path: Path, act: Callable[[str], None]
) -> None:
    env = made(machine, "mine", checkout=tmp_path, swap="/somewhere/else")
    with pytest.raises(NotOurs) as failed:
        act("mine")
    assert failed.value.exit_code == 9
    assert failed.value.message == "the kind cluster mine is not the one that kindloop made"
    assert told(machine, "kind") + told(machine, "docker stop") == []
    assert env.owner_file.exists()


@pytest.mark.parametrize("act", [environments.stop, environments.delete])
@pytest.mark.parametrize("held", ["lock_file", "watch_lock"])
def test_one_that_is_worked_on_is_refused(
    machine: Path, tmp_path: Path, act: Callable[[str], None], held: str
) -> None:
    env = made(machine, "mine", checkout=tmp_path)
    with state.lock(getattr(env, held), "it"), pytest.raises(Locked) as failed:
        act("mine")
    assert failed.value.exit_code == 8
    assert "is in use by process" in failed.value.message
    assert told(machine, "kind") + told(machine, "docker stop") == []


# -- all of them


def test_deleting_all_takes_each(machine: Path, tmp_path: Path, shown: Any) -> None:
    mine, other = (made(machine, name, checkout=tmp_path / name) for name in ("mine", "other"))
    environments.delete_all()
    assert not mine.home.exists()
    assert not other.home.exists()
    assert shown.texts("output") == ["deleted: mine, other"]
    environments.delete_all()
    assert shown.texts("output")[1:] == ["deleted: nothing"]


@pytest.mark.parametrize("held", ["lock_file", "watch_lock"])
def test_deleting_all_leaves_what_is_worked_on(
    machine: Path, tmp_path: Path, shown: Any, held: str
) -> None:
    first, free, last = (made(machine, name, checkout=tmp_path) for name in ("a", "b", "c"))
    with (
        state.lock(getattr(first, held), "a of it"),
        state.lock(getattr(last, held), "c of it"),
        pytest.raises(Locked) as failed,
    ):
        environments.delete_all()
    assert failed.value.exit_code == 8
    what = "environment" if held == "lock_file" else "the watch of"
    messages = [failed.value.message, *failed.value.evidence]
    said = [one.partition(" is in use by process ")[0] for one in messages]
    assert said == [f"{what} a", f"{what} c"]
    assert shown.texts("output") == ["deleted: b"]
    assert told(machine, "kind") == [f"kind delete cluster --name b --kubeconfig {free.kubeconfig}"]
    assert first.owner_file.exists()
    assert last.owner_file.exists()


def test_deleting_all_leaves_what_is_not_ours(machine: Path, tmp_path: Path, shown: Any) -> None:
    made(machine, "mine", checkout=tmp_path)
    other = made(machine, "other", checkout=tmp_path, swap="/somewhere/else")
    environments.delete_all()
    assert shown.texts("output") == ["deleted: mine"]
    assert shown.texts("warning") == [
        "the kind cluster other is not the one that kindloop made: left alone"
    ]
    assert other.owner_file.exists()


# -- the tasks, in a folder without kindloop.yaml


def run(*words: str, cwd: Path) -> tools.Result:
    return tools.run(sys.executable, "-m", "kindloop", *words, cwd=cwd, check=False)


def test_the_tasks_need_no_project(machine: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    env = made(machine, "mine", checkout=tmp_path, running=False)
    said = run("dev-stop", "mine", cwd=empty)
    assert said.ok, said.stderr
    assert said.stdout == "mine is not running\n"
    assert run("dev-down", "mine", cwd=empty).ok
    assert not env.home.exists()
    again = run("dev-down", "mine", cwd=empty)
    assert again.exit_code == 2
    assert "next: kindloop dev-list" in again.stderr


def test_without_an_engine_the_list_cannot_be_made(homes: Path, fake: Fake) -> None:
    fake("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    said = run("dev-list", cwd=homes)
    assert said.exit_code == 7
    assert "Traceback" not in said.stderr


def test_a_name_and_all_are_refused(machine: Path, tmp_path: Path) -> None:
    env = made(machine, "mine", checkout=tmp_path)
    said = run("dev-down", "mine", "--all", cwd=tmp_path)
    assert said.exit_code == 2
    assert env.owner_file.exists()
