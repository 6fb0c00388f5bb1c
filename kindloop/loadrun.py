"""One run of goose: its process, its folder below `.kindloop/load/`, and the run before it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kindloop import loadplan, process, report, state
from kindloop.config import Config, Load
from kindloop.errors import CannotTell, Interrupted, KindloopError
from kindloop.loadplan import HTML, JSON, Outcome, Progress
from kindloop.process import Completed, Stop

__all__ = ["Build", "Done", "measure"]

ENDING_S = 20.0
"""Seconds that goose has for its reports when it is ended early; it needs well under one."""
DIGITS = 8
"""Of a digest, as it is shown."""
SCHEMA = 1
_RECORD = "run.json"
_LOG = "goose.log"
_THRESHOLDS = 1
"""goose's exit code for a run that it did, and in which a threshold is broken (loadtest crate)."""


@dataclass(frozen=True)
class Build:
    """What answers during a load: its profile, and its sha256 where a swap has told it."""

    profile: str
    digest: str

    def __str__(self) -> str:
        return f"{self.profile} build {self.digest[:DIGITS]}".rstrip()


@dataclass(frozen=True)
class Done:
    """A run that measured something. `folder` holds goose's reports, `before` an earlier run."""

    profile: str
    load: Load
    build: Build
    outcome: Outcome
    before: Outcome | None
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """What is printed for programs: `rows` by request, `broken` in words."""
        return {
            "schema": SCHEMA,
            "profile": self.profile,
            "build": asdict(self.build),
            "complete": self.outcome.complete,
            "rps": self.outcome.rps,
            "total": asdict(self.outcome.total),
            "rows": [asdict(row) for row in self.outcome.rows],
            "broken": loadplan.broken(self.outcome, self.load),
            "before": asdict(self.before.total) if self.before else None,
            "folder": str(self.folder),
        }

    def raise_if_broken(self) -> None:
        """Raise Unhealthy that names each broken threshold with what was measured.

        A run that was ended early is judged by nothing.
        """
        if not self.outcome.complete:
            return
        if failed := loadplan.failure(self.profile, self.load, self.outcome, _shown(self.folder)):
            raise failed


def measure(
    config: Config, name: str, url: str, program: Path, build: Build, *, stop: Stop | None = None
) -> Done:
    """Run goose on `url` as profile `name` says, and show what it measured.

    `stop` ends it early. Raises Interrupted on Ctrl-C, with the reports written; KindloopError
    when goose itself fails, ToolMissing when it cannot be run, CannotTell for a report of another
    goose.
    """
    load, folder = config.load[name], _folder(config, name)
    earlier = _earlier(folder, _record(name, load, build))
    report.line(
        f"{load.users} users, {load.hatch_rate:g} more each second, {load.run_time_s} s with all "
        f"of them, on {url}, {build}"
    )
    with report.step(f"load {name}") as step:
        busy = os.getloadavg()[0]
        argv = loadplan.argv(program, url, load, folder, earlier and earlier / JSON)
        try:
            ended = _run(argv, load, folder, stop)
        except (KeyboardInterrupt, Interrupted) as exc:
            raise _interrupted(name, folder, exc) from exc
        outcome = _outcome(folder, ended)
        step.note(outcome.summary())
    record = {**_record(name, load, build), "complete": outcome.complete}
    state.write_json(folder / _RECORD, record)
    before = _read(earlier) if earlier else None
    report.output(loadplan.table(outcome, before))
    compared = f"compared with {earlier.name}" if earlier else "no earlier run to compare with"
    report.line(
        f"{compared}; load average {busy:.1f} before, {os.getloadavg()[0]:.1f} after, "
        f"on {os.cpu_count()} cores"
    )
    report.line(f"report: {_shown(folder)}/{HTML}")
    return Done(name, load, build, outcome, before, folder)


def _run(argv: tuple[str, ...], load: Load, folder: Path, stop: Stop | None) -> Completed:
    """Run it with its output in a log, and a line of progress now and then."""
    progress = Progress(loadplan.every_s(load))

    def show(line: str, _stream: process.Stream) -> None:
        if text := progress.feed(line):
            report.line(text)

    # SIGTERM ends it in order: it writes its reports.
    with process.Child(
        argv, cwd=folder, log=folder / _LOG, on_line=show, grace_s=ENDING_S
    ) as child:
        ended = child.wait(loadplan.longest_s(load), stop=stop)
    _mask(folder)
    return ended


def _mask(folder: Path) -> None:
    """Take secrets out of what goose has written, where there are any."""
    for path in (each for each in folder.iterdir() if each.name in (HTML, JSON)):
        text = path.read_text(encoding="utf-8")
        hidden = report.masked(text)
        if hidden != text:
            state.write_atomic(path, hidden)


def _outcome(folder: Path, ended: Completed) -> Outcome:
    """What its report says. Raises KindloopError when it could not do the run."""
    if ended.exit_code in (0, _THRESHOLDS) and (folder / JSON).exists():
        return _read(folder)
    if ended.stopped and (folder / JSON).exists():
        return _read(folder)
    how = "did not end in time" if ended.exit_code is None else f"exit code {ended.exit_code}"
    raise KindloopError(
        f"the load test failed: {how}",
        evidence=[line for line in ended.tail if line.strip()][-10:],
        hint=f"less {_shown(folder / _LOG)}",
    )


def _interrupted(name: str, folder: Path, cause: BaseException) -> Interrupted:
    """Show what was measured until Ctrl-C; the error that says where the report is."""
    written = (folder / JSON).exists()
    if written:
        report.output(loadplan.table(_read(folder), None))
    return Interrupted(
        f"load {name} was ended early" + (f": {cause}" if str(cause) else ""),
        why="" if written else "goose had measured nothing yet",
        hint=f"open {_shown(folder)}/{HTML}" if written else f"less {_shown(folder / _LOG)}",
    )


def _read(folder: Path) -> Outcome:
    document = state.read_json(folder / JSON)
    if document is None:
        raise CannotTell(f"{folder / JSON} is not JSON", hint=f"less {_shown(folder / _LOG)}")
    return loadplan.read(document)


def _record(name: str, load: Load, build: Build) -> dict[str, Any]:
    return {"schema": SCHEMA, "profile": name, "load": asdict(load), "build": asdict(build)}


def _folder(config: Config, name: str) -> Path:
    """A new folder for a run; of the older ones of its profile the newest few stay."""
    made = config.local / "load" / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}"
    made.mkdir(parents=True)
    for old in loadplan.outdated((one.name for one in made.parent.iterdir()), name):
        shutil.rmtree(made.parent / old)
    return made


def _earlier(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """The newest whole run before with the same users on a build of the same profile."""
    for one in sorted(folder.parent.glob(f"{record['profile']}-*"), reverse=True):
        found = state.read_json(one / _RECORD) or {}
        load = {**(found.get("load") or {})}
        same = all(load.get(key) == record["load"][key] for key in ("users", "run_time_s"))
        on_same = (found.get("build") or {}).get("profile") == record["build"]["profile"]
        if found.get("schema") == SCHEMA and found["complete"] and same and on_same:
            return one if _readable(one) else None
    return None


def _readable(folder: Path) -> bool:
    """Whether goose can compare with it: it refuses to run with a report that it cannot read."""
    try:
        _read(folder)
    except CannotTell:
        return False
    return True


def _shown(path: Path) -> str:
    """Relative to where the user stands, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
