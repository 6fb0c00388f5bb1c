"""What the loop does not tell: the API server and the observability stack, asked now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from kindloop import apiserver, observing
from kindloop.apiserver import Api
from kindloop.config import Config
from kindloop.errors import KindloopError
from kindloop.screen.day import Row, State

__all__ = ["Asking", "ask", "rows_of"]

EVERY_S = 10.0
"""Seconds between two questions; each costs some milliseconds."""
BUSY_S = 1.0
"""Seconds between two looks whether the loop is at rest: a save is never in company."""

STATES: Mapping[str, State] = {"ok": "ok", "broken": "warning"}


def rows_of(config: Config, stack: Sequence[observing.State], trouble: str = "") -> list[Row]:
    """The rows of the cluster and of each part of the stack. Pure."""
    state: State = "warning" if trouble else "ok"
    cluster = Row("tools", "cluster", config.name, state, trouble or "its API server answers")
    return [cluster] + [
        Row("observability", "part", one.name, STATES.get(one.state, "note"), observing.line(one))
        for one in stack
    ]


def ask(config: Config, api: Api | None) -> tuple[list[Row], Api | None]:
    """Ask over a kept connection, made where there is none; it is None again after a failure."""
    try:
        api = api or apiserver.connect(config)
        api.json("/version")
        return rows_of(config, observing.look(config, api, urls=True)), api
    except (KindloopError, OSError) as exc:
        said = exc.message if isinstance(exc, KindloopError) else str(exc)
        if api:
            api.close()
        return rows_of(config, (), said), None


class Asking:
    """Asks in a thread of its own, while nothing is going on; `tell` gets the rows."""

    def __init__(
        self, config: Config, resting: Callable[[], bool], tell: Callable[[Sequence[Row]], None]
    ) -> None:
        self._config = config
        self._resting = resting
        self._tell = tell
        self._closed = threading.Event()
        # A daemon: an answer that does not come must not hold up our end.
        self._thread = threading.Thread(target=self._run, name="kindloop-asking", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Tell nothing any more."""
        self._closed.set()

    def _run(self) -> None:
        api: Api | None = None
        pause_s = BUSY_S
        while not self._closed.wait(pause_s):
            pause_s = BUSY_S
            if not self._resting():
                continue
            rows, api = ask(self._config, api)
            if not self._closed.is_set():
                self._tell(rows)
            pause_s = EVERY_S
        if api:
            api.close()
