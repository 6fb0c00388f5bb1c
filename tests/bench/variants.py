"""Binaries to swap: the real pet store of 8.35 MB under ever other names of a pet, and a broken one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["ByHand", "Variants", "by_hand", "padded", "panicking"]

SEED = b"Greta"
"""The name of a seeded pet in the sources."""
SIZE = 8_350_000
"""Bytes: a stripped release build of the real BRRTRouter pet store."""
PANICKING = 'fn main() {\n    panic!("this binary panics at its start");\n}\n'


@dataclass(frozen=True)
class ByHand:
    """A command of a stage as the first line of its log tells it."""

    folder: Path
    env: Mapping[str, str]
    argv: tuple[str, ...]

    def moved(self, old: Path, new: Path) -> ByHand:
        """The same in another checkout."""
        env = {name: value.replace(str(old), str(new)) for name, value in self.env.items()}
        argv = tuple(word.replace(str(old), str(new)) for word in self.argv)
        return replace(
            self, folder=Path(str(self.folder).replace(str(old), str(new))), env=env, argv=argv
        )

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; its output is dropped, as a terminal that nobody reads would."""
        return subprocess.Popen(
            self.argv,
            cwd=self.folder,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def by_hand(log: str) -> ByHand:
    """The command in the first line of a stage's log: `$ cd FOLDER && env NAME=VALUE ... WORDS`."""
    words = shlex.split(log.partition("\n")[0])
    if words[:2] != ["$", "cd"] or words[3:5] != ["&&", "env"]:
        raise ValueError(f"not a command of a stage: {log.partition(chr(10))[0]}")
    rest = words[5:]
    count = next(i for i, word in enumerate(rest) if "=" not in word)
    env = dict(word.split("=", 1) for word in rest[:count])
    return ByHand(Path(words[2]), env, tuple(rest[count:]))


def padded(content: bytes, size: int = SIZE) -> bytes:
    """The program with itself behind it up to `size`: ELF ignores that, compressors do not."""
    if len(content) > size:
        raise ValueError(f"the binary has {len(content)} bytes, more than {size}")
    times = -(-size // len(content))
    return (content * times)[:size]


class Variants:
    """The pet store with other names of the seeded pet, all of the same size."""

    def __init__(self, binary: Path) -> None:
        stripped = binary.with_name(f"{binary.name}.stripped")
        strip = shutil.which("strip")
        if strip is None:
            raise RuntimeError("strip (binutils) is not on PATH")
        subprocess.run([strip, "--strip-all", "-o", stripped, binary], check=True)
        content = stripped.read_bytes()
        stripped.unlink()
        if content.count(SEED) != 1:
            raise RuntimeError(f"{binary} holds {SEED!r} {content.count(SEED)} times, not once")
        self._at = content.index(SEED)
        self._template = padded(content)

    @staticmethod
    def name(number: int) -> str:
        """What the pet is called in a variant."""
        return f"G{number:0{len(SEED) - 1}d}"

    def content(self, number: int) -> bytes:
        """The bytes of a variant."""
        name = self.name(number).encode()
        return self._template[: self._at] + name + self._template[self._at + len(SEED) :]


def panicking(folder: Path, command: ByHand) -> bytes:
    """A program that panics at its start, built with the target and the flags of the pet store."""
    source, binary = folder / "panicking.rs", folder / "panicking"
    source.write_text(PANICKING)
    triple = command.env["CARGO_BUILD_TARGET"]
    variable = f"CARGO_TARGET_{triple.upper().replace('-', '_')}"
    argv = ["rustc", "--edition=2021", "-O", f"--target={triple}"]
    argv += command.env.get(f"{variable}_RUSTFLAGS", "").split()
    if f"{variable}_LINKER" in command.env:
        argv.append(f"-Clinker={command.env[f'{variable}_LINKER']}")
    subprocess.run([*argv, "-o", binary, source], check=True)
    return padded(binary.read_bytes())
