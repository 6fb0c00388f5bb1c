"""A command's trace, sent by a process that outlives it: the command does not import the SDK."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kindloop import process, report, state
from kindloop.config import Config
from kindloop.telemetry.facts import Part, Trace
from kindloop.telemetry.target import Target

__all__ = ["hand_over", "taken_up"]


def hand_over(config: Config, target: Target, trace: Trace) -> None:
    """Have a trace sent. What cannot be handed over is dropped."""
    folder = config.local / "telemetry"
    file = folder / f"{os.getpid()}.json"
    # Metrics are the watch's: those of a second process would take the place of its own.
    document = {
        "environment": config.name,
        "target": asdict(replace(target, metrics="")),
        "trace": asdict(trace),
    }
    argv: list[str | Path] = [sys.executable, "-m", "kindloop.telemetry", file]
    with contextlib.suppress(OSError):
        state.write_json(file, report.masked_data(document), durable=False)
        process.detach(argv, {}, config.local / "logs" / "telemetry.log", folder / "records")


def taken_up(file: Path) -> tuple[Target, str, Trace]:
    """What was handed over: target, environment and trace; the file goes."""
    document = state.read_json(file) or {}
    file.unlink(missing_ok=True)
    trace = document["trace"]
    whole = Trace(_part(trace["root"]), trace["result"], trace["counts"])
    return Target(**document["target"]), document["environment"], whole


def _part(document: dict[str, Any]) -> Part:
    below = tuple(_part(one) for one in document["parts"])
    return Part(**{**document, "parts": below})
