"""Logs of a live environment: followed through swaps, a restart and a new pod; secrets in none."""

from __future__ import annotations

import base64
import json
import re
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from artifacts import inside
from live import Loop, edit
from watching import becomes, configure

SHELL, SWAP, OBJECT, LIVE = (f"hunter{n}/secret+word" for n in range(4))
NEVER = [f"hunter{n}" for n in range(4)]
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {{name: petstore-secret}}
data: {{key: {}}}
"""


@pytest.fixture
def secretive(healed: Loop) -> Iterator[Loop]:
    """An environment with a secret in a variable, in swap.env, in a manifest and in the cluster."""
    edit(healed.settings, "profile: loop\n", "profile: loop\nsecrets: [SHELL_TOKEN, SWAP_TOKEN]\n")
    edit(healed.settings, "{RUST_LOG: info", f"{{SWAP_TOKEN: {SWAP}, RUST_LOG: info")
    edit(
        healed.manifests / "kustomization.yaml",
        "  - service.yaml",
        "  - service.yaml\n  - secret.yaml",
    )
    encoded = base64.b64encode(OBJECT.encode()).decode()
    (healed.manifests / "secret.yaml").write_text(SECRET.format(encoded))
    healed.kubectl("create", "secret", "generic", "outside", f"--from-literal=key={LIVE}")
    healed.env["SHELL_TOKEN"] = SHELL
    yield healed
    del healed.env["SHELL_TOKEN"]
    healed.kubectl("delete", "secret", "outside")
    (healed.manifests / "secret.yaml").unlink()


class Asking:
    """Requests that the service logs, each with a path of its own."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.asked: list[str] = []

    def ask(self, count: int = 5) -> None:
        """Ask so often."""
        for _ in range(count):
            path = f"/no-{len(self.asked):03d}-such"
            self.loop.curl(path, "-o", "/dev/null")
            self.asked.append(path)

    def answers(self) -> bool:
        return "HTTP" in self.loop.curl("/health", "-i", "--retry", "20", "--retry-connrefused")

    def logged(self, text: str) -> list[str]:
        """Their paths as a log has them."""
        return re.findall(r"/no-\d{3}-such", text)


def _swap(loop: Loop, token: str) -> None:
    configure(loop, token)
    loop.ok("dev-rebuild")


def test_followed_through_swaps_a_restart_and_a_new_pod(up: Loop) -> None:
    asking = Asking(up)
    asking.ask()
    running = up.start("dev-logs", "-f", "--tail", "20")
    running.until(lambda r: len(asking.logged(r.text)) == 5)
    for number in range(3):
        _swap(up, f"token-{number}")
        asking.ask()
    (pod,) = (p["metadata"]["name"] for p in _pods(up))
    # The supervisor is process 1 of the container, and the parent of the pet store.
    pid = inside(up, "pgrep", "-x", "supervisor").split()[0]
    inside(up, "kill", "-9", pid)
    running.until(lambda r: "was started again" in r.text)
    becomes(asking.answers)
    asking.ask()
    up.kubectl("delete", "pod", pod, "--wait=false")
    # As long as it stops it may answer still, and its log goes with it.
    running.until(lambda r: f"petstore/{pod[-5:]} is gone" in r.text)
    becomes(asking.answers)
    asking.ask()
    running.until(lambda r: asking.asked[-1] in r.text)
    running.interrupt()
    said = running.end()
    assert said.code == 130
    assert asking.logged(said.text) == asking.asked  # none is lost, none is there twice
    rules = re.findall(
        r"^── (swap \w{8}|\w{8} started again) ── petstore/(\w{5})$", said.text, re.MULTILINE
    )
    (new,) = (p["metadata"]["name"][-5:] for p in _pods(up))
    assert [what.split()[0] for what, at in rules if at == pod[-5:]][-4:-1] == ["swap"] * 3
    assert [what.split()[0] for what, at in rules if at == new] == ["swap"]
    assert "\x1b[" not in said.text  # it is no terminal
    chosen = up.say("dev-logs", "--grep", asking.asked[-1], "--since", "1m", "--json")
    (line,) = (json.loads(row) for row in chosen.text.splitlines() if asking.asked[-1] in row)
    assert (line["kind"], line["source"], line["name"]) == ("line", "workload", "petstore")
    assert line["pod"].endswith(new)


def test_a_secret_is_in_nothing_that_is_written(secretive: Loop, tmp_path: Path) -> None:
    loop = secretive
    said = [loop.say("dev-rebuild", "-v").text]
    follow = loop.start("dev-logs", "-f", "--tail", "5")
    for word in (SHELL, SWAP, OBJECT, LIVE):
        loop.curl(f"/said/{quote(word, safe='')}", "-o", "/dev/null")
    loop.curl("/said/the-end", "-o", "/dev/null")
    follow.until(lambda r: "/said/the-end" in r.text)
    follow.popen.send_signal(signal.SIGINT)
    said.append(follow.end().text)
    bundle = tmp_path / "report.tar.gz"
    looks = (
        ("dev-logs", "--since", "5m", "--json"),
        ("dev-status", "--json"),
        ("swap.status", "--json"),
        ("config.show", "--json"),
        ("k8s.diff", "-v"),
        ("k8s.kubectl", "--", "get", "secrets", "-o", "yaml"),
        ("k8s.kubectl", "--", "get", "secrets", "-o", "json"),
        ("dev-doctor", "--bundle", str(bundle)),
    )
    said += [loop.say(*words).text for words in looks]
    with tarfile.open(bundle) as tar:
        files = {m.name: tar.extractfile(m).read().decode() for m in tar.getmembers()}  # type: ignore[union-attr]
    written = {
        str(path): path.read_text(errors="replace")
        for path in (loop.root / ".kindloop").rglob("*")
        if path.is_file()
    }
    assert any("***" in text for name, text in files.items() if "logs/pods" in name)
    assert said[1].count("/said/***") == 4
    everything = {**files, **written, **{f"said {n}": text for n, text in enumerate(said)}}
    forms = [*NEVER, *(base64.b64encode(w.encode()).decode() for w in (SHELL, SWAP, OBJECT, LIVE))]
    found = [(name, form) for name, text in everything.items() for form in forms if form in text]
    assert found == []


def _pods(loop: Loop) -> list[dict[str, dict[str, str]]]:
    chosen = loop.objects("pods", "-l", "app.kubernetes.io/name=petstore")
    return [pod for pod in chosen if "deletionTimestamp" not in pod["metadata"]]
