"""`python -m kindloop.telemetry FILE`: send a trace that a command has left, and end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kindloop import report
from kindloop.telemetry import otel
from kindloop.telemetry.handing import taken_up


def main(file: Path) -> None:
    """Send it once; what is wrong goes to standard output."""
    os.nice(10)  # whoever has called us goes on with other things
    target, environment, trace = taken_up(file)
    sender = otel.Sender(target, environment, dict)
    why = sender.send([trace])
    sender.close()
    (file.parent / "records" / f"{os.getpid()}.json").unlink(missing_ok=True)
    report.use(report.Plain())
    report.line(f"not sent: {why}" if why else "sent")


main(Path(sys.argv[1]))
