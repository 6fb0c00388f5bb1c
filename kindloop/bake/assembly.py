"""The finished parts put together into the node image, by the engine and the node's own tools."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from kindloop import report, state, tools
from kindloop.bake import node_files, oci
from kindloop.bake.debian import rootfs_part
from kindloop.bake.node import (
    LABEL,
    base_part,
    image_tags,
    node_image,
    node_parts,
    recipe_digest,
    references,
)
from kindloop.bake.parts import architecture, kind_module, run
from kindloop.errors import BuildFailed, ToolFailed
from kindloop.versions import section

__all__ = ["assemble", "remove_container"]


def assemble(log: Path) -> str:
    """Put the finished parts together into the node image; returns its reference."""
    name = f"kindloop-bake-{recipe_digest()}"
    remove_container(name)
    work = state.cache_home() / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with report.step("bake node image") as step:
            _import_rootfs(name, log)
            _fill(name, work, log)
            _import_images(name, work, log)
            _commit(name)
            step.note(node_image())
    except ToolFailed as exc:
        raise BuildFailed(
            f"the node image could not be put together: {exc.message}",
            evidence=exc.evidence,
            why="the Docker engine refused a privileged container, or its disk is full",
            hint="invoke dev-doctor; then: invoke bake.node",
        ) from exc
    finally:
        remove_container(name)
        tools.run("docker", "image", "rm", _rootfs_reference(), check=False)
        shutil.rmtree(work, ignore_errors=True)
    return node_image()


def remove_container(name: str) -> None:
    """Remove the bake's own container, with its volumes, if it is there."""
    tools.run("docker", "rm", "--force", "--volumes", name, check=False, timeout_s=60)


def _rootfs_reference() -> str:
    return f"kindloop/node-rootfs:{rootfs_part().digest}"


def _import_rootfs(name: str, log: Path) -> None:
    changes = ["ENV container=docker", "STOPSIGNAL SIGRTMIN+3"]
    changes += [f"LABEL {LABEL}={recipe_digest()}"]
    # The cluster room reads these to tell kubeadm which images the node holds.
    changes += [f"LABEL kindloop.{name}={tag}" for name, tag in image_tags().items()]
    argv: list[str | Path] = ["docker", "import"]
    for change in changes:
        argv += ["--change", change]
    run([*argv, rootfs_part().folder / "rootfs.tar", _rootfs_reference()], log)
    tools.run(
        "docker", "run", "--detach", "--privileged", "--network", "none", "--name", name,
        "--label", f"{LABEL}={recipe_digest()}",
        "--volume", f"{state.cache_home()}:/bake:ro",
        "--entrypoint", "/bin/sleep", _rootfs_reference(), "infinity",
    )  # fmt: skip


def _fill(name: str, work: Path, log: Path) -> None:
    parts = {part.name: part.folder for part in node_parts()}
    overlay = work / "overlay.tar"
    module = kind_module(log)
    with tarfile.open(overlay, "w") as tar:
        _add_kind_files(tar, module)
        for program in ("kubeadm", "kubelet", "kubectl"):
            oci.add_file(tar, parts["kubernetes"] / program, f"usr/bin/{program}")
        refs = references()
        source = (module / "pkg/build/nodeimage/const_storage.go").read_text(encoding="utf-8")
        storage = node_files.storage_manifest(
            source, refs["local-path-provisioner"], refs["local-path-helper"]
        )
        oci.add_text(tar, storage, "kind/manifests/default-storage.yaml")
        oci.add_text(tar, section("node")["kubernetes"], "kind/version")
        oci.add_text(tar, node_files.cni_conflist(), "etc/cni/net.d/10-kindloop.conflist")
        oci.add_text(tar, node_files.SETUP, "kindloop-setup.sh")
    inside = f"/bake/{overlay.relative_to(state.cache_home())}"
    _exec(name, "tar", "-xf", inside, "-C", "/", "--no-same-owner", "--keep-directory-symlink")
    _exec(name, "sh", "/kindloop-setup.sh")
    _exec(name, "rm", "/kindloop-setup.sh")


def _add_kind_files(tar: tarfile.TarFile, module: Path) -> None:
    files = module / "images/base/files"
    pause = references()["pause"]
    for path in sorted(p for p in files.rglob("*") if p.is_file()):
        name = str(path.relative_to(files))
        if name == "etc/containerd/config.toml":
            text = node_files.containerd_config(path.read_text(encoding="utf-8"), pause)
            oci.add_text(tar, text, name)
        else:
            oci.add_file(tar, path, name, 0o755 if "/bin/" in f"/{name}" else 0o644)


def _import_images(name: str, work: Path, log: Path) -> None:
    """Import the component images with the node's own containerd, still packed."""
    archive = work / "images.tar"
    oci.write_archive(archive, _component_images(name, work))
    tools.run("docker", "exec", "--detach", name, "containerd")
    inside = f"/bake/{archive.relative_to(state.cache_home())}"
    script = (
        "for i in $(seq 150); do ctr version >/dev/null 2>&1 && break; sleep 0.2; done; "
        f"ctr -n k8s.io images import --no-unpack {inside} && pkill -TERM containerd; "
        "while pgrep -x containerd >/dev/null; do sleep 0.1; done"
    )
    run(["docker", "exec", name, "sh", "-euc", script], log)


def _component_images(name: str, work: Path) -> list[oci.ImageSpec]:
    parts = {part.name: part.folder for part in node_parts()}
    refs = references()
    kube, arch = parts["kubernetes"], architecture()

    def image(component: str, layer: Path, entrypoint: Sequence[str] = ()) -> oci.ImageSpec:
        return oci.ImageSpec(refs[component], layer, arch, entrypoint)

    def single(component: str, binary: Path, path: str) -> oci.ImageSpec:
        layer = oci.layer_from_files(work / f"{component}.tar", {path: binary})
        return image(component, layer, [f"/{path}"])

    images = [
        single(program, kube / program, f"usr/local/bin/{program}")
        for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ]
    images.append(single("etcd", parts["etcd"] / "etcd", "usr/local/bin/etcd"))
    images.append(single("coredns", parts["coredns"] / "coredns", "coredns"))
    images.append(single("pause", parts["pause"] / "pause", "pause"))
    provisioner = parts["local-path-provisioner"] / "local-path-provisioner"
    images.append(
        single("local-path-provisioner", provisioner, "usr/local/bin/local-path-provisioner")
    )
    images.append(image("local-path-helper", base_part().folder / "layer.tar"))
    images.append(image("kube-proxy", _proxy_layer(name, work, kube / "kube-proxy")))
    return images


def _proxy_layer(name: str, work: Path, binary: Path) -> Path:
    """kube-proxy with the tools it calls, taken from the node's own packages."""
    files = work / "proxy-files.tar"
    script = f"{{ {node_files.PROXY_FILES} }} > /proxy-files.tar"
    _exec(name, "sh", "-c", script)
    tools.run("docker", "cp", f"{name}:/proxy-files.tar", files)
    _exec(name, "rm", "/proxy-files.tar")
    layer = work / "kube-proxy.tar"
    with tarfile.open(files) as source, tarfile.open(layer, "w") as out:
        for member in source.getmembers():
            out.addfile(member, source.extractfile(member))
        oci.add_file(out, binary, "usr/local/bin/kube-proxy")
        oci.add_link(out, "bin/sh", "busybox")
        for command in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                oci.add_link(out, f"usr/sbin/{command}{suffix}", "xtables-nft-multi")
        oci.add_folder(out, "run")
        oci.add_folder(out, "tmp", 0o1777)
    return layer


def _commit(name: str) -> None:
    entrypoint = 'ENTRYPOINT [ "/usr/local/bin/entrypoint", "/sbin/init" ]'
    tools.run(
        "docker", "commit", "--change", entrypoint, "--change", "CMD []", name, node_image(),
        timeout_s=300,
    )  # fmt: skip


def _exec(name: str, *argv: str) -> None:
    tools.run("docker", "exec", name, *argv, timeout_s=300)
