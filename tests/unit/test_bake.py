"""The bake: what a part is made of, that only finished ones count, and that recipes agree."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kindloop import bake, state
from kindloop.bake import debian, node, node_files, parts
from kindloop.bake.parts import Part
from kindloop.errors import BuildFailed, ConfigError, ToolMissing
from kindloop.versions import section

RECIPES = sorted(p for p in parts.RECIPES.iterdir() if p.is_dir())


def _part(name: str = "one", **recipe: str) -> Part:
    def build(folder: Path, _log: Path) -> None:
        (folder / "made").write_text(name)

    return Part(name, f"what {name} is", 10, {"version": "1", **recipe}, build)


def _left(homes: Path) -> list[str]:
    return sorted(p.name for p in (homes / "cache-home" / "kindloop" / "parts").iterdir())


# -- parts


def test_a_part_is_made_once_and_whole(homes: Path, shown: object) -> None:
    part = _part()
    assert not part.done
    folder = parts.make(part)
    assert (folder / "made").read_text() == "one"
    assert _left(homes) == [f"one-{part.digest}"]
    again = replace(part, build=lambda _folder, _log: pytest.fail("made twice"))
    assert parts.make(again) == folder


@pytest.mark.parametrize("failure", [BuildFailed("no"), KeyboardInterrupt(), OSError("full")])
def test_a_build_that_fails_leaves_nothing_half_made_and_keeps_what_is_finished(
    homes: Path, failure: BaseException
) -> None:
    finished = _part("finished")
    parts.make(finished)

    def build(folder: Path, _log: Path) -> None:
        (folder / "half").write_text("x")
        raise failure

    with pytest.raises(type(failure)):
        parts.make(replace(_part("broken"), build=build))
    assert _left(homes) == [f"finished-{finished.digest}"]


KILLED = """
import os, signal
from kindloop.bake.parts import Part, make
def build(folder, log):
    (folder / "half").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
make(Part("killed", "", 1, {"v": "1"}, build))
"""


def test_what_a_killed_bake_left_counts_as_missing_and_is_swept(homes: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert done.returncode == -signal.SIGKILL
    part = _part("killed", v="1")
    finished = _part("finished")
    parts.make(finished)
    assert [n for n in _left(homes) if n.endswith(".partial")] != []
    assert parts.plan([part, finished]) == [part]
    parts.sweep()
    assert _left(homes) == [f"finished-{finished.digest}"]


def test_what_a_killed_bake_left_does_not_get_into_the_next(homes: Path) -> None:
    part = _part()
    partial = part.folder.with_name(f".{part.folder.name}.partial")
    partial.mkdir(parents=True)
    (partial / "left-over").write_text("x")
    assert [p.name for p in parts.make(part).iterdir()] == ["made"]


def test_the_plan_skips_finished_parts_and_keeps_the_order(homes: Path) -> None:
    three = [_part("a"), _part("b"), _part("c")]
    parts.make(three[1])
    assert parts.plan(three) == [three[0], three[2]]


def test_the_digest_is_that_of_name_and_recipe() -> None:
    part = _part()
    assert part.digest == replace(part, estimate_s=99, what="else").digest
    others = [_part("two"), _part(version="2"), _part(more="x")]
    assert len({p.digest for p in [part, *others]}) == 4


def test_a_command_of_a_part_that_fails_says_where_its_log_is(homes: Path, tmp_path: Path) -> None:
    log = tmp_path / "bake-x.log"
    with pytest.raises(BuildFailed, match="sh failed while baking") as raised:
        parts.run(["sh", "-c", "echo no mirror >&2; exit 100"], log)
    assert raised.value.evidence == ("no mirror",)
    assert str(log) in raised.value.hint
    assert log.read_text() == "no mirror\n"


# -- recipes


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipes that a test may change."""
    folder = tmp_path / "recipes"
    for recipe in RECIPES:
        (folder / recipe.name).mkdir(parents=True)
        for name in ("go.mod", "go.sum"):
            (folder / recipe.name / name).write_bytes((recipe / name).read_bytes())
    monkeypatch.setattr(parts, "RECIPES", folder)
    return folder


def _digests() -> dict[str, str]:
    return {part.name: part.digest for part in node.node_parts()}


def _changed(before: dict[str, str]) -> set[str]:
    return {name for name, digest in _digests().items() if digest != before[name]}


@pytest.mark.parametrize("name", ["go.mod", "go.sum"])
def test_another_module_is_another_part_and_another_node(recipes: Path, name: str) -> None:
    before, image = _digests(), node.node_image()
    with (recipes / "etcd" / name).open("a") as file:
        file.write("\n")
    assert _changed(before) == {"etcd"}
    assert node.node_image() != image


def test_another_architecture_is_another_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _digests()
    monkeypatch.setattr(parts.platform, "machine", lambda: "riscv64")
    assert _changed(before) == set(before)


def test_another_kubernetes_is_another_kubernetes_and_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _digests()
    changed = {"node": {"kubernetes": "v1.34.99"}}
    monkeypatch.setattr(node, "section", lambda name: {**section(name), **changed.get(name, {})})
    assert _changed(before) == {"kubernetes", "pause"}


@pytest.mark.parametrize("key", ["kind", "etcd", "coredns", "local_path_provisioner", "pause"])
def test_another_version_is_another_node_image(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    before = node.node_image()
    monkeypatch.setattr(
        node, "section", lambda name: {**section(name), **({key: "v9"} if name == "bake" else {})}
    )
    assert node.node_image() != before


@pytest.mark.parametrize("name", ["SETUP", "PROXY_FILES"])
def test_another_way_to_put_it_together_is_another_node_image(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = node.node_image()
    room = node_files if hasattr(node_files, name) else node
    monkeypatch.setattr(room, name, getattr(room, name) + "\ntrue\n")
    assert node.node_image() != before


def test_another_debian_is_another_base_and_node(monkeypatch: pytest.MonkeyPatch) -> None:
    before, base = node.node_image(), bake.base_reference()
    monkeypatch.setattr(debian, "PACKAGES", [*debian.PACKAGES, "vim"])
    assert node.node_image() != before
    assert bake.base_reference() != base


MODULES = {
    "kubernetes": ("k8s.io/kubernetes", "node", "kubernetes"),
    "etcd": ("go.etcd.io/etcd/server/v3", "bake", "etcd"),
    "coredns": ("github.com/coredns/coredns", "bake", "coredns"),
    "local-path-provisioner": (
        "github.com/rancher/local-path-provisioner",
        "bake",
        "local_path_provisioner",
    ),
    "kind": ("sigs.k8s.io/kind", "bake", "kind"),
    "jaeger": ("github.com/jaegertracing/jaeger", "bake_observability", "jaeger"),
    "collector": (
        "go.opentelemetry.io/collector/receiver/otlpreceiver",
        "bake_observability",
        "collector",
    ),
}


def test_there_is_a_recipe_for_every_go_program() -> None:
    assert {r.name for r in RECIPES} == set(MODULES)


@pytest.mark.parametrize("recipe", MODULES)
def test_a_recipe_takes_the_version_that_versions_toml_names(recipe: str) -> None:
    module, where, key = MODULES[recipe]
    folder = parts.RECIPES / recipe
    found = re.findall(
        rf"^(?:require )?\s*{re.escape(module)} (v\S+)",
        (folder / "go.mod").read_text(),
        re.MULTILINE,
    )
    assert found == [section(where)[key]]
    sums = (folder / "go.sum").read_text()
    assert f"{module} {section(where)[key]} h1:" in sums


def test_pause_is_the_version_of_the_kubernetes_release() -> None:
    """kubeadm of this release asks for this pause; the module cache has the source after a bake."""
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", section("bake")["pause"])


def test_image_tags_name_the_versions_that_are_built() -> None:
    bake_versions, kubernetes = section("bake"), section("node")["kubernetes"]
    references = node.references()
    for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"):
        assert references[program] == f"registry.k8s.io/{program}:{kubernetes}"
    assert references["pause"] == f"registry.k8s.io/pause:{bake_versions['pause']}"
    assert bake.image_tags() == {
        "etcd": bake_versions["etcd"].removeprefix("v"),
        "coredns": bake_versions["coredns"],
    }
    assert node.node_image().startswith(f"kindloop/node:{kubernetes}-")


def test_every_image_that_is_built_here_has_a_name_that_no_registry_serves() -> None:
    local = [r for r in node.references().values() if not r.startswith("registry.k8s.io/")]
    assert {r.partition("/")[0] for r in local} == {"kindloop.local"}


# -- files of the node

SOURCE = """package nodeimage

const storageProvisionerImage = "docker.io/kindest/local-path-provisioner:v1"

const defaultStorageManifest = `
kind: Deployment
spec:
  template:
    spec:
      containers:
        - image: ` + storageProvisionerImage + `
          args: [--helper-image, ` + storageHelperImage + `]
---
kind: ConfigMap
data:
  helperPod.yaml: |-
    image: ` + storageHelperImage + `
`
"""


def test_the_storage_manifest_names_the_images_that_are_built() -> None:
    text = node_files.storage_manifest(SOURCE, "ours/provisioner:1", "ours/helper:1")
    assert "` +" not in text
    assert "+ `" not in text
    deployment, settings = yaml.safe_load_all(text)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container == {"image": "ours/provisioner:1", "args": ["--helper-image", "ours/helper:1"]}
    assert settings["data"]["helperPod.yaml"] == "image: ours/helper:1"


def test_a_source_without_the_manifest_is_refused() -> None:
    with pytest.raises(ValueError, match="defaultStorageManifest"):
        node_files.storage_manifest("package nodeimage\n", "a", "b")


def test_containerd_gets_our_pause_and_may_not_lower_scores() -> None:
    kind_text = (
        '[plugins."io.containerd.grpc.v1.cri"]\n'
        '  sandbox_image = "registry.k8s.io/pause:3.10"\n'
        "  restrict_oom_score_adj = false\n"
    )
    text = node_files.containerd_config(kind_text, "registry.k8s.io/pause:3.10.1")
    assert 'sandbox_image = "registry.k8s.io/pause:3.10.1"' in text
    assert "restrict_oom_score_adj = true" in text
    assert text.startswith('[plugins."io.containerd.grpc.v1.cri"]\n')


# -- Debian

ONE_LINE = "deb [signed-by=/x.gpg arch=amd64] http://mirror.example/debian bookworm main\n"
DEB822 = "Types: deb\nURIs: https://deb822.example/debian/\nSuites: bookworm\nComponents: main\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"sources.list": ONE_LINE}, "http://mirror.example/debian"),
        ({"sources.list": "deb http://plain.example/debian x main"}, "http://plain.example/debian"),
        ({"sources.list.d/debian.sources": DEB822}, "https://deb822.example/debian/"),
        ({"sources.list": "# " + ONE_LINE, "sources.list.d/a.sources": DEB822}, "https://deb822.example/debian/"),
        ({"sources.list": "deb http://security.example/debian-security x main\n" + ONE_LINE}, "http://mirror.example/debian"),
        ({"sources.list": "deb http://archive.ubuntu.example/ubuntu noble main"}, ""),
        ({"sources.list": "deb-src http://mirror.example/debian x main"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_mirror_is_the_one_that_this_machine_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], found: str
) -> None:
    monkeypatch.delenv("KINDLOOP_DEBIAN_MIRROR", raising=False)
    for name, text in files.items():
        file = tmp_path / "apt" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert debian.mirror(tmp_path) == found


def test_a_mirror_of_the_users_choice_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt" / "sources.list").write_text(ONE_LINE)
    monkeypatch.setenv("KINDLOOP_DEBIAN_MIRROR", "http://mine.example/debian")
    assert debian.mirror(tmp_path) == "http://mine.example/debian"


def _rootfs(monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes]) -> None:
    """Let the finished Debian part hold these files."""
    folder = debian.rootfs_part().folder
    folder.mkdir(parents=True)
    with tarfile.open(folder / "rootfs.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


CERTIFICATES = "./etc/ssl/certs/ca-certificates.crt"


@pytest.mark.parametrize("busybox", ["./bin/busybox", "./usr/bin/busybox", "usr/bin/busybox"])
def test_the_base_is_busybox_and_certificates_wherever_debian_keeps_them(
    homes: Path, monkeypatch: pytest.MonkeyPatch, busybox: str
) -> None:
    _rootfs(monkeypatch, {busybox: b"program", CERTIFICATES: b"trust", "./etc/motd": b"no"})
    with tarfile.open(parts.make(node.base_part()) / "layer.tar") as layer:
        modes = {m.name: m.mode for m in layer.getmembers()}
        program = layer.extractfile("bin/busybox")
        assert program is not None
        assert program.read() == b"program"
    assert set(modes) == {
        "bin/busybox", "bin/sh", "etc/ssl/certs/ca-certificates.crt", "etc/passwd", "etc/group",
        "tmp",
    }  # fmt: skip
    assert (modes["bin/busybox"], modes["tmp"]) == (0o755, 0o1777)


def test_a_debian_without_busybox_is_told(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _rootfs(monkeypatch, {CERTIFICATES: b"trust"})
    with pytest.raises(BuildFailed, match="bin/busybox is not in"):
        parts.make(node.base_part())
    assert not node.base_part().done


# -- the bake as a whole


def test_tools_that_a_bake_needs_are_all_named_at_once(
    homes: Path, monkeypatch: pytest.MonkeyPatch, fake: Callable[..., Path]
) -> None:
    fake("docker", "exit 1")  # it has no image yet
    monkeypatch.setenv("PATH", str(homes / "fake-bin"))
    with pytest.raises(ToolMissing) as raised:
        bake.bake_node()
    assert [line.partition(":")[0] for line in raised.value.evidence] == ["go", "gcc", "mmdebstrap"]
    assert raised.value.hint == "scripts/dev-setup.sh"


def test_what_is_left_is_the_missing_parts_and_the_assembly(
    homes: Path, fake: Callable[..., Path]
) -> None:
    fake("docker", "exit 1")
    everything = [*node.node_parts(), node.base_part()]
    assert bake.remaining_s() == sum(p.estimate_s for p in everything) + bake.ASSEMBLE_S
    for part in everything:
        part.folder.mkdir(parents=True)
    assert bake.remaining_s() == bake.ASSEMBLE_S
    fake("docker", "exit 0")
    assert bake.remaining_s() == 0


def test_the_bake_says_beforehand_how_long_and_why() -> None:
    text = bake.explain(13 * 60)
    assert "about 13 min" in text
    assert "No image registry answers" in text
    assert "about 1 min" in bake.explain(3)


def test_status_lists_every_part(homes: Path) -> None:
    node.base_part().folder.mkdir(parents=True)
    rows = {part.name: done for part, done in bake.status()}
    assert rows == {
        "rootfs": False, "kubernetes": False, "etcd": False, "coredns": False,
        "local-path-provisioner": False, "pause": False, "base": True,
        "prometheus": False, "alertmanager": False, "jaeger": False, "collector": False,
    }  # fmt: skip


def test_nothing_can_be_saved_before_a_bake(homes: Path, fake: Callable[..., Path]) -> None:
    fake("docker", "exit 1")
    with pytest.raises(BuildFailed) as raised:
        bake.save(homes / "out.tar")
    assert raised.value.hint == "invoke bake.node"


def test_a_save_that_fails_leaves_no_file(homes: Path, fake: Callable[..., Path]) -> None:
    fake("docker", '[ "$1" = image ] && exit 0; echo half > "$3"; echo no space >&2; exit 1')
    with pytest.raises(BuildFailed, match=r"out\.tar could not be written") as raised:
        bake.save(homes / "out.tar")
    assert raised.value.evidence == ("no space",)
    assert [p for p in homes.iterdir() if "out.tar" in p.name] == []


def test_loading_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        bake.load(tmp_path / "missing.tar")


def test_loading_images_of_another_release_is_told(homes: Path, fake: Callable[..., Path]) -> None:
    fake("docker", '[ "$1" = load ]')  # it loads, but has none of our references afterwards
    (homes / "in.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds no image of this release") as raised:
        bake.load(homes / "in.tar")
    assert node.node_image() in raised.value.message


def test_one_bake_at_a_time_and_scraps_are_gone_when_it_has_the_lock(homes: Path) -> None:
    scrap = state.cache_home() / "work" / "old"
    scrap.mkdir(parents=True)
    with bake._bake_lock():
        assert not scrap.exists()
        assert state.read_json(state.cache_home() / "bake.lock")["pid"] == os.getpid()  # type: ignore[index]
