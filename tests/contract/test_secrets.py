"""A secret is in variables, a Secret and what a program says; nothing that we write has it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from kindloop import process, report, tools
from kindloop.config import Config
from kindloop.masking import MASK
from kindloop.telemetry.facts import Part, Trace
from kindloop.telemetry.handing import hand_over
from kindloop.telemetry.target import Target

SHELL = "shell/hunter2+token"
SWAP = "swap-hunter3-token"
SECRET = "secret-hunter4\nsecond-line-hunter5"
NEVER = ("hunter2", "hunter3", "hunter4", "hunter5")
FILE = f"""\
version: 1
name: secret-contract
secrets: [SHELL_TOKEN, SWAP_TOKEN]
core: k8s
stages:
  leak:
    run: sh leak.sh
    inputs: [leak.sh]
    tools: []
    env: {{SWAP_TOKEN: {SWAP}}}
    env_inputs: [SHELL_TOKEN]
    platform: host
"""
SCRIPT = """\
printf 'token=%s' "${SHELL_TOKEN%????}"
sleep 0.2
printf '%s\\n' "${SHELL_TOKEN#"${SHELL_TOKEN%????}"}"
printf %s "$SHELL_TOKEN" | base64
printf 'error: %s\\n' "$SWAP_TOKEN" >&2
cat k8s/secret.yaml >&2
exit 1
"""
ENGINE = """echo '{"Version":"28.0.0","Os":"linux","Arch":"amd64"}'"""


@pytest.fixture
def project(homes: Path, repo: Path, fake: Callable[..., Path]) -> Path:
    folder = homes / "project"
    encoded = base64.b64encode(SECRET.encode()).decode()
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{key: {encoded}}}\n"
    secret += "# secret-hunter4\n# second-line-hunter5\n"
    files = {"kindloop.yaml": FILE, "leak.sh": SCRIPT, "k8s/secret.yaml": secret}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "tasks.py").write_bytes((repo / "tasks.py").read_bytes())
    fake("docker", ENGINE)
    return folder


def _invoke(project: Path, *words: str, **env: str) -> tools.Result:
    given = {"SHELL_TOKEN": SHELL, "PYTHONUNBUFFERED": "1", **env}
    return tools.run(sys.executable, "-m", "invoke", *words, cwd=project, env=given, check=False)


def _clean(text: str) -> None:
    """No word of a secret is in it, in whatever form."""
    words = [*NEVER, SHELL, SWAP, *SECRET.splitlines()]
    forms = [form for w in words for form in (w, quote(w), quote(w, safe=""))]
    forms += [base64.b64encode(w.encode()).decode()[:-4] for w in (SHELL, SWAP, SECRET)]
    assert [form for form in forms if form in text] == []


def _written(project: Path) -> str:
    """All that kindloop has written below `.kindloop`."""
    files = [p for p in (project / ".kindloop").rglob("*") if p.is_file()]
    assert files
    return "\n".join(f"{p.name}: {p.read_text(errors='replace')}" for p in files)


def test_a_stage_that_tells_its_secrets_tells_nobody(project: Path) -> None:
    for words in (["build.leak"], ["build.leak", "-v"], ["build", "--why"]):
        said = _invoke(project, *words)
        assert said.exit_code == (0 if "--why" in words else 5), said.stderr
        _clean(said.stdout + said.stderr)
    log = (project / ".kindloop/logs/build-leak.log").read_text()
    assert f"token={MASK}\n{MASK}\n" in log
    assert f"error: {MASK}\n" in log
    _clean(_written(project))


def test_a_stage_with_a_secret_is_stale_when_that_changes_and_only_then(project: Path) -> None:
    (project / "leak.sh").write_text("echo fine\n")
    assert _invoke(project, "build.leak").exit_code == 0
    assert "fresh" in _invoke(project, "build", "--why").stdout
    _clean(_written(project))
    changed = _invoke(project, "build", "--why", SHELL_TOKEN="another-hunter2-token")
    assert "environment SHELL_TOKEN changed" in changed.stdout


def test_settings_and_mistakes_are_shown_without_secrets(project: Path) -> None:
    for words in (["config.show"], ["config.show", "--json"], ["config.check", "--json"]):
        said = _invoke(project, *words)
        assert said.exit_code == 0, said.stderr
        _clean(said.stdout + said.stderr)
    assert MASK in _invoke(project, "config.show").stdout
    file = project / "kindloop.yaml"
    file.write_text(FILE.replace("version: 1", f"version: 1\nprofile: {SWAP}"))
    said = _invoke(project, "config.check", "--json")
    assert said.exit_code == 2
    assert MASK in said.stderr
    _clean(said.stdout + said.stderr)


def test_a_value_too_short_to_be_masked_is_told(project: Path) -> None:
    said = _invoke(project, "config.check", "--json", SHELL_TOKEN="abc")
    assert said.exit_code == 0
    text = (
        "SHELL_TOKEN: the variable is shorter than 4 characters: it is masked behind its key only"
    )
    assert json.loads(said.stdout)["warnings"] == [text]
    assert f"warning: {text}" in said.stderr


def test_a_traceback_has_none(tmp_path: Path) -> None:
    script = (
        "import threading; from kindloop import report; report.mask_with(['hunter2-token'])\n"
        "t = threading.Thread(target=lambda: [][len('a hunter2-token'):].index('hunter2-token'))\n"
        "t.start(); t.join()\n"
        "raise ValueError('it is ' + 'hunter2' + '-token')\n"
    )
    file = tmp_path / "crash.py"
    file.write_text(script)
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: it is ***"
    assert done.stderr.count("Traceback") == 2
    assert "hunter2-token" not in done.stderr


def test_a_secret_in_two_pieces_of_output_is_one(tmp_path: Path, unmasked: None) -> None:
    report.mask_with([SECRET])
    first, second = SECRET.splitlines()
    script = f"printf {first[:4]}; sleep 0.2; printf '{first[4:]}\\n{second[:3]}'; sleep 0.2; "
    script += f"printf '{second[3:]}\\n'"
    log = tmp_path / "child.log"
    heard: list[str] = []
    process.run(["sh", "-c", script], log=log, on_line=lambda text, _: heard.append(text))
    assert heard == [first, second]
    assert log.read_text() == f"{MASK}\n{MASK}\n"


def test_a_trace_that_is_handed_over_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmasked: None
) -> None:
    report.mask_with([SWAP])
    monkeypatch.setattr(process, "detach", lambda *_: None)
    part = Part("stage leak", 0.0, 1.0, error=f"it said {SWAP}", attributes={"note": SWAP})
    config = Config(tmp_path / "kindloop.yaml")
    hand_over(
        config,
        Target("http://127.0.0.1:9/v1/traces"),
        Trace(Part("up", 0.0, 1.0, parts=(part,)), "failed"),
    )
    file = tmp_path / f".kindloop/telemetry/{os.getpid()}.json"
    assert f"it said {MASK}" in file.read_text()
    _clean(file.read_text())
