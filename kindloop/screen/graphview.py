"""The tree of an up: groups, their steps with times and estimates, last lines of what runs.

Pure: a `Graph`, the time and the terminal's size become lines.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group
from rich.text import Text

from kindloop.screen.drawing import (
    MARKS,
    SPINNER,
    STYLES,
    Frame,
    clean,
    fitted,
    page,
    seconds,
    sides,
    spinner,
    wrapped,
)
from kindloop.screen.durations import left
from kindloop.screen.graph import GROUPS, Graph, Node

__all__ = ["draw"]

TAIL = 3
"""Lines of a running program that are shown, where there is room."""
TAIL_FAILED = 12


def draw(
    graph: Graph, estimates: Mapping[str, float], *, now_s: float, width: int, height: int
) -> Group:
    """The whole screen in `width` cells and `height` lines; `now_s` is since the epoch."""
    frame = Frame(width, now_s, estimates)
    took_s = max(now_s - graph.since_s, 0.0) if graph.since_s else 0.0
    name = Text.assemble((f" {graph.environment} ", "bold reverse"), " coming up")
    top = sides(name, Text(seconds(took_s), "dim"), width)
    room = height - 2
    for tails, folded in ((TAIL, False), (1, False), (1, True), (0, True)):
        tree = _tree(graph, frame, tails=tails, folded=folded)
        if len(tree) <= room:
            break
    else:
        tree = _around(tree, room)
    notes = [line for text in graph.notes for line in wrapped(text, width, "  ", "dim")]
    free = room - len(tree) - 1  # one stays between them and the tree
    notes = notes[-free:] if free > 0 else []
    filler = [Text()] * max(room - len(tree) - len(notes), 0)
    foot = Text.assemble(
        ("Ctrl-C", "bold"), (" ends it; the same command goes on from there", "dim")
    )
    return page([top, *tree, *filler, *notes, foot], width, height)


def _around(tree: list[Text], room: int) -> list[Text]:
    """As many lines as there is room for, with the last one that runs or failed among them."""
    marks = {*MARKS["bad"], *SPINNER}
    last = max((at for at, line in enumerate(tree) if marks & set(line.plain)), default=0)
    begin = min(max(last - room + 2, 0), max(len(tree) - room, 0))
    return tree[begin : begin + room]


def _tree(graph: Graph, frame: Frame, *, tails: int, folded: bool) -> list[Text]:
    """The groups with their steps; `folded` hides the steps of a group that is done."""
    lines: list[Text] = []
    for group in graph.groups:
        nodes = graph.of(group)
        last = group == graph.groups[-1]
        lines.append(_group(graph, group, frame, last=last))
        if folded and all(node.state in ("ok", "waiting") for node in nodes):
            continue
        trunk = "   " if last else "│  "
        for at, node in enumerate(nodes):
            ends = at == len(nodes) - 1
            branch = "  " * node.depth + ("└─ " if ends or node.depth else "├─ ")
            lines.append(_node(graph, node, trunk + branch, frame))
            below = trunk + ("   " if ends else "│  ") + "  " * node.depth
            lines += _tail(graph, node, below, tails, frame.width)
    return lines


def _group(graph: Graph, group: str, frame: Frame, *, last: bool) -> Text:
    nodes = graph.of(group)
    states = {node.state for node in nodes}
    branch = "└─ " if last else "├─ "
    if "bad" in states:
        state = "bad"
    elif "running" in states:
        state = "running"
    elif graph.passed(group) or (states and states == {"ok"}):
        state = "ok"
    else:
        state = "waiting"
    mark = spinner(frame.now_s) if state == "running" else MARKS[state]
    line = Text.assemble((branch, "dim"), (mark, STYLES[state]), " ", (GROUPS[group], "bold"))
    took_s = sum(node.took_s for node in nodes)
    if not nodes and state == "ok":
        line.append("  was there", "dim")
    elif state == "ok":
        line.append(f"  {seconds(took_s)}", "dim")
    return fitted(line, frame.width)


def _node(graph: Graph, node: Node, branch: str, frame: Frame) -> Text:
    mark = spinner(frame.now_s) if node.state == "running" else MARKS[node.state]
    line = Text.assemble((branch, "dim"), (mark, STYLES[node.state]), " ", clean(node.name))
    cells = [clean(node.detail)]
    usual_s = graph.steps.usual_s(node.name, frame.estimates)
    style = "dim"
    if node.state == "running":
        style = "cyan"
        remains = left(usual_s, node.since_s, frame.now_s)
        if node.ends_s:
            remains = left(node.ends_s - node.since_s, node.since_s, frame.now_s) + " in all"
        cells += [seconds(max(frame.now_s - node.since_s, 0)), remains]
    elif node.state == "waiting":
        cells.append(f"took {seconds(usual_s)} last time" if usual_s else "")
    else:
        cells.append(seconds(node.took_s))
    return fitted(line.append(f"  {' · '.join(filter(None, cells))}", style), frame.width)


def _tail(graph: Graph, node: Node, below: str, tails: int, width: int) -> list[Text]:
    """The last lines of a program that runs; of one that failed, all that are known."""
    if node.state == "bad":
        texts = node.tail[-TAIL_FAILED:]
    else:
        step = graph.steps.of(node.name)
        told = (step.tail if step else ()) or (node.tail if node.state == "running" else ())
        texts = told[-tails:] if tails else ()
    return [
        fitted(Text.assemble((below, "dim"), ("  " + clean(text), "dim")), width) for text in texts
    ]
