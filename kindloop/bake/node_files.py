"""What is written into the node image beside packages and binaries: pure text."""

from __future__ import annotations

import json
import re

__all__ = [
    "PROXY_FILES",
    "SETUP",
    "cni_conflist",
    "containerd_config",
    "image_references",
    "storage_manifest",
]

POD_SUBNET = "10.244.0.0/24"
"""kind's default pod subnet is 10.244.0.0/16, of which the first node gets this part."""

SETUP = r"""
set -eu
chmod 0755 /kind/bin /kind/bin/* /usr/local/bin/*
# As kind's own base image does: no service of the host's kind may start in a container.
rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/*
rm -f /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/*
rm -f /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl*
rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
echo ReadKMsg=no >> /etc/systemd/journald.conf
ln -sf /lib/systemd/systemd /sbin/init
# Debian's places for what kind's units and the kubelet expect elsewhere.
for tool in containerd containerd-shim-runc-v2 ctr; do ln -sf /usr/bin/$tool /usr/local/bin/$tool; done
mkdir -p /opt/cni /etc/kubernetes/manifests /var/lib/kindloop
rm -rf /opt/cni/bin
ln -s /usr/lib/cni /opt/cni/bin
rm -f /lib/systemd/system/containerd.service
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service
ctr oci spec \
  | jq '.hooks.createContainer = ((.hooks.createContainer // []) + [{"path": "/kind/bin/mount-product-files.sh"}])
        | del(.process.rlimits)' > /etc/containerd/cri-base.json
rm -rf /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /var/cache/debconf/*
"""  # noqa: E501 - a shell script: its lines are those of the shell
"""Run once, as root, in the container that becomes the node image."""

PROXY_FILES = r"""
set -eu
programs="/usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack /bin/busybox"
plugins=$(find /usr/lib -path '*/xtables/*.so')
# Every library that a plugin loads, libm among them: without one kube-proxy's restore fails
# every 30 s and no Service answers, while its pod looks Running.
libraries=$(ldd $programs $plugins 2>/dev/null | grep -oE '/[^ :]+\.so[^ :]*' | sort -u)
tar --create --dereference --hard-dereference --sort=name --mtime=@0 --file - \
    $programs $(printf '%s\n' $plugins $libraries | sort -u) 2>/dev/null
"""
"""Run in that container: writes the files that kube-proxy needs as a tar archive."""


def containerd_config(kind_text: str, pause_reference: str) -> str:
    """Kind's containerd configuration with our sandbox image.

    `restrict_oom_score_adj`: without CAP_SYS_RESOURCE (sandboxes, nested containers) no process
    may lower its score, and every pod would fail to start; elsewhere it changes nothing we need.
    """
    out = re.sub(r'sandbox_image = ".*"', f'sandbox_image = "{pause_reference}"', kind_text)
    return out.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true")


def cni_conflist() -> str:
    """Pod network of a single node: a bridge with host ports; needs no daemon and no image."""
    plugins: list[dict[str, object]] = [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "kindloop", "plugins": plugins}, indent=2)


def storage_manifest(kind_source: str, provisioner: str, helper: str) -> str:
    """Kind's default storage manifest with the images that were really built.

    `kind_source` is the text of kind's `pkg/build/nodeimage/const_storage.go`.
    """
    match = re.search(r"const defaultStorageManifest = `(.*)`\s*$", kind_source, re.DOTALL)
    if not match:
        raise ValueError("kind's const_storage.go has no defaultStorageManifest")
    body = match.group(1).replace("` + storageProvisionerImage + `", provisioner)
    return body.replace("` + storageHelperImage + `", helper)


def image_references(
    kubernetes: str, etcd: str, coredns: str, pause: str, storage: str
) -> dict[str, str]:
    """Reference by component, as kubeadm expects them; each tag names the version really built."""
    kube = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    return {
        **{name: f"registry.k8s.io/{name}:{kubernetes}" for name in kube},
        "etcd": f"registry.k8s.io/etcd:{etcd.removeprefix('v')}",
        "coredns": f"registry.k8s.io/coredns/coredns:{coredns}",
        "pause": f"registry.k8s.io/pause:{pause}",
        "local-path-provisioner": f"kindloop.local/local-path-provisioner:{storage}",
        "local-path-helper": f"kindloop.local/local-path-helper:{storage}",
    }
