"""Images: a tag that is the digest of what goes in, and nothing else; which ones go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kindloop import images
from kindloop.config import (
    App,
    Config,
    CopiedFiles,
    Image,
    Stage,
    Swap,
    SyncedFiles,
    Workload,
)
from kindloop.errors import BuildFailed, ConfigError
from kindloop.images import ImagePlan

BASE = "alpine:3@sha256:1"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A workload `web` with a binary, a folder of settings and one document."""
    root = tmp_path / "service"
    (root / "settings" / "deep").mkdir(parents=True)
    (root / "settings" / "a.yaml").write_text("a")
    (root / "settings" / "deep" / "b.yaml").write_text("b")
    (root / "api.yaml").write_text("openapi")
    (root / "web").write_bytes(b"\x7fELF")
    (root / "web").chmod(0o755)
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    files = (CopiedFiles("settings", "config"), CopiedFiles("api.yaml", "doc/api.yaml"))
    image = Image(dockerfile=tmp_path / "Dockerfile", artifact="web", files=files)
    workload = Workload("web", image, manifests=tmp_path / "k8s")
    return Config(
        path=tmp_path / "kindloop.yaml", name="mine", app=App(root), workloads={"web": workload}
    )


def _plan(
    config: Config, *, base: str = BASE, platform: str = "linux/amd64", artifact: str | None = "web"
) -> ImagePlan:
    binary = config.app.root / artifact if artifact else None
    return images.plan(
        config, config.workloads["web"], artifact=binary, base=base, platform=platform
    )


def test_the_context_holds_the_binary_and_the_declared_files_only(config: Config) -> None:
    plan = _plan(config)
    assert set(plan.files) == {"web", "config/a.yaml", "config/deep/b.yaml", "doc/api.yaml"}
    assert plan.reference == f"kindloop.local/mine/web:{plan.tag}"
    assert set(_plan(config, artifact=None).files) == set(plan.files) - {"web"}


CHANGES: dict[str, Callable[[Config], object]] = {
    "the binary": lambda c: (c.app.root / "web").write_bytes(b"\x7fELF2"),
    "whether the binary is executable": lambda c: (c.app.root / "web").chmod(0o644),
    "a file of a copied folder": lambda c: (c.app.root / "settings/deep/b.yaml").write_text("B"),
    "a new file in a copied folder": lambda c: (c.app.root / "settings/c.yaml").write_text("c"),
    "a file gone from a copied folder": lambda c: (c.app.root / "settings/a.yaml").unlink(),
    "a file's name": lambda c: (c.app.root / "settings/a.yaml").rename(c.app.root / "settings/z"),
    "a copied file": lambda c: (c.app.root / "api.yaml").write_text("openapi: 3.1"),
    "the Dockerfile": lambda c: (c.root / "Dockerfile").write_text("FROM scratch\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_tag_changes_with(config: Config, change: str) -> None:
    before = _plan(config).tag
    CHANGES[change](config)
    assert _plan(config).tag != before


def test_the_tag_changes_with_base_platform_and_environment(config: Config) -> None:
    others = [
        _plan(config, base="alpine:3@sha256:2"),
        _plan(config, platform="linux/arm64"),
        _plan(replace(config, name="other")),
        _plan(config),
    ]
    assert len({p.tag for p in others}) == 4


def test_the_tag_changes_with_where_a_file_goes(config: Config) -> None:
    web = config.workloads["web"]
    files = (CopiedFiles("settings", "etc"), CopiedFiles("api.yaml", "doc/api.yaml"))
    moved = replace(config, workloads={"web": replace(web, image=replace(web.image, files=files))})
    assert _plan(moved).tag != _plan(config).tag


def _touch(config: Config) -> None:
    for path in config.root.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))


def _rewrite(config: Config) -> None:
    path = config.app.root / "web"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o755)


SAME: dict[str, Callable[[Config], object]] = {
    "times": _touch,
    "the same content written anew": _rewrite,
    "who else may read": lambda c: (c.app.root / "api.yaml").chmod(0o600),
    "a file that is not declared": lambda c: (c.app.root / "notes.txt").write_text("x"),
    "the manifests": lambda c: (c.root / "k8s").mkdir(),
    "the file kindloop.yaml": lambda c: c.path.write_text("# a comment"),
}


@pytest.mark.parametrize("change", SAME)
def test_the_tag_does_not_change_with(config: Config, change: str) -> None:
    before = _plan(config).tag
    SAME[change](config)
    assert _plan(config).tag == before


def test_the_checkouts_place_does_not_change_the_tag(config: Config, tmp_path: Path) -> None:
    before = _plan(config).tag
    moved = config.app.root.rename(tmp_path / "elsewhere")
    assert _plan(replace(config, app=App(moved))).tag == before


def test_a_declared_file_that_is_missing_is_a_mistake_of_the_configuration(config: Config) -> None:
    (config.app.root / "api.yaml").unlink()
    with pytest.raises(ConfigError, match=r"workload web copies api\.yaml") as raised:
        _plan(config)
    assert raised.value.exit_code == 2
    assert "workloads.web.image.files" in raised.value.hint


@pytest.mark.parametrize(
    ("references", "keep", "gone"),
    [
        ([], [], []),
        (["r:3", "r:2", "r:1"], ["r:3"], ["r:1"]),
        (["r:3", "r:2", "r:1"], ["r:1"], ["r:2"]),  # back on an old state: it and the newest stay
        (["r:3", "r:2"], ["r:3"], []),
        (["r:1"], ["r:1"], []),
        (["r:2", "r:1"], ["r:9"], ["r:1"]),  # the one in use is not in the engine
        (["r:3", "r:2", "r:1"], [], ["r:1"]),
        (["r:4", "r:3", "r:2", "r:1"], ["r:1", "r:2", "r:3"], ["r:4"]),
    ],
)
def test_superfluous(references: list[str], keep: list[str], gone: list[str]) -> None:
    assert images.superfluous(references, keep) == gone


CTR = """\
REF TYPE DIGEST SIZE PLATFORMS LABELS
kindloop.local/mine/web:new application/vnd.x sha256:n 7.1 MiB linux/amd64 io.cri-containerd.image=managed
kindloop.local/mine/web:before application/vnd.x sha256:b 7.1 MiB linux/amd64 -
kindloop.local/mine/web:old application/vnd.x sha256:o 7.1 MiB linux/amd64 -
import-2026-01-01@sha256:o application/vnd.x sha256:o 7.1 MiB linux/amd64 -
kindloop.local/mine/web:same-as-new application/vnd.x sha256:n 7.1 MiB linux/amd64 -
kindloop.local/mine/webshop:1 application/vnd.x sha256:w 7.1 MiB linux/amd64 -
registry.k8s.io/pause:3.10 application/vnd.x sha256:p 0.3 MiB linux/amd64 -
"""


def test_the_node_loses_every_name_of_an_old_digest_and_nothing_else(
    config: Config, fake: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "ctr.txt").write_text(CTR)
    row = '{{"Repository":"kindloop.local/mine/web","Tag":"{}"}}'
    rows = "\n".join(row.format(tag) for tag in ("new", "before", "old"))
    (tmp_path / "ls.txt").write_text(rows + "\n")
    fake(
        "docker",
        f'echo "$@" >> {tmp_path}/calls; case "$1 $2" in "image ls") cat {tmp_path}/ls.txt;; exec*) case "$*" in *"images ls") cat {tmp_path}/ctr.txt;; esac;; esac',
    )
    plan = replace(_plan(config), tag="new")
    assert images.prune(config, plan) == ["kindloop.local/mine/web:old"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "image rm kindloop.local/mine/web:old" in calls
    assert calls[-1] == (
        "exec mine-control-plane ctr -n k8s.io images rm "
        "kindloop.local/mine/web:old import-2026-01-01@sha256:o"
    )


def test_the_node_keeps_two_of_those_that_it_has(
    config: Config, fake: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "ctr.txt").write_text(CTR)
    row = '{{"Repository":"kindloop.local/mine/web","Tag":"{}"}}'
    rows = "\n".join(row.format(tag) for tag in ("never-loaded", "new", "before", "old"))
    (tmp_path / "ls.txt").write_text(rows + "\n")
    fake(
        "docker",
        f'echo "$@" >> {tmp_path}/calls; case "$1 $2" in "image ls") cat {tmp_path}/ls.txt;; exec*) case "$*" in *"images ls") cat {tmp_path}/ctr.txt;; esac;; esac',
    )
    gone = images.prune(config, replace(_plan(config), tag="new"))
    assert [one.rpartition(":")[2] for one in gone] == ["before", "old"]
    assert (
        (tmp_path / "calls")
        .read_text()
        .splitlines()[-1]
        .endswith("images rm kindloop.local/mine/web:old import-2026-01-01@sha256:o")
    )


def test_an_image_that_is_in_the_engine_is_not_built(
    config: Config, fake: Callable[..., Path]
) -> None:
    fake("docker", '[ "$1 $2" = "image inspect" ]')
    assert images.build(config, _plan(config)) is False


def test_a_build_gets_exactly_the_context_and_leaves_none(
    config: Config, fake: Callable[..., Path], tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    fake(
        "docker",
        f'[ "$1" = build ] || exit 1; for last; do :; done; cp -r "$last" {seen}; echo "$@" > {tmp_path}/argv',
    )
    plan = _plan(config)
    assert images.build(config, plan) is True
    found = {str(p.relative_to(seen)) for p in seen.rglob("*") if p.is_file()}
    assert found == set(plan.files)
    assert os.access(seen / "web", os.X_OK)
    argv = (tmp_path / "argv").read_text()
    assert f"--build-arg BASE={BASE}" in argv
    assert "--label kindloop.environment=mine" in argv
    assert f"--tag {plan.reference}" in argv
    assert not (config.local / "context" / "web").exists()


def test_a_build_that_fails_shows_its_last_lines_and_its_log(
    config: Config, fake: Callable[..., Path]
) -> None:
    fake("docker", '[ "$1" = build ] && echo "COPY failed: no such file" >&2; exit 1')
    with pytest.raises(BuildFailed, match="the image of web could not be built") as raised:
        images.build(config, _plan(config))
    assert raised.value.evidence == ("COPY failed: no such file",)
    assert raised.value.hint == f"less {config.local / 'logs' / 'image-build.log'}"


@pytest.fixture
def swapped(config: Config) -> Config:
    """The same service with a swap: its settings and its document come with the binary."""
    web = config.workloads["web"]
    (config.app.root / "supervisor").write_bytes(b"\x7fELF supervisor")
    (config.app.root / "supervisor").chmod(0o755)
    (config.app.root / "fixed.txt").write_text("fixed")
    workload = replace(
        web,
        image=replace(web.image, files=(CopiedFiles("fixed.txt", "fixed.txt"),)),
        swap=Swap("web"),
        sync=(SyncedFiles("settings", "config"), SyncedFiles("api.yaml", "doc/api.yaml", "none")),
    )
    stages = {"web": Stage("web", "make", outputs=("{target}/web", "{target}/other"))}
    return replace(config, stages=stages, workloads={"web": workload})


def _swap_plan(config: Config, *, with_binary: bool = False) -> ImagePlan:
    return images.plan(
        config,
        config.workloads["web"],
        artifact=config.app.root / "web",
        supervisor=config.app.root / "supervisor",
        base=BASE,
        platform="linux/amd64",
        with_binary=with_binary,
    )


def test_in_profile_loop_the_image_has_links_where_files_are_swapped(swapped: Config) -> None:
    plan = _swap_plan(swapped)
    assert set(plan.files) == {"supervisor", "fixed.txt"}
    assert plan.links == {
        "config": "/kindloop/current/config",
        "doc/api.yaml": "/kindloop/current/doc/api.yaml",
    }
    assert plan.supervised == "web"


@pytest.mark.parametrize("how", ["release", "with_binary"])
def test_an_image_that_runs_alone_has_binary_and_files(swapped: Config, how: str) -> None:
    config = replace(swapped, profile="release") if how == "release" else swapped
    plan = _swap_plan(config, with_binary=how == "with_binary")
    assert set(plan.files) == {
        "supervisor", "fixed.txt", "web", "config/a.yaml", "config/deep/b.yaml", "doc/api.yaml",
    }  # fmt: skip
    assert plan.links == {}
    assert plan.supervised == "web"


SWAPPED_AWAY: dict[str, Callable[[Config], object]] = {
    "another binary": CHANGES["the binary"],
    "no binary yet": lambda c: (c.app.root / "web").unlink(),
    "a synced file": CHANGES["a file of a copied folder"],
    "a new synced file": CHANGES["a new file in a copied folder"],
    "no synced file at all": lambda c: (c.app.root / "api.yaml").unlink(),
}


@pytest.mark.parametrize("change", SWAPPED_AWAY)
def test_a_day_of_swaps_makes_no_other_image(swapped: Config, change: str) -> None:
    before = _swap_plan(swapped)
    SWAPPED_AWAY[change](swapped)
    assert _swap_plan(swapped) == before


def test_without_its_binary_at_hand_the_image_is_the_same(swapped: Config) -> None:
    web = swapped.workloads["web"]
    plan = images.plan(
        swapped, web, artifact=None, supervisor=swapped.app.root / "supervisor",
        base=BASE, platform="linux/amd64",
    )  # fmt: skip
    assert plan == _swap_plan(swapped)


@pytest.mark.parametrize("change", ["another binary", "a synced file", "a new synced file"])
def test_an_image_that_runs_alone_changes_with_what_it_runs(swapped: Config, change: str) -> None:
    before = _swap_plan(swapped, with_binary=True).tag
    SWAPPED_AWAY[change](swapped)
    assert _swap_plan(swapped, with_binary=True).tag != before


def _other_places(config: Config) -> Config:
    sync = (SyncedFiles("settings", "etc"), SyncedFiles("api.yaml", "doc/api.yaml"))
    web = replace(config.workloads["web"], sync=sync)
    return replace(config, workloads={"web": web})


def test_the_image_of_a_swap_changes_with_all_that_is_fixed(swapped: Config) -> None:
    tags = {_swap_plan(swapped).tag, _swap_plan(_other_places(swapped)).tag}
    tags.add(_swap_plan(swapped, with_binary=True).tag)
    for name in ("supervisor", "fixed.txt"):
        (swapped.app.root / name).write_text("another")
        tags.add(_swap_plan(swapped).tag)
    (swapped.root / "Dockerfile").write_text("FROM scratch\n")
    tags.add(_swap_plan(swapped).tag)
    assert len(tags) == 6


def test_when_a_synced_file_is_read_is_no_matter_of_the_image(swapped: Config) -> None:
    sync = tuple(replace(s, on_change="restart") for s in swapped.workloads["web"].sync)
    web = replace(swapped.workloads["web"], sync=sync, swap=Swap("web", ("-v",), {"A": "b"}))
    other = replace(swapped, workloads={"web": web})
    assert _swap_plan(other) == _swap_plan(swapped)


def test_a_missing_synced_file_is_told_when_the_image_needs_it(swapped: Config) -> None:
    (swapped.app.root / "api.yaml").unlink()
    with pytest.raises(ConfigError, match=r"workload web copies api\.yaml") as raised:
        _swap_plan(swapped, with_binary=True)
    assert "workloads.web.sync" in raised.value.hint


@pytest.mark.parametrize("found", ["config", "config/a.yaml", "doc"])
def test_a_folder_copied_whole_cannot_hide_what_is_swapped(swapped: Config, found: str) -> None:
    tree = swapped.app.root / "tree"
    (tree / found).parent.mkdir(parents=True)
    (tree / found).touch()
    web = swapped.workloads["web"]
    image = replace(web.image, files=(CopiedFiles("tree", "."),))
    config = replace(swapped, workloads={"web": replace(web, image=image)})
    with pytest.raises(ConfigError, match=f"web: {found} is copied into the image, .* is swapped"):
        _swap_plan(config)


def test_an_image_of_a_swap_is_planned_with_its_programs_only(swapped: Config) -> None:
    web = swapped.workloads["web"]
    with pytest.raises(ValueError, match="needs the supervisor"):
        images.plan(swapped, web, artifact=None, base=BASE, platform="linux/amd64")
    program = swapped.app.root / "supervisor"
    with pytest.raises(ValueError, match="needs its binary"):
        images.plan(
            swapped, web, artifact=None, supervisor=program, base=BASE, platform="linux/amd64",
            with_binary=True,
        )  # fmt: skip


BUILDS = """\
case "$1 $2" in
"image inspect") [ -e {folder}/built ] && cat {folder}/settings || exit 1 ;;
"image rm") echo "$3" > {folder}/removed ;;
build*) for last; do :; done; cp -a "$last" {folder}/seen; touch {folder}/built ;;
esac
"""
"""A docker in which no image is there before it was built, with the settings that a test says."""


def _builds(fake: Callable[..., Path], folder: Path, settings: dict[str, object]) -> None:
    (folder / "settings").write_text(json.dumps(settings))
    fake("docker", BUILDS.format(folder=folder))


def test_the_context_of_a_swap_has_the_links_as_they_are(
    swapped: Config, fake: Callable[..., Path], tmp_path: Path
) -> None:
    _builds(fake, tmp_path, {"Entrypoint": ["/app/supervisor", "--"], "WorkingDir": "/app"})
    assert images.build(swapped, _swap_plan(swapped)) is True
    seen = tmp_path / "seen"
    assert sorted(p.name for p in seen.iterdir()) == ["config", "doc", "fixed.txt", "supervisor"]
    assert str((seen / "config").readlink()) == "/kindloop/current/config"
    assert [p.name for p in (seen / "doc").iterdir()] == ["api.yaml"]
    assert str((seen / "doc/api.yaml").readlink()) == "/kindloop/current/doc/api.yaml"
    assert os.access(seen / "supervisor", os.X_OK)
    assert not (tmp_path / "removed").exists()


def test_folders_of_the_context_can_be_read_by_any_user_of_the_image(
    swapped: Config, fake: Callable[..., Path], tmp_path: Path
) -> None:
    _builds(fake, tmp_path, {"Entrypoint": ["supervisor"]})
    before = os.umask(0o077)
    try:
        images.build(swapped, _swap_plan(swapped, with_binary=True))
    finally:
        os.umask(before)
    for path in (tmp_path / "seen").rglob("*"):
        plain = path.is_file() and path.name not in ("web", "supervisor")
        assert path.stat().st_mode & 0o777 == (0o644 if plain else 0o755), path


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"Entrypoint": ["/app/web"], "WorkingDir": "/app"}, '["/app/web"]'),
        (
            {"Entrypoint": ["/bin/sh", "-c", "/app/supervisor"], "WorkingDir": "/app"},
            '["/bin/sh", "-c", "/app/supervisor"]',
        ),
        ({"Entrypoint": None, "Cmd": ["/app/supervisor"], "WorkingDir": "/app"}, "none"),
        ({"Entrypoint": ["/app/my-supervisor"], "WorkingDir": "/app"}, '["/app/my-supervisor"]'),
    ],
    ids=["the binary", "a shell", "none", "another"],
)
def test_an_image_that_does_not_start_the_supervisor_is_refused(
    swapped: Config,
    fake: Callable[..., Path],
    tmp_path: Path,
    settings: dict[str, object],
    told: str,
) -> None:
    _builds(fake, tmp_path, settings)
    plan = _swap_plan(swapped)
    with pytest.raises(ConfigError, match="Dockerfile does not start the supervisor") as raised:
        images.build(swapped, plan)
    assert raised.value.exit_code == 2
    assert raised.value.evidence == (f"its ENTRYPOINT: {told}",)
    words = '["/app/supervisor", "--binary", "/app/web", "--"]'
    assert raised.value.hint.endswith(f"with: ENTRYPOINT {words}")
    # Else the next try would find it and not look again.
    assert (tmp_path / "removed").read_text().strip() == plan.reference


def test_an_image_without_a_swap_starts_what_it_likes(
    config: Config, fake: Callable[..., Path], tmp_path: Path
) -> None:
    _builds(fake, tmp_path, {"Entrypoint": ["/app/web"]})
    assert images.build(config, _plan(config)) is True
    assert not (tmp_path / "removed").exists()


def test_this_repositorys_dockerfiles_start_the_supervisor(repo: Path) -> None:
    for folder in ("dockerfiles", "examples/brrtrouter"):
        lines = (repo / folder / "Dockerfile.dev").read_text().splitlines()
        (entrypoint,) = [line for line in lines if line.startswith("ENTRYPOINT ")]
        words = json.loads(entrypoint.removeprefix("ENTRYPOINT "))
        assert words == ["/app/supervisor", "--binary", "/app/pet_store", "--"]
