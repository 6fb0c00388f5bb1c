"""Rollouts that cannot succeed: told at once, with the reason that the cluster knows."""

from __future__ import annotations

from live import Loop, edit

ENTRYPOINT = 'ENTRYPOINT ["/app/pet_store"]'


def test_image_whose_program_is_missing(healed: Loop) -> None:
    edit(
        healed.root / "dockerfiles/Dockerfile.dev",
        ENTRYPOINT,
        'ENTRYPOINT ["/app/no_such_program"]',
    )
    said = healed.say("dev-rebuild")
    assert said.code == 6
    assert "cannot start" in said.message
    assert "/app/no_such_program" in said.message
    assert "no such file or directory" in said.message


def test_image_whose_program_ends_at_once(healed: Loop) -> None:
    program = 'ENTRYPOINT ["/bin/sh", "-c", "echo the database is away >&2; exit 3"]'
    edit(healed.root / "dockerfiles/Dockerfile.dev", ENTRYPOINT, program)
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
    manifest = healed.manifests / "deployment.yaml"
    edit(manifest, "requests: {cpu: 50m,", 'requests: {cpu: "640",')
    edit(manifest, 'limits: {cpu: "2",', 'limits: {cpu: "640",')
    said = healed.say("dev-up")
    assert said.code == 6
    assert "cannot be scheduled" in said.message
    assert "Insufficient cpu" in said.message


def test_service_that_never_gets_healthy(healed: Loop) -> None:
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
