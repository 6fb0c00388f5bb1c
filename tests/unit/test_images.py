"""Images: a tag that is the digest of what goes in, and nothing else; which ones go."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kindloop import images
from kindloop.config import App, Config, CopiedFiles, Image, Workload
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
