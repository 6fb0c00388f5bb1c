"""Waiting for a URL, and what is said when curl itself is the trouble."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kindloop import verify
from kindloop.errors import ToolMissing, Unhealthy
from kindloop.verify import curl


class Handler(BaseHTTPRequestHandler):
    """Answers each status of `statuses` once, the last for ever; 0 ends without an answer."""

    statuses: list[int]
    answered: int

    def do_GET(self) -> None:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        type(self).answered += 1
        if status:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"x" * 300)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Handler.answered = 0
    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/health"
        http.shutdown()
        thread.join()


def test_waiting_ends_when_200_comes(url: str) -> None:
    Handler.statuses = [0, 503, 200]
    assert 0 < verify.wait_answers(url, 30, interval_s=0.01) < 30
    assert Handler.answered == 3


def test_waiting_goes_through_no_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Handler.statuses = [200]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    verify.wait_answers(url, 5)
    assert Handler.answered == 1


@pytest.mark.parametrize(
    ("status", "seen"),
    [(503, f"last seen: status 503: {'x' * 200}"), (0, "Empty reply from server")],
)
def test_waiting_says_what_it_saw_last(url: str, status: int, seen: str) -> None:
    Handler.statuses = [status]
    with pytest.raises(Unhealthy, match=r"did not answer 200 within 0\.2 s") as caught:
        verify.wait_answers(url, 0.2)
    assert caught.value.evidence[0].endswith(seen)
    assert caught.value.hint == "invoke dev-status"


def test_waiting_for_a_port_that_refuses() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Unhealthy) as caught:
            verify.wait_answers(f"http://127.0.0.1:{bound.getsockname()[1]}/health", 0.2)
    assert "Couldn't connect" in caught.value.evidence[0]


def test_without_curl_the_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="curl is not on PATH"):
        curl.get("http://127.0.0.1:1/")


def test_a_curl_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "curl"
    old.write_text("#!/bin/sh\nprintf '{json}'\n", encoding="utf-8")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ToolMissing, match=r"needs curl 7\.70"):
        curl.get("http://127.0.0.1:1/")
