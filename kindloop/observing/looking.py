"""How each part of the observability stack is: asked of the cluster, with what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from kindloop import cluster, verify
from kindloop.apiserver import Api
from kindloop.components import Prepared
from kindloop.config import Config
from kindloop.errors import KindloopError
from kindloop.observing import records
from kindloop.observing.parts import PARTS, url_of
from kindloop.pods import complete, summary, trouble

__all__ = ["SELECTOR", "State", "Usage", "judge", "line", "look", "usage"]

SELECTOR = "?labelSelector=app.kubernetes.io%2Fpart-of%3Dobservability"
NAME = "app.kubernetes.io/name"
URL_S = 2.0
"""Seconds that a part may take to answer on this machine."""
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Usage:
    """What a pod takes: working set in MiB, thousandths of a CPU."""

    memory_mb: int
    cpu_m: int


@dataclass(frozen=True)
class State:
    """One part: `making` while its image is made or loaded, `absent` when there can be none."""

    name: str
    state: Literal["ok", "starting", "making", "absent", "broken"]
    detail: str = ""
    url: str = ""
    api_only: bool = False
    memory_mb: int | None = None
    cpu_m: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The part as a JSON document."""
        return asdict(self)


def look(
    config: Config, api: Api, used: Mapping[str, Usage] | None = None, *, urls: bool = False
) -> list[State]:
    """The parts that were brought, in their order; nothing where none was.

    `used` is what pods take, by name. With `urls` each is asked on this machine as well. Raises
    CannotTell when the API server does not answer.
    """
    record = records.read(config)
    if record is None or not record.parts:
        return []
    deployments = api.json(f"/apis/apps/v1/namespaces/{config.name}/deployments{SELECTOR}")["items"]
    pods = api.json(f"/api/v1/namespaces/{config.name}/pods{SELECTOR}")["items"]
    busy = records.running(config)
    found = [
        judge(one, _of(one, deployments), _of(one, pods), url_of(config, one.name),
              busy=busy, error=record.error, used=used or {})
        for one in (record.parts[name] for name in PARTS if name in record.parts)
    ]  # fmt: skip
    return _asked(found) if urls else found


def judge(
    part: Prepared,
    deployments: Sequence[Object],
    pods: Sequence[Object],
    url: str,
    *,
    busy: bool,
    error: str,
    used: Mapping[str, Usage],
) -> State:
    """How a part is, from its Deployment and pods. Pure.

    `busy` is whether a process still brings parts, `error` why the last one gave up.
    """
    name = part.name
    if part.how == "absent" and not deployments:
        return State(name, "absent", part.note)
    if not deployments and busy:
        left = f"about {part.estimate_s:.0f} s to make it" if part.how == "missing" else ""
        return State(name, "making", left or "its image is brought", api_only=part.api_only)
    if not deployments:
        return State(name, "broken", f"{error or 'it is not there'}; next: invoke dev-up")
    known = [used[pod["metadata"]["name"]] for pod in pods if pod["metadata"]["name"] in used]
    seen = State(
        name,
        "ok",
        url=url,
        api_only=part.api_only,
        memory_mb=sum(each.memory_mb for each in known) if known else None,
        cpu_m=sum(each.cpu_m for each in known) if known else None,
    )
    wrong = trouble(pods)
    if not deployments[0]["spec"].get("replicas", 1):
        seen = replace(seen, state="broken", detail="scaled to 0; next: invoke dev-up")
    elif not complete(deployments[0]) and wrong:
        seen = replace(seen, state="broken", detail=f"{wrong.message}; next: {wrong.hint}")
    elif not complete(deployments[0]):
        seen = replace(seen, state="starting", detail=summary(pods))
    return seen


def usage(config: Config, api: Api) -> dict[str, Usage]:
    """What every pod of the node takes, by name; empty where the kubelet does not answer."""
    node = cluster.environment(config).node
    try:
        pods = api.json(f"/api/v1/nodes/{node}/proxy/stats/summary").get("pods", [])
    except KindloopError:
        return {}
    return {
        pod["podRef"]["name"]: Usage(
            round(pod.get("memory", {}).get("workingSetBytes", 0) / 2**20),
            round(pod.get("cpu", {}).get("usageNanoCores", 0) / 1e6),
        )
        for pod in pods
    }


def line(found: State) -> str:
    """A part in a few words: where it is, or why it is not. Pure."""
    parts = [found.url] if found.state in ("ok", "starting") else []
    parts += ["API only"] if found.api_only and found.state != "broken" else []
    parts += [] if found.state in ("ok", "absent", "broken") else [found.state]
    parts += [found.detail] if found.state != "starting" else []
    if found.memory_mb is not None:
        parts.append(f"{found.memory_mb} MiB, {(found.cpu_m or 0) / 1000:.2f} CPU")
    return ", ".join(part for part in parts if part)


def _of(part: Prepared, objects: Iterable[Object]) -> list[Object]:
    name = PARTS[part.name].deployment
    return [one for one in objects if one["metadata"].get("labels", {}).get(NAME) == name]


def _asked(found: Sequence[State]) -> list[State]:
    with ThreadPoolExecutor(max_workers=len(found)) as pool:
        return list(pool.map(_answering, found))


def _answering(found: State) -> State:
    health = PARTS[found.name].health
    if found.state != "ok" or not found.url or not health:
        return found
    seen = verify.answers(found.url + health, URL_S)
    return replace(found, state="broken", detail=f"{found.url}: {seen}") if seen else found
