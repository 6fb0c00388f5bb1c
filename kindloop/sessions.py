"""Nox session bodies for other projects; undecorated, so that importing them registers nothing.

import nox
from kindloop import sessions
nox.session(name="smoke", venv_backend="none", default=False)(sessions.smoke)
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["INTERRUPT_S", "smoke", "status"]

INTERRUPT_S = 60
"""Seconds that a session's child gets after Ctrl-C; nox itself would kill it after 0.3."""


class Session(Protocol):
    """What of `nox.Session` is used, so that nox is no dependency of the package."""

    posargs: list[str]

    def run(self, *args: str, **kwargs: Any) -> Any:
        """Run a command."""


def smoke(session: Session) -> None:
    """Bring the environment up if it is not, then call every operation with curl."""
    for task in (["dev-up"], ["test.curl", *session.posargs]):
        session.run(
            "invoke", *task, external=True, interrupt_timeout=INTERRUPT_S, terminate_timeout=20
        )


def status(session: Session) -> None:
    """Fail unless the environment is healthy."""
    session.run("invoke", "dev-status", external=True)
