"""kindloop.yaml as users write it, right and wrong: real files, exact lines and columns."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from kindloop import cargo, loading
from kindloop.config import (
    DEFAULT_PORTS,
    App,
    Cluster,
    Config,
    CopiedFiles,
    Image,
    Load,
    Stage,
    Swap,
    SyncedFiles,
    Watch,
    Workload,
)
from kindloop.errors import ConfigError
from kindloop.loading import find, load

FULL = """\
version: 1
name: brrtrouter-dev
app: {root: examples/petstore}
core: k8s/core
cluster: {config: k8s/cluster/kind.yaml, ports: {petstore: 8081, grafana: off}, wait_s: 90}
profile: release
stages:
  router:   {run: cargo build --lib, inputs: [router/src, Cargo.lock], label: build}
  generate: {run: cargo run, outputs: [pet_store/src], needs: [router], platform: host}
  petstore:
    run: >-
      cargo build --release
      -p pet_store
    inputs: [pet_store]
    outputs: ["{target}/pet_store"]
    needs: [generate]
    env: {RUST_LOG: 1, COLOR: no}
workloads:
  petstore:
    image:
      dockerfile: dockerfiles/Dockerfile.dev
      artifact: petstore
      files: [{from: pet_store/config, to: config}, {from: pet_store/doc, to: doc}]
    manifests: k8s/app
    url: http://127.0.0.1:{ports.petstore}
    openapi: examples/petstore/openapi.yaml
"""

SWAPPED = """\
version: 1
stages:
  web: {run: cargo build, outputs: ["{target}/web"], on_newer: finish}
workloads:
  w:
    image: {dockerfile: dockerfiles/Dockerfile.dev}
    manifests: k8s/app
    swap: {artifact: web}
"""

WORKLOAD = """\
version: 1
workloads:
  petstore:
    image: {dockerfile: dockerfiles/Dockerfile.dev}
    manifests: k8s/app
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with every folder and file that FULL names; the current folder."""
    for folder in ("examples/petstore", "k8s/core", "k8s/cluster", "k8s/app", "dockerfiles"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (
        "examples/petstore/openapi.yaml",
        "k8s/cluster/kind.yaml",
        "dockerfiles/Dockerfile.dev",
    ):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(checkout: Path, text: str, env: Mapping[str, str] | None = None) -> Config:
    (checkout / "kindloop.yaml").write_text(text, encoding="utf-8")
    return load(env=env or {}, start=checkout)


def fails(checkout: Path, text: str, env: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(checkout, text, env)
    assert caught.value.exit_code == 2
    return caught.value


def test_the_whole_file(checkout: Path) -> None:
    assert read(checkout, FULL) == Config(
        path=checkout / "kindloop.yaml",
        name="brrtrouter-dev",
        app=App(checkout / "examples/petstore"),
        cluster=Cluster(
            config=checkout / "k8s/cluster/kind.yaml",
            ports={**DEFAULT_PORTS, "petstore": 8081, "grafana": None},
            wait_s=90,
        ),
        profile="release",
        core=checkout / "k8s/core",
        stages={
            "router": Stage("router", "cargo build --lib", inputs=("router/src", "Cargo.lock")),
            "generate": Stage(
                "generate",
                "cargo run",
                outputs=("pet_store/src",),
                needs=("router",),
                platform="host",
            ),
            "petstore": Stage(
                "petstore",
                "cargo build --release -p pet_store",
                inputs=("pet_store",),
                outputs=("{target}/pet_store",),
                needs=("generate",),
                env={"RUST_LOG": "1", "COLOR": "no"},
            ),
        },
        workloads={
            "petstore": Workload(
                "petstore",
                Image(
                    checkout / "dockerfiles/Dockerfile.dev",
                    artifact="petstore",
                    files=(
                        CopiedFiles("pet_store/config", "config"),
                        CopiedFiles("pet_store/doc", "doc"),
                    ),
                ),
                manifests=checkout / "k8s/app",
                url="http://127.0.0.1:8081",
                openapi=checkout / "examples/petstore/openapi.yaml",
            )
        },
    )


def test_defaults_of_the_smallest_file(checkout: Path) -> None:
    assert read(checkout, "version: 1\n") == Config(checkout / "kindloop.yaml", app=App(checkout))


def test_settings_of_the_observability_stack(checkout: Path) -> None:
    text = "version: 1\nobservability: full\nresources: high\nscrape_s: 5\nstack: k8s/app\n"
    config = read(checkout, text)
    assert (config.observability, config.resources, config.scrape_s) == ("full", "high", 5)
    assert config.stack == checkout / "k8s/app"


def test_off_is_a_level_and_no_boolean(checkout: Path) -> None:
    assert read(checkout, "version: 1\nobservability: off\n").observability == "off"
    assert read(checkout, "version: 1\nobservability: 'off'\n").observability == "off"


def test_profiles_of_the_load_test(checkout: Path) -> None:
    text = (
        "version: 1\nload:\n  low: {users: 10, hatch_rate: 2, run_time_s: 30, max_p95_ms: 50,"
        " max_error_ratio: 0, min_rps: 100}\n"
        "  soak: {users: 5, hatch_rate: 0.5, run_time_s: 3600, max_p95_ms: 12.5,"
        " max_error_ratio: 0.001, min_rps: 0}\n"
    )
    assert read(checkout, text).load == {
        "low": Load("low", 10, 2.0, 30, 50.0, 0.0, 100.0),
        "soak": Load("soak", 5, 0.5, 3600, 12.5, 0.001, 0.0),
    }


class Row(NamedTuple):
    """A file, and what its mistakes must be told as: one line each, without the file's name."""

    name: str
    text: str
    told: tuple[str, ...]


def row(name: str, text: str, *told: str) -> Row:
    """A row whose text is the body below `version: 1`, which is line 1."""
    return Row(name, f"version: 1\n{text}\n", told)


def stage(body: str) -> str:
    return "stages:\n  a: {run: make, outputs: [x]}\n  b: " + body


MISTAKES = [
    Row("no version", "name: x\n", ("1:1: the key version is missing",)),
    Row("version 2", "version: 2\n", ("1:10: version: expected 1, found 2",)),
    Row("version is text", "version: '1.10'\n", ("1:10: version: expected 1, found 1.10",)),
    Row("1.10 is not 1.1", "version: 1.10\n", ("1:10: version: expected 1, found 1.10",)),
    Row("a list", "- version\n", ("1:1: expected a mapping, found a list",)),
    Row("only text", "hello\n", ("1:1: expected a mapping, found hello",)),
    Row(
        "a foreign tag",
        "version: 1\nname: !!python/name:os.system x\n",
        ("2:7: name: the tag tag:yaml.org,2002:python/name:os.system has no meaning",),
    ),
    row("unknown key", "nmae: x", "2:1: unknown key nmae (did you mean name?)"),
    row(
        "unknown key inside",
        stage("{run: x, need: [a]}"),
        "4:15: stages.b: unknown key need (did you mean needs?)",
    ),
    row(
        "unknown key, nothing near",
        "app: {xyz: .}",
        "2:7: app: unknown key xyz (known: root)",
    ),
    row(
        "the name is the key",
        stage("{run: x, name: c}"),
        "4:15: stages.b: unknown key name (known: run, inputs, outputs, needs, built_by, env, "
        "env_inputs, tools, label, platform, timeout_s, on_newer)",
    ),
    row(
        "the path is not a setting",
        "path: x",
        "2:1: unknown key path (did you mean watch?)",
    ),
    row("duplicate key", "name: a\nname: b", "3:1: duplicate key name (first: line 2)"),
    row(
        "duplicate stage",
        "stages:\n  a: {run: x}\n  a: {run: y}",
        "4:3: stages: duplicate key a (first: line 3)",
    ),
    row("key is a list", "? [a]\n: b", "2:3: a key must be text"),
    row("missing key", stage("{inputs: [x]}"), "4:3: stages.b: the key run is missing"),
    row(
        "missing keys in a list",
        "workloads:\n  w:\n    image:\n      dockerfile: dockerfiles/Dockerfile.dev\n"
        "      files:\n        - to: x\n    manifests: k8s/app",
        "7:11: workloads.w.image.files[0]: the key from is missing",
    ),
    row(
        "missing keys of a workload",
        "workloads:\n  w: {}",
        "3:3: workloads.w: the key image is missing",
        "3:3: workloads.w: the key manifests is missing",
    ),
    row(
        "observability that is no level",
        "observability: yes",
        "2:16: observability: expected off or minimal or full, found yes"
        " (known: off, minimal, full)",
    ),
    row(
        "observability that is a boolean",
        "observability: {on: true}",
        "2:16: observability: expected off or minimal or full, found a mapping (text that begins"
        " with { needs quotes)",
    ),
    row(
        "resources that are no level",
        "resources: hihg",
        "2:12: resources: expected minimal or normal or high, found hihg (did you mean high?)",
    ),
    row("scrape too slow", "scrape_s: 301", "2:11: scrape_s: expected 1 to 300, found 301"),
    row("no stack there", "stack: k8s/none", "2:8: stack: k8s/none does not exist"),
    row(
        "load without thresholds",
        "load:\n  low: {users: 0, hatch_rate: fast, run_time_s: 0}",
        "3:3: load.low: the key max_error_ratio is missing",
        "3:3: load.low: the key max_p95_ms is missing",
        "3:3: load.low: the key min_rps is missing",
        "3:16: load.low.users: expected 1 to 10000, found 0",
        "3:31: load.low.hatch_rate: expected a number, found fast",
        "3:49: load.low.run_time_s: expected 1 to 86400, found 0",
    ),
    row(
        "a share of errors in percent",
        "load:\n  a b: {users: 1, hatch_rate: 1e3, run_time_s: 1, max_p95_ms: 1, "
        "max_error_ratio: 1.5, min_rps: nan}",
        "3:3: load: 'a b' is no name: use letters, digits, dots, - and _",
        "3:31: load.a b.hatch_rate: expected a number, found 1e3",
        "3:83: load.a b.max_error_ratio: expected 0 to 1, found 1.5",
        "3:97: load.a b.min_rps: expected a number, found nan",
    ),
    row("list for text", "name: [x]", "2:7: name: expected text, found a list"),
    row("nothing for text", "name:", "2:6: name: expected text, found nothing"),
    row("null for text", "name: null", "2:7: name: expected text, found null"),
    row(
        "braces without quotes",
        stage("{run: {target}}"),
        "4:12: stages.b.run: expected text, found a mapping (text that begins with { needs quotes)",
    ),
    row(
        "text for list",
        stage("{run: x, needs: a}"),
        "4:22: stages.b.needs: expected a list, found a",
    ),
    row("text for mapping", "stages: x", "2:9: stages: expected a mapping, found x"),
    row("nothing for mapping", "stages:", "2:8: stages: expected a mapping, found nothing"),
    row(
        "text for number",
        "cluster: {wait_s: soon}",
        "2:19: cluster.wait_s: expected a whole number, found soon",
    ),
    row(
        "quoted number",
        'cluster: {wait_s: "90"}',
        '2:19: cluster.wait_s: expected a whole number, found the text "90"',
    ),
    row(
        "octal",
        "cluster: {wait_s: 0777}",
        "2:19: cluster.wait_s: expected a whole number, found 0777",
    ),
    row(
        "sexagesimal",
        "cluster: {wait_s: 1:30}",
        "2:19: cluster.wait_s: expected a whole number, found 1:30",
    ),
    row(
        "too many digits",
        f"cluster: {{wait_s: {'9' * 5000}}}",
        f"2:19: cluster.wait_s: expected a whole number, found {'9' * 37}...",
    ),
    row(
        "no time at all",
        "cluster: {wait_s: 0}",
        "2:19: cluster.wait_s: expected at least 1 second, found 0",
    ),
    row(
        "unknown profile",
        "profile: relaese",
        "2:10: profile: expected loop or release, found relaese (did you mean release?)",
    ),
    row(
        "unknown label",
        stage("{run: x, label: no}"),
        "4:22: stages.b.label: expected build or app or observability or tools, found no "
        "(known: build, app, observability, tools)",
    ),
    row(
        "name in capitals",
        "name: Dev",
        "2:7: name: 'Dev' is no name: use a-z, 0-9 and - between them",
    ),
    row(
        "name ends with -",
        "name: a-",
        "2:7: name: 'a-' is no name: use a-z, 0-9 and - between them",
    ),
    row(
        "name too long",
        f"name: {'a' * 41}",
        f"2:7: name: {'a' * 41} has 41 characters, at most 40 are possible",
    ),
    row(
        "stage name",
        "stages: {a/b: {run: x}}",
        "2:10: stages: 'a/b' is no name: use letters, digits, dots, - and _",
    ),
    row(
        "workload name",
        "workloads:\n  Pet_Store:\n    image: {dockerfile: dockerfiles/Dockerfile.dev}\n"
        "    manifests: k8s/app",
        "3:3: workloads: 'Pet_Store' is no name: use a-z, 0-9 and - between them",
    ),
    row(
        "empty command", stage("{run: ''}"), "4:12: stages.b.run: expected a command, found nothing"
    ),
    row(
        "open quote in a command",
        stage("{run: echo it's}"),
        "4:12: stages.b.run: cannot be split into words: no closing quotation",
    ),
    row(
        "a built_by that is no stage",
        "stages: {a: {run: x, built_by: c}, bb: {run: x, needs: [a]}}",
        "2:32: stages.a.built_by: unknown stage c (known: a, bb)",
    ),
    row(
        "a built_by that does not need it",
        "stages: {a: {run: x, built_by: b}, b: {run: x}}",
        "2:32: stages.a.built_by: b does not need a: add it to stages.b.needs",
    ),
    row(
        "a built_by, and another that needs it",
        "stages: {a: {run: x, built_by: b}, b: {run: x, needs: [a]}, c: {run: x, needs: [a]}}",
        "2:32: stages.a.built_by: c needs a too, so it has to run by itself",
    ),
    row(
        "a built_by of a stage with outputs",
        "stages: {a: {run: x, built_by: b, outputs: [o]}, b: {run: x, needs: [a]}}",
        "2:32: stages.a.built_by: a has outputs, which only its own command makes",
    ),
    row(
        "a built_by of another platform",
        "stages: {a: {run: x, built_by: b}, b: {run: x, needs: [a], platform: host}}",
        "2:32: stages.a.built_by: a is built for the cluster, b for the host",
    ),
    row(
        "a chain of built_by",
        "stages: {a: {run: x, built_by: b}, b: {run: x, needs: [a], built_by: c}, "
        "c: {run: x, needs: [b]}}",
        "2:32: stages.a.built_by: b has a built_by of its own",
    ),
    row(
        "unknown need",
        "stages:\n  router: {run: x}\n  b: {run: x, needs: [router, ruter]}",
        "4:31: stages.b.needs[1]: unknown stage ruter (did you mean router?)",
    ),
    row(
        "empty need",
        stage("{run: x, needs: ['']}"),
        "4:23: stages.b.needs[0]: unknown stage  (known: a, b)",
    ),
    row("needs itself", stage("{run: x, needs: [b]}"), "4:23: stages: cycle b -> b"),
    row(
        "cycle of two",
        "stages:\n  b: {run: x}\n  a: {run: x, needs: [c]}\n  c: {run: x, needs: [b, a]}",
        "4:23: stages: cycle a -> c -> a",
    ),
    row(
        "cycle of three",
        "stages:\n  a: {run: x, needs: [b]}\n  b: {run: x, needs: [c]}\n  c: {run: x, needs: [a]}",
        "3:23: stages: cycle a -> b -> c -> a",
    ),
    row(
        "two cycles",
        "stages:\n  a: {run: x, needs: [a]}\n  b: {run: x, needs: [c]}\n  c: {run: x, needs: [b]}",
        "3:23: stages: cycle a -> a",
        "4:23: stages: cycle b -> c -> b",
    ),
    row(
        "placeholder in a command",
        stage("{run: 'cp {taget}/x {root}'}"),
        "4:12: stages.b.run: unknown placeholder {taget} (did you mean {target}?)",
    ),
    row(
        "port in outputs",
        stage("{run: x, outputs: ['{ports.petstore}']}"),
        "4:25: stages.b.outputs[0]: unknown placeholder {ports.petstore} (known: {target}, {root}, {here})",
    ),
    row(
        "placeholder where none is replaced",
        stage("{run: x, env: {A: '{target}/x'}}"),
        "4:24: stages.b.env.A: {target} is not replaced here",
    ),
    row(
        "unknown port",
        "cluster: {ports: {petstor: 1}}",
        "2:19: cluster.ports: unknown port petstor (did you mean petstore?)",
    ),
    row(
        "no is not off",
        "cluster: {ports: {grafana: no}}",
        "2:28: cluster.ports.grafana: expected a whole number or off, found no",
    ),
    row(
        "nothing for a port",
        "cluster: {ports: {grafana: }}",
        "2:27: cluster.ports.grafana: expected a whole number or off, found nothing",
    ),
    row(
        "off in quotes",
        "cluster: {ports: {grafana: 'off'}}",
        '2:28: cluster.ports.grafana: expected a whole number or off, found the text "off"',
    ),
    row(
        "port out of range",
        "cluster: {ports: {grafana: 65536, jaeger: 0}}",
        "2:28: cluster.ports.grafana: expected 1 to 65535, found 65536",
        "2:43: cluster.ports.jaeger: expected 1 to 65535, found 0",
    ),
    row(
        "equal ports",
        "cluster: {ports: {grafana: 9999, jaeger: 9999}}",
        "2:42: cluster.ports.jaeger: 9999 is also the port of grafana",
    ),
    row(
        "port of a default",
        "cluster: {ports: {petstore: 3000}}",
        "2:29: cluster.ports.petstore: 3000 is also the port of grafana (its default)",
    ),
    row(
        "offset out of range",
        "cluster: {port_offset: -1}",
        "2:24: cluster.port_offset: expected 0 to 10000, found -1",
    ),
    row(
        "port beyond the range when shifted",
        "cluster: {port_offset: 10000, ports: {grafana: 60000}}",
        "2:48: cluster.ports.grafana: 60000 + offset 10000 is over 65535",
    ),
    row("root is missing", "app: {root: nowhere}", "2:13: app.root: nowhere does not exist"),
    row(
        "root is a file",
        "app: {root: kindloop.yaml}",
        "2:13: app.root: kindloop.yaml is not a folder",
    ),
    row("core is missing", "core: k8s/cor", "2:7: core: k8s/cor does not exist"),
    row(
        "core is too long a name",
        f"core: {'c' * 300}",
        f"2:7: core: {'c' * 300} cannot be looked at: File name too long",
    ),
    row(
        "kind configuration is a folder",
        "cluster: {config: k8s/cluster}",
        "2:19: cluster.config: k8s/cluster is not a file",
    ),
    row(
        "paths of a workload",
        "workloads:\n  w:\n    image: {dockerfile: Dockerfile}\n    manifests: k8s/ap\n"
        "    openapi: o.yaml",
        "4:25: workloads.w.image.dockerfile: Dockerfile does not exist",
        "5:16: workloads.w.manifests: k8s/ap does not exist",
        "6:14: workloads.w.openapi: o.yaml does not exist",
    ),
    row(
        "a character no path can have",
        'core: "a\\0b"',
        "2:7: core: a\0b does not exist",
    ),
    row(
        "unset variable beside another mistake",
        "app:\n  root: ${BRRTROUTER_ROOT}/examples\ncore: no/core",
        "3:9: app.root: the environment variable BRRTROUTER_ROOT is not set",
        "4:7: core: no/core does not exist",
    ),
    Row(
        "url names a port that is off",
        WORKLOAD + "    url: http://127.0.0.1:{ports.grafana}\ncluster: {ports: {grafana: off}}\n",
        ("6:10: workloads.petstore.url: {ports.grafana} names a port that is off",),
    ),
    Row(
        "url names an unknown port",
        WORKLOAD + "    url: http://127.0.0.1:{ports.petstor}\n",
        (
            "6:10: workloads.petstore.url: unknown placeholder {ports.petstor} (did you mean {ports.petstore}?)",
        ),
    ),
    Row(
        "url is none, health neither",
        WORKLOAD + "    url: 127.0.0.1\n    health: health\n",
        (
            "6:10: workloads.petstore.url: expected a URL that begins with http:// or https://, found 127.0.0.1",
            "7:13: workloads.petstore.health: expected a path that begins with /, found health",
        ),
    ),
    row(
        "artifact of no stage",
        "stages:\n  petstore: {run: x, outputs: [x]}\nworkloads:\n  w:\n"
        "    image: {dockerfile: dockerfiles/Dockerfile.dev, artifact: petstor}\n"
        "    manifests: k8s/app",
        "6:63: workloads.w.image.artifact: unknown stage petstor (did you mean petstore?)",
    ),
    row(
        "a swap of no stage, without outputs, of two binaries, by the supervisor's name",
        "stages:\n  a: {run: x}\n  b: {run: x, outputs: [y]}\n"
        "  c: {run: x, outputs: ['{target}/supervisor']}\nworkloads:\n"
        "  u: {image: {dockerfile: dockerfiles/Dockerfile.dev}, manifests: k8s/app, swap: {artifact: d}}\n"
        "  v: {image: {dockerfile: dockerfiles/Dockerfile.dev}, manifests: k8s/app, swap: {artifact: a}}\n"
        "  w: {image: {dockerfile: dockerfiles/Dockerfile.dev, artifact: c}, manifests: k8s/app, swap: {artifact: b}}\n"
        "  x: {image: {dockerfile: dockerfiles/Dockerfile.dev}, manifests: k8s/app, swap: {artifact: c}}",
        "7:93: workloads.u.swap.artifact: unknown stage d (known: a, b, c)",
        "8:93: workloads.v.swap.artifact: the stage a has no outputs; the first is to be the binary",
        "9:65: workloads.w.image.artifact: swap.artifact is b: leave this out, it would be the same",
        "10:93: workloads.x.swap.artifact: the binary of c is called supervisor, as process 1 of the pod is",
    ),
    Row(
        "a swap without artifact",
        SWAPPED.replace("{artifact: web}", "{grace_ms: 1}"),
        ("8:5: workloads.w.swap: the key artifact is missing",),
    ),
    Row(
        "a swap that is text",
        SWAPPED.replace("{artifact: web}", "web"),
        ("8:11: workloads.w.swap: expected a mapping, found web",),
    ),
    Row(
        "times of a swap",
        SWAPPED.replace("web}\n", "web, grace_ms: 60001, probation_ms: 99}\n"),
        (
            "8:37: workloads.w.swap.grace_ms: expected 0 to 60000, found 60001",
            "8:58: workloads.w.swap.probation_ms: expected 100 to 600000, found 99",
        ),
    ),
    Row(
        "words of a swap",
        SWAPPED.replace("web}\n", "web, rollback: yes, transport: copy, args: x}\n"),
        (
            "8:37: workloads.w.swap.rollback: expected true or false, found yes",
            (
                "8:53: workloads.w.swap.transport: expected auto or mount or exec, found copy "
                "(known: auto, mount, exec)"
            ),
            "8:65: workloads.w.swap.args: expected a list, found x",
        ),
    ),
    Row(
        "variables of a swap",
        SWAPPED.replace(
            "web}\n", "web, env: {A-B: 1, KINDLOOP_PORT: 1, C: {d: e}, E: '{target}'}}\n"
        ),
        (
            "8:33: workloads.w.swap.env: 'A-B' is no name of a variable: use letters, digits and _",
            (
                "8:41: workloads.w.swap.env: KINDLOOP_PORT is the supervisor's own: "
                "it hands no KINDLOOP_ variable on"
            ),
            (
                "8:62: workloads.w.swap.env.C: expected text, found a mapping "
                "(text that begins with { needs quotes)"
            ),
            "8:73: workloads.w.swap.env.E: {target} is not replaced here",
        ),
    ),
    Row(
        "a quoted truth",
        SWAPPED + "watch: {on_up: 'true'}\n",
        ('9:16: watch.on_up: expected true or false, found the text "true"',),
    ),
    Row(
        "on_newer",
        SWAPPED.replace("finish", "wait"),
        (
            (
                "3:64: stages.web.on_newer: expected cancel or finish, found wait "
                "(known: cancel, finish)"
            ),
        ),
    ),
    Row(
        "where synced files cannot go",
        SWAPPED + "    sync:\n"
        "      - {from: a, to: /etc}\n      - {from: a, to: x/../..}\n      - {from: a, to: .}\n"
        "      - {from: a, to: ''}\n",
        tuple(
            f"{line}:23: workloads.w.sync[{line - 10}].to: "
            f"expected a path below the image's working directory, found {found}"
            for line, found in enumerate(("/etc", "x/../..", ".", "nothing"), 10)
        ),
    ),
    Row(
        "two things in one place",
        SWAPPED.replace("dev}", "dev, files: [{from: f, to: fix}, {from: g, to: fix/g}]}")
        + "    sync:\n"
        "      - {from: a, to: config}\n      - {from: a, to: config/}\n"
        "      - {from: a, to: ./config/deep}\n      - {from: a, to: fix/h}\n"
        "      - {from: a, to: supervisor}\n      - {from: a, to: web/x}\n"
        "      - {from: a, to: configs}\n",
        (
            "11:23: workloads.w.sync[1].to: config meets sync[0] (config)",
            "12:23: workloads.w.sync[2].to: config/deep meets sync[0] (config)",
            "13:23: workloads.w.sync[3].to: fix/h meets image.files[0] (fix)",
            "14:23: workloads.w.sync[4].to: supervisor meets the supervisor (supervisor)",
            "15:23: workloads.w.sync[5].to: web/x meets the binary (web)",
        ),
    ),
    Row(
        "a fixed file in a synced folder",
        SWAPPED.replace("    image: {dockerfile: dockerfiles/Dockerfile.dev}\n", "")
        + "    sync: [{from: a, to: config}]\n"
        "    image: {dockerfile: dockerfiles/Dockerfile.dev, files: [{from: f, to: config/f}, "
        "{from: f, to: web}]}\n",
        (
            "9:75: workloads.w.image.files[0].to: config/f meets sync[0] (config)",
            "9:100: workloads.w.image.files[1].to: web meets the binary (web)",
        ),
    ),
    Row(
        "synced files without a swap",
        WORKLOAD + "    sync: [{from: a, to: a}]\n",
        (
            (
                "6:5: workloads.petstore.sync: files are swapped with a binary; "
                "without a swap, image.files copies them"
            ),
        ),
    ),
    Row(
        "synced files beside a swap that is off",
        SWAPPED.replace("{artifact: web}", "off") + "    sync: [{from: a, to: a}]\n",
        (
            (
                "9:5: workloads.w.sync: files are swapped with a binary; "
                "without a swap, image.files copies them"
            ),
        ),
    ),
    Row(
        "a supervisor of one's own without outputs",
        SWAPPED.replace("stages:\n", "stages:\n  supervisor: {run: make}\n"),
        (
            (
                "3:3: stages.supervisor: it has no outputs; the first is to be the program that "
                "workloads with swap run"
            ),
        ),
    ),
    row(
        "when a batch ends",
        "watch: {quiet_ms: 0, cap_ms: 9}",
        "2:19: watch.quiet_ms: expected 1 to 5000, found 0",
    ),
    row(
        "a batch that ends before it is quiet",
        "watch: {quiet_ms: 50, cap_ms: 49}",
        "2:31: watch.cap_ms: a batch would end (49 ms) before it is quiet (50 ms)",
    ),
    row(
        "a batch that ends before it is quiet by default",
        "watch: {cap_ms: 9}",
        "2:17: watch.cap_ms: a batch would end (9 ms) before it is quiet (10 ms)",
    ),
    row(
        "a quiet time over the default of the cap",
        "watch: {quiet_ms: 1001}",
        "2:19: watch.quiet_ms: a batch would end (1000 ms) before it is quiet (1001 ms)",
    ),
    row(
        "artifact without outputs",
        "stages:\n  petstore: {run: x}\nworkloads:\n  w:\n"
        "    image: {dockerfile: dockerfiles/Dockerfile.dev, artifact: petstore}\n"
        "    manifests: k8s/app",
        "6:63: workloads.w.image.artifact: the stage petstore has no outputs; "
        "the first is to be the binary",
    ),
]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.name)
def test_a_mistake_is_told_with_its_place(checkout: Path, case: Row) -> None:
    error = fails(checkout, case.text)
    assert error.evidence == tuple(f"kindloop.yaml:{line}" for line in case.told)
    count = "1 mistake" if len(case.told) == 1 else f"{len(case.told)} mistakes"
    assert error.message == f"kindloop.yaml has {count}"
    first = case.told[0].split(":")[0]
    assert error.hint == f"edit kindloop.yaml:{first}, then run the command again"


def test_a_variable_that_alone_is_missing_is_what_to_do_next(checkout: Path) -> None:
    error = fails(checkout, "version: 1\napp: {root: '${APP}'}\ncore: ${APP}/core\n")
    assert error.evidence == (
        "kindloop.yaml:2:13: app.root: the environment variable APP is not set",
        "kindloop.yaml:3:7: core: the environment variable APP is not set",
    )
    assert error.hint == "export APP=PATH, then run the command again"


def test_all_mistakes_at_once_by_line(checkout: Path) -> None:
    error = fails(
        checkout,
        "stages:\n"
        "  a: {run: x, needs: [b, zz]}\n"
        "  b: {needs: [a], timeout_s: soon}\n"
        "  a: {run: y}\n"
        "app: {root: nowhere}\n"
        "nmae: X\n"
        "name: X\n"
        "version: 3\n",
    )
    assert error.message == "kindloop.yaml has 9 mistakes"
    assert error.evidence == (
        "kindloop.yaml:2:23: stages: cycle a -> b -> a",
        "kindloop.yaml:2:26: stages.a.needs[1]: unknown stage zz (known: a, b)",
        "kindloop.yaml:3:3: stages.b: the key run is missing",
        "kindloop.yaml:3:30: stages.b.timeout_s: expected a whole number, found soon",
        "kindloop.yaml:4:3: stages: duplicate key a (first: line 2)",
        "kindloop.yaml:5:13: app.root: nowhere does not exist",
        "kindloop.yaml:6:1: unknown key nmae (did you mean name?)",
        "kindloop.yaml:7:7: name: 'X' is no name: use a-z, 0-9 and - between them",
        "kindloop.yaml:8:10: version: expected 1, found 3",
    )


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param(b"", "1:1: the file is empty; it must begin with version: 1", id="empty"),
        pytest.param(
            b"# version: 1\n",
            "1:1: the file is empty; it must begin with version: 1",
            id="only a comment",
        ),
        pytest.param(
            b"version: 1\nstages:\n\trouter: x\n",
            "3:1: a tab indents this line; YAML takes spaces only "
            "(found character '\\t' that cannot start any token)",
            id="tab",
        ),
        pytest.param(
            b"version: 1\nname: a: b\n",
            "2:8: a colon where no key can stand: look at the indentation, or quote text that has "
            "a colon (mapping values are not allowed here)",
            id="colon",
        ),
        pytest.param(
            b"version: 1\nname\napp: {}\n",
            "3:1: a key without its colon (could not find expected ':')",
            id="key without colon",
        ),
        pytest.param(
            b"app:\n    root: x\n  other: y\n",
            "3:3: the indentation fits no line above "
            "(expected <block end>, but found '<block mapping start>')",
            id="indentation",
        ),
        pytest.param(
            b"stages: {a: {outputs: [{target}/x]}}\n",
            "1:32: a bracket is not closed here, or text with { or [ needs quotes "
            "(expected ',' or ']', but got '<scalar>')",
            id="placeholder without quotes",
        ),
        pytest.param(
            b'name: "a\n',
            "1:7: a quote is not closed (found unexpected end of stream)",
            id="open quote",
        ),
        pytest.param(
            b"version: 1\nstages: {a: {run: x}\n",
            "2:9: a bracket is not closed here, or text with { or [ needs quotes "
            "(expected ',' or '}', but got '<stream end>')",
            id="open bracket",
        ),
        pytest.param(
            b"version: 1\n---\nversion: 1\n",
            "2:1: a second document begins here; there must be one (but found another document)",
            id="two documents",
        ),
        pytest.param(
            b"name: *x\n",
            "1:7: an alias without its anchor (found undefined alias 'x')",
            id="alias",
        ),
        pytest.param(
            b"version: 1\nname: \xc3\xa9\xff\n", "2:8: a byte that is not UTF-8", id="not UTF-8"
        ),
        pytest.param(
            b"version: 1\nname: \x07\n",
            "2:7: a control character (special characters are not allowed)",
            id="control character",
        ),
        pytest.param(b"[" * 5000, "1:1: brackets nested too deep", id="nested too deep"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_place(checkout: Path, raw: bytes, told: str) -> None:
    (checkout / "kindloop.yaml").write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load(env={}, start=checkout)
    assert caught.value.exit_code == 2
    assert caught.value.message == "kindloop.yaml cannot be read as YAML"
    assert caught.value.evidence == (f"kindloop.yaml:{told}",)
    line, column = told.split(":")[:2]
    assert caught.value.hint == f"edit kindloop.yaml:{line}, then run the command again"
    assert int(column) >= 1


def test_words_that_yaml_1_1_takes_for_booleans_stay_text(checkout: Path) -> None:
    config = read(
        checkout, "version: 1\nname: no\nstages:\n  on: {run: yes, inputs: [1.10, 0777]}\n"
    )
    assert config.name == "no"
    assert config.stages == {"on": Stage("on", "yes", inputs=("1.10", "0777"))}


def test_every_setting_of_a_swap(checkout: Path) -> None:
    text = SWAPPED.replace(
        "{artifact: web}",
        "{artifact: web, args: [--port, 8080, ''], env: {RUST_LOG: info, N: 1, OFF: off},\n"
        "           transport: exec, grace_ms: 0, probation_ms: 600000, rollback: false}\n"
        "    sync:\n"
        "      - {from: web/config/, to: ./config/}\n"
        "      - {from: web/doc/a.yaml, to: doc/a.yaml, on_change: none}",
    )
    config = read(checkout, text + "watch: {quiet_ms: 5000, cap_ms: 5000, on_up: true}\n")
    workload = config.workloads["w"]
    # As written: neither numbers nor what YAML 1.1 takes for booleans.
    env = {"RUST_LOG": "info", "N": "1", "OFF": "off"}
    args = ("--port", "8080", "")
    assert workload.swap == Swap("web", args, env, "exec", 0, 600_000, rollback=False)
    assert workload.sync == (
        SyncedFiles("web/config/", "config"),
        SyncedFiles("web/doc/a.yaml", "doc/a.yaml", "none"),
    )
    assert config.watch == Watch(5000, 5000, on_up=True)
    assert config.stages["web"].on_newer == "finish"


def test_a_swap_says_what_the_binary_of_the_image_is(checkout: Path) -> None:
    assert read(checkout, SWAPPED).workloads["w"].image.artifact == "web"
    same = SWAPPED.replace("dev}", "dev, artifact: web}")
    assert read(checkout, same).workloads == read(checkout, SWAPPED).workloads


@pytest.mark.parametrize("word", ["off", "null", "~"])
def test_a_swap_that_is_off_is_none(checkout: Path, word: str) -> None:
    config = read(checkout, SWAPPED.replace("{artifact: web}", word))
    assert config.workloads["w"].swap is None
    assert set(config.stages) == {"web"}


def test_no_arguments_are_not_those_of_the_manifests(checkout: Path) -> None:
    def args(written: str) -> tuple[str, ...] | None:
        text = SWAPPED.replace("web}\n", f"web{written}}}\n")
        swap = read(checkout, text).workloads["w"].swap
        assert swap
        return swap.args

    assert (args(""), args(", args: off"), args(", args: []")) == (None, None, ())


@pytest.mark.parametrize("profile", ["loop", "release"])
def test_a_swap_brings_the_stage_of_the_supervisor(checkout: Path, profile: str) -> None:
    """In profile release as well: it is process 1 there, too."""
    config = read(checkout, SWAPPED, {"KINDLOOP_PROFILE": profile})
    assert list(config.stages) == ["web", "supervisor"]
    stage = config.stages["supervisor"]
    assert (stage.outputs, stage.platform, stage.label) == (
        ("{target}/supervisor",), "cluster", "tools",
    )  # fmt: skip
    words = shlex.split(stage.run)
    manifest = Path(words[words.index("--manifest-path") + 1])
    assert words[:2] == ["cargo", "build"]
    assert {"--release", "--locked"} <= set(words)
    assert manifest.is_absolute()
    assert set(stage.inputs) == {
        str(manifest.with_name(n)) for n in ("src", "Cargo.toml", "Cargo.lock")
    }
    # Whatever the profile of the service says, and however its loop is tuned.
    from_cargo = cargo.environment(cargo.Target("x"), config.profile, checkout, {})
    ours = {n for n in from_cargo if n.startswith(("CARGO_PROFILE", "CARGO_INCREMENTAL"))}
    assert ours <= set(stage.env)
    assert stage.env["CARGO_PROFILE_RELEASE_LTO"] == "fat"


def test_the_supervisors_sources_are_found_here(checkout: Path, repo: Path) -> None:
    stage = read(checkout, SWAPPED).stages["supervisor"]
    assert f"--manifest-path {repo}/supervisor/Cargo.toml" in stage.run


def test_the_supervisors_sources_of_a_wheel_come_first(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = checkout / "site packages" / "kindloop"
    (package / "data" / "supervisor").mkdir(parents=True)
    monkeypatch.setattr(loading, "__file__", str(package / "loading.py"))
    stage = read(checkout, SWAPPED).stages["supervisor"]
    assert shlex.split(stage.run)[-1] == f"{package}/data/supervisor/Cargo.toml"


def test_a_supervisor_of_ones_own_is_kept(checkout: Path) -> None:
    own = "stages:\n  supervisor: {run: make, outputs: [supervisor]}\n"
    config = read(checkout, SWAPPED.replace("stages:\n", own))
    assert config.stages["supervisor"] == Stage("supervisor", "make", outputs=("supervisor",))


def test_without_a_swap_there_is_no_supervisor(checkout: Path) -> None:
    assert "supervisor" not in read(checkout, FULL).stages


def test_the_repositorys_own_file(repo: Path) -> None:
    config = load(repo / "kindloop.yaml", env={})
    workload = config.workloads["petstore"]
    assert config.swaps(workload)
    assert config.stages["generate"].on_newer == "finish"
    assert [s.on_newer for s in config.stages.values()].count("finish") == 1
    for each in workload.sync:
        assert (config.app.root / each.source).exists()
    assert config.observability == "full"
    assert config.load["low"] == Load("low", 10, 2.0, 30, 50.0, 0.0, 100.0)
    assert {"low", "medium", "high"} <= set(config.load)


@pytest.mark.parametrize("word", ["off", "null", "~"])
def test_a_port_that_is_off(checkout: Path, word: str) -> None:
    ports = read(checkout, f"version: 1\ncluster: {{ports: {{jaeger: {word}}}}}\n").cluster.ports
    assert ports == {**DEFAULT_PORTS, "jaeger": None}


def test_two_defaults_can_trade_their_ports(checkout: Path) -> None:
    cluster = read(
        checkout, "version: 1\ncluster: {ports: {petstore: 3000, grafana: 8080}}\n"
    ).cluster
    assert cluster.host_ports() == {**DEFAULT_PORTS, "petstore": 3000, "grafana": 8080}


def test_anchors_are_shared(checkout: Path) -> None:
    config = read(checkout, "version: 1\nstages: {a: &s {run: make}, b: *s}\n")
    assert config.stages == {"a": Stage("a", "make"), "b": Stage("b", "make")}


def test_a_mistake_behind_an_anchor_is_told_once_per_use(checkout: Path) -> None:
    error = fails(checkout, "version: 1\nstages: {a: &s {run: ''}, b: *s}\n")
    assert error.evidence == (
        "kindloop.yaml:2:22: stages.a.run: expected a command, found nothing",
        "kindloop.yaml:2:22: stages.b.run: expected a command, found nothing",
    )


def test_a_byte_order_mark_is_no_mistake(checkout: Path) -> None:
    (checkout / "kindloop.yaml").write_bytes(b"\xef\xbb\xbfversion: 1\n")
    assert load(env={}, start=checkout).app == App(checkout)


def test_root_may_stand_in_a_variable(checkout: Path) -> None:
    env = {"BRRTROUTER_ROOT": str(checkout / "examples")}
    config = read(checkout, "version: 1\napp: {root: '${BRRTROUTER_ROOT}/petstore'}\n", env)
    assert config.app.root == checkout / "examples/petstore"


def test_an_empty_variable_is_not_the_current_folder(checkout: Path) -> None:
    text = "version: 1\napp:\n  root: ${BRRTROUTER_ROOT}\n"
    error = fails(checkout, text, {"BRRTROUTER_ROOT": ""})
    assert error.evidence == (
        "kindloop.yaml:3:9: app.root: the environment variable BRRTROUTER_ROOT is empty",
    )


def test_overrides_of_the_environment(checkout: Path) -> None:
    env = {
        "KINDLOOP_NAME": "pr-17",
        "KINDLOOP_PORT_OFFSET": "1000",
        "KINDLOOP_PROFILE": "loop",
        "KINDLOOP_OBSERVABILITY": "minimal",
        "KINDLOOP_RESOURCES": "high",
        "KINDLOOP_SCRAPE_S": "5",
    }
    config = read(checkout, FULL, env)
    assert (config.observability, config.resources, config.scrape_s) == ("minimal", "high", 5)
    assert (config.name, config.profile, config.cluster.port_offset) == ("pr-17", "loop", 1000)
    assert config.cluster.host_ports()["petstore"] == 9081
    assert config.workloads["petstore"].url == "http://127.0.0.1:9081"


def test_the_offset_of_the_file_shifts_the_url(checkout: Path) -> None:
    text = WORKLOAD + "    url: http://127.0.0.1:{ports.petstore}/v1\ncluster: {port_offset: 10}\n"
    assert read(checkout, text).workloads["petstore"].url == "http://127.0.0.1:8090/v1"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("KINDLOOP_NAME", "A_b", "'A_b' is no name: use a-z, 0-9 and - between them"),
        ("KINDLOOP_NAME", "", "'' is no name: use a-z, 0-9 and - between them"),
        ("KINDLOOP_NAME", "a" * 41, f"{'a' * 41} has 41 characters, at most 40 are possible"),
        ("KINDLOOP_PORT_OFFSET", "ten", "expected a whole number, found ten"),
        ("KINDLOOP_PORT_OFFSET", "", "expected a whole number, found "),
        ("KINDLOOP_PORT_OFFSET", "-1", "expected 0 to 10000, found -1"),
        ("KINDLOOP_PORT_OFFSET", "10001", "expected 0 to 10000, found 10001"),
        ("KINDLOOP_SCRAPE_S", "0", "expected 1 to 300, found 0"),
        (
            "KINDLOOP_OBSERVABILITY",
            "on",
            "expected off or minimal or full, found on (known: off, minimal, full)",
        ),
        (
            "KINDLOOP_PROFILE",
            "relese",
            "expected loop or release, found relese (did you mean release?)",
        ),
    ],
)
def test_a_wrong_override_names_its_variable(
    checkout: Path, name: str, value: str, told: str
) -> None:
    error = fails(checkout, "version: 1\n", {name: value})
    assert error.message == f"{name} is wrong"
    assert error.evidence == (f"{name}: {told}",)
    assert error.hint == f"unset {name}, then run the command again"


def test_an_override_that_moves_a_port_out_of_range(checkout: Path) -> None:
    text = "version: 1\ncluster: {ports: {grafana: 60000}}\n"
    error = fails(checkout, text, {"KINDLOOP_PORT_OFFSET": "10000"})
    assert error.evidence == (
        "kindloop.yaml:2:28: cluster.ports.grafana: 60000 + offset 10000 is over 65535",
    )


def test_mistakes_of_file_and_environment_together(checkout: Path) -> None:
    error = fails(checkout, "version: 1\nnmae: x\n", {"KINDLOOP_PROFILE": "debug"})
    assert error.message == "kindloop.yaml has 1 mistake, and KINDLOOP_PROFILE is wrong"
    assert error.evidence == (
        "kindloop.yaml:2:1: unknown key nmae (did you mean name?)",
        "KINDLOOP_PROFILE: expected loop or release, found debug (known: loop, release)",
    )


def test_found_in_a_folder_above(checkout: Path) -> None:
    read(checkout, "version: 1\n")
    assert find(env={}, start=checkout / "k8s/app") == checkout / "kindloop.yaml"


def test_the_current_folder_is_where_the_search_begins(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(checkout, "version: 1\nnmae: x\n")
    monkeypatch.chdir(checkout / "k8s")
    with pytest.raises(ConfigError) as caught:
        load(env={})
    assert caught.value.evidence[0].startswith("../kindloop.yaml:2:1: ")


def test_a_path_comes_before_the_variable_and_it_before_the_search(checkout: Path) -> None:
    for name in ("kindloop.yaml", "one.yaml", "two.yaml"):
        (checkout / name).write_text("version: 1\n", encoding="utf-8")
    env = {"KINDLOOP_CONFIG": "one.yaml"}
    assert find(env=env, start=checkout) == checkout / "one.yaml"
    assert find(Path("two.yaml"), env, checkout) == checkout / "two.yaml"
    assert load(Path("two.yaml"), env, checkout).path == checkout / "two.yaml"


def test_paths_are_relative_to_the_file_wherever_one_stands(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(checkout, FULL)
    monkeypatch.chdir("/")
    config = load(checkout / "kindloop.yaml", env={})
    assert config.core == checkout / "k8s/core"


def test_a_missing_file_says_how_to_begin(checkout: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(env={}, start=checkout)
    assert caught.value.exit_code == 2
    assert caught.value.message == f"there is no kindloop.yaml in {checkout} or a folder above it"
    assert caught.value.hint.endswith("begin one here: invoke config.init")


def test_a_missing_file_that_the_variable_names(checkout: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(env={"KINDLOOP_CONFIG": "no where.yaml"}, start=checkout)
    assert caught.value.message == "there is no file no where.yaml (named by KINDLOOP_CONFIG)"
    assert caught.value.hint == "begin it: printf 'version: 1\\n' > 'no where.yaml'"


def test_a_variable_that_names_nothing(checkout: Path) -> None:
    read(checkout, "version: 1\n")
    with pytest.raises(ConfigError, match="KINDLOOP_CONFIG is empty"):
        load(env={"KINDLOOP_CONFIG": ""}, start=checkout)
