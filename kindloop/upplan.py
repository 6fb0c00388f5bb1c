"""What `dev-up` would do, as facts and as lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from kindloop import bake
from kindloop.stage_plan import Decision

__all__ = ["NodeSource", "ToApply", "UpPlan"]

SCHEMA = 1


@dataclass(frozen=True)
class NodeSource:
    """Where the image of a node that has to be made comes from."""

    reference: str
    how: str
    """`local`: it is here. `pull`, `bake`: it has to be got first."""
    bake_s: float
    """Estimate in seconds of what is left to bake; 0 where nothing is."""


@dataclass(frozen=True)
class ToApply:
    """A workload, the folder of its manifests, and where it will answer."""

    name: str
    manifests: str
    url: str


@dataclass(frozen=True)
class UpPlan:
    """What `dev-up` would do."""

    environment: str
    cluster: str
    """Its state now, a word of `cluster.status`."""
    node: NodeSource | None
    """None: the cluster is there and stays."""
    stages: tuple[Decision, ...]
    """What runs is stale."""
    workloads: tuple[ToApply, ...]
    observability: tuple[str, ...]
    """A line for each part of the stack."""

    def lines(self) -> Iterator[str]:
        """The plan as text."""
        yield f"cluster {self.environment}: {self.cluster}"
        if self.node:
            yield f"  create it from {self.node.reference} ({self.node.how})"
            if self.node.how == "bake":
                yield f"  {bake.explain(self.node.bake_s)}"
        for one in self.stages:
            yield f"stage {one.stage}: {'run' if one.stale else 'keep'} ({one.reason})"
        for each in self.workloads:
            yield f"workload {each.name}: apply {each.manifests}, {each.url or 'no url'}"
        yield from self.observability

    def as_json(self) -> dict[str, Any]:
        """The document of `dev-up --dry-run --json`."""
        return {"schema": SCHEMA, **asdict(self)}
