"""What a round leaves behind for traces and metrics: from the loop's words to plain facts."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from kindloop import saves, stages
from kindloop.errors import KindloopError
from kindloop.loop.world import World, told
from kindloop.saves import Job, Result, Saved
from kindloop.supervised import Verdict
from kindloop.swap import Pushed
from kindloop.telemetry import Part, Timeline, Trace, end_to_end

__all__ = ["QUIT", "begun", "built", "ended", "keep_up", "pushed", "swapped", "trace_of"]

QUIT = "quit"
"""Why a round stops for the key `q`."""
FILES = 20
"""Names of saved files that a trace carries at most."""
FAILED_SWAPS: frozenset[Result] = frozenset(
    {"rolled_back", "refused", "crashed", "unhealthy", "failed"}
)
IN_POD = ("verify", "stop", "start")
"""The parts of a swap that a supervisor times, in their order."""


def begun(world: World, job: Job, touched: Collection[str], synced: Collection[str]) -> None:
    """What is saved is not served yet: the workloads behind it are stale."""
    for workload in world.swappable():
        upstream = stages.order(world.config.stages, [workload.artifact])
        if workload.name in synced or not set(touched).isdisjoint(upstream):
            world.recorder.stale(workload.name, job.since_s)


def built(timeline: Timeline, attempt: stages.Attempt, started_s: float) -> None:
    """Note the stages that ran, and the look at all inputs before the first of them."""
    begins_s = [began_s for began_s, _ in attempt.took.values()]
    timeline.add("look", started_s, min(begins_s, default=None), label="look")
    for name, (began_s, ended_s) in attempt.took.items():
        error = attempt.failed.get(name)
        timeline.add(
            f"stage {name}",
            began_s,
            ended_s,
            label=f"stage:{name}",
            error=told(error)[0] if error else "",
        )


def pushed(timeline: Timeline, push: Pushed) -> None:
    """Note that an artifact was put under its digest and published, just now."""
    now_s = time.monotonic()
    attributes = {"kindloop.workload": push.workload, "kindloop.digest": push.want.digest}
    timeline.add("digest", now_s - push.staged_s, now_s, label="digest", attributes=attributes)


def swapped(
    timeline: Timeline, push: Pushed, verdict: Verdict | KindloopError, began_s: float
) -> Part:
    """Note a swap that has just been judged, with what its supervisors say of their time."""
    now_s = time.monotonic()
    error = ""
    parts: tuple[Part, ...] = ()
    if isinstance(verdict, KindloopError):
        error = verdict.message
    elif verdict.state == "fresh":
        parts = in_pods(verdict, push.want.generation, now_s)
    else:
        error = saves.reason_of(verdict) or verdict.state
    return timeline.add(
        f"swap {push.workload}",
        began_s,
        now_s,
        label="swap",
        error=error,
        attributes={"kindloop.workload": push.workload, "kindloop.digest": push.want.digest},
        parts=parts,
    )


def in_pods(verdict: Verdict, generation: int, ended_s: float) -> tuple[Part, ...]:
    """The supervisors' own timings, laid before the end of the swap: they have no other clock."""
    found: list[Part] = []
    for pod in verdict.pods:
        if pod.outcome_generation == generation:
            taken_s = {n: pod.timings_ms[n] / 1000 for n in IN_POD if n in pod.timings_ms}
            found += end_to_end(taken_s, ended_s, attributes={"k8s.pod.name": pod.pod})
    return tuple(found)


def ended(
    world: World, job: Job, timeline: Timeline, lines: Sequence[Saved] | None, newer: str
) -> None:
    """Record a round; `lines` None: `newer` took its place. One ended by `q` is no failure."""
    if lines == [] or (lines is None and newer == QUIT):
        return
    now_s = time.monotonic()
    world.recorder.record(
        trace_of(world.config.name, job, timeline.parts, lines, now_s, newer=newer)
    )
    for line in lines or ():
        if line.workload and line.result in FAILED_SWAPS:
            world.recorder.failed(line.workload, line.result)


def trace_of(
    environment: str,
    job: Job,
    parts: Sequence[Part],
    lines: Sequence[Saved] | None,
    ended_s: float,
    *,
    newer: str = "",
) -> Trace:
    """The trace of a round, of its parts and of the lines that tell of it. Pure."""
    # What somebody has to look at stands for the whole.
    line = min(lines, key=lambda one: one.ok) if lines else None
    result = line.result.replace(" ", "_") if line else "superseded"
    attributes: dict[str, str | Sequence[str]] = {
        "kindloop.environment": environment,
        "kindloop.result": result,
        "kindloop.cause": job.cause,
    }
    if line and line.digest:
        attributes["kindloop.digest"] = line.digest
    if line and line.paths:
        attributes["kindloop.files"] = line.paths[:FILES]
    if line and line.workload:
        attributes["kindloop.workload"] = line.workload
    root = Part(
        job.cause,
        job.since_s,
        ended_s,
        error="" if line and line.ok else _why(line, newer),
        attributes=attributes,
        parts=(*_before(job, parts[0].began_s if parts else ended_s), *parts),
    )
    return Trace(root, result, counts=job.cause == "save")


def _before(job: Job, begins_s: float) -> Sequence[Part]:
    """Until it was quiet, and until the round had its turn: another one may have run."""
    if job.ready_s <= job.since_s:
        return ()
    return (
        Part("quiet", job.since_s, job.ready_s, "quiet"),
        Part("wait", job.ready_s, max(begins_s, job.ready_s), "wait"),
    )


def _why(line: Saved | None, newer: str) -> str:
    """The first line of what is wrong."""
    if line is None:
        return f"a newer save took its place: {newer}"
    return next(iter(line.errors), "") or line.reason.partition("\n")[0] or line.result


def keep_up(world: World) -> None:
    """Tell which workloads serve what was saved last, as far as that is known."""
    config = world.config
    swappable = world.swappable()
    world.recorder.only(one.name for one in swappable)
    for workload in swappable:
        standing = world.standing.get(workload.name)
        stuck = not world.tried.keys().isdisjoint(stages.order(config.stages, [workload.artifact]))
        if standing is not None and standing.good and not stuck:
            world.recorder.fresh(workload.name)
        elif standing is not None or stuck:
            world.recorder.stale(workload.name)
