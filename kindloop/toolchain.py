"""What the compilers on this machine say about themselves, asked once per installation.

Under rustup each question costs 20 to 100 ms, so answers are kept as long as nothing changed
that decides them: the program, the chosen toolchain, what rustup has installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kindloop import state, tools
from kindloop.errors import ConfigError, ToolFailed, ToolMissing

__all__ = ["Toolchain"]

SCHEMA = 1
"""Version of the cache file."""
QUESTIONS = {"go": ("version",)}
"""How a tool is asked for its version when `--version` is not the way."""
ANSWER_S = 300.0
"""Seconds: rustup may first install the toolchain that the project's file asks for."""


class Toolchain:
    """Answers of the tools in the folder `root`, kept in the JSON file `cache_path`."""

    def __init__(self, root: Path, cache_path: Path | None = None) -> None:
        self._root = root
        # As texts: this is asked several times a save, and paths would take most of that.
        self._chosen = [
            f"{folder}/{name}"
            for folder in (root, *root.parents)
            for name in ("rust-toolchain.toml", "rust-toolchain")
        ]
        self._cache_path = cache_path
        self._answers: dict[str, Any] = _load(cache_path)

    def version(self, tool: str) -> str:
        """The first line of what `tool --version` says.

        Raises ToolMissing when it is not there, ConfigError when it has no version to tell.
        """
        lines = self._ask(tool, *QUESTIONS.get(tool, ("--version",))).splitlines()
        return lines[0].strip() if lines else ""

    def installed_targets(self) -> frozenset[str]:
        """Triples whose standard library is there, from rustup or from a distribution."""
        library = Path(self._ask("rustc", "--print", "sysroot").strip(), "lib", "rustlib")
        return frozenset(path.parent.name for path in library.glob("*/lib"))

    def _ask(self, tool: str, *words: str) -> str:
        program = tools.find(tool)
        if program is None:
            raise ToolMissing(
                f"{tool} is not on PATH",
                why="a stage of kindloop.yaml needs it, or counts its version as an input",
                hint=tools.INSTALL_HINT,
            )
        question = " ".join((tool, *words))
        token = self._token(program)
        known = self._answers.get(question)
        if not isinstance(known, dict) or known.get("token") != token:
            self._answers[question] = {"token": token, "said": self._run(tool, *words)}
            self._save()
        return str(self._answers[question]["said"])

    def _run(self, tool: str, *words: str) -> str:
        try:
            said = tools.run(tool, *words, cwd=self._root, timeout_s=ANSWER_S, quiet=True)
        except ToolFailed as exc:
            raise ConfigError(
                f"{tool} {' '.join(words)} does not say what it should",
                evidence=exc.evidence,
                hint=f"install a working {tool}, or leave it out of the stage's tools",
            ) from exc
        return said.stdout or said.stderr

    def _save(self) -> None:
        if self._cache_path:
            state.write_json(self._cache_path, {"schema": SCHEMA, "answers": self._answers})

    def _token(self, program: Path) -> str:
        """Digest of everything that decides what the program answers."""
        real = os.path.realpath(program)
        parts = [str(program), _stat(real), os.environ.get("RUSTUP_TOOLCHAIN", "")]
        parts += [_content(path) for path in self._chosen]
        parts += [_stat(path) for path in _rustup_files(program.name)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _rustup_files(tool: str) -> Iterable[str]:
    """What changes when rustup updates a toolchain or makes another one the default."""
    home = os.environ.get("RUSTUP_HOME") or os.path.expanduser("~/.rustup")  # noqa: PTH111
    yield f"{home}/settings.toml"
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(f"{home}/toolchains")):  # noqa: PTH208
            yield f"{home}/toolchains/{name}/bin/{tool}"


def _stat(path: str) -> str:
    try:
        seen = os.stat(path)  # noqa: PTH116
    except OSError:
        return f"{path} -"
    return f"{path} {seen.st_mtime_ns} {seen.st_size} {seen.st_ino}"


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def _load(path: Path | None) -> dict[str, Any]:
    document = state.read_json(path) if path else None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return {}
    answers = document.get("answers")
    return answers if isinstance(answers, dict) else {}
