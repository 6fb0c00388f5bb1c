"""`python -m kindloop.bake node|base`: a bake in a process of its own."""

from __future__ import annotations

import sys

from kindloop import bake, report
from kindloop.errors import KindloopError


def main(argv: list[str]) -> int:
    """Bake what is named; errors go to standard error, the exit code is the error's."""
    report.use(report.Plain())
    try:
        if argv == ["node"]:
            bake.bake_node()
        elif argv == ["base"]:
            bake.bake_base()
        else:
            report.line("usage: python -m kindloop.bake node|base")
            return 2
    except KindloopError as exc:
        report.line(str(exc))
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
