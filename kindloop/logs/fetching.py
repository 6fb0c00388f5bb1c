"""What is there of the logs now: the pods' from the API server, the stages' from their files."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kindloop import pods
from kindloop.apiserver import Api, words
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell
from kindloop.logs.lines import Line, Source, parse
from kindloop.logs.wishes import Wishes

__all__ = [
    "Container",
    "containers_of",
    "log_file",
    "merged",
    "newest",
    "not_started",
    "of_pods",
    "of_stages",
    "read",
    "selector",
    "stamp",
]

Object = Mapping[str, Any]
READ_S = 30.0
"""Seconds in which a log must have come: 10 MB of one take a second."""


@dataclass(frozen=True)
class Container:
    """A container of a pod as the cluster has it now."""

    source: Source
    uid: str
    """Of the pod: one that comes in its place has another."""
    pod: str
    name: str
    id: str
    """Of this start of it; empty as long as it was never started."""
    restarts: int
    running: bool

    @property
    def key(self) -> tuple[str, str]:
        """What stays the same when it is started again."""
        return self.uid, self.name


def selector(api: Api, config: Config, workload: Workload) -> str:
    """What selects the pods of a workload. Raises CannotTell when it has no Deployment."""
    path = f"/apis/apps/v1/namespaces/{config.name}/deployments/{workload.name}"
    found = api.json(path, or_none=True)
    if found is None:
        raise CannotTell(
            f"there is no Deployment {workload.name} in {config.name}",
            why="it was never brought up, or it was deleted",
            hint="invoke dev-up",
        )
    labels = found["spec"]["selector"]["matchLabels"]
    return ",".join(f"{key}={value}" for key, value in labels.items())


def of_pods(api: Api, config: Config, chosen: str) -> list[Object]:
    """The pods that a selector chooses."""
    query = urlencode({"labelSelector": chosen})
    return list(api.json(f"/api/v1/namespaces/{config.name}/pods?{query}")["items"])


def containers_of(workload: str, pod: Object) -> list[Container]:
    """The containers of a pod, also those of its start. Pure."""
    metadata, status = pod["metadata"], pod.get("status", {})
    known = {
        one["name"]: one
        for kind in ("initContainerStatuses", "containerStatuses")
        for one in status.get(kind) or ()
    }
    alone = len(pod["spec"]["containers"]) == 1
    first = [one["name"] for one in pod["spec"]["containers"]][:1]
    found = []
    for name, one in known.items():
        shown = "" if alone and [name] == first else name
        state = one.get("state") or {}
        found.append(
            Container(
                Source("workload", workload, metadata["name"], shown),
                metadata["uid"],
                metadata["name"],
                name,
                # One that waits to be started again still names the one before.
                str(one.get("containerID") or ""),
                int(one.get("restartCount") or 0),
                "running" in state,
            )
        )
    return found


def not_started(workload: Workload, found: Sequence[Object]) -> CannotTell:
    """Why there is no line of a workload yet."""
    trouble = pods.trouble(found)
    return CannotTell(
        f"no container of {workload.name} has started yet: {pods.summary(found)}",
        why=trouble.message if trouble else "its image is loaded, or the node has much to do",
        hint=trouble.hint if trouble else "invoke dev-logs -f (waits for it)",
    )


def read(
    api: Api,
    config: Config,
    one: Container,
    *,
    tail: int | None = None,
    since_s: float | None = None,
    since: int = 0,
    previous: bool = False,
) -> list[Line]:
    """Lines of a container; none when it has none to give.

    `since_s` is seconds back, `since` seconds since the epoch; `previous`: of the start before.
    Raises CannotTell when the API server cannot be asked.
    """
    query: dict[str, Any] = {"container": one.name, "timestamps": "true"}
    query |= {"tailLines": tail} if tail is not None else {}
    query |= {"sinceSeconds": max(math.ceil(since_s), 1)} if since_s is not None else {}
    query |= {"sinceTime": stamp(since)} if since else {}
    query |= {"previous": "true"} if previous else {}
    path = f"/api/v1/namespaces/{config.name}/pods/{one.pod}/log?{urlencode(query)}"
    answer = api.get(path, READ_S)
    if answer.status in (400, 404):  # not started, or gone again
        return []
    if answer.status != 200:
        raise CannotTell(
            f"the log of {one.source.shown} cannot be read: {words(answer)}",
            hint="invoke dev-status",
        )
    texts = answer.body.decode("utf-8", "replace").split("\n")
    return [line for text in texts if text and (line := parse(one.source, text))]


def stamp(since: int) -> str:
    """Seconds since the epoch as the API server wants them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))


def newest(api: Api, config: Config, one: Container, wishes: Wishes) -> list[Line]:
    """The lines of a container that are wished for, those of the start before it among them.

    At least the newest, where there is one: it says from where on to follow.
    """
    # What is chosen by its words must be looked for in all.
    tail = None if wishes.grep else wishes.tail
    found: deque[Line] = deque(maxlen=max(tail, 1) if tail is not None else None)
    for previous in (True, False) if one.restarts else (False,):
        found.extend(
            read(api, config, one, tail=found.maxlen, since_s=wishes.since_s, previous=previous)
        )
    return list(found) or read(api, config, one, tail=1)


def log_file(config: Config, stage: str) -> Path:
    """Where the whole output of a stage's last run is."""
    return config.local / "logs" / f"build-{stage}.log"


def of_stages(config: Config, wishes: Wishes, oldest_ns: int | None = None) -> Iterator[Line]:
    """The lines of stages' last runs. They have no time of their own: they get their file's.

    What is older than `oldest_ns` or than the wishes is left out, unless the stage was named.
    """
    now_ns = time.time_ns()
    since_ns = now_ns - int(wishes.since_s * 1e9) if wishes.since_s is not None else None
    for name in wishes.stages:
        file = log_file(config, name)
        if not file.is_file():
            continue
        at_ns = file.stat().st_mtime_ns
        if since_ns is not None and at_ns < since_ns:
            continue
        if not wishes.stages_named and oldest_ns is not None and at_ns < oldest_ns:
            continue
        texts = file.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = None if wishes.grep else wishes.tail
        for text in texts if tail is None else texts[len(texts) - min(tail, len(texts)) :]:
            yield Line(Source("stage", name), at_ns, text)


def merged(lines: Iterable[Line]) -> list[Line]:
    """By time; lines of one source stay in their order."""
    return sorted(lines, key=lambda line: line.t_ns)
