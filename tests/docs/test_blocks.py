"""Blocks of Python, YAML and TOML: loaded by what will load them for the reader."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kindloop import loading
from kindloop.config import Config

if TYPE_CHECKING:
    from conftest import Block

LANGUAGES = {"console", "bash", "python", "yaml", "toml", "dockerfile"}
TASKS_LINES = 25
"""A consumer's tasks.py has at most so many: that is the promise."""


def test_every_block_has_a_language_that_is_checked(all_blocks: list[Block]) -> None:
    assert [str(b) for b in all_blocks if b.language not in LANGUAGES] == []
    assert {b.language for b in all_blocks} >= {"console", "bash", "python", "yaml"}
    for block in all_blocks:
        assert block.language != "toml" or tomllib.loads(block.text)


def test_python_block_works(python_block: Block, all_blocks: list[Block], tmp_path: Path) -> None:
    text = python_block.text
    compile(text, str(python_block), "exec")
    if "kindloop.tasks" in text:
        own = next(b for b in all_blocks if b.page == python_block.page and _is_ours(b))
        write_project(tmp_path, _whole(own.text))
        (tmp_path / "tasks.py").write_text(text)
        listed = listing(tmp_path, "invoke", "--list")
        stages = [f"build.{name}" for name in yaml.safe_load(own.text)["stages"]]
        own_tasks = [f"  {name} " for name in _tasks(text)]
        assert own_tasks
        for task in ("dev-up", "dev-rebuild", "test.curl", *own_tasks, *stages):
            assert task in listed
        assert len(text.splitlines()) <= TASKS_LINES
    elif "import nox" in text:
        (tmp_path / "noxfile.py").write_text(text)
        assert "smoke" in listing(tmp_path, "nox", "--list")
    else:
        raise AssertionError(f"{python_block}: nothing tells what this is for")


def test_yaml_block_loads(yaml_block: Block, tmp_path: Path) -> None:
    if _is_ours(yaml_block):
        config = write_project(tmp_path, _whole(yaml_block.text))
        assert config.path == tmp_path / "kindloop.yaml"
        return
    (tmp_path / "objects.yaml").write_text(yaml_block.text)
    (tmp_path / "kustomization.yaml").write_text("resources: [objects.yaml]\n")
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = list(yaml.safe_load_all(done.stdout))
    assert len(shown) == len(list(yaml.safe_load_all(yaml_block.text)))


def test_dockerfiles_take_the_base_and_compile_nothing(all_blocks: list[Block]) -> None:
    found = [b for b in all_blocks if b.language == "dockerfile"]
    assert found
    for block in found:
        words = [line.split()[0] for line in block.text.splitlines()]
        assert words[:2] == ["ARG", "FROM"]
        assert "RUN" not in words


def test_readme_and_manual_describe_the_same_service(all_blocks: list[Block]) -> None:
    """The README's kindloop.yaml and the manual's Dockerfile and manifests belong together."""
    ours = next(b for b in all_blocks if b.page.name == "README.md" and _is_ours(b))
    workload = yaml.safe_load(ours.text)["workloads"]["greeter"]
    dockerfile = next(b for b in all_blocks if b.language == "dockerfile").text
    manifests = next(b for b in all_blocks if b.text.startswith("apiVersion")).text
    objects = {o["kind"]: o for o in yaml.safe_load_all(manifests)}
    container = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert objects["Deployment"]["metadata"]["name"] == container["image"] == "greeter"
    assert objects["Namespace"]["metadata"]["name"] == yaml.safe_load(ours.text)["name"]
    assert objects["Service"]["spec"]["ports"][0]["nodePort"] == 30080
    start = ["/app/supervisor", "--binary", f"/app/{workload['swap']['artifact']}", "--"]
    assert f"ENTRYPOINT {json.dumps(start)}" in dockerfile
    assert (
        container["ports"][0]["containerPort"]
        == objects["Service"]["spec"]["ports"][0]["targetPort"]
    )


def _tasks(text: str) -> list[str]:
    """Names of the functions that a block makes tasks of."""
    functions = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    return [
        n.name.replace("_", "-") for n in functions if "task" in map(ast.unparse, n.decorator_list)
    ]


def _whole(text: str) -> str:
    """A kindloop.yaml, of which a document may show a part."""
    return text if "version:" in text else f"version: 1\n{text}"


def _is_ours(block: Block) -> bool:
    if block.language != "yaml":
        return False
    document = next(yaml.safe_load_all(block.text))
    return "apiVersion" not in document and set(document) <= {
        *Config.__dataclass_fields__,
        "version",
    }


def write_project(folder: Path, text: str) -> Config:
    """Write kindloop.yaml and the files and folders that it names, and load it."""
    (folder / "kindloop.yaml").write_text(text)
    document = yaml.safe_load(text)
    for path in _folders(document):
        (folder / path).mkdir(parents=True, exist_ok=True)
    for path in _files(document):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return loading.load(folder / "kindloop.yaml", env={})


def _folders(document: dict[str, Any]) -> Iterator[str]:
    yield document.get("app", {}).get("root", ".")
    yield document.get("core", ".")
    yield from (w["manifests"] for w in document.get("workloads", {}).values())


def _files(document: dict[str, Any]) -> Iterator[str]:
    for workload in document.get("workloads", {}).values():
        yield workload["image"]["dockerfile"]
        if "openapi" in workload:
            yield workload["openapi"]


def listing(folder: Path, module: str, flag: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, flag],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
