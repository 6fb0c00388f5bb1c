"""The alert rules by the real promtool: they are rules, and each fires and resolves as its test says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from observability import queries

from kindloop import components

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def promtool() -> Run:
    """That of Prometheus; made once per machine, as `invoke dev-up` would."""
    if components.promtool() is None:
        components.prepare(["prometheus"])
    found = components.promtool()
    assert found, "there is no promtool; next: invoke dev-up --observability minimal"

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [str(found), *map(str, words)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_the_rules_are_rules(promtool: Run) -> None:
    done = promtool("check", "rules", queries.RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries.rules())} rules found" in done.stdout


def test_each_alert_fires_and_resolves(promtool: Run) -> None:
    done = promtool("test", "rules", queries.RULE_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("up == 0\n", "up == 2\n"),
        ("unless group by (workload) (up)", "unless up"),
        ('up{workload!=""}', 'up{workload="x"}'),
        ("> 0.05", "> 0.2"),
        ("> 0.25", "> 0.7"),
        ("increase(kindloop_restarts_total[2m]) > 0", "kindloop_restarts_total > 1e9"),
        ("changes(container_start_time_seconds[2m]) > 0", "up > 1"),
        ("> 0.9", "> 0.96"),
        ("kindloop_stale_seconds > 60", "kindloop_stale_seconds > 100"),
        ("for: 30s", "for: 0s"),
        ("for: 15s", "for: 5m"),
    ],
)
def test_a_rule_that_says_something_else_is_found(
    promtool: Run, tmp_path: Path, old: str, new: str
) -> None:
    """The tests of the rules can fail: for each part of a rule, one of them does."""
    text = queries.RULES.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "rules.yaml").write_text(text.replace(old, new), encoding="utf-8")
    shutil.copy2(queries.RULE_TESTS, tmp_path)
    assert promtool("check", "rules", tmp_path / "rules.yaml").returncode == 0
    done = promtool("test", "rules", tmp_path / queries.RULE_TESTS.name)
    assert done.returncode == 1
    assert "FAILED" in done.stdout + done.stderr
