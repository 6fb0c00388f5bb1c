"""The smoke test against a real server with real curl: what passes, and each way to fail."""

from __future__ import annotations

import io
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kindloop import report, tools, verify
from kindloop.errors import ConfigError, Unhealthy

DOCUMENT = """\
openapi: 3.1.0
info: {title: Pets, version: '1'}
paths:
  /pets:
    get:
      operationId: list_pets
      security: [{Key: []}]
      responses:
        '200':
          description: All
          content:
            application/json:
              schema: {type: array, items: {$ref: '#/components/schemas/Pet'}}
        '401': {$ref: '#/components/responses/Problem'}
    post:
      operationId: add_pet
      requestBody:
        content: {application/json: {schema: {$ref: '#/components/schemas/Pet'}}}
      responses: {'201': {$ref: '#/components/responses/Pet'}}
  /pets/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: integer}, example: 1}]
    delete: {operationId: remove_pet, responses: {'204': {description: Gone}}}
    head: {operationId: has_pet, responses: {'200': {description: Yes}}}
    options:
      operationId: pet_options
      responses: {'204': {description: '', headers: {Allow: {required: true}}}}
  /blob:
    put:
      operationId: put_blob
      requestBody: {content: {application/octet-stream: {example: raw}}}
      responses: {'200': {description: '', content: {application/octet-stream: {}}}}
  /events:
    get:
      operationId: events
      responses: {'200': {description: '', content: {text/event-stream: {}}}}
components:
  securitySchemes:
    Key: {type: apiKey, in: header, name: X-API-Key, x-kindloop-example: test123}
  responses:
    Pet:
      description: The pet
      content: {application/json: {schema: {$ref: '#/components/schemas/Pet'}}}
    Problem:
      description: No
      content: {application/problem+json: {schema: {type: object, required: [title]}}}
  schemas:
    Pet: {type: object, required: [age], properties: {age: {type: integer, minimum: 3}}}
"""

Reply = tuple[int, str, bytes]
Handle = Callable[["Call"], Reply]


@dataclass
class Call:
    """A request as the server got it."""

    line: str
    headers: dict[str, str]
    body: bytes


def problem(status: int) -> Reply:
    return status, "application/problem+json", b'{"title": "no"}'


def list_pets(call: Call) -> Reply:
    if call.headers.get("x-api-key") != "test123":
        return problem(401)
    return 200, "application/json; charset=utf-8", b'[{"age": 3, "more": true}]'


def add_pet(call: Call) -> Reply:
    return 201, "application/json", call.body


HANDLERS: dict[str, Handle] = {
    "GET /": lambda _: (404, "", b""),
    "GET /pets": list_pets,
    "POST /pets": add_pet,
    "DELETE /pets/1": lambda _: (204, "", b""),
    "HEAD /pets/1": lambda _: (200, "", b""),
    "OPTIONS /pets/1": lambda _: (204, "", b""),
    "PUT /blob": lambda call: (200, "application/octet-stream", call.body + b"\xff"),
    "GET /events": lambda _: (200, "text/event-stream", b"data: 1\n\n"),
}


@dataclass
class Server:
    """A service on a free port whose handlers a test may change."""

    url: str
    document: Path
    handlers: dict[str, Handle]
    calls: list[str] = field(default_factory=list)

    def answer(self, call: Call) -> Reply:
        self.calls.append(call.line)
        handle = self.handlers.get(call.line)
        return handle(call) if handle else problem(404)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            headers: dict[str, str] = {k.lower(): v for k, v in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            call = Call(f"{self.command} {self.path}", headers, body)
            status, media_type, reply = running.answer(call)
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            for name, value in (("Content-Type", media_type), ("Allow", "GET")):
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._reply
            raise AttributeError(name)

        def log_message(self, *_: Any) -> None:
            pass

    document = tmp_path / "openapi.yaml"
    document.write_text(DOCUMENT, encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        running = Server(f"http://127.0.0.1:{http.server_port}", document, dict(HANDLERS))
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield running
        http.shutdown()
        thread.join()


@pytest.fixture
def shown() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    before = report.use(report.Plain(stream))
    yield stream
    report.use(before)


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that is bound, so that nobody else gets it, and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def failures(server: Server) -> dict[str, str]:
    return {row.name: row.reason for row in verify.smoke(server.url, server.document).failed}


def test_a_service_that_does_what_it_says_passes(server: Server, shown: io.StringIO) -> None:
    found = verify.smoke(server.url, server.document)
    assert [(row.name, row.reason) for row in found.failed] == []
    found.raise_if_failed()
    assert [row.name for row in found.rows] == [
        *("list_pets", "list_pets (wrong key)", "add_pet", "has_pet", "pet_options", "remove_pet"),
        *("put_blob", "events", "unknown path"),
    ]
    lines = shown.getvalue().splitlines()
    assert re.fullmatch(r"ok  GET +/pets +status, type, schema +200 +\d+ ms", lines[0])
    assert lines[-1] == "9 checks: 9 passed, 0 failed"


@pytest.mark.parametrize(
    ("broken", "handle", "failure"),
    [
        (
            "POST /pets",
            lambda _: (201, "application/json", b'{"age": "x"}'),
            {"add_pet": "$.age: 'x' is not of type 'integer'"},
        ),
        (
            "POST /pets",
            lambda _: problem(404),
            {"add_pet": 'status 404, expected 201: {"title": "no"}'},
        ),
        (
            "GET /events",
            lambda _: (200, "text/plain", b"data: 1\n"),
            {"events": "content type text/plain, documented: text/event-stream"},
        ),
        (
            "GET /pets",
            lambda _: (200, "application/json", b"[]"),
            {"list_pets (wrong key)": "status 200 with a wrong key, expected 401: []"},
        ),
        (
            "GET /kindloop-unknown-path",
            lambda _: (200, "", b""),
            {"unknown path": "status 200, expected 404"},
        ),
        (
            "GET /kindloop-unknown-path",
            lambda _: (404, "text/html", b""),
            {"unknown path": "content type text/html, documented: application/problem+json"},
        ),
    ],
)
def test_what_is_broken_is_named(
    server: Server, broken: str, handle: Handle, failure: dict[str, str]
) -> None:
    server.handlers[broken] = handle
    assert failures(server) == failure


def test_the_error_has_the_reason_and_a_command_that_shows_it(server: Server) -> None:
    server.handlers["PUT /blob"] = lambda call: (500, "", call.body + b": disk full")
    found = verify.smoke(server.url, server.document)
    with pytest.raises(Unhealthy) as caught:
        found.raise_if_failed()
    assert caught.value.exit_code == 1
    assert caught.value.message == "1 of 9 checks failed: put_blob"
    reason, command = caught.value.evidence
    assert reason == "put_blob: PUT /blob: status 500, expected 200: raw: disk full"
    copied = tools.run("sh", "-c", command)
    assert copied.stdout.startswith("HTTP/1.0 500 ")
    assert copied.stdout.endswith("raw: disk full")


def test_proxies_are_bypassed(
    server: Server, dead_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = f"http://127.0.0.1:{dead_port}"
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    (tmp_path / ".curlrc").write_text(f"proxy = {proxy}\n", encoding="utf-8")
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    assert failures(server) == {}


def test_nothing_there_is_one_error(tmp_path: Path, dead_port: int, shown: io.StringIO) -> None:
    document = tmp_path / "openapi.yaml"
    document.write_text(DOCUMENT, encoding="utf-8")
    url = f"http://127.0.0.1:{dead_port}"
    with pytest.raises(Unhealthy, match=f"nothing answers on {url}\n") as caught:
        verify.smoke(url, document)
    assert caught.value.hint == "invoke dev-status"
    assert shown.getvalue() == ""


def test_a_service_that_goes_away_ends_the_checks(server: Server, shown: io.StringIO) -> None:
    def die(call: Call) -> Reply:
        server.handlers["GET /"] = die
        raise ConnectionAbortedError

    server.handlers["POST /pets"] = die
    with pytest.raises(Unhealthy, match="any more") as caught:
        verify.smoke(server.url, server.document)
    assert caught.value.evidence[2].startswith("add_pet: POST /pets: curl: (52)")
    assert shown.getvalue().splitlines()[-1] == "3 checks: 2 passed, 1 failed"


def test_only_takes_one_operation(server: Server) -> None:
    found = verify.smoke(server.url, server.document, only="list_pets")
    assert [row.name for row in found.rows] == ["list_pets", "list_pets (wrong key)"]
    with pytest.raises(ConfigError, match="no operation is called nope"):
        verify.smoke(server.url, server.document, only="nope")


def test_an_operation_without_an_example_fails_by_name(server: Server) -> None:
    text = DOCUMENT.replace("octet-stream: {example: raw}", "xml: {schema: {type: object}}")
    server.document.write_text(text, encoding="utf-8")
    [name] = failures(server)
    assert name == "put_blob"
    assert "PUT /blob" not in server.calls
