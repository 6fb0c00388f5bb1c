"""examples/brrtrouter: a consumer as its users have it, on a made-up skeleton of the checkout.

That it builds and runs the real BRRTRouter takes that repository and is no part of this test.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kindloop import manifests, stages, tools
from kindloop.config import Config
from kindloop.errors import ConfigError, ToolFailed
from kindloop.loading import load
from kindloop.tools import Result

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "brrtrouter"
ENGINE = "linux/amd64"
SKELETON = (
    "Cargo.toml",
    "Cargo.lock",
    "src/lib.rs",
    "src/bin/brrtrouter_gen.rs",
    "src/cli/mod.rs",
    "src/generator/mod.rs",
    "src/spec/mod.rs",
    "src/dummy_value.rs",
    "src/validator.rs",
    "src/server/mod.rs",
    "templates/handler.rs.txt",
    "brrtrouter_macros/src/lib.rs",
    "examples/openapi.yaml",
    "examples/pet_store/Cargo.toml",
    "examples/pet_store/src/main.rs",
    "examples/pet_store/src/registry.rs",
    "examples/pet_store/src/handlers/mod.rs",
    "examples/pet_store/src/controllers/mod.rs",
    "examples/pet_store/src/controllers/list_pets.rs",
)
"""One empty file for everything that the stages read or that the generator has made before."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("KINDLOOP_", "BRRTROUTER_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def router(tmp_path: Path) -> Path:
    """The names of a BRRTRouter checkout, without its content."""
    root = tmp_path / "router"
    for name in SKELETON:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / "examples/openapi.yaml").write_text("info:\n  title: Pet Store\n")
    return root


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy: what a task notes in `.kindloop/` is not to meet what somebody runs beside."""
    return shutil.copytree(
        EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns(".*", "__pycache__")
    )


@pytest.fixture
def config(example: Path, router: Path) -> Config:
    return load(example / "kindloop.yaml", env={"BRRTROUTER_ROOT": str(router)})


def invoke(example: Path, *words: str, env: Mapping[str, str]) -> Result:
    argv = (sys.executable, "-m", "invoke", *words)
    return tools.run(*argv, cwd=example, env=env, check=False)


def generator_runs(config: Config, tmp_path: Path) -> list[list[str]]:
    """The generator's arguments, run by run, as a cargo that only writes them down gets them."""
    script = config.stages["generate"].run
    calls, cargo = tmp_path / "calls", tmp_path / "bin" / "cargo"
    cargo.parent.mkdir()
    cargo.write_text(f'#!/bin/sh\necho "$BRRTR_CARGO_BIN $*" >>{shlex.quote(str(calls))}\n')
    cargo.chmod(0o755)
    argv = shlex.split(script.replace("{here}", str(config.root)))
    path = f"{cargo.parent}:{os.environ['PATH']}"
    tools.run(*argv, cwd=config.app.root, env={"PATH": path})
    lines = [shlex.split(line) for line in calls.read_text().splitlines()]
    assert all(line[:2] == ["true", "run"] and "brrtrouter-gen" in line for line in lines)
    return [line[line.index("--") + 1 :] for line in lines]


def flags(argv: list[str]) -> dict[str, str]:
    """Value by flag; a flag without one has an empty value."""
    found: dict[str, str] = {}
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word.startswith("-"):
            found[word] = "" if following.startswith("-") else following
    return found


def test_tasks_py_is_short_and_gives_every_task(example: Path, router: Path) -> None:
    assert len((example / "tasks.py").read_text().splitlines()) <= 25
    listed = invoke(example, "--list", env={"BRRTROUTER_ROOT": str(router)})
    assert listed.ok, listed.stderr
    names = {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")}
    assert {"dev-up", "dev-rebuild", "dev-down", "k8s.apply"} <= names
    assert {"build.router", "build.generate", "build.petstore"} <= names


@pytest.mark.parametrize("env", [{}, {"BRRTROUTER_ROOT": ""}], ids=["unset", "empty"])
def test_without_brrtrouter_root_a_task_says_so(example: Path, env: Mapping[str, str]) -> None:
    told = invoke(example, "dev-up", env=env)
    assert told.exit_code == 2
    assert "environment variable BRRTROUTER_ROOT is" in told.stderr
    assert "next: export BRRTROUTER_ROOT=PATH" in told.stderr
    assert "Traceback" not in told.stderr + told.stdout
    assert invoke(example, "--list", env=env).ok


def test_a_folder_that_is_no_brrtrouter_is_told(example: Path, tmp_path: Path) -> None:
    config = load(example / "kindloop.yaml", env={"BRRTROUTER_ROOT": str(tmp_path)})
    with pytest.raises(ConfigError, match=f"input src matches no file in {tmp_path}"):
        stages.explain(config, engine_platform=ENGINE)


def test_the_generator_cannot_overwrite_what_users_edit(config: Config, tmp_path: Path) -> None:
    argvs = generator_runs(config, tmp_path)
    assert all(argv[0] == "generate" for argv in argvs)
    runs = [flags(argv) for argv in argvs]
    for run in runs:
        # Without --only it writes every part there is.
        parts = set(run["--only"].split(","))
        # `main` and `docs` overwrite without --force, too: Cargo.toml, main.rs, config.yaml and
        # the static pages.
        assert parts <= {"handlers", "types", "registry", "controllers"}
        # `controllers` leaves those that exist alone, but only as long as nothing forces it.
        forced = {"--force", "-f"} & run.keys()
        assert not (forced and "controllers" in parts)
    # The first makes the controllers of new operations, the second renews the rest.
    assert [run["--only"] for run in runs] == ["controllers", "handlers,types,registry"]
    assert "--force" in runs[1]


def test_what_is_generated_is_formatted_and_controllers_are_not(
    config: Config, tmp_path: Path
) -> None:
    src = config.app.root / "examples/pet_store/src"
    sloppy = "fn   mine( ) { }\n"
    for folder in ("handlers", "controllers"):
        (src / folder / "mod.rs").write_text("\npub mod   list_pets;\n")
        (src / folder / "list_pets.rs").write_text(sloppy)
    generator_runs(config, tmp_path)
    assert (src / "handlers/list_pets.rs").read_text() == "fn mine() {}\n"
    assert (src / "controllers/mod.rs").read_text() == "pub mod list_pets;\n"
    assert (src / "controllers/list_pets.rs").read_text() == sloppy


@pytest.mark.parametrize("title", ["Pet Store", '"pet store"', "'Pet Store' # ours"])
def test_a_title_that_names_the_folder_is_generated(
    config: Config, tmp_path: Path, title: str
) -> None:
    (config.app.root / "examples/openapi.yaml").write_text(f"info:\n  title: {title}\n")
    assert generator_runs(config, tmp_path)


@pytest.mark.parametrize("title", ["Pet Stores", "My Pet Store", "Pet Store of ours"])
def test_a_title_that_names_another_folder_is_refused(
    config: Config, tmp_path: Path, title: str
) -> None:
    (config.app.root / "examples/openapi.yaml").write_text(f"info:\n  title: {title}\n")
    with pytest.raises(ToolFailed, match="must be 'Pet Store'"):
        generator_runs(config, tmp_path)
    # Nothing was generated: the other folder would stay behind.
    assert not (tmp_path / "calls").exists()


def test_the_stages_share_what_cargo_compiles(config: Config) -> None:
    with stages.opened(config, ENGINE) as site:
        given = [site.settings(config.stages[n]) for n in ("router", "generate", "petstore")]
    profiles = [{k: v for k, v in env.items() if k.startswith("CARGO_PROFILE_")} for env in given]
    assert profiles[0] == profiles[1] == profiles[2]
    # Every save links, copies and digests the binary: line tables are most of it.
    assert profiles[0]["CARGO_PROFILE_RELEASE_DEBUG"] == "0"
    assert profiles[0]["CARGO_PROFILE_RELEASE_STRIP"] == "debuginfo"


def test_controllers_are_inputs_of_the_service_and_nobodys_outputs(
    config: Config, router: Path
) -> None:
    controllers = router / "examples/pet_store/src/controllers"
    outputs = [output for stage in config.stages.values() for output in stage.outputs]
    # The list of modules alone is generated.
    assert [o for o in outputs if "controllers" in o] == [
        "examples/pet_store/src/controllers/mod.rs"
    ]
    before = observed(config)
    (controllers / "list_pets.rs").write_text("my edit")
    after = observed(config)
    changed = [name for name in after if after[name].inputs != before[name].inputs]
    assert changed == ["petstore"]


@pytest.mark.parametrize(
    ("saved", "stale"),
    [
        ("src/server/mod.rs", ["router"]),
        ("src/generator/mod.rs", ["router", "generate"]),
        ("templates/handler.rs.txt", ["router", "generate"]),
        ("examples/openapi.yaml", ["generate"]),
    ],
)
def test_only_what_the_generator_is_made_of_generates(
    config: Config, router: Path, saved: str, stale: list[str]
) -> None:
    before = observed(config)
    (router / saved).write_text("my edit")
    after = observed(config)
    assert [name for name in after if after[name].inputs != before[name].inputs] == stale


def observed(config: Config) -> Mapping[str, stages.Observed]:
    with stages.opened(config, ENGINE) as site:
        return stages.inspect(site)


def test_the_manifests_render_for_the_environment(config: Config) -> None:
    assert config.core
    folders = [config.core, *(w.manifests for w in config.workloads.values())]
    found = {d["kind"]: d for d in manifests.render(config, folders, {"petstore": "local/p:1"})}
    assert set(found) == {"Namespace", "ConfigMap", "Deployment", "Service"}
    assert found["Namespace"]["metadata"]["name"] == config.name
    assert found["Service"]["spec"]["ports"][0]["nodePort"] == 30080
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "local/p:1"
    assert_restricted(pod)


def assert_restricted(pod: dict[str, Any]) -> None:
    """What the Pod Security Standard `restricted` asks for, and limits."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    container = pod["containers"][0]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} == set(container["resources"]["requests"])
    assert {"cpu", "memory"} == set(container["resources"]["limits"])


def test_plain_kubectl_renders_them_too() -> None:
    for folder in ("core", "app"):
        said = tools.run("kubectl", "kustomize", EXAMPLE / "k8s" / folder)
        for document in yaml.safe_load_all(said.stdout):
            name = document["metadata"].get("namespace", document["metadata"]["name"])
            assert name == "brrtrouter"
