"""How what is published reaches the pods: a folder that the node mounts, or a stream into each.

The choice is told with its reason and never changes by itself: a mount that is dead is an error,
not a reason to go another way.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kindloop import cluster, state, tools
from kindloop.cluster import Environment, Node
from kindloop.config import Config, Workload
from kindloop.errors import CannotTell, KindloopError, NotOurs, RolloutFailed, ToolFailed
from kindloop.kindconfig import SWAP_IN_NODE
from kindloop.swapfiles import Folder, Want
from kindloop.transports.sending import SUPERVISOR_IN_IMAGE, Answer, Sender

__all__ = ["SUPERVISOR_IN_IMAGE", "Choice", "choose", "deliver", "mount_problem"]

DELIVERY_S = 60.0
"""Seconds until the pods must have taken everything: 8 MB through 1 Mbit/s need half of them."""
NODE_ANSWERS_S = 20.0
"""Seconds until the engine must have run a command in the node; a busy one needs one."""
LEFT_S = 60.0
"""Seconds after which a nonce on the disk is that of a killed process."""


@dataclass(frozen=True)
class Choice:
    """How files reach the pods of a workload, and why that way."""

    kind: Literal["mount", "exec"]
    reason: str


def choose(config: Config, workload: Workload) -> Choice:
    """The transport of a workload in force, tried when it is the mount.

    Raises NotOurs when the node does not see this machine's folder, CannotTell when the node
    cannot be asked.
    """
    if workload.swap is None:
        raise ValueError(f"workload {workload.name} has no swap")
    asked, setting = workload.swap.transport, f"workloads.{workload.name}.swap.transport"
    if asked == "exec":
        return Choice("exec", f"{setting} is exec")
    problem = mount_problem(config)
    if problem:
        raise NotOurs(
            f"a swap of {workload.name} would not reach its pods: {problem}",
            why=f"{setting} is {asked}, which needs the node to see this machine's folder",
            hint=f"invoke dev-up --recreate (deletes its data), or stream into the pods: "
            f"{setting}: exec in kindloop.yaml, then invoke dev-up",
        )
    seen = "the node sees this machine's swap folder"
    return Choice("mount", seen if asked == "auto" else f"{setting} is mount; {seen}")


def mount_problem(config: Config) -> str:
    """Why the node does not see what this machine writes; empty when it was seen to.

    A nonce is written here and read in the node. Raises CannotTell when the node cannot be asked.
    """
    env = cluster.environment(config)
    if not env.swap.is_dir():
        return f"the folder {env.swap} is gone, and with it the mount of {env.node}"
    _sweep(env.swap)
    nonce = secrets.token_hex(8)
    # A name of its own: two commands that try at once must not read each other's nonce.
    file = env.swap / f".nonce-{nonce}"
    try:
        state.write_atomic(file, nonce)
        said = tools.run(
            "docker", "exec", env.node, "cat", f"{SWAP_IN_NODE}/{file.name}",
            timeout_s=NODE_ANSWERS_S, check=False, quiet=True,
        )  # fmt: skip
    except ToolFailed as exc:
        raise _no_answer(env, exc.message) from exc
    except OSError as exc:
        return f"{env.swap} cannot be written: {exc.strerror}"
    finally:
        file.unlink(missing_ok=True)
    if said.ok and said.stdout.strip() == nonce:
        return ""
    if not said.ok and f"{SWAP_IN_NODE}/" not in said.stderr:
        raise _no_answer(env, said.stderr.strip() or f"exit code {said.exit_code}")
    return _diagnosis(env, cluster.inspect(env), _mounted(env))


def deliver(  # noqa: PLR0917
    config: Config,
    workload: Workload,
    folder: Folder,
    want: Want,
    choice: Choice,
    pods: Sequence[str],
    *,
    held: Mapping[str, Collection[str]] | None = None,
    has: Callable[[str], bool] = lambda _pod: False,
) -> tuple[str, ...]:
    """Bring what is published into the pods; with the mount it is there already.

    `held` are the digests that a pod says it has, by pod: they are not sent again, and stay there.
    `has` asks a pod whether it knows of what is published: the end of a stream may get lost on its
    way here. Returns the pods that were gone meanwhile: what takes their place has to be served
    anew. Raises RolloutFailed when a pod did not take it, saying which others have it.
    """
    if choice.kind == "mount" or not pods:
        return ()
    known = {pod: frozenset((held or {}).get(pod, ())) for pod in pods}
    until_s = time.monotonic() + DELIVERY_S
    with tempfile.TemporaryDirectory(prefix="kindloop-send-") as name:
        argv = cluster.kubectl_argv(config)
        sender = Sender(argv, folder, want, Path(name))
        answers = sender.send(known, until_s=until_s)
        lacking = {a.pod: known[a.pod] for a in answers.values() if a.state == "missing"}
        if lacking:
            answers |= sender.send(lacking, until_s=until_s, everything=True)
    for pod, answer in answers.items():
        if answer.state == "unsure" and has(pod):
            answers[pod] = replace(answer, state="taken")
    failed = [a for a in answers.values() if a.state not in ("taken", "gone")]
    if failed:
        raise _not_taken(workload, answers.values(), failed)
    return tuple(a.pod for a in answers.values() if a.state == "gone")


def _not_taken(
    workload: Workload, answers: Collection[Answer], failed: Sequence[Answer]
) -> KindloopError:
    taken = [a.pod for a in answers if a.state == "taken"]
    rest = f"these have it: {', '.join(taken)}" if taken else "no pod has it"
    return RolloutFailed(
        f"{len(failed)} of {len(answers)} pods of {workload.name} did not take the new binary",
        evidence=[
            *[f"{a.pod}: {a.reason}" for a in failed],
            *[f"{a.pod}: gone meanwhile" for a in answers if a.state == "gone"],
        ],
        why=f"{rest}; what ran in the others goes on",
        hint="invoke dev-status; then again: invoke dev-rebuild",
    )


def _sweep(folder: Path) -> None:
    for path in folder.glob(".nonce-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_S:
                path.unlink()


def _no_answer(env: Environment, said: str) -> CannotTell:
    return CannotTell(
        f"whether {env.node} sees the swap folder cannot be told",
        evidence=said.splitlines()[-3:],
        why="the node is stopped or being restarted, or the engine is not reached",
        hint="invoke dev-status, or: invoke dev-start",
    )


def _mounted(env: Environment) -> str:
    """The node's line on the mount, from the kernel; empty when it has none."""
    said = tools.run(
        "docker", "exec", env.node, "grep", "-F", f" {SWAP_IN_NODE} ", "/proc/self/mountinfo",
        timeout_s=NODE_ANSWERS_S, check=False, quiet=True,
    )  # fmt: skip
    return said.stdout.strip()


def _diagnosis(env: Environment, node: Node | None, mounted: str) -> str:
    """In words why the nonce was not there. Pure."""
    if node is None or not node.swap:
        return f"{env.node} has no mount of {env.swap}"
    if node.swap != str(env.swap):
        return f"{env.node} mounts {node.swap}, not {env.swap}: the state directory was moved"
    if "//deleted" in mounted:
        return f"{env.swap} was deleted and made again; {env.node} still mounts the deleted one"
    return (
        f"{env.node} mounts another {env.swap}: the folder was moved and made again, or the engine "
        "runs on another machine, or in a VM that does not share it"
    )
