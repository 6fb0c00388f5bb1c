"""What the rounds of a watch share: settings, warm connections, how each workload stands."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Protocol, TypeVar

from kindloop import changes, cluster, flows, report, saves, swapfiles
from kindloop.config import Config, Workload
from kindloop.errors import BuildFailed, ConfigError, KindloopError, Locked, ToolMissing
from kindloop.logs import UNHEARD
from kindloop.process import Stop
from kindloop.saves import Standing
from kindloop.stage_plan import Observed
from kindloop.stage_site import Site, renewed
from kindloop.stage_state import inspect_stage, own_writes
from kindloop.supervised import Verdict
from kindloop.swap import Desk, Pushed
from kindloop.telemetry import Muted

__all__ = [
    "Listener",
    "Overtaken",
    "World",
    "as_error",
    "hushed",
    "patiently",
    "show",
    "show_diff",
    "told",
]

DIFF_LINES = 40
"""Lines shown of a change of the manifests."""
LOCK_S = 0.1
"""Seconds between two attempts at a lock that another command holds."""

T = TypeVar("T")


class Listener(Protocol):
    """Who has to know how far a round is."""

    def on_turn(self, name: str, observed: Observed) -> None:
        """A stage begins to run with what was observed."""

    def all_turned(self) -> None:
        """Every stage had its turn."""

    def joined(self, until_s: float) -> frozenset[Path]:
        """What was saved meanwhile, and is in what the stages have made until then."""


class Overtaken(Exception):
    """A newer save takes the place of what is being done."""


@dataclass
class World:
    """What the rounds of a watch share and keep warm."""

    config: Config
    platform: str
    desk: Desk
    site: Site
    smoke: bool = False
    """Whether every operation is called after each swap."""
    standing: dict[str, Standing] = field(default_factory=dict)
    """By workload with a swap; missing while nobody knows."""
    tried: dict[str, Observed] = field(default_factory=dict)
    """Stages that failed, as they were then."""
    why: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What was wrong with them, a line each."""
    untold: set[str] = field(default_factory=set)
    """Workloads that serve synced files which no line has named."""
    rollout_due: bool = False
    """Whether images or manifests changed and the cluster may not have them."""
    recorder: Muted = field(default_factory=Muted)
    """Takes what is recorded of the rounds."""

    def classify(self, paths: Iterable[Path]) -> changes.Change:
        """What changed paths (absolute) concern."""
        return changes.classify(self.config, self.site.place, paths)

    def by_hand(self, paths: Iterable[Path]) -> frozenset[Path]:
        """Those of changed paths that no stage writes itself."""
        own = [p for s in self.config.stages.values() for p in own_writes(self.site, s)]
        return frozenset(p for p in paths if not any(p.is_relative_to(o) for o in own))

    def remember_tried(self, name: str) -> None:
        """A stage has failed as it is: it is not tried again before something of it changes."""
        with suppress(ConfigError, ToolMissing):
            self.tried[name] = inspect_stage(self.site, name)

    def otherwise(self) -> set[str]:
        """Stages that failed and are not as they were then: an edit of an output may be undone."""
        found = set()
        for name in self.config.stages.keys() & self.tried.keys():
            with suppress(ConfigError, ToolMissing):
                if not saves.as_tried(inspect_stage(self.site, name), self.tried[name]):
                    found.add(name)
        return found

    def served_untold(self, pushed: Pushed, *, saved: bool) -> bool:
        """Whether synced files that were `saved` are served already, and no line has named them.

        A swap takes along what is written while it publishes.
        """
        if saved:
            told = pushed.workload not in self.untold
            self.untold.discard(pushed.workload)
            return not told
        if not {"files", "files in place"}.isdisjoint(pushed.changed):
            self.untold.add(pushed.workload)
        return False

    def swappable(self) -> list[Workload]:
        """The workloads whose binary comes by a swap."""
        return [w for w in self.config.workloads.values() if self.config.swaps(w)]

    def served(self, workload: Workload | None) -> str:
        """sha256 of what answers for a workload, as far as that is known; None: the only one."""
        only = next(iter(self.config.workloads), "") if len(self.config.workloads) == 1 else ""
        standing = self.standing.get(workload.name if workload else only)
        return standing.served if standing else ""

    def read(self, paths: Iterable[Path]) -> None:
        """Digest files now, in any thread, so that a round finds it done."""
        for path in paths:
            with suppress(OSError):
                if path.is_file():
                    self.site.digests.of(str(path))

    def take_over(self, config: Config) -> None:
        """Go on with other settings of the same environment.

        Raises ConfigError for those of another one, and what `cluster.require` raises for
        settings that its cluster cannot have.
        """
        if config.name != self.config.name:
            raise ConfigError(
                f"name is {config.name} now, and this is the watch of {self.config.name}",
                hint="end it with q, then: invoke dev-up",
            )
        cluster.require(config)
        self.site = renewed(self.site, config, self.platform)
        self.config = self.desk.config = config
        self.desk.forget()

    def look(self, workload: Workload) -> Verdict | None:
        """Ask how a workload stands with what is published, and remember it; None: nothing is.

        Raises CannotTell without an API server.
        """
        want = swapfiles.folder_of(self.config, workload).want()
        if want is None:
            self.standing.pop(workload.name, None)
            return None
        verdict = self.desk.verdict(workload, want.digest)
        self.keep(workload, want.generation, want.digest, verdict)
        return verdict

    def doubt(self) -> None:
        """Trust nothing that was known of the cluster: it was away, or another changed it."""
        for name, one in self.standing.items():
            self.standing[name] = replace(one, result="unknown")
        self.desk.forget()

    @contextmanager
    def changing(self, stop: Stop) -> Iterator[None]:
        """Hold the environment; wait for a command that does. Raises as `cluster.require`."""
        with ExitStack() as stack:
            patiently(
                stop,
                lambda: stack.enter_context(flows.changing(self.config)),
                waited=self.doubt,
            )
            if not cluster.environment(self.config).owner_file.exists():
                cluster.require(self.config)  # it says what has become of the environment
            yield

    def keep(self, workload: Workload, generation: int, digest: str, verdict: Verdict) -> Standing:
        """Remember how a workload stands."""
        runs = next((runs for one in verdict.pods if (runs := saves.served_by(one))), "")
        standing = Standing(
            generation,
            digest,
            saves.result_of(verdict, generation),
            runs,
            {one.pod: one.restarts for one in verdict.pods},
        )
        self.standing[workload.name] = self.judged(workload, standing)
        return self.standing[workload.name]

    def judged(self, workload: Workload, standing: Standing) -> Standing:
        """The same, but not called fresh where older files came back after a roll back."""
        if standing.good and self.desk.went_back(workload, standing.generation):
            return replace(standing, result="rolled_back")
        return standing


def patiently(stop: Stop, call: Callable[[], T], waited: Callable[[], object] = lambda: None) -> T:
    """What `call` returns, waiting as long as another command holds the lock that it takes.

    `waited` is called before this returns, if it came to that. Raises Overtaken when `stop` is
    set meanwhile.
    """
    waits = False
    while True:
        try:
            done = call()
            if waits:
                waited()
            return done
        except Locked as exc:
            if not waits:
                report.line(f"waiting: {exc.message}")
            waits = True
            if stop.is_set():
                raise Overtaken from None
            time.sleep(LOCK_S)  # a lock tells nobody that it is free


class _Hushed:
    """Passes on what is no step: the parts of a save stand in its one line."""

    def __init__(self, renderer: report.Renderer) -> None:
        self.verbosity = renderer.verbosity
        self._renderer = renderer

    def show(self, event: report.Event) -> None:
        """Show a warning or a line, drop the rest."""
        if event.kind in ("line", "warning", "save", "key"):
            self._renderer.show(event)


@contextmanager
def hushed() -> Iterator[None]:
    """Show no steps and tables meanwhile, unless details or JSON lines are wanted."""
    if screen := report.screen():
        with screen.hushed():
            yield
        return
    renderer = report.current()
    if report.verbose() or not isinstance(renderer, report.Plain):
        yield
        return
    report.use(_Hushed(renderer))
    try:
        yield
    finally:
        report.use(renderer)


def as_error(error: OSError) -> KindloopError:
    """The same as a failure that ends no watch. Raises it when nobody hears us any more."""
    if error.errno in UNHEARD:
        raise error
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    why = "the disk is full" if error.errno == errno.ENOSPC else ""
    return KindloopError(what, why=why, hint="invoke dev-doctor")


def told(error: KindloopError) -> Sequence[str]:
    """The lines that say what is wrong: of a build its errors, else the whole message."""
    lines = error.evidence if isinstance(error, BuildFailed) else ()
    first = next((at for at, line in enumerate(lines) if ": error" in line), None)
    return str(error).splitlines() if first is None else lines[first:]


def show(error: KindloopError) -> None:
    """Show a failure that does not end the watch."""
    for line in told(error):
        report.line(line)


def show_diff(text: str) -> None:
    """Show the lines that change, under the name of their object."""
    lines = []
    for line in text.splitlines():
        if line.startswith("+++ "):
            lines.append(PurePath(line[4:].partition("\t")[0]).name)
        elif line[:1] in ("+", "-") and line[:3] != "---" and " generation: " not in line:
            lines.append(line)
    for line in lines[:DIFF_LINES]:
        report.line(f"  {line}")
    if len(lines) > DIFF_LINES:
        report.line(f"  and {len(lines) - DIFF_LINES} more lines")
