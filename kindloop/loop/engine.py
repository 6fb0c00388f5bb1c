"""The main thread of the watch: takes what comes in one by one, and serves it in rounds."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from kindloop import changes, flows, gitstate, logs, report, saves, secrecy, stages
from kindloop.config import Config
from kindloop.errors import Interrupted, KindloopError
from kindloop.fingerprint import Digests
from kindloop.keys import Keys
from kindloop.loop import recording
from kindloop.loop.feeding import Feed
from kindloop.loop.followers import Followers, News
from kindloop.loop.patrol import Patrol
from kindloop.loop.referee import Inbox, Message, Referee, digest_of, unseen
from kindloop.loop.rounds import Round
from kindloop.loop.underload import under_load
from kindloop.loop.world import World, as_error, show
from kindloop.process import Stop
from kindloop.saves import Job, Saved
from kindloop.swap import Desk
from kindloop.telemetry import Muted, Timeline
from kindloop.watching import Batch

__all__ = ["Engine"]

BUSY_S = 0.5
"""Seconds between two looks whether git is done."""
LOG_LINES = 30
HELP = (
    "r rebuild · g generate · p pause · t smoke · L load · l log lines · "
    "q quit, the environment stays"
)


class Engine:
    """One watch of one environment."""

    def __init__(
        self,
        config: Config,
        platform: str,
        load: Callable[[], Config],
        *,
        smoke: bool,
        recorder: Muted | None = None,
    ) -> None:
        self._config = config
        self._platform = platform
        self._load = load
        self._smoke = smoke
        self._recorder = recorder or Muted()
        self._inbox: Inbox = queue.SimpleQueue()
        self._pending: deque[Message] = deque()
        self._digests = Digests()
        self._held: Job | None = None
        self._paused = False
        self._git = False
        """Whether a rebase was under way when git was looked at last."""
        self._quits = False
        self._followers = Followers(self._inbox.put)

    def run(self, *, keys: bool) -> None:
        """Serve until q. Raises KindloopError when the environment is gone, or Interrupted."""
        with ExitStack() as stack:
            desk = stack.enter_context(Desk(self._config))
            site = stack.enter_context(stages.opened(self._config, self._platform))
            self._world = World(
                self._config, self._platform, desk, site, self._smoke, recorder=self._recorder
            )
            self._settings = digest_of(self._config.path, self._digests)
            self._feed = stack.enter_context(Feed(self._config, self._inbox.put, self._world.read))
            stack.callback(self._followers.close)
            keyboard = Keys(self._inbox.put, screen=report.screen())
            heard = stack.enter_context(keyboard) if keys else None
            self._patrol = Patrol(self._world)
            self._meet()
            self._serve(Job("start", time.monotonic(), everything=True))
            self._follow()
            more = "; ? shows the keys" if heard and heard.active else ""
            report.line(f"watching {self._feed.count} files and folders{more}")
            while not self._quits:
                self._take(self._next())
        report.line("the environment stays; invoke dev-down removes it")

    # -- what comes in

    def _next(self) -> Message | None:
        """What came next; None when it is time to look around."""
        recording.keep_up(self._world)
        if "q" in self._pending:
            return "q"
        if self._pending:
            return self._pending.popleft()
        due_s = self._patrol.due_s
        if self._git:
            due_s = min(due_s, time.monotonic() + BUSY_S)
        try:
            return self._inbox.get(timeout=max(due_s - time.monotonic(), 0.0))
        except queue.Empty:
            return None

    def _take(self, message: Message | None) -> None:
        try:
            self._do(message)
        except OSError as exc:
            show(as_error(exc))

    def _do(self, message: Message | None) -> None:
        match message:
            case Batch():
                self._saved(message)
            case News():
                self._heard(message)
            case str():
                self._pressed(message)
            case KindloopError():
                raise message
            case None:
                self._look()

    def _saved(self, batch: Batch) -> None:
        """Serve a batch, with those behind it."""
        while self._pending and isinstance(self._pending[0], Batch):
            batch |= self._pending.popleft()  # type: ignore[operator]  # a Batch, as asked
        job = self._job(batch)
        if job is None:
            return
        rebase = self._look_at_git()
        if not (rebase or self._paused or self._held):
            self._serve(job)
            return
        if rebase and not self._held:
            report.line("a rebase is under way: saves wait until it is over, or for r")
        self._held = self._held.joined(job) if self._held else job
        self._release()

    def _look_at_git(self) -> bool:
        """Whether a rebase is under way; its end is told, by whichever message finds it."""
        under_way = gitstate.busy(self._config.app.root) == "rebase"
        if self._git and not under_way:
            report.line("the rebase is over")
        self._git = under_way
        return under_way

    def _job(self, batch: Batch) -> Job | None:
        """What a batch asks for; None for nothing."""
        world = self._world
        change = changes.classify(self._config, world.site.place, batch.paths)
        everything = change.settings and self._reread()
        if change.cluster:
            report.line("the kind configuration counts when the cluster is made: invoke dev-up")
        paths = unseen(world, change.paths, world.site.digests)
        if not everything:
            paths -= {self._config.path}
            if not paths:
                return None
        return Job("save", batch.first_s, paths, everything=everything, ready_s=batch.ready_s)

    def _heard(self, news: News) -> None:
        """A supervisor reports: a later roll back or crash is told at once."""
        line = self._patrol.heard(news)
        if line:
            self._tell(line)

    def _pressed(self, key: str) -> None:
        match key:
            case "q":
                self._quits = True
            case "r":
                report.key("everything is built again", data={"key": key})
                self._force("rebuild", tuple(self._config.stages))
            case "g":
                name = saves.generator(self._config.stages)
                report.key(f"{name} runs" if name else "no stage generates", data={"key": key})
                if name:
                    self._force("generate", (name,))
            case "p":
                self._pause(key)
            case "t":
                self._guarded(lambda: flows.smoke(self._config))
            case "L":
                self._guarded(lambda: under_load(self._config, self._inbox, self._pending))
                self._patrol.rest(0.0)
            case "l":
                self._guarded(lambda: logs.recent(self._config, LOG_LINES))
            case _:
                report.key(HELP, data={"key": key})

    def _pause(self, key: str) -> None:
        self._paused = not self._paused
        count = len(self._held.paths) if self._held else 0
        files = f"{count} file{'' if count == 1 else 's'}"
        text = "paused: saves wait for p" if self._paused else f"goes on; saved: {files}"
        report.key(text, data={"key": key, "paused": self._paused, "waiting": count})
        self._release()

    def _release(self) -> None:
        """Serve what was held back, unless there is still a reason to hold it."""
        if self._held and not self._paused and not self._git:
            job, self._held = self._held, None
            self._serve(replace(job, since_s=time.monotonic()))

    def _force(self, cause: saves.Cause, forced: tuple[str, ...]) -> None:
        """Build on demand, and whatever waits with it."""
        job = Job(cause, time.monotonic(), everything=cause == "rebuild", forced=forced)
        if self._held:
            job, self._held = replace(self._held, since_s=job.since_s).joined(job), None
        self._serve(job)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Interrupted:
            raise
        except KindloopError as exc:
            show(exc)

    # -- rounds

    def _serve(self, job: Job) -> None:
        """Do rounds until one is not overtaken by a newer save, and tell how it ended."""
        while True:
            stop = Stop()
            with Referee(self._inbox, self._world, stop) as referee:
                lines, published = self._round(job, stop, referee)
            if lines is not None:
                self._pending.extend(referee.kept)
                break
            newer = [one for one in referee.kept if isinstance(one, Batch)]
            self._pending.extend(one for one in referee.kept if not isinstance(one, Batch))
            if "q" in self._pending:
                return
            found = [one for batch in newer if (one := self._job(batch))]
            if found and published:
                # The older save reached the pods: nobody waits for it any more.
                job = replace(job, since_s=found[0].since_s, ready_s=found[0].ready_s)
            for one in found:
                job = job.joined(one)
        for line in lines:
            self._tell(line)
        self._follow()
        self._patrol.rest()

    def _round(self, job: Job, stop: Stop, referee: Referee) -> tuple[list[Saved] | None, bool]:
        """The lines of a round, None when it was overtaken, and whether it got to the pods."""
        timeline, published = Timeline(), False
        lines: list[Saved] | None
        try:
            this = Round(self._world, job, stop, referee, timeline)
            lines, published = this.run(), this.published
        except Interrupted:
            raise
        except (KindloopError, OSError) as exc:
            error = as_error(exc) if isinstance(exc, OSError) else exc
            self._patrol.troubled(error)
            show(error)
            took_s = time.monotonic() - job.since_s
            served = self._world.served(None)
            lines = [Saved("failed", took_s, served=served, reason=error.message)]
        recording.ended(self._world, job, timeline, lines, stop.reason)
        return lines, published

    def _look(self) -> None:
        """Find what no event told: content, pods, settings that are other than they should be."""
        if self._git and not self._look_at_git():
            self._release()
        if time.monotonic() < self._patrol.due_s:
            return
        if self._settings_differ() and self._reread():
            self._serve(Job("heal", time.monotonic(), everything=True))
            return
        # What waits must not be built by a repair.
        waits = bool(self._held or self._paused or self._git)
        lines, job = self._patrol.look(stages_too=not waits)
        for line in lines:
            self._tell(line)
        if job and not waits:
            self._serve(job)

    def _tell(self, line: Saved) -> None:
        text = line.line()
        report.save(
            text if line.ok else f"✗ {text}", ok=line.ok, took_s=line.took_s, data=line.data()
        )

    def _settings_differ(self) -> bool:
        return digest_of(self._config.path, self._digests) != self._settings

    def _reread(self) -> bool:
        """Take over kindloop.yaml; whether there was anything new in it, and nothing wrong."""
        self._settings = digest_of(self._config.path, self._digests)
        secrecy.learn()
        try:
            config = self._load()
            if config == self._config:
                return False
            self._world.take_over(config)
            self._rewatch(config)
        except Interrupted:
            raise
        except KindloopError as exc:
            show(exc)
            report.line("the settings from before stay in force")
            return False
        self._config = config
        self._feed.ignore(config)
        report.line(f"{config.path.name} was read again")
        return True

    def _rewatch(self, config: Config) -> None:
        """Watch what the settings declare; where that fails, all stays as it was."""
        try:
            self._feed.rewatch(config)
        except KindloopError:
            self._world.take_over(self._config)
            raise

    def _follow(self) -> None:
        """Follow each workload that is swapped, as the settings are now."""
        world = self._world
        self._followers.follow(world.swappable(), self._config, world.desk)

    def _meet(self) -> None:
        """Tell how files travel to each workload, and see how it stands before the first round."""
        for workload in self._world.swappable():
            choice = self._world.desk.choice(workload)
            report.line(f"{workload.name}: {choice.kind}, {choice.reason}")
        for workload in self._world.swappable():
            self._guarded(partial(self._world.look, workload))
