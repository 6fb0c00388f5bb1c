"""Images of the observability components: what decides them, what goes in, what runs."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop import bake
from kindloop.bake import observability, parts
from kindloop.errors import BuildFailed, ToolMissing
from kindloop.versions import section

COLLECTOR = parts.RECIPES / "collector"
DEBIAN = {
    "./usr/bin/prometheus": b"server",
    "./usr/bin/promtool": b"checker",
    "./usr/bin/perl": b"no",
    "./usr/lib/riscv/libc.so.6": b"libc",
    "./usr/lib/riscv/libresolv.so.2": b"resolver",
    "./usr/lib/riscv/ld-linux-riscv.so.1": b"loader",
    "./usr/lib/riscv/libperl.so.5": b"no",
    "./usr/share/prometheus/web/templates/_base.html": b"page",
    "./usr/share/javascript/jquery/jquery.js": b"script",
    "./usr/share/nodejs/popper.js/dist/popper.js": b"script",
    "./usr/share/fonts-glyphicons/a.woff": b"font",
    "./usr/share/ca-certificates/mozilla/B.crt": b"second\n",
    "./usr/share/ca-certificates/mozilla/A.crt": b"first\n",
}
LINKS = {
    "./usr/lib/ld-linux-riscv.so.1": "riscv/ld-linux-riscv.so.1",
    "./usr/share/javascript/popper.js": "../nodejs/popper.js/dist",
}


def _rootfs(path: Path, without: str = "") -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in DEBIAN.items():
            if name != without:
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime, info.uid = len(content), 0o755, 9, 7
                tar.addfile(info, io.BytesIO(content))
        for name, target in LINKS.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)


@pytest.fixture
def debian(tmp_path: Path, homes: Path, fake: Callable[..., Path]) -> Path:
    """What mmdebstrap writes; a test may change it."""
    rootfs = tmp_path / "debian.tar"
    _rootfs(rootfs)
    fake(
        "mmdebstrap", f'for last in "$@"; do case $last in *.tar) cp {rootfs} "$last";; esac; done'
    )
    return rootfs


def test_the_image_has_the_program_what_it_loads_and_its_web_page_and_no_more(
    debian: Path, shown: object
) -> None:
    folder = parts.make(observability.part("prometheus"))
    with tarfile.open(folder / "layer.tar") as layer:
        members = {m.name: m for m in layer.getmembers()}
        bundle = layer.extractfile("etc/ssl/certs/ca-certificates.crt")
        assert bundle is not None
        assert bundle.read() == b"first\nsecond\n"
    assert members.keys() == {
        *(name.removeprefix("./") for name in [*DEBIAN, *LINKS]),
        "lib", "lib64", "prometheus", "tmp", "etc/passwd", "etc/group",
        "etc/ssl/certs/ca-certificates.crt",
    } - {
        "usr/bin/perl", "usr/lib/riscv/libperl.so.5", "usr/bin/promtool",
        "usr/share/ca-certificates/mozilla/A.crt", "usr/share/ca-certificates/mozilla/B.crt",
    }  # fmt: skip
    assert {m.mtime for m in members.values()} == {0}
    assert members["usr/share/javascript/popper.js"].linkname == "../nodejs/popper.js/dist"
    owned = {name for name, m in members.items() if m.uid}
    assert owned == {"prometheus"}
    assert members["prometheus"].uid == members["prometheus"].gid == observability.USER
    assert members["tmp"].mode == 0o1777


def test_promtool_of_the_same_package_lies_beside_it(debian: Path, shown: object) -> None:
    assert bake.promtool() is None
    parts.make(observability.part("prometheus"))
    found = bake.promtool()
    assert found is not None
    assert found.read_bytes() == b"checker"
    assert found.stat().st_mode & 0o111
    assert not (found.parent / "rootfs.tar").exists()


@pytest.mark.parametrize(
    "renamed",
    ["./usr/bin/prometheus", "./usr/bin/promtool", "./usr/lib/riscv/libc.so.6",
     "./usr/share/fonts-glyphicons/a.woff"],
)  # fmt: skip
def test_a_file_that_debian_renamed_is_told_and_leaves_no_part(
    debian: Path, shown: object, renamed: str
) -> None:
    _rootfs(debian, without=renamed)
    with pytest.raises(BuildFailed, match="is not in Debian's packages"):
        parts.make(observability.part("prometheus"))
    assert not observability.part("prometheus").done


def test_a_change_of_the_collectors_sources_is_another_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: observability.reference(name) for name in observability.BAKED}
    for recipe in ("jaeger", "collector"):
        (tmp_path / recipe).mkdir()
        for file in (parts.RECIPES / recipe).iterdir():
            (tmp_path / recipe / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(parts, "RECIPES", tmp_path)
    assert {name: observability.reference(name) for name in observability.BAKED} == before
    generated = tmp_path / "collector" / "components.go"
    generated.write_text(generated.read_text() + "\n")
    after = {name: observability.reference(name) for name in observability.BAKED}
    assert {name for name in before if after[name] != before[name]} == {"collector"}


@pytest.mark.parametrize("change", ["debian", "layout"])
def test_another_debian_or_layout_is_another_image(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before = observability.reference("alertmanager")
    if change == "layout":
        monkeypatch.setattr(observability, "LAYOUT", 99)
    else:
        monkeypatch.setattr(
            observability, "section", lambda name: {**section(name), "debian": "forky"}
        )
    assert observability.reference("alertmanager") != before


def test_what_is_baked_has_a_name_that_no_registry_serves() -> None:
    for name in observability.BAKED:
        assert re.fullmatch(
            rf"kindloop\.local/{name}:[0-9a-f]{{12}}", observability.reference(name)
        )


def test_the_collectors_sources_are_those_that_its_list_gives() -> None:
    """Every module of builder.yaml is required in that version and registered, and no other."""
    listed = dict(re.findall(r"gomod: (\S+) (v\S+)", (COLLECTOR / "builder.yaml").read_text()))
    required = (COLLECTOR / "go.mod").read_text()
    for module, version in listed.items():
        assert re.search(rf"^\s*{re.escape(module)} {re.escape(version)}$", required, re.MULTILINE)
    sources = (COLLECTOR / "components.go").read_text() + (COLLECTOR / "main.go").read_text()
    kinds = r"(?:receiver|processor|exporter|extension|provider)"
    imported = set(re.findall(rf'"(\S+/\w+{kinds})"\n', sources))
    assert imported == set(listed)


def test_only_the_tools_of_what_is_missing_are_asked_for(
    homes: Path, monkeypatch: pytest.MonkeyPatch, fake: Callable[..., Path]
) -> None:
    fake("docker", "exit 1")
    monkeypatch.setenv("PATH", str(homes / "fake-bin"))
    for name, tool in (("alertmanager", "mmdebstrap"), ("jaeger", "go")):
        with pytest.raises(ToolMissing) as raised:
            bake.bake_components([name])
        assert [line.partition(":")[0] for line in raised.value.evidence] == [tool]


def test_what_is_left_is_the_parts_that_are_missing(homes: Path, fake: Callable[..., Path]) -> None:
    fake("docker", "exit 1")
    each = {name: recipe.estimate_s for name, recipe in observability.BAKED.items()}
    everything = sum(each.values()) + bake.LOAD_S * len(each)
    assert bake.components_remaining_s(each) == everything
    observability.part("jaeger").folder.mkdir(parents=True)
    assert bake.components_remaining_s(each) == everything - each["jaeger"]


def test_images_that_are_there_are_not_made_again(homes: Path, fake: Callable[..., Path]) -> None:
    reference = observability.reference("jaeger")
    fake("docker", f"""[ "$2" = inspect ] && echo '["{reference}"]'""")
    assert bake.bake_components(["jaeger"]) == {"jaeger": reference}
    assert bake.components_remaining_s(["jaeger"]) == 0
