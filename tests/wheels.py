"""A wheel of this checkout in an environment that has nothing but what the wheel asks for.

Nothing is downloaded: what it asks for is linked from the environment of the tests, and whatever it
does not ask for is not there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def build(folder: Path) -> Path:
    """The wheel, made by hatchling as pip does it."""
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--quiet"]
    _pip("wheel", *options, "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("kindloop-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """A new environment in `folder` with the wheel in it; returns its folder of programs."""
    venv.create(folder, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    _pip("--python", str(python), "install", "--no-index", "--no-deps", "--quiet", str(wheel))
    (site,) = folder.glob("lib/python*/site-packages")
    (own,) = site.glob("kindloop-*.dist-info")
    for needed in _closure(Distribution.at(own), set()):
        for name in {Path(file).parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
            (site / name).symlink_to(needed.locate_file(name))
    _pip("--python", str(python), "check")
    return folder / "bin"


def run(
    programs: Path, *words: str, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment, with no settings of this checkout around it."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KINDLOOP_", "PYTHON", "VIRTUAL_ENV"))
    }
    return subprocess.run(
        [programs / words[0], *words[1:]],
        cwd=cwd,
        env={**clean, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _closure(of: Distribution, seen: set[str]) -> Iterator[Distribution]:
    """What a distribution needs, and what that needs, extras left out."""
    for text in of.requires or ():
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = distribution(requirement.name)
        yield found
        yield from _closure(found, seen)


def _pip(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
