"""Where stages run and what is remembered of them: places, environment, targets, records.

`.kindloop/build/` holds one record per profile and stage, written only after a run ended well,
and beside it a mark for a run that did not.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from kindloop import cargo, state, tools
from kindloop.cargo import TargetPlan
from kindloop.config import Config, Stage
from kindloop.errors import ConfigError
from kindloop.fingerprint import Digests
from kindloop.stage_plan import Ended, Left, Record
from kindloop.targets import COMPILERS
from kindloop.toolchain import Toolchain

__all__ = ["Site", "opened", "renewed"]


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

    @cached_property
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
        if "{" not in text:
            return text
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
        # Not durable: what a power failure takes is built again.
        state.write_json(self.build_dir / f"{name}.json", record.as_json(), durable=False)
        self._mark_path(name).unlink(missing_ok=True)

    def mark(self, name: str, left: Left) -> None:
        """Remember that a run has not ended well (yet)."""
        state.write_json(self._mark_path(name), asdict(left), durable=False)

    def left(self, name: str) -> Left | None:
        """What a run that did not end well left behind; None when the last one did."""
        if not self._mark_path(name).exists():
            return None
        document = state.read_json(self._mark_path(name)) or {}
        files, inputs = document.get("files") or {}, document.get("inputs") or {}
        how = document.get("how")
        known: Ended = how if how in ("failed", "cleaned") else "interrupted"
        return Left(known, files, inputs, float(document.get("started_s") or 0.0))

    def forget(self, name: str) -> None:
        """Drop the record of the stage, but not which inputs its command has seen.

        Cargo goes by dates: an input that is other than then must get a new one.
        """
        last = self.left(name) or self.record(name)
        if last is not None:
            self.mark(name, Left("cleaned", last.files, last.inputs, last.started_s))
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
    cluster, host = _targets(toolchain, engine_platform)
    with Digests(build / "digests.json") as digests:
        yield Site(config, digests, toolchain, cluster, host)


def renewed(site: Site, config: Config, engine_platform: str) -> Site:
    """The site as `opened` would make it now; what it knows of files and tools is kept."""
    toolchain = site.toolchain
    if config.app.root != site.root:
        toolchain = Toolchain(config.app.root, config.local / "build" / "tools.json")
    cluster, host = _targets(toolchain, engine_platform)
    return Site(config, site.digests, toolchain, cluster, host)


def _targets(toolchain: Toolchain, engine_platform: str) -> tuple[TargetPlan, TargetPlan]:
    """The targets for the engine and for this machine, as the installed toolchain allows."""
    installed = toolchain.installed_targets()
    engine_os, _, engine_arch = engine_platform.partition("/")
    here = (sys.platform, platform.machine())
    programs = {name for name in COMPILERS if tools.find(name)}
    cluster = cargo.plan_target(engine_os, engine_arch, *here, installed, os.environ, programs)
    return cluster, cargo.plan_host_target(cluster, *here, installed)
