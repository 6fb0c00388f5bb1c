"""What a batch concerns, how it is told, and whether it makes a running build out of date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kindloop.changes import Change, classify, declared, relative, summary, supersedes, watched
from kindloop.config import App, Cluster, Config, CopiedFiles, Image, Stage, SyncedFiles, Workload
from kindloop.watchroots import Root

TOP = Path("/w")
APP = TOP / "app"


def stage(name: str, *inputs: str, outputs: tuple[str, ...] = ()) -> Stage:
    return Stage(name, "true", inputs=inputs, outputs=outputs)


def config(*stages: Stage) -> Config:
    image = Image(TOP / "docker/Dockerfile", files=(CopiedFiles("pet_store/static", "static"),))
    workload = Workload(
        "petstore", image, TOP / "k8s/app", sync=(SyncedFiles("pet_store/config", "config"),)
    )
    return Config(
        path=TOP / "kindloop.yaml",
        app=App(APP),
        cluster=Cluster(config=TOP / "k8s/cluster/kind.yaml"),
        core=TOP / "k8s/core",
        stages={s.name: s for s in stages},
        workloads={"petstore": workload},
    )


WHOLE = config(
    stage("router", "router/src", "Cargo.toml"),
    stage("generate", "openapi.yaml", "{here}/templates", outputs=("pet_store/src/handlers",)),
    stage("petstore", "pet_store/src", "Cargo.toml", "{target}/made", outputs=("{target}/p",)),
)


def place(_: Stage, text: str) -> str:
    return text.replace("{here}", str(TOP)).replace("{target}", "/t")


def change(*names: str, of: Config = WHOLE) -> Change:
    return classify(of, place, [TOP / name for name in names])


def test_all_that_is_named_is_watched_once_and_never_the_target() -> None:
    assert watched(WHOLE) == tuple(
        Root(TOP / name, recursive=recursive)
        for name, recursive in [
            ("app/Cargo.toml", True),
            ("app/openapi.yaml", True),
            ("app/pet_store/config", True),
            ("app/pet_store/src", True),
            ("app/pet_store/static", True),
            ("app/router/src", True),
            ("docker/Dockerfile", False),
            ("k8s/app", True),
            ("k8s/cluster/kind.yaml", False),
            ("k8s/core", True),
            ("kindloop.yaml", False),
            ("templates", True),
        ]
    )
    assert len(declared(WHOLE)) == len(watched(WHOLE)) + 1


@pytest.mark.parametrize(
    ("pattern", "root"),
    [
        ("src/*.rs", Root(APP / "src", recursive=False)),
        ("src/**/*.rs", Root(APP / "src")),
        ("crates/*/src", Root(APP / "crates")),
        ("src/**", Root(APP / "src")),
        ("*.yaml", Root(APP, recursive=False)),
    ],
)
def test_a_glob_is_watched_from_its_fixed_part(pattern: str, root: Root) -> None:
    assert root in declared(config(stage("one", pattern)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kindloop.yaml", {"settings": True}),
        ("k8s/cluster/kind.yaml", {"cluster": True}),
        ("k8s/core/namespace.yaml", {"manifests": True}),
        ("k8s/app/deployment.yaml", {"manifests": True}),
        ("docker/Dockerfile", {"images": {"petstore"}}),
        ("app/pet_store/static/a.css", {"images": {"petstore"}}),
        ("app/pet_store/config/app.yaml", {"sync": {"petstore"}}),
        ("app/Cargo.toml", {"stages": {"router", "petstore"}}),
        ("app/openapi.yaml", {"stages": {"generate"}}),
        ("templates/a/b", {"stages": {"generate"}}),
        ("app/pet_store/src", {"stages": {"petstore"}}),
        ("app/pet_store", {"stages": {"petstore"}, "sync": {"petstore"}, "images": {"petstore"}}),
    ],
)
def test_a_path_concerns_what_has_it_as_an_input(name: str, expected: Mapping[str, object]) -> None:
    assert change(name) == Change(**expected, paths=frozenset({TOP / name}))  # type: ignore[arg-type]


def test_what_is_nobodys_input_concerns_nothing() -> None:
    nothing = change("README.md", "app/pet_store/src2/a.rs", "docker/other")
    assert not nothing
    assert nothing == Change()


def test_a_batch_concerns_what_its_paths_concern() -> None:
    both = change("kindloop.yaml", "app/router/src/lib.rs", "README.md")
    assert (both.settings, both.stages) == (True, {"router"})
    assert both.paths == {TOP / "kindloop.yaml", TOP / "app/router/src/lib.rs"}


@pytest.mark.parametrize(
    ("pattern", "name", "concerned"),
    [
        ("src/*.rs", "src/a.rs", True),
        ("src/*.rs", "src/a/b.rs", False),
        ("src/*.rs", "src/notes.txt", False),
        ("src/**/*.rs", "src/a/b.rs", True),
        ("src/**/*.rs", "src/a/b.txt", False),
        ("crates/*/src", "crates/a/src/deep/b.rs", True),
        ("crates/*/src", "crates/a/tests/b.rs", False),
        # What may be a folder that went away with all that is in it.
        ("src/**/*.rs", "src/a", True),
        ("crates/*/src", "crates/a", True),
        ("src/**/*.rs", "src", True),
        ("src/*.rs", "src/a", False),
    ],
)
def test_globs_concern_what_they_match(pattern: str, name: str, concerned: bool) -> None:
    assert bool(change(f"app/{name}", of=config(stage("one", pattern)))) == concerned


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), ""),
        (("app/pet_store/src/controllers/add_pet.rs",), "controllers/add_pet.rs"),
        (("app/router/src/lib.rs",), "router/src/lib.rs"),
        (("app/Cargo.toml",), "Cargo.toml"),
        (("k8s/app/deployment.yaml",), "k8s/app/deployment.yaml"),
        (("app/pet_store/src",), "pet_store/src"),
        (("elsewhere/a",), "elsewhere/a"),
        (("app/Cargo.lock", "app/openapi.yaml"), "openapi.yaml and Cargo.lock"),
        (
            ("app/pet_store/src/handlers/a.rs", "app/pet_store/src/z/b.rs", "kindloop.yaml"),
            "z/b.rs and 2 more",
        ),
    ],
)
def test_a_batch_is_told_in_a_few_words(names: tuple[str, ...], text: str) -> None:
    assert summary(WHOLE, [TOP / name for name in names]) == text


OBSERVED = {
    "router": {"router/src/lib.rs": "1", "router/src/sub/a.rs": "1", "Cargo.toml": "1"},
    "generate": {"openapi.yaml": "1", "../templates/t": "1"},
}


@pytest.mark.parametrize(
    ("name", "now", "newer"),
    [
        ("app/router/src/lib.rs", "2", True),
        ("app/router/src/lib.rs", "1", False),  # touched, or written by the stage's own tools
        ("app/router/src/lib.rs", None, True),
        ("app/router/src/new.rs", "1", True),
        ("app/router/src/gone.tmp", None, False),
        ("app/router/src/sub", None, True),
        ("app/openapi.yaml", "2", True),
        ("templates/t", "2", True),
        ("templates/t", "1", False),
        ("app/pet_store/src/main.rs", "2", False),  # petstore has not begun: it reads it anew
        ("k8s/app/deployment.yaml", "2", False),
    ],
)
def test_a_newer_save_is_another_input_of_a_stage_that_began(
    name: str, now: str | None, newer: bool
) -> None:
    def digest(path: Path) -> str | None:
        return now if path == TOP / name else None if "sub" in name else "1"

    paths = [TOP / name, TOP / "README.md"]
    assert supersedes(WHOLE, place, paths, digest=digest, observed=OBSERVED) is newer


def test_what_the_running_stage_writes_is_no_newer_save() -> None:
    observed = {"petstore": {"pet_store/src/handlers/a.rs": "1"}}

    def newer(*own: Path) -> bool:
        paths = [APP / "pet_store/src/handlers/a.rs"]
        return supersedes(WHOLE, place, paths, digest=lambda _: "2", observed=observed, own=own)

    assert not newer(APP / "pet_store/src/handlers")
    assert not newer(APP / "pet_store/src/handlers/a.rs")
    assert newer(APP / "pet_store/src/registry.rs")


def test_a_path_is_told_from_the_folder_that_it_lies_in() -> None:
    elsewhere = replace(WHOLE, app=App(Path("/far/app")))
    assert relative(elsewhere, TOP / "k8s/app/a.yaml") == "k8s/app/a.yaml"
    assert relative(elsewhere, Path("/far/app/src/a.rs")) == "src/a.rs"
    assert relative(elsewhere, Path("/other/a.rs")) == "/other/a.rs"
