"""Image archives: the same bytes for the same input, and the real engine loads them."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindloop import tools
from kindloop.bake import oci, parts


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program"
    file.write_bytes(b"#!/bin/true\n")
    return file


def _archive(folder: Path, program: Path, reference: str = "kindloop.test/x:1") -> Path:
    folder.mkdir(exist_ok=True)
    layer = oci.layer_from_files(folder / "layer.tar", {"usr/bin/b": program, "bin/a": program})
    path = folder / "image.tar"
    spec = oci.ImageSpec(
        reference, layer, parts.architecture(), ["/bin/a"], labels={"kindloop.recipe": "r1"}
    )
    oci.write_archive(path, [spec])
    return path


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, program: Path) -> None:
    first = _archive(tmp_path / "one", program).read_bytes()
    os.utime(program, (1, 1))
    program.chmod(0o600)
    assert _archive(tmp_path / "two", program).read_bytes() == first


def test_other_content_gives_other_bytes(tmp_path: Path, program: Path) -> None:
    first = _archive(tmp_path / "one", program).read_bytes()
    program.write_bytes(b"#!/bin/fals\n")
    assert _archive(tmp_path / "two", program).read_bytes() != first


def test_a_layer_is_sorted_owned_by_root_undated_and_executable(
    tmp_path: Path, program: Path
) -> None:
    layer = oci.layer_from_files(tmp_path / "l.tar", {"z": program, "/a": program})
    with tarfile.open(layer) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["a", "z"]
    assert {(m.uid, m.gid, m.mtime, m.mode) for m in members} == {(0, 0, 0, 0o755)}


def test_links_folders_and_texts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        oci.add_link(tar, "bin/sh", "busybox")
        oci.add_folder(tar, "/tmp/", 0o1777)
        oci.add_text(tar, "é", "/etc/x")
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmember("bin/sh").linkname == "busybox"
        assert (tar.getmember("tmp").isdir(), tar.getmember("tmp").mode) == (True, 0o1777)
        text = tar.extractfile("etc/x")
        assert text is not None
        assert text.read() == "é".encode()


def test_config_and_layers_are_named_by_their_digests(tmp_path: Path, program: Path) -> None:
    with tarfile.open(_archive(tmp_path / "a", program)) as tar:
        content = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    (entry,) = json.loads(content["manifest.json"])
    config = content[entry["Config"]]
    assert hashlib.sha256(config).hexdigest() == entry["Config"].removesuffix(".json")
    (layer,) = entry["Layers"]
    digest = hashlib.sha256(content[layer]).hexdigest()
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert entry["RepoTags"] == ["kindloop.test/x:1"]


@pytest.fixture
def reference() -> Iterator[str]:
    name = f"kindloop.test/oci:{uuid.uuid4().hex}"
    yield name
    tools.run("docker", "image", "rm", "--force", name, check=False)


def test_the_engine_loads_it_with_entrypoint_label_and_files(
    tmp_path: Path, program: Path, reference: str
) -> None:
    loaded = tools.run("docker", "load", "--input", _archive(tmp_path / "a", program, reference))
    assert reference in loaded.stdout
    inspected = tools.run("docker", "image", "inspect", reference).stdout
    found = json.loads(inspected)[0]
    assert found["Architecture"] == parts.architecture()
    assert found["Config"]["Entrypoint"] == ["/bin/a"]
    assert found["Config"]["Labels"] == {"kindloop.recipe": "r1"}
    saved = tmp_path / "saved.tar"
    tools.run("docker", "save", "--output", saved, reference)
    with tarfile.open(saved) as tar:
        layers = [
            n for n in tar.getnames() if n.endswith("layer.tar") or n.startswith("blobs/sha256/")
        ]
        digest = hashlib.sha256((tmp_path / "a" / "layer.tar").read_bytes()).hexdigest()
        assert any(digest in name for name in layers) or any(
            hashlib.sha256(tar.extractfile(n).read()).hexdigest() == digest  # type: ignore[union-attr]
            for n in layers
        )
