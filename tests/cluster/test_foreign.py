"""Another project, from nothing to a served edit: a wheel, `kindloop init`, `kindloop dev-up`.

The service knows nothing of kindloop. It lies outside of this repository, and what runs is the wheel in
an environment that has only what the wheel asks for.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import wheels
from live import NAME as OTHERS
from live import STATE, docker, edit, free_offset, one_more_cluster

from kindloop.config import DEFAULT_PORTS

SERVICE = Path(__file__).parents[1] / "service"
NAME = OTHERS.replace("kltest", "klgreet")
HOME = STATE.parent / "test-state-foreign"
"""State of these environments alone, kept: what a killed run left is swept by the next one."""


@dataclass(frozen=True)
class Project:
    """The service in its folder, and the command with which it is worked on."""

    root: Path
    programs: Path
    offset: int

    def kindloop(self, *words: str, timeout_s: float = 900) -> str:
        """Run `kindloop WORDS`, which must succeed; returns its standard output."""
        began_s = time.monotonic()
        env = {
            "KINDLOOP_PORT_OFFSET": str(self.offset),
            "XDG_STATE_HOME": str(HOME),
        }
        done = wheels.run(
            self.programs, "kindloop", *words, cwd=self.root, env=env, timeout_s=timeout_s
        )
        took_s = time.monotonic() - began_s
        print(f"$ kindloop {' '.join(words)}   # {took_s:.1f} s\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, path: str) -> str:
        """What the service answers on this machine."""
        url = f"http://127.0.0.1:{DEFAULT_PORTS['petstore'] + self.offset}{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as answer:
            return str(answer.read().decode())


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A copy of the service, begun and taken down again."""
    with one_more_cluster():
        yield from _begun(tmp_path)


def _begun(tmp_path: Path) -> Iterator[Project]:
    programs = wheels.install(wheels.build(tmp_path / "dist"), tmp_path / "venv")
    ignored = shutil.ignore_patterns("target", ".kindloop")
    root = shutil.copytree(SERVICE, tmp_path / "greeter", ignore=ignored)
    Project(root, programs, 0).kindloop("dev-down", "--all")
    made = Project(root, programs, free_offset())
    said = made.kindloop("init", "--name", NAME)
    assert "port 3000 (src/main.rs:" in said
    assert "health path /healthz (src/main.rs:" in said
    yield made
    if "KINDLOOP_KEEP" not in os.environ:
        made.kindloop("dev-down")


def test_a_service_of_its_own_is_up_and_an_edit_is_served(project: Project) -> None:
    said = project.kindloop("dev-up", timeout_s=3000)
    assert said.splitlines()[-1] == "next: kindloop dev-watch"
    assert project.get("/") == "Good morning"
    edit(project.root / "src/main.rs", '"Good morning"', '"Good evening"')
    project.kindloop("dev-rebuild")
    assert project.get("/") == "Good evening"
    document = json.loads(project.kindloop("dev-status", "--json"))
    assert document["healthy"] is True
    project.kindloop("dev-down")
    assert docker("ps", "--all", "--quiet", "--filter", f"name={NAME}-control-plane") == ""
