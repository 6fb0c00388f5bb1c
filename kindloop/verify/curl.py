"""Probes run by the real curl, and the same call as a command to copy."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kindloop import report, tools
from kindloop.errors import ToolMissing
from kindloop.verify.plan import Probe
from kindloop.verify.serialise import Part

__all__ = ["TIMED_OUT", "Answer", "curl_command", "get", "run"]

TIMED_OUT = 28
"""Exit code of curl when --max-time has passed."""
_DEADLINE_SLACK_S = 5.0
# -q first: a proxy or `--fail` in ~/.curlrc must not change what is measured.
_ALWAYS = ("-q", "-sS", "--noproxy", "*", "--globoff", "--path-as-is")


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is 0 without an answer; header names are in lower case."""

    status: int
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    time_s: float = 0.0
    exit_code: int = 0
    error: str = ""

    def excerpt(self, size: int = 200) -> str:
        """The first `size` bytes of the body on one line."""
        return " ".join(self.body[:size].decode("utf-8", "replace").split())


def curl_command(probe: Probe) -> str:
    """The call as one line for a shell, with the answer's headers shown."""
    show = () if probe.method == "HEAD" else ("-i",)
    return shlex.join(["curl", *_ALWAYS, *show, *_arguments(probe)])


def run(probe: Probe, *, quiet: bool = False) -> Answer:
    """Send the probe. A failed call is an Answer too; raises ToolMissing without a usable curl.

    `quiet` keeps polls out of the `-v` output.
    """
    if not quiet:
        report.command(curl_command(probe))
    with tempfile.TemporaryDirectory(prefix="kindloop-") as name:
        body, headers = Path(name) / "body", Path(name) / "headers"
        files = ("-o", str(body), "-D", str(headers), "-w", "%{json}")
        result = tools.run(
            "curl",
            *_ALWAYS,
            *files,
            *_arguments(probe),
            timeout_s=probe.max_time_s + _DEADLINE_SLACK_S,
            check=False,
            quiet=True,
        )
        return _answer(result, _bytes(headers), _bytes(body))


def get(url: str, *, max_time_s: float = 10.0) -> Answer:
    """GET `url` once, for polls; `max_time_s` is the deadline in seconds."""
    probe = Probe("get", "documented", "GET", url, url, max_time_s=max_time_s)
    return run(probe, quiet=True)


def _arguments(probe: Probe) -> list[str]:
    words = ["--max-time", f"{probe.max_time_s:g}"]
    if probe.method == "HEAD":
        words.append("--head")
    elif probe.method != "GET" or probe.body:
        words += ["-X", probe.method]
    for name, value in probe.headers:
        words += ["-H", f"{name}: {value}" if value else f"{name};"]
    return [*words, *_body(probe), probe.url]


def _body(probe: Probe) -> list[str]:
    if probe.body and probe.body.parts:
        return [word for part in probe.body.parts for word in _form(part)]
    if probe.body:
        return ["--data-raw", probe.body.text]
    if probe.method in ("POST", "PUT", "PATCH"):
        # Without a length some servers answer 411; the empty header takes curl's own type out.
        return ["-H", "Content-Type:", "--data-raw", ""]
    return []


def _form(part: Part) -> list[str]:
    if not part.media_type and not part.filename:
        return ["--form-string", f"{part.name}={part.value}"]
    value = part.value.replace("\\", "\\\\").replace('"', '\\"')
    text = f'{part.name}="{value}"'
    text += f";filename={part.filename}" if part.filename else ""
    return ["-F", text + (f";type={part.media_type}" if part.media_type else "")]


def _answer(result: tools.Result, headers: bytes, body: bytes) -> Answer:
    try:
        told = json.loads(result.stdout)
    except ValueError as exc:
        hint = "install a newer curl; invoke dev-doctor says which one is found"
        raise ToolMissing("the smoke test needs curl 7.70 or newer (-w json)", hint=hint) from exc
    return Answer(
        status=told.get("response_code", 0),
        content_type=told.get("content_type") or "",
        headers=_headers(headers.decode("latin-1")),
        body=body,
        time_s=told.get("time_total", result.duration_s),
        exit_code=result.exit_code,
        error=result.stderr.strip() or told.get("errormsg") or "",
    )


def _headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if line.startswith("HTTP/"):
            found = {}  # an interim answer (100 Continue) came before
        elif colon:
            found[name.strip().lower()] = value.strip()
    return found


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
