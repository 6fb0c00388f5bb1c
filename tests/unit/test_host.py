"""Host: probes against another machine's /proc, findings, and the real one of this machine."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindloop import host, hostfacts, probes, tools
from kindloop.errors import ToolMissing
from kindloop.probes import Inotify, Memory


def spec(name: str, **changes: str) -> host.ToolSpec:
    found = next(s for s in host.specs() if s.name == name)
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def a_host(**changes: object) -> host.Host:
    """A machine on which nothing is missing."""
    fine = host.Host(
        tools=tuple(
            host.Tool(s, s.needed or "1.0", f"/bin/{s.name}", ok=True) for s in host.specs()
        ),
        engine=host.Engine("", "26.1.5", "linux", "amd64", "/var/lib/docker"),
        registry=True,
        bakes=False,
        can_raise_limits=True,
        cgroup=2,
        inotify=Inotify(1024, 500_000),
        memory=Memory(16.0, 12.0),
        free_gb={"/var/lib/docker": 50.0},
    )
    return dataclasses.replace(fine, **changes)  # type: ignore[arg-type]


def without(name: str, version: str = "") -> tuple[host.Tool, ...]:
    return tuple(
        host.Tool(t.spec, version, "", ok=False) if t.spec.name == name else t
        for t in a_host().tools
    )


# --- probes


@pytest.mark.parametrize(
    ("bits", "expected"),
    [("000001ffffffffff", True), ("000001fffeffffff", False), ("00000000a80425fb", False)],
)
def test_capability_is_a_bit_of_the_bounding_set(tmp_path: Path, bits: str, expected: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t{bits}\n")
    assert probes.has_capability(probes.CAP_SYS_RESOURCE, status) is expected


def test_what_a_system_does_not_have_is_none(tmp_path: Path) -> None:
    assert probes.has_capability(24, tmp_path / "none") is None
    assert probes.inotify(tmp_path) is None
    assert probes.memory(tmp_path / "none") is None
    assert probes.cgroup_version(tmp_path / "none") is None


def test_cgroup_version(tmp_path: Path) -> None:
    assert probes.cgroup_version(tmp_path) == 1
    (tmp_path / "cgroup.controllers").touch()
    assert probes.cgroup_version(tmp_path) == 2


def test_inotify_and_memory_are_read(tmp_path: Path) -> None:
    (tmp_path / "max_user_instances").write_text("128\n")
    (tmp_path / "max_user_watches").write_text("8192\n")
    assert probes.inotify(tmp_path) == Inotify(128, 8192)
    (tmp_path / "meminfo").write_text(
        "MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 500000 kB\n"
    )
    found = probes.memory(tmp_path / "meminfo")
    assert found is not None
    assert (round(found.total_gb, 3), round(found.available_gb, 3)) == (1.024, 0.512)


def test_free_space_is_asked_where_the_folder_will_be(tmp_path: Path) -> None:
    assert probes.free_gb(tmp_path / "not" / "yet") == pytest.approx(
        probes.free_gb(tmp_path), abs=1
    )


def test_umask_is_read_and_kept() -> None:
    before = os.umask(0o027)
    try:
        assert probes.umask() == 0o027
        assert probes.umask() == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("kindest/node:v1@sha256:00", "registry-1.docker.io"),
        ("alpine", "registry-1.docker.io"),
        ("localhost/x", "localhost"),
        ("mirror:5000/kindest/node:v1", "mirror:5000"),
        ("registry.example.org/a/b", "registry.example.org"),
    ],
)
def test_the_registry_is_the_one_the_image_names(image: str, registry: str) -> None:
    assert probes.registry_host(image) == registry


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.strip("/")))
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.mark.parametrize(
    ("status", "expected"), [(200, True), (401, True), (403, False), (503, False)]
)
def test_a_registry_answers_with_200_or_401(
    server: str, status: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert probes.answers(f"{server}/{status}", 3.0) is expected


def test_a_silent_registry_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert probes.answers(f"http://127.0.0.1:{port}/v2/", 0.2) is False


def test_a_listener_is_named_by_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        assert probes.listeners({port})[port].startswith(f"process {os.getpid()}: ")


def test_a_wildcard_listener_is_in_the_way_and_another_loopback_is_not() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as wide,
        socket.create_server(("127.0.0.2", 0)) as other,
    ):
        wide_port, other_port = wide.getsockname()[1], other.getsockname()[1]
        assert set(probes.listeners({wide_port, other_port})) == {wide_port}


def test_a_free_port_has_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
    assert probes.listeners({port}) == {}


def test_a_socket_of_another_user_is_still_a_listener(tmp_path: Path) -> None:
    net = tmp_path / "net"
    net.mkdir()
    (net / "tcp").write_text(
        "  sl  local_address rem_address   st tx rx tr when retrnsmt uid timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 777 1\n"
        "   1: 0100007F:0BB8 0100007F:9999 01 0:0 0:0 0 0 0 778 1\n"
    )
    assert probes.listeners({8080, 3000}, tmp_path) == {8080: "a process of another user"}


def test_lsof_output_is_understood() -> None:
    text = "p12\ncnginx\nn*:8080\nn127.0.0.1:3000\np9\ncother\nn10.0.0.1:9090\n"
    assert probes.parse_lsof(text) == {8080: "process 12: nginx", 3000: "process 12: nginx"}


def test_published_ports_name_their_container() -> None:
    text = (
        "node\t127.0.0.1:8080->30080/tcp, 127.0.0.1:4317-4318->30317-30318/tcp\n"
        "plain\t6443/tcp\nweb\t0.0.0.0:80->80/tcp, :::80->80/tcp\n"
    )
    assert probes.containers_by_port(text) == {8080: "node", 4317: "node", 4318: "node", 80: "web"}


# --- findings


def test_a_machine_with_everything_has_no_findings() -> None:
    assert host.plan_findings(a_host()) == []
    assert host.exit_code(a_host()) == 0
    assert host.table(a_host()).endswith("ok: nothing is missing")


@pytest.mark.parametrize("name", ["kind", "kubectl", "cargo", "just", "gcc"])
def test_a_missing_tool_is_an_error_that_says_what_for(name: str) -> None:
    (finding,) = host.plan_findings(a_host(tools=without(name)))
    assert finding.level == "error"
    assert finding.what.startswith(f"{name} is missing")
    assert spec(name).purpose in finding.why
    assert hostfacts.SETUP in finding.next


def test_a_tool_that_is_too_old_is_named_with_both_versions() -> None:
    (finding,) = host.plan_findings(a_host(tools=without("cargo", "1.63.0")))
    assert finding.what == "cargo 1.63.0 is too old: 1.85 or newer is needed"


@pytest.mark.parametrize("name", ["go", "mmdebstrap"])
def test_tools_for_baking_are_needed_only_to_bake(name: str) -> None:
    assert host.plan_findings(a_host(tools=without(name))) == []
    (finding,) = host.plan_findings(a_host(tools=without(name), bakes=True, registry=False))
    assert finding.level == "error"


def test_each_trouble_of_the_engine_has_its_own_next_command() -> None:
    problems = ("not-installed", "not-running", "no-permission", "too-old")
    findings = [hostfacts.engine_finding(host.Engine(p)) for p in problems]
    assert len({f.what for f in findings}) == len(problems)
    assert "usermod -aG docker" in findings[2].next
    assert all(hostfacts.SETUP in findings[i].next for i in (0, 1, 3))


@pytest.mark.parametrize(
    ("instances", "levels"), [(128, ["warn"]), (511, ["warn"]), (512, []), (8192, [])]
)
def test_few_inotify_instances_warn_with_the_sysctl(instances: int, levels: list[str]) -> None:
    findings = host.plan_findings(a_host(inotify=Inotify(instances, 500_000)))
    assert [f.level for f in findings] == levels
    assert all("sysctl fs.inotify.max_user_instances=" in f.next for f in findings)


def test_little_disk_and_memory_warn() -> None:
    findings = host.plan_findings(a_host(free_gb={"/d": 1.0}, memory=Memory(4.0, 0.5)))
    assert [f.level for f in findings] == ["warn", "warn"]
    assert "1.0 GB free at /d" in findings[0].what


def test_selinux_is_told_with_the_label_and_the_other_transport() -> None:
    (finding,) = host.plan_findings(a_host(selinux=True))
    assert finding.level == "warn"
    assert "container_file_t" in finding.next
    assert "transport: exec" in finding.next


@pytest.mark.parametrize(("text", "enforces"), [("1", True), ("0", False), (None, False)])
def test_selinux_enforces_as_selinuxfs_says(
    tmp_path: Path, text: str | None, enforces: bool
) -> None:
    if text is not None:
        (tmp_path / "enforce").write_text(text)
    assert probes.selinux_enforces(tmp_path) is enforces


def test_noexec_and_a_strange_umask_are_errors() -> None:
    findings = host.plan_findings(a_host(noexec="/state", umask=0o777))
    assert [f.level for f in findings] == ["error", "error"]


def test_errors_come_before_warnings() -> None:
    taken = host.TakenPort("grafana", 3000, "process 1: x")
    findings = host.plan_findings(a_host(ports=(taken,), tools=without("kind")))
    assert [f.level for f in findings] == ["error", "warn"]
    assert host.exit_code(a_host(ports=(taken,))) == 0
    assert host.exit_code(a_host(tools=without("kind"))) == 7


def test_the_document_has_a_schema_and_survives_json() -> None:
    document = json.loads(json.dumps(host.as_json(a_host(tools=without("kind")))))
    assert document["schema"] == 1
    kind = next(t for t in document["tools"] if t["name"] == "kind")
    assert (kind["ok"], kind["required"], kind["needed"]) == (False, True, spec("kind").needed)
    assert document["engine"]["os"] == "linux"
    assert document["findings"][0]["level"] == "error"


def test_the_table_has_a_row_per_tool() -> None:
    text = host.table(a_host(tools=without("kubectl")))
    for tool in host.specs():
        assert f"\n{tool.name} " in text
    assert "error: kubectl is missing" in text


# --- asking


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty PATH to put fakes on, with nothing remembered from another test."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(host, "_dockerd_is_there", lambda: False)
    host.engine.cache_clear()
    yield tmp_path
    host.engine.cache_clear()


def fake(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_no_docker_at_all(path: Path) -> None:
    with pytest.raises(ToolMissing, match="not installed"):
        host.require_engine()


def test_docker_without_an_engine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_dockerd_is_there", lambda: True)
    fake(path, "docker", "echo 'Cannot connect to the Docker daemon. Is it running?' >&2; exit 1")
    with pytest.raises(ToolMissing, match="does not run") as caught:
        host.require_engine()
    assert "Cannot connect" in caught.value.evidence[0]
    assert hostfacts.SETUP in caught.value.hint


def test_docker_without_permission(path: Path) -> None:
    fake(
        path, "docker", "echo 'permission denied while trying to connect to the socket' >&2; exit 1"
    )
    with pytest.raises(ToolMissing, match="may not use it") as caught:
        host.require_engine()
    assert "usermod -aG docker" in caught.value.hint


@pytest.mark.parametrize(("can_raise", "problem"), [(True, ""), (False, "too-old"), (None, "")])
def test_an_old_engine_does_where_privileged_works(can_raise: bool | None, problem: str) -> None:
    server = json.dumps({"Version": "20.10.24+dfsg1", "Os": "linux", "Arch": "arm64"})
    found = host._engine_of(server, can_raise, "/d")
    assert (found.problem, found.platform) == (problem, "linux/arm64")


def test_kind_that_is_too_old(path: Path) -> None:
    fake(path, "kind", "echo 'kind v0.20.0 go1.20.4 linux/amd64'")
    with pytest.raises(ToolMissing, match=r"kind 0\.20\.0 is too old: 0\.31\.0"):
        host.require_kind()


def test_kind_that_is_new_enough(path: Path) -> None:
    fake(path, "kind", "echo 'kind v0.99.0 go1.30 linux/amd64'")
    assert host.require_kind().version == "0.99.0"


def test_too_little_disk_says_how_much(tmp_path: Path) -> None:
    host.require_disk(tmp_path, 0.0, "nothing")
    with pytest.raises(ToolMissing, match="a bake needs 1000000 GB"):
        host.require_disk(tmp_path / "sub", 1e6, "a bake")


def test_taken_ports_are_named_as_configured() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        (taken,) = host.ports_taken({"grafana": port})
    assert (taken.name, taken.port) == ("grafana", port)
    assert str(os.getpid()) in taken.by


def test_a_bake_is_needed_without_image_and_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {((), False): True, ((), True): False, (("id",), False): False, (("id",), True): False}
    for (images, registry), expected in cases.items():
        monkeypatch.setattr(host, "_node_images", lambda images=images: list(images))
        monkeypatch.setattr(host, "registry_reachable", lambda registry=registry: registry)
        assert host.needs_bake() is expected


def test_every_probe_of_the_data_file_is_a_command_with_a_known_version_form() -> None:
    said = {
        "curl": "curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1",
        "kind": "kind v0.31.0 go1.26.8 linux/amd64",
        "kubectl": "Client Version: v1.32.4\nKustomize Version: v5.5.0",
        "cargo": "cargo 1.95.0 (f2d3ce0bd 2026-03-21)",
        "go": "go version go1.26.8 linux/amd64",
        "just": "just 1.59.0",
        "mmdebstrap": "mmdebstrap 1.3.5",
        "gcc": "cc (Debian 12.2.0-14+deb12u1) 12.2.0",
        "python": "Python 3.11.7",
        "docker": "26.1.5+dfsg1",
    }
    for tool in host.specs():
        assert host._new_enough(".".join(map(str, tools.version_of(said[tool.name]))), tool)
