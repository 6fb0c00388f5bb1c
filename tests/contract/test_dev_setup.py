"""scripts/dev-setup.sh and dev-teardown.sh: what they refuse, decide and pass on.

The failure paths run on a PATH of plain POSIX tools and fakes, so that nothing of the machine is
found or changed; the success path runs for real at the end.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POSIX = [
    "basename",
    "bash",
    "cat",
    "chmod",
    "cksum",
    "cp",
    "cut",
    "dirname",
    "env",
    "grep",
    "head",
    "id",
    "ln",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "sh",
    "sleep",
    "sort",
    "tail",
    "tr",
    "uname",
    "wc",
]
VERSIONS = {
    "docker": "26.1.5",
    "cc": "cc (Debian) 12.2.0",
    "cargo": "cargo 1.95.0 (f2d3ce0bd 2026-03-21)",
    "go": "go version go1.26.6 linux/amd64",
    "curl": "curl 8.14.1 (x86_64-pc-linux-gnu) libcurl/8.14.1",
    "kind": "kind v0.31.0 go1.26.6 linux/amd64",
    "kubectl": "Client Version: v1.34.3",
    "just": "just 1.59.0",
    "mmdebstrap": "mmdebstrap 1.3.5",
}


@dataclass
class Machine:
    """A checkout with the scripts, a PATH of its own and a log of what the fakes were asked."""

    root: Path
    bin: Path
    home: Path
    log: Path

    def fake(self, name: str, script: str) -> None:
        program = self.bin / name
        program.unlink(missing_ok=True)
        words = f"""printf '%s\\n' "{name} $*" >>'{self.log}'"""
        program.write_text(f"#!/bin/sh\n{words}\n{script}\n")
        program.chmod(0o755)

    def remove(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink()

    def everything(self) -> Machine:
        """Every tool answers in a sufficient version."""
        for name, said in VERSIONS.items():
            self.fake(name, f"echo '{said}'")
        self.fake("newuidmap", "")
        self.fake("docker", "case $1 in images) echo 4a650d3001f8 ;; *) echo 26.1.5 ;; esac")
        self.python()
        return self

    def python(self) -> None:
        self.fake("python3", f'exec {sys.executable} "$@"')

    def environment(self) -> None:
        """A .venv that counts as made from this pyproject.toml."""
        bin_ = self.root / ".venv/bin"
        bin_.mkdir(parents=True)
        (bin_ / "python").symlink_to(sys.executable)
        with (self.root / "pyproject.toml").open("rb") as file:
            digest = subprocess.run(["cksum"], stdin=file, capture_output=True, check=True).stdout
        (self.root / ".venv/kindloop.stamp").write_text(f"{digest.decode().strip()} {self.root}\n")

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.home), "NO_PROXY": "intranet.example"}

    def run(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "scripts" / script, *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def setup(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("dev-setup.sh", *words)

    def asked(self, name: str) -> list[str]:
        """The arguments with which a fake was called."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(name).strip() for line in lines if line.split(" ", 1)[0] == name]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    root, bin_, home = tmp_path / "checkout", tmp_path / "bin", tmp_path / "home"
    for folder in (bin_, home, root / "kindloop/data"):
        folder.mkdir(parents=True)
    root = root.resolve()
    shutil.copytree(ROOT / "scripts", root / "scripts")
    shutil.copy(ROOT / "kindloop/data/versions.toml", root / "kindloop/data/")
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    for name in POSIX:
        (bin_ / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    return Machine(root, bin_, home, tmp_path / "log")


@pytest.fixture
def debian(machine: Machine) -> Machine:
    """A Debian 12 with everything but a new enough cargo; apt knows what Debian 12 has."""
    machine.everything().environment()
    machine.fake("cargo", "echo 'cargo 1.63.0'")
    machine.fake("sudo", 'exec "$@"')
    machine.fake("ls", "")  # the package lists are there
    machine.fake(
        "apt-cache",
        "case $2 in cargo) v=0.66.0+ds1-1 ;; cargo-web) v=1.96.0+dfsg1-1~deb12u2 ;; "
        'libc6-dev) v=2.36-9 ;; *) v="(none)" ;; esac; echo "$2:"; echo "  Candidate: $v"',
    )
    machine.fake("apt-get", "")
    return machine


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]


# --- what cannot be had


def test_a_bare_machine_gets_one_line_per_tool(machine: Machine) -> None:
    done = machine.setup("--yes", "true")
    assert done.returncode == 7, done.stderr
    named = [line.split(" ", 1)[0] for line in lines_of(done)]
    tools = tomllib.loads((ROOT / "kindloop/data/versions.toml").read_text())["tool"]
    assert sorted(named) == sorted([*tools, "next:"])
    assert not (machine.root / ".venv").exists()


def test_each_line_says_what_for_and_how(machine: Machine) -> None:
    machine.everything()
    machine.fake("cargo", "echo 'cargo 1.63.0'")
    done = machine.setup("--yes", "true")
    assert done.returncode == 7, done.stderr
    (line, following) = lines_of(done)
    assert line.startswith("cargo (1.63.0, needed >= 1.85): builds the Rust service; install Rust")
    assert "dev-setup.sh" in following


def test_an_engine_that_denies_permission_is_not_installed_again(debian: Machine) -> None:
    debian.fake("docker", "echo 'permission denied: /var/run/docker.sock' >&2; exit 1")
    done = debian.setup("--yes", "true")
    if os.getuid() == 0:  # root is never kept from it by a group
        assert done.returncode == 7, done.stderr
        assert any("usermod -aG docker" in line for line in lines_of(done))
    assert not any("docker.io" in words for words in debian.asked("apt-get"))


def test_an_engine_elsewhere_that_does_not_answer(machine: Machine) -> None:
    machine.everything().environment()
    machine.fake("docker", "echo 'cannot connect' >&2; exit 1")
    done = subprocess.run(
        [machine.root / "scripts/dev-setup.sh", "--yes"],
        env={**machine.env, "DOCKER_HOST": "tcp://127.0.0.1:1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert "DOCKER_HOST=tcp://127.0.0.1:1 does not answer" in done.stderr


def test_an_old_python_is_not_enough(machine: Machine) -> None:
    machine.everything()
    machine.fake("python3", "echo Python 3.10.12")
    done = machine.setup("--yes", "true")
    assert done.returncode == 7
    assert lines_of(done)[0].startswith("python (3.10.12, needed >= 3.11): runs the tasks;")


# --- what is planned, and asking


def test_the_version_decides_not_the_presence(debian: Machine) -> None:
    done = debian.setup()
    assert "cargo      1.63.0, needed >= 1.85 <- packages cargo-web libc6-dev" not in done.stderr
    assert re.search(r"cargo +1\.63\.0, needed >= 1\.85 <- packages cargo-web", done.stdout)
    assert "apt-get install --no-install-recommends cargo-web" in done.stdout


def test_without_a_terminal_nothing_is_changed(debian: Machine) -> None:
    done = debian.setup()
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert all(words.startswith(("-s ", "indextargets")) for words in debian.asked("apt-get"))


def test_no_is_an_answer(debian: Machine) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        script = str(debian.root / "scripts/dev-setup.sh")
        os.execve(script, [script], debian.env)
    os.write(terminal, b"n\n")
    text = b""
    try:
        while chunk := os.read(terminal, 4096):
            text += chunk
    except OSError:
        pass  # Linux ends a terminal whose last program has left with EIO
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert (status, b"go on? [y/N]" in text) == (2, True), text
    assert all(words.startswith("-s ") for words in debian.asked("apt-get"))


def test_yes_installs_and_looks_again(debian: Machine) -> None:
    newer = debian.bin / "cargo"
    debian.fake(
        "apt-get",
        f'case "$*" in *"install -y"*) printf "#!/bin/sh\\necho cargo 1.96.0\\n" >{newer} ;; esac',
    )
    debian.fake("dpkg-query", "")
    done = debian.setup("--yes", "sh", "-c", "cargo --version")
    assert (done.returncode, done.stdout) == (0, "cargo 1.96.0\n"), done.stderr
    assert "ready" in done.stderr


def test_what_was_installed_and_still_is_too_old_is_not_tried_forever(debian: Machine) -> None:
    debian.fake("dpkg-query", "")
    done = debian.setup("--yes", "true")
    assert done.returncode == 7
    installs = [words for words in debian.asked("apt-get") if "install -y" in words]
    assert len(installs) == 1
    assert "cargo could not be had from apt" in done.stderr


def test_a_package_that_would_remove_another_is_left(debian: Machine) -> None:
    debian.fake("apt-get", 'case "$*" in *-s*) echo "Remv postgresql [15]" ;; esac')
    done = debian.setup("--yes", "true")
    assert done.returncode == 7
    assert "would remove postgresql" in done.stderr
    assert not any("install -y" in words for words in debian.asked("apt-get"))


def test_the_old_cargo_may_be_replaced(debian: Machine) -> None:
    debian.fake("apt-get", 'case "$*" in *-s*) echo "Remv cargo [0.66]" ;; esac')
    assert "removes: cargo" in debian.setup().stdout


# --- passing on


@pytest.fixture
def ready(machine: Machine) -> Machine:
    machine.everything().environment()
    return machine


def test_the_second_run_says_that_it_does_nothing(ready: Machine) -> None:
    done = ready.setup()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nothing to do")
    assert f"source {ready.root}/.venv/bin/activate" in done.stdout


def test_the_exit_code_and_the_output_are_the_commands_own(ready: Machine) -> None:
    done = ready.setup("sh", "-c", "echo out; exit 42")
    assert (done.returncode, done.stdout) == (42, "out\n")
    assert "nothing to do" in done.stderr


def test_words_arrive_as_they_were_given(ready: Machine) -> None:
    words = ["a b", "it's", "$HOME", "", "--yes"]
    script = 'for word in "$@"; do echo "[$word]"; done'
    done = ready.setup("--", "sh", "-c", script, "sh", *words)
    assert done.stdout.splitlines() == [f"[{word}]" for word in words]


def test_the_command_bypasses_proxies_for_this_machine(ready: Machine) -> None:
    done = ready.setup("sh", "-c", "echo $NO_PROXY; echo $no_proxy; echo $VIRTUAL_ENV")
    upper, lower, environment = done.stdout.splitlines()
    assert upper == lower
    assert upper.split(",")[:3] == ["intranet.example", "127.0.0.1", "localhost"]
    assert environment == f"{ready.root}/.venv"


def test_an_unknown_option_is_a_usage_error(ready: Machine) -> None:
    done = ready.setup("--yolo")
    assert (done.returncode, "usage:" in done.stderr) == (2, True)


def test_a_changed_pyproject_makes_the_environment_stale(ready: Machine) -> None:
    (ready.root / "pyproject.toml").write_text('[project]\nname = "y"\nversion = "1"\n')
    done = ready.setup()
    assert done.returncode == 2
    assert "pip install -e" in done.stdout


# --- teardown


@pytest.fixture
def used(ready: Machine) -> Machine:
    """A machine with an environment, images of ours and of others, a cache and a state."""
    ready.fake("invoke", "")
    shutil.move(ready.bin / "invoke", ready.root / ".venv/bin/invoke")
    (ready.root / ".kindloop").mkdir()
    (ready.home / ".cache/kindloop/parts").mkdir(parents=True)
    (ready.home / ".local/state/kindloop/pets").mkdir(parents=True)
    ready.fake(
        "docker",
        "case \"$1 $2\" in 'version '*) echo 26.1.5 ;; 'image ls') echo ours; echo foreign ;; "
        "'image inspect') for last; do :; done; case \"$4$last\" in "
        "*Labels*ours) echo kindloop.recipe ;; *Labels*) echo maintainer ;; "
        '*RepoTags*) echo "$last:tag" ;; esac ;; esac',
    )
    return ready


def gone(machine: Machine) -> list[bool]:
    home = machine.home
    folders = [machine.root / ".venv", machine.root / ".kindloop"]
    return [
        not f.exists() for f in [*folders, home / ".cache/kindloop", home / ".local/state/kindloop"]
    ]


def test_teardown_of_a_checkout_leaves_the_rest(used: Machine) -> None:
    done = used.run("dev-teardown.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert used.asked("invoke") == ["dev-down"]
    assert gone(used) == [True, True, False, False]
    assert used.run("dev-teardown.sh", "--yes").stdout.startswith("nothing to do")


def test_teardown_of_all_removes_only_what_is_ours(used: Machine) -> None:
    done = used.run("dev-teardown.sh", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    assert used.asked("invoke") == ["dev-down --all"]
    assert gone(used) == [True, True, True, True]
    removed = [words for words in used.asked("docker") if words.startswith("image rm")]
    assert removed == ["image rm ours:tag", "image rm ours"]
    assert not any(
        re.match(r"(rm|kill|stop|container|volume|network|system)\b", w)
        for w in used.asked("docker")
    )


def test_teardown_asks(used: Machine) -> None:
    done = used.run("dev-teardown.sh", "--all")
    assert done.returncode == 2
    assert gone(used) == [False] * 4


def test_teardown_stops_when_the_cluster_stays(used: Machine) -> None:
    (used.root / ".venv/bin/invoke").write_text("#!/bin/sh\nexit 8\n")
    done = used.run("dev-teardown.sh", "--all", "--yes")
    assert done.returncode == 1
    assert "was not deleted" in done.stderr
    assert gone(used) == [False] * 4


def test_teardown_never_forgets_an_environment_it_cannot_delete(used: Machine) -> None:
    (used.root / ".venv/bin/invoke").unlink()
    done = used.run("dev-teardown.sh", "--all", "--yes")
    assert done.returncode == 7
    assert "environments (pets)" in done.stderr
    assert gone(used) == [False] * 4


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.send_signal(signal.SIGKILL)


def test_teardown_never_ends_a_process_that_is_not_our_dockerd(
    used: Machine, bystander: subprocess.Popen[bytes]
) -> None:
    stat = Path(f"/proc/{bystander.pid}/stat").read_text()
    record = used.home / ".local/state/kindloop/dockerd.pid"
    record.write_text(f"{bystander.pid}\n{stat.rpartition(')')[2].split()[19]}\n")
    assert used.run("dev-teardown.sh", "--all", "--yes").returncode == 0
    assert bystander.poll() is None


# --- for real


@pytest.mark.slow
def test_a_real_set_up_and_its_second_run(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", ".kindloop", "target", "node_modules", ".nox")
    shutil.copytree(ROOT, copy, ignore=ignored)
    env = {key: value for key, value in os.environ.items() if not key.startswith("VIRTUAL_ENV")}
    script = copy / "scripts/dev-setup.sh"
    code = "import kindloop, sys; print(json.dumps([kindloop.__file__, sys.prefix]))"
    first = subprocess.run(
        [script, "--yes", "python", "-c", f"import json; {code}"],
        env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == [
        str(copy / "kindloop/__init__.py"),
        str(copy / ".venv"),
    ]
    before = {path: path.lstat().st_mtime_ns for path in copy.rglob("*")}
    second = subprocess.run(
        [script], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("nothing to do")
    assert {path: path.lstat().st_mtime_ns for path in copy.rglob("*")} == before
