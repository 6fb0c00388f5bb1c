"""What a supervisor reports, and the verdict on a workload: is what it serves fresh. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

__all__ = ["BAD", "VERSION", "Report", "Silence", "State", "Verdict", "judge", "judge_pod"]

VERSION = 1
"""Newest version of the report that is understood."""
BAD = frozenset({"refused", "failed", "crashed", "rolled_back"})
"""Outcomes of a generation that will not become fresh by waiting."""

State = Literal["fresh", "stale", "unhealthy", "rolled_back", "unknown"]
_CODES: Mapping[State, int] = {
    "fresh": 0, "unhealthy": 1, "unknown": 3, "stale": 4, "rolled_back": 4,
}  # fmt: skip
_WORST_FIRST: tuple[tuple[State, str], ...] = (
    ("unhealthy", "invoke dev-logs"),
    ("rolled_back", "invoke dev-logs"),
    ("stale", "invoke dev-rebuild"),
    ("unknown", "pip install --upgrade kindloop"),
)
"""What of one pod decides over the others, and the next command."""


@dataclass(frozen=True)
class Report:
    """What the supervisor in one pod says. Unknown parts are None, empty or 0.

    `uid` is the pod's where its list was read. `timings_ms` are milliseconds of the last swap by
    part. `outcome` is how `outcome_generation` went, `problem` what is wrong beside that.
    """

    pod: str
    uid: str = ""
    revision: int = 0
    state: str = ""
    ready: bool = False
    wanted_generation: int | None = None
    running_digest: str | None = None
    running_generation: int | None = None
    outcome: str | None = None
    outcome_generation: int | None = None
    reason: str = ""
    good: str | None = None
    tree: str | None = None
    restarts: int = 0
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""
    version: int = VERSION
    listens: str = ""
    """`address:port` of the program; a loopback address when it has no other on its port."""

    @property
    def unheard(self) -> bool:
        """Whether only its own pod can reach the program."""
        address = self.listens.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
        return address.startswith("127.") or address == "::1"

    @classmethod
    def from_json(cls, document: Any, pod: str) -> Report:
        """The report in a supervisor's document; fields that are missing or odd stay unknown."""
        top = _part({"top": document}, "top")
        wanted, running, outcome = (_part(top, name) for name in ("wanted", "running", "outcome"))
        version = _of(int, top.get("version")) or 0
        problem = _of(str, top.get("problem")) or ""
        if version > VERSION:
            problem = f"its supervisor speaks a newer protocol ({version}) than kindloop here"
        timings = _part(top, "timings_ms")
        return cls(
            pod,
            revision=_of(int, top.get("revision")) or 0,
            state=_of(str, top.get("state")) or "",
            ready=top.get("ready") is True,
            wanted_generation=_of(int, wanted.get("generation")),
            running_digest=_of(str, running.get("digest")),
            running_generation=_of(int, running.get("generation")),
            listens=_of(str, running.get("listens")) or "",
            outcome=_of(str, outcome.get("result")),
            outcome_generation=_of(int, outcome.get("generation")),
            reason=_of(str, outcome.get("reason")) or "",
            good=_of(str, top.get("good")),
            tree=_of(str, top.get("tree")),
            restarts=_of(int, top.get("restarts")) or 0,
            timings_ms={k: float(v) for k, v in timings.items() if type(v) in (int, float)},
            problem=problem,
            version=version,
        )


@dataclass(frozen=True)
class Silence:
    """A pod whose supervisor does not answer, and why as far as that is known."""

    pod: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """How a workload is: state and reason; what its pods said, and which said nothing."""

    state: State
    reason: str
    pods: tuple[Report, ...] = ()
    silent: tuple[Silence, ...] = ()
    hint: str = ""

    @property
    def exit_code(self) -> int:
        """Its exit code."""
        return _CODES[self.state]


def judge(
    want_digest: str,
    generation: int | None,
    tree: str | None,
    replicas: int,
    reports: Sequence[Report | Silence],
) -> Verdict:
    """The verdict on what the pods said. Pure.

    Fresh is only when every pod answered, there are at least `replicas`, and each is ready with
    `want_digest` (and with `generation` and `tree` where those are not None).
    """
    told = tuple(one for one in reports if isinstance(one, Report))
    silent = tuple(one for one in reports if isinstance(one, Silence))
    if replicas <= 0:
        return Verdict("unhealthy", "its Deployment asks for no pod", told, silent, "invoke dev-up")
    if not told:
        why = "; ".join(f"{one.pod}: {one.why}" for one in silent)
        reason = f"no supervisor answers: {why}" if why else "there is no pod to ask"
        return Verdict("unknown", reason, told, silent, "invoke k8s.kubectl -- get pods")
    found = [judge_pod(one, want_digest, generation, tree) for one in told]
    for state, hint in _WORST_FIRST:
        reasons = [reason for pod_state, reason in found if pod_state == state]
        if reasons:
            count = f"{len(reasons)} of {len(reports)} pods: " if len(reports) > 1 else ""
            return Verdict(state, count + reasons[0], told, silent, hint)
    if silent:
        reason = f"{silent[0].pod} does not answer: {silent[0].why}"
        return Verdict("unhealthy", reason, told, silent, "invoke k8s.kubectl -- get pods")
    if len(told) < replicas:
        reason = f"{len(told)} of {replicas} pods are there"
        return Verdict("unhealthy", reason, told, silent, "invoke k8s.kubectl -- get pods")
    pods = "1 pod runs" if len(told) == 1 else f"{len(told)} pods run"
    return Verdict("fresh", f"{pods} {want_digest[:8]}", told, silent)


def judge_pod(
    one: Report, want_digest: str, generation: int | None, tree: str | None
) -> tuple[State, str]:
    """The same for one pod: its state, and why when it is not fresh."""
    wanted = one.wanted_generation if generation is None else generation
    ended = one.outcome if one.outcome in BAD and one.outcome_generation == wanted else None
    runs = (one.running_digest or "nothing")[:8]
    newer = generation is not None and (one.wanted_generation or 0) > generation
    older = generation is not None and one.running_generation != generation
    checks: tuple[tuple[bool, State, str], ...] = (
        (one.version > VERSION, "unknown", one.problem),
        (bool(one.problem), "unhealthy", one.problem),
        (ended == "rolled_back", "rolled_back", f"rolled back: {one.reason or 'no reason given'}"),
        (ended is not None, "unhealthy", f"{ended}: {one.reason or 'no reason given'}"),
        (newer, "stale", f"a newer swap, {one.wanted_generation}, took the place of {generation}"),
        (one.running_digest is None, "unhealthy", f"nothing runs ({one.state or 'no state'})"),
        (one.running_digest != want_digest, "stale", f"{runs} runs, not {want_digest[:8]}"),
        (older, "stale", f"{runs} runs, but not with the newest settings"),
        (tree is not None and one.tree != tree, "stale", f"{runs} runs with older synced files"),
        (not one.ready, "unhealthy", f"{runs} runs, but is not ready ({one.state or 'no state'})"),
    )
    return next(((state, why) for failed, state, why in checks if failed), ("fresh", ""))


T = TypeVar("T")


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _of(kind: type[T], value: Any) -> T | None:
    """`value` when it is exactly of `kind` (a bool is no int), else None."""
    return value if type(value) is kind else None
