"""Saved files on their way to the loop: watched as the settings say, told to the inbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from kindloop import changes, gitstate, watching
from kindloop.config import Config
from kindloop.errors import KindloopError
from kindloop.watching import Batch, Watcher

__all__ = ["Feed"]


class Feed:
    """While its context lasts, `tell` is called with each batch, in a thread.

    Called with an error when files cannot be watched any more; then nothing comes after it.
    `ahead` is called with what has changed while it is not quiet yet, in another thread.
    """

    def __init__(
        self,
        config: Config,
        tell: Callable[[Batch | KindloopError], None],
        ahead: Callable[[Iterable[Path]], None],
    ) -> None:
        self._tell = tell
        self._closed = threading.Event()
        self._ignoring = threading.Lock()
        self.ignore(config)
        roots = changes.watched(config)
        self.count = len(roots)
        """How many files and folders are watched at first."""
        self._watcher = Watcher(
            roots,
            quiet_ms=config.watch.quiet_ms,
            cap_ms=config.watch.cap_ms,
            ignored=self._is_ignored,
            held=lambda: gitstate.locked(config.app.root),
            ahead=ahead,
        )

    def rewatch(self, config: Config) -> None:
        """Watch what these settings declare. Raises ToolMissing when the system does not let us."""
        self._watcher.rewatch(changes.watched(config))

    def ignore(self, config: Config) -> None:
        """Leave out what git leaves out, unless these settings declare it."""
        declared = [root.path for root in changes.declared(config)]
        self._ignored = watching.ignoring(config.app.root, declared)

    def __enter__(self) -> Self:
        """Start. Raises ToolMissing when the system does not let us watch that many folders."""
        self._watcher.__enter__()
        threading.Thread(target=self._pump, name="kindloop-pump", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._watcher.close()

    def _is_ignored(self, path: Path) -> bool:
        with self._ignoring:  # several threads of the watcher ask
            return self._ignored(path)

    def _pump(self) -> None:
        while not self._closed.is_set():
            try:
                batch = self._watcher.next()
            except Exception as exc:  # a watch that is deaf must not go on
                deaf = KindloopError(f"files are watched no more: {exc!r}", hint="invoke dev-watch")
                self._tell(exc if isinstance(exc, KindloopError) else deaf)
                return
            if batch:
                self._tell(batch)
