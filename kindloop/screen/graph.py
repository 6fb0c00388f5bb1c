"""What `dev-up` brings up, as a graph of steps: folded from events, without a terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from kindloop.config import Config
from kindloop.observing.parts import PARTS
from kindloop.report import Event
from kindloop.screen.steps import NONE, Steps
from kindloop.stage_plan import order

__all__ = ["GROUPS", "Graph", "Node", "begin", "group_of", "heard", "with_tails"]

GROUPS: Mapping[str, str] = {
    "bake": "node image", "cluster": "cluster", "stages": "stages", "image": "image",
    "rollout": "rollout", "observability": "observability",
}  # fmt: skip
"""Groups of steps in the order of the graph, and how each is called."""
_LAST = ("image", "rollout", "observability")
AFTER: Mapping[str, tuple[str, ...]] = {
    "bake": ("cluster", *_LAST), "cluster": _LAST, "stages": _LAST, "image": _LAST[1:],
    "rollout": _LAST[2:], "observability": (),
}  # fmt: skip
"""The groups that begin only when one is done. Stages wait for no cluster that has to be made."""
NOTES = 8
UNIT_S = {"s": 1.0, "min": 60.0}
_BEGINS = re.compile(r"^\s*bake (\S+): about (\d+ (?:s|min)), (\d+) (s|min) left$")
_ENDS = re.compile(
    r"^\s*(✓|✗|ok|FAILED) ((?:bake|load image of) .+?)(?: · (.*))? · ([\d.]+) (s|min)( \d+ s)?$"
)
"""What a bake says that runs beside the stages, in a process of its own (`report.Plain`)."""

State = Literal["waiting", "running", "ok", "bad"]


@dataclass(frozen=True)
class Node:
    """A step. Times are in seconds since the epoch, and in seconds."""

    name: str
    group: str
    state: State = "waiting"
    detail: str = ""
    since_s: float = 0.0
    took_s: float = 0.0
    ends_s: float = 0.0
    """When it should be done, where its program has said so; else 0."""
    depth: int = 0
    """How many stages it comes behind."""
    tail: tuple[str, ...] = ()
    """Its last lines: of one that failed, and of one whose program runs apart from us."""


@dataclass(frozen=True)
class Graph:
    """All that the screen of an up shows."""

    environment: str
    nodes: tuple[Node, ...] = ()
    steps: Steps = NONE
    notes: tuple[str, ...] = ()
    """The last lines that are no step's."""
    since_s: float = 0.0
    groups: tuple[str, ...] = tuple(GROUPS)

    def of(self, group: str) -> tuple[Node, ...]:
        """The steps of a group, in the order they were met."""
        return tuple(node for node in self.nodes if node.group == group)

    def passed(self, group: str) -> bool:
        """Whether a group had nothing to do: a later one has begun."""
        begun = {node.group for node in self.nodes if node.state != "waiting"}
        return not self.of(group) and not begun.isdisjoint(AFTER[group])


def begin(config: Config) -> Graph:
    """What is to come: the stages are known, the rest shows when it begins."""
    depths: dict[str, int] = {}
    for name in order(config.stages):
        needs = config.stages[name].needs
        depths[name] = max((depths[need] + 1 for need in needs), default=0)
    nodes = (Node(name, "stages", depth=depth) for name, depth in depths.items())
    off = config.observability == "off"
    groups = tuple(one for one in GROUPS if not (off and one == "observability"))
    return Graph(config.name, tuple(nodes), groups=groups)


def with_tails(graph: Graph, tails: Mapping[str, tuple[str, ...]]) -> Graph:
    """The graph with the last lines of steps, by name, whose programs tell us none."""
    nodes = (replace(node, tail=tails.get(node.name, node.tail)) for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def group_of(step: str, stages: Collection[str], current: str = "rollout") -> str:
    """The group of a step by its name; `current` for a name that tells nothing."""
    first, _, rest = step.partition(" ")
    part = first if rest == "answers" else rest.removeprefix("image of ")
    several = re.fullmatch(r"load \d+ images .*", step) is not None
    rules = {
        "stages": step in stages,
        "observability": part in PARTS or first == "observability" or several,
        "bake": first == "bake" or (first == "pull" and "node" in rest),
        "image": step == "image" or first in ("pull", "load"),
        "cluster": first in ("create", "remove", "delete", "start", "stop"),
        "rollout": first in ("apply", "wait", "rollout", "swap") or rest == "answers",
    }
    return next((group for group, holds in rules.items() if holds), current)


def heard(graph: Graph, event: Event) -> Graph:
    """The graph after an event."""
    running = graph.steps.of(event.step)
    tail = running.tail if running else ()
    graph = replace(graph, steps=graph.steps.after(event), since_s=graph.since_s or event.t_s)
    match event.kind:
        case "started":
            return _begun(graph, event.step, event.t_s)
        case "ended":
            node = Node(
                event.step, "", "ok" if event.ok else "bad", event.text,
                took_s=event.took_s or 0.0, tail=() if event.ok else tail,
            )  # fmt: skip
            return _ended(graph, node)
        case "line" | "warning" | "error" | "output" if event.text:
            return _said(graph, event)
        case _:
            return graph


def _begun(
    graph: Graph, name: str, since_s: float, *, detail: str = "", ends_s: float = 0.0
) -> Graph:
    known = [node.name for node in graph.nodes]
    stages = {node.name for node in graph.of("stages")}
    before = graph.nodes[known.index(name)] if name in known else None
    current = next((n.group for n in reversed(graph.nodes) if n.state == "running"), "rollout")
    node = replace(
        before or Node(name, group_of(name, stages, current)),
        state="running", since_s=since_s, detail=detail, ends_s=ends_s,
    )  # fmt: skip
    if before:
        return replace(graph, nodes=tuple(node if n.name == name else n for n in graph.nodes))
    groups = graph.groups if node.group in graph.groups else (*graph.groups, node.group)
    return replace(graph, nodes=(*graph.nodes, node), groups=groups)


def _ended(graph: Graph, end: Node) -> Graph:
    if end.name not in {node.name for node in graph.nodes}:
        graph = _begun(graph, end.name, 0.0)
    nodes = (
        replace(end, group=node.group, depth=node.depth) if node.name == end.name else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def _said(graph: Graph, event: Event) -> Graph:
    if begins := _BEGINS.match(event.text):
        name, about, left, unit = begins.groups()
        ends_s = event.t_s + float(left) * UNIT_S[unit]
        return _begun(graph, f"bake {name}", event.t_s, detail=f"about {about}", ends_s=ends_s)
    if ends := _ENDS.match(event.text):
        mark, name, detail, took, unit, more = ends.groups()
        took_s = float(took) * UNIT_S[unit] + float((more or "0").split()[0])
        state: State = "ok" if mark in ("✓", "ok") else "bad"
        return _ended(graph, Node(name, "", state, detail or "", took_s=took_s))
    lead = "warning: " if event.kind == "warning" else ""
    lines = (f"{lead}{event.text}").splitlines()
    return replace(graph, notes=(*graph.notes, *lines)[-NOTES:])
