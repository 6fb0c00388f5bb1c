"""Archives of images with the real engine: what goes in comes out, and is known for what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kindloop import archives, bake, components, tools
from kindloop.bake import observability, oci, parts
from kindloop.config import Config
from kindloop.errors import BuildFailed, ConfigError

GRAFANA = ("GF_PATHS_HOME=/usr/share/grafana",)


class Engine:
    """Images of this test alone in the real engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[str] = []

    def archive(self, reference: str, *, env: Sequence[str] = ()) -> Path:
        """An archive with one image of one file that no other test has."""
        mark = self.folder / uuid.uuid4().hex
        mark.write_text(mark.name)
        layer = oci.layer_from_files(mark.with_suffix(".layer"), {"mark": mark})
        file = mark.with_suffix(".tar")
        spec = oci.ImageSpec(reference, layer, parts.architecture(), ["/mark"], env=env)
        oci.write_archive(file, [spec])
        self.made.append(reference)
        return file

    def has(self, reference: str) -> bool:
        """Whether the image is in the engine."""
        return bake.image_present(reference)

    def remove(self, *references: str) -> None:
        """Remove images, if they are there."""
        tools.run("docker", "image", "rm", "--force", *references, check=False)


@pytest.fixture
def engine(tmp_path: Path, homes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine in which components of this test are other images than the real ones."""
    monkeypatch.setattr(observability, "LAYOUT", uuid.uuid4().hex)
    engine = Engine(tmp_path)
    yield engine
    engine.remove(*engine.made)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An environment without workloads."""
    return Config(path=tmp_path / "kindloop.yaml", name="archives")


def test_promtool_of_a_pulled_image_is_copied_out_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was baked and this machine has none of its own."""
    program = tmp_path / "promtool"
    program.write_text("#!/bin/sh\necho promtool of the image\n")
    reference = f"kindloop.test/prometheus:{uuid.uuid4().hex}"
    layer = oci.layer_from_files(tmp_path / "layer.tar", {"bin/promtool": program})
    spec = oci.ImageSpec(reference, layer, parts.architecture(), ["/bin/prometheus"])
    oci.write_archive(tmp_path / "image.tar", [spec])
    pinned = {"prometheus": f"{reference}@sha256:{uuid.uuid4().hex}"}
    monkeypatch.setattr(components, "section", lambda _name: pinned)
    real = tools.find
    monkeypatch.setattr(tools, "find", lambda name: None if name == "promtool" else real(name))
    assert components.promtool() is None
    engine.made.append(reference)
    bake.load_archive(tmp_path / "image.tar")
    found = components.promtool()
    assert found is not None
    said = subprocess.run([found], capture_output=True, text=True, check=True).stdout
    assert said == "promtool of the image\n"
    assert not list(found.parent.glob(".*.partial"))
    assert components.promtool() == found


def _into(engine: Engine, reference: str, **settings: Any) -> str:
    bake.load_archive(engine.archive(reference, **settings))
    return reference


def test_what_is_saved_is_there_again_and_known_after_a_load(
    engine: Engine, config: Config, tmp_path: Path, shown: Any
) -> None:
    names = ("jaeger", "collector")
    references = [_into(engine, bake.component_reference(name)) for name in names]
    file = tmp_path / "out.tar"
    saved = archives.save(config, file, names)
    assert [(one.name, one.reference) for one in saved] == list(zip(names, references, strict=True))
    engine.remove(*references)
    assert not any(map(engine.has, references))
    loaded = {one.reference: one.purpose for one in archives.load(config, file)}
    assert loaded == {
        reference: f"{name} of the observability stack"
        for name, reference in zip(names, references, strict=True)
    }
    assert all(map(engine.has, references))
    assert {one.how for one in components.look(names).values()} == {"local"}


@pytest.mark.parametrize("repository", ["grafana/grafana", "docker.io/grafana/grafana-enterprise"])
def test_grafana_of_an_archive_is_what_the_next_up_takes(
    engine: Engine, config: Config, shown: Any, repository: str
) -> None:
    tag = f"0.0.{uuid.uuid4().hex[:8]}"
    assert components.look(["grafana"])["grafana"].how == "absent"
    file = engine.archive(f"{repository}:{tag}", env=GRAFANA)
    (one,) = archives.load(config, file)
    assert one.component == "grafana"
    found = components.look(["grafana"])["grafana"]
    assert (found.how, found.api_only) == ("archive", False)
    assert found.reference == f"{repository.removeprefix('docker.io/')}:{tag}"
    engine.remove(found.reference)
    assert components.look(["grafana"])["grafana"].how == "absent"


def test_grafana_without_a_name_gets_one(
    engine: Engine, config: Config, tmp_path: Path, shown: Any
) -> None:
    file = engine.archive("kindloop.test/unnamed:1", env=GRAFANA)
    nameless = tmp_path / "nameless.tar"
    with tarfile.open(file) as source, tarfile.open(nameless, "w") as out:
        for member in source.getmembers():
            content = source.extractfile(member)
            assert content is not None
            if member.name == "manifest.json":
                (entry,) = json.load(content)
                oci.add_text(out, json.dumps([{**entry, "RepoTags": None}]), "manifest.json")
            else:
                out.addfile(member, content)
    (one,) = archives.load(config, nameless)
    engine.made.append(one.reference)
    assert one.reference.startswith("kindloop.local/grafana:")
    assert components.look(["grafana"])["grafana"].reference == one.reference


def test_a_file_that_is_no_archive(config: Config, homes: Path, shown: Any) -> None:
    file = homes / "notes.tar"
    file.write_text("no archive\n" * 100)
    with pytest.raises(ConfigError, match=r"notes\.tar cannot be loaded") as raised:
        archives.load(config, file)
    assert raised.value.exit_code == 2
    assert raised.value.evidence


def test_an_archive_that_was_cut_short(engine: Engine, config: Config, shown: Any) -> None:
    file = engine.archive(bake.component_reference("jaeger"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ConfigError, match="cannot be loaded"):
        archives.load(config, file)


def test_an_archive_without_an_image_of_use(engine: Engine, config: Config, shown: Any) -> None:
    reference = f"kindloop.test/stranger:{uuid.uuid4().hex}"
    with pytest.raises(ConfigError, match="holds no image that is of use here") as raised:
        archives.load(config, engine.archive(reference))
    assert raised.value.exit_code == 2
    assert raised.value.evidence == (f"{reference}: nothing of kindloop uses it",)


def test_an_image_that_is_not_there_yet(engine: Engine, config: Config, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="the image of jaeger is not there yet") as raised:
        archives.save(config, tmp_path / "out.tar", ["jaeger"])
    assert raised.value.exit_code == 5
    assert raised.value.hint == "invoke dev-up --observability full"
    assert not list(tmp_path.glob("*out.tar*"))


def test_a_disk_that_fills_while_an_archive_is_written(
    engine: Engine, config: Config, tmp_path: Path, fake: Callable[..., Path], shown: Any
) -> None:
    """The engine's own words, said by a fake: a tmpfs would be the client's, not the engine's."""
    reference = bake.component_reference("jaeger")
    fake(
        "docker",
        f"""case "$1 $2" in
        "image inspect") echo '["{reference}"]';;
        "save --output") echo half > "$3"; echo "write $3: no space left on device" >&2; exit 1;;
        esac""",
    )
    with pytest.raises(BuildFailed, match=r"out\.tar could not be written") as raised:
        archives.save(config, tmp_path / "out.tar", ["jaeger"])
    assert raised.value.exit_code == 5
    assert "no space left on device" in raised.value.evidence[0]
    assert not list(tmp_path.glob("*out.tar*"))


def _invoke(repo: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", *args],
        cwd=repo, env={**os.environ, "KINDLOOP_VERBOSE": "0"}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("image.save OUT base nothing", 2, "nothing is no image of this environment"),
        ("image.save --file OUT --names nothing", 2, "nothing is no image of this environment"),
        ("image.save", 1, "did not receive required positional arguments: 'file'"),
        ("image.load missing.tar", 2, "missing.tar does not exist"),
        ("image.load --file missing.tar", 2, "missing.tar does not exist"),
        ("image.load one.tar two.tar", 1, "No idea what 'two.tar' is!"),
        ("image.load missing.tar -v bake.status", 2, "missing.tar does not exist"),
    ],
)
def test_words_of_the_command_line_reach_the_task(
    repo: Path, tmp_path: Path, line: str, code: int, said: str
) -> None:
    done = _invoke(repo, *line.replace("OUT", str(tmp_path / "out.tar")).split())
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_task_after_words_is_run_too(repo: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.tar"
    if not bake.image_present(bake.base_reference()):
        bake.bake_base()
    done = _invoke(repo, "image.save", str(file), "base", "bake.status")
    assert done.returncode == 0, done.stderr
    assert bake.base_reference() in done.stdout
    assert "left: about" in done.stdout
    done = _invoke(repo, "image.load", str(file), "bake.status")
    assert f"{bake.base_reference()}  base of the workloads' images" in done.stdout
    assert "left: about" in done.stdout
