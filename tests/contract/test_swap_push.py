"""A push among real processes: killed at any moment, read while it writes, streamed into pods."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kindloop import apiserver, supervised, swap, swapfiles
from kindloop.apiserver import Answer
from kindloop.config import App, Config, Image, Swap, SyncedFiles, Workload
from kindloop.errors import RolloutFailed
from kindloop.swap import Desk
from kindloop.swapfiles import Folder, Want

SIZE = 300_000
"""Bytes of an artifact: several writes, and a stream that no pipe takes in one piece."""


@pytest.fixture
def config(homes: Path) -> Config:
    root = homes / "checkout"
    (root / "conf").mkdir(parents=True)
    save(root, "A")
    made = Config(root / "kindloop.yaml", name="mine", app=App(root))
    streamed = Swap("web", transport="exec")
    sync = (SyncedFiles("conf", "conf"),)
    web = Workload("web", Image(root / "Dockerfile"), root / "k8s", swap=streamed, sync=sync)
    swapfiles.folder_of(made, web).path.parent.mkdir(parents=True)
    return replace(made, workloads={"web": web})


@pytest.fixture
def web(config: Config) -> Workload:
    return config.workloads["web"]


@pytest.fixture
def folder(config: Config, web: Workload) -> Folder:
    return swapfiles.folder_of(config, web)


def save(root: Path, letter: str) -> None:
    """A save of binary and settings that belong together."""
    (root / "web").write_bytes(b"\x7fELF" + letter.encode() * SIZE)
    (root / "conf/a.yaml").write_text(letter * 10)


def push(config: Config) -> Want:
    return Desk(config).push(config.workloads["web"], config.app.root / "web").want


def whole(folder: Folder, want: Want | None) -> bool:
    """Whether everything that is published is there, and belongs together."""
    assert want is not None
    binary = (folder.bin / want.digest).read_bytes()
    settings = (folder.trees / str(want.tree) / "conf/a.yaml").read_bytes()
    return hashlib.sha256(binary).hexdigest() == want.digest and settings[:1] == binary[4:5]


# Ends itself without a word right before the call whose name it is given.
KILLED = """
import os, signal, sys
from pathlib import Path
from kindloop.config import App, Config, Image, Swap, SyncedFiles, Workload
from kindloop.swap import Desk
from kindloop import state, swapfiles
from kindloop.swapfiles import Folder, placing
root, moment = Path(sys.argv[1]), sys.argv[2]
def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)
place, name = {
    "the copy is digested": (placing.hashlib, "file_digest"),
    "the binary has its name": (Path, "rename"),
    "the files are copied": (swapfiles, "copy_synced"),
    "the files are pointed to": (Folder, "point"),
    "it is published": (Folder, "publish"),
    "want.json has its name": (Path, "replace"),
    "it is remembered": (Folder, "_remember"),
}[moment]
setattr(place, name, die)
config = Config(root / "kindloop.yaml", name="mine", app=App(root))
web = Workload("web", Image(root / "Dockerfile"), root / "k8s", swap=Swap("web"),
               sync=(SyncedFiles("conf", "conf"),))
Desk(config).push(web, root / "web")
"""
MOMENTS = [
    "the copy is digested", "the binary has its name", "the files are copied",
    "the files are pointed to", "it is published", "want.json has its name", "it is remembered",
]  # fmt: skip


def killed_push(config: Config, moment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(config.app.root), moment],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_push_that_is_killed_leaves_the_old_or_the_new_and_the_next_one_ends_it(
    config: Config, folder: Folder, moment: str
) -> None:
    old = push(config)
    save(config.app.root, "B")
    killed_push(config, moment)
    left = folder.want()
    assert whole(folder, left)
    assert (left == old) is (moment != "it is remembered")
    new = push(config)
    assert new.digest != old.digest
    assert new.generation > old.generation
    assert whole(folder, new)
    assert folder.want() == new
    assert (folder.path / "current").readlink().name == new.tree
    assert [one.digest for one in folder.history()] == [new.digest, old.digest]
    temporary = list(folder.path.rglob(".*"))
    assert temporary == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_edit_that_is_taken_back_after_a_killed_push_leaves_what_was_published(
    config: Config, folder: Folder, moment: str
) -> None:
    old = push(config)
    save(config.app.root, "B")
    killed_push(config, moment)
    save(config.app.root, "A")
    new = push(config)
    assert (new == old) is (moment != "it is remembered")
    assert (new.digest, new.tree) == (old.digest, old.tree)
    assert (folder.path / "current").readlink().name == old.tree


# Reads as a supervisor does, until there is a file `stop`; says what it saw, and what was wrong.
READER = """
import hashlib, json, sys
from pathlib import Path
here, seen, wrong = Path(sys.argv[1]), set(), []
print("reads", flush=True)
while True:
    last = (here.parent / "stop").exists()
    try:
        want = json.loads((here / "want.json").read_text())
        content = (here / "bin" / want["digest"]).read_bytes()
        settings = (here / "trees" / want["tree"] / "conf/a.yaml").read_bytes()
        if hashlib.sha256(content).hexdigest() != want["digest"]:
            wrong.append("another content")
        if settings[:1] != content[4:5]:
            wrong.append("settings of another save")
        (here / "current" / "conf/a.yaml").read_bytes()
        seen.add(want["generation"])
    except (OSError, ValueError) as exc:
        wrong.append(repr(exc))
    if last:
        break
print(json.dumps([len(seen), wrong[:3]]))
"""


def test_who_reads_meanwhile_sees_whole_swaps_only(config: Config, folder: Folder) -> None:
    push(config)
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(folder.path)], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reads\n"
        for turn in range(40):
            save(config.app.root, "AB"[turn % 2])
            assert whole(folder, push(config))
        (folder.path.parent / "stop").touch()
        seen, wrong = json.loads(reader.stdout.read())
    assert wrong == []
    assert seen > 1


# -- streamed into pods

# What `kubectl exec … receive` does, with a folder for each pod; a new one of `leaving` is gone.
RECEIVER = """
import io, json, os, sys, zlib
from pathlib import Path
words = sys.argv[1:]
pod = words[words.index("--stdin") + 1]
here = Path(os.environ["PODS"], pod)
with (here.parent / "calls").open("a") as calls:
    calls.write(pod + "\\n")
if pod.startswith("leaving"):
    sys.exit(f'Error from server (NotFound): pods "{pod}" not found')
if pod.startswith("full"):
    print('{"ok": false, "reason": "no space left on device"}')
    sys.exit(1)
stream = sys.stdin.buffer
header = json.loads(stream.read(int(stream.read(9), 16) + 1))
for row in header["files"]:
    path = here / row["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.decompress(stream.read(row["compressed"])))
missing = [n for n in (f"bin/{header['want']['digest']}", f"trees/{header['current']}")
           if not (here / n).exists()]
if missing:
    print(json.dumps({"ok": False, "reason": "missing " + missing[0]}))
    sys.exit(1)
(here / "got").write_text(json.dumps([row["path"].split("/")[0] for row in header["files"]]))
(here / "want.json").write_text(json.dumps(header["want"]))
print(json.dumps({"ok": True, "bytes": 1}))
"""


class Pods:
    """An API server whose pods are folders: what a supervisor there says is what was received."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.names: list[str] = []

    def start(self, *names: str) -> None:
        self.names = list(names)
        for name in names:
            (self.place / name).mkdir(exist_ok=True)

    def got(self, name: str) -> list[str]:
        """Which kinds of files came with the last stream."""
        return list(json.loads((self.place / name / "got").read_text()))

    def calls(self) -> list[str]:
        path = self.place / "calls"
        return path.read_text().split() if path.exists() else []

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def json(self, path: str, timeout_s: float = 5.0, *, or_none: bool = False) -> Any:
        if "/deployments/" in path:
            if "leaving-1" in self.names and "leaving-1" in self.calls():
                self.start("web-2")  # what took its place
            return {"spec": {"replicas": 1}, "status": {"selector": "app=web"}}
        return {"items": [{"metadata": {"name": n, "uid": n}} for n in self.names]}

    def get(self, path: str, timeout_s: float = 5.0) -> Answer:
        pod = urlsplit(path).path.split("/pods/")[1].split(":")[0]
        want = Folder(self.place / pod).want()
        said: dict[str, Any] = {"version": 1, "revision": 1, "state": "waiting"}
        if want:
            this = {"generation": want.generation, "digest": want.digest}
            result = {"generation": want.generation, "result": "fresh"}
            said |= {"state": "running", "ready": True, "wanted": this, "running": this,
                     "outcome": result, "tree": want.tree}  # fmt: skip
        return Answer(200, json.dumps(said).encode())


@pytest.fixture
def pods(tmp_path: Path, fake: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Pods:
    place, script = tmp_path / "pods", tmp_path / "receiver.py"
    place.mkdir()
    script.write_text(RECEIVER)
    monkeypatch.setenv("PODS", str(place))
    fake("kubectl", f"exec '{sys.executable}' -S -E '{script}' \"$@\"")
    made = Pods(place)
    monkeypatch.setattr(apiserver, "connect", lambda _config: made)
    monkeypatch.setattr(supervised, "LOOK_S", 0.01)
    monkeypatch.setattr(swap, "LOOK_S", 0.1)
    return made


def test_every_pod_is_streamed_what_it_lacks_and_no_more(
    config: Config, web: Workload, pods: Pods
) -> None:
    pods.start("web-1", "web-2")
    with Desk(config) as desk:
        want = desk.push(web, config.app.root / "web").want
        assert desk.settle(web, want, 60).state == "fresh"
        assert [pods.got(name) for name in ("web-1", "web-2")] == [["bin", "trees"]] * 2
        assert whole(Folder(pods.place / "web-2"), want)
        assert desk.settle(web, want, 60).state == "fresh"
        assert sorted(pods.calls()) == ["web-1", "web-2"]

        (config.app.root / "conf/a.yaml").write_text("A new one")
        want = desk.push(web, config.app.root / "web").want
        assert desk.settle(web, want, 60).state == "fresh"
        assert [pods.got(name) for name in ("web-1", "web-2")] == [["trees"]] * 2


def test_a_pod_that_is_made_anew_gets_all_of_it(config: Config, web: Workload, pods: Pods) -> None:
    pods.start("web-1")
    with Desk(config) as desk:
        want = desk.push(web, config.app.root / "web").want
        desk.settle(web, want, 60)
        pods.start("web-2")
        assert desk.settle(web, want, 60).state == "fresh"
    assert pods.got("web-2") == ["bin", "trees"]
    assert whole(Folder(pods.place / "web-2"), want)


def test_what_takes_the_place_of_a_pod_that_goes_in_mid_delivery_is_served(
    config: Config, web: Workload, pods: Pods
) -> None:
    pods.start("leaving-1")
    with Desk(config) as desk:
        want = desk.push(web, config.app.root / "web").want
        verdict = desk.settle(web, want, 60)
    assert (verdict.state, [one.pod for one in verdict.pods]) == ("fresh", ["web-2"])
    assert pods.calls() == ["leaving-1", "web-2"]
    assert whole(Folder(pods.place / "web-2"), want)


def test_a_pod_that_refuses_is_told_by_its_own_words(
    config: Config, web: Workload, pods: Pods
) -> None:
    pods.start("full-1", "web-1")
    with Desk(config) as desk:
        want = desk.push(web, config.app.root / "web").want
        with pytest.raises(RolloutFailed) as raised:
            desk.settle(web, want, 60)
    assert raised.value.evidence == ("full-1: no space left on device",)
    assert whole(Folder(pods.place / "web-1"), want)
