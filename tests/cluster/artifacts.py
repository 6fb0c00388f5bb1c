"""Artifacts that a test publishes by hand, and what their supervisors and processes do."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from live import PATIENCE_S, Loop, docker
from watching import becomes

from kindloop import flows, freshness, loading, state, supervised, swapfiles
from kindloop.config import Workload
from kindloop.supervised import Report, Verdict
from kindloop.swap import Desk
from kindloop.swapfiles import Want

SEED = b"Greta"
"""Name of the cat in the pet store as it is in the repository."""
SERVICE = r"""
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int listener) {
    const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    char request[4096];
    for (;;) {
        int client = accept(listener, 0, 0);
        if (client < 0) continue;
        if (read(client, request, sizeof request) > 0) write(client, answer, sizeof answer - 1);
        shutdown(client, SHUT_WR);
        while (read(client, request, sizeof request) > 0) continue;
        close(client);
    }
}

static void panic(int signal) {
    (void)signal;
    const char said[] = "thread 'main' panicked at src/start.rs:12:5:\nno table\n";
    write(2, said, sizeof said - 1);
    _exit(101);
}

int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(8080)};
#ifdef PANICS
    panic(0);
#endif
#ifdef HANGS
    for (;;) pause();
#endif
#ifdef PANICS_AFTER_S
    signal(SIGALRM, panic);
    alarm(PANICS_AFTER_S);
#endif
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 64)) return 3;
#ifdef LEAVES_CHILDREN
    if (fork() == 0) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        serve(listener);
    }
#endif
#ifdef IGNORES_TERM
    signal(SIGTERM, SIG_IGN);
#endif
    serve(listener);
}
"""
"""A service that fails in the way for which it is compiled."""


def compiled(folder: Path, *defined: str) -> Path:
    """A static program of SERVICE with these macros."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler; rustc needs one too"
    source, program = folder / "service.c", folder / "-".join(("service", *defined))
    source.write_text(SERVICE)
    flags = ["-static", "-O1", "-w", *(f"-D{one}" for one in defined)]
    subprocess.run([compiler, *flags, "-o", program, source], check=True)
    return program


class Bay:
    """The swap of one workload, done by hand in this process."""

    def __init__(self, loop: Loop, folder: Path, name: str = "petstore") -> None:
        self.loop = loop
        self.folder = folder
        self.config = loading.load(env=loop.environ, start=loop.root)
        self.workload: Workload = self.config.workloads[name]
        self.swap_folder = swapfiles.folder_of(self.config, self.workload)
        self.desk = Desk(self.config)

    @property
    def built(self) -> Path:
        """The artifact that the stage of the checkout has made."""
        found = list(
            self.loop.root.glob("examples/petstore/target/kindloop/loop/*/release/pet_store")
        )
        assert len(found) == 1, found
        return found[0]

    def named(self, name: str) -> Path:
        """The pet store with a cat of another name (5 letters)."""
        content = self.built.read_bytes()
        assert content.count(SEED) == 1
        return self.file(name, content.replace(SEED, name.encode()))

    def file(self, name: str, content: bytes) -> Path:
        """An artifact with this content."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o755)
        return path

    def swap(self, artifact: Path, **settings: Any) -> Verdict:
        """Swap the artifact in, with other settings of the swap; the supervisors' verdict."""
        assert self.workload.swap
        workload = replace(self.workload, swap=replace(self.workload.swap, **settings))
        with flows.changing(self.config):
            pushed = self.desk.push(workload, artifact, again=True)
            return self.desk.settle(workload, pushed.want, PATIENCE_S)

    def good(self) -> Report:
        """Swap in what the stage has made, and wait until it is what is rolled back to."""
        digest = sha256(self.built)
        assert self.swap(self.built, probation_ms=100).state == "fresh"
        becomes(lambda: all(one.good == digest for one in self.reports()))
        verdict = self.swap(self.built)  # with the settings that the checkout has
        assert verdict.state == "fresh", verdict.reason
        return verdict.pods[0]

    def want(self, artifact: Path) -> Want:
        """Place the artifact, and the want that would publish it."""
        now = self.swap_folder.want()
        assert now
        placed = self.swap_folder.place_binary(artifact)
        generation = self.swap_folder.next_generation()
        return replace(now, generation=generation, digest=placed.digest, size=placed.size)

    def publish(self, want: Want, **fields: Any) -> None:
        """Publish without any of the checks, with other fields."""
        state.write_json(self.swap_folder.path / "want.json", {**want.as_json(), **fields}, 0o644)

    def reports(self) -> list[Report]:
        """What the supervisors of the pods say now."""
        _, pods = supervised.look(self.desk.api, self.config, self.workload)
        said = supervised.ask_all(self.desk.api, self.config, pods)
        return [one for one in said if isinstance(one, Report)]

    def looked(self) -> tuple[int, str]:
        """Exit code and words of `dev-status --wait-fresh` for the workload, now."""
        found = [f for f in freshness.wait(self.config, 0) if f.workload == self.workload.name]
        return freshness.exit_code(found), found[0].detail

    def processes(self, digest: str) -> list[int]:
        """Processes of this artifact, by their number in the node, oldest first."""
        pattern = f"bin/[{digest[0]}]{digest[1:]}"  # does not find the command that looks
        look = f'for p in /proc/[0-9]*; do grep -qs "{pattern}" $p/cmdline && echo ${{p#/proc/}}; done; true'
        return sorted(int(word) for word in inside(self.loop, "sh", "-c", look).split())

    def close(self) -> None:
        """End the connection to the API server."""
        self.desk.forget()


def sha256(path: Path) -> str:
    """Its digest in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def inside(loop: Loop, *words: str) -> str:
    """Run a command in the node; what it says."""
    return docker("exec", loop.node, *words)


def variables(loop: Loop, pid: int) -> list[str]:
    """The environment of a process in the node."""
    return inside(loop, "cat", f"/proc/{pid}/environ").split("\0")


def modes(swap: Path) -> set[str]:
    """What kinds of files a swap directory has for the pods, with their permissions."""
    found = {f"dir {stat.S_IMODE(swap.stat().st_mode):o}"}
    for path in (p for p in swap.rglob("*") if not p.is_symlink()):
        kind = "dir" if path.is_dir() else "bin" if path.parent.name == "bin" else "file"
        if kind != "file" or path.parent != swap:  # the history beside the folders is ours alone
            found.add(f"{kind} {stat.S_IMODE(path.stat().st_mode):o}")
    return found
