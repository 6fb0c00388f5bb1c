"""Where stages run and what is known about them: places, environment, observations, records.

`.kindloop/build/` holds one record per profile and stage, written only after a run ended well,
and beside it a mark for a run that did not.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kindloop import cargo, fingerprint, state, tools
from kindloop.cargo import TargetPlan
from kindloop.config import Config, Stage
from kindloop.errors import ConfigError
from kindloop.fingerprint import Digests
from kindloop.stage_plan import Left, Observed, Record, order
from kindloop.targets import COMPILERS
from kindloop.toolchain import Toolchain

__all__ = ["Site", "digest_files", "digest_output", "inspect", "inspect_stage", "opened"]


@dataclass(frozen=True)
class Site:
    """A checkout, a profile and the targets of this machine and this engine."""

    config: Config
    digests: Digests
    toolchain: Toolchain
    for_cluster: TargetPlan
    for_host: TargetPlan

    @property
    def root(self) -> Path:
        """Folder (absolute) in which stages run."""
        return self.config.app.root

    @property
    def target_dir(self) -> Path:
        """CARGO_TARGET_DIR: one per profile, and none of the user's own."""
        return self.root / "target" / "kindloop" / self.config.profile

    @property
    def build_dir(self) -> Path:
        """Records of the profile."""
        return self.config.local / "build" / self.config.profile

    def log(self, stage: Stage) -> Path:
        """The whole output of the stage's last run."""
        return self.config.local / "logs" / f"build-{stage.name}.log"

    def plan_for(self, stage: Stage) -> TargetPlan:
        """The target that the stage's platform asks for, ready or not."""
        return self.for_cluster if stage.platform == "cluster" else self.for_host

    def place(self, stage: Stage, text: str) -> str:
        """`text` with the placeholders `{target}`, `{root}` and `{here}` filled in."""
        binaries = self.target_dir / self.plan_for(stage).target.triple / "release"
        folders = {"{target}": binaries, "{root}": self.root, "{here}": self.config.root}
        for name, folder in folders.items():
            text = text.replace(name, str(folder))
        return text

    def path(self, stage: Stage, output: str) -> Path:
        """Absolute path of an output as declared."""
        return Path(os.path.normpath(self.root / self.place(stage, output)))

    def argv(self, stage: Stage) -> tuple[str, ...]:
        """The stage's command as words, placeholders filled in."""
        try:
            words = shlex.split(stage.run)
        except ValueError as exc:
            words, why = [], str(exc)
        else:
            why = "it is empty"
        if not words:
            raise ConfigError(f"stages.{stage.name}.run cannot be split into words", why=why)
        return tuple(self.place(stage, word) for word in words)

    def settings(self, stage: Stage) -> dict[str, str]:
        """The variables that the command is given: ours, and those of the stage."""
        own = {name: self.place(stage, value) for name, value in stage.env.items()}
        given = {**os.environ, **own}
        target = self.plan_for(stage).target
        ours = cargo.environment(target, self.config.profile, self.target_dir, given)
        # The stage may override ours, except that our flags have its own in them already.
        flags = {name: value for name, value in ours.items() if name.endswith("RUSTFLAGS")}
        return {**ours, **own, **flags}

    def record(self, name: str) -> Record | None:
        """What was recorded when the stage last ended well; None when it never did."""
        return Record.from_json(state.read_json(self.build_dir / f"{name}.json"))

    def records(self, name: str) -> Iterator[Record]:
        """The stage's records of every profile."""
        for path in sorted(self.config.local.glob(f"build/*/{name}.json")):
            record = Record.from_json(state.read_json(path))
            if record:
                yield record

    def keep(self, name: str, record: Record) -> None:
        """Record a run that ended well; the mark of one that did not goes."""
        state.write_json(self.build_dir / f"{name}.json", record.as_json())
        self._mark_path(name).unlink(missing_ok=True)

    def mark(self, name: str, left: Left) -> None:
        """Remember that a run has not ended well (yet)."""
        state.write_json(self._mark_path(name), asdict(left))

    def left(self, name: str) -> Left | None:
        """What a run that did not end well left behind; None when the last one did."""
        if not self._mark_path(name).exists():
            return None
        document = state.read_json(self._mark_path(name)) or {}
        files, inputs = document.get("files") or {}, document.get("inputs") or {}
        how: Literal["failed", "interrupted"] = (
            "failed" if document.get("how") == "failed" else "interrupted"
        )
        return Left(how, files, inputs)

    def last_run_s(self, name: str) -> float:
        """When the stage last began or ended to run, in seconds since the epoch; 0 for never."""
        paths = (self._mark_path(name), self.build_dir / f"{name}.json")
        return max((p.stat().st_mtime for p in paths if p.exists()), default=0.0)

    def forget(self, name: str) -> None:
        """Drop what is known about the stage."""
        self._mark_path(name).unlink(missing_ok=True)
        (self.build_dir / f"{name}.json").unlink(missing_ok=True)

    def _mark_path(self, name: str) -> Path:
        return self.build_dir / f"{name}.running"


@contextmanager
def opened(config: Config, engine_platform: str) -> Iterator[Site]:
    """The site of a checkout for the engine's platform ("linux/amd64"); saves what was read.

    Raises ConfigError when app.root is not a folder, ToolMissing without rustc.
    """
    if not config.app.root.is_dir():
        raise ConfigError(
            f"app.root is not a folder: {config.app.root}", hint=f"correct it in {config.path}"
        )
    build = config.local / "build"
    toolchain = Toolchain(config.app.root, build / "tools.json")
    installed = toolchain.installed_targets()
    engine_os, _, engine_arch = engine_platform.partition("/")
    here = (sys.platform, platform.machine())
    programs = {name for name in COMPILERS if tools.find(name)}
    cluster = cargo.plan_target(engine_os, engine_arch, *here, installed, os.environ, programs)
    host = cargo.plan_host_target(cluster, *here, installed)
    with Digests(build / "digests.json") as digests:
        yield Site(config, digests, toolchain, cluster, host)


def inspect(site: Site, names: Iterable[str] | None = None) -> dict[str, Observed]:
    """Look at `names` (None: all stages) and all that they need; needs come first."""
    return {name: inspect_stage(site, name) for name in order(site.config.stages, names)}


def inspect_stage(site: Site, name: str, *, strict: bool = False) -> Observed:
    """Look at one stage. `strict`: what it needs has been built, so no input may be missing.

    Raises ConfigError for an input that matches nothing, ToolMissing for a tool or a target
    that this machine lacks.
    """
    stage = site.config.stages[name]
    site.plan_for(stage).ready()
    missing: list[str] = []

    def may_miss(pattern: str) -> bool:
        if strict or not _made_by_needs(site, stage, pattern):
            return False
        missing.append(pattern)
        return True

    patterns = [site.place(stage, pattern) for pattern in stage.inputs]
    inputs = fingerprint.digest_inputs(site.root, patterns, site.digests, may_miss=may_miss)
    return Observed(
        command=stage.run,
        settings=site.settings(stage),
        env_inputs={variable: os.environ.get(variable) for variable in stage.env_inputs},
        tools={tool: site.toolchain.version(tool) for tool in stage.tools},
        inputs=_without_outputs(site, stage, inputs),
        missing=tuple(missing),
        outputs={output: digest_output(site, stage, output) for output in stage.outputs},
        left=site.left(name),
    )


def digest_output(site: Site, stage: Stage, output: str) -> str | None:
    """sha256 of an output: of a file its content, of a folder all in it; None when missing."""
    path = site.path(stage, output)
    files = fingerprint.find(path.parent, path.name)
    if files is None:
        return None
    if path.is_file():
        return site.digests.of(str(path))
    return fingerprint.digest_mapping(digest_files(files, site.digests))


def digest_files(files: Iterable[fingerprint.Found], digests: Digests) -> dict[str, str]:
    """Digest by name of files as found; one that has gone meanwhile is left out."""
    result = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            result[file[0]] = digests.of(file[1], file[2])
    return result


def _without_outputs(site: Site, stage: Stage, inputs: Mapping[str, str]) -> dict[str, str]:
    """A stage that writes below one of its inputs would else be stale after every run."""
    own = [os.path.relpath(site.path(stage, output), site.root) for output in stage.outputs]
    if not own:
        return dict(inputs)
    below = tuple(f"{output}/" for output in own)
    return {n: d for n, d in inputs.items() if n not in own and not n.startswith(below)}


def _made_by_needs(site: Site, stage: Stage, pattern: str) -> bool:
    """Whether a stage before this one writes where the pattern looks."""
    path = os.path.normpath(site.root / pattern.split("*", maxsplit=1)[0])
    for name in order(site.config.stages, stage.needs):
        need = site.config.stages[name]
        for output in (str(site.path(need, output)) for output in need.outputs):
            if f"{path}/".startswith(f"{output}/") or f"{output}/".startswith(path):
                return True
    return False
