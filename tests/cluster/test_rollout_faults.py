"""Rollouts that cannot succeed: told at once, with the reason that the cluster knows."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from artifacts import inside
from live import Loop, docker, edit, line_of
from watching import becomes, pets

ENTRYPOINT = 'ENTRYPOINT ["/app/supervisor", "--binary", "/app/pet_store", "--"]'


def without_swap(loop: Loop, program: str = '"/app/pet_store"') -> None:
    """A plain workload: the image has binary and files and starts `program`; probes stay."""
    edit(loop.root / "dockerfiles/Dockerfile.dev", ENTRYPOINT, f"ENTRYPOINT [{program}]")
    document = yaml.safe_load(loop.settings.read_text())
    workload = document["workloads"]["petstore"]
    workload["image"] |= {"artifact": workload.pop("swap")["artifact"]}
    workload["image"]["files"] = [
        {"from": each["from"], "to": each["to"]} for each in workload.pop("sync")
    ]
    loop.settings.write_text(yaml.safe_dump(document, sort_keys=False))


def refuse_to_start(loop: Loop) -> None:
    """A setting, swapped in as a file, with which the pet store ends at once."""
    edit(config(loop), "drain_seconds: 10", "drain_seconds: soon")


def config(loop: Loop) -> Path:
    return loop.root / "examples/petstore/pet_store/config/config.yaml"


def ask_for_a_new_pod(loop: Loop) -> None:
    edit(loop.manifests / "deployment.yaml", "memory: 32Mi", "memory: 33Mi")


@pytest.fixture
def good(healed: Loop) -> Loop:
    """A healthy environment in which the probation is over: what runs is rolled back to."""

    def told() -> bool:
        rows = json.loads(healed.ok("swap.status", "--json"))["workloads"]
        return all(pod["good"] == pod["running_digest"] for row in rows for pod in row["pods"])

    healed.ok("dev-up")  # a test before this one may have left another image
    becomes(told)
    return healed


# --- images and pods ------------------------------------------------------------------------


def test_image_that_does_not_start_the_supervisor(up: Loop) -> None:
    before = up.pods()
    edit(up.root / "dockerfiles/Dockerfile.dev", ENTRYPOINT, 'ENTRYPOINT ["/app/pet_store"]')
    for _ in range(2):  # an image that is not fit must not be taken for built the next time
        said = up.say("dev-rebuild")
        assert said.code == 2
        assert said.message == "error: dockerfiles/Dockerfile.dev does not start the supervisor"
        assert f"end dockerfiles/Dockerfile.dev with: {ENTRYPOINT}" in said.error
    assert up.pods() == before


def test_image_whose_program_is_missing(healed: Loop) -> None:
    edit(
        healed.root / "dockerfiles/Dockerfile.dev",
        ENTRYPOINT,
        'ENTRYPOINT ["/app/bin/supervisor", "--binary", "/app/pet_store", "--"]',
    )
    said = healed.say("dev-rebuild")
    assert said.code == 6
    assert "cannot start" in said.message
    assert "/app/bin/supervisor" in said.message
    assert "no such file or directory" in said.message


def test_image_whose_program_ends_at_once(healed: Loop) -> None:
    without_swap(healed, '"/bin/sh", "-c", "echo the database is away >&2; exit 3"')
    said = healed.say("dev-rebuild")
    assert said.code == 6
    assert "crashes: exit code 3" in said.message
    assert "  | the database is away" in said.error


def test_image_that_nobody_builds(healed: Loop) -> None:
    edit(healed.manifests / "deployment.yaml", "image: petstore", "image: kindloop.invalid/other:1")
    said = healed.say("dev-up")
    assert said.code == 6
    assert "image kindloop.invalid/other:1 is not in the node" in said.message


def test_pod_that_asks_for_more_than_the_node_has(healed: Loop) -> None:
    # The limit beside it is lower. In profile loop there is no CPU limit: it would be refused.
    edit(healed.manifests / "deployment.yaml", "requests: {cpu: 50m,", 'requests: {cpu: "640",')
    said = healed.say("dev-up")
    assert said.code == 6
    assert "cannot be scheduled" in said.message
    assert "Insufficient cpu" in said.message


# --- binaries -------------------------------------------------------------------------------


def test_binary_that_panics_is_rolled_back(good: Loop) -> None:
    before = good.pods()
    library = good.root / "examples/petstore/router/src/lib.rs"
    call = "    if let Err(message) = start("
    edit(library, call, f'    assert!(std::env::args().count() == 0, "no router");\n{call}')
    line = line_of(library.read_text(), '"no router"')
    said = good.say("dev-rebuild")
    assert said.code == 4
    assert "petstore: rolled back: exit code 101" in said.message
    assert f"panicked at router/src/lib.rs:{line}:5: no router" in said.error
    assert "Greta" in pets(good)
    assert good.pods() == before


def test_arguments_that_the_binary_refuses_are_rolled_back(good: Loop) -> None:
    before = good.pods()
    transport = "      transport: auto\n"
    edit(good.settings, transport, f"{transport}      args: [--wrong]\n")
    said = good.say("dev-up")
    assert said.code == 4
    assert "petstore: rolled back: exit code 2 " in said.message
    assert "--wrong" in said.error  # the pet store's own words
    assert "the last good one serves" in said.error
    assert "Greta" in pets(good)
    # The same again is no way to have it accepted.
    assert good.say("dev-up").code == 4
    assert "Greta" in pets(good)
    assert good.pods() == before


def test_file_with_which_every_binary_ends(good: Loop) -> None:
    """The last good binary reads the same file: it gets back the one that it ran with."""
    before = good.pods()
    refuse_to_start(good)
    line = line_of(config(good).read_text(), "soon")
    said = good.say("dev-rebuild")
    assert said.code == 4
    assert "petstore: rolled back: exit code 1 " in said.message
    assert f"config/config.yaml:{line}:" in said.error
    assert "the last good one serves" in said.error
    assert "Greta" in pets(good)
    edit(config(good), "drain_seconds: soon", "drain_seconds: 9")
    good.ok("dev-rebuild")
    assert "Greta" in pets(good)
    assert good.pods() == before


def test_binary_that_ends_in_a_new_pod(healed: Loop) -> None:
    """There is none to go back to: the container stays, and the next save heals it."""
    before = healed.pods()
    refuse_to_start(healed)
    line = line_of(config(healed).read_text(), "soon")
    ask_for_a_new_pod(healed)
    said = healed.say("dev-up")
    assert said.code == 6
    assert "petstore: crashed: exit code 1 " in said.message
    assert f"config/config.yaml:{line}:" in said.error
    pods = healed.pods()
    assert pods.keys().isdisjoint(before)
    assert list(pods.values()) == [0]
    edit(config(healed), "drain_seconds: soon", "drain_seconds: 9")
    healed.ok("dev-rebuild")
    assert "Greta" in pets(healed)
    assert healed.pods() == pods


def test_the_old_pod_does_not_answer_for_the_new_one(good: Loop) -> None:
    """It sees the new file too, and rolls back; the new pod has nothing to go back to."""

    def rolled_back() -> int:
        return good.kubectl("logs", "deployment/petstore").count("kindloop: rolled back to ")

    before = rolled_back()
    refuse_to_start(good)
    ask_for_a_new_pod(good)
    controller = inside(good, "pidof", "kube-controller-manager").strip()
    inside(good, "kill", "-STOP", controller)  # a slow one: the old pod is not ended yet
    try:
        running = good.start("dev-up", "--verbose")
        running.until(lambda one: "· rollout petstore" in one.text)
        becomes(lambda: rolled_back() > before)
        time.sleep(2)  # the wrong answer is there, and is looked past
        assert running.popen.poll() is None, running.text
    finally:
        docker("exec", good.node, "kill", "-CONT", controller, check=False)
    said = running.end()
    assert said.code == 6
    assert "petstore: crashed: exit code 1 " in said.message


# --- services -------------------------------------------------------------------------------


def test_service_that_never_gets_healthy(healed: Loop) -> None:
    edit(healed.settings, "    health: /health", "    health: /not-there")
    said = healed.say("dev-up")
    assert said.code == 6
    assert "petstore: failed: not ready within 5000 ms" in said.message
    assert "/not-there" in said.message
    assert "404" in said.message


def test_service_without_swap_that_never_gets_healthy(healed: Loop) -> None:
    without_swap(healed)
    manifest = healed.manifests / "deployment.yaml"
    manifest.write_text(manifest.read_text().replace("path: /health", "path: /not-there"))
    edit(healed.settings, "    health: /health", "    health: /health\n    ready_s: 6")
    said = healed.say("dev-up")
    assert said.code == 6
    assert "is not ready after 6 s" in said.message
    assert "statuscode: 404" in said.message


def test_deployment_of_another_name(healed: Loop) -> None:
    edit(
        healed.manifests / "deployment.yaml",
        "metadata:\n  name: petstore",
        "metadata:\n  name: petshop",
    )
    edit(healed.settings, "    health: /health", "    health: /health\n    ready_s: 4")
    said = healed.say("dev-up")
    assert said.code == 6
    assert said.message == "error: there is no Deployment petstore after 4 s"
    assert "why:  the manifests have petshop" in said.error


def test_service_that_only_its_pod_hears(good: Loop) -> None:
    edit(good.manifests / "deployment.yaml", "0.0.0.0:8080", "127.0.0.1:8080")
    said = good.say("dev-up")
    assert said.code == 6
    told = "petstore listens on 127.0.0.1:8080 inside of its pod, where nobody else hears it"
    assert said.message == f"error: {told}"
    assert "have it listen on 0.0.0.0:8080" in said.error


def test_service_that_is_healthy_but_not_reachable(healed: Loop) -> None:
    edit(healed.manifests / "service.yaml", "targetPort: http", "targetPort: 9999")
    edit(healed.settings, "    health: /health", "    health: /health\n    ready_s: 4")
    said = healed.say("dev-up")
    assert said.code == 6
    assert (
        f"petstore is ready in the cluster, but {healed.url}/health did not answer 200"
        in said.message
    )
    assert "targetPort" in said.error
