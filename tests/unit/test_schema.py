"""The JSON Schema of kindloop.yaml: what it takes and refuses is what loading takes and refuses."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kindloop import config, loading, schema
from kindloop._checks import range_of
from kindloop.errors import ConfigError

FULL: dict[str, Any] = {
    "version": 1,
    "name": "one",
    "app": {"root": "app"},
    "cluster": {
        "node_image": "auto", "config": "file", "ports": {"petstore": 8081, "grafana": "off"},
        "port_offset": 0, "wait_s": 90,
    },
    "profile": "loop",
    "secrets": ["TOKEN"],
    "core": "app",
    "stages": {
        "one": {
            "run": "cargo build", "inputs": ["src"], "outputs": ["{target}/one"], "needs": ["two"],
            "env": {"A": "b"}, "env_inputs": ["HOME"], "tools": ["cargo"], "label": "build",
            "platform": "cluster", "timeout_s": 10, "on_newer": "cancel",
        },
        "two": {"run": "true", "built_by": "one"},
    },
    "workloads": {
        "one": {
            "image": {
                "dockerfile": "file", "artifact": "one", "base": "auto",
                "files": [{"from": "a", "to": "b"}],
            },
            "manifests": "app", "url": "http://127.0.0.1:{ports.petstore}", "health": "/health",
            "openapi": "file", "ready_s": 10, "label": "app",
            "swap": {
                "artifact": "one", "args": ["--x"], "env": {"RUST_LOG": "info"},
                "transport": "auto", "grace_ms": 10, "probation_ms": 200, "rollback": True,
            },
            "sync": [{"from": "c", "to": "d", "on_change": "none"}],
        }
    },
    "watch": {"quiet_ms": 10, "cap_ms": 100, "on_up": False},
    "observability": "off",
    "resources": "high",
    "scrape_s": 5,
    "stack": "app",
    "load": {
        "low": {
            "users": 1, "hatch_rate": 0.5, "run_time_s": 1, "max_p95_ms": 10,
            "max_error_ratio": 0.1, "min_rps": 0,
        }
    },
}  # fmt: skip
"""Every setting there is; a test compares."""
Place = tuple[str | int, ...]


class Yaml12(yaml.SafeLoader):
    """As YAML 1.2 reads it, and with it editors: only true and false are truth values."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":bool")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


@pytest.fixture(scope="module")
def validator() -> Any:
    document = schema.document()
    jsonschema.Draft7Validator.check_schema(document)
    return jsonschema.Draft7Validator(document)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


def loads(folder: Path, document: Any) -> bool:
    text = yaml.safe_dump(document, sort_keys=False).replace("'off'", "off")
    (folder / "kindloop.yaml").write_text(text)
    try:
        loading.load(folder / "kindloop.yaml", env={})
    except ConfigError:
        return False
    return True


def places(node: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value in the document, with its keys."""
    yield at, node
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in items:
        yield from places(value, (*at, key))


def put(at: Place, value: Any) -> Any:
    """FULL with `value` at this place."""
    if not at:
        return value
    whole = copy.deepcopy(FULL)
    node = whole
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = value
    return whole


def leaves() -> list[Place]:
    return [at for at, value in places(FULL) if not isinstance(value, dict | list)]


def _of(at: Place) -> Any:
    return next(value for place, value in places(FULL) if place == at)


def objects() -> list[Place]:
    """Mappings with fixed keys; the others have names that the user gives."""
    free = {"stages", "workloads", "load", "env"}
    return [at for at, v in places(FULL) if isinstance(v, dict) and (not at or at[-1] not in free)]


def test_the_example_of_these_tests_has_every_setting() -> None:
    named = {at[-1] for at, _ in places(FULL) if at}
    classes = [c for c in vars(config).values() if dataclasses.is_dataclass(c)]
    fields = {f.name for c in classes for f in dataclasses.fields(c)} - {"path", "name", "source"}
    assert fields <= named


def test_the_example_is_taken_by_both(validator: Any, folder: Path) -> None:
    assert loads(folder, FULL)
    assert [e.message for e in validator.iter_errors(FULL)] == []


@pytest.mark.parametrize("name", ["kindloop.yaml", "examples/brrtrouter/kindloop.yaml"])
def test_our_own_files_are_right(validator: Any, repo: Path, name: str) -> None:
    document = yaml.load((repo / name).read_text(), Loader=Yaml12)
    assert [e.message for e in validator.iter_errors(document)] == []


@pytest.mark.parametrize("at", objects(), ids=str)
def test_an_unknown_key_is_refused_by_both(validator: Any, folder: Path, at: Place) -> None:
    wrong = put((*at, "nonsense"), 1)
    assert not loads(folder, wrong)
    assert not validator.is_valid(wrong)


@pytest.mark.parametrize("at", [*leaves(), *objects()], ids=str)
@pytest.mark.parametrize("value", [["a", {"b": "c"}], {"nonsense": {"x": 1}}], ids=str)
def test_a_wrong_type_is_refused_by_both(
    validator: Any, folder: Path, at: Place, value: Any
) -> None:
    wrong = put(at, value)
    assert not loads(folder, wrong)
    assert not validator.is_valid(wrong)


@pytest.mark.parametrize("at", [*leaves(), *objects()], ids=str)
@pytest.mark.parametrize("value", ["text", 1.5, True, -1, None], ids=str)
def test_what_the_schema_refuses_loading_refuses(
    validator: Any, folder: Path, at: Place, value: Any
) -> None:
    """The other way round it is not so: what a value must be is more than its type."""
    other = put(at, value)
    assert validator.is_valid(other) or not loads(folder, other)


@pytest.mark.parametrize("at", [at for at in leaves() if not isinstance(_of(at), str)], ids=str)
def test_text_is_no_number_and_no_truth_value(validator: Any, folder: Path, at: Place) -> None:
    wrong = put(at, "text")
    assert not loads(folder, wrong)
    assert not validator.is_valid(wrong)


@pytest.mark.parametrize(
    "key", ["version", "stages/one/run", "workloads/one/image", "load/low/users"]
)
def test_a_missing_key_is_refused_by_both(validator: Any, folder: Path, key: str) -> None:
    whole = copy.deepcopy(FULL)
    *way, last = key.split("/")
    node = whole
    for step in way:
        node = node[step]
    del node[last]
    assert not loads(folder, whole)
    assert not validator.is_valid(whole)


def test_limits_are_those_of_loading(validator: Any, folder: Path) -> None:
    seen = 0
    for at in leaves():
        for limit, beyond in zip(range_of(at), (-1, 1), strict=True):
            if limit is None:
                continue
            seen += 1
            kind = type(_of(at))
            outside = put(at, kind(limit + beyond) if kind is int else limit + beyond)
            assert not loads(folder, outside), at
            assert not validator.is_valid(outside), at
            assert validator.is_valid(put(at, limit)), at
    assert seen > 15


def test_every_setting_is_described() -> None:
    document = schema.document()
    bare = [name for name, each in _properties(document) if not each.get("description")]
    # What is a list of named things says it in its items.
    assert set(bare) == {"version", "stages", "workloads", "load"}


def _properties(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    inner = node.get("properties")
    if inner is None:
        for each in node.get("anyOf", ()):
            yield from _properties(each, at)
        if isinstance(each := node.get("additionalProperties"), dict):
            yield from _properties(each, f"{at}*.")
        return
    for name, each in inner.items():
        if at != "cluster.ports.":
            yield f"{at}{name}", each
            yield from _properties(each, f"{at}{name}.")


def test_a_description_is_the_text_below_the_field() -> None:
    found = dict(_properties(schema.document()))
    assert found["scrape_s"]["description"].startswith("Seconds (1 to 300) between two looks")
    assert found["scrape_s"]["default"] == config.Config.scrape_s
    assert "absolute" not in found["workloads.*.image.dockerfile"]["description"]
    assert "Relative to this file" in found["workloads.*.image.dockerfile"]["description"]
