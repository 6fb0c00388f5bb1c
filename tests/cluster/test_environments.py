"""Two environments at once on one machine: each serves its own, and goes by its name alone."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from artifacts import SERVICE
from live import PATIENCE_S, Loop, docker, edit, free_offset, one_more_cluster

from kindloop import state

SETTINGS = """
version: 1
core: k8s/core
stages:
  supervisor:
    run: install -D {supervisor} {{target}}/supervisor
    inputs: [{supervisor}]
    outputs: ["{{target}}/supervisor"]
    tools: []
  web:
    run: sh -c 'mkdir -p {{target}} && cc -static -o {{target}}/web web.c'
    inputs: [web.c]
    outputs: ["{{target}}/web"]
    tools: [cc]
workloads:
  web:
    image: {{dockerfile: Dockerfile}}
    swap: {{artifact: web}}
    manifests: k8s/web
    url: http://127.0.0.1:{{ports.petstore}}
    health: /
"""
DOCKERFILE = """
ARG BASE
FROM ${BASE}
WORKDIR /app
COPY . /app/
USER 65532:65532
ENTRYPOINT ["/app/supervisor", "--binary", "/app/web", "--"]
"""
MANIFESTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: web
          ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n"
KUSTOMIZATION = "resources: [all.yaml]\n"


@pytest.fixture
def second(up: Loop, tmp_path: Path) -> Iterator[Loop]:
    """An environment of another checkout beside the shared one, with a service of its own."""
    root = tmp_path / "second"
    built = (up.root / "examples/petstore/target/kindloop").rglob("supervisor")
    supervisor = next(path for path in built if path.is_file() and path.stat().st_mode & 0o100)
    for name, text in (
        ("kindloop.yaml", SETTINGS.format(supervisor=supervisor)),
        ("tasks.py", "from kindloop.tasks import collection\n\nns = collection()\n"),
        ("Dockerfile", DOCKERFILE),
        ("web.c", SERVICE),
        ("k8s/core/all.yaml", NAMESPACE),
        ("k8s/core/kustomization.yaml", KUSTOMIZATION),
        ("k8s/web/all.yaml", MANIFESTS),
        ("k8s/web/kustomization.yaml", KUSTOMIZATION),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    loop = Loop(root, f"{up.name}-two", free_offset(up.offset + 500), up.env)
    with one_more_cluster():
        by_name(up, "dev-down", loop.name)  # what a killed run left
        yield loop
        by_name(up, "dev-down", loop.name)


def by_name(loop: Loop, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `kindloop WORDS` in a folder that knows of no project."""
    elsewhere = loop.home.parent / "elsewhere.d"
    elsewhere.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "kindloop", *words],
        cwd=elsewhere,
        env={**os.environ, **loop.env},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    print(f"$ kindloop {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done


def listed(loop: Loop) -> dict[str, dict[str, Any]]:
    said = by_name(loop, "dev-list", "--json")
    assert said.returncode == 0, said.stderr
    return {one["name"]: one for one in json.loads(said.stdout)["environments"]}


def files(loop: Loop) -> dict[str, tuple[int, str]]:
    """Every file of the environment's folder: its time and its content's digest."""
    return {
        str(path.relative_to(loop.home)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in loop.home.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_two_environments_do_not_know_of_each_other(up: Loop, second: Loop, foreign: str) -> None:
    pods, ours = up.pods(), files(up)
    second.ok("dev-up")
    assert second.curl("/") == "ok"
    assert "ok" in up.curl("/health")

    # A swap in one leaves pods and files of the other alone.
    edit(
        second.root / "web.c",
        '2\\r\\nConnection: close\\r\\n\\r\\nok"',
        '3\\r\\nConnection: close\\r\\n\\r\\nnew"',
    )
    second.ok("dev-rebuild")
    assert second.curl("/") == "new"
    assert (up.pods(), files(up)) == (pods, ours)

    # The list has both, what each serves, and nothing that is not ours.
    found = listed(up)
    assert {up.name, second.name} <= found.keys()
    assert foreign not in found
    for loop in (up, second):
        one = found[loop.name]
        assert (one["state"], one["checkout"]) == ("running", str(loop.root))
        assert one["ports"]["petstore"] == 8080 + loop.offset
        assert one["memory_mib"] > 100
    assert set(found[up.name]["serves"]) == {"petstore"}
    (web,) = (second.root / "target").rglob("web")
    assert found[second.name]["serves"] == {"web": hashlib.sha256(web.read_bytes()).hexdigest()}

    # Each has a kubeconfig of its own, for its own cluster.
    assert "namespace/web" not in up.kubectl("get", "namespaces", "--output=name")
    assert f"namespace/{second.name}" in second.kubectl("get", "namespaces", "--output=name")
    assert f"namespace/{second.name}" not in up.kubectl("get", "namespaces", "--output=name")

    # By name, from anywhere: not while somebody works on it, and never what is not ours.
    lock = second.home.parent / f"{second.name}.watch.lock"
    with state.lock(lock, "it"):
        refused = by_name(up, "dev-down", second.name)
        assert refused.returncode == 8
        assert listed(up)[second.name]["watched"] is True
    unknown = by_name(up, "dev-stop", foreign)
    assert unknown.returncode == 2
    assert f"there is no environment {foreign}" in unknown.stderr

    assert by_name(up, "dev-stop", second.name).returncode == 0
    stopped = listed(up)
    assert stopped[second.name]["state"] == "stopped"
    assert stopped[up.name]["state"] == "running"

    # Somebody else has its port meanwhile.
    with socket.create_server(("127.0.0.1", 8080 + second.offset)):
        taken = second.say("dev-start")
        assert taken.code == 1
        assert taken.message == "error: ports that the cluster needs are taken"
        assert f"127.0.0.1:{8080 + second.offset} (petstore) is taken by process" in taken.error
    second.ok("dev-start")
    assert second.curl("/") == "new"

    assert by_name(up, "dev-down", second.name).returncode == 0
    assert second.name not in listed(up)
    assert not second.home.exists()
    assert docker("ps", "--all", "--quiet", "--filter", f"name={second.node}") == ""
    assert (up.pods(), files(up)) == (pods, ours)
    assert "ok" in up.curl("/health")
