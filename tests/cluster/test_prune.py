"""What is no longer wanted goes, by our own records; what is another's stays."""

from __future__ import annotations

from live import Loop, docker, edit

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{a: b}}\n"


def test_objects_that_left_the_manifests_are_pruned(healed: Loop) -> None:
    for name in ("extra-ours", "extra-theirs"):
        (healed.manifests / f"{name}.yaml").write_text(CONFIG_MAP.format(name=name))
    edit(
        healed.manifests / "kustomization.yaml",
        "  - service.yaml",
        "  - service.yaml\n  - extra-ours.yaml\n  - extra-theirs.yaml",
    )
    healed.ok("k8s.apply")
    assert {"extra-ours", "extra-theirs"} <= config_maps(healed)
    healed.kubectl("label", "configmap", "extra-theirs", "kindloop.environment-")
    healed.kubectl("create", "configmap", "by-hand", "--from-literal=a=b")
    edit(
        healed.manifests / "kustomization.yaml",
        "  - service.yaml\n  - extra-ours.yaml\n  - extra-theirs.yaml",
        "  - service.yaml",
    )
    edit(healed.settings, "core: k8s/core\n", "")
    said = healed.ok("k8s.apply")
    assert "pruned ConfigMap/extra-ours" in said
    left = config_maps(healed)
    assert "extra-ours" not in left
    assert {"extra-theirs", "by-hand"} <= left
    healed.kubectl("delete", "configmap", "extra-theirs", "by-hand")


def test_service_that_left_the_manifests_is_pruned_and_comes_back(healed: Loop) -> None:
    edit(healed.manifests / "kustomization.yaml", "  - service.yaml\n", "")
    edit(healed.settings, "    health: /health", "    health: /health\n    ready_s: 2")
    said = healed.say("dev-up")
    assert said.code == 6
    assert "pruned Service/petstore" in said.text
    assert "petstore" not in {s["metadata"]["name"] for s in healed.objects("services")}


def test_only_two_images_of_ours_stay(healed: Loop) -> None:
    dockerfile = healed.root / "dockerfiles/Dockerfile.dev"
    text = dockerfile.read_text()
    for number in range(4):
        dockerfile.write_text(f"{text}LABEL kindloop.test={number}\n")
        assert "image" in healed.ok("k8s.apply")
    repository = f"kindloop.local/{healed.name}/petstore"
    assert len(docker("image", "ls", "--quiet", repository).split()) == 2
    references = docker("exec", healed.node, "ctr", "--namespace=k8s.io", "images", "ls", "--quiet")
    ours = [one for one in references.split() if one.startswith(f"{repository}:")]
    assert len(ours) == 2


def config_maps(loop: Loop) -> set[str]:
    return {found["metadata"]["name"] for found in loop.objects("configmaps")}
