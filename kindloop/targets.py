"""Which target cargo builds for, so that the artifact runs in the engine's containers.

The binary is linked statically: then every base image works. Everything here is pure; what the
machine has comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from kindloop.errors import ConfigError, ToolMissing

__all__ = ["COMPILERS", "Target", "TargetPlan", "plan_host_target", "plan_target"]

STATIC = "target-feature=+crt-static"
CPUS: Mapping[str, str] = MappingProxyType(
    {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
)
"""The names that docker and `uname -m` use → the name in a target triple."""
COMPILERS = frozenset(
    {"musl-gcc"} | {f"{cpu}-linux-{libc}-gcc" for cpu in CPUS.values() for libc in ("gnu", "musl")}
)
"""Programs whose presence on PATH decides between targets."""
DEBIAN_CROSS: Mapping[str, str] = MappingProxyType(
    {
        "x86_64": "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
        "aarch64": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    }
)


@dataclass(frozen=True)
class Target:
    """What cargo builds for."""

    triple: str
    rustflags: tuple[str, ...] = ()
    linker: str = ""
    """Program that links; empty leaves the choice to cargo and its configuration."""
    linker_hint: str = ""
    """What is likely missing on this machine when linking fails."""

    @property
    def variable(self) -> str:
        """The triple as cargo spells it in the names of variables."""
        return self.triple.upper().replace("-", "_").replace(".", "_")


@dataclass(frozen=True)
class TargetPlan:
    """A target, and the commands that install what it lacks here (empty: ready to use)."""

    target: Target
    missing: tuple[str, ...] = ()
    note: str = ""
    """Why a better target was not taken; empty when there is nothing to say."""

    def ready(self) -> Target:
        """The target. Raises ToolMissing, with the commands, when something is missing."""
        if self.missing:
            raise ToolMissing(
                f"this machine cannot build for {self.target.triple} yet",
                why="the engine's containers have another operating system or architecture",
                hint=self.missing[0],
                evidence=self.missing,
            )
        return self.target


def plan_target(  # noqa: PLR0917 - four of them are two platforms
    engine_os: str,
    engine_arch: str,
    host_os: str,
    host_arch: str,
    installed_targets: Collection[str],
    env: Mapping[str, str],
    programs: Collection[str] = frozenset(),
) -> TargetPlan:
    """The static target for the engine's platform: musl where it can be used, else gnu.

    Operating systems are spelt like `sys.platform` or docker's OSType, architectures like
    docker's or `uname -m`. `programs` are the COMPILERS on PATH. musl counts as usable with a
    C compiler of its own, because crates with C code need one. Raises ConfigError for an engine
    that is not Linux on amd64 or arm64.
    """
    if engine_os != "linux" or engine_arch not in CPUS:
        raise ConfigError(
            f"the engine runs {engine_os}/{engine_arch} containers",
            why="targets are known for linux/amd64 and linux/arm64",
            hint="docker context ls, then: docker context use <one with Linux containers>",
        )
    cpu = CPUS[engine_arch]
    native = host_os == "linux" and CPUS.get(host_arch) == cpu
    here = _Here(host_os, native, installed_targets, env, programs)
    gnu, musl = _gnu(cpu, here), _musl(cpu, here)
    if host_os != "linux" or not musl.missing:
        return musl
    on_musl_host = native and gnu.target.triple not in installed_targets
    if on_musl_host and musl.target.triple in installed_targets:
        return TargetPlan(musl.target)  # the system's own compiler is a musl one
    note = ""
    if musl.target.triple in installed_targets:
        note = f"{musl.target.triple} is installed, but not its C compiler: {musl.missing[-1]}"
    return TargetPlan(gnu.target, gnu.missing, note)


def plan_host_target(
    for_engine: TargetPlan, host_os: str, host_arch: str, installed_targets: Collection[str]
) -> TargetPlan:
    """The target of programs that run here: the engine's own where it fits, else the host's.

    Sharing the engine's target shares its artifacts, which halves a cold build.
    """
    cpu = CPUS.get(host_arch, host_arch)
    if host_os == "linux" and for_engine.target.triple.startswith(f"{cpu}-"):
        return for_engine
    if host_os == "darwin":
        return TargetPlan(Target(f"{cpu}-apple-darwin"))
    libc = "gnu" if f"{cpu}-unknown-linux-gnu" in installed_targets else "musl"
    return TargetPlan(Target(f"{cpu}-unknown-linux-{libc}"))


@dataclass(frozen=True)
class _Here:
    """This machine, as far as it matters for a target."""

    system: str
    native: bool
    """Whether it runs the target's programs itself."""
    installed: Collection[str]
    env: Mapping[str, str]
    programs: Collection[str]

    def lacks(self, triple: str) -> tuple[str, ...]:
        return () if triple in self.installed else (f"rustup target add {triple}",)


def _gnu(cpu: str, here: _Here) -> TargetPlan:
    compiler = f"{cpu}-linux-gnu-gcc"
    hint = "a static C library: libc6-dev (Debian, Ubuntu), glibc-static (Fedora)"
    target = Target(f"{cpu}-unknown-linux-gnu", ("-C", STATIC), linker_hint=hint)
    missing = here.lacks(target.triple)
    if here.native or f"CARGO_TARGET_{target.variable}_LINKER" in here.env:
        return TargetPlan(target, missing)
    if compiler not in here.programs:
        missing += (f"apt-get install {DEBIAN_CROSS[cpu]}  # {compiler}",)
    return TargetPlan(replace(target, linker=compiler), missing)


def _musl(cpu: str, here: _Here) -> TargetPlan:
    compiler = f"{cpu}-linux-musl-gcc"
    install = "brew install filosottile/musl-cross/musl-cross"
    if here.system == "linux":
        install = "apt-get install musl-tools  # musl-gcc"
    target = Target(f"{cpu}-unknown-linux-musl", ("-C", STATIC), linker_hint=install)
    missing = here.lacks(target.triple)
    variable = f"CARGO_TARGET_{target.variable}_LINKER"
    if variable in here.env or (here.native and {compiler, "musl-gcc"} & set(here.programs)):
        return TargetPlan(target, missing)  # on its own machine rustc links with plain `cc`
    if compiler not in here.programs:
        lld = f"  # or, without C code in any crate: export {variable}=rust-lld"
        missing += (install if here.native else f"{install}{lld}",)
    return TargetPlan(replace(target, linker=compiler), missing)
