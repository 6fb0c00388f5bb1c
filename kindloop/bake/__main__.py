"""`python -m kindloop.bake node|base|COMPONENT...`: a bake in a process of its own."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from kindloop import bake, report
from kindloop.errors import Interrupted, KindloopError


def main(argv: list[str]) -> int:
    """Bake what is named; errors go to standard error, the exit code is the error's."""
    report.use(report.Plain())
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if argv == ["node"]:
            bake.bake_node()
        elif argv == ["base"]:
            bake.bake_base()
        elif argv and set(argv) <= bake.BAKED.keys():
            bake.bake_components(argv)
        else:
            report.line(f"usage: python -m kindloop.bake node|base|{'|'.join(bake.BAKED)}...")
            return 2
    except KindloopError as exc:
        report.line(str(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        report.line("interrupted; finished parts are kept")
        return Interrupted.exit_code
    return 0


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # As at Ctrl-C: what is half made is removed, and the commands that make it are ended.
    raise KeyboardInterrupt(signal.Signals(number).name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
