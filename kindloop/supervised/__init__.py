"""What the supervisors in the pods of a workload report, and the verdict on it: is it fresh.

They are asked through the API server's pod proxy, so no port of this machine is needed and every
pod is reached. All pods are asked at once. Nothing is fresh that was not asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kindloop.apiserver import Api
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell, Unhealthy
from kindloop.supervised.asking import ASK_S, Asked, Pods, ask, ask_all, look
from kindloop.supervised.panics import last_panic, last_words, panic_of, words_of
from kindloop.supervised.verdicts import (
    BAD,
    VERSION,
    Report,
    Silence,
    State,
    Verdict,
    judge,
    judge_pod,
)
from kindloop.swapfiles import Want

__all__ = [
    "Pods",
    "Report",
    "Silence",
    "State",
    "Verdict",
    "ask",
    "ask_all",
    "follow",
    "judge",
    "last_panic",
    "last_words",
    "look",
    "panic_of",
    "wait",
    "words_of",
]

LOOK_S = 0.2
"""Seconds between two looks while a pod is missing or silent: nothing tells when it comes."""
LISTED_S = 1.0
"""Seconds for which a list of pods is good enough to follow them."""
TURN_S = 1.0
"""Seconds that a followed pod without news may hold back the news of another."""


def wait(
    api: Api,
    config: Config,
    workload: Workload,
    want: Want,
    timeout_s: float,
    *,
    pods: Pods | None = None,
) -> Verdict:
    """Wait until the workload is fresh, or cannot be, or `timeout_s` is over; the verdict then.

    `pods` remembered from the last swap are asked at once, and their list is read anew when they
    have answered: meanwhile the API server would take the processor from what starts. Raises
    NotOurs when the cluster is another's; all else is a verdict.
    """
    waiting = _Waiting(Asked(api, config), pods or Pods(api, config, workload), want, timeout_s)
    return waiting.verdict()


class _Waiting:
    """One `wait`: what is asked, and what was said so far."""

    def __init__(self, asked: Asked, pods: Pods, want: Want, timeout_s: float) -> None:
        self._asked = asked
        self._pods = pods
        self._want = want
        self._deadline_s = time.monotonic() + timeout_s
        self._said: dict[str, Report | Silence] = {}
        self._look_s = 0.0
        """When the list of pods may be read again (monotonic)."""
        self._trouble: CannotTell | None = None
        """Why the list of pods could not be read the last time."""

    def verdict(self) -> Verdict:
        try:
            self._ask()  # the pods that are remembered
            self._hear()
            self._renew()
            while True:
                self._ask()
                verdict = self._judged()
                if self._settled():
                    return verdict
                left_s = self._deadline_s - time.monotonic()
                if left_s <= 0 and not self._asked.open & self._pods.uids.keys():
                    return verdict
                answer = self._asked.take(LOOK_S if self._lacking() else max(left_s, 0.0) + ASK_S)
                if answer is not None:
                    self._said[answer.pod] = answer
                if self._lacking() and time.monotonic() >= self._look_s:
                    self._renew()
        except Unhealthy as exc:
            return Verdict("unhealthy", exc.message, hint=exc.hint)

    def _hear(self) -> None:
        """Take the answers of those that were asked first, but wait for no slow one."""
        until_s = time.monotonic() + LOOK_S
        while self._asked.open:
            answer = self._asked.take(max(until_s - time.monotonic(), 0.0))
            if answer is None:
                return
            self._said[answer.pod] = answer

    def _ask(self) -> None:
        """Ask every pod that is not being asked and whose answer is not the last word."""
        left_s = max(self._deadline_s - time.monotonic(), 0.0)
        generation = self._want.generation
        for pod in self._pods.uids.keys() - self._asked.open:
            said = self._said.get(pod)
            if said is None:
                self._asked.put(pod, generation=generation, wait_s=left_s)
            elif left_s == 0 or self._last_word(said):
                continue
            elif isinstance(said, Report) and said.outcome_generation == generation:
                # Fresh once, then not ready or with other files: only a change can mend that.
                wait_s = min(left_s, LOOK_S)
                self._asked.put(pod, revision=said.revision, wait_s=wait_s)
            else:
                self._asked.put(pod, generation=generation, wait_s=left_s, after_s=LOOK_S)

    def _renew(self) -> None:
        try:
            self._pods.renew()
            self._trouble = None
        except CannotTell as exc:
            self._trouble = exc
        self._look_s = time.monotonic() + LOOK_S

    def _judged(self) -> Verdict:
        if self._trouble is not None:
            why = "; ".join((self._trouble.message, *self._trouble.evidence))
            return Verdict("unknown", why, hint=self._trouble.hint)
        uids = self._pods.uids
        said = [self._said.get(pod, Silence(pod, "no answer yet")) for pod in uids]
        named = [
            replace(one, uid=uids[one.pod]) if isinstance(one, Report) else one for one in said
        ]
        want = self._want
        return judge(want.digest, want.generation, want.tree, self._pods.replicas, named)

    def _settled(self) -> bool:
        if self._trouble is not None:
            return False
        said = [self._said.get(pod) for pod in self._pods.uids]
        return self._pods.replicas <= 0 or (
            len(said) >= self._pods.replicas
            and all(one is not None and self._last_word(one) for one in said)
        )

    def _last_word(self, said: Report | Silence) -> bool:
        want = self._want
        return isinstance(said, Report) and (
            judge_pod(said, want.digest, want.generation, want.tree)[0] == "fresh"
            or said.version > VERSION
            or (said.outcome in BAD and said.outcome_generation == want.generation)
            or (said.wanted_generation or 0) > want.generation
        )

    def _lacking(self) -> bool:
        uids = self._pods.uids
        return (
            self._trouble is not None
            or len(uids) < self._pods.replicas
            or any(isinstance(self._said.get(pod), Silence) for pod in uids)
        )


def follow(
    api: Api,
    config: Config,
    workload: Workload,
    revision_by_pod: Mapping[str, int],
    wait_s: float,
    *,
    pods: Pods | None = None,
) -> list[Report]:
    """Reports of pods that changed since `revision_by_pod`, as soon as there is one.

    A pod that is not in it counts as changed; none after `wait_s` seconds. `pods` keeps the list
    of pods from one call to the next: a swap has several turns, and pods come and go rarely.
    Raises CannotTell when the API server does not answer until then, Unhealthy when there is no
    Deployment.
    """
    listed = pods or Pods(api, config, workload)
    deadline_s = time.monotonic() + wait_s
    known = dict(revision_by_pod)
    while True:
        left_s = max(deadline_s - time.monotonic(), 0.0)
        try:
            if time.monotonic() - listed.renewed_s > LISTED_S:
                listed.renew()
            said = _followed(api, config, list(listed.uids), known, left_s)
        except CannotTell:
            if left_s <= 0:
                raise
            said = []
        reports = [one for one in said if isinstance(one, Report)]
        changed = [one for one in reports if one.revision != known.get(one.pod)]
        if changed or left_s <= 0:
            return changed
        for one in said:
            if isinstance(one, Silence):  # started anew, a supervisor counts from the start
                known.pop(one.pod, None)
                listed.renewed_s = 0.0
        if not reports or len(reports) < len(said):
            time.sleep(min(LOOK_S, left_s))  # nothing tells when a pod or its supervisor comes


def _followed(
    api: Api, config: Config, pods: Sequence[str], known: Mapping[str, int], wait_s: float
) -> list[Report | Silence]:
    asked = Asked(api, config)
    for pod in pods:
        turn_s = wait_s if len(pods) == 1 else min(wait_s, TURN_S)
        asked.put(pod, revision=known.get(pod), wait_s=turn_s)
    return [one for one in (asked.take() for _ in pods) if one]
