"""A load test of what runs in the environment: goose's users on the release build, with thresholds.

The crate `loadtest` below app.root is the test. kindloop builds it, has the service run its release
build meanwhile, and swaps the newest loop artifact back in whatever happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kindloop import cluster, deploying, flows, freshness, host, loadrun, report, stages, swapfiles
from kindloop.config import Config, Stage, Workload
from kindloop.errors import CannotTell, ConfigError, KindloopError, Stale, Unhealthy
from kindloop.freshness import Fresh
from kindloop.loadrun import Build, Done
from kindloop.process import Stop
from kindloop.swap import Desk

__all__ = ["CRATE", "chosen", "refuse", "run"]

CRATE = "loadtest"
"""The crate below app.root, its program, and the stage that builds it."""
FIRST = "low"
"""The profile that the watch's key runs."""
_MANUAL = "docs/LOCAL_DEVELOPMENT.md, section Load"


def run(config: Config, name: str, *, as_is: bool = False, stop: Stop | None = None) -> Done:
    """Load the service as profile `name` says; what was measured, whatever the thresholds say.

    On the release build, which is swapped in before and out afterwards, with the environment held;
    `as_is` loads what runs. `stop` ends it early. Raises ConfigError without such a profile or
    crate, CannotTell without an environment, Stale or Unhealthy for a service that is not fresh,
    BuildFailed, what a swap raises, and what `loadrun.measure` raises.
    """
    workload, crate = _checked(config, name)
    platform = host.require_engine().platform
    with flows.changing(config), Desk(config) as desk:
        cluster.require(config)
        refuse(freshness.look(config, workload, platform, desk))
        on_release = config.swaps(workload) and not as_is
        release = replace(config, profile="release", stages={CRATE: crate, **config.stages})
        # One after the other: what they build with is this machine's, as is what they measure.
        wanted = [workload.artifact, CRATE] if on_release else [CRATE]
        stages.build(release, wanted, engine_platform=platform)
        program = stages.output(release, CRATE, engine_platform=platform)
        if not on_release:
            build = _running(config, workload)
            report.line(f"{workload.name} is loaded as it runs: {build}")
            return loadrun.measure(config, name, workload.url, program, build, stop=stop)
        artifact = deploying.artifact(release, workload, platform)
        with _swapped(config, workload, artifact, desk, platform) as build:
            return loadrun.measure(config, name, workload.url, program, build, stop=stop)


def chosen(config: Config) -> str:
    """The profile for who names none: `low`, else the first. Raises ConfigError without any."""
    if not config.load:
        raise _no_profile(config, FIRST)
    return FIRST if FIRST in config.load else next(iter(config.load))


def _checked(config: Config, name: str) -> tuple[Workload, Stage]:
    """What is loaded, and what builds the load: all that kindloop.yaml and the folders say."""
    if name not in config.load:
        raise _no_profile(config, name)
    workload = next((w for w in config.workloads.values() if w.url), None)
    if workload is None:
        raise ConfigError(
            "no workload has a URL to load", hint=f"set workloads.<name>.url in {config.path}"
        )
    crate = config.stages.get(CRATE) or _crate(config.app.root)
    return workload, crate


def _no_profile(config: Config, name: str) -> ConfigError:
    known = ", ".join(config.load)
    return ConfigError(
        f"there is no load profile {name}",
        why="" if known else f"{config.path.name} has no section load",
        hint=f"one of: {known}" if known else f"see {_MANUAL}",
    )


def _crate(root: Path) -> Stage:
    """The stage that builds the load test; it runs here, so it is built for here."""
    manifest = root / CRATE / "Cargo.toml"
    if not manifest.exists():
        raise ConfigError(
            f"there is no load test: {manifest} does not exist",
            hint=f"cargo new --bin {manifest.parent}; see {_MANUAL}",
        )
    return Stage(
        CRATE,
        f"cargo build --release --locked --manifest-path {{root}}/{CRATE}/Cargo.toml",
        inputs=tuple(f"{CRATE}/{each}" for each in ("src", "Cargo.toml", "Cargo.lock")),
        outputs=(f"{{target}}/{CRATE}",),
        label="tools",
        platform="host",
    )


def refuse(found: Fresh) -> None:
    """Raise when the service is not fresh: its figures would mislead.

    Stale, Unhealthy, or CannotTell when nobody knows.
    """
    if found.state == "fresh":
        return
    kinds: dict[str, type[KindloopError]] = {"stale": Stale, "unhealthy": Unhealthy}
    detail, _, following = found.detail.partition("; next: ")
    default = "invoke dev-rebuild" if found.state == "stale" else "invoke dev-status"
    raise kinds.get(found.state, CannotTell)(
        f"no load on a service that is not fresh: {found.workload}: {found.state}, {detail}",
        hint=following or default,
    )


@contextmanager
def _swapped(
    config: Config, workload: Workload, artifact: Path | None, desk: Desk, platform: str
) -> Iterator[Build]:
    """The release build runs while the body does; afterwards the newest loop artifact again."""
    if artifact is None:
        raise ValueError(f"workload {workload.name} has no artifact")
    report.line(f"{workload.name} runs its release build meanwhile")
    try:
        served = deploying.settle_swap(workload, desk, desk.push(workload, artifact, for_load=True))
        yield Build("release", served.digest)
    finally:
        report.line(f"{workload.name} runs its {config.profile} build again")
        deploying.swap_one(config, workload, platform, desk)


def _running(config: Config, workload: Workload) -> Build:
    want = swapfiles.folder_of(config, workload).want() if config.swaps(workload) else None
    return Build(config.profile, want.digest if want else "")
