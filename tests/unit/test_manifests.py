"""Manifests: the overlay, what is pruned, and what real kustomize makes of this repository's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kindloop import manifests, tools
from kindloop.config import Config
from kindloop.errors import ConfigError, RolloutFailed
from kindloop.manifests import Ref

LABEL = "kindloop.environment"
IMAGE = "kindloop.local/mine/petstore:0123456789abcdef"


@pytest.fixture
def config(tmp_path: Path, repo: Path) -> Config:
    """Another checkout with a copy of this repository's manifests, for the environment `mine`."""
    shutil.copytree(repo / "k8s", tmp_path / "k8s")
    return Config(path=tmp_path / "kindloop.yaml", name="mine", core=tmp_path / "k8s/core")


def _folders(config: Config) -> list[Path]:
    """Every folder of ours that `kubectl apply -k` can be used with, the core first."""
    k8s = config.root / "k8s"
    found = sorted(p.parent for p in k8s.glob("*/kustomization.yaml"))
    assert {k8s / "core", k8s / "app", k8s / "observability"} == set(found)
    return sorted(found, key=lambda p: p.name != "core")


def _render(config: Config, *folders: Path) -> list[dict[str, Any]]:
    return manifests.render(config, list(folders) or _folders(config), {"petstore": IMAGE})


def _one(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def test_overlay() -> None:
    assert manifests.overlay(
        ["../core", "../app"],
        namespace="mine",
        images={"web": "localhost:5000/x/web:t1", "api": "kindloop.local/mine/api:t2"},
        label="mine",
    ) == {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "mine",
        "resources": ["../core", "../app"],
        "images": [
            {"name": "api", "newName": "kindloop.local/mine/api", "newTag": "t2"},
            {"name": "web", "newName": "localhost:5000/x/web", "newTag": "t1"},
        ],
        "labels": [
            {
                "pairs": {LABEL: "mine"},
                "includeSelectors": False,
                "includeTemplates": True,
            }
        ],
    }


def test_every_object_is_of_this_environment(config: Config) -> None:
    documents = _render(config)
    namespaces = [d["metadata"]["name"] for d in documents if d["kind"] == "Namespace"]
    assert namespaces == ["mine"]
    cluster_scoped = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    homes = {d["metadata"].get("namespace") for d in documents if d["kind"] not in cluster_scoped}
    assert homes == {"mine"}


def test_every_object_and_every_pod_has_our_label(config: Config) -> None:
    documents = _render(config)
    assert {d["metadata"]["labels"].get(LABEL) for d in documents} == {"mine"}
    templates = [d["spec"]["template"] for d in documents if "template" in d.get("spec", {})]
    assert templates != []
    assert {t["metadata"]["labels"].get(LABEL) for t in templates} == {"mine"}


def test_our_label_is_in_no_selector(config: Config) -> None:
    """A Deployment's selector cannot be changed later: the name of an environment is not in it."""
    deployment = _one(_render(config), "Deployment", "petstore")
    assert deployment["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": "petstore"}


def test_the_image_is_the_built_one(config: Config) -> None:
    pod = _one(_render(config), "Deployment", "petstore")["spec"]["template"]["spec"]
    assert [c["image"] for c in pod["containers"]] == [IMAGE]


def test_another_environment_differs_in_its_name_only(config: Config) -> None:
    ours = yaml.safe_dump(_render(config))
    theirs = yaml.safe_dump(_render(replace(config, name="theirs")))
    assert ours.replace(": mine\n", ": theirs\n") == theirs


@pytest.mark.parametrize("folder", ["app", "core"])
def test_each_folder_works_with_plain_kubectl(repo: Path, folder: str) -> None:
    plain = tools.run("kubectl", "kustomize", repo / "k8s" / folder).stdout
    documents = list(yaml.safe_load_all(plain))
    assert documents != []
    for document in documents:
        home = document["metadata"].get("namespace", document["metadata"]["name"])
        assert home == "brrtrouter-dev"
        assert LABEL not in document["metadata"].get("labels", {})


def test_the_workload_is_named_as_the_configuration_names_it(config: Config) -> None:
    deployment = _one(_render(config), "Deployment", "petstore")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def _folder(config: Config, **files: str) -> Path:
    folder = config.root / "more"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: extra\n"


def test_a_folder_without_kustomization_is_applied_whole(config: Config) -> None:
    folder = _folder(config, one=CONFIG_MAP, two=CONFIG_MAP.replace("extra", "second"))
    documents = _render(config, folder)
    assert {(d["metadata"]["name"], d["metadata"]["namespace"]) for d in documents} == {
        ("extra", "mine"), ("second", "mine"),
    }  # fmt: skip
    assert sorted(p.name for p in folder.iterdir()) == ["one.yaml", "two.yaml"]


def test_rendering_again_forgets_what_was_there(config: Config) -> None:
    folder = _folder(config, one=CONFIG_MAP, two=CONFIG_MAP.replace("extra", "second"))
    _render(config, folder)
    (folder / "two.yaml").unlink()
    assert [d["metadata"]["name"] for d in _render(config, folder)] == ["extra"]


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n",
        "kind: ConfigMap\nmetadata: {name: x}\n",
        "just a sentence\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: x\n",
    ],
)
def test_what_is_no_manifest_is_exit_2_and_names_the_file(config: Config, text: str) -> None:
    folder = _folder(config, good=CONFIG_MAP, broken=text)
    with pytest.raises(ConfigError) as raised:
        _render(config, config.root / "k8s/app", folder)
    assert raised.value.exit_code == 2
    said = str(raised.value)
    assert "broken.yaml" in said
    assert "good.yaml" not in said


def test_a_listed_file_that_is_missing_is_exit_2_and_named(config: Config) -> None:
    (config.root / "k8s/app/service.yaml").unlink()
    with pytest.raises(ConfigError) as raised:
        _render(config)
    assert "service.yaml" in str(raised.value)


def test_an_empty_folder_is_exit_2_and_named(config: Config) -> None:
    folder = _folder(config)
    with pytest.raises(ConfigError, match=f"{folder.name} holds no manifests") as raised:
        _render(config, folder)
    assert raised.value.exit_code == 2


def test_refs_of_what_is_rendered(config: Config) -> None:
    found = manifests.refs(_render(config))
    assert Ref("Namespace", "", "mine") in found
    assert Ref("Deployment.apps", "mine", "petstore") in found
    assert Ref("Service", "mine", "petstore") in found
    assert found == sorted(set(found))


def test_refs_tell_groups_apart_and_not_versions() -> None:
    def document(api: str) -> dict[str, Any]:
        return {"apiVersion": api, "kind": "Ingress", "metadata": {"name": "x", "namespace": "n"}}

    apis = ["networking.k8s.io/v1", "networking.k8s.io/v1beta1", "example.com/v1"]
    assert manifests.refs(document(a) for a in apis) == [
        Ref("Ingress.example.com", "n", "x"),
        Ref("Ingress.networking.k8s.io", "n", "x"),
    ]


NAMESPACE, SERVICE = Ref("Namespace", "", "mine"), Ref("Service", "mine", "petstore")
OLD, ROLE = Ref("ConfigMap", "mine", "old"), Ref("ClusterRole.rbac.authorization.k8s.io", "", "r")


@pytest.mark.parametrize(
    ("recorded", "wanted", "stale"),
    [
        ([], [SERVICE], []),
        ([SERVICE, OLD], [SERVICE], [OLD]),
        ([SERVICE], [SERVICE, OLD], []),
        ([NAMESPACE, SERVICE], [], [SERVICE]),  # a namespace would take everything with it
        ([ROLE, OLD, NAMESPACE], [NAMESPACE], [ROLE, OLD]),
        ([OLD], [replace(OLD, namespace="other")], [OLD]),
        ([OLD, OLD], [], [OLD]),
    ],
)
def test_stale_refs(recorded: list[Ref], wanted: list[Ref], stale: list[Ref]) -> None:
    assert manifests.stale_refs(recorded, wanted) == stale


def test_the_inventory_is_read_back_as_it_was_written(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [NAMESPACE, SERVICE, OLD, ROLE]
    written = manifests._inventory_object(config, "kept", refs)["data"]["objects"]
    said = tools.Result(("kubectl",), 0, written, "", 0.0)
    monkeypatch.setattr(manifests.cluster, "kubectl", lambda *_a, **_k: said)
    assert manifests._recorded(config, "kept") == refs


def test_components_and_files_of_config_maps_of_an_overlay() -> None:
    made = manifests.overlay(
        ["../a"],
        namespace="mine",
        images={},
        label="mine",
        components=["../sizes"],
        config_maps={"settings": ["b.yml", "a.yml"]},
    )
    assert made["components"] == ["../sizes"]
    assert made["configMapGenerator"] == [
        {"name": "settings", "behavior": "merge", "files": ["a.yml", "b.yml"]}
    ]


def test_a_file_of_a_config_map_is_replaced_and_its_name_with_it(config: Config) -> None:
    folder = config.root / "k8s/observability/prometheus"
    plain = manifests.render(config, [folder], {})
    text = "global: {}\n"
    other = manifests.render(
        config, [folder], {}, config_maps={"prometheus": {"prometheus.yml": text}}
    )
    names = []
    for documents in (plain, other):
        (found,) = [d for d in documents if "prometheus.yml" in d.get("data", {})]
        names.append(found["metadata"]["name"])
        pod = _one(documents, "Deployment", "prometheus")["spec"]["template"]["spec"]
        assert {"name": found["metadata"]["name"]} in [v.get("configMap") for v in pod["volumes"]]
    assert found["data"] == {"prometheus.yml": text}
    assert names[0] != names[1]


class Cluster:
    """What `apply_set` says to kubectl, and an inventory that it finds."""

    def __init__(self, recorded: str) -> None:
        self.recorded = recorded
        self.deleted: list[str] = []
        self.inventory: dict[str, Any] = {}

    def kubectl(self, _config: Config, *words: str, **options: Any) -> tools.Result:
        said = ""
        match words:
            case ("get", "configmap", *_):
                said = self.recorded
            case ("get", *_):
                said = "mine"  # the label that says it is ours
            case ("delete", kind, name, *_):
                self.deleted.append(f"{kind}/{name}")
            case ("apply", *_):
                items = json.loads(options["stdin"])["items"]
                self.inventory = items[-1]
        return tools.Result(words, 0, said, "", 0.0)


@pytest.mark.parametrize(
    ("prune", "deleted", "listed"),
    [
        (True, ["Deployment.apps/old"], ["ConfigMap mine new", "PersistentVolumeClaim mine data"]),
        (
            False,
            [],
            ["ConfigMap mine new", "Deployment.apps mine old", "PersistentVolumeClaim mine data"],
        ),
    ],
)
def test_a_set_keeps_its_data_and_without_prune_everything(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    prune: bool,
    deleted: list[str],
    listed: list[str],
) -> None:
    fake = Cluster("Deployment.apps mine old\nPersistentVolumeClaim mine data\n")
    monkeypatch.setattr(manifests.cluster, "kubectl", fake.kubectl)
    new = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "new", "namespace": "mine"},
    }
    manifests.apply_set(config, [new], "own", kept=("PersistentVolumeClaim",), prune=prune)
    assert fake.deleted == deleted
    assert fake.inventory["metadata"]["name"] == "own"
    assert fake.inventory["data"]["objects"].splitlines() == listed


def test_manifests_without_a_namespace_get_the_environments() -> None:
    config_map = yaml.safe_load(CONFIG_MAP)
    first, second = manifests.with_namespace([config_map], "mine")
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "mine")
    assert second is config_map
    assert manifests.with_namespace([first, second], "mine") == [first, second]


LEFT = (
    'The Deployment "web" is invalid: spec.strategy.rollingUpdate: Forbidden: may not be '
    "specified when strategy `type` is 'Recreate'\n"
)


class Api:
    """An API server that has a Deployment with the defaults of a rolling update."""

    def __init__(self, *, refuses: str = LEFT, heals: bool = True) -> None:
        self.refuses, self.heals, self.calls = refuses, heals, list[tuple[str, ...]]()

    def kubectl(self, _: Config, *argv: str, **_settings: Any) -> tools.Result:
        self.calls.append(argv)
        if argv[0] == "patch" and self.heals:
            self.refuses = ""
        failed = argv[0] == "apply" and self.refuses
        return tools.Result(argv, int(bool(failed)), "applied\n", self.refuses if failed else "", 0)


def _recreated(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "mine"},
        "spec": {"strategy": {"type": "Recreate"}},
    }


def test_what_the_api_server_filled_in_itself_does_not_stop_a_swap_from_coming(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server-side apply cannot take it back: a workload that gets a swap would be refused."""
    api = Api()
    monkeypatch.setattr(manifests.cluster, "kubectl", api.kubectl)
    rolling = {**_recreated("other"), "spec": {}}
    documents = [yaml.safe_load(CONFIG_MAP), rolling, _recreated("web")]
    assert manifests._apply(config, documents) == ["applied"]
    assert [call[0] for call in api.calls] == ["apply", "patch", "apply"]
    patch = api.calls[1]
    assert patch[1:3] == ("deployment", "web")
    assert "--namespace=mine" in patch
    assert '--patch={"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}' in patch


@pytest.mark.parametrize(
    ("api", "calls"),
    [
        (Api(refuses="The Deployment is invalid: spec.replicas: Invalid value\n"), ["apply"]),
        (Api(heals=False), ["apply", "patch", "apply"]),
    ],
    ids=["another reason", "it does not help"],
)
def test_what_is_refused_all_the_same_is_told(
    config: Config, monkeypatch: pytest.MonkeyPatch, api: Api, calls: list[str]
) -> None:
    monkeypatch.setattr(manifests.cluster, "kubectl", api.kubectl)
    with pytest.raises(RolloutFailed, match="refused a manifest") as raised:
        manifests._apply(config, [_recreated("web")])
    assert raised.value.evidence == (api.refuses.strip(),)
    assert [call[0] for call in api.calls] == calls
