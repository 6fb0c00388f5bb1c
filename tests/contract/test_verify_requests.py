"""What real curl sends for each style of parameter and each kind of body, as a server sees it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from kindloop import verify

DOCUMENT = """\
openapi: 3.0.3
info: {title: Requests, version: '1'}
servers: [{url: /v1}]
paths:
  /labels/{color}/{coords}:
    get:
      operationId: styles
      parameters:
        - {name: color, in: path, required: true, style: label, schema: {enum: [red]}}
        - {name: coords, in: path, required: true, style: matrix, example: [1, 2]}
        - {name: filter, in: query, style: deepObject, example: {age: 3}}
        - {name: X-Trace, in: header, example: t1}
        - {name: X-Empty, in: header, example: ''}
        - {name: session, in: cookie, example: s 1}
      responses: {'200': {description: '', content: {text/plain: {}, text/*: {}}}}
  /json:
    patch:
      operationId: json
      requestBody: {content: {application/json: {example: {name: "it's ü"}}}}
      responses: {'200': {description: ''}}
  /form:
    post:
      operationId: form
      requestBody:
        content: {application/x-www-form-urlencoded: {example: {name: Ann Lee, tag: [a, b]}}}
      responses: {'200': {description: ''}}
  /upload:
    post:
      operationId: multipart
      requestBody:
        content:
          multipart/form-data:
            schema: {type: object, properties: {file: {type: string, format: binary}}}
            example: {file: 'a;b="c"\\', note: '@home', meta: {k: 'x;y'}}
      responses: {'200': {description: ''}}
  /blob:
    put:
      operationId: octets
      requestBody: {content: {application/octet-stream: {example: "@raw\\n"}}}
      responses: {'200': {description: ''}}
  /empty:
    post: {operationId: empty, responses: {'200': {description: ''}}}
    head: {operationId: head, responses: {'200': {description: ''}}}
"""


@dataclass
class Call:
    """A request as it arrived; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """Answers 200 to everything and keeps the request."""

    calls: list[Call]

    def _reply(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.calls.append(Call(f"{self.command} {self.path}", headers, body))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._reply
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Call]:
    """The call of each operation by its name."""
    document = tmp_path_factory.mktemp("document") / "openapi.yaml"
    document.write_text(DOCUMENT, encoding="utf-8")
    Handler.calls = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        found = verify.smoke(f"http://127.0.0.1:{http.server_port}", document)
        http.shutdown()
        thread.join()
    assert [row.name for row in found.failed] == ["unknown path"]
    first, *rest = Handler.calls
    assert first.line == "GET /"  # is anything there at all
    return dict(zip([row.name for row in found.rows], rest, strict=True))


def test_parameters(calls: dict[str, Call]) -> None:
    call = calls["styles"]
    assert call.line == "GET /v1/labels/.red/;coords=1,2?filter%5Bage%5D=3"
    assert call.headers["x-trace"] == "t1"
    assert call.headers["x-empty"] == ""
    assert call.headers["cookie"] == "session=s%201"
    assert call.headers["accept"] == "text/plain, text/*"
    assert "content-type" not in call.headers


def test_a_json_body(calls: dict[str, Call]) -> None:
    call = calls["json"]
    assert (call.line, call.headers["content-type"]) == ("PATCH /v1/json", "application/json")
    assert json.loads(call.body) == {"name": "it's ü"}


def test_a_form(calls: dict[str, Call]) -> None:
    call = calls["form"]
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(call.body.decode()) == {"name": ["Ann Lee"], "tag": ["a", "b"]}


def test_a_multipart_form(calls: dict[str, Call]) -> None:
    call = calls["multipart"]
    head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode()
    parts = [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message_from_bytes(head + call.body).walk()
        if not part.is_multipart()
    ]
    assert parts == [
        ("file", "file.bin", "application/octet-stream", b'a;b="c"\\'),
        ("note", None, "text/plain", b"@home"),
        ("meta", None, "application/json", b'{"k":"x;y"}'),
    ]


def test_octets_are_sent_as_they_are(calls: dict[str, Call]) -> None:
    call = calls["octets"]
    assert call.headers["content-type"] == "application/octet-stream"
    assert call.body == b"@raw\n"


def test_a_post_without_a_body_has_a_length_and_no_type(calls: dict[str, Call]) -> None:
    call = calls["empty"]
    assert call.headers["content-length"] == "0"
    assert "content-type" not in call.headers


def test_head(calls: dict[str, Call]) -> None:
    assert calls["head"].line == "HEAD /v1/empty"


def test_the_unknown_path(calls: dict[str, Call]) -> None:
    assert calls["unknown path"].line == "GET /v1/kindloop-unknown-path"
