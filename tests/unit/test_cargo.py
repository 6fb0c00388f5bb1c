"""Targets, the environment that cargo is given, and its messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kindloop import cargo
from kindloop.cargo import Messages, Target, TargetPlan, plan_host_target, plan_target
from kindloop.errors import ConfigError, ToolMissing

AMD64_GNU, AMD64_MUSL = "x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"
ARM64_GNU, ARM64_MUSL = "aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl"
STATIC = ("-C", "target-feature=+crt-static")
LOOP_AMD64 = Target(AMD64_GNU, STATIC)


@pytest.mark.parametrize("arch", ["amd64", "x86_64"])
def test_linux_amd64_without_musl_links_glibc_statically(arch: str) -> None:
    plan = plan_target("linux", arch, "linux", "x86_64", {AMD64_GNU}, {})
    assert (plan.target.triple, plan.target.rustflags) == (AMD64_GNU, STATIC)
    assert (plan.missing, plan.note, plan.target.linker) == ((), "", "")


@pytest.mark.parametrize("compiler", ["musl-gcc", "x86_64-linux-musl-gcc"])
def test_linux_amd64_with_musl_takes_it(compiler: str) -> None:
    plan = plan_target("linux", "amd64", "linux", "x86_64", {AMD64_GNU, AMD64_MUSL}, {}, {compiler})
    assert plan.ready().triple == AMD64_MUSL
    assert plan.target.linker == "", "rustc brings what it needs to link musl on its own machine"


def test_musl_without_its_compiler_is_not_taken_and_says_why() -> None:
    plan = plan_target("linux", "amd64", "linux", "x86_64", {AMD64_GNU, AMD64_MUSL}, {})
    assert plan.ready().triple == AMD64_GNU
    assert "musl-tools" in plan.note


def test_a_linker_of_the_user_makes_musl_usable() -> None:
    env = {"CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER": "rust-lld"}
    plan = plan_target("linux", "amd64", "linux", "x86_64", {AMD64_GNU, AMD64_MUSL}, env)
    assert (plan.ready().triple, plan.target.linker) == (AMD64_MUSL, "")


def test_a_musl_machine_uses_its_own_compiler() -> None:
    plan = plan_target("linux", "amd64", "linux", "x86_64", {AMD64_MUSL}, {})
    assert plan.ready().triple == AMD64_MUSL


def test_linux_arm64_at_home() -> None:
    plan = plan_target("linux", "arm64", "linux", "aarch64", {ARM64_GNU}, {})
    assert (plan.ready().triple, plan.target.rustflags) == (ARM64_GNU, STATIC)


def test_linux_arm64_from_amd64_says_what_is_missing() -> None:
    plan = plan_target("linux", "arm64", "linux", "x86_64", {AMD64_GNU}, {})
    assert plan.target.triple == ARM64_GNU
    assert plan.missing[0] == f"rustup target add {ARM64_GNU}"
    assert plan.missing[1].startswith("apt-get install gcc-aarch64-linux-gnu")


def test_linux_arm64_from_amd64_with_everything() -> None:
    plan = plan_target(
        "linux", "arm64", "linux", "x86_64", {AMD64_GNU, ARM64_GNU}, {}, {"aarch64-linux-gnu-gcc"}
    )
    assert plan.ready().linker == "aarch64-linux-gnu-gcc"


def test_darwin_arm64_says_what_is_missing() -> None:
    plan = plan_target("linux", "arm64", "darwin", "arm64", {"aarch64-apple-darwin"}, {})
    assert plan.target.triple == ARM64_MUSL
    assert plan.missing[0] == f"rustup target add {ARM64_MUSL}"
    assert plan.missing[1].startswith("brew install filosottile/musl-cross/musl-cross")
    assert "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld" in plan.missing[1]


def test_darwin_arm64_with_everything() -> None:
    plan = plan_target(
        "linux", "aarch64", "darwin", "arm64", {ARM64_MUSL}, {}, {"aarch64-linux-musl-gcc"}
    )
    target = plan.ready()
    assert (target.triple, target.linker) == (ARM64_MUSL, "aarch64-linux-musl-gcc")
    assert target.rustflags == STATIC


def test_darwin_arm64_with_an_amd64_engine() -> None:
    plan = plan_target("linux", "amd64", "darwin", "arm64", {AMD64_MUSL}, {}, set())
    assert plan.target.triple == AMD64_MUSL
    assert [line.split()[0] for line in plan.missing] == ["brew"]


def test_what_is_missing_is_an_error_when_it_is_used() -> None:
    plan = TargetPlan(Target(ARM64_MUSL), ("rustup target add x", "brew install y"))
    with pytest.raises(ToolMissing) as caught:
        plan.ready()
    assert caught.value.exit_code == 7
    assert caught.value.evidence == ("rustup target add x", "brew install y")
    assert caught.value.hint == "rustup target add x"


@pytest.mark.parametrize("engine", [("windows", "amd64"), ("linux", "riscv64"), ("", "")])
def test_an_engine_without_a_target_is_named(engine: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="/".join(engine)):
        plan_target(*engine, "linux", "x86_64", {AMD64_GNU}, {})


def test_host_programs_share_the_target_of_the_engine() -> None:
    engine = plan_target("linux", "amd64", "linux", "x86_64", {AMD64_GNU}, {})
    assert plan_host_target(engine, "linux", "x86_64", {AMD64_GNU}) is engine


@pytest.mark.parametrize(
    ("host", "installed", "triple"),
    [
        (("darwin", "arm64"), set(), "aarch64-apple-darwin"),
        (("darwin", "x86_64"), set(), "x86_64-apple-darwin"),
        (("linux", "x86_64"), {AMD64_GNU}, AMD64_GNU),
        (("linux", "x86_64"), {AMD64_MUSL}, AMD64_MUSL),
    ],
)
def test_host_programs_of_another_platform(
    host: tuple[str, str], installed: set[str], triple: str
) -> None:
    engine = plan_target("linux", "arm64", *host, installed, {})
    assert plan_host_target(engine, *host, installed) == TargetPlan(Target(triple))


def test_the_loop_profile(tmp_path: Path) -> None:
    env = cargo.environment(LOOP_AMD64, "loop", tmp_path, {})
    assert env == {
        "CARGO_BUILD_TARGET": AMD64_GNU,
        "CARGO_INCREMENTAL": "1",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "64",
        "CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only",
        "CARGO_PROFILE_RELEASE_INCREMENTAL": "true",
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_STRIP": "none",
        "CARGO_TARGET_DIR": str(tmp_path),
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS": "-C target-feature=+crt-static",
        "CARGO_TERM_COLOR": "never",
    }


def test_the_release_profile_is_the_projects_own(tmp_path: Path) -> None:
    env = cargo.environment(LOOP_AMD64, "release", tmp_path, {})
    assert not [name for name in env if "PROFILE" in name or "INCREMENTAL" in name]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"RUSTFLAGS": "-C opt-level=1"}, ("RUSTFLAGS", "-C opt-level=1 " + " ".join(STATIC))),
        ({"RUSTFLAGS": ""}, ("RUSTFLAGS", " ".join(STATIC))),
        (
            {"CARGO_ENCODED_RUSTFLAGS": "-g", "RUSTFLAGS": "-x"},
            ("CARGO_ENCODED_RUSTFLAGS", "-g\x1f-C\x1ftarget-feature=+crt-static"),
        ),
        (
            {"CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS": "-g"},
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-g " + " ".join(STATIC)),
        ),
    ],
)
def test_flags_go_where_cargo_reads_them(
    tmp_path: Path, given: dict[str, str], expected: tuple[str, str]
) -> None:
    env = cargo.environment(LOOP_AMD64, "release", tmp_path, given)
    assert [(k, v) for k, v in env.items() if k.endswith("RUSTFLAGS")] == [expected]


def test_a_cross_linker_is_told(tmp_path: Path) -> None:
    target = Target(ARM64_MUSL, STATIC, "aarch64-linux-musl-gcc")
    env = cargo.environment(target, "release", tmp_path, {})
    assert env["CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER"] == "aarch64-linux-musl-gcc"


def test_host_programs_have_no_flags_of_ours(tmp_path: Path) -> None:
    env = cargo.environment(Target("aarch64-apple-darwin"), "loop", tmp_path, {"RUSTFLAGS": "-g"})
    assert not [name for name in env if name.endswith("RUSTFLAGS")]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cargo build --release", "cargo build {} --release"),
        ("cargo run -p gen -- --message-format=x", "cargo run {} -p gen -- --message-format=x"),
        ("cargo +nightly --locked check", "cargo +nightly --locked check {}"),
        ("cargo --config build.jobs=1 test", "cargo --config build.jobs=1 test {}"),
        ("/opt/bin/cargo b", "/opt/bin/cargo b {}"),
        ("cargo build --message-format=short", None),
        ("cargo fmt", None),
        ("cargo", None),
        ("cargo --version", None),
        ("make build", None),
    ],
)
def test_messages_are_asked_for(command: str, expected: str | None) -> None:
    words = cargo.with_messages(command.split())
    asked = (expected or command).format("--message-format=json")
    assert words == tuple(asked.split())


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cargo build", ["ws/member/Cargo.lock", "ws/Cargo.lock"]),
        ("/opt/bin/cargo run -- --manifest-path ../other/Cargo.toml",
         ["ws/member/Cargo.lock", "ws/Cargo.lock"]),
        ("cargo build --manifest-path ../../other/Cargo.toml", ["other/Cargo.lock"]),
        ("cargo build --manifest-path=../../other/Cargo.toml", ["other/Cargo.lock"]),
        ("cargo build --manifest-path", ["ws/member/Cargo.lock", "ws/Cargo.lock"]),
        ("make build", []),
        ("", []),
    ],
)  # fmt: skip
def test_where_cargo_may_write_its_lock(tmp_path: Path, command: str, expected: list[str]) -> None:
    for folder in ("ws/member", "ws", "other"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "Cargo.toml").touch()
    locks = cargo.lock_files(command.split(), tmp_path / "ws/member")
    assert [str(lock.relative_to(tmp_path)) for lock in locks] == expected


def span(name: str, line: int = 2, column: int = 18, **more: Any) -> dict[str, Any]:
    return {
        "file_name": name,
        "line_start": line,
        "column_start": column,
        "is_primary": True,
        "expansion": None,
        **more,
    }


def message(root: Path, *spans: dict[str, Any], **more: Any) -> str:
    diagnostic = {
        "level": "error",
        "message": "mismatched types",
        "code": {"code": "E0308"},
        "spans": spans,
        "rendered": "error[E0308]: mismatched types\n --> somewhere\n\n",
        **more,
    }
    return json.dumps(
        {
            "reason": "compiler-message",
            "manifest_path": str(root / "ws/member/Cargo.toml"),
            "message": diagnostic,
        },
        separators=(",", ":"),
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    source = tmp_path / "ws/member/src/main.rs"
    source.parent.mkdir(parents=True)
    source.write_text("fn main() {}\n")
    return tmp_path


def test_an_error_has_a_path_relative_to_the_checkout(checkout: Path) -> None:
    messages = Messages(checkout)
    shown = messages.read(message(checkout, span("member/src/main.rs")))
    assert messages.errors == ["ws/member/src/main.rs:2:18: error[E0308]: mismatched types"]
    assert shown == "error[E0308]: mismatched types\n --> somewhere"


def test_a_crate_outside_of_the_workspace_names_files_from_its_own_folder(checkout: Path) -> None:
    messages = Messages(checkout)
    messages.read(message(checkout, span("src/main.rs")))
    assert messages.errors == ["ws/member/src/main.rs:2:18: error[E0308]: mismatched types"]


def test_an_error_outside_of_the_checkout_has_its_whole_path(checkout: Path) -> None:
    messages = Messages(checkout / "elsewhere")
    messages.read(message(checkout, span("src/main.rs")))
    assert messages.errors[0].startswith(f"{checkout}/ws/member/src/main.rs:2:18: ")


def test_an_error_in_a_foreign_macro_is_placed_at_its_caller(checkout: Path) -> None:
    caller = {"span": span("member/src/main.rs", 7, 5)}
    messages = Messages(checkout)
    messages.read(message(checkout, span("/rustc/0/library/macros.rs", expansion=caller)))
    assert messages.errors == ["ws/member/src/main.rs:7:5: error[E0308]: mismatched types"]


def test_the_place_is_that_of_the_primary_span(checkout: Path) -> None:
    other = span("member/src/main.rs", 1, 1, is_primary=False)
    messages = Messages(checkout)
    messages.read(message(checkout, other, span("member/src/main.rs")))
    assert messages.errors[0].startswith("ws/member/src/main.rs:2:18")


def test_an_error_without_code_or_place(checkout: Path) -> None:
    messages = Messages(checkout)
    messages.read(message(checkout, code=None, message="linking with `cc` failed: 1\nmore"))
    assert messages.errors == ["error: linking with `cc` failed: 1"]


def test_an_error_counts_once_and_the_summary_never(checkout: Path) -> None:
    messages = Messages(checkout)
    for text in ("same", "same", "aborting due to 2 previous errors"):
        messages.read(message(checkout, message=text, code=None))
    messages.read(message(checkout, level="warning"))
    assert messages.errors == ["error: same"]


@pytest.mark.parametrize(
    "line",
    ["hello", "", "{", '{"reason": "mine"}', '{"reason":"mine"}', '{"reason":', "[1]"],
)
def test_the_output_of_a_program_is_left_alone(tmp_path: Path, line: str) -> None:
    messages = Messages(tmp_path)
    assert messages.read(line) == line
    assert messages.errors == []


def test_cargos_own_messages_are_not_shown(tmp_path: Path) -> None:
    assert Messages(tmp_path).read('{"reason":"build-finished","success":false}') is None
