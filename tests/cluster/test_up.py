"""The happy path on a real cluster: up, up again, rebuild, heal, smoke."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import schemas
from live import Loop, edit

DOCUMENTS: dict[str, tuple[str, ...]] = {
    "status": ("dev-status",),
    "fresh": ("dev-status", "--wait-fresh", "--timeout", "0"),
    "cluster": ("cluster.status",),
    "plan": ("dev-up", "--dry-run"),
    "stages": ("build", "--why"),
    "swap": ("swap.status",),
    "diff": ("k8s.diff",),
    "pages": ("observe.open",),
    "curl": ("test.curl", "--only", "get_pet"),
    "list": ("dev-list",),
}
"""What asks a running environment, by its document; `test-load` is in test_load.py."""


def test_up_ends_with_urls_and_next_command(first_up: tuple[Loop, str]) -> None:
    loop, said = first_up
    assert f"petstore: {loop.url}" in said
    assert f"export KUBECONFIG={loop.home / 'kubeconfig'}" in said
    assert "next: invoke dev-watch" in said
    assert json.loads(loop.curl("/health"))


def test_second_up_changes_nothing(up: Loop) -> None:
    up.ok("dev-up")  # a test before this one may have left another binary or image
    before = up.pods()
    up.ok("dev-up")
    assert up.pods() == before


def test_rebuild_serves_an_edited_source(up: Loop) -> None:
    before = up.pods()
    edit(up.root / "examples/petstore/pet_store/src/app.rs", '"Greta"', '"Proof-of-rebuild"')
    up.ok("dev-rebuild")
    assert "Proof-of-rebuild" in up.curl("/pets", "-H", "X-API-Key: test123")
    assert up.pods() == before, "a swap starts no container"


def test_smoke_passes_with_a_dead_proxy(up: Loop) -> None:
    dead = dict.fromkeys(
        ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"
    )
    up.ok("dev-up", env=dead)
    said = up.ok("test.curl", env=dead)
    assert "0 failed" in said


def test_status_is_healthy_and_says_so_in_json(up: Loop) -> None:
    document = json.loads(up.ok("dev-status", "--json"))
    assert document["schema"] == 1
    assert document["healthy"] is True
    assert {line["label"] for line in document["lines"]} >= {"build", "app", "tools"}


def test_foreign_kubeconfig_is_never_read_or_written(up: Loop, tmp_path: Path) -> None:
    foreign = tmp_path / "config"
    foreign.write_text("apiVersion: v1\nkind: Config\ncurrent-context: production\n")
    before = foreign.read_bytes()
    up.ok("dev-up", env={"KUBECONFIG": str(foreign)})
    assert foreign.read_bytes() == before


def test_objects_are_labelled_ours(up: Loop) -> None:
    found = up.kubectl(
        "get", "deployment,service,configmap", "-l", f"kindloop.environment={up.name}", "-o", "name"
    )
    names = found.split()
    assert {"deployment.apps/petstore", "service/petstore"} <= set(names)
    assert [n for n in names if n.startswith("configmap/petstore-")] != []


def test_image_is_small_and_runs_as_nobody(up: Loop) -> None:
    pod = json.loads(
        up.kubectl("get", "pods", "-l", "app.kubernetes.io/name=petstore", "-o", "json")
    )["items"][0]
    image = pod["spec"]["containers"][0]["image"]
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Config.User}} {{.Size}}", image],
        capture_output=True,
        text=True,
        check=True,
    )
    user, size = done.stdout.split()
    assert user == "65532:65532"
    assert int(size) < 60_000_000


def test_the_supervisor_is_small(up: Loop) -> None:
    found = list(up.root.glob("examples/petstore/target/kindloop/loop/*/release/supervisor"))
    assert found
    assert [path.stat().st_size for path in found if path.stat().st_size > 1_000_000] == []


def test_a_lost_record_is_told_and_nothing_deleted(up: Loop) -> None:
    record = up.home / "owner.json"
    kept, before = record.read_bytes(), up.pods()
    record.unlink()
    try:
        said = up.say("dev-up")
        assert said.code == 9
        assert "the record of who made" in said.message
        assert "--recreate" in said.error
    finally:
        record.write_bytes(kept)
    assert up.pods() == before


def test_every_document_is_as_its_schema_says(up: Loop) -> None:
    up.ok("dev-up")  # a test before this one may have left another binary or image
    for name, words in DOCUMENTS.items():
        schemas.said(name, up.ok(*words, "--json"))
    lines = up.ok("dev-logs", "--tail", "5", "--json").splitlines()
    assert {schemas.said("line", line)["schema"] for line in lines} == {1}


def test_up_as_events(up: Loop) -> None:
    seen = schemas.events(up.ok("dev-up", "--json"))
    assert {one["kind"] for one in seen} >= {"started", "ended", "output"}
    assert [one for one in seen if not one["ok"]] == []
    steps = [[one["step"] for one in seen if one["kind"] == kind] for kind in ("started", "ended")]
    assert sorted(steps[0]) == sorted(steps[1])


def test_curl_checks_as_json(up: Loop) -> None:
    document = json.loads(up.ok("test.curl", "--json", "--only", "get_pet"))
    rows = document["reports"][0]["rows"]
    assert [row["path"] for row in rows if row["ok"]] != []
