"""Which way files go, that a dead mount is told, and that every pod gets what it lacks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from kindloop import cluster, transports
from kindloop.cluster import Environment, Node
from kindloop.config import Config, Image, Swap, Workload
from kindloop.errors import CannotTell, NotOurs, RolloutFailed
from kindloop.swapfiles import Folder, Want
from kindloop.transports import Choice, sending
from kindloop.transports.sending import Answer, answer_of
from kindloop.transports.stream import Packed, frame, pack

BINARY = b"\x7fELF" + bytes(range(256)) * 400
EXEC = Choice("exec", "the test says so")


@pytest.fixture
def config(homes: Path) -> Config:
    return Config(homes / "app" / "kindloop.yaml", name="mine")


@pytest.fixture
def env(config: Config) -> Environment:
    env = cluster.environment(config)
    env.swap.mkdir(parents=True)
    return env


@pytest.fixture
def folder(env: Environment) -> Folder:
    made = Folder(env.swap / "petstore")
    made.ensure()
    return made


@pytest.fixture
def want(folder: Folder, tmp_path: Path) -> Want:
    """A published want with an artifact and a tree."""
    (tmp_path / "pet_store").write_bytes(BINARY)
    (tmp_path / "config.yaml").write_text("port: 8080\n" * 100)
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    placed = folder.place_binary(tmp_path / "pet_store")
    tree = folder.place_tree(
        {"config/é.yaml": tmp_path / "config.yaml", "run.sh": tmp_path / "run.sh"}
    )
    want = Want(7, placed.digest, placed.size, ("--a",), {"A": "é"}, 1, 2, True, tree)
    folder.point(tree)
    folder.publish(want)
    return want


def workload_of(transport: Literal["auto", "mount", "exec"] = "auto") -> Workload:
    return Workload(
        "petstore", Image(Path("/Dockerfile")), Path("/k8s"), swap=Swap("petstore", transport=transport)
    )  # fmt: skip


def received(stream: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Header and files, read as the protocol says and not as the sender is written."""
    source = io.BytesIO(stream)
    length = source.read(8)
    assert re.fullmatch(rb"[0-9a-f]{8}", length)
    assert source.read(1) == b" "
    header = json.loads(source.read(int(length, 16)))
    assert source.read(1) == b"\n"
    files = {}
    for row in header["files"]:
        content = zlib.decompress(source.read(row["compressed"]))
        assert len(content) == row["size"]
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        files[row["path"]] = content
    assert source.read() == b""
    return header, files


def test_a_stream_is_read_back_by_another_reader(tmp_path: Path) -> None:
    want = Want(7, "a" * 64, 9, None, {"A": "é\n"}, 1, 2, False, "b" * 64)
    (tmp_path / "x").write_bytes(BINARY)
    (tmp_path / "empty").touch()
    files = [
        pack(f"bin/{want.digest}", tmp_path / "x", 0o755),
        pack(f"trees/{want.tree}/é b\n", tmp_path / "empty", 0o644),
    ]
    header, contents = received(frame(want, files, ["c" * 64, want.digest]))
    assert contents == {f"bin/{want.digest}": BINARY, f"trees/{want.tree}/é b\n": b""}
    assert [row["mode"] for row in header["files"]] == [493, 420]
    assert header["version"] == 1
    assert header["current"] == want.tree
    assert header["keep"] == sorted([want.digest, "b" * 64, "c" * 64])
    assert Want.from_json(header["want"]) == want


def test_a_stream_of_nothing_is_a_header() -> None:
    want = Want(7, "a" * 64, 9, None, {}, 1, 2, True, None)
    header, contents = received(frame(want, [], []))
    assert (header["files"], contents, header["current"]) == ([], {}, None)
    assert header["keep"] == [want.digest]


def test_what_is_packed_is_smaller(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(BINARY)
    packed = pack("bin/x", tmp_path / "x", 0o755)
    assert isinstance(packed, Packed)
    assert len(packed.data) < len(BINARY) / 2


NOT_FOUND = 'Error from server (NotFound): pods "a" not found'
OLDER = '{"ok":false,"reason":"older: generation 7, and 8 is here"}'
NO_PROGRAM = 'exec failed: exec: "/app/supervisor": stat /app/supervisor: no such file or directory'


@pytest.mark.parametrize(
    ("exit_code", "out", "err", "state", "reason"),
    [
        (0, ['{"ok":true,"bytes":5}'], [], "taken", ""),
        (0, ["a warning", '{"ok":true,"bytes":5}', ""], ["noise"], "taken", ""),
        (1, ['{"ok":false,"reason":"missing bin/ab"}'], ["exit code 1"], "missing", "missing bin/ab"),
        (1, ['{"ok":false,"reason":"sha256 differs"}'], ["exit code 1"], "failed", "sha256 differs"),
        (1, [OLDER], ["exit code 1"], "gone", "older: generation 7, and 8 is here"),
        (1, ['{"ok":false}'], [], "failed", "it does not say why"),
        (1, [], [NOT_FOUND], "gone", NOT_FOUND),
        (1, [], ['error: ... container not found ("a")'], "gone", "container not found"),
        (126, [], [NO_PROGRAM], "failed", "its image has no /app/supervisor that runs"),
        (None, [], [], "failed", "in time"),
        (1, ['{"ok":true}'], [], "unsure", "exit code 1"),
        (0, [], [], "unsure", "no answer, exit code 0"),
        (0, ["5", "[]", "null"], [], "unsure", "no answer, exit code 0"),
        (1, [], ["Unable to connect to the server: EOF"], "unsure", "Unable to connect"),
    ],
)  # fmt: skip
def test_what_an_answer_means(
    exit_code: int | None, out: list[str], err: list[str], state: str, reason: str
) -> None:
    answer = answer_of("a", exit_code, out, err)
    assert (answer.pod, answer.state) == ("a", state)
    assert reason in answer.reason
    assert bool(reason) == bool(answer.reason)


# What the node's `docker exec … cat` does, by a script in front of docker.
READS = 'cat "$SWAP/${5##*/}"'


def docker(fake: Callable[..., Path], env: Environment, cat: str, **facts: str) -> None:
    """A docker whose `exec … cat` is `cat`, and whose node has the mount in `facts`."""
    mounts = [
        {"Destination": "/var/lib/kindloop/swap", "Source": facts.get("source", str(env.swap))}
    ]
    inspected = json.dumps(
        [
            {
                "State": {"Running": True},
                "Config": {"Image": "kindloop/node:v1"},
                "HostConfig": {"PortBindings": {}},
                "Mounts": mounts if facts.get("source") != "none" else [],
            }
        ]
    )
    fake(
        "docker",
        f"""SWAP='{env.swap}'
case "$1 $3" in
  'exec cat') set -- "$@" "$4"; {cat} ;;
  'exec grep') echo '{facts.get("mountinfo", "")}' ;;
  'container '*) echo '{inspected}' ;;
esac""",
    )


def test_a_mount_that_shows_what_was_written_is_alive(
    config: Config, env: Environment, fake: Callable[..., Path]
) -> None:
    docker(fake, env, READS)
    assert transports.mount_problem(config) == ""
    assert list(env.swap.iterdir()) == []


NO_FILE = 'echo "cat: $5: No such file or directory" >&2; exit 1'


@pytest.mark.parametrize(
    ("cat", "facts", "said"),
    [
        (NO_FILE, {"mountinfo": "1 2 8:1 /x//deleted /var/lib/kindloop/swap rw"}, "was deleted"),
        (NO_FILE, {"source": "/moved/swap"}, "mounts /moved/swap, not"),
        (NO_FILE, {"source": "none"}, "has no mount"),
        (NO_FILE, {"mountinfo": "1 2 8:1 /x /var/lib/kindloop/swap rw"}, "another machine"),
        ("echo another nonce", {}, "another machine"),
        ("true", {}, "another machine"),
    ],
)
def test_a_dead_mount_is_told_in_words(
    config: Config,
    env: Environment,
    fake: Callable[..., Path],
    cat: str,
    facts: dict[str, str],
    said: str,
) -> None:
    docker(fake, env, cat, **facts)
    problem = transports.mount_problem(config)
    assert said in problem
    assert env.node in problem
    assert list(env.swap.iterdir()) == []


def test_a_folder_that_is_gone_is_told_without_making_it(config: Config, env: Environment) -> None:
    env.swap.rmdir()
    assert f"{env.swap} is gone" in transports.mount_problem(config)
    assert not env.swap.exists()


def test_a_node_that_cannot_be_asked_is_no_dead_mount(
    config: Config, env: Environment, fake: Callable[..., Path]
) -> None:
    docker(fake, env, 'echo "Error response from daemon: container abc is not running" >&2; exit 1')
    with pytest.raises(CannotTell) as caught:
        transports.mount_problem(config)
    assert "is not running" in str(caught.value)
    assert "invoke dev-start" in caught.value.hint
    assert list(env.swap.iterdir()) == []


def test_only_nonces_of_killed_commands_are_swept(
    config: Config, env: Environment, fake: Callable[..., Path]
) -> None:
    docker(fake, env, READS)
    old, another = env.swap / ".nonce-old", env.swap / ".nonce-of-another-command"
    for path in (old, another):
        path.touch()
    os.utime(old, (1, 1))
    transports.mount_problem(config)
    assert list(env.swap.iterdir()) == [another]


@pytest.mark.parametrize(
    ("transport", "kind", "said"),
    [
        ("auto", "mount", "the node sees this machine's swap folder"),
        ("mount", "mount", "workloads.petstore.swap.transport is mount"),
        ("exec", "exec", "workloads.petstore.swap.transport is exec"),
    ],
)
def test_a_choice_says_why(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    transport: Literal["auto", "mount", "exec"],
    kind: str,
    said: str,
) -> None:
    monkeypatch.setattr(transports, "mount_problem", lambda _config: "")
    choice = transports.choose(config, workload_of(transport))
    assert choice.kind == kind
    assert said in choice.reason


@pytest.mark.parametrize("transport", ["auto", "mount"])
def test_a_dead_mount_is_no_silent_stream(
    config: Config, monkeypatch: pytest.MonkeyPatch, transport: Literal["auto", "mount"]
) -> None:
    monkeypatch.setattr(transports, "mount_problem", lambda _config: "the folder is gone")
    with pytest.raises(NotOurs, match="the folder is gone") as caught:
        transports.choose(config, workload_of(transport))
    assert "invoke dev-up --recreate" in caught.value.hint
    assert "workloads.petstore.swap.transport: exec" in caught.value.hint


def test_a_stream_that_was_asked_for_needs_no_mount(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "mount_problem", lambda _config: "the folder is gone")
    assert transports.choose(config, workload_of("exec")).kind == "exec"


def test_a_workload_without_swap_has_no_transport(config: Config) -> None:
    with pytest.raises(ValueError, match="petstore"):
        transports.choose(config, replace(workload_of(), swap=None))


POD = """
import io, json, os, re, sys, time, zlib
words = sys.argv[1:]
pod = words[words.index("--stdin") + 1]
here = os.path.join(os.environ["PODS"], pod)
open(here + ".calls", "a").write(json.dumps(words) + "\\n")
if pod.startswith("gone"):
    sys.exit(f'Error from server (NotFound): pods "{pod}" not found')
if pod.startswith("hangs"):
    open(here + ".pid", "w").write(str(os.getpid()))
    time.sleep(600)
if pod.startswith("together"):
    # Ends only once the other one is there too.
    open(here + ".here", "w").close()
    while len([n for n in os.listdir(os.environ["PODS"]) if n.endswith(".here")]) < 2:
        time.sleep(0.01)
stream = sys.stdin.buffer.read()
if pod.startswith("broken"):
    print('{"ok":false,"reason":"bin/x: sha256 differs"}')
    sys.exit(1)
header = json.loads(stream[9 : 9 + int(stream[:8], 16)])
has = set(json.loads(open(here).read())) if os.path.exists(here) else set()
has |= {row["path"].split("/")[1] for row in header["files"]}
for digest in (header["want"]["digest"], header["current"]):
    if digest and digest not in has:
        print(json.dumps({"ok": False, "reason": "missing " + digest}))
        sys.exit(1)
open(here + ".stream", "wb").write(stream)
open(here, "w").write(json.dumps(sorted(has & set(header["keep"]))))
if not pod.startswith("mute"):
    print(json.dumps({"ok": True, "bytes": len(stream)}))
"""


@pytest.fixture
def pods(tmp_path: Path, fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl whose pods take streams and remember digests; what they have, by pod."""
    place = tmp_path / "pods"
    place.mkdir()
    script = tmp_path / "pod.py"
    script.write_text(POD)
    monkeypatch.setenv("PODS", str(place))
    fake("kubectl", f"exec '{sys.executable}' -S -E '{script}' \"$@\"")
    return place


def calls(pods: Path, pod: str) -> list[list[str]]:
    return [json.loads(line) for line in (pods / f"{pod}.calls").read_text().splitlines()]


def test_a_pod_gets_all_of_it(config: Config, folder: Folder, want: Want, pods: Path) -> None:
    gone = transports.deliver(config, workload_of(), folder, want, EXEC, ["a"])
    assert gone == ()
    header, contents = received((pods / "a.stream").read_bytes())
    assert contents == {
        f"bin/{want.digest}": BINARY,
        f"trees/{want.tree}/config/é.yaml": b"port: 8080\n" * 100,
        f"trees/{want.tree}/run.sh": b"#!/bin/sh\n",
    }
    assert [row["mode"] for row in header["files"]] == [0o755, 0o644, 0o755]
    assert Want.from_json(header["want"]) == want
    (words,) = calls(pods, "a")
    assert words[:2] == [
        f"--kubeconfig={cluster.environment(config).kubeconfig}",
        "--namespace=mine",
    ]
    assert words[2:] == ["exec", "--stdin", "a", "--", "/app/supervisor", "receive"]


def test_what_a_pod_has_is_not_sent_and_stays(
    config: Config, folder: Folder, want: Want, pods: Path
) -> None:
    good = "9" * 64
    (pods / "a").write_text(json.dumps([want.digest, good, "8" * 64]))
    held = {"a": [want.digest, good]}
    transports.deliver(config, workload_of(), folder, want, EXEC, ["a", "b"], held=held)
    _header, contents = received((pods / "a.stream").read_bytes())
    assert {path.split("/")[0] for path in contents} == {"trees"}
    assert set(json.loads((pods / "a").read_text())) == {want.digest, want.tree, good}
    assert f"bin/{want.digest}" in received((pods / "b.stream").read_bytes())[1]


def test_what_a_pod_says_it_has_and_has_not_is_sent_after_all(
    config: Config, folder: Folder, want: Want, pods: Path
) -> None:
    held = {"a": [want.digest, str(want.tree)]}
    transports.deliver(config, workload_of(), folder, want, EXEC, ["a"], held=held)
    assert len(calls(pods, "a")) == 2
    assert len(received((pods / "a.stream").read_bytes())[1]) == 3


def test_all_pods_take_it_at_the_same_time(
    config: Config, folder: Folder, want: Want, pods: Path
) -> None:
    transports.deliver(config, workload_of(), folder, want, EXEC, ["together-1", "together-2"])
    assert (pods / "together-1.stream").exists()
    assert (pods / "together-2.stream").exists()


def test_pods_that_are_gone_are_named_and_no_failure(
    config: Config, folder: Folder, want: Want, pods: Path
) -> None:
    gone = transports.deliver(config, workload_of(), folder, want, EXEC, ["a", "gone-1", "b"])
    assert gone == ("gone-1",)
    assert (pods / "b.stream").exists()


def test_a_pod_whose_answer_was_lost_is_asked_whether_it_has_it(
    config: Config, folder: Folder, want: Want, pods: Path
) -> None:
    asked: list[str] = []

    def has(pod: str) -> bool:
        asked.append(pod)
        return pod == "mute-1"

    def deliver(*names: str) -> tuple[str, ...]:
        return transports.deliver(config, workload_of(), folder, want, EXEC, names, has=has)

    assert deliver("a", "mute-1") == ()
    assert asked == ["mute-1"]
    with pytest.raises(RolloutFailed) as caught:
        deliver("mute-1", "mute-2")
    assert caught.value.evidence == ("mute-2: no answer, exit code 0",)
    assert "these have it: mute-1" in caught.value.why


def test_a_partial_failure_says_who_has_it(
    config: Config, folder: Folder, want: Want, pods: Path
) -> None:
    with pytest.raises(RolloutFailed, match=r"1 of 4 pods of petstore") as caught:
        transports.deliver(
            config, workload_of(), folder, want, EXEC, ["a", "broken-1", "b", "gone-1"]
        )
    assert "these have it: a, b" in caught.value.why
    assert caught.value.evidence == (
        "broken-1: bin/x: sha256 differs",
        "gone-1: gone meanwhile",
    )
    assert caught.value.hint


def test_a_pod_that_does_not_take_it_in_time_is_told_and_left(
    config: Config,
    folder: Folder,
    want: Want,
    pods: Path,
    pid_in: Callable[[Path], int],
    ends: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transports, "DELIVERY_S", 2.0)
    with pytest.raises(RolloutFailed) as caught:
        transports.deliver(config, workload_of(), folder, want, EXEC, ["hangs"])
    assert caught.value.evidence == ("hangs: it did not take everything in time",)
    ends(pid_in(pods / "hangs.pid"))


def test_ctrl_c_leaves_no_kubectl_and_no_stream(
    config: Config,
    folder: Folder,
    want: Want,
    pods: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pid_in: Callable[[Path], int],
    ends: Callable[[int], None],
) -> None:
    monkeypatch.setattr(transports.tempfile, "tempdir", str(tmp_path / "streams"))
    (tmp_path / "streams").mkdir()
    there = threading.Event()

    def interrupt() -> None:
        pid_in(pods / "hangs.pid")
        there.set()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        transports.deliver(config, workload_of(), folder, want, EXEC, ["hangs"])
    assert there.is_set()
    ends(pid_in(pods / "hangs.pid"))
    assert list((tmp_path / "streams").iterdir()) == []


def test_a_file_goes_through_zlib_once_for_all_pods(
    config: Config, folder: Folder, want: Want, pods: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[str] = []

    def counting(path: str, file: Path, mode: int) -> Packed:
        packed.append(path)
        return pack(path, file, mode)

    monkeypatch.setattr(sending, "pack", counting)
    held = {"a": ["9" * 64], "b": ["8" * 64], "c": [want.digest]}
    transports.deliver(config, workload_of(), folder, want, EXEC, ["a", "b", "c"], held=held)
    assert sorted(packed) == sorted(set(packed))
    assert len(packed) == 3


@pytest.mark.parametrize(
    ("choice", "names"),
    [(Choice("mount", "it works"), ["a"]), (EXEC, [])],
    ids=["mount", "no pods"],
)
def test_nothing_is_sent_where_nothing_is_to_send(
    config: Config, folder: Folder, want: Want, pods: Path, choice: Choice, names: list[str]
) -> None:
    assert transports.deliver(config, workload_of(), folder, want, choice, names) == ()
    assert list(pods.iterdir()) == []


def test_a_diagnosis_without_a_node_is_that_of_a_missing_mount(env: Environment) -> None:
    assert "has no mount" in transports._diagnosis(env, None, "")
    node = Node(running=True, image="", ports={}, swap=str(env.swap))
    assert "another machine" in transports._diagnosis(env, node, "")


def test_an_answer_needs_no_reason() -> None:
    assert Answer("a", "taken").reason == ""
