"""`dev-status --wait-fresh` in every state, and the tasks push, status and rollback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import Bay, sha256
from live import ROOT, Loop, Said, docker, sync
from watching import becomes, call, configure, pets, takes

pytestmark = pytest.mark.usefixtures("own_state")

NOW = ("dev-status", "--wait-fresh", "--timeout", "0")


@pytest.fixture
def bay(up: Loop, tmp_path: Path) -> Iterator[Bay]:
    """The swap of the environment, with what the sources make as the good one."""
    up.ok("build")
    made = Bay(up, tmp_path)
    made.good()
    yield made
    made.close()


def test_fresh(up: Loop) -> None:
    said = up.say(*NOW)
    assert said.code == 0
    assert said.text.startswith("petstore: fresh, ")
    document = json.loads(up.ok(*NOW, "--json"))
    assert (document["exit_code"], document["fresh"]) == (0, True)


def test_edited_but_not_built_is_stale_until_it_is_served(up: Loop) -> None:
    call(up, "Wilma")
    said = up.say(*NOW)
    assert said.code == 4
    assert "petstore: stale, stage petstore is not built: pet_store/src/app.rs changed" in said.text
    assert "next: invoke dev-rebuild" in said.text
    waiting = up.start("dev-status", "--wait-fresh", "--timeout", "120")
    up.ok("dev-rebuild")
    assert waiting.end().code == 0
    assert "Wilma" in pets(up)


def test_rolled_back_by_hand_is_stale_until_the_next_push(bay: Bay) -> None:
    loop, other = bay.loop, bay.named("Berta")
    assert bay.swap(other).state == "fresh"
    assert bay.swap(bay.built).state == "fresh"
    said = loop.ok("swap.rollback")
    assert f"petstore runs {sha256(other)[:8]} until the next save" in said
    assert "Berta" in pets(loop)
    for words in (NOW, ("dev-status",), ("swap.status",)):
        stale = loop.say(*words)
        assert stale.code == 4, words
    assert said_state(loop.say(*NOW)) == "stale"
    loop.ok("swap.push")
    assert "Greta" in pets(loop)
    assert "mount: " in loop.ok("swap.status")
    assert loop.say(*NOW).code == 0


def test_nothing_to_go_back_to(bay: Bay) -> None:
    for path in bay.swap_folder.bin.iterdir():
        if path.name != sha256(bay.built):
            path.unlink()
    said = bay.loop.say("swap.rollback")
    assert said.code == 2
    assert "petstore has no binary to go back to" in said.message


def test_no_pod_is_unhealthy(up: Loop) -> None:
    up.kubectl("scale", "deployment/petstore", "--replicas=0")
    said = up.say(*NOW)
    assert said.code == 1
    assert said_state(said) == "unhealthy"
    assert "its Deployment asks for no pod" in said.text
    up.ok("dev-up")
    assert up.say(*NOW).code == 0


def test_no_cluster_cannot_be_told(up: Loop) -> None:
    said = up.say(*NOW, env={"KINDLOOP_NAME": "klnone"})
    assert said.code == 3
    assert "there is no cluster klnone" in said.text


def test_an_engine_that_is_not_reached_cannot_be_told(up: Loop) -> None:
    said = up.say(*NOW, env={"DOCKER_HOST": "tcp://127.0.0.1:9"})
    assert said.code == 3
    assert said_state(said) == "unknown"


def test_an_api_server_that_does_not_answer_cannot_be_told(up: Loop) -> None:
    docker("pause", up.node)
    try:
        said = up.say(*NOW)
    finally:
        docker("unpause", up.node)
    assert said.code == 3
    assert said_state(said) == "unknown"
    assert becomes(lambda: up.say("dev-status", "--wait-fresh", "--timeout", "60").code == 0)


def test_a_rebuild_swaps_and_says_so(up: Loop) -> None:
    before = up.pods()
    call(up, "Berta")
    said = up.ok("dev-rebuild")
    assert "swap petstore" in said
    assert "rollout" not in said
    assert "Berta" in pets(up)
    assert up.pods() == before


def test_a_clean_rebuild_makes_everything_again(up: Loop) -> None:
    call(up, "Wilma")
    up.ok("dev-rebuild")
    sync(ROOT, up.root)  # with the date that it had: older than what cargo has compiled
    said = up.ok("dev-rebuild", "--clean")
    assert "petstore · up to date" not in said
    assert "Greta" in pets(up)
    assert up.say(*NOW).code == 0


def test_a_synced_file_is_swapped_without_a_build(up: Loop) -> None:
    up.ok("dev-rebuild")  # a test before this one may have built something else
    configure(up, "another")
    assert up.say(*NOW).code == 4
    said = up.ok("dev-rebuild")
    assert "petstore · up to date" in said
    assert takes(up, "another")
    assert up.say(*NOW).code == 0


def said_state(said: Said) -> str:
    """The state in the first line of what dev-status says."""
    return said.text.partition(": ")[2].partition(",")[0]
