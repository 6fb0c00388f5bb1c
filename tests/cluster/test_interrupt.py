"""Ctrl-C in each phase: exit 130, no process stays, and the next `dev-up` goes on."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from live import Loop, Running, edit, marked


def interrupted(loop: Loop, seen: Callable[[Running], bool], *words: str) -> None:
    """Run `invoke WORDS`, press Ctrl-C when `seen` says so, and check how it ended."""
    mark = f"KINDLOOP_TEST_MARK={uuid.uuid4()}"
    running = loop.start(*words, env=dict([mark.split("=")]))
    try:
        running.until(seen)
        running.interrupt()
        said = running.end()
    finally:
        running.popen.kill()
    assert said.code == 130, said.text
    assert "interrupted" in said.text
    assert marked(mark) == {}


def edit_controller(loop: Loop) -> None:
    edit(loop.app / "controllers/get_pet.rs", "there is no pet", "there never was a pet")


def edit_page(loop: Loop) -> None:
    page = loop.root / "examples/petstore/pet_store/doc/index.html"
    page.write_text(f"{page.read_text()}<!-- {uuid.uuid4()} -->\n")


PHASES = {
    "build": (edit_controller, lambda running: running.runs("rustc")),
    "image": (edit_page, lambda running: running.runs("docker", "build")),
    "load": (edit_page, lambda running: running.runs("docker", "save")),
    "rollout": (edit_page, lambda running: running.runs_with("--watch")),
}


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_leaves_nothing_and_next_up_heals(up: Loop, phase: str) -> None:
    change, seen = PHASES[phase]
    change(up)
    files = set(Path(tempfile.gettempdir()).iterdir())
    interrupted(up, seen, "dev-up")
    left = set(Path(tempfile.gettempdir()).iterdir()) - files
    assert [path for path in left if path.name.startswith(("kindloop-", "images-tar"))] == []
    up.ok("dev-up")
    assert json.loads(up.ok("dev-status", "--json"))["healthy"] is True


@pytest.mark.destructive
def test_ctrl_c_while_kind_creates(healed: Loop) -> None:
    healed.ok("dev-down")
    # kubeadm runs in the node, so the container is there and the cluster is not.
    interrupted(healed, lambda running: running.runs_with("kubeadm"), "dev-up")
    said = healed.say("dev-status")
    assert said.code == 1
    assert "half-created" in said.text
    assert "next: invoke dev-up" in said.text
    healed.ok("dev-up")
    assert "ok" in healed.curl("/health")
