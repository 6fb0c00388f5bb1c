"""All that helps to understand a fault, in one file to send: masked, with what is not in it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kindloop import report
from kindloop._yaml import display
from kindloop.bundle import archive
from kindloop.bundle.parts import Missing, Part, parts
from kindloop.config import Config
from kindloop.errors import Interrupted, KindloopError

__all__ = ["Bundle", "make"]

SCHEMA = 1


@dataclass(frozen=True)
class Bundle:
    """What was written. `files` is bytes by path in it, `missing` why by the part's name."""

    file: Path
    size: int
    files: dict[str, int]
    missing: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The document of `--json`, which is also `manifest.json` in the archive."""
        return {
            "schema": SCHEMA,
            "file": str(self.file),
            "files": self.files,
            "missing": self.missing,
        }

    def lines(self) -> list[str]:
        """What to tell the user."""
        count = f"{len(self.files)} files, {self.size / 1000:.0f} kB"
        told = [f"{display(self.file)}: {count}"]
        told += [f"not in it: {name}: {why}" for name, why in self.missing.items()]
        return [*told, "secrets are masked as ***; look it through before you send it"]


def make(file: Path, config: Config | None, fault: KindloopError | None, *, force: bool) -> Bundle:
    """Write the bundle to `file`, a `.tar.gz` or `.zip`; without `config`, `fault` says why.

    What cannot be had is in its manifest with the reason. Raises ConfigError for the name of the
    file, KindloopError when it cannot be written.
    """
    file = file.absolute()
    archive.check(file, force=force)
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}
    for part in parts(config, fault):
        with report.step(part.name) as step:
            why = _collect(part, texts)
            step.note(f"not to be had: {why}" if why else "")
        if why:
            missing[part.name] = report.masked(why)
    if config is None and fault is not None:
        missing["plan, status, swap, records, logs, cluster"] = report.masked(fault.message)
    sizes = {name: len(archive.masked(name, text).encode()) for name, text in texts.items()}
    made = Bundle(file, 0, sizes, missing)
    manifest = {**made.as_json(), "file": file.name, "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    texts["manifest.json"] = json.dumps(manifest, indent=2) + "\n"
    size = archive.write(file, texts)
    return Bundle(file, size, sizes, missing)


def _collect(part: Part, texts: dict[str, str]) -> str:
    """Take the texts of a part; why there are none, or not all of them."""
    try:
        texts.update(part.texts())
    except Interrupted:
        raise
    except KindloopError as exc:
        # The whole message: evidence and hint are what somebody else needs.
        texts[f"missing/{part.name.replace(' ', '-')}.txt"] = f"{exc}\n"
        return exc.message
    except Missing as exc:
        return str(exc)
    except Exception as exc:  # a fault of ours is to be reported with all the rest
        return f"{type(exc).__name__}: {exc}"
    return ""
