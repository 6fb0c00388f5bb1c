"""What the cluster has to have: images, manifests, how files travel; and whether a swap serves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kindloop import cluster, images, manifests, stages, state, swapenv, swapmanifests
from kindloop.config import SUPERVISOR_STAGE, Config, Workload
from kindloop.sources import workload_base
from kindloop.swap import Desk

__all__ = [
    "Plan",
    "artifact",
    "plan",
    "record_file",
    "services_differ",
    "undeployed",
    "why_rollout",
    "workload_images",
]

Transport = Literal["mount", "exec", "none"]


@dataclass(frozen=True)
class Plan:
    """What the cluster has to have. `images` by workload; `transports` by workload with swap."""

    images: Mapping[str, images.ImagePlan]
    documents: Sequence[Mapping[str, Any]]
    transports: Mapping[str, Transport]
    with_binary: bool

    def as_record(self) -> dict[str, Any]:
        """What is remembered of it: {images, documents and services (sha256), transports}."""
        return {
            "images": {name: one.reference for name, one in self.images.items()},
            "documents": _digest(self.documents),
            "services": _digest(one for one in self.documents if one.get("kind") == "Service"),
            "transports": dict(self.transports),
            "with_binary": self.with_binary,
        }


def plan(config: Config, platform: str, desk: Desk, *, with_binary: bool = False) -> Plan:
    """Images and manifests as the sources, the artifacts and kindloop.yaml make them now.

    `with_binary` puts the artifacts into the images, as profile `release` does.
    """
    plans = workload_images(config, platform, with_binary=with_binary)
    folders: list[Path] = [config.core] if config.core else []
    folders += [w.manifests for w in config.workloads.values()]
    references = {name: one.reference for name, one in plans.items()}
    documents = manifests.render(config, list(dict.fromkeys(folders)), references)
    chosen: dict[str, Transport] = {}
    for workload in config.workloads.values():
        if workload.swap is None:
            continue
        mounted = config.swaps(workload) and not with_binary
        chosen[workload.name] = desk.choice(workload).kind if mounted else "none"
        documents = swapmanifests.swappable(
            documents,
            config,
            swapenv.resolved(config, workload),
            transport=chosen[workload.name],
        )
    return Plan(plans, documents, chosen, with_binary)


def workload_images(
    config: Config, platform: str, *, with_binary: bool = False
) -> dict[str, images.ImagePlan]:
    """The image of each workload as its newest artifact and files make it."""
    return {
        workload.name: images.plan(
            config,
            workload,
            artifact=artifact(config, workload, platform),
            supervisor=stages.output(config, SUPERVISOR_STAGE, engine_platform=platform)
            if workload.swap
            else None,
            base=workload_base(workload),
            platform=platform,
            with_binary=with_binary,
        )
        for workload in config.workloads.values()
    }


def artifact(config: Config, workload: Workload, platform: str) -> Path | None:
    """The newest binary of a workload; None for one that has none of ours."""
    name = workload.artifact
    return stages.output(config, name, engine_platform=platform) if name else None


def why_rollout(config: Config, planned: Plan) -> str:
    """Why a swap cannot serve what changed since the last deployment; empty when it can."""
    without = [w.name for w in config.workloads.values() if not config.swaps(w)]
    if without:
        return f"{', '.join(without)} has no swap in profile {config.profile}"
    if planned.with_binary:
        return "the binary is to be in the image"
    return _differs(state.read_json(record_file(config)), planned.as_record())


def undeployed(config: Config, platform: str, desk: Desk) -> str:
    """What of images and manifests is other than it was deployed last; empty when nothing is.

    An image that was given the binary (`dev-rebuild --image`) is compared as such.
    """
    before = state.read_json(record_file(config))
    with_binary = bool(before and before.get("with_binary"))
    planned = plan(config, platform, desk, with_binary=with_binary)
    return _differs(before, planned.as_record())


def _differs(before: Any, now: Mapping[str, Any]) -> str:
    if not before or not isinstance(before, dict):
        return "nothing was deployed yet" if before is None else "the last deployment did not end"
    for name, reference in now["images"].items():
        if before.get("images", {}).get(name) != reference:
            what = "Dockerfile, base, supervisor or files"
            if now["with_binary"]:
                what = f"binary, {what}"
            return f"the image of {name} changed: its {what}"
    if before.get("transports") != now["transports"]:
        return "the transport changed"
    return "" if before.get("documents") == now["documents"] else "the manifests changed"


def services_differ(before: Any, now: Mapping[str, Any]) -> bool:
    """Whether what answers next may still be where the Services of the last time lead to."""
    return before is not None and before.get("services") != now["services"]


def record_file(config: Config) -> Path:
    """Where it stands what was deployed last."""
    return cluster.environment(config).home / "deployed.json"


def _digest(documents: Iterable[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(list(documents), sort_keys=True).encode()).hexdigest()
