"""How long it takes to find that nothing is to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.bed import BUILD, Bed
from bench.figures import Figure
from kindloop import host

__all__ = ["plan", "warm_up"]

UPS, PLANS = 5, 10
FOLDERS, FILES = 100, 100
"""Folders of the tree, and files in each."""
YAML = """version: 1
name: klbench-plan
stages:
  tree: {run: "true", inputs: [tree], tools: []}
"""


def warm_up(bed: Bed) -> list[Figure]:
    """`invoke dev-up` when everything is there."""
    bed.up(bed.original)
    took = []
    for _ in range(UPS):
        started_s = time.perf_counter()
        bed.loop.ok("dev-up")
        took.append(time.perf_counter() - started_s)
    return [Figure.of("warm_up", took)]


def plan() -> list[Figure]:
    """The plan over a tree of unchanged files: each in a process of its own that is already up."""
    root = _tree(BUILD / "bench-plan")
    platform = host.require_engine().platform
    _explained(root, platform, build=True)
    time.sleep(2.5)  # digests of files as young as that are not kept
    _explained(root, platform)
    took = [_explained(root, platform) for _ in range(PLANS)]
    return [Figure.of("plan_10k_files", took)]


def _tree(root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    for number in range(FOLDERS):
        folder = root / "tree" / f"module_{number:03d}"
        folder.mkdir(parents=True)
        for file in range(FILES):
            text = f"pub fn f{file}() -> u32 {{ {number * FILES + file} }}\n"
            (folder / f"f{file:03d}.rs").write_text(text * 20)
    (root / "kindloop.yaml").write_text(YAML)
    return root


def _explained(root: Path, platform: str, *, build: bool = False) -> float:
    """Seconds that one plan took; `build` runs the stage, so that there is a record of it."""
    words = [sys.executable, "-m", "bench.explain", str(root / "kindloop.yaml"), platform]
    path = os.pathsep.join(str(Path(__file__).parents[i]) for i in (1, 2))
    done = subprocess.run(
        [*words, *(["--build"] if build else [])],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    if said["stale"] or said["files"] != FOLDERS * FILES:
        raise RuntimeError(f"the plan is not what it should be: {said}")
    return float(said["took_s"])
