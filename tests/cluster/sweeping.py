"""What a killed run of the live tests left: clusters, watches, containers."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress

from live import CHECKOUTS, NAME, OWN, ROOT, Loop, docker, marked

from kindloop import state
from kindloop.errors import Locked


def sweep() -> None:
    """Take away what killed runs of this checkout left, whatever number of workers they had.

    A run that lives holds the locks of its checkouts: what is its stays.
    """
    for home in CHECKOUTS.glob("test-state*"):
        suffix = home.name.removeprefix("test-state")
        if not re.fullmatch(r"(-\d+)?", suffix):
            continue  # it has a test that sweeps it
        with suppress(Locked), state.lock(CHECKOUTS / f"test-checkout{suffix}.lock", "a sweep"):
            variables = {"XDG_STATE_HOME": str(home)}
            while left := marked(f"XDG_STATE_HOME={home}"):
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)
            docker("rm", "--force", f"klforeign-{OWN}{suffix}-control-plane", check=False)
            Loop(ROOT, NAME, 0, variables).ok("dev-down", "--all")
