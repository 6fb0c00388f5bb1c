"""The loop observed: each save a trace, its times and failures metrics, by OpenTelemetry.

The loop notes plain facts; all else happens in a thread, after the save was served. The SDK is
the optional extra `otel`. Without it, without a collector, or when the collector does not answer,
nothing fails and nothing waits: what cannot be sent is dropped and counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kindloop import report
from kindloop.config import Config
from kindloop.telemetry.facts import Part, Timeline, Trace, Value, end_to_end
from kindloop.telemetry.handing import hand_over
from kindloop.telemetry.sending import Muted, Recorder, deaf
from kindloop.telemetry.steps import Steps
from kindloop.telemetry.target import installed, target_of

__all__ = [
    "Muted",
    "Part",
    "Recorder",
    "Timeline",
    "Trace",
    "Value",
    "command",
    "end_to_end",
    "opened",
]

INSTALL = "pip install 'kindloop[otel]'"


@contextmanager
def opened(config: Config) -> Iterator[Muted]:
    """What records the loop of an environment, or nothing where nobody is to hear of it.

    Says in a line where it goes or why it does not; nothing at all when observability is off.
    What was lost is told at the end, with -v.
    """
    target = target_of(config, os.environ)
    why_not = target.why_not
    if target.wanted and not installed():
        why_not = INSTALL
    if why_not:
        report.line(f"no traces of the loop: {why_not}")
    if why_not or not target.wanted:
        yield Muted()
        return
    report.line(f"saves are traced as service kindloop: {target.shown()}")
    recorder = Recorder(target, config.name)
    try:
        yield recorder
    finally:
        lost = recorder.close()
        if lost and report.verbose():
            report.line(f"telemetry: {lost}")


@contextmanager
def command(config: Config, name: str) -> Iterator[None]:
    """Record a command as a trace `name`: its steps are the spans. Raises what the body raises.

    It is sent by a process of its own, and only where a collector listens.
    """
    target = target_of(config, os.environ)
    if not target.traces or not installed() or deaf(target):
        yield
        return
    with Steps(name, config, lambda trace: hand_over(config, target, trace)):
        yield
