"""One question that must be quick: does the URL answer? No process is started for it."""

from __future__ import annotations

import http.client
import time
from http import HTTPStatus
from urllib.parse import urlsplit

from kindloop.errors import Unhealthy

__all__ = ["answers", "wait_quick"]

FIRST_PAUSE_S = 0.002
"""Seconds between the first two questions: a swap takes some 10 ms, a pause shows in its time."""
LAST_PAUSE_S = 0.1
ONE_ANSWER_S = 5.0
"""Seconds that one answer may take."""


def answers(url: str, timeout_s: float = ONE_ANSWER_S) -> str:
    """Ask `url` once, without any proxy: empty when it answers 200, else what was seen."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        return str(exc) or type(exc).__name__
    finally:
        connection.close()
    return "" if status == HTTPStatus.OK else f"status {status}"


def wait_quick(url: str, timeout_s: float) -> float:
    """Poll `url` until it answers 200; return how many seconds that took.

    Raises Unhealthy after `timeout_s` seconds with the last thing seen.
    """
    started_s = time.monotonic()
    pause_s = FIRST_PAUSE_S
    while True:
        left_s = timeout_s - (time.monotonic() - started_s)
        seen = answers(url, min(max(left_s, 0.1), ONE_ANSWER_S))
        took_s = time.monotonic() - started_s
        if not seen:
            return took_s
        if took_s >= timeout_s:
            raise Unhealthy(
                f"{url} did not answer 200 within {timeout_s:g} s",
                hint="invoke dev-status",
                evidence=[f"last seen: {seen}"],
            )
        time.sleep(pause_s)  # nothing tells when the port of another process opens
        pause_s = min(pause_s * 1.5, LAST_PAUSE_S)
