"""Runs the scenarios and shows how each ended: `python -m e2e [--profile low]`.

The cluster is their own: no environment beside it is touched. `build/e2e.json` has the outcomes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from live import FOREIGN_KUBECONFIG, ROOT, Loop, free_offset, own_checkout

from e2e.record import Record, code_of, table
from e2e.scenes import Scenes
from kindloop.errors import Locked

RESULT = ROOT / "build/e2e.json"
STATE = ROOT / "build/e2e-state"
NAME = "kle2e-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]


def main(words: Sequence[str] | None = None) -> int:
    """Run, show, write; the exit code."""
    parser = argparse.ArgumentParser(prog="e2e", description=__doc__)
    parser.add_argument("--profile", default="low", help="of the load test (kindloop.yaml: load)")
    options = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started goes with us
    record = Record()
    try:
        with environment() as loop:
            for scenario in Scenes(loop, options.profile).all():
                record.run(scenario)
    except Locked as exc:
        print(exc)
        return exc.exit_code
    RESULT.write_text(json.dumps([asdict(one) for one in record.outcomes], indent=2) + "\n")
    print(f"\n{table(record.outcomes)}\n{RESULT}")
    return code_of(record.outcomes)


@contextmanager
def environment() -> Iterator[Loop]:
    """A checkout, name, ports and state directory that are the scenarios' own."""
    with own_checkout() as checkout:
        yield from _environment(checkout)


def _environment(checkout: Path) -> Iterator[Loop]:
    STATE.mkdir(parents=True, exist_ok=True)
    users = STATE / "users-kubeconfig"
    users.write_text(FOREIGN_KUBECONFIG)
    env = {"XDG_STATE_HOME": str(STATE), "KUBECONFIG": str(users), "KINDLOOP_OBSERVABILITY": "full"}
    Loop(checkout, NAME, 1000, env).run("dev-down")  # what a killed run left
    loop = Loop(checkout, NAME, free_offset(), env)
    try:
        yield loop
        if users.read_text() != FOREIGN_KUBECONFIG:
            raise AssertionError("the user's kubeconfig was changed")
    finally:
        if "KINDLOOP_KEEP" not in os.environ:
            loop.run("dev-down")


if __name__ == "__main__":
    sys.exit(main())
