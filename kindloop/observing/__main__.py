"""`python -m kindloop.observing`: what `dev-up` leaves to a process of its own."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from kindloop import loading, observing, report, secrecy
from kindloop.errors import Interrupted, KindloopError


def main() -> int:
    """Bring the stack of the environment that the variables name; the exit code is the error's."""
    report.use(report.Plain())
    secrecy.learn()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        observing.work(loading.load())
    except KindloopError as exc:
        report.line(str(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        report.line("ended; finished parts are kept")
        return Interrupted.exit_code
    return 0


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # As at Ctrl-C: what is half made is removed, and the commands that make it are ended.
    raise KeyboardInterrupt(signal.Signals(number).name)


if __name__ == "__main__":
    sys.exit(main())
