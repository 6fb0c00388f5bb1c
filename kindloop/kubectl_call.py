"""kubectl as the user calls it: on our environment, masked, or with the terminal to itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Sequence

from kindloop import apiserver, cluster, process, report, secrecy
from kindloop.config import Config
from kindloop.errors import KindloopError

__all__ = ["run", "wants_terminal"]

_TTY = re.compile(r"-[iqt]*t[iqt]*|--tty(=true)?")
"""How kubectl is told to give the program in the pod a terminal."""


def run(config: Config, argv: Sequence[str]) -> int:
    """Run kubectl on this environment; returns its exit code.

    It has our standard input; its two outputs are masked and shown line by line. One that talks
    with the user has the terminal itself, where we have one: nothing can be masked there.
    """
    cluster.require(config)
    secrecy.mask_kubeconfig(cluster.environment(config).kubeconfig)  # `config view --raw`
    with contextlib.suppress(KindloopError), apiserver.connect(config):
        pass  # it knows the live Secrets now; what is wrong with the server, kubectl tells
    words = [*cluster.kubectl_argv(config), *argv]
    if wants_terminal(argv) and os.isatty(0) and os.isatty(1):
        code = process.hand_over(words)
    else:
        done = process.run(
            words, stdin=True, on_line=lambda text, of: report.relay(text, error=of == "err")
        )
        code = done.exit_code or 0
    return code if code >= 0 else 128 - code


def wants_terminal(argv: Sequence[str]) -> bool:
    """Whether kubectl, called so, talks with the user: `exec -it`, `edit` and the like. Pure."""
    own = list(itertools.takewhile(lambda word: word != "--", argv))
    # The word behind a flag may be its value, as in `-n shop exec`.
    plain = [
        word
        for before, word in itertools.pairwise(["", *own])
        if not word.startswith("-") and (not before.startswith("-") or "=" in before)
    ]
    match plain:
        case ["exec" | "attach" | "run" | "debug", *_]:
            return any(_TTY.fullmatch(word) for word in own)
        case ["edit", *_] | ["apply", "edit-last-applied", *_]:
            return True
        case ["create", *_]:
            return "--edit" in own
        case ["delete", *_]:  # it asks for each object
            return "-i" in own or "--interactive" in own
    return False
