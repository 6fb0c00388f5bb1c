"""The documents of --json: their schemas, and that what the rooms make is as the schemas say."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import schemas

from kindloop import bake, documents, errors, hostfacts, outdated, report, saves, verify
from kindloop.config import Load
from kindloop.documents.deriving import object_of, rows_of
from kindloop.documents.events import Save
from kindloop.environments import Listed
from kindloop.environments import as_json as environments_json
from kindloop.errors import EXIT_CODES, ConfigError, KindloopError, ToolFailed
from kindloop.events import Kind
from kindloop.freshness import Fresh
from kindloop.loadplan import Outcome, Row
from kindloop.loadrun import Build, Done
from kindloop.observing import Page, State
from kindloop.probes import Inotify, Memory
from kindloop.saves import Saved
from kindloop.stage_plan import Decision
from kindloop.status import Line, Status
from kindloop.supervised import Report, Silence
from kindloop.swapping import Row as SwapRow
from kindloop.upplan import NodeSource, ToApply, UpPlan

FRESH = Fresh("petstore", "fresh", "a1b2c3d4")
ROW = Row("GET /pets", 10, 0, 1.0, 2.0, 3.0, 100.0)
DECISION = Decision("petstore", stale=True, reason="main.rs changed", changes=("main.rs changed",))


# -- schemas


@pytest.mark.parametrize("name", documents.DOCUMENTS)
def test_every_schema_is_one_and_has_its_version(name: str) -> None:
    for strict in (False, True):
        schema = documents.schema_of(name, strict=strict)
        jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"] == {"const": documents.named(name).version}
    assert schema["description"].endswith(".")
    assert f"kindloop {name}, version " in schema["title"]


def test_a_reader_must_take_fields_that_it_does_not_know_and_the_tests_must_not() -> None:
    newer = {"schema": 1, "differs": False, "diff": "", "more": 1}
    loose, strict = (documents.schema_of("diff", strict=each) for each in (False, True))
    assert jsonschema.Draft202012Validator(loose).is_valid(newer)
    assert not jsonschema.Draft202012Validator(strict).is_valid(newer)


@pytest.mark.parametrize(
    "wrong", [{"schema": 2}, {"differs": "no"}, {"diff": None}, {"diff": 1}], ids=str
)
def test_another_version_or_type_is_refused(wrong: dict[str, Any]) -> None:
    right = {"schema": 1, "differs": False, "diff": ""}
    schemas.valid("diff", right)
    with pytest.raises(AssertionError):
        schemas.valid("diff", {**right, **wrong})


def test_a_field_that_is_missing_is_refused() -> None:
    with pytest.raises(AssertionError, match="'diff' is a required property"):
        schemas.valid("diff", {"schema": 1, "differs": False})


def test_an_unknown_document_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ConfigError) as raised:
        documents.schema_of("nothing")
    assert "status" in raised.value.why


def test_fields_of_lists_mappings_and_choices_are_told_with_their_place() -> None:
    rows = {path: (kind, text) for path, kind, text in rows_of(documents.schema_of("swap"))}
    assert rows["workloads[].fresh.state"][0].startswith("one of `fresh`, ")
    assert rows["workloads[].pods[].why"][0] == "string"
    assert rows["workloads[].pods[].running_digest"][0] == "string or null"
    rows = {path: (kind, text) for path, kind, text in rows_of(documents.schema_of("event"))}
    assert rows["text"][0] == "string, may be missing"


# -- what the rooms make


NEWER = outdated.Found(
    outdated.Row("bake.etcd", "v3.6.0", "go", "go.etcd.io/etcd"), "v3.6.1", "v3.6.1"
)


def a_host() -> hostfacts.Host:
    spec = hostfacts.ToolSpec("kind", "makes the cluster", "kind version", "0.31.0", "always", "go")
    return hostfacts.Host(
        tools=(hostfacts.Tool(spec, "", "", ok=False),),
        engine=hostfacts.Engine("", "26.1.5", "linux", "amd64", "/var/lib/docker"),
        registry=True,
        bakes=False,
        can_raise_limits=None,
        cgroup=2,
        inotify=Inotify(1024, 500_000),
        memory=Memory(16.0, 12.0),
        free_gb={"/var/lib/docker": 50.0},
        ports=(hostfacts.TakenPort("petstore", 8080, "process 12: nginx"),),
    )


def a_status() -> Status:
    part = State("jaeger", "ok", "", "http://127.0.0.1:16686", api_only=True, memory_mb=60, cpu_m=5)
    line = Line("app", "url", "petstore", "ok", "http://127.0.0.1:8080")
    return Status("mine", (line,), "/state/kubeconfig", {"petstore-1": 12}, (part,))


def a_run(before: Outcome | None) -> Done:
    load = Load("low", 10, 2.0, 30, 50.0, 0.0, 100.0)
    outcome = Outcome((ROW,), ROW, (), (), 30, complete=True)
    return Done("low", load, Build("release", "a1b2"), outcome, before, Path(".kindloop/load/low"))


def a_plan(node: NodeSource | None) -> UpPlan:
    workloads = (ToApply("petstore", "app", "http://127.0.0.1:8080"),)
    return UpPlan("mine", "absent", node, (DECISION,), workloads, ("observability jaeger: apply",))


CHECKS = verify.Row(
    "get_pet",
    "GET",
    "/pets/{id}",
    "200",
    200,
    "application/json",
    1.5,
    True,
    "",
    "curl …",
)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("status", a_status().as_json()),
        ("status", Status("mine", ()).as_json()),
        ("doctor", hostfacts.as_json(a_host())),
        ("doctor", hostfacts.as_json(replace(a_host(), inotify=None, memory=None, cgroup=None))),
        ("list", environments_json([])),
        ("list", environments_json([Listed("mine", "running", ports={"petstore": 8080}, memory_mib=700)])),
        ("load", a_run(None).as_json()),
        ("load", a_run(a_run(None).outcome).as_json()),
        ("plan", a_plan(None).as_json()),
        ("plan", a_plan(NodeSource("kindloop/node:1", "bake", 720.0)).as_json()),
        ("curl", {"schema": 1, "reports": [asdict(verify.Report("http://127.0.0.1:8080", (CHECKS,)))]}),
        ("pages", {"schema": 1, "pages": [Page("petstore", "http://127.0.0.1:8080").as_json()]}),
        ("fresh", {"schema": 1, "exit_code": 0, "fresh": True, "workloads": [asdict(FRESH)]}),
        ("stages", {"schema": 1, "stages": [asdict(DECISION)]}),
        (
            "swap",
            {
                "schema": 1,
                "exit_code": 0,
                "workloads": [
                    asdict(SwapRow(FRESH, "mount: it is seen", (Report("a"), Silence("b", "new")))),
                    asdict(SwapRow(FRESH, "exec: it is told", (Report("a", timings_ms={"stop": 2.5}),))),
                ],
            },
        ),
        ("outdated", outdated.as_json([NEWER, outdated.Found(NEWER.row, why="no answer")])),
        ("error", {"schema": 1, "error": KindloopError("it broke").as_json()}),
    ],
)  # fmt: skip
def test_what_a_room_makes_is_as_the_schema_says(name: str, document: Any) -> None:
    schemas.valid(name, json.loads(json.dumps(document)))


def test_the_parts_of_the_bake_are_as_the_schema_says(homes: Path) -> None:
    found = schemas.valid("bake", json.loads(json.dumps(bake.status_json())))
    assert {part["done"] for part in found["parts"]} == {False}


def test_the_lines_of_a_plan_say_the_same() -> None:
    lines = "\n".join(a_plan(NodeSource("kindloop/node:1", "bake", 720.0)).lines())
    assert "cluster mine: absent\n  create it from kindloop/node:1 (bake)\n" in lines
    assert "stage petstore: run (main.rs changed)" in lines
    assert "workload petstore: apply app, http://127.0.0.1:8080" in lines
    assert a_plan(None).as_json()["node"] is None
    assert "create" not in "\n".join(a_plan(None).lines())


# -- errors


@pytest.mark.parametrize(
    "error",
    [
        KindloopError("it broke", why="it was thin", hint="invoke mend", evidence=["l1"]),
        *(getattr(errors, name)("it broke") for name in ("Stale", "NotOurs", "Interrupted")),
        ToolFailed(["kubectl", "get"], 1, stderr="refused"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_as_a_document_has_all_that_its_text_has(error: KindloopError) -> None:
    facts = schemas.valid("error", {"schema": 1, "error": error.as_json()})["error"]
    assert facts["type"] == type(error).__name__
    assert facts["exit_code"] in EXIT_CODES
    for part in (facts["message"], facts["why"], facts["hint"], *facts["evidence"]):
        assert part in str(error)


# -- events


def test_every_kind_of_event_is_explained() -> None:
    assert set(documents.KINDS) == set(get_args(Kind))


def test_every_kind_of_event_is_as_the_schema_says() -> None:
    stream = io.StringIO()
    before = report.use(report.JsonLines(stream, verbosity=1))
    try:
        with report.step("s") as step:
            report.line("l")
            report.command("c")
            step.note("n")
        report.warn("w")
        report.output("o")
        report.save("fresh", took_s=1.4, data=Saved("fresh", 1.4, "petstore", "a1").data())
        report.key("paused", data={"key": "p", "paused": True, "waiting": 2})
        report.key("help", data={"key": "?"})
        report.error(KindloopError("it broke", hint="invoke dev-up").as_json())
    finally:
        report.use(before)
    seen = schemas.events(stream.getvalue())
    assert {one["kind"] for one in seen} == set(documents.KINDS) - {"log"}
    assert (seen[-1]["kind"], seen[-1]["ok"]) == ("error", False)


@pytest.mark.parametrize(
    "wrong",
    [{"data": None}, {"data": {"verdict": "fresh"}}, {"kind": "nothing"}, {"t_s": "now"}],
    ids=str,
)
def test_a_save_without_its_facts_is_refused(wrong: dict[str, Any]) -> None:
    data = Saved("fresh", 1.4, "petstore").data()
    right = {"schema": 1, "kind": "save", "ok": True, "t_s": 1.0, "data": data}
    schemas.valid("event", right)
    with pytest.raises(AssertionError):
        schemas.valid("event", {**right, **wrong})


def test_every_verdict_of_a_save_is_known() -> None:
    known = object_of(Save, strict=True)["properties"]["verdict"]["enum"]
    assert set(known) == set(get_args(saves.Result))
