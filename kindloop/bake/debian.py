"""The Debian root file system that node and workload images start from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from kindloop.bake.parts import Part, architecture, run
from kindloop.versions import section

__all__ = ["PACKAGES", "mirror", "rootfs_part"]

PACKAGES = (  # noqa: SIM905 - reads as apt's own list does
    "systemd systemd-sysv conntrack iptables nftables iproute2 ethtool util-linux mount kmod "
    "libseccomp2 pigz ca-certificates curl jq procps containerd runc containernetworking-plugins "
    "findutils hostname socat ebtables busybox-static"
).split()
"""kind's own list for its base image, plus the container runtime that kind compiles itself."""


def rootfs_part() -> Part:
    """`rootfs.tar`: a minimal Debian with what a Kubernetes node needs."""
    suite = section("bake")["debian"]
    recipe = {"suite": suite, "packages": " ".join(PACKAGES), "architecture": architecture()}

    def build(folder: Path, log: Path) -> None:
        argv = ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        argv += [f"--architectures={architecture()}", suite, str(folder / "rootfs.tar")]
        found = mirror()
        run([*argv, found] if found else argv, log, env={"DEBIAN_FRONTEND": "noninteractive"})

    return Part("rootfs", f"Debian {suite} packages", 80, recipe, build)


def mirror(etc: Path = Path("/etc")) -> str:
    """The Debian mirror to use: KINDLOOP_DEBIAN_MIRROR, else the one this machine itself uses.

    Empty (mmdebstrap's own default) on machines that are not Debian or name none.
    """
    if chosen := os.environ.get("KINDLOOP_DEBIAN_MIRROR"):
        return chosen
    files = [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*"))]
    for uri in _uris(files):
        if re.search(r"/debian/?$", uri):
            return uri
    return ""


def _uris(files: Iterable[Path]) -> Iterable[str]:
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError:
            continue
        yield from re.findall(r"^URIs:\s*(\S+)", text, re.MULTILINE)
        yield from re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)", text, re.MULTILINE)
