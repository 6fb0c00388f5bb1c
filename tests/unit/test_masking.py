"""Masking: no form of a secret is left in a text or a document, and nothing else is touched."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from kindloop.masking import LONGEST, MASK, Masker, Secret

PLAIN = "correct-horse-battery"
ODD = "p@ss w/rd&'\"<\\ü=+"
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n"
    "NMoSfm76oqFvAp8Gy0iz5sxjZmSnXyCdPEovGhLa0VzMaQ8s+CLOyS56YyCFGeJZ\n"
    "-----END PRIVATE KEY-----\n"
)


@pytest.mark.parametrize("secret", [PLAIN, ODD], ids=["plain", "odd"])
@pytest.mark.parametrize(
    "write",
    [
        str,
        repr,
        json.dumps,
        shlex.quote,
        quote,
        quote_plus,
        lambda s: json.dumps(s, ensure_ascii=False),
        lambda s: json.dumps(s).replace("<", r"\u003c").replace("&", r"\u0026"),
        lambda s: quote(s, safe=""),
        lambda s: quote(s, safe="").lower() if s == s.lower() else quote(s, safe=""),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
        lambda s: base64.b64encode(f"{s}\n".encode()).decode(),
    ],
)
def test_every_form_of_a_secret_is_masked(secret: str, write: object) -> None:
    written = write(secret)  # type: ignore[operator]
    masked = Masker([secret]).text(f"before {written} after")
    inner = masked.removeprefix("before ").removesuffix(" after")
    assert inner.strip("'\"") == MASK


@pytest.mark.parametrize("user", ["", "u:", "me:", "admin:", "somebody:"])
def test_of_a_base64_with_more_in_it_the_secret_is_masked(user: str) -> None:
    written = base64.b64encode(f"{user}{PLAIN}@host".encode()).decode()
    masked = Masker([PLAIN]).text(f"Authorization: Basic {written}")
    assert MASK in masked
    left = masked.removeprefix("Authorization: Basic ")
    for piece in left.split(MASK):
        padded = piece + "=" * (-len(piece) % 4)
        assert PLAIN[1:-1] not in base64.b64decode(padded, validate=False).decode("latin-1")
    assert len(left) < len(written) - len(PLAIN)


def test_of_many_lines_each_is_masked_wherever_it_is_cut() -> None:
    masker = Masker([KEY])
    lines = KEY.splitlines()
    for text in (
        KEY,
        "\n".join(f"    {line}" for line in lines),
        json.dumps({"key": KEY}),
        lines[2],
        f"key: {lines[1][:40]}...",
        base64.b64encode(KEY.encode()).decode(),
        base64.encodebytes(KEY.encode()).decode(),
    ):
        masked = masker.text(text)
        assert MASK in masked
        for line in lines[1:-1]:
            assert line[:24] not in masked
            assert line[-24:] not in masked
        assert base64.b64encode(KEY.encode()).decode()[:24] not in masked
    assert masker.text(lines[0]) == lines[0]  # every key has it


def test_the_longest_wins_and_what_overlaps_is_masked_whole() -> None:
    assert Masker(["abcd", "abcdefgh"]).text("x abcdefgh abcdx") == "x *** ***x"
    assert Masker(["abcd1234", "1234wxyz"]).text("abcd1234wxyz") == MASK
    assert Masker(["abcd", "efgh"]).text("abcdefgh") == MASK


def test_short_values_and_other_texts_stay() -> None:
    assert not Masker(["", "  "])
    assert Masker(["abc"]).text("abc") == "abc"
    text = "2026-11-23T17:32:05Z INFO pet_store: list_pets done in 12 ms"
    assert Masker([PLAIN, ODD, KEY]).text(text) == text


@pytest.mark.parametrize("word", ["true", "false", "null", "None"])
def test_what_json_is_made_of_is_no_secret(word: str) -> None:
    assert Masker([word]).text(f'{{"ready": {word}}} {word}') == f'{{"ready": {word}}} {word}'
    assert Masker([f"{word}\nlong-enough"]).text(f"{word} long-enough") == f"{word} ***"


PORT = Masker([Secret("5432", "db-port"), Secret("true", "STRICT"), Secret("x1", "pin")])


@pytest.mark.parametrize(
    "text",
    [
        "listening on 0.0.0.0:5432, 15432 bytes, 5432 ms",
        "http://127.0.0.1:5432/pets and postgres://db:5432/shop",
        "2026-11-23T17:32:05.5432Z strictly true",
        '{"ports": [5432], "ready": true, "other": "5432", "value": 7}',
        "port: 5432",  # of another than the secret's
        "restricted=true",
        "ns     STRICT  2  untrue",
        "5432 rows",
    ],
)
def test_what_stands_anywhere_by_chance_stays(text: str) -> None:
    assert PORT.text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("DB_PORT=5432", "db-port: 5432", "db.port = 5432", "export SHOP_DB_PORT='5432'"),
        *(
            '"db-port": "5432"',
            '"db-port":5432',
            r"{\"DB_PORT\":\"5432\"}",
            "serve --db-port 5432 x",
        ),
        "stages.shop.env.DB_PORT  kindloop.yaml:7  5432",
        *('        value: "5432"', '"value": "5432"', "- value: '5432'"),
        *("redis://:5432@cache/0", "postgres://shop:5432@db/shop"),
        *("5432", "a\n  5432\nb", "shop/wtjn2 | 5432", 'shop/wtjn2 | "5432"'),
    ],
)
def test_few_digits_are_masked_in_their_own_place(text: str) -> None:
    assert PORT.text(text) == text.replace("5432", MASK)


def test_a_word_and_what_is_very_short_are_masked_behind_their_key() -> None:
    assert PORT.text("STRICT=true pin: x1 x1 true") == "STRICT=*** pin: *** x1 true"
    assert PORT.text("true") == "true"
    assert Masker([Secret("87654321", "pin")]).text("id 87654321") == "id ***"


def test_a_number_in_a_longer_secret_is_masked_where_it_is_alone() -> None:
    masker = Masker(["hunter2-first\n4711\n"])
    assert masker.text("hunter2-first\n  4711\nin 4711 ms") == "***\n  ***\nin 4711 ms"
    assert masker.text(base64.b64encode(b"hunter2-first\n4711\n").decode()) == MASK


def test_a_document_has_no_common_value_under_its_key() -> None:
    masker = Masker([Secret("off", "MODE"), Secret("4711", "PIN")])
    document = {
        "stages.shop.env.MODE": "off",
        "mode": "off",
        "env": [{"name": "MODE", "value": "off"}, {"name": "LEVEL", "value": "off"}],
        "settings": [{"name": "swap.env.PIN", "value": "4711", "source": "file"}],
        "port": 4711,
        "url": "http://127.0.0.1:4711",
    }
    assert masker.data(document) == {
        "stages.shop.env.MODE": MASK,
        "mode": MASK,
        "env": [{"name": "MODE", "value": MASK}, {"name": "LEVEL", "value": "off"}],
        "settings": [{"name": "swap.env.PIN", "value": MASK, "source": "file"}],
        "port": 4711,
        "url": "http://127.0.0.1:4711",
    }


def test_of_a_file_with_a_secret_its_bare_keys_stay() -> None:
    masker = Masker(['server:\n  auth: hunter2-in-a-file\n"users": [\nmode: |\n'])
    for text in ("server:", '"users": [', "mode: |"):
        assert masker.text(text) == text
    assert masker.text("auth: hunter2-in-a-file") == MASK
    assert Masker(["server:"]).text("server:") == MASK  # alone it is the value


def test_a_document_keeps_its_shape_and_its_own_words() -> None:
    document = {
        "schema": 1,
        "text": f"token={PLAIN}",
        PLAIN: [PLAIN, None, True, 12345678, 1.5],
        "deep": {"path": Path("/tmp") / PLAIN, "file": Path("/tmp/x")},
        "rows": ({"name": "petstore"},),
    }
    masked = Masker([PLAIN, "12345678", "text", "true"]).data(document)
    assert masked["text"] == "token=***"
    assert masked[MASK] == [MASK, None, True, 12345678, 1.5]
    assert masked["deep"] == {"path": "/tmp/***", "file": Path("/tmp/x")}
    assert masked["rows"] == [{"name": "petstore"}]


def test_what_is_very_long_is_masked_as_far_as_a_secret_goes() -> None:
    long = "".join(f"{n:06d}-" for n in range(10_000))
    assert Masker([long]).text(long[:LONGEST]) == MASK
    assert Masker([long]).text(f"a {long[:60]} b") == f"a {MASK} b"


def test_without_secrets_nothing_is_done() -> None:
    document = {"a": [1]}
    masker = Masker()
    assert not masker
    assert masker.data(document) is document
    assert masker.text("x") == "x"
