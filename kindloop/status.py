"""What runs, what is stale, what answers: gathered by asking, grouped by label, never guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from kindloop import cluster, freshness, host, observing, rollout, stages, verify
from kindloop.config import Config, Workload
from kindloop.errors import KindloopError
from kindloop.pods import complete, summary
from kindloop.swap import Desk

__all__ = ["LABELS", "MARKS", "Line", "Status", "exit_code", "gather", "stack_lines", "table"]

SCHEMA = 1
State = Literal["ok", "stale", "bad", "unknown", "warning", "note"]
"""`warning` and `note` are of the observability stack: the application decides what is healthy."""
LABELS = ("build", "app", "observability", "tools")
MARKS: Mapping[str, str] = {
    "ok": "✓", "stale": "~", "bad": "✗", "unknown": "?", "warning": "!", "note": "·",
}  # fmt: skip
"""What stands in front of a row; the screens have the same."""


@dataclass(frozen=True)
class Line:
    """One row: what it is, how it is, and the detail that tells why."""

    label: str
    kind: str
    name: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class Status:
    """The environment at one moment. `memory_mb` is the working set by pod, in MiB."""

    environment: str
    lines: tuple[Line, ...]
    kubeconfig: str | None = None
    memory_mb: Mapping[str, int] = field(default_factory=dict)
    stack: tuple[observing.State, ...] = ()
    """The parts of the observability stack, with what each takes."""

    def as_json(self) -> dict[str, Any]:
        """The document of `--json`: {schema, environment, healthy, exit_code, lines, …}."""
        return {
            "schema": SCHEMA,
            "environment": self.environment,
            "exit_code": exit_code(self.lines),
            "healthy": exit_code(self.lines) == 0,
            "kubeconfig": self.kubeconfig,
            "memory_mb": dict(self.memory_mb),
            "lines": [asdict(line) for line in self.lines],
            "observability": {
                "healthy": all(part.state in ("ok", "absent") for part in self.stack),
                "memory_mb": sum(part.memory_mb or 0 for part in self.stack),
                "cpu_m": sum(part.cpu_m or 0 for part in self.stack),
                "parts": [part.as_json() for part in self.stack],
            },
        }


def exit_code(lines: Iterable[Line]) -> int:
    """0 when all is well, 1 unhealthy, 3 cannot tell, 4 stale. Pure.

    A stale stage is work that waits, and no fault; a swap that is stale serves old code.
    """
    seen = list(lines)
    states = {line.state for line in seen}
    if "bad" in states:
        return 1
    if "unknown" in states:
        return 3
    return 4 if any(line.kind == "swap" and line.state == "stale" for line in seen) else 0


def gather(config: Config) -> Status:
    """Ask engine, cluster, stages and URLs. Raises ToolMissing when the engine is away."""
    engine = host.require_engine()
    facts = cluster.status(config)
    lines = [_cluster_line(facts)]
    lines += _stage_lines(config, engine.platform)
    used: dict[str, observing.Usage] = {}
    stack: list[observing.State] = []
    if facts["healthy"]:
        with Desk(config) as desk:
            for workload in config.workloads.values():
                swaps = _swap_lines(config, workload, engine.platform, desk)
                lines += _blamed(_workload_lines(config, workload), swaps) + swaps
            used = observing.usage(config, desk.api)
            stack = observing.look(config, desk.api, used, urls=True)
        lines += stack_lines(config, observing.read(config), stack)
    else:
        lines += [
            Line(w.label, "workload", w.name, "bad", "no cluster to ask")
            for w in config.workloads.values()
        ]
    memory = {name: each.memory_mb for name, each in used.items()}
    return Status(config.name, tuple(lines), facts["kubeconfig"], memory, tuple(stack))


def table(status: Status) -> str:
    """The status as text, a group per label. Pure."""
    out = [f"environment {status.environment}"]
    for label in LABELS:
        rows = [line for line in status.lines if line.label == label]
        if rows:
            out.append(f"{label}")
        out += [f"  {MARKS[r.state]} {r.kind:<9} {r.name:<18} {r.detail}" for r in rows]
    if status.memory_mb:
        total = sum(status.memory_mb.values())
        top = sorted(status.memory_mb.items(), key=lambda item: -item[1])[:4]
        out.append(f"memory {total} MiB: " + ", ".join(f"{n} {m}" for n, m in top))
    if status.kubeconfig:
        out.append(f"export KUBECONFIG={status.kubeconfig}")
    return "\n".join(out)


_NEXT: Mapping[str, str] = {
    "absent": "invoke dev-up",
    "half-created": "invoke dev-up",
    "stopped": "invoke dev-start",
    "not ours": "invoke dev-up (says whose it is)",
    "record lost": "invoke dev-up (says how to go on)",
    "differs from kindloop.yaml": "invoke dev-up (says what differs)",
    "no answer": "invoke dev-stop dev-start",
}


def _cluster_line(facts: Mapping[str, Any]) -> Line:
    state: State = "ok" if facts["healthy"] else "bad"
    detail = facts["state"] + (f", {facts['image']}" if facts["image"] else "")
    if facts["state"] in _NEXT:
        detail += f"; next: {_NEXT[facts['state']]}"
    return Line("tools", "cluster", facts["name"], state, detail)


def _stage_lines(config: Config, platform: str) -> list[Line]:
    try:
        decisions = stages.explain(config, engine_platform=platform)
    except KindloopError as exc:
        return [Line("build", "stages", "all", "unknown", exc.message)]
    return [
        Line(
            config.stages[d.stage].label,
            "stage",
            d.stage,
            "stale" if d.stale else "ok",
            d.reason,
        )
        for d in decisions
    ]


def _workload_lines(config: Config, workload: Workload) -> list[Line]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        answer = pool.submit(_url_lines, workload)
        found = [
            d
            for d in rollout.objects(config, "deployments")
            if d["metadata"]["name"] == workload.name
        ]
        if not found:
            missing = Line(
                workload.label,
                "workload",
                workload.name,
                "bad",
                "no Deployment; next: invoke dev-up",
            )
            return [missing, *answer.result()]
        selector = ",".join(
            f"{k}={v}" for k, v in found[0]["spec"]["selector"]["matchLabels"].items()
        )
        pods = rollout.objects(config, "pods", f"--selector={selector}")
        state: State = "ok" if complete(found[0]) else "bad"
        image = found[0]["spec"]["template"]["spec"]["containers"][0]["image"]
        return [
            Line(workload.label, "workload", workload.name, state, summary(pods)),
            Line(workload.label, "image", workload.name, "ok", image),
            *answer.result(),
        ]


def _swap_lines(config: Config, workload: Workload, platform: str, desk: Desk) -> list[Line]:
    """Which binary every pod really runs; nothing for a workload without a supervisor."""
    if workload.swap is None:
        return []
    states: Mapping[str, State] = {"fresh": "ok", "stale": "stale", "unhealthy": "bad"}
    try:
        found = freshness.running(config, workload, platform, desk)
    except KindloopError as exc:
        return [Line(workload.label, "swap", workload.name, "unknown", exc.message)]
    state = states.get(found.state, "unknown")
    return [Line(workload.label, "swap", workload.name, state, f"{found.state}, {found.detail}")]


def _blamed(found: list[Line], swaps: list[Line]) -> list[Line]:
    """A pod is not ready while it serves an older binary: then the swap is what is wrong. Pure."""
    old = any(line.state == "stale" for line in swaps)
    answers = all(line.state == "ok" for line in found if line.kind != "workload")
    if not old or not answers or any(line.detail.startswith("no Deployment") for line in found):
        return found
    return [replace(line, state="stale") if line.kind == "workload" else line for line in found]


def _url_lines(workload: Workload) -> list[Line]:
    """Whether it answers on this machine; nothing for one that is in the cluster only."""
    if not workload.url:
        return []
    try:
        verify.wait_answers(workload.url + workload.health, 2.0)
    except KindloopError as exc:
        return [Line(workload.label, "url", workload.name, "bad", exc.message)]
    return [Line(workload.label, "url", workload.name, "ok", workload.url)]


def stack_lines(
    config: Config, record: observing.Record | None, stack: Sequence[observing.State]
) -> list[Line]:
    """A row for each part of the observability stack, and one for all of them. Pure."""
    if record is None or not stack:
        return []
    states: Mapping[str, State] = {"ok": "ok", "broken": "warning"}
    rows = [
        Line("observability", "part", one.name, states.get(one.state, "note"), observing.line(one))
        for one in stack
    ]
    memory = sum(one.memory_mb or 0 for one in stack)
    cpu_m = sum(one.cpu_m or 0 for one in stack)
    total = f"{memory} MiB, {cpu_m / 1000:.2f} CPU, resources {record.resources}"
    if (record.level, record.resources) != (config.observability, config.resources):
        total += (
            f"; the settings say {config.observability}, {config.resources}; next: invoke dev-up"
        )
    return [*rows, Line("observability", "total", record.level, "note", total)]
