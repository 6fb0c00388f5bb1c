"""What the swap tasks do: push, look, go back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kindloop import cluster, deploying, flows, freshness, host, report, supervised, swap, swapfiles
from kindloop.config import Config, Workload
from kindloop.errors import ConfigError
from kindloop.freshness import Fresh
from kindloop.swap import Desk
from kindloop.swapfiles import Want

__all__ = ["Row", "push", "rollback", "status"]


@dataclass(frozen=True)
class Row:
    """A workload, how its files travel, and what each of its pods reports."""

    fresh: Fresh
    transport: str
    pods: tuple[supervised.Report | supervised.Silence, ...]

    def lines(self) -> Iterator[str]:
        """The row as text, a line for the workload and one for each pod."""
        yield f"{self.fresh} ({self.transport})"
        for one in self.pods:
            if isinstance(one, supervised.Silence):
                yield f"  {one.pod}: {one.why}"
                continue
            digest = swap.short(one.running_digest) if one.running_digest else "nothing"
            times = "".join(f", {name} {ms:.0f} ms" for name, ms in one.timings_ms.items())
            yield f"  {one.pod}: runs {digest}, {one.state}, {one.restarts} restarts{times}"


def push(config: Config, name: str = "") -> None:
    """Swap in the newest artifacts, built or not by us; one that was rolled back is tried again."""
    platform = host.require_engine().platform
    chosen = _with_swap(config, name)
    with flows.changing(config), Desk(config) as desk:
        cluster.require(config)
        for workload in chosen:
            deploying.swap_one(config, workload, platform, desk, again=True)


def status(config: Config) -> list[Row]:
    """Every workload with a swap, asked now."""
    platform = host.require_engine().platform
    cluster.require(config)
    rows = []
    with Desk(config) as desk:
        for workload in _with_swap(config, ""):
            fresh = freshness.running(config, workload, platform, desk)
            _replicas, pods = supervised.look(desk.api, config, workload)
            choice = desk.choice(workload)
            rows.append(
                Row(
                    fresh,
                    f"{choice.kind}: {choice.reason}",
                    tuple(supervised.ask_all(desk.api, config, pods)),
                )
            )
    return rows


def rollback(config: Config, name: str = "") -> None:
    """Publish what was published before the present want, and prove that it runs."""
    chosen = _with_swap(config, name)
    with flows.changing(config), Desk(config) as desk:
        cluster.require(config)
        # All of them are found before the first goes back.
        for workload, before in [(w, _before(config, w)) for w in chosen]:
            deploying.settle_swap(workload, desk, desk.publish(workload, before))
            report.line(f"{workload.name} runs {swap.short(before.digest)} until the next save")


def _before(config: Config, workload: Workload) -> Want:
    """What was published before the present want, with another binary that is still there."""
    before = swapfiles.folder_of(config, workload).to_go_back_to()
    if not before:
        raise ConfigError(
            f"{workload.name} has no binary to go back to",
            why="no older binary is kept",
            hint="git checkout an older commit, then: invoke dev-rebuild",
        )
    return before[0]


def _with_swap(config: Config, name: str) -> list[Workload]:
    chosen = [w for w in config.workloads.values() if config.swaps(w) and name in ("", w.name)]
    if chosen:
        return chosen
    if name and name not in config.workloads:
        raise ConfigError(
            f"there is no workload {name}", hint=f"one of: {', '.join(config.workloads)}"
        )
    raise ConfigError(
        f"workload {name} is not swapped" if name else "no workload is swapped",
        why=f"{'it has no' if name else 'none has'} `swap` in {config.path.name}, or the profile "
        "is release",
        hint="invoke dev-rebuild",
    )
