"""A swap as the host does it: what is published when, who gets it, what stays, how it is told."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from kindloop import apiserver, rollout, supervised, swap, swapfiles, swapplan, transports
from kindloop.apiserver import Answer
from kindloop.config import App, Config, Image, Swap, SyncedFiles, Workload
from kindloop.errors import (
    BuildFailed,
    CannotTell,
    ConfigError,
    KindloopError,
    NotOurs,
    RolloutFailed,
    Stale,
    Unhealthy,
)
from kindloop.supervised import Report, Verdict
from kindloop.swap import Desk, Pushed
from kindloop.swapfiles import Folder, Placed, Want
from kindloop.transports import Choice

A, B, TREE, OTHER = "a" * 64, "b" * 64, "c" * 64, "d" * 64
HOUR_S = 3600.0
"""A test that waits for its deadline would never end."""
SYNC = (SyncedFiles("conf", "conf"), SyncedFiles("pages", "doc", on_change="none"))


@pytest.fixture
def config(homes: Path) -> Config:
    """A workload `web` with a binary, settings that are read at its start, and pages."""
    root = homes / "checkout"
    for name, text in {
        "web": "\x7fELF one", "conf/a.yaml": "a", "conf/deep/b.yaml": "b", "pages/i.html": "i",
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    made = Config(root / "kindloop.yaml", name="mine", app=App(root))
    workload = Workload(
        "web", Image(root / "Dockerfile"), root / "k8s", swap=Swap("web"), sync=SYNC
    )
    swapfiles.folder_of(made, workload).path.parent.mkdir(parents=True)
    return replace(made, workloads={"web": workload})


@pytest.fixture
def workload(config: Config) -> Workload:
    return config.workloads["web"]


@pytest.fixture
def folder(config: Config, workload: Workload) -> Folder:
    return swapfiles.folder_of(config, workload)


@pytest.fixture
def desk(config: Config) -> Desk:
    return Desk(config)


@pytest.fixture
def push(desk: Desk, workload: Workload) -> Callable[..., Pushed]:
    """Push the artifact, after a change of the workload's swap if one is given."""

    def make(*, again: bool = False, **changed: Any) -> Pushed:
        assert workload.swap
        now = replace(workload, swap=replace(workload.swap, **changed))
        return desk.push(now, desk.config.app.root / "web", again=again)

    return make


def edit(desk: Desk, name: str, text: str = "changed") -> None:
    path = desk.config.app.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def points_to(folder: Folder) -> str:
    return (folder.path / "current").readlink().name


def stamp(folder: Folder) -> tuple[int, int]:
    """Another one when want.json was written since."""
    status = (folder.path / "want.json").stat()
    return status.st_ino, status.st_mtime_ns


# -- what differs

WANT = Want(7, A, 100, None, {}, 2000, 5000, rollback=True, tree=TREE)
WEB = Workload("web", Image(Path("/Dockerfile")), Path("/k8s"), swap=Swap("web"))


@pytest.mark.parametrize(
    ("changed", "restart", "words"),
    [
        ({}, False, ()),
        ({}, True, ()),
        ({"generation": 9, "size": 7}, True, ()),
        ({"digest": B}, False, ("binary",)),
        ({"args": ("--x",)}, False, ("args",)),
        ({"args": ()}, False, ("args",)),
        ({"env": {"RUST_LOG": "debug"}}, False, ("env",)),
        ({"grace_ms": 1}, False, ("settings",)),
        ({"probation_ms": 1}, False, ("settings",)),
        ({"rollback": False}, False, ("settings",)),
        ({"tree": OTHER}, True, ("files",)),
        ({"tree": None}, True, ("files",)),
        ({"tree": OTHER}, False, ("files in place",)),
        (
            {"tree": OTHER, "digest": B, "env": {"A": ""}, "args": ("x",), "grace_ms": 1},
            False,
            ("binary", "args", "env", "settings", "files in place"),
        ),
    ],
)
def test_what_differs_is_told_in_words(
    changed: dict[str, Any], restart: bool, words: tuple[str, ...]
) -> None:
    current = replace(WANT, **changed)
    assert swap.changes(current, WEB, Placed(A, 100), TREE, restart=restart) == words


def test_all_of_the_first_one_is_new() -> None:
    assert swap.changes(None, WEB, Placed(A, 100), TREE, restart=False) == ("binary",)
    without = replace(WEB, swap=None)
    assert swap.changes(None, without, Placed(A, 100), TREE, restart=True) == ()


# -- push


def test_the_first_push_publishes_everything(
    push: Callable[..., Pushed], folder: Folder, desk: Desk
) -> None:
    pushed = push(args=("--x",), env={"RUST_LOG": "info"}, grace_ms=1, rollback=False)
    want = pushed.want
    assert (pushed.workload, pushed.changed) == ("web", ("binary",))
    assert folder.want() == want
    assert (want.args, dict(want.env)) == (("--x",), {"RUST_LOG": "info"})
    assert (want.grace_ms, want.probation_ms, want.rollback) == (1, 5000, False)
    assert (folder.bin / want.digest).read_text() == "\x7fELF one"
    assert want.size == len("\x7fELF one")
    assert points_to(folder) == want.tree
    assert (folder.path / "current/conf/deep/b.yaml").read_text() == "b"
    assert (folder.path / "current/doc/i.html").read_text() == "i"
    assert desk.remade == {"web"}


def test_nothing_is_published_when_nothing_changed(
    push: Callable[..., Pushed], folder: Folder
) -> None:
    first, before = push(), stamp(folder)
    second = push()
    assert (second.want, second.changed) == (first.want, ())
    assert stamp(folder) == before


def test_again_publishes_the_same_as_something_new(
    push: Callable[..., Pushed], folder: Folder
) -> None:
    first = push()
    second = push(again=True)
    assert second.changed == ()
    assert second.want.generation > first.want.generation
    assert folder.want() == second.want == replace(first.want, generation=second.want.generation)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"args": ("--x",)}, ("args",)),
        ({"env": {"RUST_LOG": "debug"}}, ("env",)),
        ({"grace_ms": 1}, ("settings",)),
        ({"probation_ms": 100}, ("settings",)),
        ({"rollback": False}, ("settings",)),
    ],
)
def test_changed_settings_are_published_as_something_new(
    push: Callable[..., Pushed], folder: Folder, changed: dict[str, Any], words: tuple[str, ...]
) -> None:
    first = push()
    second = push(**changed)
    assert second.changed == words
    assert second.want.generation > first.want.generation
    assert folder.want() == second.want
    assert {name: getattr(second.want, name) for name in changed} == changed


EDITS: dict[str, Callable[[Path], object]] = {
    "a file": lambda root: (root / "conf/a.yaml").write_text("A"),
    "a file in a folder": lambda root: (root / "conf/deep/b.yaml").write_text("B"),
    "a new file": lambda root: (root / "conf/c.yaml").write_text("c"),
    "a file that is gone": lambda root: (root / "conf/a.yaml").unlink(),
    "another name": lambda root: (root / "conf/a.yaml").rename(root / "conf/z.yaml"),
    "whether it is executable": lambda root: (root / "conf/a.yaml").chmod(0o755),
}


@pytest.mark.parametrize("change", EDITS)
def test_files_that_ask_for_a_restart_are_something_new(
    push: Callable[..., Pushed], folder: Folder, desk: Desk, change: str
) -> None:
    first = push()
    EDITS[change](desk.config.app.root)
    edit(desk, "pages/i.html")  # beside one that does not ask for it
    second = push()
    assert second.changed == ("files",)
    assert second.want.generation > first.want.generation
    assert points_to(folder) == second.want.tree != first.want.tree


def test_a_restart_is_asked_for_by_a_file_as_by_a_folder(desk: Desk, workload: Workload) -> None:
    files = (SyncedFiles("conf/a.yaml", "a.yaml"), SyncedFiles("pages", "doc", on_change="none"))
    single, web = replace(workload, sync=files), desk.config.app.root / "web"
    desk.push(single, web)
    edit(desk, "pages/i.html")
    assert desk.push(single, web).changed == ("files in place",)
    edit(desk, "conf/a.yaml")
    assert desk.push(single, web).changed == ("files",)


def test_files_that_need_no_restart_change_under_the_same_generation(
    push: Callable[..., Pushed], folder: Folder, desk: Desk
) -> None:
    first = push()
    edit(desk, "pages/i.html")
    second = push()
    assert second.changed == ("files in place",)
    assert folder.want() == second.want == replace(first.want, tree=second.want.tree)
    assert points_to(folder) == second.want.tree != first.want.tree
    assert (folder.path / "current/doc/i.html").read_text() == "changed"
    assert push().changed == ()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"again": True}, ("files in place",)),
        ({"env": {"A": "b"}}, ("env", "files in place")),
    ],
)
def test_files_in_place_beside_something_new_are_part_of_it(
    push: Callable[..., Pushed], desk: Desk, more: dict[str, Any], words: tuple[str, ...]
) -> None:
    first = push()
    edit(desk, "pages/i.html")
    second = push(**more)
    assert second.changed == words
    assert second.want.generation > first.want.generation


def test_a_tree_that_is_gone_is_made_again_and_counts_as_changed(
    push: Callable[..., Pushed], folder: Folder, desk: Desk
) -> None:
    first = push()
    shutil.rmtree(folder.trees / str(first.want.tree))
    assert push().changed == ()
    assert (folder.path / "current/conf/a.yaml").read_text() == "a"
    shutil.rmtree(folder.trees / str(first.want.tree))
    edit(desk, "pages/i.html")
    assert push().changed == ("files",)  # what ran with the old one cannot be told any more


def test_without_synced_files_there_is_no_tree(
    desk: Desk, workload: Workload, folder: Folder
) -> None:
    web = desk.config.app.root / "web"
    assert desk.push(workload, web).want.tree
    assert desk.push(replace(workload, sync=()), web).want.tree is None
    assert not (folder.path / "current").is_symlink()


@pytest.mark.parametrize(
    ("gone", "error"), [("web", BuildFailed), ("pages", ConfigError), ("conf", ConfigError)]
)
def test_what_is_missing_is_told_and_nothing_is_published(
    push: Callable[..., Pushed], folder: Folder, desk: Desk, gone: str, error: type[Exception]
) -> None:
    first, before = push(), stamp(folder)
    (desk.config.app.root / gone).rename(desk.config.app.root / "elsewhere")
    with pytest.raises(error):
        push(env={"A": "b"})
    assert (folder.want(), stamp(folder)) == (first.want, before)
    assert points_to(folder) == first.want.tree


def test_a_deleted_folder_is_made_again_and_its_way_tried_anew(
    push: Callable[..., Pushed],
    folder: Folder,
    desk: Desk,
    workload: Workload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def choose(_config: Config, one: Workload) -> Choice:
        tried.append(one.name)
        return Choice("mount", "a test")

    monkeypatch.setattr(transports, "choose", choose)
    first = push()
    desk.remade.clear()
    assert desk.choice(workload) is desk.choice(workload)
    shutil.rmtree(folder.path)
    second = push()
    assert second.changed == ("binary",)
    assert second.want.generation > first.want.generation
    assert folder.want() == second.want
    assert folder.has(second.want.digest)
    assert points_to(folder) == second.want.tree
    assert desk.remade == {"web"}
    desk.choice(workload)
    assert tried == ["web", "web"]


def test_a_push_that_was_killed_before_it_was_published_is_undone_by_the_next(
    push: Callable[..., Pushed], folder: Folder, desk: Desk
) -> None:
    first = push()
    edit(desk, "conf/a.yaml")
    other = folder.place_tree(swapfiles.tree_files(desk.config.app.root, SYNC))
    folder.point(other)
    edit(desk, "conf/a.yaml", "a")  # and the edit is taken back
    second = push()
    assert (second.want, second.changed) == (first.want, ())
    assert points_to(folder) == first.want.tree


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}'])
def test_what_is_published_and_cannot_be_read_is_published_anew(
    push: Callable[..., Pushed], folder: Folder, text: str
) -> None:
    first = push()
    (folder.path / "want.json").write_text(text)
    second = push()
    assert second.want.generation > first.want.generation
    assert folder.want() == second.want


def test_an_artifact_that_was_placed_is_not_read_again_by_who_knows_its_digest(
    desk: Desk, workload: Workload, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, read = desk.config.app.root / "web", list[str]()
    place_binary = Folder.place_binary
    two = hashlib.sha256(b"\x7fELF two").hexdigest()

    def placed(this: Folder, source: Path, digest: str = "", copying: Any = None) -> Placed:
        read.append(digest)
        return place_binary(this, source, digest, copying)

    monkeypatch.setattr(Folder, "place_binary", placed)
    first = desk.push(workload, web).want
    assert desk.push(workload, web, digest=first.digest).want == first
    assert len(read) == 1
    edit(desk, "web", "\x7fELF two")
    assert desk.push(workload, web, digest=two).want.digest == two
    assert (folder.bin / two).read_bytes() == b"\x7fELF two"
    edit(desk, "web", "\x7fELF one")
    assert desk.push(workload, web, digest=first.digest).want.digest == first.digest
    assert len(read) == 3
    (folder.bin / first.digest).unlink()
    desk.push(workload, web, digest=first.digest)
    assert len(read) == 4
    assert folder.has(first.digest)
    desk.push(workload, web)
    # The first is digested from the disk; later ones as they were built, where that is known.
    assert read == ["", two, first.digest, first.digest, ""]


def test_a_push_takes_the_copy_that_was_begun_for_it_and_leaves_no_other(
    desk: Desk, workload: Workload, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = desk.config.app.root / "web"
    desk.push(workload, web)
    copied: list[Path] = []
    monkeypatch.setattr(swapfiles, "copy_artifact", lambda *_: copied.append(web))
    for content in ("\x7fELF two", "\x7fELF six"):
        edit(desk, "web", content)
        digest = hashlib.sha256(content.encode()).hexdigest()
        desk.copy_ahead(workload, web)
        assert desk.push(workload, web, digest=digest).want.digest == digest
        assert (folder.bin / digest).read_text() == content
        assert not [path for path in folder.bin.iterdir() if path.name.startswith(".")]
    assert not copied
    desk.copy_ahead(workload, web)
    desk.copy_ahead(workload, web)
    desk.__exit__(None, None, None)
    assert not [path for path in folder.bin.iterdir() if path.name.startswith(".")]


def test_a_copy_that_cannot_be_begun_is_left_to_the_push(
    desk: Desk, workload: Workload, folder: Folder
) -> None:
    web = desk.config.app.root / "web"
    desk.copy_ahead(workload, web)  # there is no folder yet
    want = desk.push(workload, web).want
    assert folder.has(want.digest)
    web.unlink()
    desk.copy_ahead(workload, web)
    with pytest.raises(BuildFailed):
        desk.push(workload, web, digest="0" * 64)


def test_what_was_refused_is_read_again_from_the_disk(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want, folder: Folder
) -> None:
    (folder.bin / want.digest).write_bytes(b"damaged")
    cluster.pods = {"web-1": runs(want, "refused")}
    assert desk.settle(workload, want, HOUR_S).state == "unhealthy"
    desk.push(workload, desk.config.app.root / "web", digest=want.digest)
    assert (folder.bin / want.digest).read_bytes() == b"\x7fELF one"


# -- going back


def test_an_old_want_is_published_as_a_new_one_with_the_files_it_had(
    push: Callable[..., Pushed], folder: Folder, desk: Desk, workload: Workload
) -> None:
    first = push(env={"A": "old"}).want
    edit(desk, "web", "\x7fELF two")
    edit(desk, "conf/a.yaml")
    second = push(env={"A": "new"}).want
    back = desk.publish(workload, first)
    assert back.changed
    assert back.want.generation > second.generation > first.generation
    assert folder.want() == back.want == replace(first, generation=back.want.generation)
    assert points_to(folder) == first.tree


def test_an_old_want_without_its_artifact_is_not_published(
    push: Callable[..., Pushed], folder: Folder, desk: Desk, workload: Workload
) -> None:
    first = push().want
    edit(desk, "web", "\x7fELF two")
    second = push().want
    (folder.bin / first.digest).unlink()
    with pytest.raises(Unhealthy, match="not there"):
        desk.publish(workload, first)
    assert folder.want() == second


# -- settle


class Cluster:
    """An API server with one Deployment and pods with supervisors.

    `pods` is what each one's supervisor says; None leaves it silent.
    """

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any] | None] = {}
        self.replicas: int | None = 1
        self.trouble: KindloopError | None = None
        self.sent: list[dict[str, set[str]]] = []
        self.takes = True
        self.on_status: Callable[[str], object] = lambda _pod: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def json(self, path: str, timeout_s: float = 5.0, *, or_none: bool = False) -> Any:
        if self.trouble:
            raise self.trouble
        if "/deployments/" in path:
            scale = {"spec": {"replicas": self.replicas}, "status": {"selector": "app=web"}}
            return None if self.replicas is None else scale
        return {"items": [{"metadata": {"name": n, "uid": f"u-{n}"}} for n in self.pods]}

    def get(self, path: str, timeout_s: float = 5.0) -> Answer:
        pod = urlsplit(path).path.split("/pods/")[1].split("/")[0].split(":")[0]
        if "/log" in path:
            log = f"thread 'main' panicked at src/{pod}.rs:1:2:\nno\n" if pod == "web-2" else ""
            return Answer(200, log.encode())
        self.on_status(pod)
        said = self.pods.get(pod)
        if said is None:
            return Answer(503, b'{"kind": "Status", "message": "connection refused"}')
        return Answer(200, json.dumps(said).encode())

    def deliver(self, *args: Any, held: dict[str, list[str]], **_more: Any) -> tuple[str, ...]:
        """In the place of `transports.deliver`."""
        _config, _workload, _folder, want, choice, pods = args
        assert choice.kind == "exec"
        assert list(held) == pods
        self.sent.append({pod: set(has) for pod, has in held.items()})
        if self.takes:
            self.pods |= {pod: runs(want) for pod in pods}
        return ()


def runs(want: Want, result: str = "fresh", **more: Any) -> dict[str, Any]:
    """What a supervisor says that acted on `want`."""
    this = {"generation": want.generation, "digest": want.digest}
    return {
        "version": 1, "revision": 1, "state": "running", "ready": True, "wanted": this,
        "running": this, "outcome": {"generation": want.generation, "result": result, "reason": ""},
        "tree": want.tree, **more,
    }  # fmt: skip


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(apiserver, "connect", lambda _config: made)
    monkeypatch.setattr(transports, "choose", lambda *_: Choice("mount", "a test"))
    monkeypatch.setattr(transports, "deliver", made.deliver)
    monkeypatch.setattr(supervised, "LOOK_S", 0.002)
    monkeypatch.setattr(swap, "LOOK_S", 0.02)
    return made


@pytest.fixture
def by_exec(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(transports, "choose", lambda *_: Choice("exec", "a test"))
    return cluster


@pytest.fixture
def want(push: Callable[..., Pushed], desk: Desk) -> Want:
    """What was pushed, by a desk that knows its folder."""
    pushed = push()
    desk.remade.clear()
    return pushed.want


@pytest.fixture
def old(want: Want) -> dict[str, Any]:
    """What a supervisor says that has not seen `want`, and runs what came before."""
    return {**runs(replace(want, generation=1, digest=OTHER, tree=TREE)), "good": B}


def test_through_the_mount_the_supervisors_are_asked_until_they_have_it(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want, old: dict[str, Any]
) -> None:
    cluster.pods = {"web-1": old}
    asked: list[str] = []

    def status(pod: str) -> None:
        asked.append(pod)
        if len(asked) > 2:
            cluster.pods = {"web-1": runs(want)}

    cluster.on_status = status
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert cluster.sent == []


def test_a_bad_end_is_a_verdict_and_no_error(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    cluster.pods = {"web-1": runs(want, "rolled_back")}
    assert desk.settle(workload, want, HOUR_S).state == "rolled_back"
    cluster.pods = {"web-1": runs(want, "refused")}
    assert desk.settle(workload, want, HOUR_S).state == "unhealthy"


def test_what_a_supervisor_goes_back_to_gets_its_files_again(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want, folder: Folder
) -> None:
    for one in workload.sync:
        edit(desk, f"{one.source}/broken", "no: yaml: this")
    bad = desk.push(workload, desk.config.app.root / "web").want
    assert (bad.digest, bad.tree) != (want.digest, want.tree)
    said = {**runs(bad, "rolled_back"), "good": want.digest}
    cluster.pods = {"web-1": said}
    assert desk.settle(workload, bad, HOUR_S).state == "rolled_back"
    back = folder.want()
    assert back is not None
    assert back.generation > bad.generation
    assert (back.digest, back.tree) == (want.digest, want.tree)
    assert points_to(folder) == want.tree
    assert desk.went_back(workload, back.generation)
    assert not desk.went_back(workload, bad.generation)
    for one in workload.sync:
        (desk.config.app.root / one.source / "broken").unlink()
    mended = desk.push(workload, desk.config.app.root / "web").want
    assert not desk.went_back(workload, mended.generation)


def test_without_other_files_the_supervisor_goes_back_alone(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want, folder: Folder
) -> None:
    (desk.config.app.root / "web").write_bytes(b"a worse one")
    bad = desk.push(workload, desk.config.app.root / "web").want
    cluster.pods = {"web-1": {**runs(bad, "rolled_back"), "good": want.digest}}
    assert desk.settle(workload, bad, HOUR_S).state == "rolled_back"
    assert folder.want() == bad


def junk(folder: Folder, *digests: str) -> None:
    for digest in digests:
        (folder.bin / digest).write_text("x")
        (folder.trees / digest).mkdir()


def kept(folder: Folder) -> tuple[set[str], set[str]]:
    return {p.name for p in folder.bin.iterdir()}, {p.name for p in folder.trees.iterdir()}


def test_what_no_pod_runs_or_goes_back_to_is_removed(
    cluster: Cluster, desk: Desk, workload: Workload, folder: Folder, want: Want
) -> None:
    junk(folder, A, B, OTHER, "e" * 64)
    second = runs(want, "rolled_back", running={"generation": 1, "digest": OTHER}, tree=B)
    cluster.pods, cluster.replicas = {"web-1": runs(want, good=A), "web-2": second}, 2
    desk.settle(workload, want, HOUR_S)
    binaries, trees = kept(folder)
    assert binaries == {want.digest, A, B, OTHER}
    assert trees == {want.tree, A, B, OTHER}


@pytest.mark.parametrize("state", ["silent", "none", "asks for none", "unknown"])
def test_nothing_is_removed_while_a_pod_has_not_said_what_it_runs(
    cluster: Cluster, desk: Desk, workload: Workload, folder: Folder, want: Want, state: str
) -> None:
    junk(folder, A)
    said: dict[str, dict[str, Any] | None] = {"web-1": runs(want), "web-2": None}
    if state == "unknown":
        said["web-2"] = runs(want, version=2)
    cluster.pods = {} if "none" in state else said
    cluster.replicas = 0 if state == "asks for none" else 1
    assert desk.settle(workload, want, 0.01).state != "fresh"
    assert (folder.bin / A).exists()
    cluster.replicas = 2
    cluster.pods = {"web-1": runs(want), "web-2": runs(want)}
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert not (folder.bin / A).exists()


def test_a_swap_that_was_overtaken_does_not_remove_what_the_next_one_is_placing(
    cluster: Cluster,
    desk: Desk,
    workload: Workload,
    folder: Folder,
    want: Want,
    push: Callable[..., Pushed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster.pods = {"web-1": runs(want, "rolled_back")}
    late = threading.Thread(target=desk.settle, args=(workload, want, HOUR_S))
    place_tree = Folder.place_tree

    def placed(this: Folder, files: Any) -> str:
        # The binary is placed, and nothing is published yet: now the older swap ends.
        late.start()
        late.join(0.3)
        return place_tree(this, files)

    monkeypatch.setattr(Folder, "place_tree", placed)
    edit(desk, "web", "\x7fELF two")
    second = push()
    late.join(30)
    assert folder.want() == second.want
    assert folder.has(second.want.digest)


@pytest.mark.parametrize(("kind", "restarts"), [("mount", 1), ("exec", 0)])
def test_pods_that_mount_a_deleted_folder_are_replaced_once(
    cluster: Cluster,
    desk: Desk,
    workload: Workload,
    want: Want,
    shown: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    restarts: int,
) -> None:
    restarted: list[str] = []
    monkeypatch.setattr(rollout, "renew", lambda _config, w: restarted.append(w.name))
    monkeypatch.setattr(transports, "choose", lambda *_: Choice(kind, "a test"))
    cluster.pods = {"web-1": runs(want)}
    desk.remade.add("web")
    for _ in range(2):
        assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert restarted == ["web"] * restarts
    assert len(shown.texts("warning")) == restarts


def test_pods_that_could_not_be_replaced_are_the_next_time(
    cluster: Cluster,
    desk: Desk,
    workload: Workload,
    want: Want,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def restart(*_: Any) -> None:
        raise RolloutFailed("no")

    monkeypatch.setattr(rollout, "renew", restart)
    desk.remade.add("web")
    with pytest.raises(RolloutFailed):
        desk.settle(workload, want, HOUR_S)
    assert desk.remade == {"web"}


def test_a_folder_that_the_node_does_not_see_any_more_is_raised(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(*_: Any) -> Choice:
        raise NotOurs("a swap of web would not reach its pods")

    monkeypatch.setattr(transports, "choose", choose)
    desk.remade.add("web")
    with pytest.raises(NotOurs):
        desk.settle(workload, want, HOUR_S)


# -- settle, when files are streamed into the pods


def test_pods_that_lack_it_get_it_with_what_they_have_left_alone(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want, old: dict[str, Any]
) -> None:
    by_exec.pods, by_exec.replicas = {"web-1": runs(want), "web-2": old, "web-3": old}, 3
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert by_exec.sent == [{"web-2": {OTHER, B, TREE}, "web-3": {OTHER, B, TREE}}]


def test_a_pod_with_older_files_lacks_it(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    by_exec.pods = {"web-1": runs(want, tree=OTHER)}
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert by_exec.sent == [{"web-1": {want.digest, OTHER}}]


def test_a_pod_with_files_where_none_are_wanted_any_more_lacks_nothing(
    by_exec: Cluster, desk: Desk, workload: Workload
) -> None:
    want = desk.push(replace(workload, sync=()), desk.config.app.root / "web").want
    by_exec.pods = {"web-1": runs(want, tree=OTHER)}
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert by_exec.sent == []


def test_what_all_pods_have_is_not_sent(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    by_exec.pods = {"web-1": runs(want)}
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert by_exec.sent == []


def test_a_pod_that_comes_meanwhile_is_served_too(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want, old: dict[str, Any]
) -> None:
    by_exec.pods, by_exec.replicas = {"web-1": old}, 2
    asked: list[str] = []

    def status(pod: str) -> None:
        asked.append(pod)
        if by_exec.sent and "web-2" not in by_exec.pods:
            by_exec.pods["web-2"] = None  # it starts
        if asked.count("web-2") == 3:
            by_exec.pods["web-2"] = {**old, "wanted": None, "running": None, "good": None}

    by_exec.on_status = status
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert [list(sent) for sent in by_exec.sent] == [["web-1"], ["web-2"]]


def test_a_binary_that_takes_long_to_start_is_waited_for(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want, old: dict[str, Any]
) -> None:
    by_exec.pods = {"web-1": old}
    starts = runs(want, state="starting", ready=False, outcome=None)
    asked: list[str] = []

    def status(pod: str) -> None:
        asked.append(pod)
        if by_exec.sent:
            by_exec.pods["web-1"] = starts if len(asked) < 30 else runs(want)

    by_exec.on_status = status
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert len(by_exec.sent) == 1


@pytest.mark.parametrize(
    ("result", "state"), [("rolled_back", "rolled_back"), ("crashed", "unhealthy")]
)
def test_a_bad_end_is_waited_for_no_longer(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want, result: str, state: str
) -> None:
    by_exec.pods = {"web-1": runs(want, result)}
    assert desk.settle(workload, want, HOUR_S).state == state


@pytest.mark.parametrize("timeout_s", [0.0, 0.1])
def test_a_pod_that_never_takes_it_ends_with_the_deadline(
    by_exec: Cluster,
    desk: Desk,
    workload: Workload,
    want: Want,
    old: dict[str, Any],
    timeout_s: float,
) -> None:
    by_exec.pods, by_exec.takes = {"web-1": old}, False
    assert desk.settle(workload, want, timeout_s).state == "stale"
    assert bool(by_exec.sent)
    assert (len(by_exec.sent) > 1) is (timeout_s > 0)


def test_pods_that_say_nothing_are_sent_nothing(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    by_exec.pods = {"web-1": None}
    assert desk.settle(workload, want, 0.05).state == "unknown"
    assert by_exec.sent == []


def test_a_swap_that_was_overtaken_is_not_sent_over_the_newer_one(
    by_exec: Cluster,
    desk: Desk,
    workload: Workload,
    want: Want,
    push: Callable[..., Pushed],
) -> None:
    newer = push(again=True).want
    by_exec.pods = {"web-1": runs(newer)}
    assert desk.settle(workload, want, HOUR_S).state == "stale"
    assert by_exec.sent == []
    assert desk.settle(workload, newer, HOUR_S).state == "fresh"


def test_a_swap_that_was_overtaken_does_not_wait_for_silent_pods(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want, push: Callable[..., Pushed]
) -> None:
    by_exec.pods = {"web-1": None}
    push(again=True)
    assert desk.settle(workload, want, HOUR_S).state == "unknown"


def test_no_deployment_and_no_pod_are_verdicts_at_once(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    by_exec.replicas = None
    verdict = desk.settle(workload, want, HOUR_S)
    assert (verdict.state, verdict.hint) == ("unhealthy", "invoke dev-up")
    by_exec.replicas = 0
    assert "asks for no pod" in desk.settle(workload, want, HOUR_S).reason


def test_an_api_server_that_does_not_answer_is_a_verdict(
    by_exec: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    by_exec.trouble = CannotTell("the API server does not answer", hint="invoke cluster.status")
    verdict = desk.settle(workload, want, 0.05)
    assert (verdict.state, verdict.hint) == ("unknown", "invoke cluster.status")


def test_a_stream_that_is_refused_is_an_error(
    by_exec: Cluster,
    desk: Desk,
    workload: Workload,
    want: Want,
    old: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deliver(*_: Any, **_more: Any) -> None:
        raise RolloutFailed("1 of 1 pods of web did not take the new binary")

    monkeypatch.setattr(transports, "deliver", deliver)
    by_exec.pods = {"web-1": old}
    with pytest.raises(RolloutFailed):
        desk.settle(workload, want, HOUR_S)


def test_a_desk_is_calm_when_no_swap_is_waited_for(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    calm, was_calm = threading.Event(), list[bool]()

    def wait() -> None:
        desk.calm(HOUR_S)
        calm.set()

    def asked(_pod: str) -> None:
        if not was_calm:
            threading.Thread(target=wait).start()
            was_calm.append(calm.wait(0.05))

    desk.calm(HOUR_S)
    cluster.pods, cluster.on_status = {"web-1": runs(want)}, asked
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert was_calm == [False]
    assert calm.wait(30)


def test_a_pod_whose_answer_was_lost_says_itself_what_it_has(
    by_exec: Cluster,
    desk: Desk,
    workload: Workload,
    want: Want,
    old: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_it: list[bool] = []

    def deliver(*_: Any, has: Callable[[str], bool], **_more: Any) -> tuple[str, ...]:
        for said in (old, None, runs(want)):
            by_exec.pods["web-1"] = said
            has_it.append(has("web-1"))
        return ()

    monkeypatch.setattr(transports, "deliver", deliver)
    by_exec.pods = {"web-1": old}
    assert desk.settle(workload, want, HOUR_S).state == "fresh"
    assert has_it == [False, False, True]


# -- asked at once


def test_settings_and_files_count_for_what_is_published(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    cluster.pods = {"web-1": runs(want)}
    assert desk.verdict(workload, want.digest).state == "fresh"
    for older in (runs(replace(want, generation=3)), runs(want, tree=OTHER)):
        cluster.pods = {"web-1": older}
        assert desk.verdict(workload, want.digest).state == "stale"


def test_of_a_binary_that_is_not_published_only_the_digest_counts(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    other = replace(want, digest=OTHER, generation=3, tree=A)
    cluster.pods = {"web-1": runs(other)}
    assert desk.verdict(workload, OTHER).state == "fresh"
    assert desk.verdict(workload, want.digest).state == "stale"


def test_in_profile_release_nothing_that_was_published_counts(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    desk.config = replace(desk.config, profile="release")
    cluster.pods = {"web-1": runs(replace(want, generation=0, tree=None), wanted=None)}
    assert desk.verdict(workload, want.digest).state == "fresh"


def test_without_an_api_server_there_is_no_verdict(
    cluster: Cluster, desk: Desk, workload: Workload, want: Want
) -> None:
    cluster.trouble = CannotTell("the API server does not answer")
    with pytest.raises(CannotTell):
        desk.verdict(workload, want.digest)


def test_the_panic_is_that_of_the_first_pod_that_has_one(
    cluster: Cluster, desk: Desk, workload: Workload
) -> None:
    pods = tuple(Report(name) for name in ("web-1", "web-2", "web-3"))
    assert desk.panic(workload, Verdict("unhealthy", "", pods)) == "src/web-2.rs:1:2: no"
    assert desk.panic(workload, Verdict("unhealthy", "", pods[:1])) == ""


@pytest.mark.parametrize(
    ("state", "pods", "said"),
    [
        ("rolled_back", ("web-1", "web-2"), ("panicked at src/web-2.rs:1:2: no",)),
        ("rolled_back", ("web-1", "web-3"), ("words of web-1",)),
        ("unhealthy", ("web-1",), ("words of web-1",)),
        ("unhealthy", (), ()),
        ("stale", ("web-1",), ()),
        ("unknown", ("web-1",), ()),
    ],
)
def test_what_the_binary_said_is_told_with_its_end(
    cluster: Cluster,
    desk: Desk,
    workload: Workload,
    monkeypatch: pytest.MonkeyPatch,
    state: Any,
    pods: tuple[str, ...],
    said: tuple[str, ...],
) -> None:
    monkeypatch.setattr(supervised, "words_of", lambda *args: [f"words of {args[-1]}"])
    verdict = Verdict(state, "bad", tuple(Report(name, state="x") for name in pods))
    error = desk.failed(workload, verdict)
    assert error.evidence == (*[f"{name}: x" for name in pods], *said)


def test_a_connection_is_made_once_until_it_is_forgotten(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Cluster] = []

    class Counted(Cluster):
        closed = False

        def __exit__(self, *_: object) -> None:
            self.closed = True

    def connect(_config: Config) -> Any:
        made.append(Counted())
        return made[-1]

    monkeypatch.setattr(apiserver, "connect", connect)
    with Desk(config) as desk:
        assert made == []
        assert desk.api is desk.api is made[0]
        desk.forget()
        assert desk.api is made[1]
        assert [one.closed for one in made] == [True, False]  # type: ignore[attr-defined]
    assert [one.closed for one in made] == [True, True]  # type: ignore[attr-defined]


# -- errors


@pytest.mark.parametrize(
    ("state", "hint", "error", "code", "in_all", "next_"),
    [
        ("unhealthy", "invoke dev-logs", Unhealthy, 1, 6, "mend it and save, or: invoke dev-logs"),
        ("unhealthy", "invoke dev-up", Unhealthy, 1, 6, "invoke dev-up"),
        ("unknown", "invoke cluster.status", CannotTell, 3, 6, "invoke cluster.status"),
        ("unknown", "", CannotTell, 3, 6, "invoke dev-status"),
        ("stale", "invoke dev-rebuild", Stale, 4, 4, "invoke dev-rebuild"),
        ("rolled_back", "invoke dev-logs", Stale, 4, 4, "mend it and save, or: invoke dev-logs"),
    ],
)
def test_each_verdict_has_its_error_and_exit_code(
    state: Any, hint: str, error: type[KindloopError], code: int, in_all: int, next_: str
) -> None:
    pods = (Report("web-1", state="crashed"), Report("web-2", reason="exit code 101"))
    verdict = Verdict(state, "it is bad", pods, hint=hint)
    found = swap.failure(WEB, verdict, "src/x.rs:1:2: no")
    assert type(found) is error
    assert (found.exit_code, found.message, found.hint) == (code, "web: it is bad", next_)
    assert found.evidence == (
        "web-1: crashed", "web-2: exit code 101", "panicked at src/x.rs:1:2: no",
    )  # fmt: skip
    assert bool(found.why) is (state == "rolled_back")
    changing = swapplan.as_rollout(found)
    assert changing.exit_code == in_all
    for name in ("message", "why", "hint", "evidence"):
        assert getattr(changing, name) == getattr(found, name)


@pytest.mark.parametrize(
    ("reason", "why", "hint"),
    [
        (
            "failed: not ready: nothing listens on port 8080, but on 0.0.0.0:5000 and [::]:5000",
            "containerPort 8080",
            "containerPort: 5000 in ",
        ),
        (
            "not ready: nothing listens on port 8080, but on [::]:5000",
            "8080",
            "containerPort: 5000",
        ),
        (
            "failed: not ready within 5000 ms: /health answered 404",
            "/health is its health path",
            "another path in kindloop.yaml, workloads.web.health",
        ),
    ],
)
def test_what_is_set_wrong_is_told_with_the_edit(reason: str, why: str, hint: str) -> None:
    found = swap.failure(WEB, Verdict("unhealthy", reason, hint="invoke dev-logs"))
    assert why in found.why
    assert found.hint.startswith(hint)
    assert found.hint.endswith("; then: invoke dev-up")
    assert swapplan.as_rollout(found).exit_code == 6


@pytest.mark.parametrize(
    "reason", ["nothing listens on port 8080", "/health did not answer within a second", ""]
)
def test_what_may_be_slow_only_is_not_told_to_be_set_wrong(reason: str) -> None:
    found = swap.failure(WEB, Verdict("unhealthy", reason, hint="invoke dev-logs"))
    assert (found.why, found.hint) == ("", "mend it and save, or: invoke dev-logs")


def test_what_is_no_verdict_keeps_its_exit_code() -> None:
    for error in (NotOurs("x"), ConfigError("x"), BuildFailed("x"), RolloutFailed("x")):
        assert swapplan.as_rollout(error) is error


def test_without_a_panic_none_is_told() -> None:
    assert swap.failure(WEB, Verdict("unhealthy", "bad")).evidence == ()


def test_a_digest_is_shown_short() -> None:
    assert swap.short(A) == "a" * 8
