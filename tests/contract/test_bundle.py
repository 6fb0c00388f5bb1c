"""The archive for the report of a fault: what is in it, what is not and why, also when all is broken."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kindloop import report, tools
from kindloop.bundle import archive

NOT_RUNNING = "echo 'Cannot connect to the Docker daemon' >&2; exit 1"
FILE = """\
version: 1
name: bundle-contract
secrets: [TOKEN]
stages:
  gen: {run: "true", env: {TOKEN: hunter2-in-yaml}}
"""
SECRETS = ("hunter2-in-yaml", "hunter3-in-shell")


@pytest.fixture
def project(homes: Path, repo: Path, fake: Callable[..., Path]) -> Path:
    folder = homes / "project"
    (folder / ".kindloop/logs").mkdir(parents=True)
    # As a version before this one has left it: not masked.
    (folder / ".kindloop/logs/build-gen.log").write_text("TOKEN=hunter2-in-yaml\nfine\n")
    (folder / "kindloop.yaml").write_text(FILE)
    (folder / "tasks.py").write_bytes((repo / "tasks.py").read_bytes())
    fake("docker", NOT_RUNNING)
    return folder


def _invoke(project: Path, *words: str) -> tools.Result:
    env = {"TOKEN": "hunter3-in-shell"}
    return tools.run(sys.executable, "-m", "invoke", *words, cwd=project, env=env, check=False)


def _texts(file: Path) -> dict[str, str]:
    """The files of an archive by path, without the folder that all are in."""
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            found = {name: archive.read(name).decode() for name in archive.namelist()}
    else:
        with tarfile.open(file) as tar:
            found = {m.name: tar.extractfile(m).read().decode() for m in tar.getmembers()}  # type: ignore[union-attr]
    folder = file.name.partition(".")[0]
    assert all(name.startswith(f"{folder}/") for name in found)
    return {name.removeprefix(f"{folder}/"): text for name, text in found.items()}


@pytest.mark.parametrize("name", ["report.tar.gz", "report.zip"])
def test_without_an_engine_there_is_what_needs_none(project: Path, name: str) -> None:
    said = _invoke(project, "dev-doctor", "--bundle", name)
    assert said.exit_code == 0, said.stderr
    texts = _texts(project / name)
    assert (project / name).stat().st_mode & 0o777 == 0o600
    assert "the Docker engine does not run" in texts["doctor.txt"]
    assert texts["logs/build-gen.log"] == "TOKEN=***\nfine\n"
    assert "TOKEN: ***" in texts["kindloop.yaml"]
    assert "stages.gen.env.TOKEN" in texts["config.txt"]
    assert texts["versions.txt"].startswith("kindloop: ")
    manifest = json.loads(texts.pop("manifest.json"))
    assert {name: len(text.encode()) for name, text in texts.items()} == manifest["files"]
    assert {"plan", "status", "logs of pods", "cluster"} <= set(manifest["missing"])
    assert all(manifest["missing"].values())
    assert "next: " in texts["missing/plan.txt"]
    for secret in SECRETS:
        assert secret not in "".join(texts.values()) + said.stdout + said.stderr
    assert "not in it: plan: " in said.stdout


@pytest.mark.parametrize("text", ["version: 1\nsecrets: [TOKEN]\nstages: [", FILE + "profil: x\n"])
def test_a_broken_kindloop_yaml_is_told_and_not_copied(project: Path, text: str) -> None:
    (project / "kindloop.yaml").write_text(text)
    said = _invoke(project, "dev-doctor", "--bundle", "b.zip", "--json")
    assert said.exit_code == 0, said.stderr
    document = json.loads(said.stdout)
    texts = _texts(project / "b.zip")
    assert "kindloop.yaml" in texts["config.txt"]
    assert "error: " in texts["config.txt"]
    assert "kindloop.yaml" not in texts
    assert document["missing"]["plan, status, swap, records, logs, cluster"]
    assert set(document["files"]) == set(texts) - {"manifest.json"}
    assert Path(document["file"]) == project / "b.zip"
    for secret in SECRETS:
        assert secret not in "".join(texts.values()) + said.stdout + said.stderr


def test_without_any_kindloop_yaml_there_is_the_machine(project: Path) -> None:
    (project / "kindloop.yaml").unlink()
    assert _invoke(project, "dev-doctor", "--bundle", "b.tgz").exit_code == 0
    texts = _texts(project / "b.tgz")
    assert "doctor.json" in texts
    assert "there is no kindloop.yaml" in texts["config.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.txt", "report.txt is no name of an archive"),
        ("none/report.zip", "there is no folder none"),
        ("tasks.py", "tasks.py is no name of an archive"),
    ],
)
def test_a_name_that_cannot_be_is_exit_2(project: Path, name: str, message: str) -> None:
    said = _invoke(project, "dev-doctor", "--bundle", name)
    assert said.exit_code == 2
    assert said.stderr.startswith(f"error: {message}")
    assert "next: " in said.stderr
    assert not (project / "report.txt").exists()


def test_a_file_that_is_there_stays_unless_force_is_said(project: Path) -> None:
    file = project / "b.zip"
    file.write_text("mine")
    said = _invoke(project, "dev-doctor", "--bundle", "b.zip")
    assert said.exit_code == 2
    assert said.stderr.startswith("error: b.zip is there already")
    assert file.read_text() == "mine"
    assert _invoke(project, "dev-doctor", "--bundle", "b.zip", "--force").exit_code == 0
    assert "doctor.txt" in _texts(file)
    assert [p.name for p in project.iterdir() if p.name.startswith(".b.zip")] == []


def test_a_folder_that_takes_no_file_is_no_traceback(project: Path) -> None:
    if os.geteuid() == 0:
        where = Path("/proc")  # root may write anywhere but there
    else:
        where = project / "closed"
        where.mkdir(mode=0o500)
    said = _invoke(project, "dev-doctor", "--bundle", f"{where}/b.zip")
    assert said.exit_code == 1
    assert "Traceback" not in said.stderr
    assert "b.zip cannot be written: " in said.stderr


def test_bundle_and_outdated_do_not_go_together(project: Path) -> None:
    said = _invoke(project, "dev-doctor", "--bundle", "b.zip", "--outdated")
    assert said.exit_code == 2
    assert not (project / "b.zip").exists()


def test_its_json_stays_json_whatever_is_secret(unmasked: None) -> None:
    report.mask_with(["54320987", "hunter2-token"])
    text = json.dumps({"port": 54320987, "url": "db:54320987", "hunter2-token": [None, True]})
    masked = json.loads(archive.masked("state/status.json", text))
    assert masked == {"port": 54320987, "url": "db:***", "***": [None, True]}
    assert archive.masked("state/cut-off.json", '{"a": "hunter2-token') == '{"a": "***'
    assert archive.masked("events.txt", text).startswith('{"port": ***')
