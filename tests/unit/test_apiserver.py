"""How a kubeconfig is read, and what an answer says; connections are in tests/contract."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from kindloop.apiserver import Access, Answer, access, words


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _document(user: dict[str, Any], **found: Any) -> dict[str, Any]:
    given = {"server": "https://[::1]:6443", "certificate-authority-data": _encoded("ca"), **found}
    return {
        "current-context": "mine",
        "contexts": [
            {"name": "first", "context": {"cluster": "a", "user": "a"}},
            {"name": "mine", "context": {"cluster": "b", "user": "b"}},
        ],
        "clusters": [{"name": "a", "cluster": {"server": "https://a"}}, _part("cluster", given)],
        "users": [{"name": "a", "user": {"token": "a"}}, _part("user", user)],
    }


def _part(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"name": "b", kind: fields}


def test_the_current_context_counts(tmp_path: Path) -> None:
    user = {"client-certificate-data": _encoded("cert"), "client-key-data": _encoded("key")}
    found = access(_document(user, **{"tls-server-name": "kubernetes"}), tmp_path)
    assert found == Access("https://[::1]:6443", "ca", "cert", "key", "", "kubernetes")


def test_a_token_stands_for_the_certificate(tmp_path: Path) -> None:
    assert access(_document({"token": "t"}), tmp_path).token == "t"
    (tmp_path / "token").write_text("from a file\n", encoding="utf-8")
    assert access(_document({"tokenFile": "token"}), tmp_path).token == "from a file"


def test_data_goes_before_files_which_are_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("from a file", encoding="ascii")
    both = {"client-certificate": "gone", "client-certificate-data": _encoded("cert")}
    assert access(_document(both), tmp_path).certificate == "cert"
    assert access(_document({"client-certificate": "cert"}), tmp_path).certificate == "from a file"
    with pytest.raises(FileNotFoundError):
        access(_document({"client-certificate": "gone"}), tmp_path)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "it has no context None"),
        ({}, "it has no context None"),
        ({"current-context": "x", "contexts": [{"name": "x"}]}, "it has no context 'x'"),
        ({**_document({}), "clusters": None}, "it has no cluster 'b'"),
        ({**_document({}), "users": [3]}, "it has no user 'b'"),
        (_document({}, server="http://a"), "it has no https server: http://a"),
        (_document({}, server=None), "it has no https server: none"),
        (_document({}, **{"certificate-authority-data": None}), "it has no certificate authority"),
        (_document({"exec": {"command": "aws"}}), "it has exec, which kindloop does not support"),
        (_document({"auth-provider": {"name": "x"}}), "it has auth-provider, which"),
        (_document({"username": "admin"}), "it has username, which"),
        (_document({}, **{"proxy-url": "http://p"}), "it has proxy-url, which"),
        (_document({}, **{"insecure-skip-tls-verify": True}), "it has insecure-skip-tls-verify"),
    ],
)
def test_what_cannot_be_used_is_named(document: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        access(document, tmp_path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (json.dumps({"kind": "Status", "message": "pods is forbidden"}), "pods is forbidden"),
        (json.dumps({"kind": "Status", "reason": "NotFound"}), "NotFound"),
        (json.dumps({"kind": "Pod"}), '{"kind": "Pod"}'),
        ("bad gateway\nmore", "bad gateway"),
        ("  \n ", "status 502 without a word"),
        (json.dumps({"kind": "Status"}), "status 502 without a word"),
        ("x" * 5000, "x" * 300),
    ],
)
def test_words(body: str, said: str) -> None:
    assert words(Answer(502, body.encode())) == said
    assert words(Answer(502, b"\xff")) == "\ufffd"
