"""What cargo is told and what it says: target, profile environment, messages.

Target and profile are passed by environment variables: the project's own Cargo.toml and
`.cargo/config.toml` stay as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kindloop.config import Profile
from kindloop.targets import Target, TargetPlan, plan_host_target, plan_target

__all__ = [
    "Messages",
    "Target",
    "TargetPlan",
    "environment",
    "lock_files",
    "plan_host_target",
    "plan_target",
    "with_messages",
]

PROFILES: Mapping[Profile, Mapping[str, str]] = MappingProxyType(
    {
        # A one-line change of the real pet_store: 67 s with its release profile, 1.3 s with
        # this. Line tables are kept, so that a panic names file and line.
        "loop": {
            "CARGO_INCREMENTAL": "1",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "64",
            "CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only",
            "CARGO_PROFILE_RELEASE_INCREMENTAL": "true",
            "CARGO_PROFILE_RELEASE_LTO": "off",
            "CARGO_PROFILE_RELEASE_STRIP": "none",
        },
        "release": {},
    }
)
"""Environment by profile; `release` is the project's own profile, untouched."""
COMPILING = frozenset({"build", "b", "check", "c", "clippy", "run", "r", "test", "t", "rustc"})
"""Subcommands that know `--message-format`."""
REASONS = frozenset(
    {"build-finished", "build-script-executed", "compiler-artifact", "compiler-message"}
)
"""Messages of cargo itself; another line of JSON is the program's own output."""
WITH_VALUE = frozenset({"--config", "--color", "-C", "-Z"})
"""Options before the subcommand whose value is a word of its own."""


def environment(
    target: Target, profile: Profile, target_dir: Path, env: Mapping[str, str]
) -> dict[str, str]:
    """The variables that make cargo build `target` with `profile` into `target_dir`.

    `env` is what the caller has set already: flags of the user are kept, ours come behind them.
    """
    result = {
        "CARGO_BUILD_TARGET": target.triple,
        "CARGO_TARGET_DIR": str(target_dir),
        "CARGO_TERM_COLOR": "never",
        **PROFILES[profile],
        **_flags(target, env),
    }
    if target.linker:
        result[f"CARGO_TARGET_{target.variable}_LINKER"] = target.linker
    return result


def with_messages(argv: Sequence[str]) -> tuple[str, ...]:
    """The command with its diagnostics as JSON on standard output, where cargo can do that."""
    words = tuple(argv)
    at = _subcommand(words)
    own = words[: words.index("--")] if "--" in words else words
    if at is None or any(word.startswith("--message-format") for word in own):
        return words
    return (*words[: at + 1], "--message-format=json", *words[at + 1 :])


def lock_files(argv: Sequence[str], folder: Path) -> tuple[Path, ...]:
    """Where the command, run in `folder`, may write Cargo.lock; nothing unless it is cargo.

    It lies beside the command's manifest, or beside that of the workspace in a folder above.
    """
    if not argv or Path(argv[0]).name != "cargo":
        return ()
    at = Path(os.path.normpath(folder / _manifest(argv))).parent
    return tuple(
        above / "Cargo.lock" for above in (at, *at.parents) if (above / "Cargo.toml").exists()
    )


class Messages:
    """Reads cargo's output; collects `path:line:column: error[code]: message`.

    Paths are relative to `root`. `errors` has each error once, in the order they came.
    """

    def __init__(self, root: Path) -> None:
        self.errors: list[str] = []
        self._root = os.path.realpath(root)

    def read(self, line: str) -> str | None:
        """What a person should see of this line of standard output; None for nothing."""
        message = _parse(line)
        if message is None:
            return line
        if message["reason"] != "compiler-message":
            return None
        diagnostic = message.get("message") or {}
        if str(diagnostic.get("level", "")).startswith("error"):
            self._add(diagnostic, str(message.get("manifest_path", "")))
        return str(diagnostic.get("rendered") or diagnostic.get("message") or "").rstrip("\n")

    def _add(self, diagnostic: Mapping[str, Any], manifest: str) -> None:
        text = str(diagnostic.get("message", "")).splitlines()[:1]
        if not text or text[0].startswith("aborting due to"):
            return
        code = (diagnostic.get("code") or {}).get("code")
        line = f"error[{code}]: {text[0]}" if code else f"error: {text[0]}"
        place = _place(diagnostic.get("spans") or (), Path(manifest).parent, self._root)
        line = f"{place}: {line}" if place else line
        if line not in self.errors:
            self.errors.append(line)


def _manifest(argv: Sequence[str]) -> str:
    option = "--manifest-path"
    for word, following in zip(argv, (*argv[1:], ""), strict=True):
        if word == "--":
            break
        if word == option and following:
            return following
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return "Cargo.toml"


def _parse(line: str) -> Mapping[str, Any] | None:
    # `cargo run` puts the program's own output between the messages.
    if not line.startswith('{"reason":'):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if document["reason"] in REASONS else None


def _place(spans: Sequence[Mapping[str, Any]], folder: Path, root: str) -> str:
    for span in (span for span in spans if span.get("is_primary")):
        at: Mapping[str, Any] | None = span
        while at:
            path = _locate(str(at["file_name"]), folder)
            if path:
                inside = path.startswith(root + os.sep)
                name = os.path.relpath(path, root) if inside else path
                return f"{name}:{at['line_start']}:{at['column_start']}"
            # In a macro of another crate or of the standard library: go to its caller.
            at = (at.get("expansion") or {}).get("span")
    return ""


def _locate(name: str, folder: Path) -> str | None:
    """The file as rustc names it: relative to the manifest's folder or one above (workspace)."""
    for above in (folder, *folder.parents):
        path = above / name
        if path.exists():
            return os.path.realpath(path)
    return None


def _subcommand(words: Sequence[str]) -> int | None:
    if not words or Path(words[0]).name != "cargo":
        return None
    at = 1
    while at < len(words) and words[at][:1] in ("-", "+"):
        at += 2 if words[at] in WITH_VALUE else 1
    return at if at < len(words) and words[at] in COMPILING else None


def _flags(target: Target, env: Mapping[str, str]) -> dict[str, str]:
    """Our flags in the one variable that cargo will read: its sources exclude each other."""
    if not target.rustflags:
        return {}
    for name, separator in (("CARGO_ENCODED_RUSTFLAGS", "\x1f"), ("RUSTFLAGS", " ")):
        if name in env:
            return {name: _joined(env[name], target.rustflags, separator)}
    name = f"CARGO_TARGET_{target.variable}_RUSTFLAGS"
    return {name: _joined(env.get(name, ""), target.rustflags, " ")}


def _joined(given: str, flags: Sequence[str], separator: str) -> str:
    return separator.join([given, *flags] if given.strip() else flags)
