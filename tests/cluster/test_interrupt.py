"""Ctrl-C in each phase: exit 130, no process stays, and the next `dev-up` goes on."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from live import ROOT, Loop, Running, edit, marked, sync


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


def add_fixed_file(loop: Loop) -> None:
    """A file that is fixed in the image: no swap can serve it."""
    (loop.root / "examples/petstore/notice.txt").write_text(f"{uuid.uuid4()}\n")
    dockerfile = "      dockerfile: dockerfiles/Dockerfile.dev\n"
    files = "      files: [{from: notice.txt, to: notice.txt}]\n"
    edit(loop.settings, dockerfile, dockerfile + files)


PHASES = {
    "build": (edit_controller, lambda running: running.runs("rustc")),
    "image": (add_fixed_file, lambda running: running.runs("docker", "build")),
    "load": (add_fixed_file, lambda running: running.runs("kind", "load")),
    "rollout": (add_fixed_file, lambda running: running.runs_with("--watch")),
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


def test_ctrl_c_while_a_swap_is_awaited(up: Loop) -> None:
    up.ok("dev-up")  # a test before this one may have left another image
    pods = up.pods()
    # It runs, and nobody listens where it should: the supervisor gives it its whole probation.
    elsewhere = "[--spec, doc/openapi.yaml, --config, config/config.yaml, --doc-dir, doc, --addr, '0.0.0.0:8081']"
    edit(
        up.settings, "      transport: auto\n", f"      transport: auto\n      args: {elsewhere}\n"
    )
    interrupted(up, lambda running: "· swap petstore" in running.text, "dev-rebuild", "--verbose")
    sync(ROOT, up.root)
    up.ok("dev-up")
    assert json.loads(up.ok("dev-status", "--json"))["healthy"] is True
    assert up.pods() == pods


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
