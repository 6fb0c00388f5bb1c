"""The observability stack: which parts, which documents, how each part is told to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from kindloop import manifests, observing, state, versions
from kindloop.components import COMPONENTS, Prepared
from kindloop.config import DEFAULT_PORTS, NODE_PORTS, Cluster, Config, Observability, Resources
from kindloop.errors import BuildFailed, ConfigError, KindloopError, RolloutFailed, ToolMissing
from kindloop.observing import bringing, looking, planning, records, views
from kindloop.observing.looking import State, Usage
from kindloop.observing.parts import LEVELS, PARTS, url_of
from kindloop.observing.records import Record

BUDGET_MIB = 2048
"""What the whole stack may take beyond Kubernetes itself."""
IMAGES = {name: f"kindloop.local/{name}:0123456789ab" for name in PARTS}
LOCAL = {name: Prepared(name, reference, "local") for name, reference in IMAGES.items()}


@pytest.fixture
def config(homes: Path, repo: Path) -> Config:
    """A checkout with a copy of the stack's manifests, level full."""
    shutil.copytree(repo / "k8s/observability", homes / "checkout/stack")
    path = homes / "checkout/kindloop.yaml"
    return Config(path, name="mine", observability="full", stack=homes / "checkout/stack")


def deployments(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == "Deployment"}


def container(document: Mapping[str, Any]) -> dict[str, Any]:
    (found,) = document["spec"]["template"]["spec"]["containers"]
    return dict(found)


def variables(document: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(document).get("env", [])}


def mib(text: str) -> float:
    units = {
        "Ki": 1 / 1024,
        "Mi": 1,
        "Gi": 1024,
        "KiB": 1 / 1024,
        "MiB": 1,
        "GiB": 1024,
        "MB": 0.954,
    }
    number = text.rstrip("KMGiB")
    return float(number) * units[text[len(number) :]]


# Parts and levels


def test_the_parts_are_the_components_and_each_has_a_port() -> None:
    assert tuple(PARTS) == COMPONENTS
    assert {part.port for part in PARTS.values()} <= set(DEFAULT_PORTS)


def test_every_level_is_one_of_the_settings() -> None:
    assert set(LEVELS) == set(get_args(Observability))
    assert LEVELS["off"] == ()
    assert LEVELS["minimal"] == ("prometheus", "alertmanager")
    assert set(LEVELS["full"]) == set(PARTS)


def test_a_url_has_the_offset_and_a_port_that_is_off_none(config: Config) -> None:
    ports = {**DEFAULT_PORTS, "jaeger": None}
    there = replace(config, cluster=Cluster(ports=ports, port_offset=100))
    assert url_of(there, "prometheus") == "http://127.0.0.1:9190"
    assert url_of(there, "jaeger") == ""


# Documents


def test_the_images_are_those_that_were_prepared(config: Config) -> None:
    found = deployments(planning.documents(config, IMAGES))
    assert {name: container(d)["image"] for name, d in found.items()} == {
        PARTS[name].deployment: reference for name, reference in IMAGES.items()
    }


@pytest.mark.parametrize("level", ["minimal", "full"])
def test_a_level_has_the_objects_of_its_parts_and_no_others(
    config: Config, level: Observability
) -> None:
    images = {name: IMAGES[name] for name in LEVELS[level]}
    documents = planning.documents(config, images)
    assert set(deployments(documents)) == {PARTS[name].deployment for name in LEVELS[level]}
    names = {d["metadata"]["labels"]["app.kubernetes.io/name"] for d in documents}
    assert names == {PARTS[name].deployment for name in LEVELS[level]}


def test_what_two_levels_share_is_the_same_in_both(config: Config) -> None:
    """So that a change of level leaves it untouched."""
    full = planning.documents(config, IMAGES)
    minimal = planning.documents(config, {n: IMAGES[n] for n in LEVELS["minimal"]})
    assert minimal
    assert all(document in full for document in minimal)


def test_no_parts_are_no_documents(config: Config) -> None:
    assert planning.documents(config, {}) == []


def test_a_part_without_image_is_left_out(config: Config) -> None:
    images = {name: IMAGES[name] for name in PARTS if name != "grafana"}
    assert "grafana" not in deployments(planning.documents(config, images))


@pytest.mark.parametrize("resources", get_args(Resources))
def test_the_whole_stack_stays_within_its_budget(config: Config, resources: Resources) -> None:
    found = deployments(planning.documents(replace(config, resources=resources), IMAGES))
    limits = [mib(container(d)["resources"]["limits"]["memory"]) for d in found.values()]
    assert len(limits) == len(PARTS)
    assert sum(limits) <= BUDGET_MIB


@pytest.mark.parametrize("resources", get_args(Resources))
def test_go_knows_the_limit_of_its_container(config: Config, resources: Resources) -> None:
    """Without that, the kernel ends it before it collects its garbage."""
    found = deployments(planning.documents(replace(config, resources=resources), IMAGES))
    for document in found.values():
        limit = mib(container(document)["resources"]["limits"]["memory"])
        assert 0.75 * limit <= mib(variables(document)["GOMEMLIMIT"]) <= 0.95 * limit


def test_resources_change_deployments_only_and_really(config: Config) -> None:
    seen = []
    for resources in get_args(Resources):
        documents = planning.documents(replace(config, resources=resources), IMAGES)
        rest = [d for d in documents if d["kind"] != "Deployment"]
        seen.append((deployments(documents), rest))
    assert seen[0][1] == seen[1][1] == seen[2][1]
    for name in seen[0][0]:
        limits = [mib(container(d[name])["resources"]["limits"]["memory"]) for d, _ in seen]
        assert limits == sorted(limits), name
        assert limits[0] < limits[1], name


def test_more_resources_keep_data_longer(config: Config) -> None:
    kept: dict[str, list[float]] = {"prometheus": [], "jaeger": []}
    for resources in get_args(Resources):
        found = deployments(planning.documents(replace(config, resources=resources), IMAGES))
        for name, hours in kept.items():
            hours.append(float(variables(found[name])["RETENTION_TIME"].removesuffix("h")))
    assert all(hours == sorted(set(hours)) for hours in kept.values())


def test_every_part_is_confined(config: Config) -> None:
    for name, document in deployments(planning.documents(config, IMAGES)).items():
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is (name == "prometheus")
        security = container(document)["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security["allowPrivilegeEscalation"]
        assert document["spec"]["strategy"] == {"type": "Recreate"}
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container(document))


def test_node_ports_are_those_that_kind_maps(config: Config) -> None:
    documents = planning.documents(config, IMAGES)
    found = {
        port["nodePort"]
        for d in documents
        if d["kind"] == "Service" and d["spec"].get("type") == "NodePort"
        for port in d["spec"]["ports"]
    }
    assert found == {number for name, number in NODE_PORTS.items() if name != "petstore"}


def test_prometheus_may_read_measures_and_not_more(config: Config) -> None:
    documents = planning.documents(config, IMAGES)
    rules = [r for d in documents if d["kind"] in ("Role", "ClusterRole") for r in d["rules"]]
    assert {verb for rule in rules for verb in rule["verbs"]} <= {"get", "list", "watch"}
    assert {kind for rule in rules for kind in rule["resources"]} == {
        "pods", "nodes", "nodes/metrics",
    }  # fmt: skip


def test_data_is_on_a_volume_that_survives_the_pod(config: Config) -> None:
    documents = planning.documents(config, IMAGES)
    claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    assert claims == {"prometheus", "alertmanager", "jaeger", "grafana"}
    for name in claims:
        volumes = deployments(documents)[name]["spec"]["template"]["spec"]["volumes"]
        assert {"claimName": name} in [v.get("persistentVolumeClaim") for v in volumes]


# Intervals


@pytest.mark.parametrize("scrape_s", [5, 15, 60])
def test_scrape_s_is_where_prometheus_and_grafana_read_it(config: Config, scrape_s: int) -> None:
    documents = planning.documents(replace(config, scrape_s=scrape_s), IMAGES)
    files = {name: text for d in documents for name, text in d.get("data", {}).items()}
    scraped = yaml.safe_load(files["prometheus.yml"])
    assert scraped["global"]["scrape_interval"] == f"{scrape_s}s"
    assert scraped["global"]["evaluation_interval"] == f"{scrape_s}s"
    sources = {s["name"]: s for s in yaml.safe_load(files["datasources.yaml"])["datasources"]}
    assert sources["Prometheus"]["jsonData"]["timeInterval"] == f"{scrape_s}s"


def test_another_interval_is_another_config_map_so_that_the_pod_sees_it(config: Config) -> None:
    names = []
    for scrape_s in (5, 15):
        documents = planning.documents(replace(config, scrape_s=scrape_s), IMAGES)
        names.append(
            {d["metadata"]["name"] for d in documents if "prometheus.yml" in d.get("data", {})}
        )
    assert names[0] != names[1]


def test_an_interval_of_ones_own_in_a_job_is_kept() -> None:
    text = "global:\n  scrape_interval: 15s\nscrape_configs:\n  - scrape_timeout: 3s\n"
    assert planning.with_interval(text, 5) == text.replace("15s", "5s")


# The folder


def test_without_a_folder_of_ones_own_it_is_the_one_that_kindloop_ships(
    config: Config, repo: Path
) -> None:
    assert planning.folder_of(replace(config, stack=None)) == repo / "k8s/observability"
    assert planning.folder_of(config) == config.root / "stack"


@pytest.mark.parametrize(("gone", "resources"), [("jaeger", "normal"), ("resources/high", "high")])
def test_a_folder_that_lacks_a_part_is_told(
    config: Config, gone: str, resources: Resources
) -> None:
    shutil.rmtree(config.root / "stack" / gone)
    with pytest.raises(ConfigError, match=f"has no folder {gone}") as raised:
        planning.documents(replace(config, resources=resources), IMAGES)
    assert raised.value.exit_code == 2


def test_the_fingerprint_sees_settings_images_and_files(config: Config) -> None:
    first = planning.fingerprint(config, IMAGES)
    assert planning.fingerprint(config, dict(reversed(IMAGES.items()))) == first
    assert planning.fingerprint(replace(config, resources="high"), IMAGES) != first
    assert planning.fingerprint(replace(config, scrape_s=5), IMAGES) != first
    assert planning.fingerprint(config, {**IMAGES, "jaeger": "x:1"}) != first
    rules = config.root / "stack/prometheus/rules.yaml"
    rules.write_text(rules.read_text() + "# another\n")
    assert planning.fingerprint(config, IMAGES) != first


# How a part is told to be


def deployment(*, ready: bool = True, replicas: int = 1) -> dict[str, Any]:
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    return {
        "metadata": {"name": "jaeger", "generation": 2},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 2, **(dict.fromkeys(counts, replicas) if ready else {})},
    }


def pod(**waiting: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "jaeger-1"},
        "spec": {"containers": [{"name": "jaeger"}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "jaeger", "ready": not waiting, "restartCount": 0, "image": "j:1",
                 "state": {"waiting": waiting} if waiting else {}}
            ],
        },
    }  # fmt: skip


def judged(part: Prepared, *objects: dict[str, Any], busy: bool = False, error: str = "") -> State:
    return looking.judge(
        part,
        [one for one in objects if "generation" in one["metadata"]],
        [one for one in objects if "generation" not in one["metadata"]],
        "http://127.0.0.1:16686",
        busy=busy,
        error=error,
        used={"jaeger-1": Usage(21, 8), "petstore-1": Usage(3, 1)},
    )


JAEGER = Prepared("jaeger", "j:1", "local", api_only=True)


def test_a_part_that_runs() -> None:
    found = judged(JAEGER, deployment(), pod())
    assert found == State("jaeger", "ok", "", "http://127.0.0.1:16686", True, 21, 8)
    assert looking.line(found) == "http://127.0.0.1:16686, API only, 21 MiB, 0.01 CPU"


def test_a_part_that_starts() -> None:
    found = judged(JAEGER, deployment(ready=False), pod(reason="ContainerCreating"))
    assert found.state == "starting"
    assert looking.line(found).startswith("http://127.0.0.1:16686, API only, starting")


def test_a_part_that_cannot_start_says_why_and_what_to_do() -> None:
    found = judged(JAEGER, deployment(ready=False), pod(reason="ErrImagePull"))
    assert found.state == "broken"
    assert "image j:1 is not in the node (ErrImagePull)" in looking.line(found)
    assert "next: " in found.detail


def test_a_part_that_somebody_scaled_to_nothing_is_not_well() -> None:
    found = judged(JAEGER, deployment(replicas=0))
    assert (found.state, found.detail) == ("broken", "scaled to 0; next: invoke dev-up")


def test_a_part_whose_image_is_being_made() -> None:
    missing = Prepared("jaeger", "j:1", "missing", api_only=True, estimate_s=170)
    found = judged(missing, busy=True)
    assert found.state == "making"
    assert looking.line(found) == "API only, making, about 170 s to make it"
    assert judged(JAEGER, busy=True).detail == "its image is brought"


def test_a_part_that_was_to_be_made_and_is_not() -> None:
    found = judged(JAEGER, error="go failed while baking")
    assert (found.state, found.detail) == ("broken", "go failed while baking; next: invoke dev-up")
    assert judged(JAEGER).detail == "it is not there; next: invoke dev-up"


def test_a_part_that_cannot_be_had_is_no_fault() -> None:
    absent = Prepared("grafana", "", "absent", note="Grafana is left out: invoke image.load FILE")
    found = judged(absent)
    assert (found.state, looking.line(found)) == ("absent", absent.note)


# Bringing it


class World:
    """Images, node and cluster as the bringing sees them; keeps what it did, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: dict[str, Prepared] = {}
        self.node: set[str] = set()
        self.busy = False
        self.there: set[str] = {"Service prometheus 1"}
        self.fails: set[str] = set()
        self.done: list[str] = []
        monkeypatch.setattr(bringing.components, "look", self.look)
        monkeypatch.setattr(bringing.components, "prepare", self.prepare)
        monkeypatch.setattr(bringing.components, "to_load", self.to_load)
        monkeypatch.setattr(bringing.components, "load", self.load)
        monkeypatch.setattr(bringing.manifests, "apply_set", self.apply)
        monkeypatch.setattr(bringing, "_there", lambda _config: self.there)
        monkeypatch.setattr(records, "running", lambda _config: self.busy)
        monkeypatch.setattr(records, "can_detach", lambda: True)
        monkeypatch.setattr(records, "start", lambda _config: self.done.append("started"))
        monkeypatch.setattr(records, "end", self.end)

    def have(
        self, *names: str, missing: tuple[str, ...] = (), absent: tuple[str, ...] = ()
    ) -> None:
        self.found = {name: LOCAL[name] for name in names}
        self.found |= {n: Prepared(n, IMAGES[n], "missing", estimate_s=100) for n in missing}
        self.found |= {n: Prepared(n, "", "absent", note=f"{n} is left out") for n in absent}

    def look(self, names: tuple[str, ...]) -> dict[str, Prepared]:
        return {name: self.found[name] for name in names}

    def prepare(self, names: list[str]) -> dict[str, Prepared]:
        (name,) = names
        if name in self.fails:
            raise BuildFailed(f"{name} cannot be made")
        self.done.append(f"prepared {name}")
        one = self.found[name]
        if one.how == "missing":
            self.found[name] = replace(one, how="bake")
        return {name: self.found[name]}

    def to_load(self, _config: Config, prepared: Any) -> list[str]:
        usable = [one.reference for one in prepared if one.how not in ("missing", "absent")]
        return [reference for reference in usable if reference not in self.node]

    def load(self, config: Config, prepared: Any) -> list[str]:
        missing = self.to_load(config, prepared)
        self.node |= set(missing)
        return missing

    def apply(
        self, _config: Config, documents: Any, inventory: str, *, kept: Any, prune: bool
    ) -> manifests.Applied:
        assert inventory != manifests.INVENTORY
        assert "PersistentVolumeClaim" in kept
        names = sorted(deployments(documents))
        self.done.append(f"applied {' '.join(names) or 'nothing'}{' pruning' if prune else ''}")
        return manifests.Applied((), ())

    def end(self, _environment: Any) -> bool:
        self.busy = False
        self.done.append("ended")
        return True

    def said(self) -> list[str]:
        done, self.done = self.done, []
        return done


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def minimal(config: Config) -> Config:
    return replace(config, observability="minimal")


MINIMAL = "applied alertmanager prometheus pruning"


def test_what_is_in_the_node_is_applied_at_once(minimal: Config, world: World) -> None:
    world.have("prometheus", "alertmanager")
    world.node = set(IMAGES.values())
    bringing.bring(minimal)
    assert world.said() == [MINIMAL]


def test_a_second_time_nothing_is_done(minimal: Config, world: World) -> None:
    world.have("prometheus", "alertmanager")
    world.node = set(IMAGES.values())
    bringing.bring(minimal)
    world.said()
    bringing.bring(minimal)
    assert world.said() == []


def test_what_somebody_deleted_or_changed_is_applied_again(minimal: Config, world: World) -> None:
    world.have("prometheus", "alertmanager")
    world.node = set(IMAGES.values())
    bringing.bring(minimal)
    world.said()
    world.there = {"Service prometheus 2"}
    bringing.bring(minimal)
    assert world.said() == [MINIMAL]


def test_what_takes_long_is_left_to_a_process(minimal: Config, world: World) -> None:
    world.have("prometheus", "alertmanager")  # in the engine, not in the node
    bringing.bring(minimal)
    assert world.said() == ["started"]
    bringing.work(minimal)  # what the process does
    assert world.said() == [MINIMAL]
    bringing.bring(minimal)
    assert world.said() == []


def test_wait_all_does_it_here(minimal: Config, world: World) -> None:
    world.have("prometheus", missing=("alertmanager",))
    bringing.bring(minimal, here=True)
    assert world.said() == [
        "applied prometheus",  # without pruning: what is missing may run from an older image
        "prepared alertmanager",
        "applied alertmanager prometheus",
        MINIMAL,
    ]


def test_what_is_absent_is_asked_for_once_and_not_at_each_start(
    config: Config, world: World
) -> None:
    world.have("prometheus", "alertmanager", "collector", "jaeger", absent=("grafana",))
    world.node = set(IMAGES.values())
    bringing.bring(config)
    assert world.said() == ["started"]
    bringing.work(config)
    everything = "applied alertmanager jaeger otel-collector prometheus pruning"
    assert world.said() == [everything, "prepared grafana"]
    bringing.bring(config)
    assert world.said() == []


def test_an_archive_that_came_meanwhile_is_taken(config: Config, world: World) -> None:
    world.have("prometheus", "alertmanager", "collector", "jaeger", absent=("grafana",))
    bringing.bring(config, here=True)
    world.said()
    world.found["grafana"] = Prepared("grafana", IMAGES["grafana"], "archive")
    world.node |= {IMAGES["grafana"]}
    bringing.bring(config)
    assert world.said() == ["applied alertmanager grafana jaeger otel-collector prometheus pruning"]


def test_off_takes_everything_away_once_and_is_nothing_where_nothing_was(
    minimal: Config, world: World
) -> None:
    off = replace(minimal, observability="off")
    bringing.bring(off)
    assert world.said() == []
    world.have("prometheus", "alertmanager")
    bringing.bring(minimal, here=True)
    world.said()
    bringing.bring(off)
    assert world.said() == ["applied nothing pruning"]
    bringing.bring(off)
    assert world.said() == []


def test_a_process_that_does_the_same_is_left_alone(minimal: Config, world: World) -> None:
    world.have("prometheus", missing=("alertmanager",))
    bringing.bring(minimal)
    world.said()
    world.busy = True
    bringing.bring(minimal)
    assert world.said() == []


def test_a_process_that_does_something_else_gives_way(config: Config, world: World) -> None:
    world.have("prometheus", "alertmanager", "collector", "grafana", missing=("jaeger",))
    world.node = set(IMAGES.values())
    bringing.bring(config)
    world.said()
    world.busy = True
    bringing.bring(replace(config, observability="minimal"))
    assert world.said() == ["ended", MINIMAL]


def test_a_part_that_cannot_be_made_does_not_hold_up_the_others(
    config: Config, world: World
) -> None:
    world.have("prometheus", "alertmanager", "grafana", missing=("collector", "jaeger"))
    world.fails = {"collector"}
    with pytest.raises(BuildFailed, match="collector cannot be made") as raised:
        bringing.bring(config, here=True)
    assert raised.value.exit_code == 5
    assert world.said()[-1] == "applied alertmanager grafana jaeger prometheus"
    record = records.read(config)
    assert record is not None
    assert (record.applied, record.error) == ("", "collector cannot be made")
    world.fails = set()
    bringing.bring(config, here=True)
    assert world.said()[-1].endswith("pruning")
    mended = records.read(config)
    assert mended is not None
    assert mended.applied
    assert mended.error == ""


def test_what_the_api_server_refuses_is_remembered(
    minimal: Config, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_a: Any, **_k: Any) -> None:
        raise RolloutFailed("the API server refused a manifest")

    world.have("prometheus", "alertmanager")
    world.node = set(IMAGES.values())
    monkeypatch.setattr(bringing.manifests, "apply_set", refuse)
    with pytest.raises(RolloutFailed):
        bringing.bring(minimal)
    record = records.read(minimal)
    assert record is not None
    assert record.error == "the API server refused a manifest"


def test_what_would_be_done_is_told(config: Config, world: World) -> None:
    world.have("prometheus", "alertmanager", "collector", missing=("jaeger",), absent=("grafana",))
    told = bringing.explain(config)
    assert (
        told[0] == f"observability prometheus: apply {IMAGES['prometheus']}, http://127.0.0.1:9090"
    )
    assert told[-1] == "observability grafana: grafana is left out"
    assert bringing.explain(replace(config, observability="off")) == []


# Waiting


class Connected:
    """A connection to an API server that nobody asks anything."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def waiting(config: Config, monkeypatch: pytest.MonkeyPatch, *seen: State) -> None:
    """Let what `look` sees one after the other be these, of the one part that there is."""
    records.write(config, Record("full", "normal", {"jaeger": LOCAL["jaeger"]}))
    answers = iter(seen)
    monkeypatch.setattr(bringing.apiserver, "connect", lambda _config: Connected())
    monkeypatch.setattr(bringing.looking, "look", lambda *_: [next(answers)])
    monkeypatch.setattr(bringing, "ASK_S", 0.0)


def test_a_part_that_gets_ready_is_waited_for_until_its_url_answers(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    waiting(config, monkeypatch, State("jaeger", "making"), State("jaeger", "starting"),
            State("jaeger", "ok"))  # fmt: skip
    monkeypatch.setattr(bringing.verify, "wait_quick", lambda url, _timeout_s: asked.append(url))
    bringing.wait(config)
    assert asked == ["http://127.0.0.1:16686/api/services"]


def test_a_part_that_cannot_get_ready_is_told_with_why(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(config, monkeypatch, State("jaeger", "broken", "jaeger-1 crashes"))
    with pytest.raises(RolloutFailed, match="jaeger is not ready") as raised:
        bringing.wait(config)
    assert raised.value.exit_code == 6
    assert raised.value.evidence == ("jaeger-1 crashes",)


def test_a_part_that_is_late_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting(config, monkeypatch, State("jaeger", "starting", "Pending"))
    with pytest.raises(RolloutFailed, match="not ready in time"):
        bringing.wait(config, timeout_s=-1)


# Records


def test_a_record_is_read_back_as_it_was_written(config: Config) -> None:
    record = Record("full", "high", dict(LOCAL), "0123", ("Service a 1",), "went wrong", 12.5)
    records.write(config, record)
    assert records.read(config) == record


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "parts": {"a": {"b": 1}}}']
)
def test_a_record_of_another_kindloop_is_none(config: Config, text: str) -> None:
    file = state.state_home() / "mine/observability.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert records.read(config) is None


# Pages


def test_pages_are_those_that_a_browser_can_show() -> None:
    found = list(
        views.of(
            [
                State("prometheus", "ok", url="http://p"),
                State("alertmanager", "ok", url="http://a", api_only=True),
                State("collector", "ok", url="http://c"),
                State("jaeger", "starting", "…", url="http://j"),
                State("grafana", "ok", url="http://g"),
            ],
            [("petstore", "Pet Store")],
        )
    )
    assert [page.url for page in found if page.opens] == [
        "http://p",
        "http://g",
        "http://g/d/petstore",
    ]
    assert str(found[1]) == "alertmanager: http://a, API only"
    assert str(found[3]) == "jaeger: http://j, starting"
    assert str(found[-1]) == "dashboard Pet Store: http://g/d/petstore"


def test_without_grafana_there_are_no_dashboards_and_it_says_why() -> None:
    found = list(views.of([State("grafana", "absent", "Grafana is left out")], [("x", "X")]))
    assert [str(page) for page in found] == ["grafana: Grafana is left out"]


def test_where_it_is_off_the_page_says_how_to_switch_it_on() -> None:
    (found,) = views.of([], [])
    assert str(found) == "observability: off; next: invoke dev-up --observability full"


def test_dashboards_are_named_as_their_files_say(repo: Path) -> None:
    found = dict(views._dashboards(repo / "k8s/observability"))
    assert set(found) == {"petstore", "loop", "cluster"}


def test_urls_are_given_to_the_browser(fake: Any, tmp_path: Path) -> None:
    fake("xdg-open", f'echo "$1" >> {tmp_path}/opened')
    observing.browse(["http://a", "http://b"])
    assert (tmp_path / "opened").read_text().split() == ["http://a", "http://b"]


def test_a_browser_that_cannot_open_says_so(fake: Any) -> None:
    fake("xdg-open", "echo no display >&2; exit 3")
    with pytest.raises(KindloopError, match="cannot open http://a") as raised:
        observing.browse(["http://a"])
    assert "no display" in raised.value.evidence


def test_without_a_browser_the_urls_are_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolMissing, match="to open a browser with") as raised:
        observing.browse(["http://a"])
    assert raised.value.exit_code == 7


# What plain kubectl applies


def test_what_kubectl_would_pull_is_what_kindloop_pulls(repo: Path) -> None:
    pinned = versions.section("observability")
    for name in PARTS:
        found = yaml.safe_load((repo / f"k8s/observability/{name}/kustomization.yaml").read_text())
        (image,) = found["images"]
        assert image["name"] == name
        assert pinned[name].startswith(f"{image['newName']}:{image['newTag']}@"), name


def test_dashboards_are_json(repo: Path) -> None:
    for path in (repo / "k8s/observability/grafana/dashboards").glob("*.json"):
        assert json.loads(path.read_text())["uid"] == path.stem
