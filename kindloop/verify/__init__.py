"""The smoke test: every operation of an OpenAPI document, called with curl and checked.

Calls never go through a proxy: what is checked runs on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kindloop import report
from kindloop.errors import Unhealthy
from kindloop.verify import curl, openapi
from kindloop.verify.check import Outcome, judge
from kindloop.verify.document import Document
from kindloop.verify.plan import Probe, plan, select
from kindloop.verify.probe import answers, wait_quick

__all__ = ["Report", "Row", "answers", "smoke", "wait_answers", "wait_quick"]

_STATUS_HINT = "invoke dev-status"


@dataclass(frozen=True)
class Row:
    """One check. `status` is 0 without an answer, `ms` the time curl took, `path` a template."""

    name: str
    method: str
    path: str
    checked: str
    status: int
    content_type: str
    ms: float
    ok: bool
    reason: str
    curl: str
    """The same call as a command to copy."""


@dataclass(frozen=True)
class Report:
    """What the smoke test found, in the order of the calls."""

    base_url: str
    rows: tuple[Row, ...]

    @property
    def failed(self) -> tuple[Row, ...]:
        """The checks that did not pass."""
        return tuple(row for row in self.rows if not row.ok)

    @property
    def summary(self) -> str:
        """One line: `31 checks: 31 passed, 0 failed`."""
        failed = len(self.failed)
        return f"{len(self.rows)} checks: {len(self.rows) - failed} passed, {failed} failed"

    def table(self) -> str:
        """A line per check and the summary."""
        cells = [
            ("ok" if r.ok else "FAIL", r.method, r.path, r.checked, str(r.status), f"{r.ms:.0f} ms")
            for r in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=False))
            + f"  {row[-1]:>{widths[-1]}}"
            for row in cells
        ]
        return "\n".join([*lines, self.summary])

    def raise_if_failed(self) -> None:
        """Raise Unhealthy that names each failed check, with its reason and curl command."""
        if not self.failed:
            return
        names = ", ".join(row.name for row in self.failed)
        raise Unhealthy(
            f"{len(self.failed)} of {len(self.rows)} checks failed: {names}",
            why="the service does not do what its OpenAPI document says",
            hint="run a curl command above to see the answer; mend the handler or the document",
            evidence=[line for row in self.failed for line in _evidence(row)],
        )


def smoke(base_url: str, document: Path, *, only: str | None = None) -> Report:
    """Call every operation of `document` at `base_url`, show a table, return what was found.

    `only` takes one operation: its operationId, path, `METHOD /path` or a glob of these. Raises
    ConfigError for a wrong document or an unknown operation, Unhealthy when nothing answers,
    before or during the calls; what answers wrongly is in the Report.
    """
    read = openapi.read(document)
    operations = openapi.operations(read)
    chosen = operations if only is None else select(operations, only)
    probes = plan(read, chosen, base_url, unknown_path=only is None)
    _must_answer(base_url)
    rows: list[Row] = []
    for probe in probes:
        row = _row(read, probe)
        rows.append(row)
        # A node port resets calls when nothing stands behind it; a refused one says the same.
        if not row.status and not probe.problem and curl.get(base_url).exit_code:
            raise _gone(base_url, rows)
    result = Report(base_url, tuple(rows))
    report.output(result.table())
    return result


def wait_answers(url: str, timeout_s: float, *, interval_s: float = 0.1) -> float:
    """Poll `url` until it answers 200; return how many seconds that took.

    Raises Unhealthy after `timeout_s` seconds with the last thing seen.
    """
    started_s = time.monotonic()
    while True:
        left_s = timeout_s - (time.monotonic() - started_s)
        answer = curl.get(url, max_time_s=min(max(left_s, 0.1), 5.0))
        took_s = time.monotonic() - started_s
        if answer.status == 200 and not answer.exit_code:
            return took_s
        if took_s >= timeout_s:
            raise Unhealthy(
                f"{url} did not answer 200 within {timeout_s:g} s",
                hint=_STATUS_HINT,
                evidence=[f"last seen: {_seen(answer)}"],
            )
        time.sleep(interval_s)  # nothing tells when the port of another process opens


def _row(document: Document, probe: Probe) -> Row:
    if probe.problem:
        answer = curl.Answer(0)
        outcome = Outcome(False, probe.problem, ())
    else:
        answer = curl.run(probe)
        outcome = judge(document, probe, answer)
    return Row(
        name=probe.name,
        method=probe.method,
        path=probe.path,
        checked=_checked(probe, outcome),
        status=answer.status,
        content_type=answer.content_type,
        ms=answer.time_s * 1000,
        ok=outcome.ok,
        reason=outcome.reason,
        curl=curl.curl_command(probe),
    )


def _checked(probe: Probe, outcome: Outcome) -> str:
    what = ", ".join(outcome.checked) or "not called"
    return what if probe.kind == "documented" else f"{probe.kind}: {what}"


def _must_answer(base_url: str) -> None:
    answer = curl.get(base_url)
    if answer.exit_code:
        raise Unhealthy(
            f"nothing answers on {base_url}",
            hint=_STATUS_HINT,
            evidence=[_seen(answer)],
        )


def _gone(base_url: str, rows: Sequence[Row]) -> Unhealthy:
    report.output(Report(base_url, tuple(rows)).table())
    return Unhealthy(
        f"nothing answers on {base_url} any more",
        why="the service went away during one of these calls; it may have ended the process",
        hint=_STATUS_HINT,
        evidence=[line for row in rows[-2:] for line in _evidence(row)],
    )


def _evidence(row: Row) -> tuple[str, str]:
    return f"{row.name}: {row.method} {row.path}: {row.reason or 'ok'}", f"  {row.curl}"


def _seen(answer: curl.Answer) -> str:
    if answer.exit_code:
        return answer.error or f"curl ended with exit code {answer.exit_code}"
    return f"status {answer.status}: {answer.excerpt() or '(no body)'}"
