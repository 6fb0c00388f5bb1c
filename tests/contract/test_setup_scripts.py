"""The set-up scripts' own functions, called one by one, and the scripts as text."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scripts").rglob("*.sh"))


def shell(code: str) -> str:
    prelude = f"ROOT={ROOT}; HOME=/nowhere; USE_SG=0; for f in common engine look plan act; do . $ROOT/scripts/lib/$f.sh; done; "
    done = subprocess.run(
        ["bash", "-uc", prelude + code], capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("found", "needed", "expected"),
    [
        ("1.85", "1.85", "yes"),
        ("1.9", "1.85", "no"),
        ("2", "1.85", "yes"),
        ("0.31.0", "0.31", "yes"),
        ("0.08.9", "0.8.10", "no"),
        ("", "1.0", "no"),
        ("", "", "yes"),
    ],
)
def test_versions_are_compared_as_numbers(found: str, needed: str, expected: str) -> None:
    assert shell(f"version_ge '{found}' '{needed}' && echo yes || echo no").strip() == expected


@pytest.mark.parametrize(
    ("version", "privileged", "expected"),
    [("20.10.24", 1, "no"), ("20.10.24", 0, "yes"), ("23.0.0", 1, "yes"), ("", 0, "no")],
)
def test_an_old_engine_counts_where_privileged_works(
    version: str, privileged: int, expected: str
) -> None:
    code = f"load_versions; privileged_works() {{ return {privileged}; }}; "
    assert shell(code + f"engine_enough '{version}' && echo yes || echo no").strip() == expected


@pytest.mark.parametrize("candidate", ["20.10.24+dfsg1-1", "2:26.1.5+dfsg1-9"])
def test_only_the_packages_named_come_from_the_next_release(candidate: str, tmp_path: Path) -> None:
    code = (
        "load_versions; OS=linux DISTRIBUTION=debian CODENAME=bookworm ROOT_RIGHTS=yes FAILED= "
        "ENGINE=not-installed PLAN_APT= PLAN_SUITE= PLAN_TOOLS= CANNOT=; have() { true; }; "
        "privileged_works() { return 1; }; apt-cache() { echo '  Candidate: " + candidate + "'; }; "
        'plan_tool docker; echo "$PLAN_SUITE|$PLAN_APT"; '
        f"LOCAL={tmp_path} SUDO= APT_UPDATED=yes; "
        "apt-get() { echo 'http://mirror.example/debian/ bookworm main'; }; "
        'write_as_root() { echo "$2"; }; [ -z "$PLAN_SUITE" ] || act_suite'
    )
    said = shell(code)
    if candidate.startswith("2:26"):
        assert said == "| docker.io docker-cli docker-buildx\n"
        return
    assert said.startswith("docker| docker.io docker-cli docker-buildx\n")
    assert "Package: *\nPin: release n=trixie\nPin-Priority: 50\n" in said
    assert (
        "Package: docker.io docker-cli docker-buildx\nPin: release n=trixie\nPin-Priority: 600"
        in said
    )
    assert "URIs: http://mirror.example/debian\nSuites: trixie" in said


def test_a_command_that_hangs_is_ended() -> None:
    assert shell("within 1 sleep 600; echo $?").strip() == "124"


# --- the scripts as text


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        ["shellcheck", "-x", ROOT / "scripts/dev-setup.sh", ROOT / "scripts/dev-teardown.sh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


NOT_PORTABLE = {
    "bash 4": r"\bmapfile\b|\breadarray\b|declare -[aA]|local -[An]|\$\{\w+(,,|\^\^)|\|&|&>>|coproc",
    "GNU only": r"readlink -f|realpath|sed -i|sed -r|date -d|grep -[a-zA-Z]*P|stat -c|cp -a|\btimeout [0-9]|\btac\b|xargs -r|mktemp --|sort -V|head -n -",
    "piped into a shell": r"\|\s*(sudo\s+)?(ba|z|da)?sh\b",
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
@pytest.mark.parametrize("what", NOT_PORTABLE)
def test_the_scripts_keep_to_bash_3_2_and_posix_tools(script: Path, what: str) -> None:
    code = [line for line in script.read_text().splitlines() if not line.lstrip().startswith("#")]
    found = [line for line in code if re.search(NOT_PORTABLE[what], line)]
    assert not found


@pytest.mark.parametrize(
    ("priority", "expected"), [("500", "1.24.4-1"), ("600", "1.24.4-1"), ("50", ""), ("-1", "")]
)
def test_a_candidate_below_what_is_installed_is_none(priority: str, expected: str) -> None:
    table = (
        "golang-go:\\n  Installed: (none)\\n  Candidate: 2:1.24.4-1\\n  Version table:\\n"
        f"     2:1.24.4-1 {priority}\\n        {priority} http://deb.example trixie/main\\n"
    )
    assert shell(f"apt-cache() {{ printf '{table}'; }}; candidate golang-go") == expected


def test_what_root_writes_needs_no_folder_of_an_earlier_run(tmp_path: Path) -> None:
    code = 'as_root() { shift; "$@"; }; write_as_root "$LOCAL/../out" hello'
    shell(f"LOCAL={tmp_path}/checkout/.kindloop; {code}")
    assert (tmp_path / "checkout" / "out").read_text() == "hello\n"
