"""Saves with nothing to build: from the rename of an input to the new answer at the user's URL."""

from __future__ import annotations

import time

from bench import facts
from bench.asking import Load
from bench.bed import CHECKOUT, PETS, Bed
from bench.figures import HEAL_OVER_S, Figure
from bench.variants import panicking

__all__ = ["exec_swap", "heal_after_panic", "refused", "soak", "zero_build"]

SAVES = 50
EXEC_SAVES = 12
HEALS, HELD_S = 5, 15.0
"""Broken binaries, and the seconds that each has before a good one comes."""
REFUSED_SWAPS, RATE = 10, 200
"""Swaps under load, and the load in requests a second."""
WARM = 3
"""Swaps before those that count."""
GROWING = 100
"""Swaps of the soak after which growth counts: until then caches and buffers fill."""
SOAK_SERVED_S = 10.0
"""Seconds after which a swap of the soak has failed."""


def zero_build(bed: Bed) -> list[Figure]:
    """Save until served, each save another binary."""
    bed.up_copying(0)
    with bed.watching_copies("zero_build_swap", 0) as (watch, asker):
        took = [bed.swapped(asker, watch, number) for number in range(1, WARM + SAVES + 1)]
    return [Figure.of("zero_build_swap", took[WARM:])]


def refused(bed: Bed) -> list[Figure]:
    """Requests of a steady load that a swap makes fail."""
    bed.up_copying(0)
    failed = []
    with (
        bed.watching_copies("swap_refused_requests", 0) as (watch, asker),
        Load(bed.port, PETS, RATE) as load,
    ):
        for number in range(1, REFUSED_SWAPS + 1):
            time.sleep(1.0)
            load.take()
            bed.swapped(asker, watch, number)
            time.sleep(0.5)
            failed.append(load.take()[1])
    return [Figure.of("swap_refused_requests", failed)]


def exec_swap(bed: Bed) -> list[Figure]:
    """Save until served where files reach the pods by a stream through the API server."""
    bed.up_copying(0, transport="exec")
    with bed.watching_copies("exec_swap", 0) as (watch, asker):
        took = [bed.swapped(asker, watch, number) for number in range(1, WARM + EXEC_SAVES + 1)]
    return [Figure.of("exec_swap", took[WARM:])]


def heal_after_panic(bed: Bed, zero_p50_s: float) -> list[Figure]:
    """Save until served after a binary that panics has been started again and again for 15 s."""
    broken = panicking(CHECKOUT / "spare", bed.command("petstore"))
    bed.up_copying(0, rollback=False)
    took = []
    with bed.watching_copies("heal_after_panic", 0) as (watch, asker):
        for number in range(1, HEALS + 1):
            bed.save(bed.app / "bench/next", broken)
            time.sleep(HELD_S)
            watch.check()
            if asker.ask(PETS) is not None:
                raise RuntimeError(f"something answers beside the panic:\n{watch.tail()}")
            took.append(bed.swapped(asker, watch, number))
    return [Figure.of("heal_after_panic", took, {"p50": round(zero_p50_s + HEAL_OVER_S, 4)})]


def soak(bed: Bed, swaps: int) -> list[Figure]:
    """Many swaps between two binaries: what fails, what is left behind, what grows."""
    bed.up_copying(0)
    failures = 0
    with bed.watching_copies("soak", 0) as (watch, asker):
        seen = facts.Grown(bed.loop, watch.pid)
        for number in range(1, swaps + 1):
            fresh = watch.fresh()
            took_s = bed.swap(asker, number % 2, SOAK_SERVED_S)
            told = watch.settled(fresh + 1)
            failures += took_s is None or not told
            if number == min(GROWING, swaps // 2):
                seen.begin()
        growth = seen.end()
    return [
        Figure.single("soak_failures", swaps, failures),
        Figure.single("soak_zombies", swaps, growth.zombies),
        Figure.single("soak_fd_growth", swaps, growth.files),
        Figure.single("soak_rss_growth_mb", swaps, growth.rss_mb),
        Figure.single("soak_disk_growth_mb", swaps, growth.disk_mb),
        Figure.single("watcher_rss_mb", swaps, growth.watcher_mb),
    ]
