"""The logs of stages, as runs write them: a file that each run begins anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from kindloop.config import Config
from kindloop.logs.fetching import log_file
from kindloop.logs.lines import Line, Source

__all__ = ["StageFiles"]


class StageFiles:
    """Tells what stages have said since the last look; what is there at the beginning is old."""

    def __init__(self, config: Config, stages: Iterable[str]) -> None:
        self._files = {name: log_file(config, name) for name in stages}
        self._read: dict[str, tuple[int, int]] = {}
        """How far each file was read, in bytes, and its date then."""
        for name, path in self._files.items():
            with contextlib.suppress(OSError):
                self._read[name] = (path.stat().st_size, path.stat().st_mtime_ns)

    def news(self) -> Iterator[Line]:
        """Whole lines that were not told yet. They get the date of their file."""
        for name, path in self._files.items():
            with contextlib.suppress(OSError):
                yield from self._of(name, path)

    def _of(self, name: str, path: Path) -> Iterator[Line]:
        found = path.stat()
        at, dated_ns = self._read.get(name, (0, 0))
        if (found.st_size, found.st_mtime_ns) == (at, dated_ns):
            return
        with path.open("rb") as file:
            # A run begins with an empty file. As long as the one before, it has another date.
            file.seek(max(at - 1, 0))
            if found.st_size <= at or (at and file.read(1) != b"\n"):
                file.seek(at := 0)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read[name] = (at + len(whole) + len(end), found.st_mtime_ns)
        for text in whole.decode("utf-8", "replace").split("\n") if end else ():
            yield Line(Source("stage", name), found.st_mtime_ns, text)
