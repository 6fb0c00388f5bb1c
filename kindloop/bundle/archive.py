"""One file of many texts, as `.tar.gz` or `.zip`: whole or not at all, every secret masked."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from kindloop import report, state
from kindloop._yaml import display
from kindloop.errors import ConfigError, KindloopError

__all__ = ["ENDINGS", "check", "masked", "packed", "write"]

ENDINGS = (".tar.gz", ".tgz", ".zip")


def check(file: Path, *, force: bool) -> None:
    """Raise ConfigError for a name that is no archive's, is taken, or has no folder."""
    if not file.name.endswith(ENDINGS):
        raise ConfigError(
            f"{display(file)} is no name of an archive: it ends with none of {', '.join(ENDINGS)}",
            hint="invoke dev-doctor --bundle kindloop.tar.gz",
        )
    if not file.parent.is_dir():
        raise ConfigError(
            f"there is no folder {display(file.parent)}", hint=f"mkdir -p {display(file.parent)}"
        )
    if file.exists() and not force:
        raise ConfigError(
            f"{display(file)} is there already",
            hint="give another name, or take its place: invoke dev-doctor --bundle FILE --force",
        )


def write(file: Path, texts: Mapping[str, str]) -> int:
    """Write the texts, by their path in the archive, below one folder; returns its size in bytes.

    Secrets that are known by now are masked in all of them. The file is for this user alone. Raises
    KindloopError when it cannot be written.
    """
    folder = next(file.name.removesuffix(e) for e in ENDINGS if file.name.endswith(e))
    hidden = {f"{folder}/{name}": masked(name, text) for name, text in texts.items()}
    raw = packed(hidden, zipped=file.name.endswith(".zip"))
    try:
        state.write_atomic(file, raw, 0o600)
    except OSError as exc:
        raise KindloopError(
            f"{display(file)} cannot be written: {exc.strerror}",
            hint=f"df -h {display(file.parent)}",
        ) from exc
    return len(raw)


def masked(name: str, text: str) -> str:
    """The text of the file `name` without secrets: JSON stays JSON, its numbers as they are."""
    if name.endswith(".json"):
        with contextlib.suppress(ValueError, RecursionError):
            return json.dumps(report.masked_data(json.loads(text)), indent=2) + "\n"
    return report.masked(text)


def packed(texts: Mapping[str, str], *, zipped: bool) -> bytes:
    """The archive in memory."""
    out = io.BytesIO()
    if zipped:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
        return out.getvalue()
    with (
        gzip.GzipFile(fileobj=out, mode="wb") as zipped_out,
        tarfile.open(fileobj=zipped_out, mode="w") as tar,
    ):
        for name, text in texts.items():
            raw = text.encode("utf-8", "replace")
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(raw), int(time.time()), 0o600
            tar.addfile(info, io.BytesIO(raw))
    return out.getvalue()
