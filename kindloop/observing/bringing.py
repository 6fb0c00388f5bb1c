"""The stack brought into the cluster: images made and loaded, manifests applied, parts awaited."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kindloop import apiserver, cluster, components, manifests, report, verify
from kindloop.apiserver import Api
from kindloop.components import Prepared
from kindloop.config import Config
from kindloop.errors import KindloopError, RolloutFailed, Unhealthy
from kindloop.observing import looking, planning, records
from kindloop.observing.parts import LEVELS, PARTS, url_of
from kindloop.observing.records import Record

__all__ = ["INVENTORY", "bring", "explain", "wait", "work"]

INVENTORY = f"{manifests.INVENTORY}-observability"
"""ConfigMap in the environment's namespace that lists the stack's objects."""
DATA = ("PersistentVolumeClaim",)
"""Kinds that stay when their part is switched off: with it on again, its data is there."""
LISTED: Mapping[str, tuple[str, str]] = {
    "Deployment": ("/apis/apps/v1", "generation"),
    "Service": ("/api/v1", "resourceVersion"),
    "ConfigMap": ("/api/v1", "resourceVersion"),
    "PersistentVolumeClaim": ("/api/v1", "uid"),
}
"""Kinds of which each object must be as it was applied: where the API server has them, and the
field of `metadata` that changes with what was applied, and not with what becomes of it."""
LOCK_S = 60.0
"""Seconds to wait for another command that changes the stack: an apply takes one or two."""
READY_S = 240.0
"""Seconds until every part must be ready; Grafana's first start takes the longest."""
ASK_S = 0.5
"""Seconds between two looks at what starts."""
AGAIN_S = 3600.0
"""Seconds until a registry is asked again for what is absent."""


def bring(config: Config, *, here: bool = False) -> None:
    """Have the cluster run the parts of `config.observability`; changes only what differs.

    What must be made or loaded first is left to a process of its own; with `here` it is done
    before the return. Raises what `work` raises.
    """
    wanted = LEVELS[config.observability]
    before = records.read(config)
    if not wanted and before is None:
        return
    found = components.look(wanted)
    planned = planning.fingerprint(config, _references(found.values()))
    missing = _missing(found, before, here=here)
    busy = records.running(config)
    if busy and not here and before and _same(before, config, found):
        return
    if busy:
        records.end(cluster.environment(config))
    if (
        not missing
        and before
        and before.applied == planned
        and _there(config) >= set(before.objects)
    ):
        if dict(before.parts) != found:
            records.write(config, replace(before, parts=found))
        return
    records.write(config, _begun(config, found, before))
    slow = bool(missing or components.to_load(config, found.values()))
    if here or not slow or not records.can_detach():
        work(config, found, missing)
    else:
        records.start(config)


def explain(config: Config) -> list[str]:
    """What `bring` would do, a line for each part; nothing where the stack is off."""
    found = components.look(LEVELS[config.observability])
    return [
        f"observability {name}: "
        + (one.note or f"apply {one.reference}, {url_of(config, name) or 'its port is off'}")
        for name, one in found.items()
    ]


def work(
    config: Config, found: Mapping[str, Prepared] | None = None, missing: Iterable[str] = ()
) -> None:
    """Make, load and apply what `config` asks for; what is ready goes first.

    Raises BuildFailed for a part that cannot be made, when the others are applied, and as
    `manifests.apply`.
    """
    if found is None:
        found = components.look(LEVELS[config.observability])
        missing = _missing(found, None, here=True)
    with records.locked(config, LOCK_S):
        before = records.read(config) or _begun(config, found, None)
        try:
            after = _worked(config, dict(found), list(missing), before)
        except KindloopError as exc:
            now = records.read(config) or before
            records.write(config, replace(now, applied="", error=exc.message))
            raise
        records.write(config, after)


def _worked(
    config: Config, found: dict[str, Prepared], missing: list[str], record: Record
) -> Record:
    # What is absent has nothing to wait for; what is missing may run from an older image.
    whole = all(found[name].how != "missing" for name in missing)
    _apply(config, found, whole=whole)
    failed: list[KindloopError] = []
    for name in missing:
        try:
            found |= components.prepare([name])
        except KindloopError as exc:
            failed.append(exc)
            continue
        records.write(config, replace(record, parts=dict(found)))
        if found[name].reference:
            _apply(config, found, whole=False)
    if failed:
        raise failed[0]
    if not whole:
        _apply(config, found, whole=True)
    return replace(
        record,
        parts=found,
        applied=planning.fingerprint(config, _references(found.values())),
        objects=tuple(sorted(_there(config))),
        error="",
        asked_s=time.time() if missing else record.asked_s,
    )


def _apply(config: Config, found: Mapping[str, Prepared], *, whole: bool) -> None:
    """Load the images that are there, apply the parts that have one; `whole` prunes the rest."""
    references = _references(found.values())
    documents = planning.documents(config, references)
    components.load(config, [one for one in found.values() if one.name in references])
    with report.step(f"observability {config.observability}") as step:
        applied = manifests.apply_set(config, documents, INVENTORY, kept=DATA, prune=whole)
        pruned = f", {len(applied.pruned)} pruned" if applied.pruned else ""
        step.note(f"{len(applied.changed)} objects{pruned}")


def wait(config: Config, timeout_s: float = READY_S) -> None:
    """Wait until every part that has an image is ready and its URL answers.

    Raises RolloutFailed when one cannot get ready, or is not in time.
    """
    deadline_s = time.monotonic() + timeout_s
    record = records.read(config)
    parts = record.parts if record else {}
    names = [name for name in PARTS if name in parts and parts[name].reference]
    with apiserver.connect(config) as api:
        for name in names:
            with report.step(f"{name} answers") as step:
                _await_ready(config, api, name, deadline_s)
                step.note(_await_url(config, name, deadline_s))


def _await_ready(config: Config, api: Api, name: str, deadline_s: float) -> None:
    while True:
        found = next(each for each in looking.look(config, api) if each.name == name)
        if found.state == "ok":
            return
        late = time.monotonic() > deadline_s
        if found.state == "broken" or late:
            raise RolloutFailed(
                f"{name} is not ready" + (" in time" if late else ""),
                evidence=[found.detail],
                hint="invoke k8s.kubectl -- describe pod "
                f"-l app.kubernetes.io/name={PARTS[name].deployment}",
            )
        time.sleep(ASK_S)  # a part takes seconds to start: a watch would be no sooner here


def _await_url(config: Config, name: str, deadline_s: float) -> str:
    url, health = url_of(config, name), PARTS[name].health
    if not url:
        return "its port is off"
    try:
        if health:
            verify.wait_quick(url + health, max(deadline_s - time.monotonic(), 1.0))
    except Unhealthy as exc:
        raise RolloutFailed(
            f"{name} is ready in the cluster, but {exc.message}", evidence=exc.evidence,
            why="its Service has not the nodePort that the kind configuration maps",
            hint="invoke k8s.kubectl -- get service",
        ) from exc  # fmt: skip
    return url


def _references(found: Iterable[Prepared]) -> dict[str, str]:
    """The image by part, of those that have one here."""
    return {one.name: one.reference for one in found if one.how not in ("missing", "absent")}


def _missing(found: Mapping[str, Prepared], before: Record | None, *, here: bool) -> list[str]:
    """The parts to be got. What is absent may be had by now, but asking takes seconds."""
    ask = here or before is None or time.time() - before.asked_s > AGAIN_S
    return [n for n, one in found.items() if one.how == "missing" or (ask and one.how == "absent")]


def _begun(config: Config, found: Mapping[str, Prepared], before: Record | None) -> Record:
    asked_s = before.asked_s if before else 0.0
    return Record(config.observability, config.resources, dict(found), asked_s=asked_s)


def _same(before: Record, config: Config, found: Mapping[str, Prepared]) -> bool:
    """Whether what is being brought is what is wanted."""
    settings = (before.level, before.resources) == (config.observability, config.resources)
    return settings and set(before.parts) == set(found)


def _there(config: Config) -> set[str]:
    """`kind name mark` of each object of the stack; the mark tells when somebody changed it."""
    found = set()
    with apiserver.connect(config) as api:
        for kind, (base, field) in LISTED.items():
            path = f"{base}/namespaces/{config.name}/{kind.lower()}s{looking.SELECTOR}"
            for one in api.json(path)["items"]:
                metadata = one["metadata"]
                found.add(f"{kind} {metadata['name']} {metadata[field]}")
    return found
