"""The stream that `supervisor receive` reads: a header of what comes, then compressed files."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kindloop.swapfiles import VERSION, Want

__all__ = ["Packed", "frame", "pack"]

LEVEL = 1
"""Of zlib: it takes 8 MB of binary to 42 % in 0.1 s, which a stream through the API server is
worth; higher levels take several times as long for a few percent."""


@dataclass(frozen=True)
class Packed:
    """A file of the stream: where it goes, what it has to be, its content compressed."""

    path: str
    size: int
    sha256: str
    mode: int
    data: bytes


def pack(path: str, file: Path, mode: int) -> Packed:
    """A file, read, digested and compressed for the stream. `path` is where it goes."""
    content = file.read_bytes()
    data = zlib.compress(content, LEVEL)
    return Packed(path, len(content), hashlib.sha256(content).hexdigest(), mode, data)


def frame(want: Want, files: Sequence[Packed], keep: Collection[str]) -> bytes:
    """The stream that `supervisor receive` takes: a header of declared sizes, then the files.

    `keep` are the digests that stay in the pod beside those of `want`. Pure.
    """
    stays = {*keep, want.digest, *([want.tree] if want.tree else ())}
    header = json.dumps(
        {
            "version": VERSION,
            "files": [
                {
                    "path": one.path,
                    "size": one.size,
                    "compressed": len(one.data),
                    "sha256": one.sha256,
                    "mode": one.mode,
                }
                for one in files
            ],
            "current": want.tree,
            "want": want.as_json(),
            "keep": sorted(stays),
        },
        separators=(",", ":"),
    ).encode()
    return b"%08x %b\n%b" % (len(header), header, b"".join([one.data for one in files]))
