"""Running one stage's command: its log, and what is told of it when it fails."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kindloop import cargo, process, report
from kindloop.config import Stage
from kindloop.errors import BuildFailed, Interrupted, ToolMissing
from kindloop.stage_site import Site

__all__ = ["Superseded", "execute"]

EVIDENCE_LINES = 10
"""Errors shown of a failed cargo command; the log has all of them."""
TAIL_LINES = 20
"""Lines shown of a failed command that reports no errors that we can read."""


class Superseded(Interrupted):
    """A newer save has made the run pointless."""


def execute(site: Site, stage: Stage, stop: process.Stop | None = None) -> None:
    """Run the command to its end and see that its outputs exist.

    Raises BuildFailed with the errors last and short, ToolMissing when there is no such
    program, Superseded when `stop` was set and the stage may be cancelled. On Ctrl-C its whole
    process group has ended before KeyboardInterrupt goes on.
    """
    argv, env = site.argv(stage), site.settings(stage)
    messages = cargo.Messages(site.config.root)
    header = f"$ cd {shlex.quote(str(site.root))} && {_by_hand(argv, env)}"
    with _Log(site.log(stage), header, messages) as log:
        try:
            ended = process.run(
                cargo.with_messages(argv),
                cwd=site.root,
                env=env,
                on_line=log.take,
                timeout_s=stage.timeout_s,
                stop=stop if stage.on_newer == "cancel" else None,
            )
        except ToolMissing as exc:
            raise ToolMissing(
                f"stage {stage.name}: {exc.message}",
                hint=f"install it, or correct stages.{stage.name}.run in {site.config.path}",
            ) from exc
    if ended.stopped and stop:
        raise Superseded(
            f"stage {stage.name} was superseded: {stop.reason}",
            hint=f"invoke build.{stage.name} (starts it again)",
        )
    if not ended.ok:
        raise _failure(site, stage, ended, log)
    _check_outputs(site, stage, log)


def _check_outputs(site: Site, stage: Stage, log: _Log) -> None:
    paths = [site.path(stage, output) for output in stage.outputs]
    missing = [_shown(path, site) for path in paths if not path.exists()]
    if missing:
        raise BuildFailed(
            f"stage {stage.name} ended well but did not make {', '.join(missing)}",
            why="its command writes elsewhere, or the outputs are declared wrong",
            hint=f"correct stages.{stage.name} in {site.config.path}; its output: {log.path}",
            evidence=log.tail[-5:],
        )


def _failure(site: Site, stage: Stage, ended: process.Completed, log: _Log) -> BuildFailed:
    errors = log.messages.errors
    count = len(errors)
    if ended.exit_code is None:
        how = f"did not end within {stage.timeout_s} s"
    elif count:
        how = f"failed: {count} error{'' if count == 1 else 's'}"
    elif ended.exit_code < 0:
        how = f"was ended by a signal: {signal.strsignal(-ended.exit_code)}"
    else:
        how = f"failed: exit code {ended.exit_code}"
    linking = any("error: link" in error for error in errors)
    return BuildFailed(
        f"stage {stage.name} {how}",
        why=site.plan_for(stage).target.linker_hint if linking else "",
        hint=f"less {_shown(log.path, site)}  # the whole log; its first line runs it by hand",
        evidence=_few(errors) if errors else log.tail[-TAIL_LINES:],
    )


def _few(errors: list[str]) -> list[str]:
    if len(errors) <= EVIDENCE_LINES:
        return errors
    shown = EVIDENCE_LINES - 1
    return [*errors[:shown], f"and {len(errors) - shown} more"]


def _shown(path: Path, site: Site) -> str:
    root = site.config.root
    return os.path.relpath(path, root) if path.is_relative_to(root) else str(path)


def _by_hand(argv: tuple[str, ...], env: Mapping[str, str]) -> str:
    return shlex.join(["env", *(f"{name}={value}" for name, value in env.items()), *argv])


class _Log:
    """The whole output of one run as a person would read it, in a file; the end in memory."""

    def __init__(self, path: Path, header: str, messages: cargo.Messages) -> None:
        self.path = path
        self.messages = messages
        self.tail: list[str] = []
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._file.write(report.masked(header) + "\n")

    def take(self, line: str, stream: process.Stream) -> None:
        """Write a line; called from the threads that read both streams of the child."""
        with self._lock:
            text = self.messages.read(line) if stream == "out" else line
            if text is None or self._file.closed:
                return
            self._file.write(report.masked(text) + "\n")
            self._file.flush()
            report.log(text)
            self.tail = (self.tail + text.splitlines())[-TAIL_LINES:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._file.close()
