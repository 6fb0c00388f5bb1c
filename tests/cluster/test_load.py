"""A real load by goose on a live service: on the release build, as it runs, ended early."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import schemas
import yaml
from live import Loop, Running, edit
from watching import Terminal

LOW = "{users: 10, hatch_rate: 10, run_time_s: 4, max_p95_ms: 200, max_error_ratio: 0, min_rps: 1}"
"""Short, and with thresholds that only a fault breaks: no machine is that slow."""
LONG = LOW.replace("run_time_s: 4", "run_time_s: 600")
SLEEP_MS = 300


def profile(loop: Loop, text: str) -> None:
    """Make this the profile `low`."""
    now = loop.settings.read_text()
    made, count = re.subn(r"^  low: \{.*\}$", f"  low: {text}", now, flags=re.MULTILINE)
    assert count == 1
    loop.settings.write_text(made)


def runs_of(loop: Loop) -> set[Path]:
    """The folders of all runs that are kept."""
    return set((loop.root / ".kindloop/load").glob("low-*"))


def running(loop: Loop) -> str:
    """The digest of what answers, which must be built from the files as they are, for the loop."""
    status = json.loads(loop.ok("swap.status", "--json"))
    (row,) = status["workloads"]
    assert row["fresh"]["state"] == "fresh", row
    return str(row["pods"][0]["running_digest"])


def operations(loop: Loop) -> set[str]:
    """Every operation of the document, as a load names it."""
    document = yaml.safe_load((loop.root / "examples/petstore/openapi.yaml").read_text())
    return {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }


@pytest.fixture
def loaded(up: Loop) -> Loop:
    """An environment that is fresh, with a short profile."""
    profile(up, LOW)
    up.ok("dev-up")
    return up


def test_load_on_the_release_build(loaded: Loop) -> None:
    before = running(loaded)
    done = loaded.run("test-load", "--json", timeout_s=1800)
    assert done.returncode == 0, done.stderr
    document, said = schemas.said("load", done.stdout), done.stderr
    assert (document["complete"], document["broken"]) == (True, [])
    assert "petstore runs its release build meanwhile" in said
    told = re.search(r"on http://127\.0\.0\.1:\d+, release build (\w{8})\n", said)
    assert told
    assert told[1] not in before
    assert re.search(r"^  \d+ s: [\d,]+ requests, ", said, re.MULTILINE), "no progress"
    # Afterwards what the day's saves need runs again.
    assert running(loaded) == before
    folder = max(runs_of(loaded))
    assert f"{folder.relative_to(loaded.root)}/report.html" in said
    assert "<html" in (folder / "report.html").read_text()[:500].lower()
    report = json.loads((folder / "report.json").read_text())
    assert report["ended_by"] == "completed"
    requests = report["raw_metrics"]["requests"]
    assert operations(loaded) <= requests.keys()
    for name, one in requests.items():
        expected = re.search(r"\((\d+)\)$", name)
        statuses = set(one["status_code_counts"])
        assert statuses == {expected[1]} if expected else all(s < "300" for s in statuses), name
        assert one["fail_count"] == 0


def test_a_stale_service_is_refused(loaded: Loop) -> None:
    kept = runs_of(loaded)
    edit(loaded.app / "controllers/get_pet.rs", "there is no pet", "there never was a pet")
    said = loaded.say("test-load")
    assert said.code == 4
    assert "no load on a service that is not fresh: petstore: stale" in said.message
    assert "next: invoke dev-rebuild" in said.error
    assert runs_of(loaded) == kept


def test_a_sleep_in_a_handler_breaks_p95(loaded: Loop) -> None:
    edit(
        loaded.app / "controllers/list_pets.rs",
        "    let store = store();\n",
        f"    std::thread::sleep(std::time::Duration::from_millis({SLEEP_MS}));\n"
        "    let store = store();\n",
    )
    loaded.ok("dev-rebuild")
    slow = running(loaded)
    said = loaded.say("test-load", "--as-is")
    assert said.code == 1
    found = re.search(r"load low: p95 is (\d+) ms, at most 200 ms is allowed", said.message)
    assert found
    assert int(found[1]) >= SLEEP_MS
    assert re.search(r"\| GET /pets: p95 \d+ ms", said.error)
    assert f"loop build {slow[:8]}" in said.text
    assert running(loaded) == slow


def test_ctrl_c_leaves_the_report_and_the_loop_build(loaded: Loop) -> None:
    profile(loaded, LONG)
    before = running(loaded)
    kept = runs_of(loaded)
    load = loaded.start("test-load")
    try:
        load.until(progress)
        load.interrupt()
        said = load.end()
    finally:
        load.popen.kill()
    assert said.code == 130
    assert "load low was ended early" in said.error
    assert re.search(r"^all +\d+ ", said.text, re.MULTILINE), "no table"
    (folder,) = runs_of(loaded) - kept
    assert f"{folder.name}/report.html" in said.error
    assert json.loads((folder / "report.json").read_text())["ended_by"] == "canceled"
    assert (folder / "report.html").stat().st_size > 0
    assert running(loaded) == before
    # Half a load is nothing to compare with.
    profile(loaded, LOW)
    assert folder.name not in loaded.ok("test-load", "--as-is")


def test_key_in_a_watch_and_the_key_that_ends_it(loaded: Loop) -> None:
    profile(loaded, LONG)
    before = running(loaded)
    with Terminal(loaded, "dev-watch") as terminal:
        terminal.read(r"watching \d+ files and folders; \? shows the keys")
        terminal.press("L")
        terminal.read(r"\d+ s: [\d,]+ requests, ")
        terminal.press("L")
        terminal.read(r"petstore runs its loop build again")
        terminal.press("q")
        assert terminal.drained() == 0
    assert running(loaded) == before


def progress(load: Running) -> bool:
    """Whether the load tells of requests."""
    return re.search(r"^  \d+ s: [\d,]+ requests, ", load.text, re.MULTILINE) is not None
