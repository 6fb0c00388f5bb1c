"""Questions to the API server of an environment over kept-alive TLS connections: no kubectl.

A request costs 2-3 ms on a local cluster, where a kubectl process takes 60 ms before it asks. Only
GET: what changes the cluster goes through `manifests`. TLS trusts the CA of the environment's
private kubeconfig and nothing else, and proxies of the user's environment are not looked at.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shlex
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from kindloop import cluster, secrecy
from kindloop.clusterfacts import check_identity, foreign, owner_of
from kindloop.config import Config
from kindloop.errors import CannotTell, KindloopError, NotOurs, Unhealthy

__all__ = ["Access", "Answer", "Api", "access", "connect", "words"]

_REFUSED = "the credentials in the kubeconfig are no longer good, or do not allow this"
CONNECT_S = 5.0
"""Seconds in which the first connection must stand; a local one takes 10 ms."""
_FAILURES = (OSError, http.client.HTTPException)
_UNSUPPORTED = ("insecure-skip-tls-verify", "proxy-url", "exec", "auth-provider", "username")
"""Settings of a kubeconfig that would be ignored silently: refused instead."""


@dataclass(frozen=True)
class Answer:
    """What the API server, or what it is a proxy of, answered."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Access:
    """Where an API server is, what its certificate must say, and as whom to ask. PEM texts."""

    server: str
    ca: str
    certificate: str = ""
    key: str = ""
    token: str = ""
    server_name: str = ""


class Api:
    """Connections to the API server of a kubeconfig, one for each thread that asks at a time.

    Safe for threads. A context manager: `close` also ends requests that still wait.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._access = _read(kubeconfig)
        self._tls = _tls(self._access, kubeconfig)
        self._base = urlsplit(self._access.server).path.rstrip("/")
        self._headers = {"Accept": "application/json, */*"}
        if self._access.token:
            self._headers["Authorization"] = f"Bearer {self._access.token}"
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = False

    def get(self, path: str, timeout_s: float = 5.0) -> Answer:
        """GET `path`; whatever the status, it is an Answer. `timeout_s` is for the whole of it.

        Raises CannotTell when the server cannot be asked or is late, NotOurs when it is not the
        one that the kubeconfig is for.
        """
        deadline_s = time.monotonic() + timeout_s
        try:
            while (kept := self._kept()) is not None:
                # It may have been closed while nobody used it: the node was restarted.
                with contextlib.suppress(*_FAILURES):
                    return self._exchange(kept, path, deadline_s)
            return self._exchange(_Connection(self._access, self._tls), path, deadline_s)
        except _FAILURES as exc:
            raise self._unanswered(exc, timeout_s) from exc

    def json(self, path: str, timeout_s: float = 5.0, *, or_none: bool = False) -> Any:
        """The document at `path`. Raises CannotTell with the server's words when there is none.

        With `or_none` an object that does not exist (404) is None.
        """
        answer = self.get(path, timeout_s)
        if answer.status == 404 and or_none:
            return None
        if answer.status != 200:
            raise CannotTell(
                f"the API server answered {answer.status}: {words(answer)}",
                why=_REFUSED if answer.status in (401, 403) else "",
                hint=f"invoke k8s.kubectl -- get --raw {shlex.quote(path)}",
            )
        try:
            return json.loads(answer.body)
        except ValueError as exc:
            raise CannotTell(
                f"{self._access.server}{path} answered something else than JSON",
                evidence=[words(answer)],
                hint="invoke cluster.status",
            ) from exc

    def open(self, timeout_s: float = CONNECT_S) -> None:
        """Make a connection and keep it for the first request. Raises as `get` does."""
        connection = _Connection(self._access, self._tls)
        connection.timeout = timeout_s
        try:
            connection.connect()
        except OSError as exc:
            raise self._unanswered(exc, timeout_s) from exc
        self._keep(connection)

    def close(self) -> None:
        """Close every connection; a request of another thread that still waits fails at once."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for connection in self._busy:
                connection.interrupt()
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kept(self) -> _Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _exchange(self, connection: _Connection, path: str, deadline_s: float) -> Answer:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the connection was closed on this side")
            self._busy.add(connection)
        try:
            connection.until(deadline_s)
            connection.request("GET", self._base + path, headers=self._headers)
            with connection.getresponse() as response:
                body = _body(connection, response, deadline_s)
        except BaseException:
            connection.close()
            raise
        finally:
            with self._lock:
                self._busy.discard(connection)
        self._keep(connection)
        return Answer(response.status, body)

    def _keep(self, connection: _Connection) -> None:
        # Without a socket the server has said that it closes.
        with self._lock:
            keep = connection.sock is not None and not self._closed
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def _unanswered(self, exc: Exception, timeout_s: float) -> KindloopError:
        server = self._access.server
        if isinstance(exc, ssl.SSLCertVerificationError):
            return NotOurs(
                f"what answers at {server} is not the API server of {self._kubeconfig}",
                evidence=[exc.verify_message],
                why="its certificate is not of the CA in the kubeconfig: another cluster has the "
                "port, or this one was made anew",
                hint="invoke cluster.status",
            )
        match exc:
            case TimeoutError():
                why = f"no answer within {timeout_s:g} s: the node is paused or overloaded"
            case ConnectionRefusedError():
                why = "nothing listens there: the node is stopped, or it is still starting"
            case _:
                why = "it ends the connection: the node is being stopped or started, or the client "
                why += "certificate is no longer good"
        return CannotTell(
            f"the API server at {server} does not answer",
            evidence=[str(exc) or type(exc).__name__],
            why=why,
            hint="invoke cluster.status",
        )


class _Connection(http.client.HTTPSConnection):
    def __init__(self, access: Access, context: ssl.SSLContext) -> None:
        parts = urlsplit(access.server)
        super().__init__(parts.hostname or "", parts.port or 443, context=context)
        self._tls = context
        self._name = access.server_name or parts.hostname

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        # A request is one small segment: it must not wait for the one before to be confirmed.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)

    def until(self, deadline_s: float) -> None:
        """Let the next read or write end at `deadline_s` (monotonic); raises when it is over."""
        self.timeout = deadline_s - time.monotonic()
        if self.timeout <= 0:
            raise TimeoutError("timed out")
        if self.sock is not None:
            self.sock.settimeout(self.timeout)

    def interrupt(self) -> None:
        """Make a read in another thread fail; `close` would free what that thread still uses."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def connect(config: Config) -> Api:
    """The API server of the environment, reached, with the identity recorded at its creation.

    Raises CannotTell when there is no environment or its API server does not answer, NotOurs when
    the environment or the server is another's, Unhealthy when it was never finished.
    """
    env = cluster.environment(config)
    owner = owner_of(env)
    if owner is None and not env.kubeconfig.exists():
        raise CannotTell(
            f"there is no environment {env.name}",
            why="it was never created, or it was deleted",
            hint="invoke dev-up",
        )
    if owner is not None and owner.checkout != str(config.root):
        raise foreign(config, env, owner)
    if owner is not None and owner.status == "creating":
        raise Unhealthy(f"cluster {env.name} was never finished", hint="invoke dev-up")
    check_identity(env, owner)
    api = Api(env.kubeconfig)
    api.open()
    # Logs and objects that are asked for next may quote them.
    secrecy.mask_listed(config, api.get(f"/api/v1/namespaces/{config.name}/secrets").body)
    return api


def words(answer: Answer) -> str:
    """What an answer says in one line: the message of a Status object, or its first line."""
    text = answer.body[:4096].decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError):
        document = json.loads(answer.body)
        if isinstance(document, dict) and document.get("kind") == "Status":
            text = str(document.get("message") or document.get("reason") or "")
    return text.splitlines()[0][:300] if text else f"status {answer.status} without a word"


def access(document: Any, folder: Path) -> Access:
    """How the current context of a kubeconfig is reached; its file names are below `folder`.

    Raises ValueError with what is missing or not supported, OSError for a file that is not there.
    """
    document = document if isinstance(document, dict) else {}
    context = _named(document, "context", document.get("current-context"))
    found = _named(document, "cluster", context.get("cluster"))
    user = _named(document, "user", context.get("user"))
    used = [name for name in _UNSUPPORTED if found.get(name) or user.get(name)]
    if used:
        raise ValueError(f"it has {used[0]}, which kindloop does not support")
    server = str(found.get("server") or "")
    if urlsplit(server).scheme != "https":
        raise ValueError(f"it has no https server: {server or 'none'}")
    ca = _pem(found, "certificate-authority", folder)
    if not ca:
        raise ValueError("it has no certificate authority")
    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = (folder / user["tokenFile"]).read_text(encoding="utf-8").strip()
    certificate, key = (_pem(user, name, folder) for name in ("client-certificate", "client-key"))
    return Access(server, ca, certificate, key, token, str(found.get("tls-server-name") or ""))


def _named(document: Mapping[str, Any], kind: str, name: Any) -> Mapping[str, Any]:
    for one in document.get(f"{kind}s") or ():
        if isinstance(one, dict) and one.get("name") == name and isinstance(one.get(kind), dict):
            return dict(one[kind])
    raise ValueError(f"it has no {kind} {name!r}")


def _pem(fields: Mapping[str, Any], name: str, folder: Path) -> str:
    data = fields.get(f"{name}-data")
    if data:
        return base64.b64decode(str(data), validate=True).decode("ascii")
    return (folder / fields[name]).read_text(encoding="ascii") if fields.get(name) else ""


def _read(kubeconfig: Path) -> Access:
    try:
        document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        return access(document, kubeconfig.parent)
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise _unusable(kubeconfig, exc) from exc


def _tls(access: Access, kubeconfig: Path) -> ssl.SSLContext:
    # Not `create_default_context`: that one also follows SSLKEYLOGFILE of the caller.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=access.ca)
        if access.certificate:
            # ssl reads a key from a file only. This one is 0600, beside the same key, and gone
            # at the end of the block.
            with tempfile.NamedTemporaryFile("w", dir=kubeconfig.parent, prefix=".key.") as file:
                file.write(f"{access.certificate}\n{access.key}")
                file.flush()
                context.load_cert_chain(file.name)
    except OSError as exc:  # ssl.SSLError is one
        raise _unusable(kubeconfig, exc) from exc
    return context


def _unusable(kubeconfig: Path, exc: Exception) -> CannotTell:
    return CannotTell(
        f"{kubeconfig} cannot be used: {exc}",
        why="it was cut off or edited, or it is for a way to log in that needs kubectl",
        hint=f"kubectl --kubeconfig={kubeconfig} get --raw=/readyz (what kubectl says to it)",
    )


def _body(connection: _Connection, response: http.client.HTTPResponse, deadline_s: float) -> bytes:
    parts = []
    while part := response.read1(1 << 16):
        parts.append(part)
        connection.until(deadline_s)
    if response.length:  # `read1` takes an early end for the end
        raise http.client.IncompleteRead(b"".join(parts), response.length)
    return b"".join(parts)
