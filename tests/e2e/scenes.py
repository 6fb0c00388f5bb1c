"""The scenarios themselves: what is done, and what must be seen for it to count."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from live import DEFAULT_PORTS, Loop, docker, edit
from watching import Watch

from e2e.record import NotChecked, Scenario

__all__ = ["Scenes"]

T = TypeVar("T")
UP = "Tilt-like up on Linux"
DEPLOYED = "pet store builds and deploys"
CURL = "curl checks pass"
PROMETHEUS = "Prometheus scrapes"
GRAFANA = "Grafana shows dashboards"
JAEGER = "Jaeger receives traces"
RELOAD = "hot reload works"
LOAD = "goose load runs"
DOWN = "teardown leaves nothing"
WARM = "second up is warm"
DASHBOARDS = {"petstore", "loop", "cluster"}
SEEN_S = 60.0
"""Seconds that what is scraped or exported may take to be seen; scrapes come every 15 s."""


class Scenes:
    """The scenarios on one environment."""

    def __init__(self, loop: Loop, profile: str) -> None:
        self._loop = loop
        self._profile = profile

    def all(self) -> list[Scenario]:
        """In the order in which a user would meet them."""
        return [
            Scenario(UP, self._up),
            Scenario(DEPLOYED, self._deployed, (UP,)),
            Scenario(CURL, self._curl, (UP,)),
            Scenario(PROMETHEUS, self._prometheus, (UP,)),
            Scenario(GRAFANA, self._grafana, (UP,)),
            Scenario(JAEGER, self._jaeger, (UP,)),
            Scenario(RELOAD, self._reload, (UP,)),
            Scenario(LOAD, self._load, (UP,)),
            Scenario(DOWN, self._down),
            Scenario(WARM, self._warm, (UP, DOWN)),
        ]

    def _up(self) -> str:
        self._loop.ok("dev-up", "--wait", "all", timeout_s=3000)
        return self._loop.url

    def _deployed(self) -> str:
        self._loop.ok("dev-status", "--wait-fresh", "--timeout", "30")
        pods = self._loop.pods()
        assert list(pods.values()) == [0], f"restarts: {pods}"
        pets = json.loads(self._loop.curl("/pets", "-H", "X-API-Key: test123"))
        return f"{len(pets)} pets"

    def _curl(self) -> str:
        said = self._loop.ok("test.curl")
        return said.strip().splitlines()[-1]

    def _prometheus(self) -> str:
        def up() -> list[str]:
            found = self._json("prometheus", "/api/v1/query?query=up")["data"]["result"]
            down = [one["metric"] for one in found if one["value"][1] != "1"]
            jobs = sorted({one["metric"]["job"] for one in found})
            return jobs if {"petstore", "supervisor"} <= set(jobs) and not down else []

        return f"jobs {', '.join(self._soon(up))}"

    def _grafana(self) -> str:
        try:
            self._json("grafana", "/api/health")
        except (OSError, http.client.HTTPException):
            if self._loop.objects("deployments", "-l", "app.kubernetes.io/name=grafana"):
                raise
            raise NotChecked("its image is not here; next: invoke image.load FILE") from None
        found = self._json("grafana", "/api/search?type=dash-db", user="admin:admin")
        shown = {one["uid"] for one in found}
        assert shown >= DASHBOARDS, f"only {sorted(shown)}"
        return ", ".join(sorted(shown))

    def _jaeger(self) -> str:
        trace = secrets.token_hex(16)
        parent = f"traceparent: 00-{trace}-{secrets.token_hex(8)}-01"
        self._loop.curl("/pets", "-H", "X-API-Key: test123", "-H", parent)

        def spans() -> list[str]:
            try:
                found = self._json("jaeger", f"/api/traces/{trace}")["data"]
            except (OSError, http.client.HTTPException):  # 404 until it is there
                return []
            names = [span["operationName"] for one in found for span in one["spans"]]
            return names if any(name.startswith("handler ") for name in names) else []

        return ", ".join(sorted(self._soon(spans)))

    def _reload(self) -> str:
        source = self._loop.app / "app.rs"
        name = f"Rex-{secrets.token_hex(4)}"
        before = self._loop.pods()
        with Watch(self._loop) as watch:
            told = watch.saved(lambda: edit(source, '"name": "Rex"', f'"name": "{name}"'))
            assert name in self._loop.curl("/pets/1", "-H", "X-API-Key: test123")
            edit(source, f'"name": "{name}"', '"name": "Rex"')
            watch.saved(lambda: None)
        assert self._loop.pods() == before, "a swap made a new pod"
        return f"a save was served in {told['took_s']:.2f} s"

    def _load(self) -> str:
        said = self._loop.ok("test-load", "--profile", self._profile, timeout_s=1800)
        return next(one for one in said.splitlines() if one.startswith("✓ load "))

    def _down(self) -> str:
        self._loop.ok("dev-down")
        left = docker("ps", "--all", "--quiet", "--filter", f"name=^{self._loop.node}$").split()
        assert not left, f"containers: {left}"
        assert not self._loop.home.exists(), f"{self._loop.home} is still there"
        own = [port + self._loop.offset for port in DEFAULT_PORTS.values()]
        taken = [port for port in own if _listened(port)]
        assert not taken, f"ports: {taken}"
        running = _of(self._loop.root)
        assert not running, f"processes: {running}"
        return "no container, port, process or state"

    def _warm(self) -> str:
        said = self._loop.ok("dev-up")
        ran = [one for one in said.splitlines() if one.startswith("✓ bake")]
        assert not ran, f"not warm: {ran}"
        built = [
            one for one in said.splitlines()
            if one.startswith(("✓ router ·", "✓ generate ·", "✓ petstore ·", "✓ supervisor ·"))
        ]  # fmt: skip
        assert built, said
        assert all("up to date" in one for one in built), built
        self._loop.ok("dev-down")
        return "nothing baked, nothing compiled"

    def _json(self, part: str, path: str, *, user: str = "") -> Any:
        port = DEFAULT_PORTS[part] + self._loop.offset
        flags = ["--fail", *(["--user", user] if user else [])]
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "--max-time", "10", *flags,
             f"http://127.0.0.1:{port}{urllib.parse.quote(path, safe='/?&=:')}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ConnectionError(done.stderr.strip())
        return json.loads(done.stdout)

    def _soon(self, look: Callable[[], T]) -> T:
        deadline_s = time.monotonic() + SEEN_S
        while not (found := look()):
            assert time.monotonic() < deadline_s, f"not seen within {SEEN_S:g} s"
            time.sleep(0.2)
        return found


def _listened(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _of(checkout: Path) -> list[str]:
    """Command lines of processes whose working directory is in the checkout."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            inside = (entry / "cwd").readlink().is_relative_to(checkout)
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue  # it ended meanwhile, or is another user's
        if inside:
            found.append(words)
    return found
