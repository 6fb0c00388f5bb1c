"""The logs of an environment: all workloads and stages in one, by time; follows if it is to.

A line is known by its time, so nothing is lost or shown twice when a container is started again,
a pod is replaced, or the API server is away for a while.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator

from kindloop import apiserver, cluster, report
from kindloop.apiserver import Api
from kindloop.config import Config
from kindloop.errors import CannotTell, Interrupted
from kindloop.logs import fetching
from kindloop.logs.fetching import Container
from kindloop.logs.following import Following
from kindloop.logs.lines import Line, time_of
from kindloop.logs.showing import Showing
from kindloop.logs.stagefiles import StageFiles
from kindloop.logs.wishes import TAIL, Wishes, duration_s, wishes

__all__ = ["TAIL", "UNHEARD", "Wishes", "duration_s", "of_namespace", "recent", "show", "wishes"]

UNHEARD = (errno.EPIPE, errno.EIO)
"""What a write to a closed pipe or terminal says."""


def _aside(text: str) -> None:
    report.relay(report.spoken(text), error=True)


def show(
    config: Config, wanted: Wishes, *, json: bool = False, tell: Callable[[str], None] = _aside
) -> None:
    """Show the lines that are wished for; with `follow` until Ctrl-C.

    `json`: one document a line on standard output. Where there is no line, `tell` gets a text that
    says so; without it, standard error does. Raises CannotTell without a cluster or a
    container that was ever started, Unhealthy when the node is stopped, NotOurs, Interrupted when
    nobody reads any more.
    """
    try:
        _show(config, wanted, Showing(wanted, json=json), tell)
    except OSError as exc:
        if exc.errno not in UNHEARD:
            raise
        raise Interrupted("nobody reads the output any more") from exc


def recent(config: Config, lines: int) -> None:
    """Show the newest lines of each workload's pods. Raises as `show`."""
    show(config, Wishes(tuple(config.workloads.values()), (), tail=lines), tell=report.line)


def of_namespace(api: Api, config: Config, tail: int) -> Iterator[tuple[str, list[str]]]:
    """The newest lines of every container in the namespace, by `POD.CONTAINER`.

    Those of the start before it stand in front, as `POD.CONTAINER.before`.
    """
    for pod in fetching.of_pods(api, config, ""):
        for one in fetching.containers_of("", pod):
            for previous in (True, False) if one.restarts else (False,):
                lines = fetching.read(api, config, one, tail=tail, previous=previous)
                name = f"{one.pod}.{one.name}{'.before' if previous else ''}"
                if one.id:
                    yield name, [f"{time_of(line.t_ns)} {line.text}" for line in lines]


def _show(config: Config, wanted: Wishes, showing: Showing, tell: Callable[[str], None]) -> None:
    _require_run(config, wanted)
    if wanted.workloads:
        cluster.require(config)
    known = _of_workloads(config, wanted)
    lines = [line for found in known.values() for line in found]
    if wanted.since_s is not None:
        # Of a container that has said nothing since, there is the newest line.
        since_ns = time.time_ns() - int(wanted.since_s * 1e9)
        lines = [line for line in lines if line.t_ns >= since_ns]
    oldest_ns = min((line.t_ns for line in lines), default=None)
    # Right before they are read: what a stage writes between the two would be told twice.
    files = StageFiles(config, wanted.stages)
    lines += fetching.of_stages(config, wanted, oldest_ns)
    if not showing.backlog(fetching.merged(lines)):
        tell(wanted.unmet())
    if wanted.follow:
        following = Following(config, wanted.workloads, showing)
        for one, found in known.items():
            following.knew(one, found)
        following.run(lambda: _news(files, showing))


def _require_run(config: Config, wanted: Wishes) -> None:
    """Raise CannotTell for a stage that is asked for by name and has never said anything here."""
    for name in wanted.stages if wanted.stages_named and not wanted.follow else ():
        if not fetching.log_file(config, name).is_file():
            raise CannotTell(
                f"there is no log of stage {name}",
                why="it never ran in this checkout, or dev-down has removed its log",
                hint=f"invoke build.{name}",
            )


def _of_workloads(config: Config, wanted: Wishes) -> dict[Container, list[Line]]:
    """The containers that there are, with their newest lines."""
    known: dict[Container, list[Line]] = {}
    troubles: list[CannotTell] = []
    if not wanted.workloads:
        return known
    with apiserver.connect(config) as api:
        for workload in wanted.workloads:
            try:
                chosen = fetching.selector(api, config, workload)
            except CannotTell as exc:
                if not wanted.follow:  # who follows says it
                    troubles.append(exc)
                continue
            pods = fetching.of_pods(api, config, chosen)
            found = [one for pod in pods for one in fetching.containers_of(workload.name, pod)]
            started = [one for one in found if one.id]
            if not started:
                troubles.append(fetching.not_started(workload, pods))
            known |= {one: fetching.newest(api, config, one, wanted) for one in started}
    if troubles and not known and not wanted.follow:
        raise troubles[0]
    for trouble in troubles:
        report.warn(trouble.message)
    return known


def _news(files: StageFiles, showing: Showing) -> None:
    for line in files.news():
        showing.line(line)
