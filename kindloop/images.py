"""Images of workloads: what goes in, a tag that is its digest, built and loaded when missing."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kindloop import bake, cluster, process, report, tools
from kindloop.config import Config, Workload
from kindloop.errors import BuildFailed, ConfigError

__all__ = [
    "LABEL",
    "ImagePlan",
    "build",
    "in_node",
    "load",
    "plan",
    "prune",
    "superfluous",
]

LABEL = "kindloop.environment"
"""Label on every image and object of ours; its value is the environment's name."""
KEPT = 2
"""Images of a workload that stay: the running one, and the one before it to go back to."""
SCHEMA = 1


@dataclass(frozen=True)
class ImagePlan:
    """An image as it has to be. `files` is source file by path in the context."""

    repository: str
    tag: str
    base: str
    dockerfile: Path
    files: Mapping[str, Path]

    @property
    def reference(self) -> str:
        """Repository and tag."""
        return f"{self.repository}:{self.tag}"


def repository(config: Config, workload: Workload) -> str:
    """Where images of the workload are named; no registry has this host name."""
    return f"kindloop.local/{config.name}/{workload.name}"


def plan(
    config: Config, workload: Workload, *, artifact: Path | None, base: str, platform: str
) -> ImagePlan:
    """The image of a workload, its tag the digest of everything that goes in.

    `artifact` is the binary (None for an image of files alone), `base` a reference by digest.
    Raises ConfigError when a declared file is missing.
    """
    files = _context(config.app.root, workload, artifact)
    content = [
        str(SCHEMA),
        base,
        platform,
        config.name,
        _sha256(workload.image.dockerfile),
        *(f"{name} {_mode(path)} {_sha256(path)}" for name, path in sorted(files.items())),
    ]
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]
    return ImagePlan(repository(config, workload), digest, base, workload.image.dockerfile, files)


def in_node(config: Config) -> dict[str, str]:
    """Digest by reference of every image in the node's containerd."""
    node = cluster.environment(config).node
    listed = tools.run("docker", "exec", node, "ctr", "-n", "k8s.io", "images", "ls", quiet=True)
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def build(config: Config, image: ImagePlan) -> bool:
    """Build the image unless the engine has it; returns whether it was built."""
    if bake.image_present(image.reference):
        return False
    context = config.local / "context" / image.repository.rpartition("/")[2]
    shutil.rmtree(context, ignore_errors=True)
    for name, source in image.files.items():
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    log = config.local / "logs" / "image-build.log"
    with report.step("image") as step:
        done = process.run(
            ["docker", "build", "--file", image.dockerfile, "--tag", image.reference,
             "--build-arg", f"BASE={image.base}", "--label", f"{LABEL}={config.name}",
             "--network", "none", context],
            log=log,
        )  # fmt: skip
        if not done.ok:
            raise BuildFailed(
                f"the image of {image.repository.rpartition('/')[2]} could not be built",
                evidence=[line for line in done.tail if line.strip()][-12:],
                why=f"{image.dockerfile.name} names a file that is not in its context, or a base "
                "that cannot be pulled",
                hint=f"less {log}",
            )
        step.note(f"built {image.tag}")
    shutil.rmtree(context, ignore_errors=True)
    return True


def load(config: Config, image: ImagePlan) -> bool:
    """Load the image into the node unless it is there; returns whether it was loaded."""
    if image.reference in in_node(config):
        return False
    # kind writes the image to a temporary file, and leaves it there when it is interrupted.
    with (
        report.step("load image into the node"),
        tempfile.TemporaryDirectory(prefix="kindloop-load-") as folder,
    ):
        tools.run(
            "kind", "load", "docker-image", image.reference, "--name", config.name,
            env={"TMPDIR": folder}, timeout_s=300,
        )  # fmt: skip
    return True


def superfluous(references: Sequence[str], keep: Sequence[str], kept: int = KEPT) -> list[str]:
    """Which of `references` (newest first) go: all but `keep` and the newest up to `kept`. Pure."""
    staying = {*keep, *[r for r in references if r not in keep][: max(kept - len(keep), 0)]}
    return [r for r in references if r not in staying]


def prune(config: Config, image: ImagePlan) -> list[str]:
    """Remove images of this workload beyond the newest two, in engine and node."""
    listed = tools.run(
        "docker", "image", "ls", image.repository, "--filter", f"label={LABEL}={config.name}",
        "--format", "{{json .}}", quiet=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    # docker lists newest first.
    references = [f"{row['Repository']}:{row['Tag']}" for row in rows]
    gone = superfluous(references, [image.reference])
    for reference in gone:
        tools.run("docker", "image", "rm", reference, check=False)
    staying = [r for r in references if r not in gone]
    _prune_node(config, image.repository, staying)
    return gone


def _prune_node(config: Config, repository: str, staying: Sequence[str]) -> None:
    """Containerd keeps an image while any name has its digest: remove all names of it."""
    images = in_node(config)
    old = {
        digest
        for reference, digest in images.items()
        if reference.startswith(f"{repository}:") and reference not in staying
    }
    old -= {digest for reference, digest in images.items() if reference in staying}
    names = [reference for reference, digest in images.items() if digest in old]
    if names:
        node = cluster.environment(config).node
        tools.run("docker", "exec", node, "ctr", "-n", "k8s.io", "images", "rm", *names)


def _context(root: Path, workload: Workload, artifact: Path | None) -> dict[str, Path]:
    files: dict[str, Path] = {}
    if artifact is not None:
        files[artifact.name] = artifact
    for copied in workload.image.files:
        source = root / copied.source
        if source.is_file():
            files[copied.to] = source
        elif source.is_dir():
            for path in sorted(p for p in source.rglob("*") if p.is_file()):
                files[f"{copied.to}/{path.relative_to(source)}"] = path
        else:
            raise ConfigError(
                f"workload {workload.name} copies {copied.source}, which does not exist",
                hint=f"correct workloads.{workload.name}.image.files in kindloop.yaml",
            )
    return files


def _mode(path: Path) -> str:
    return "x" if path.stat().st_mode & 0o100 else "-"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
