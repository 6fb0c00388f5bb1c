"""The node image, made from packages where no registry can be reached."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from kindloop import tools
from kindloop.bake import node_files, oci
from kindloop.bake.debian import rootfs_part
from kindloop.bake.parts import RECIPES, Part, architecture, go_env, go_part, run
from kindloop.errors import BuildFailed
from kindloop.versions import section

__all__ = [
    "LABEL",
    "base_part",
    "image_tags",
    "node_image",
    "node_parts",
    "recipe_digest",
    "references",
]

LABEL = "kindloop.recipe"
"""Label of every image that a bake made; its value is the recipe digest."""

KUBE_PROGRAMS = (
    "kubeadm",
    "kubelet",
    "kubectl",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
)


CONTAINERD = 'sandbox_image = ""\nrestrict_oom_score_adj = false\n'
"""The lines of kind's containerd configuration that we change: how, counts in the recipe."""
ASSEMBLY = 1
"""Raised when `assembly` puts the same parts together in another way."""


def references() -> dict[str, str]:
    """Image reference by component of this release."""
    bake = section("bake")
    return node_files.image_references(
        section("node")["kubernetes"],
        bake["etcd"],
        bake["coredns"],
        bake["pause"],
        bake["local_path_provisioner"],
    )


def image_tags() -> dict[str, str]:
    """What kubeadm must be told: the tags of etcd and CoreDNS that the node image really holds."""
    refs = references()
    return {name: refs[name].rpartition(":")[2] for name in ("etcd", "coredns")}


def node_parts() -> list[Part]:
    """Every part of the node image in the order of work; estimates are seconds, cold, 2 cores."""
    bake = section("bake")
    return [
        rootfs_part(),
        _kubernetes_part(),
        go_part("etcd", f"etcd {bake['etcd']}", 40, ["go.etcd.io/etcd/server/v3"], rename="etcd"),
        go_part("coredns", f"CoreDNS {bake['coredns']}", 130, ["github.com/coredns/coredns"]),
        go_part(
            "local-path-provisioner",
            f"volumes {bake['local_path_provisioner']}",
            70,
            ["github.com/rancher/local-path-provisioner"],
        ),
        _pause_part(),
    ]


def recipe_digest() -> str:
    """Digest of the whole node image: of its parts and of how they are put together."""
    how = [
        node_files.SETUP,
        node_files.PROXY_FILES,
        node_files.cni_conflist(),
        node_files.containerd_config(CONTAINERD, references()["pause"]),
        references(),
        section("bake")["kind"],
        ASSEMBLY,
    ]
    text = json.dumps([[part.digest for part in node_parts()], how], sort_keys=True)
    part = Part("node", "", 0, {"content": text}, lambda _folder, _log: None)
    return part.digest


def node_image() -> str:
    """Reference of the image that a bake of this recipe gives."""
    return f"kindloop/node:{section('node')['kubernetes']}-{recipe_digest()}"


def base_part() -> Part:
    """Base image of workloads where no registry is reachable: busybox and CA certificates."""
    rootfs = rootfs_part()

    def build(folder: Path, _log: Path) -> None:
        layer = folder / "layer.tar"
        with tarfile.open(rootfs.folder / "rootfs.tar") as source, tarfile.open(layer, "w") as out:
            _copy_member(source, out, "bin/busybox", "bin/busybox", 0o755)
            certs = "etc/ssl/certs/ca-certificates.crt"
            _copy_member(source, out, certs, certs, 0o644)
            oci.add_link(out, "bin/sh", "busybox")
            oci.add_folder(out, "tmp", 0o1777)
            oci.add_text(out, "root:x:0:0::/:/bin/sh\napp:x:65532:65532::/:/bin/sh\n", "etc/passwd")
            oci.add_text(out, "root:x:0:\napp:x:65532:\n", "etc/group")

    return Part("base", "busybox, CA certificates", 2, {"rootfs": rootfs.digest, "v": "1"}, build)


def _kubernetes_part() -> Part:
    version = section("node")["kubernetes"]
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        # The module proxy serves releases without their commit or build date.
        "gitCommit": "unknown",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    flags = [
        f"-X {package}.{key}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for key, value in values.items()
    ]
    return go_part(
        "kubernetes",
        f"Kubernetes {version}",
        430,
        [f"k8s.io/kubernetes/cmd/{program}" for program in KUBE_PROGRAMS],
        ldflags=" ".join(["-s", "-w", *flags]),
    )


def _pause_part() -> Part:
    version = section("node")["kubernetes"]
    recipe = {"kubernetes": version, "pause": section("bake")["pause"], "arch": architecture()}

    def build(folder: Path, log: Path) -> None:
        module = f"k8s.io/kubernetes@{version}"
        found = tools.run(
            "go", "mod", "download", "-json", module, cwd=RECIPES / "kubernetes", env=go_env(),
            timeout_s=600,
        )  # fmt: skip
        source = Path(json.loads(found.stdout)["Dir"]) / "build/pause/linux/pause.c"
        define = f"-DVERSION={section('bake')['pause']}"
        run(["gcc", "-Os", "-Wall", "-static", define, "-o", folder / "pause", source], log)

    return Part("pause", f"pause {section('bake')['pause']}", 2, recipe, build)


def _copy_member(
    source: tarfile.TarFile, out: tarfile.TarFile, old: str, new: str, mode: int
) -> None:
    for prefix in ("./", "", "./usr/", "usr/"):
        try:
            member = source.getmember(prefix + old)
        except KeyError:
            continue
        data = source.extractfile(member)
        if data is not None:
            info = tarfile.TarInfo(new)
            info.size = member.size
            info.mode = mode
            out.addfile(info, data)
            return
    raise BuildFailed(
        f"{old} is not in the node's packages",
        why="the Debian release renamed a package file",
        hint="rm -r the folder of part rootfs (invoke bake.status shows it); invoke bake.node",
    )
