"""The quick question: a real server that answers, refuses, is late or comes up later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kindloop import verify
from kindloop.errors import Unhealthy

Serve = Callable[[list[int]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve the given statuses in turn, the last one for ever; returns the URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(statuses: list[int]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/health"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_answer_of_200_is_no_complaint(serve: Serve) -> None:
    assert verify.answers(serve([200])) == ""


def test_another_status_is_told(serve: Serve) -> None:
    assert verify.answers(serve([503])) == "status 503"


def test_a_port_where_nobody_listens_is_told() -> None:
    assert "refused" in verify.answers("http://127.0.0.1:9/health").lower()


def test_it_waits_until_the_service_is_well(serve: Serve) -> None:
    assert verify.wait_quick(serve([503, 503, 200]), 20) > 0


def test_after_the_deadline_it_tells_the_last_thing_seen(serve: Serve) -> None:
    with pytest.raises(Unhealthy) as caught:
        verify.wait_quick(serve([404]), 0.05)
    assert "last seen: status 404" in caught.value.evidence


def test_no_proxy_is_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert verify.answers(serve([200])) == ""
