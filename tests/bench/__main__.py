"""Measures how fast saves are served: `python -m bench [--strict] [--only NAME ...]`.

All figures are measured on a kind cluster of the bench's own, which is deleted afterwards. They
go to build/bench.json and to the terminal; what `dev-watch` said is kept in build/bench-logs/.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from live import ROOT

from bench import edits, facts, idle, swaps, tracing
from bench.bed import LOGS, Bed, opened
from bench.figures import KNOWN, Figure, document, into_page, passed, table

__all__ = ["GROUPS", "Run", "main"]

RESULT = ROOT / "build/bench.json"
PAGE = ROOT / "docs/PERFORMANCE.md"
SOAK_SWAPS = 1000


class Run:
    """What the groups share: the bed, made when first needed, and what was measured before."""

    def __init__(self, stack: ExitStack, soak_swaps: int) -> None:
        self._stack = stack
        self._bed: Bed | None = None
        self.soak_swaps = soak_swaps
        self.done: dict[str, Figure] = {}

    @property
    def bed(self) -> Bed:
        """The checkout with its cluster."""
        if self._bed is None:
            self._bed = self._stack.enter_context(opened())
        return self._bed

    @property
    def zero_p50_s(self) -> float:
        """The median of `zero_build_swap`, or its bar when it was not measured."""
        done = self.done.get("zero_build_swap")
        bar_s = KNOWN["zero_build_swap"][1]["p50"]
        return bar_s if done is None or done.p50 is None else done.p50


def _edit(edit: edits.Edit) -> Callable[[Run], list[Figure]]:
    return lambda run: edits.measure(run.bed, edit)


GROUPS: Mapping[tuple[str, ...], Callable[[Run], list[Figure]]] = {
    ("plan_10k_files",): lambda _run: idle.plan(),
    ("tracing_cost", "tracing_delay"): lambda _run: tracing.cost(),
    ("warm_up",): lambda run: idle.warm_up(run.bed),
    **{(f"{e.name}_overhead", f"{e.name}_bare", f"{e.name}_served"): _edit(e) for e in edits.EDITS},
    ("zero_build_swap",): lambda run: swaps.zero_build(run.bed),
    ("swap_refused_requests",): lambda run: swaps.refused(run.bed),
    (
        "soak_failures",
        "soak_zombies",
        "soak_fd_growth",
        "soak_rss_growth_mb",
        "soak_disk_growth_mb",
        "watcher_rss_mb",
    ): lambda run: swaps.soak(run.bed, run.soak_swaps),
    ("heal_after_panic",): lambda run: swaps.heal_after_panic(run.bed, run.zero_p50_s),
    ("exec_swap",): lambda run: swaps.exec_swap(run.bed),
}
"""What is measured together, in the order in which the environment changes least."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure, show, write; the exit code."""
    options = _options(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # watch and cluster go with us
    machine = facts.machine()
    with ExitStack() as stack:
        run = Run(stack, options.soak_swaps)
        figures = measure(run, set(options.only or KNOWN))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document(machine, figures), indent=2) + "\n")
    print(f"{table(figures)}\n{RESULT}\n{LOGS}/ has what dev-watch said")
    if options.write_docs:
        PAGE.write_text(into_page(PAGE.read_text(), machine, figures))
    return 0 if passed(figures, strict=options.strict) else 1


def measure(run: Run, wanted: set[str]) -> list[Figure]:
    """The figures of every group that has a wanted one, in the order of KNOWN.

    A group that fails is told and leaves its figures missing; the others are measured.
    """
    for names, group in GROUPS.items():
        if not wanted & set(names):
            continue
        started_s = time.monotonic()
        try:
            found = group(run)
        except Exception:  # whatever it is, the hours before it are not to be lost
            traceback.print_exc()
            found = [Figure.missing(name) for name in names]
        run.done |= {figure.name: figure for figure in found}
        took_s, load = time.monotonic() - started_s, os.getloadavg()[0]
        print(f"{table(found)}\n  in {took_s:.0f} s, load average {load:.1f}\n", flush=True)
    return [run.done[name] for name in KNOWN if name in run.done]


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a figure misses its bar")
    parser.add_argument(
        "--only", nargs="+", choices=list(KNOWN), metavar="NAME", help="measure these only"
    )
    parser.add_argument(
        "--soak-swaps", type=int, default=SOAK_SWAPS, metavar="N", help="swaps of the soak"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="write the table into docs/PERFORMANCE.md"
    )
    options = parser.parse_args(words)
    if options.write_docs and (options.only or options.soak_swaps != SOAK_SWAPS):
        parser.error("--write-docs needs all figures: leave --only and --soak-swaps out")
    return options


if __name__ == "__main__":
    sys.exit(main())
