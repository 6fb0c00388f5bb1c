"""Every failure that a user can meet: what failed, why it likely did, the exact next command.

One class per exit code, so that a script can tell them apart without reading text. The codes
are listed in `EXIT_CODES`; the task layer turns an error into its code and prints it once.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import ClassVar, TypedDict

__all__ = [
    "EXIT_CODES",
    "BuildFailed",
    "CannotTell",
    "ConfigError",
    "Failure",
    "Interrupted",
    "KindloopError",
    "Locked",
    "NotOurs",
    "RolloutFailed",
    "Stale",
    "ToolFailed",
    "ToolMissing",
    "Unhealthy",
]

EXIT_CODES: dict[int, str] = {
    0: "ok",
    1: "failed or unhealthy",
    2: "usage or configuration",
    3: "cannot tell",
    4: "stale, or rolled back",
    5: "build failed",
    6: "rollout failed",
    7: "tool or capability missing",
    8: "locked by another",
    9: "not ours, or drifted",
    130: "interrupted",
}


class Failure(TypedDict):
    """A failure for programs."""

    type: str
    """Its class in `kindloop.errors`, such as ToolMissing."""
    message: str
    """What failed."""
    why: str
    """The likely reason; empty when nobody knows."""
    hint: str
    """The next command or edit; may be empty."""
    evidence: list[str]
    """The last lines of output, or each mistake."""
    exit_code: int
    """The task's exit code."""


class KindloopError(Exception):
    """A failure with a message, the likely reason and the next command.

    `message` says what failed. `why` is the likely reason, `hint` the exact next command or
    edit, `evidence` the last lines of output (never text that the user has seen already).
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        why: str = "",
        hint: str = "",
        evidence: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.hint = hint
        self.evidence = tuple(evidence)

    def __str__(self) -> str:
        parts = [f"error: {self.message}"]
        parts += [f"  | {line}" for line in self.evidence]
        if self.why:
            parts.append(f"  why:  {self.why}")
        if self.hint:
            parts.append(f"  next: {self.hint}")
        return "\n".join(parts)

    def as_json(self) -> Failure:
        """The same for programs."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "why": self.why,
            "hint": self.hint,
            "evidence": list(self.evidence),
            "exit_code": self.exit_code,
        }


class Unhealthy(KindloopError):
    """Something answers, but not as it should (exit 1)."""

    exit_code = 1


class ConfigError(KindloopError):
    """kindloop.yaml, a manifest or a flag is wrong (exit 2)."""

    exit_code = 2


class CannotTell(KindloopError):
    """The question could not be asked (exit 3)."""

    exit_code = 3


class Stale(KindloopError):
    """What answers is not the newest artifact (exit 4)."""

    exit_code = 4


class BuildFailed(KindloopError):
    """A stage, a bake or an image build failed (exit 5)."""

    exit_code = 5


class RolloutFailed(KindloopError):
    """The cluster did not take what was applied (exit 6)."""

    exit_code = 6


class ToolMissing(KindloopError):
    """A tool, or a capability of this machine, is missing (exit 7)."""

    exit_code = 7


class Locked(KindloopError):
    """Another process works on this environment (exit 8)."""

    exit_code = 8


class NotOurs(KindloopError):
    """It exists, but another made it, or it is no longer what we made (exit 9)."""

    exit_code = 9


class Interrupted(KindloopError):
    """Ctrl-C or a signal (exit 130)."""

    exit_code = 130


class ToolFailed(KindloopError):
    """A command-line tool answered with a non-zero exit code, or not in time (exit 1).

    Rooms that know what the call meant translate it into one of the classes above.
    """

    def __init__(
        self,
        argv: Sequence[str],
        tool_exit_code: int | None,
        *,
        stdout: str = "",
        stderr: str = "",
        duration_s: float = 0.0,
        hint: str = "",
    ) -> None:
        self.argv = tuple(argv)
        self.tool_exit_code = tool_exit_code
        self.stdout = stdout
        self.stderr = stderr
        self.duration_s = duration_s
        state = "did not end in time" if tool_exit_code is None else f"exit code {tool_exit_code}"
        tail = (stderr.strip() or stdout.strip()).splitlines()[-20:]
        super().__init__(
            f"{shlex.join(argv)}: {state} after {duration_s:.1f} s", evidence=tail, hint=hint
        )
