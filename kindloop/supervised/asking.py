"""Questions to supervisors, through the API server's pod proxy: which pods, and what they say."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from kindloop.apiserver import Api, words
from kindloop.config import SUPERVISOR_PORT, Config, Workload
from kindloop.errors import CannotTell, Unhealthy
from kindloop.supervised.verdicts import Report, Silence

__all__ = ["Asked", "Pods", "ask", "ask_all", "look", "status_path"]

ASK_S = 3.0
"""Seconds for an answer beyond the time that the question lets it wait."""
_PLAINER = {
    "connection refused": f"no supervisor listens on port {SUPERVISOR_PORT}",
    "address not allowed": "it is starting: it has no address yet",
}
"""What the API server's proxy says, and what that means."""
ALIVE = "status.phase!=Failed,status.phase!=Succeeded"
"""Pods that were evicted, or have ended, stay listed for a while."""
CACHED = "resourceVersion=0"
"""From the API server's memory, which follows etcd within milliseconds: half the time of a read
through etcd. A pod that is so new that it is missed starts with the newest artifact anyway."""
MAX_WAIT_S = 30.0
"""The longest that a supervisor lets a question wait."""


class Pods:
    """The pods of a workload's Deployment, remembered from one swap to the next.

    `replicas` is how many it asks for, `uids` the uid by name of each pod that is not ending.
    """

    def __init__(self, api: Api, config: Config, workload: Workload) -> None:
        self.api = api
        self._namespace = f"namespaces/{config.name}"
        self._workload = workload
        self.replicas = 1
        self.uids: Mapping[str, str] = {}
        self.renewed_s = 0.0
        """When they were asked for last, of `time.monotonic`; 0 for never."""

    def renew(self) -> None:
        """Ask which there are. Raises CannotTell, and Unhealthy when there is no Deployment."""
        # The scale is a tenth of the Deployment, and says its selector as a query has it.
        path = f"/apis/apps/v1/{self._namespace}/deployments/{self._workload.name}/scale?{CACHED}"
        scale = self.api.json(path, or_none=True)
        if scale is None:
            raise Unhealthy(f"there is no Deployment {self._workload.name}", hint="invoke dev-up")
        chosen = urlencode({"labelSelector": scale["status"]["selector"], "fieldSelector": ALIVE})
        pods = self.api.json(f"/api/v1/{self._namespace}/pods?{chosen}&{CACHED}")["items"]
        self.replicas = scale["spec"].get("replicas", 0)
        self.uids = {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in pods
            if not pod["metadata"].get("deletionTimestamp")
        }
        self.renewed_s = time.monotonic()


def look(api: Api, config: Config, workload: Workload) -> tuple[int, list[str]]:
    """How many pods the Deployment asks for, and those there are. Raises as `Pods.renew` does."""
    pods = Pods(api, config, workload)
    pods.renew()
    return pods.replicas, list(pods.uids)


def ask(
    api: Api,
    config: Config,
    pod: str,
    *,
    generation: int | None = None,
    revision: int | None = None,
    wait_s: float = 0.0,
) -> Report:
    """What the supervisor in `pod` reports; raises CannotTell when it does not.

    With `generation` it answers when the outcome of that is known, with `revision` when something
    changed since; both after `wait_s` seconds (at most 30) at the latest.
    """
    path = f"/api/v1/namespaces/{config.name}/pods/{pod}:{SUPERVISOR_PORT}/proxy"
    hint = f"invoke k8s.kubectl -- describe pod {pod}"
    wait_s = min(max(wait_s, 0.0), MAX_WAIT_S)
    try:
        answer = api.get(path + status_path(generation, revision, wait_s), wait_s + ASK_S)
    except CannotTell as exc:
        if isinstance(exc.__cause__, TimeoutError):
            raise CannotTell(f"{pod}: no answer within {ASK_S:g} s", hint=hint) from exc
        raise
    if answer.status != 200:
        said = words(answer)
        why = next((why for part, why in _PLAINER.items() if part in said), said)
        raise CannotTell(f"{pod}: {why}", hint=hint)
    try:
        return Report.from_json(json.loads(answer.body), pod)
    except ValueError as exc:
        raise CannotTell(f"{pod}: not a supervisor: {words(answer)}", hint=hint) from exc


def ask_all(api: Api, config: Config, pods: Sequence[str]) -> list[Report | Silence]:
    """What each of `pods` says now, all asked at once, in their order."""
    asked = Asked(api, config)
    for pod in pods:
        asked.put(pod)
    said = {one.pod: one for one in (asked.take() for _ in list(asked.open)) if one}
    return [said[pod] for pod in pods]


def status_path(generation: int | None, revision: int | None, wait_s: float) -> str:
    """The question as the supervisor's own server has it."""
    asked = {"generation": generation, "revision": revision, "wait_s": f"{wait_s:.3f}"}
    if generation is None and revision is None:
        return "/status"
    return "/status?" + urlencode({k: v for k, v in asked.items() if v is not None})


class Asked:
    """Questions under way, each in a daemon thread: a Ctrl-C does not wait for their answers."""

    def __init__(self, api: Api, config: Config) -> None:
        self._api = api
        self._config = config
        self._answers: queue.SimpleQueue[Report | Silence | Exception] = queue.SimpleQueue()
        self.open: set[str] = set()
        """Names of the pods that have not answered yet."""

    def put(
        self,
        pod: str,
        *,
        generation: int | None = None,
        revision: int | None = None,
        wait_s: float = 0.0,
        after_s: float = 0.0,
    ) -> None:
        """Ask `pod` as `ask` does, `after_s` seconds from now."""

        def answer() -> None:
            try:
                said: Report | Silence | Exception = ask(
                    self._api, self._config, pod,
                    generation=generation, revision=revision, wait_s=wait_s,
                )  # fmt: skip
            except CannotTell as exc:
                said = Silence(pod, exc.message.removeprefix(f"{pod}: "))
            except Exception as exc:
                said = exc
            self._answers.put(said)

        self.open.add(pod)
        thread = threading.Timer(after_s, answer) if after_s else threading.Thread(target=answer)
        thread.daemon = True
        thread.start()

    def take(self, timeout_s: float | None = None) -> Report | Silence | None:
        """The next answer, or None when there is none in time. Raises what a question raised."""
        try:
            said = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(said, Exception):
            raise said
        self.open.discard(said.pod)
        return said
