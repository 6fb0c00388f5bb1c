"""Which values are secret: from kindloop.yaml, its variables and its manifests, also broken ones."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from kindloop import loading, report, secrecy
from kindloop.config import Config
from kindloop.errors import ConfigError

FILE = """\
version: 1
name: shop-dev
secrets: [TOKEN, DB_PASSWORD, IN_POD, IN_MAP, GENERATED, NOWHERE]
core: k8s/core
stages:
  shop:
    run: cargo build
    env: {DB_PASSWORD: 0123456789}
workloads:
  shop:
    image: {dockerfile: Dockerfile}
    manifests: ${PLACE}/app
    swap: {artifact: shop, env: {TOKEN: token-of-the-swap, LEVEL: info}}
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: shop}
stringData: {plain: string-data-value, name: shop}
data:
  encoded: %s
  binary: /////w==
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    spec:
      containers:
        - name: shop
          env:
            - {name: IN_POD, value: value-in-the-pod}
            - {name: LEVEL, value: not-a-secret}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
data: {IN_MAP: value-in-the-map, OTHER: other-value}
"""
KUSTOMIZATION = """\
resources: [../base]
secretGenerator:
  - name: made
    literals: [key=literal-value, "quoted='quoted value'"]
    envs: [made.env]
    files: [pem=key.pem, other.pem]
configMapGenerator:
  - name: open
    literals: [GENERATED=generated-value, SHOWN=shown-value]
"""
ENV = {"PLACE": "k8s", "TOKEN": "token-of-the-shell", "NOTHING": "not-named"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    encoded = base64.b64encode(b"encoded-value").decode()
    files = {
        "kindloop.yaml": FILE,
        "Dockerfile": "",
        "k8s/core/secret.yaml": SECRET % encoded,
        "k8s/app/kustomization.yaml": KUSTOMIZATION,
        "k8s/app/made.env": "# not this\nline=value-of-a-line\n",
        "k8s/app/key.pem": "first-line-of-pem\nsecond-line-of-pem\n",
        "k8s/app/other.pem": "other-pem\n",
        "k8s/base/kustomization.yaml": "resources: [secret.yaml]\n",
        "k8s/base/secret.yaml": json.dumps(
            {
                "apiVersion": "v1",
                "kind": "List",
                "items": [{"kind": "Secret", "metadata": {}, "stringData": {"k": "in-a-list"}}],
            }
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def _values(project: Path) -> set[str]:
    found, _, _ = secrecy.look(project / "kindloop.yaml", ENV)
    return {one.value.strip() for one in found}


def test_every_place_is_looked_at(project: Path) -> None:
    encoded = base64.b64encode(b"encoded-value").decode()
    assert _values(project) - {""} == {
        *("token-of-the-shell", "token-of-the-swap", "0123456789"),
        *("string-data-value", "encoded-value", encoded, "/////w==", "shop"),
        *("value-in-the-pod", "value-in-the-map", "in-a-list"),
        *("literal-value", "quoted value", "value-of-a-line"),
        *("first-line-of-pem\nsecond-line-of-pem", "other-pem", "generated-value"),
    }


def test_learned_values_are_masked_and_names_of_the_project_are_not(
    project: Path, monkeypatch: pytest.MonkeyPatch, unmasked: None
) -> None:
    secrecy.learn({**ENV, "KINDLOOP_CONFIG": str(project / "kindloop.yaml")})
    assert report.masked("token-of-the-swap 0123456789") == "*** ***"
    assert report.masked("shop of shop-dev, not-named") == "shop of shop-dev, not-named"


def test_what_is_not_masked_is_told(project: Path) -> None:
    file = project / "kindloop.yaml"
    env = {**ENV, "TOKEN": "abc"}
    told = secrecy.doubts(file, env)
    assert (
        "TOKEN: the variable is shorter than 4 characters: it is masked behind its key only" in told
    )
    assert "secrets: NOWHERE is set nowhere: there is nothing to mask" in told
    assert any(
        one.startswith("name of Secret shop in ")
        and one.endswith("a name of kindloop.yaml: it is not masked")
        for one in told
    )
    assert len(told) == 3


@pytest.mark.parametrize(
    ("old", "new", "known"),
    [
        ("version: 1", "version: 7", {"token-of-the-shell", "token-of-the-swap", "value-in-the-pod"}),
        ("core:", "core: [", {"token-of-the-shell", "token-of-the-swap", "0123456789"}),
    ],
    ids=["with mistakes", "no YAML"],
)  # fmt: skip
def test_a_broken_file_still_tells_its_secrets(
    project: Path, old: str, new: str, known: set[str]
) -> None:
    file = project / "kindloop.yaml"
    file.write_text(FILE.replace(old, new))
    with pytest.raises(ConfigError):
        loading.load(file, ENV)
    assert known <= _values(project)


@pytest.mark.parametrize(
    "text",
    [
        *("secrets: &a [*a]\nstages: *a", "name: &a {b: *a}\nsecrets: [X]", 'core: "a\\0b"'),
        f"core: {'a' * 300}",  # no file system takes such a name
    ],
)
def test_a_file_that_is_a_riddle_is_no_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "kindloop.yaml").write_text(text)
    secrecy.learn({"KINDLOOP_CONFIG": str(tmp_path / "kindloop.yaml")})


@pytest.mark.parametrize("text", ["", "[]", "secrets: 5\nstages: 3\nworkloads: {a: 1}\ncore: {}"])
def test_nothing_is_learned_of_what_is_no_kindloop_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "kindloop.yaml").write_text(text)
    found, _, names = secrecy.look(tmp_path / "kindloop.yaml", {})
    assert (found, names) == ([], [])
    assert secrecy.look(tmp_path / "none.yaml", {}) == ([], set(), [])


def test_objects_of_the_cluster_are_masked(unmasked: None) -> None:
    config = Config(Path("/p/kindloop.yaml"), name="shop-dev")
    data = {"a": base64.b64encode(b"live-secret-value").decode(), "ns": "c2hvcC1kZXY="}
    secrecy.mask_objects(config, [{"kind": "Secret", "metadata": {"name": "x"}, "data": data}])
    assert report.masked("live-secret-value in shop-dev") == "*** in shop-dev"
    assert report.masked(data["a"]) == "***"


@pytest.mark.parametrize(
    ("value", "why"),
    [("True", "is a word that stands everywhere"), ("5432", "is a number of few digits")],
)
def test_a_value_that_is_met_by_chance_is_told(project: Path, value: str, why: str) -> None:
    told = secrecy.doubts(project / "kindloop.yaml", {**ENV, "TOKEN": value})
    assert f"TOKEN: the variable {why}: it is masked behind its key only" in told


def test_few_digits_of_a_secret_are_masked_behind_its_key_and_not_in_ports(
    project: Path, unmasked: None
) -> None:
    """In a manifest, a variable, kindloop.yaml and the cluster alike."""
    manifest = project / "k8s/core/secret.yaml"
    manifest.write_text("kind: Secret\nmetadata: {name: db}\ndata: {port: NTQzMg==}\n")
    text = (project / "kindloop.yaml").read_text().replace("token-of-the-swap", "4711")
    (project / "kindloop.yaml").write_text(text)
    secrecy.learn({**ENV, "TOKEN": "2222", "KINDLOOP_CONFIG": str(project / "kindloop.yaml")})
    live = {"kind": "Secret", "metadata": {"name": "live"}, "data": {"size": "MTAwMA=="}}
    secrecy.mask_objects(Config(project / "kindloop.yaml"), [live])
    plain = "127.0.0.1:5432 took 4711 ms, 2222 of 1000 bytes"
    assert report.masked(plain) == plain
    for own in ("port: NTQzMg==", "DB_PORT=5432", "TOKEN: 4711", "TOKEN=2222", "size: 1000"):
        assert report.masked(own).endswith("***"), own


def test_the_key_to_the_cluster_is_masked(tmp_path: Path, unmasked: None) -> None:
    pem = "-----BEGIN RSA PRIVATE KEY-----\nbGluZS1vZi10aGUta2V5\n-----END RSA PRIVATE KEY-----\n"
    key = base64.b64encode(pem.encode()).decode()
    file = tmp_path / "kubeconfig"
    user = {"client-certificate-data": "Y2VydGlmaWNhdGU=", "client-key-data": key}
    users = [{"name": "a", "user": user}, {"name": "b", "user": {"token": "token-of-b"}}]
    file.write_text(json.dumps({"users": users}))
    secrecy.mask_kubeconfig(file)
    shown = json.loads(report.masked(file.read_text()))["users"]
    assert shown[0]["user"] == {**user, "client-key-data": "***"}
    assert shown[1]["user"] == {"token": "***"}
    assert "bGluZS1vZi10aGUta2V5" not in report.masked(pem)


@pytest.mark.parametrize("text", [None, "", "users: 5", "users: [{user: [}", "[]"])
def test_a_kubeconfig_that_is_none_is_no_traceback(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "kubeconfig").write_text(text)
    secrecy.mask_kubeconfig(tmp_path / "kubeconfig")


def test_a_name_in_the_settings_must_be_one_of_a_variable(project: Path) -> None:
    file = project / "kindloop.yaml"
    file.write_text("version: 1\nsecrets: [GOOD, bad-name]\n")
    with pytest.raises(ConfigError) as raised:
        loading.load(file, {})
    assert "2:17: secrets[1]: 'bad-name' is no name of a variable" in raised.value.evidence[0]
