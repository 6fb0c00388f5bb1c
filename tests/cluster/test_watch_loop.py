"""One watch, many saves: each is served or told, and nothing of a save is missed or done twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import inside, sha256
from live import ROOT, Loop, docker, edit, line_of, sync
from watching import Watch, becomes, call, configure, of_files, pets, ran, renamed, saves, takes

NOW = ("dev-status", "--wait-fresh", "--timeout", "0")
WHO = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@pytest.fixture(scope="module")
def watched(
    first_up: tuple[Loop, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watch]:
    """The watch of all these tests, in a checkout that is a repository of its own."""
    loop, _ = first_up
    sync(ROOT, loop.root)
    # The repository lies elsewhere: what is put back in the checkout must not take it for litter.
    git(loop, "init", "-q", "--separate-git-dir", str(tmp_path_factory.mktemp("git") / "git"))
    commit(loop)
    try:
        with Watch(loop) as watch:
            yield watch
            assert watch.end() == 130
            assert watch.left() == {}
    finally:
        (loop.root / ".git").unlink()
        loop.mended()


@pytest.fixture
def watch(watched: Watch, request: pytest.FixtureRequest) -> Iterator[Watch]:
    """The same. Edits stay, for less to build; after a test that fails all is put back."""
    failed = request.session.testsfailed
    yield watched
    if request.session.testsfailed > failed:
        sync_but_git(watched.loop)
        configure(watched.loop, "mended")
        becomes(lambda: takes(watched.loop, "mended"))


def git(loop: Loop, *words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        ["git", *WHO, *words], cwd=cwd or loop.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"git {words}: {done.stdout}{done.stderr}"
    return done.stdout


def commit(loop: Loop) -> None:
    git(loop, "add", "-A")
    git(loop, "commit", "-q", "--allow-empty", "-m", "all")


def sync_but_git(loop: Loop) -> None:
    """Put the checkout back, and keep the file that names its repository."""
    named = (loop.root / ".git").read_bytes()
    sync(ROOT, loop.root)
    (loop.root / ".git").write_bytes(named)


def replace(path: Path, text: str) -> None:
    """Save as editors do: written beside it and renamed, one event whatever the machine does."""
    aside = path.with_name(f".{path.name}.aside~")
    aside.write_text(text)
    shutil.copymode(path, aside)
    aside.replace(path)


def halted(watch: Watch, program: str) -> bool:
    """Stop the program where it is, if the watch has it running; whether it was."""
    found = [p for p, words in watch.left().items() if Path(words[0]).name == program]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    return any(lives(pid) for pid in found)


def lives(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def fence(watch: Watch, token: str) -> None:
    """Save a synced file and wait until it is served: what was saved before has had its turn."""
    watch.saved(lambda: configure(watch.loop, token), of="config/config.yaml")
    assert takes(watch.loop, token)


# --- builds ---------------------------------------------------------------------------------


def test_a_save_is_served_and_proven(watch: Watch) -> None:
    loop = watch.loop
    pods = loop.pods()
    saved = watch.saved(lambda: call(loop, "Wilma"))
    assert "Wilma" in pets(loop)
    assert saved["paths"] == ["examples/petstore/pet_store/src/app.rs"]
    built = next(loop.root.glob("examples/petstore/target/kindloop/loop/*/release/pet_store"))
    assert saved["digest"] == saved["served"] == sha256(built)
    assert {"cargo", "swap"} <= saved["parts"].keys()
    assert loop.pods() == pods
    assert loop.say(*NOW).code == 0


def test_compile_error_then_fix(watch: Watch) -> None:
    loop = watch.loop
    served = watch.saved(lambda: call(loop, "Berta"))["digest"]
    controller = loop.app / "controllers/get_pet.rs"
    broken = watch.saved(
        lambda: edit(controller, "request.id).cloned()", "request.idd).cloned()"), "not built"
    )
    line = line_of(controller.read_text(), "request.idd")
    assert broken["stages"] == ["petstore"]
    assert any(f"controllers/get_pet.rs:{line}:" in error for error in broken["errors"])
    assert broken["served"] == served
    assert "Berta" in pets(loop)
    status = loop.say(*NOW)
    assert status.code == 4
    edit(controller, "request.idd", "request.id")
    watch.saved(lambda: call(loop, "Hulda"), of="app.rs")
    assert "Hulda" in pets(loop)


def test_openapi_broken_then_fixed(watch: Watch) -> None:
    loop = watch.loop
    document = loop.root / "examples/petstore/openapi.yaml"
    before = loop.curl("/openapi.yaml")
    reference = 'items: {$ref: "#/components/schemas/Pet"}'
    since = watch.count()
    broken = watch.saved(
        lambda: edit(document, reference, reference.replace("Pet", "Pett")), "not built"
    )
    line = line_of(document.read_text(), "schemas/Pett")
    assert broken["stages"] == ["generate"]
    assert any(f"openapi.yaml:{line}" in error for error in broken["errors"])
    assert ran(watch.events(since), "petstore") == [], "it is behind the broken stage"
    assert loop.curl("/openapi.yaml") == before
    assert loop.say(*NOW).code == 4

    since = watch.count()
    fixed = document.read_text().replace(reference.replace("Pet", "Pett"), reference)
    fixed = fixed.replace("The sample service", "The one sample service")
    watch.saved(lambda: replace(document, fixed))
    assert "The one sample service" in loop.curl("/openapi.yaml")
    fence(watch, "after-the-generator")
    events = watch.events(since)
    assert len(of_files(events)) == 2, "what the generator writes is no save"
    assert len(ran(events, "generate")) == 1


def test_a_panic_is_rolled_back_and_told_with_its_place(watch: Watch) -> None:
    loop = watch.loop
    good = watch.saved(lambda: call(loop, "Frida"))["digest"]
    becomes(
        lambda: f'"good": "{good}"' in loop.ok("swap.status", "--json")
    )  # its probation is over
    library = loop.root / "examples/petstore/router/src/lib.rs"
    call_ = "    if let Err(message) = start("
    panic = '    assert!(std::env::args().count() == 0, "no router");\n'
    broken = watch.saved(lambda: edit(library, call_, panic + call_), "rolled_back")
    line = line_of(library.read_text(), '"no router"')
    assert broken["reason"].startswith(f"router/src/lib.rs:{line}:5: no router")
    assert broken["served"] == good
    becomes(lambda: "Frida" in pets(loop))
    status = loop.say(*NOW)
    assert status.code == 4
    assert "rolled back: " in status.text
    watch.saved(lambda: edit(library, panic, ""))
    assert "Frida" in pets(loop)


def test_a_newer_save_cancels_the_build(watch: Watch) -> None:
    loop = watch.loop
    since = watch.count()
    call(loop, "Karla")
    becomes(lambda: halted(watch, "rustc"))  # or the build may end before the next save is seen
    call(loop, "Lotte")
    becomes(lambda: "Lotte" in pets(loop))
    fence(watch, "after-the-newer-save")
    events = watch.events(since)
    assert ran(events, "petstore").count("superseded") == 1
    assert len(of_files(events)) == 2, "the cancelled save has no line of its own"


def test_500_writes_in_2_s_are_a_few_builds(watch: Watch) -> None:
    loop = watch.loop
    source = loop.app / "app.rs"
    text = source.read_text()
    since, began_s = watch.count(), time.monotonic()
    for number in range(500):
        source.write_text(renamed(text, f"Cat{number:03d}"))
        time.sleep(0.004)  # this is what a storm is: no pause that could be awaited
    most = max(10, 3 * (time.monotonic() - began_s))  # a batch is at most a second long
    becomes(lambda: "Cat499" in pets(loop))
    fence(watch, "after-the-storm")
    events = watch.events(since)
    assert 1 <= len(ran(events, "petstore")) <= most
    assert of_files(events)[-2]["digest"] == of_files(events)[-1]["digest"]
    code = loop.say(*NOW).code
    assert code == 0


@pytest.mark.parametrize("age", ["the same", "older"])
def test_odd_times_of_modification(watch: Watch, age: str) -> None:
    loop = watch.loop
    source = loop.app / "app.rs"
    watch.saved(lambda: call(loop, "Resi1"))
    seen = source.stat()

    def save() -> None:
        aside = loop.root / ".kindloop/aside.rs"
        aside.write_text(renamed(source.read_text(), "Resi2"))
        shutil.copymode(source, aside)
        ns = seen.st_mtime_ns if age == "the same" else 978_307_200_000_000_000
        os.utime(aside, ns=(ns, ns))
        aside.replace(source)

    saved = watch.saved(save)
    assert "Resi2" in pets(loop)
    assert saved["verdict"] == "fresh"
    assert loop.say(*NOW).code == 0


# --- files that are none, folders that go ---------------------------------------------------


def test_a_file_replaced_by_a_directory(watch: Watch) -> None:
    loop = watch.loop
    controller = loop.app / "controllers/get_pet.rs"
    text = controller.read_text()

    def replace() -> None:
        controller.unlink()
        controller.mkdir()

    broken = watch.saved(replace, "not built")
    assert broken["stages"] == ["petstore"]
    assert "[" in pets(loop), "what was served is served"
    assert loop.say(*NOW).code == 4
    controller.rmdir()
    watch.saved(lambda: controller.write_text(text.replace("there is no pet", "here is no pet")))
    assert "here is no pet 99" in loop.curl("/pets/99", "-H", "X-API-Key: test123")


def test_a_loop_of_links(watch: Watch) -> None:
    loop = watch.loop
    itself, around = loop.app / "itself", loop.app / "around"
    itself.symlink_to("itself")
    around.symlink_to(".")
    try:
        watch.saved(lambda: call(loop, "Trude"))
        assert "Trude" in pets(loop)
        code = loop.say(*NOW).code
        assert code == 0
    finally:
        itself.unlink()
        around.unlink()


def test_an_input_directory_deleted_and_made_again(watch: Watch) -> None:
    loop = watch.loop
    folder = loop.app / "controllers"
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    broken = watch.saved(lambda: shutil.rmtree(folder), "not built")
    assert broken["stages"] == ["petstore"]
    assert loop.say(*NOW).code == 4

    def again() -> None:
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text)
        call(loop, "Ursel")

    watch.saved(again, of="app.rs")
    assert "Ursel" in pets(loop)
    # The directory is a new one, and watched as the old one was.
    controller = folder / "get_pet.rs"
    watch.saved(lambda: edit(controller, "no pet", "not one pet"))
    assert "not one pet 99" in loop.curl("/pets/99", "-H", "X-API-Key: test123")


# --- settings, manifests, images ------------------------------------------------------------


def test_kindloop_yaml_broken_then_fixed(watch: Watch) -> None:
    loop = watch.loop
    text, pods = loop.settings.read_text(), loop.pods()
    since = watch.count()
    loop.settings.write_text(text + "profle: loop\n")
    watch.told("kindloop.yaml:", since)
    watch.told("the settings from before stay in force", since)
    said = loop.say(*NOW)
    assert said.code == 2
    fence(watch, "under-the-old-settings")
    watch.saved(lambda: loop.settings.write_text(text.replace("RUST_LOG: info", "RUST_LOG: warn")))
    assert watch.told("kindloop.yaml was read again", since)
    found = inside(
        loop, "sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep ^RUST_LOG="
    )
    assert "RUST_LOG=warn" in found.split()
    assert loop.pods() == pods, "a swap, no rollout"


def test_a_manifest_is_shown_and_applied(watch: Watch) -> None:
    loop, pods = watch.loop, watch.loop.pods()
    since = watch.count()
    service = loop.manifests / "service.yaml"
    saved = watch.saved(lambda: edit(service, "port: 80\n", "port: 81\n"))
    assert "rollout" in saved["parts"]
    assert any(e["kind"] == "line" and "port: 81" in e["text"] for e in watch.events(since))
    assert "81:30080" in loop.kubectl("get", "service", "petstore")
    assert loop.pods() == pods


def test_a_broken_manifest_is_told_and_the_next_save_is_served(watch: Watch) -> None:
    loop = watch.loop
    service = loop.manifests / "service.yaml"
    text = service.read_text()
    since = watch.count()
    service.write_text(text.replace("type: NodePort", "type: [NodePort"))
    watch.told("k8s/app/service.yaml:", since)
    watch.saved(lambda: service.write_text(text), "unchanged", of="service.yaml")
    fence(watch, "after-the-manifest")


def test_a_dockerfile_goes_by_image_and_rollout(watch: Watch) -> None:
    loop, pods = watch.loop, watch.loop.pods()
    since = watch.count()
    dockerfile = loop.root / "dockerfiles/Dockerfile.dev"
    saved = watch.saved(
        lambda: dockerfile.write_text(dockerfile.read_text() + "LABEL kindloop.test=1\n")
    )
    assert "rollout" in saved["parts"]
    assert watch.told("rollout: the image of petstore changed", since)
    assert loop.pods().keys().isdisjoint(pods)
    fence(watch, "in-the-new-pod")


# --- git ------------------------------------------------------------------------------------


def test_a_branch_switch_is_one_batch(watch: Watch, tmp_path: Path) -> None:
    loop = watch.loop
    commit(loop)
    tree = tmp_path / "tree"
    git(loop, "worktree", "add", "-q", "-b", "other", str(tree))
    for path, old, new in (
        ("pet_store/src/controllers/get_user.rs", "pub fn", "// another\npub fn"),
        ("pet_store/src/app.rs", '"Rex"', '"Rolf"'),
        ("router/src/lib.rs", "//! OpenAPI-driven HTTP", "//! HTTP by OpenAPI"),
        ("pet_store/config/config.yaml", "drain_seconds: 10", "drain_seconds: 9"),
    ):
        edit(tree / "examples/petstore" / path, old, new)
    git(loop, "commit", "-qam", "other", cwd=tree)
    git(loop, "worktree", "remove", str(tree))
    since = watch.count()
    saved = watch.saved(lambda: git(loop, "checkout", "-q", "other"))
    assert len(saved["paths"]) == 4
    assert "Rolf" in pets(loop)
    fence(watch, "after-the-switch")
    assert len(of_files(watch.events(since))) == 2


def test_a_rebase_under_way_pauses(watch: Watch, tmp_path: Path) -> None:
    loop = watch.loop
    commit(loop)
    tree = tmp_path / "tree"
    git(loop, "worktree", "add", "-q", "-b", "theirs", str(tree))
    source = tree / "examples/petstore/pet_store/src/app.rs"
    source.write_text(renamed(source.read_text(), "Their"))
    git(loop, "commit", "-qam", "theirs", cwd=tree)
    git(loop, "worktree", "remove", str(tree))
    watch.saved(lambda: call(loop, "Mine1"))
    commit(loop)
    since = watch.count()
    with pytest.raises(AssertionError, match=r"CONFLICT"):
        git(loop, "rebase", "theirs")
    watch.told("a rebase is under way", since)
    assert "<<<<<<<" in (loop.app / "app.rs").read_text()
    git(loop, "rebase", "--abort")
    watch.told("the rebase is over", since)
    fence(watch, "after-the-rebase")
    assert "Mine1" in pets(loop)
    assert {one["verdict"] for one in saves(watch.events(since))} <= {"fresh", "unchanged"}
    assert ran(watch.events(since), "petstore") == [], "nothing in it is what was served before"


# --- the environment ------------------------------------------------------------------------


def test_a_second_watch_is_refused(watch: Watch) -> None:
    said = watch.loop.say("dev-watch")
    assert said.code == 8
    assert f"the watch of {watch.loop.name} is in use by process {watch.pid}: " in said.message


def test_a_deleted_pod_comes_back_with_the_newest_artifact(watch: Watch) -> None:
    loop = watch.loop
    watch.saved(lambda: call(loop, "Vroni"))
    before = loop.pods()
    loop.kubectl("delete", "pods", "-l", "app.kubernetes.io/name=petstore")
    becomes(lambda: loop.pods().keys().isdisjoint(before) and "Vroni" in pets(loop))
    assert loop.say("dev-status", "--wait-fresh", "--timeout", "60").code == 0
    fence(watch, "in-the-pod-made-anew")


def test_a_restarted_node_comes_back_with_the_newest_artifact(watch: Watch) -> None:
    loop = watch.loop
    watch.saved(lambda: call(loop, "Xenia"))
    docker("stop", "--time=1", loop.node)
    stopped = loop.say(*NOW)
    assert stopped.code == 1
    assert "is stopped" in stopped.text
    docker("start", loop.node)
    assert loop.say("dev-status", "--wait-fresh", "--timeout", "120").code == 0
    assert "Xenia" in pets(loop)
    fence(watch, "after-the-restart-of-the-node")


@pytest.mark.skipif(
    os.environ.get("KINDLOOP_TEST_DISRUPTIVE") != "1",
    reason="ends every container of the engine, not ours alone; that of the node is the test above",
)
def test_a_restarted_engine_is_outlived(watch: Watch) -> None:
    loop = watch.loop
    watch.saved(lambda: call(loop, "Yvone"))
    engine = int(Path("/var/run/docker.pid").read_text())
    os.kill(engine, signal.SIGTERM)
    becomes(lambda: not lives(engine))
    subprocess.run([loop.root / "scripts/dev-setup.sh", "--yes"], check=True)
    docker("start", loop.node)
    assert loop.say("dev-status", "--wait-fresh", "--timeout", "180").code == 0
    fence(watch, "after-the-restart-of-the-engine")
