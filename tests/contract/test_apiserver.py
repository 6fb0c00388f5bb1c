"""Questions to an API server, against a real TLS server with certificates of `data/`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from kindloop import apiserver, cluster, state
from kindloop.apiserver import Api
from kindloop.config import Config
from kindloop.errors import CannotTell, NotOurs, Unhealthy

DATA = Path(__file__).parent / "data"
STATUS = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "pods is forbidden: no"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        server.requests.append((self.client_address[1], self.path, self.headers))
        match self.path:
            case "/forbidden":
                self._answer(403, json.dumps(STATUS).encode())
            case "/text":
                self._answer(502, b"bad gateway\nmore")
            case "/chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n")
            case "/meet":  # answers two at a time
                server.meeting.wait(30)
                self._answer(200, b"{}")
            case "/never":
                server.released.wait(30)
                self.close_connection = True
            case "/drip":
                self._head(200, 1000)
                while not server.released.wait(0.02):
                    self.wfile.write(b" ")
                self.close_connection = True
            case "/cut":
                self._head(200, 1000)
                self.wfile.write(b"{")
                self.close_connection = True
            case "/goodbye":
                self._answer(200, b"{}", close=True)
            case "/closes":  # without a word: the client finds out at its next request
                self._answer(200, b"{}")
                self.close_connection = True
            case _:
                self._answer(200, b'{"a": 1}')

    def _answer(self, status: int, body: bytes, *, close: bool = False) -> None:
        self._head(status, len(body), *([("Connection", "close")] if close else []))
        self.wfile.write(body)

    def _head(self, status: int, length: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """As an API server: TLS, and a client certificate of its CA is a must."""

    daemon_threads = False  # `server_close` waits for them: none outlives its test

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.requests: list[tuple[int, str, Any]] = []
        self.released = threading.Event()
        self.meeting = threading.Barrier(2)
        self.open: list[socket.socket] = []
        self.gone = threading.Semaphore(0)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(DATA / "server.pem")
        self._tls.load_verify_locations(DATA / "ca.crt")
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        # The handshake belongs into the thread of the connection, where the first read makes it.
        secure = self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self.open.append(secure)
        return secure, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.gone.release()

    def handle_error(self, *_: Any) -> None:
        pass

    def connections(self) -> int:
        """How many different connections had requests."""
        return len({port for port, _path, _headers in self.requests})

    def stop(self) -> None:
        """Close everything at once, as a node that is stopped does."""
        self.released.set()
        self.shutdown()
        self._thread.join()
        for one in self.open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        self.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def _data(name: str, kind: str = "CERTIFICATE") -> str:
    text = (DATA / name).read_text(encoding="ascii")
    return base64.b64encode(text[text.index(f"-----BEGIN {kind}") :].encode()).decode()


def _kubeconfig(folder: Path, port: int, **user_or_cluster: Any) -> Path:
    found = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": _data("ca.crt"),
    }
    user = {
        "client-certificate-data": _data("client.pem"),
        "client-key-data": _data("client.pem", "EC PRIVATE KEY"),
    }
    for name, value in user_or_cluster.items():
        key = name.replace("_", "-")
        part = user if key.startswith(("client", "exec", "token")) else found
        part[key] = value
    document = {
        "current-context": "kind-mine",
        "contexts": [
            {"name": "other", "context": {"cluster": "other", "user": "other"}},
            {"name": "kind-mine", "context": {"cluster": "c", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": found}, {"name": "other", "cluster": {}}],
        "users": [{"name": "other", "user": {}}, {"name": "u", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.fixture
def api(tmp_path: Path, server: Server) -> Iterator[Api]:
    with Api(_kubeconfig(tmp_path, server.server_port)) as made:
        yield made


def test_requests_share_a_connection(api: Api, server: Server) -> None:
    api.open()
    assert [api.json("/a"), api.json("/chunked"), api.json("/b")] == [{"a": 1}, [1, 2], {"a": 1}]
    assert (len(server.requests), server.connections()) == (3, 1)


def test_no_key_stays_behind(api: Api, tmp_path: Path) -> None:
    api.json("/a")
    assert [p.name for p in tmp_path.iterdir()] == ["kubeconfig"]


@pytest.mark.parametrize("path", ["/goodbye", "/closes"])
def test_a_connection_that_the_server_closed_is_made_anew(
    api: Api, server: Server, path: str
) -> None:
    assert api.json(path) == {}
    assert server.gone.acquire(timeout=30)
    assert api.json("/a") == {"a": 1}
    assert server.connections() == 2


def test_a_node_that_was_restarted_is_reached_again(tmp_path: Path) -> None:
    first = Server()
    with Api(_kubeconfig(tmp_path, first.server_port)) as api:
        assert api.json("/a") == {"a": 1}
        first.stop()
        with pytest.raises(CannotTell, match="does not answer") as caught:
            api.json("/a")
        assert "nothing listens there" in caught.value.why
        assert caught.value.hint == "invoke cluster.status"
        second = Server(first.server_port)
        try:
            assert api.json("/a") == {"a": 1}
        finally:
            api.close()
            second.stop()


def test_threads_have_a_connection_each_and_the_next_ones_use_them_again(
    api: Api, server: Server
) -> None:
    for _ in range(2):
        threads = [threading.Thread(target=api.json, args=("/meet",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(server.requests), server.connections()) == (4, 2)


def test_a_long_request_does_not_hold_back_another(api: Api, server: Server) -> None:
    waiting = threading.Thread(target=lambda: _quiet(lambda: api.get("/never", 30)))
    waiting.start()
    while not server.requests:
        time.sleep(0.001)
    assert api.json("/a") == {"a": 1}
    server.released.set()
    waiting.join()


def test_the_servers_own_words_are_told(api: Api) -> None:
    with pytest.raises(CannotTell, match="answered 403: pods is forbidden: no") as caught:
        api.json("/forbidden")
    assert caught.value.hint == "invoke k8s.kubectl -- get --raw /forbidden"
    assert caught.value.why
    answer = api.get("/forbidden")
    assert (answer.status, apiserver.words(answer)) == (403, "pods is forbidden: no")
    assert apiserver.words(api.get("/text")) == "bad gateway"


@pytest.mark.parametrize("path", ["/never", "/drip"])
def test_a_late_answer_is_given_up(api: Api, server: Server, path: str) -> None:
    with pytest.raises(CannotTell, match="does not answer") as caught:
        api.get(path, timeout_s=0.2)
    assert "no answer within 0.2 s" in caught.value.why
    server.released.set()
    assert api.json("/a") == {"a": 1}


def test_half_an_answer_is_none(api: Api) -> None:
    with pytest.raises(CannotTell, match="does not answer"):
        api.get("/cut")


def test_another_clusters_server_is_refused(tmp_path: Path, server: Server) -> None:
    other = _kubeconfig(
        tmp_path, server.server_port, certificate_authority_data=_data("other-ca.crt")
    )
    with Api(other) as api, pytest.raises(NotOurs, match="is not the API server") as caught:
        api.open()
    assert caught.value.hint == "invoke cluster.status"
    assert not server.requests


def test_the_certificate_must_be_for_that_name(tmp_path: Path, server: Server) -> None:
    named = _kubeconfig(tmp_path, server.server_port, tls_server_name="kubernetes")
    with Api(named) as api:
        assert api.json("/a") == {"a": 1}
    named = _kubeconfig(tmp_path, server.server_port, tls_server_name="elsewhere")
    with Api(named) as api, pytest.raises(NotOurs):
        api.json("/a")


def test_a_client_certificate_that_the_server_refuses(tmp_path: Path, server: Server) -> None:
    path = _kubeconfig(
        tmp_path,
        server.server_port,
        client_certificate_data=_data("stranger.pem"),
        client_key_data=_data("stranger.pem", "EC PRIVATE KEY"),
    )
    with Api(path) as api, pytest.raises(CannotTell) as caught:
        api.json("/a")
    assert "client certificate is no longer good" in caught.value.why


def test_a_token_is_sent_and_proxies_are_not_looked_at(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for user in ({"token": "secret"}, {"tokenFile": "token"}):
        (tmp_path / "token").write_text("secret\n", encoding="utf-8")
        with Api(_kubeconfig(tmp_path, server.server_port, **user)) as api:
            api.json("/a")
        assert server.requests[-1][2]["Authorization"] == "Bearer secret"


def test_closing_ends_a_request_that_waits(api: Api, server: Server) -> None:
    failed: list[CannotTell] = []

    def ask() -> None:
        try:
            api.get("/never", timeout_s=3600)
        except CannotTell as exc:
            failed.append(exc)

    waiting = threading.Thread(target=ask, daemon=True)
    waiting.start()
    while not server.requests:
        time.sleep(0.001)
    api.close()
    waiting.join(30)
    assert failed
    with pytest.raises(CannotTell):
        api.get("/a")


def test_a_silent_port_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with Api(_kubeconfig(tmp_path, silent.getsockname()[1])) as api:
            with pytest.raises(CannotTell) as caught:
                api.open(timeout_s=0.2)
            assert "no answer within 0.2 s" in caught.value.why


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"server": "http://127.0.0.1:1"}, "no https server"),
        ({"insecure_skip_tls_verify": True}, "insecure-skip-tls-verify"),
        ({"proxy_url": "http://127.0.0.1:1"}, "proxy-url"),
        ({"exec": {"command": "aws"}}, "exec"),
        ({"certificate_authority_data": ""}, "no certificate authority"),
        ({"certificate_authority_data": "%"}, "kubeconfig cannot be used"),
        ({"certificate_authority_data": "eA=="}, "kubeconfig cannot be used"),
        ({"client_certificate_data": _data("ca.crt")}, "kubeconfig cannot be used"),
    ],
)
def test_what_a_kubeconfig_asks_for_is_not_ignored(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(CannotTell, match=said) as caught:
        Api(_kubeconfig(tmp_path, 1, **change))
    assert "get --raw=/readyz" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[", "a: 1", "[]", "current-context: x"])
def test_a_kubeconfig_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CannotTell, match="cannot be used"):
        Api(path)
    path.unlink()
    with pytest.raises(CannotTell, match="cannot be used"):
        Api(path)


def test_certificates_in_files(tmp_path: Path, server: Server) -> None:
    document = yaml.safe_load(_kubeconfig(tmp_path, server.server_port).read_text())
    document["clusters"][0]["cluster"] = {
        "server": f"https://127.0.0.1:{server.server_port}",
        "certificate-authority": str(DATA / "ca.crt"),
    }
    (tmp_path / "client.pem").write_bytes((DATA / "client.pem").read_bytes())
    document["users"][1]["user"] = {"client-certificate": "client.pem", "client-key": "client.pem"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document), encoding="utf-8")
    with Api(tmp_path / "kubeconfig") as api:
        assert api.json("/a") == {"a": 1}


@pytest.fixture
def recorded(homes: Path, tmp_path: Path, server: Server) -> Callable[..., Config]:
    """An environment as `dev-up` leaves it, with changes to its owner record."""
    config = Config(tmp_path / "app" / "kindloop.yaml", name="mine")

    def make(**changes: Any) -> Config:
        env = cluster.environment(config)
        state.private_dir(env.home)
        _kubeconfig(env.home, server.server_port)
        digest = hashlib.sha256((DATA / "ca.crt").read_bytes()).hexdigest()
        owner = {"name": "mine", "checkout": str(config.root), "status": "ready"}
        state.write_json(env.owner_file, {**owner, "ca_sha256": digest, **changes})
        return config

    return make


def test_connect_reaches_the_recorded_cluster(
    recorded: Callable[..., Config], server: Server
) -> None:
    with apiserver.connect(recorded()) as api:
        assert api.json("/a") == {"a": 1}
    assert server.connections() == 1


def test_connect_refuses_what_is_not_ours(recorded: Callable[..., Config], server: Server) -> None:
    for changes, error, said in (
        ({"checkout": "/home/other/app"}, NotOurs, "belongs to the checkout /home/other/app"),
        ({"ca_sha256": "0" * 64}, NotOurs, "not the one recorded"),
        ({"status": "creating", "ca_sha256": ""}, Unhealthy, "never finished"),
    ):
        with pytest.raises(error, match=said):
            apiserver.connect(recorded(**changes))
    assert not server.open


def test_connect_without_an_environment(homes: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotTell, match="no environment mine") as caught:
        apiserver.connect(Config(tmp_path / "kindloop.yaml", name="mine"))
    assert caught.value.hint == "invoke dev-up"


def _quiet(call: Callable[[], Any]) -> None:
    with contextlib.suppress(CannotTell):
        call()
