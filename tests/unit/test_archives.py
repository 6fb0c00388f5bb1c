"""What an image of an archive is for, and what goes into one."""

from __future__ import annotations

from typing import Any

import pytest

from kindloop import archives, bake
from kindloop.archives import Loaded

PLATFORM = "linux/amd64"
NODE = "kindloop/node:v1-aaaa"
KNOWN = {
    "node": [NODE],
    "prometheus": [bake.component_reference("prometheus"), "prom/prometheus:v3.1.0"],
    "grafana": ["grafana/grafana:13.2.3"],
    "petstore": ["kindloop.local/mine/petstore:1"],
}
GRAFANA: dict[str, Any] = {
    "Entrypoint": ["/run.sh"],
    "Env": ["PATH=/usr/share/grafana/bin:/usr/bin", "GF_PATHS_HOME=/usr/share/grafana"],
    "ExposedPorts": {"3000/tcp": {}},
}


def _judge(reference: str, config: dict[str, Any] | None = None, arch: str = "amd64") -> Loaded:
    image = {"Loaded": reference, "Os": "linux", "Architecture": arch, "Config": config or {}}
    return archives.judge(image, KNOWN, "mine", PLATFORM)


@pytest.mark.parametrize(
    ("reference", "purpose"),
    [
        (NODE, "the cluster's node"),
        (bake.component_reference("prometheus"), "prometheus of the observability stack"),
        ("prom/prometheus:v3.1.0", "prometheus of the observability stack"),
        ("kindloop.local/mine/petstore:1", "workload petstore, while its binary and files are the same"),
    ],
)  # fmt: skip
def test_what_this_environment_uses_is_told(reference: str, purpose: str) -> None:
    assert _judge(reference) == Loaded(reference, purpose)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("kindloop/node:v1-bbbb", "another version of kindloop"),
        ("kindloop.local/jaeger:000000000000", "another version of kindloop"),
        ("kindloop.local/theirs/petstore:1", "environment theirs"),
        ("kindloop.local/mine/gone:1", "no workload of kindloop.yaml"),
        ("busybox:latest", "nothing of kindloop uses it"),
        ("prom/prometheus:v2.0.0", "nothing of kindloop uses it"),
    ],
)
def test_what_is_of_no_use_is_told_with_the_reason(reference: str, why: str) -> None:
    one = _judge(reference)
    assert (one.purpose, one.component) == ("", "")
    assert why in one.useless


def test_an_image_of_another_architecture_is_of_no_use_whatever_its_name() -> None:
    assert (
        _judge(NODE, arch="arm64").useless == f"it is for linux/arm64, this engine runs {PLATFORM}"
    )
    assert _judge("grafana/grafana:13.2.3", GRAFANA, arch="arm64").component == ""


@pytest.mark.parametrize(
    "reference",
    [
        "grafana/grafana:13.2.3", "grafana/grafana:9.5.21", "grafana/grafana:latest",
        "grafana/grafana-oss:11.0.0-ubuntu", "grafana/grafana-enterprise:12.1.0",
        "grafana/grafana-oss-dev:12.0.0-1", "registry.example:5000/mirror/grafana:11.1.0",
    ],
)  # fmt: skip
def test_grafana_is_known_by_its_repository_whatever_registry_and_tag(reference: str) -> None:
    one = _judge(reference, GRAFANA)
    assert (one.component, one.purpose) == ("grafana", "grafana of the observability stack")


@pytest.mark.parametrize(
    "reference", ["grafana/grafana-image-renderer:3", "grafana/loki:3", "me/grafana-x:1"]
)
def test_what_else_grafana_labs_publish_is_not_it(reference: str) -> None:
    assert _judge(reference, GRAFANA).component == ""


@pytest.mark.parametrize(
    "config",
    [
        {"Entrypoint": ["/run.sh"]},
        {"Entrypoint": ["/usr/share/grafana/bin/grafana", "server"]},
        {"Cmd": ["grafana-server"], "Entrypoint": None},
        {"Env": ["GF_PATHS_DATA=/var/lib/grafana"]},
        {"ExposedPorts": {"3000/tcp": {}}},
    ],
)
def test_any_of_grafanas_settings_is_enough(config: dict[str, Any]) -> None:
    assert _judge("grafana/grafana:1", config).component == "grafana"


@pytest.mark.parametrize("config", [{}, {"Entrypoint": ["/bin/sh"], "Env": ["PATH=/bin"]}])
def test_what_only_has_grafanas_name_is_of_no_use(config: dict[str, Any]) -> None:
    one = _judge("grafana/grafana:13.2.3", config)
    assert (one.purpose, one.component) == ("", "")
    assert one.useless == "it is named grafana, but does not start Grafana"


def test_grafana_without_a_name_is_known_by_its_settings() -> None:
    assert _judge("sha256:1234", GRAFANA).component == "grafana"
    assert _judge("sha256:1234", {"Entrypoint": ["/bin/sh"]}).purpose == ""
