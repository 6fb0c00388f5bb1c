"""Artifacts, processes and pods that fail in a swap: told, healed, and what ran goes on."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from artifacts import Bay, compiled, inside, modes, sha256
from live import ROOT, Loop, edit, sync
from watching import becomes, call, pets

from kindloop.supervised import Report

OTHER_MACHINE = b"\xb7\x00" if platform.machine() == "x86_64" else b"\x3e\x00"
"""In an ELF header: aarch64, or x86-64 where that is not ours."""


@pytest.fixture(scope="module")
def settled(own_state: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    """The swap of a healthy environment, whose pods run what the checkout's sources make."""
    bay = Bay(own_state, tmp_path_factory.mktemp("artifacts"))
    yield bay
    bay.close()


@pytest.fixture
def bay(settled: Bay) -> Bay:
    """The same, with what the stage has made as the good one."""
    settled.good()
    return settled


# --- artifacts that are refused -------------------------------------------------------------


def truncated(bay: Bay) -> None:
    want = bay.want(bay.named("Wilma"))
    os.truncate(bay.swap_folder.bin / want.digest, want.size // 2)
    bay.publish(want)


def wrong_digest(bay: Bay) -> None:
    want = bay.want(bay.named("Wilma"))
    path = bay.swap_folder.bin / want.digest
    path.write_bytes(path.read_bytes().replace(b"Wilma", b"Berta"))
    bay.publish(want)


def not_executable(bay: Bay) -> None:
    want = bay.want(bay.named("Wilma"))
    (bay.swap_folder.bin / want.digest).chmod(0o644)
    bay.publish(want)


def wrong_architecture(bay: Bay) -> None:
    content = bay.built.read_bytes()
    bay.swap(bay.file("foreign", content[:18] + OTHER_MACHINE + content[20:]))


def foreign_file(bay: Bay) -> None:
    bay.swap(bay.file("script", b"#!/bin/sh\nexec sleep 1000\n" * 10))


def missing(bay: Bay) -> None:
    want = bay.want(bay.named("Wilma"))
    (bay.swap_folder.bin / want.digest).unlink()
    bay.publish(want)


def newer_protocol(bay: Bay) -> None:
    bay.publish(bay.want(bay.named("Wilma")), version=2)


REFUSED = {
    "truncated": (truncated, "truncated: "),
    "wrong digest": (wrong_digest, "wrong digest: "),
    "not executable": (not_executable, "not executable: mode 644"),
    "wrong architecture": (wrong_architecture, "wrong architecture: "),
    "no program": (foreign_file, "not an ELF program"),
    "missing": (missing, "missing: "),
    "newer protocol": (newer_protocol, "newer protocol: "),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refused_and_what_ran_goes_on(bay: Bay, fault: str) -> None:
    cause, reason = REFUSED[fault]
    before = bay.reports()[0]
    pid = bay.processes(sha256(bay.built))
    cause(bay)

    def refused() -> Report | None:
        now = bay.reports()[0]
        newer = (now.wanted_generation or 0) > (before.wanted_generation or 0)
        return now if newer and now.outcome_generation == now.wanted_generation else None

    said = becomes(refused)
    assert said.outcome == "refused"
    assert said.reason.startswith(reason)
    assert (said.running_digest, said.state) == (sha256(bay.built), "running")
    assert bay.processes(sha256(bay.built)) == pid
    assert "Greta" in pets(bay.loop)
    code, words = bay.looked()
    assert code == 1
    assert f"refused: {reason}" in words


def test_a_pointer_that_is_cut_off_is_told_and_what_ran_goes_on(bay: Bay) -> None:
    pointer = bay.swap_folder.path / "want.json"
    pointer.write_text(pointer.read_text()[:40])
    said = becomes(lambda: next((one for one in bay.reports() if one.problem), None))
    assert said.problem.startswith("want.json: not JSON")
    assert (said.running_digest, said.ready) == (sha256(bay.built), True)
    assert bay.looked()[0] == 1
    bay.loop.ok("swap.push")
    assert bay.looked()[0] == 0


# --- binaries that do not live --------------------------------------------------------------

DYING = {
    "panics at once": ("PANICS", {}, "exit code 101", "src/start.rs:12:5: no table"),
    "panics after 3 s": ("PANICS_AFTER_S=3", {}, "exit code 101", "src/start.rs:12:5: no table"),
    "hangs without listening": (
        "HANGS",
        {"probation_ms": 1000},
        "not ready within 1000 ms: nothing listens on port 8080",
        "",
    ),
}


@pytest.mark.parametrize("fault", DYING)
def test_rolled_back_to_the_last_good_one(bay: Bay, fault: str) -> None:
    how, settings, reason, panic = DYING[fault]
    verdict = bay.swap(compiled(bay.folder, how), **settings)
    said = becomes(
        lambda: next((one for one in bay.reports() if one.outcome == "rolled_back"), None)
    )
    assert reason in said.reason
    assert bay.desk.panic(bay.workload, replace(verdict, pods=(said,))) == panic
    becomes(lambda: bay.reports()[0].state == "running")
    assert bay.reports()[0].running_digest == sha256(bay.built)
    assert "Greta" in pets(bay.loop)
    code, words = bay.looked()
    assert code == 4
    assert f"rolled back: {said.reason}" in words
    # The next save is tried at once, whatever was wrong with the last one.
    assert bay.swap(bay.named("Wilma")).state == "fresh"
    assert "Wilma" in pets(bay.loop)


def test_without_rollback_it_is_started_again_until_a_save_heals(bay: Bay) -> None:
    before = bay.reports()[0].restarts
    verdict = bay.swap(compiled(bay.folder, "PANICS"), rollback=False)
    assert verdict.exit_code == 1
    assert "crashed: exit code 101" in verdict.reason
    becomes(lambda: bay.reports()[0].restarts >= before + 3)
    assert bay.loop.pods() == dict.fromkeys(bay.loop.pods(), 0), "the container must stay"
    assert pets(bay.loop) == ""
    assert bay.looked()[0] == 1
    assert bay.swap(bay.built).state == "fresh"
    assert "Greta" in pets(bay.loop)


STUBBORN = {"ignores TERM": "IGNORES_TERM", "children hold the port": "LEAVES_CHILDREN"}


@pytest.mark.parametrize("fault", STUBBORN)
def test_all_of_it_is_dead_before_the_next_starts(bay: Bay, fault: str) -> None:
    program = compiled(bay.folder, STUBBORN[fault])
    assert bay.swap(program, grace_ms=200).state == "fresh"
    assert len(bay.processes(sha256(program))) == (2 if fault == "children hold the port" else 1)
    assert bay.swap(bay.built).state == "fresh"
    assert bay.processes(sha256(program)) == []
    assert "Greta" in pets(bay.loop)
    assert bay.looked()[0] == 0


# --- what is taken away while it runs -------------------------------------------------------


def test_artifact_removed_while_it_runs(bay: Bay) -> None:
    artifact = bay.named("Wilma")
    digest = sha256(artifact)
    assert bay.swap(artifact, probation_ms=1000).state == "fresh"
    becomes(lambda: bay.reports()[0].good == digest)  # or its end would be that of a bad one
    (bay.swap_folder.bin / digest).unlink()
    assert "Wilma" in pets(bay.loop)
    before = bay.reports()[0].restarts
    inside(bay.loop, "kill", "-9", str(bay.processes(digest)[0]))
    becomes(lambda: bay.reports()[0].restarts > before and bay.reports()[0].ready)
    want = bay.swap_folder.want()
    assert want
    assert bay.desk.settle(bay.workload, want, 60).exit_code == 0
    assert "Wilma" in pets(bay.loop)
    assert bay.swap(artifact).state == "fresh"
    assert bay.swap_folder.has(digest)


def test_pod_deleted_in_mid_swap(bay: Bay) -> None:
    before = bay.loop.pods()
    artifact = bay.named("Wilma")
    want = bay.want(artifact)
    bay.loop.kubectl("delete", "pods", "-l", "app.kubernetes.io/name=petstore", "--wait=false")
    bay.swap_folder.publish(want)
    becomes(lambda: bay.loop.pods().keys().isdisjoint(before) and "Wilma" in pets(bay.loop))
    assert bay.desk.settle(bay.workload, want, 60).exit_code == 0


def test_supervisor_killed(bay: Bay) -> None:
    digest = sha256(bay.built)
    pods = bay.loop.pods()
    status = inside(bay.loop, "cat", f"/proc/{bay.processes(digest)[0]}/status")
    supervisor = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
    assert "supervisor" in inside(bay.loop, "cat", f"/proc/{supervisor}/cmdline")
    inside(bay.loop, "kill", "-9", supervisor)
    becomes(lambda: list(bay.loop.pods().values()) == [count + 1 for count in pods.values()])
    assert bay.loop.pods().keys() == pods.keys(), "the pod must stay"
    bay.loop.ok("dev-status", "--wait-fresh", "--timeout", "60")
    assert bay.looked()[0] == 0
    assert "Greta" in pets(bay.loop)


def test_back_and_forth_and_back(bay: Bay) -> None:
    artifacts = {name: bay.named(name) for name in ("Wilma", "Berta")}
    generations = []
    for name in ("Wilma", "Berta", "Wilma"):
        verdict = bay.swap(artifacts[name])
        assert verdict.exit_code == 0
        assert verdict.pods[0].running_digest == sha256(artifacts[name])
        assert name in pets(bay.loop)
        generations.append(verdict.pods[0].running_generation)
    assert generations == sorted(set(generations))


@pytest.mark.destructive
def test_swap_directory_deleted(bay: Bay) -> None:
    """Told before anything is changed; both ways out that it names work."""
    loop = bay.loop
    before = loop.pods()
    shutil.rmtree(loop.home / "swap")
    for words in (("dev-rebuild",), ("swap.push",), ("dev-up",)):
        said = loop.say(*words)
        assert said.code == 9
        assert "a swap of petstore would not reach its pods" in said.message
        assert "invoke dev-up --recreate" in said.error
        assert "workloads.petstore.swap.transport: exec" in said.error
    assert "Greta" in pets(loop)
    assert loop.pods() == before

    edit(loop.settings, "transport: auto", "transport: exec")
    call(loop, "Wilma")
    loop.ok("dev-up")
    assert "Wilma" in pets(loop)
    sync(ROOT, loop.root)

    mask = os.umask(0o077)
    try:
        loop.ok("dev-up", "--recreate", timeout_s=1800)
    finally:
        os.umask(mask)
    assert "Greta" in pets(loop)
    assert modes(loop.home / "swap") == {"dir 755", "bin 755", "file 644"}
