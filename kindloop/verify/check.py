"""Whether an answer is what the document says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.message import Message
from typing import Any

from kindloop.verify.curl import TIMED_OUT, Answer
from kindloop.verify.document import Document
from kindloop.verify.openapi import Media, Response
from kindloop.verify.plan import Probe
from kindloop.verify.serialise import is_json, media_name

__all__ = ["Outcome", "judge"]


@dataclass(frozen=True)
class Outcome:
    """The verdict. `reason` is empty when `ok`; `checked` names what was looked at."""

    ok: bool
    reason: str
    checked: tuple[str, ...]


class _MismatchError(Exception):
    """The first thing that is not as documented."""


def judge(document: Document, probe: Probe, answer: Answer) -> Outcome:
    """Compare status, content type, required headers and body with the document, in this order."""
    checked: list[str] = []
    try:
        _arrived(answer)
        checked.append("status")
        _status(probe, answer)
        response = _documented(probe, answer.status)
        if response is not None:
            _contents(document, probe, response, answer, checked)
    except _MismatchError as exc:
        return Outcome(False, str(exc), tuple(checked))
    return Outcome(True, "", tuple(checked))


def _arrived(answer: Answer) -> None:
    # A stream may go on after its first events; that it was cut off says nothing about it.
    endless = answer.exit_code == TIMED_OUT and media_name(answer.content_type) == _STREAM
    if answer.exit_code and not endless:
        raise _MismatchError(answer.error or f"curl ended with exit code {answer.exit_code}")


_STREAM = "text/event-stream"


def _status(probe: Probe, answer: Answer) -> None:
    if any(_covers(key, answer.status) for key in probe.expected):
        return
    said = f": {answer.excerpt()}" if answer.body and probe.method != "HEAD" else ""
    expected = " or ".join(probe.expected)
    key = " with a wrong key" if probe.kind == "wrong key" else ""
    raise _MismatchError(f"status {answer.status}{key}, expected {expected}{said}")


def _covers(key: str, status: int) -> bool:
    return key == str(status) or (key.endswith("XX") and key[0] == str(status)[0])


def _documented(probe: Probe, status: int) -> Response | None:
    keys = (str(status), f"{status // 100}XX", "default")
    found = [r for key in keys for r in probe.responses if r.status == key]
    return found[0] if found else None


def _contents(
    document: Document, probe: Probe, response: Response, answer: Answer, checked: list[str]
) -> None:
    if response.required_headers:
        checked.append("headers")
        _headers(response, answer)
    if not response.media:
        return
    checked.append("type")
    media = _media(response, answer)
    if probe.method != "HEAD":
        _body(document, media, answer, checked)


def _headers(response: Response, answer: Answer) -> None:
    missing = [n for n in response.required_headers if n.lower() not in answer.headers]
    if missing:
        raise _MismatchError(f"the header {missing[0]} is missing, and the document requires it")


def _media(response: Response, answer: Answer) -> Media:
    name = media_name(answer.content_type)
    for media in response.media:
        if _matches(media_name(media.media_type), name):
            _charset(media, answer)
            return media
    documented = " or ".join(media.media_type for media in response.media)
    raise _MismatchError(
        f"content type {answer.content_type or 'missing'}, documented: {documented}"
    )


def _matches(documented: str, name: str) -> bool:
    if documented.endswith("/*"):
        return documented == "*/*" or name.startswith(documented[:-1])
    return documented == name


def _charset(media: Media, answer: Answer) -> None:
    documented, got = _charset_of(media.media_type), _charset_of(answer.content_type)
    if documented and got and documented != got:
        raise _MismatchError(f"charset {got}, documented: {documented}")


def _charset_of(media_type: str) -> str:
    message = Message()
    message["Content-Type"] = media_type
    return (message.get_content_charset() or "").lower()


def _body(document: Document, media: Media, answer: Answer, checked: list[str]) -> None:
    name = media_name(answer.content_type)
    if name == _STREAM:
        checked.append("events")
        if not any(line.startswith(b"data:") for line in answer.body.splitlines()):
            raise _MismatchError("no event (a line `data:`) arrived")
    elif is_json(name):
        checked.append("schema" if media.schema else "JSON")
        _validate(document, media, _json(answer))
    elif name.startswith("text/") and media.schema:
        checked.append("schema")
        _validate(document, media, _text(answer))


def _validate(document: Document, media: Media, value: Any) -> None:
    from kindloop.verify import schemas

    problem = schemas.problem(document, media.schema, value) if media.schema else ""
    if problem:
        raise _MismatchError(problem)


def _json(answer: Answer) -> Any:
    if not answer.body:
        raise _MismatchError("the body is empty, documented: JSON")
    try:
        return json.loads(answer.body.decode("utf-8"), parse_constant=_no_constant)
    except ValueError as exc:
        raise _MismatchError(f"the body is not JSON ({exc}): {answer.excerpt()}") from exc


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _text(answer: Answer) -> str:
    charset = _charset_of(answer.content_type) or "utf-8"
    try:
        return answer.body.decode(charset)
    except (LookupError, UnicodeDecodeError) as exc:
        raise _MismatchError(f"the body is not {charset}: {exc}") from exc
