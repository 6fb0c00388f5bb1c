"""The parts of a bake: what each is made of, how, and how long it takes.

A part is a folder in the cache named by the digest of its recipe. It is made in a folder beside
it and renamed when whole, so a killed bake leaves finished parts and nothing half-made.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kindloop import process, report, state, tools
from kindloop.errors import BuildFailed, KindloopError
from kindloop.versions import section

__all__ = ["ARCHITECTURES", "Part", "architecture", "go_part", "logs", "make", "plan", "sweep"]

ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
}
RECIPES = Path(__file__).parent / "recipes"
SCHEMA = 1
"""Raised when the way parts are made changes without a change of their inputs."""

MINUTES_30 = 1800.0


@dataclass(frozen=True)
class Part:
    """One thing to make: `estimate_s` is seconds on 2 cores without any cache."""

    name: str
    what: str
    estimate_s: float
    recipe: Mapping[str, str]
    """Everything that decides its content, as text."""
    build: Callable[[Path, Path], None]
    """Fills the folder (first argument), logging to the file (second argument)."""

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe, 12 hexadecimal digits: what the folder is named by."""
        content = json.dumps([SCHEMA, self.name, dict(self.recipe)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Where it lies when finished."""
        return state.cache_home() / "parts" / f"{self.name}-{self.digest}"

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return self.folder.is_dir()


def architecture() -> str:
    """This machine's architecture in Go's and Docker's words (amd64, arm64)."""
    machine = platform.machine().lower()
    return ARCHITECTURES.get(machine, machine)


def logs() -> Path:
    """Folder of the bake's logs, one file a part."""
    return state.cache_home() / "logs"


def plan(parts: Sequence[Part]) -> list[Part]:
    """The parts that are missing, in the order given."""
    return [part for part in parts if not part.done]


def make(part: Part) -> Path:
    """Make `part` unless it is there; returns its folder.

    Raises BuildFailed with the last lines of the log. The caller holds the bake lock.
    """
    if part.done:
        return part.folder
    log = logs() / f"bake-{part.name}.log"
    partial = part.folder.with_name(f".{part.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with report.step(f"bake {part.name}") as step:
        step.note(part.what)
        try:
            part.build(partial, log)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(part.folder)
    return part.folder


def sweep() -> None:
    """Remove what a killed bake left. The caller holds the bake lock."""
    for left in (state.cache_home() / "parts").glob(".*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def run(
    argv: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = MINUTES_30,
) -> None:
    """Run one command of a part; its output goes to the log, its end becomes BuildFailed."""
    done = process.run(argv, cwd=cwd, env=env, log=log, timeout_s=timeout_s)
    if not done.ok:
        raise failed(f"{Path(str(argv[0])).name} failed while baking", log, done.tail)


def failed(message: str, log: Path, tail: Sequence[str]) -> KindloopError:
    """The error of a part: its last lines and where the rest is."""
    return BuildFailed(
        message,
        evidence=tail[-12:],
        why="a package mirror or module proxy did not answer, or the disk is full",
        hint=f"less {log}; then the same command again (finished parts are kept)",
    )


def go_part(
    name: str,
    what: str,
    estimate_s: float,
    packages: Sequence[str],
    *,
    ldflags: str = "-s -w",
    rename: str = "",
) -> Part:
    """A part made of Go programs whose go.mod and go.sum are committed under `recipes/`.

    `rename` is the name of the binary where the package's own last element is no name. Sources
    of the recipe's own, for the package `.`, count in the digest.
    """
    recipe_dir = RECIPES / name

    def build(folder: Path, log: Path) -> None:
        output = folder / rename if rename else folder
        argv = ["go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
        argv += ["-ldflags", ldflags, "-o", f"{output}{'' if rename else os.sep}", *packages]
        run(argv, log, cwd=recipe_dir, env=go_env())

    recipe = {
        "go.mod": (recipe_dir / "go.mod").read_text(encoding="utf-8"),
        "go.sum": (recipe_dir / "go.sum").read_text(encoding="utf-8"),
        "packages": " ".join(packages),
        "ldflags": ldflags,
        "architecture": architecture(),
        **{p.name: p.read_text(encoding="utf-8") for p in sorted(recipe_dir.glob("*.go"))},
    }
    return Part(name, what, estimate_s, recipe, build)


def go_env() -> dict[str, str]:
    """Static binaries for this architecture; the toolchain that go.mod asks for may be fetched."""
    return {
        "CGO_ENABLED": "0",
        "GOOS": "linux",
        "GOTOOLCHAIN": "auto",
        "GOWORK": "off",
        "GOFLAGS": "",
    }


def kind_module(log: Path) -> Path:
    """Folder of kind's own source module, fetched by go and checked against go.sum."""
    module = f"sigs.k8s.io/kind@{section('bake')['kind']}"
    found = tools.run(
        "go", "mod", "download", "-json", module, cwd=RECIPES / "kind", env=go_env(), timeout_s=300
    )
    state.write_atomic(log, found.stdout)
    return Path(json.loads(found.stdout)["Dir"])
