"""Swappable workloads of every kind: replicas, two at once, images without anything, both transports."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifacts import Bay, modes, sha256, variables
from live import Loop, docker, edit
from watching import asked, call, configure, pets, takes

from kindloop.config import DEFAULT_PORTS

pytestmark = pytest.mark.usefixtures("own_state")

SCRATCH = """\
ARG BASE
FROM scratch
WORKDIR /app
COPY . /app/
USER 65532:65532
ENTRYPOINT ["/app/supervisor", "--binary", "/app/pet_store", "--"]
"""


@pytest.fixture
def bay(up: Loop, tmp_path: Path) -> Iterator[Bay]:
    """The swap of the healthy environment."""
    up.ok("build")  # a test before this one may have built something else
    made = Bay(up, tmp_path)
    made.swap(made.built)
    yield made
    made.close()


def image(loop: Loop) -> str:
    return str(containers(loop)[0]["image"])


def containers(loop: Loop, name: str = "petstore") -> list[dict[str, Any]]:
    deployment = next(d for d in loop.objects("deployments") if d["metadata"]["name"] == name)
    return list(deployment["spec"]["template"]["spec"]["containers"])


def images(loop: Loop) -> set[str]:
    return set(docker("image", "ls", "--quiet", f"kindloop.local/{loop.name}/petstore").split())


# --- a day ----------------------------------------------------------------------------------


def test_a_day_of_swaps_makes_no_image_and_no_pod(bay: Bay) -> None:
    loop = bay.loop
    before = (loop.pods(), image(loop), images(loop))
    artifacts = [bay.named(f"Cat{number:02d}") for number in range(10)]
    for artifact in artifacts:
        assert bay.swap(artifact).state == "fresh"
    assert "Cat09" in pets(loop)
    said = loop.ok("dev-up")
    assert "image" not in said
    assert "Greta" in pets(loop)
    assert (loop.pods(), image(loop), images(loop)) == before
    assert len(list(bay.swap_folder.bin.iterdir())) <= 3


def test_environment_variables_change_by_a_swap(bay: Bay) -> None:
    loop = bay.loop
    pods = loop.pods()
    edit(loop.settings, "RUST_LOG: info", "RUST_LOG: debug")
    said = loop.ok("dev-rebuild")
    assert "rollout" not in said
    assert "env" in said
    assert loop.pods() == pods
    assert "RUST_LOG=debug" in variables(loop, bay.processes(sha256(bay.built))[0])


def test_what_pods_read_is_readable_under_any_umask(bay: Bay) -> None:
    shutil.rmtree(bay.swap_folder.trees)
    mask = os.umask(0o077)
    try:
        configure(bay.loop, "private")
        verdict = bay.swap(bay.named("Wilma"))
    finally:
        os.umask(mask)
    assert verdict.state == "fresh", verdict.reason
    assert "Wilma" in pets(bay.loop)
    assert takes(bay.loop, "private")
    assert modes(bay.swap_folder.path.parent) == {"dir 755", "bin 755", "file 644"}


# --- the manifests --------------------------------------------------------------------------


def test_a_swappable_pod_is_made_for_it(up: Loop) -> None:
    deployment = up.objects("deployments", "--selector=app.kubernetes.io/name=petstore")[0]
    spec = deployment["spec"]["template"]["spec"]
    container = spec["containers"][0]
    volume = next(v["hostPath"] for v in spec["volumes"] if "hostPath" in v)
    mount = next(m for m in container["volumeMounts"] if m["mountPath"] == "/kindloop")
    assert volume["type"] == "Directory"
    assert volume["path"].endswith("/petstore")
    assert mount["readOnly"] is True
    assert deployment["spec"]["strategy"]["type"] == "Recreate"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "memory" in container["resources"]["limits"]
    assert "cpu" not in container["resources"]["limits"]
    service = next(s for s in up.objects("services") if s["metadata"]["name"] == "petstore")
    assert service["spec"]["publishNotReadyAddresses"] is True
    namespace = json.loads(up.kubectl("get", "namespace", up.name, "-o", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/warn"] == "restricted"
    assert "pod-security.kubernetes.io/enforce" not in namespace["metadata"]["labels"]


def test_two_replicas_are_both_swapped(bay: Bay) -> None:
    loop = bay.loop
    edit(loop.manifests / "deployment.yaml", "replicas: 1", "replicas: 2")
    loop.ok("dev-up")
    pods = loop.pods()
    assert len(pods) == 2
    verdict = bay.swap(bay.named("Wilma"))
    assert verdict.state == "fresh", verdict.reason
    assert len(verdict.pods) == 2
    assert {one.running_digest for one in verdict.pods} == {sha256(bay.named("Wilma"))}
    assert loop.pods() == pods
    assert all("Wilma" in pets(loop) for _ in range(8)), "both answer"


def second_workload(loop: Loop) -> str:
    """Add a workload `toys`: the same program under another name and port. Its URL."""
    folder = loop.root / "k8s/toys"
    shutil.copytree(loop.manifests, folder, dirs_exist_ok=True)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("petstore", "toys").replace("30080", "30686"))
    document = yaml.safe_load(loop.settings.read_text())
    first = document["workloads"]["petstore"]
    second = {**first, "manifests": "k8s/toys", "url": "http://127.0.0.1:{ports.jaeger}"}
    document["workloads"]["toys"] = second
    loop.settings.write_text(yaml.safe_dump(document, sort_keys=False))
    return f"http://127.0.0.1:{DEFAULT_PORTS['jaeger'] + loop.offset}"


def test_two_workloads_are_swapped_each_for_itself(up: Loop, tmp_path: Path) -> None:
    toys_url = second_workload(up)
    up.ok("dev-up")
    before = {pod["metadata"]["uid"] for pod in up.objects("pods")}
    assert len(before) == 2
    folders = {
        volume["hostPath"]["path"]
        for pod in up.objects("pods")
        for volume in pod["spec"]["volumes"]
        if "hostPath" in volume
    }
    assert {Path(folder).name for folder in folders} == {"petstore", "toys"}

    call(up, "Wilma")
    up.ok("dev-rebuild")
    answers = {url: asked(url) for url in (up.url, toys_url)}
    assert all("Wilma" in answer for answer in answers.values()), answers

    bay = Bay(up, tmp_path, "toys")
    try:
        other = bay.file("other", bay.built.read_bytes().replace(b"Wilma", b"Berta"))
        assert bay.swap(other).state == "fresh"
    finally:
        bay.close()
    assert "Berta" in asked(toys_url)
    assert "Wilma" in pets(up)
    status = up.say("dev-status", "--wait-fresh", "--timeout", "0")
    assert status.code == 4
    assert "petstore: fresh" in status.text
    assert "toys: stale" in status.text
    assert {pod["metadata"]["uid"] for pod in up.objects("pods")} == before


# --- images ---------------------------------------------------------------------------------


def test_an_image_of_nothing_but_the_supervisor_by_both_transports(
    up: Loop, tmp_path: Path
) -> None:
    (up.root / "dockerfiles/Dockerfile.dev").write_text(SCRATCH)
    said = up.ok("dev-rebuild")
    assert "image and rollout instead of a swap: the image of petstore changed" in said
    swapped(up, tmp_path, "Wilma")
    assert "hostPath" in str(volumes(up))

    edit(up.settings, "transport: auto", "transport: exec")
    said = up.ok("dev-rebuild")
    assert "image and rollout instead of a swap: the transport changed" in said
    assert "hostPath" not in str(volumes(up))
    swapped(up, tmp_path, "Berta")
    status = up.ok("dev-rebuild")  # back to what is built, by the same way
    assert "rollout" not in status
    assert "Greta" in pets(up)
    assert "exec: workloads.petstore.swap.transport is exec" in up.ok("swap.status")


def swapped(loop: Loop, folder: Path, name: str) -> None:
    """Swap in a pet store with this cat; neither image nor pods may change."""
    before = (loop.pods(), image(loop))
    bay = Bay(loop, folder)
    try:
        verdict = bay.swap(bay.named(name))
    finally:
        bay.close()
    assert verdict.state == "fresh", verdict.reason
    assert name in pets(loop)
    assert (loop.pods(), image(loop)) == before


def volumes(loop: Loop) -> list[dict[str, Any]]:
    deployment = loop.objects("deployments", "--selector=app.kubernetes.io/name=petstore")[0]
    return list(deployment["spec"]["template"]["spec"]["volumes"])


def test_the_binary_in_the_image_and_back(up: Loop) -> None:
    up.ok("dev-up")  # a test before this one may have left another image
    swapping = image(up)
    said = up.ok("dev-rebuild", "--image")
    assert "the binary is to be in the image" in said
    assert image(up) != swapping
    assert "/kindloop" not in str(containers(up))
    assert "Greta" in pets(up)

    # It is about the way of the binary, not about a good one.
    quick = ("LTO=off", "CODEGEN_UNITS=64", "OPT_LEVEL=1")
    release = {"KINDLOOP_PROFILE": "release"}
    release |= dict(f"CARGO_PROFILE_RELEASE_{one}".split("=") for one in quick)
    said = up.ok("dev-rebuild", env=release, timeout_s=3000)
    assert "petstore has no swap in profile release" in said
    assert "Greta" in pets(up)
    assert containers(up)[0]["resources"]["limits"]["cpu"] == "2"
    assert up.ok("dev-status", "--wait-fresh", "--timeout", "0", env=release)

    said = up.ok("dev-rebuild")
    assert "image and rollout instead of a swap" in said
    assert image(up) == swapping
    assert "Greta" in pets(up)
