"""Images of workloads: what goes in, a tag that is its digest, built and loaded when missing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from kindloop import bake, cluster, process, report, tools
from kindloop._yaml import display
from kindloop.config import SUPERVISOR_STAGE, SWAP_IN_POD, Config, Workload
from kindloop.errors import BuildFailed, ConfigError

__all__ = [
    "LABEL",
    "ImagePlan",
    "build",
    "built",
    "in_node",
    "load",
    "load_references",
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
    links: Mapping[str, str] = field(default_factory=dict)
    """Target of a symbolic link by path in the context: what comes by a swap."""
    supervised: str = ""
    """File name of the binary that the supervisor starts; empty without a swap."""

    @property
    def reference(self) -> str:
        """Repository and tag."""
        return f"{self.repository}:{self.tag}"


def repository(config: Config, workload: Workload) -> str:
    """Where images of the workload are named; no registry has this host name."""
    return f"kindloop.local/{config.name}/{workload.name}"


def plan(
    config: Config,
    workload: Workload,
    *,
    artifact: Path | None,
    base: str,
    platform: str,
    supervisor: Path | None = None,
    with_binary: bool = False,
) -> ImagePlan:
    """The image of a workload, its tag the digest of everything that goes in.

    `artifact` is the binary (None for an image of files alone), `base` a reference by digest,
    `supervisor` the program of that stage, which a workload with a swap needs. Where its binary
    comes by a swap the image has links in place of the synced files, and neither binary nor
    files decide its tag; `with_binary` puts both in, as profile `release` does. Raises
    ConfigError when a declared file is missing, or both fixed and swapped.
    """
    files = _copied(config.app.root, workload)
    links: dict[str, str] = {}
    binary = ""
    if workload.swap is None:
        files = {**({artifact.name: artifact} if artifact else {}), **files}
    else:
        files = {SUPERVISOR_STAGE: _needed(supervisor, "the supervisor"), **files}
        binary = PurePosixPath(config.stages[workload.swap.artifact].outputs[0]).name
        if config.swaps(workload) and not with_binary:
            links = {each.to: f"{SWAP_IN_POD}/current/{each.to}" for each in workload.sync}
        else:
            program = _needed(artifact, "its binary")
            files |= {program.name: program, **_synced(config.app.root, workload)}
    _refuse_overlaps(workload, files, links)
    dockerfile = workload.image.dockerfile
    draft = ImagePlan(repository(config, workload), "", base, dockerfile, files, links, binary)
    return replace(draft, tag=_tag(config, draft, platform))


def in_node(config: Config) -> dict[str, str]:
    """Digest by reference of every image in the node's containerd."""
    node = cluster.environment(config).node
    listed = tools.run("docker", "exec", node, "ctr", "-n", "k8s.io", "images", "ls", quiet=True)
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def build(config: Config, image: ImagePlan) -> bool:
    """Build the image unless the engine has it; returns whether it was built.

    Raises BuildFailed, and ConfigError when the image of a workload with a swap does not start
    the supervisor.
    """
    if bake.image_present(image.reference):
        return False
    context = config.local / "context" / image.repository.rpartition("/")[2]
    _lay_out(context, image)
    log = config.local / "logs" / "image-build.log"
    with report.step("image") as step:
        done = process.run(
            ["docker", "build", "--file", image.dockerfile, "--tag", image.reference,
             "--build-arg", f"BASE={image.base}", "--label", f"{LABEL}={config.name}",
             "--network", "none", context],
            log=log,
            on_line=lambda text, _stream: report.log(text),
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
    if image.supervised:
        _require_supervisor(image)
    return True


def _lay_out(context: Path, image: ImagePlan) -> None:
    shutil.rmtree(context, ignore_errors=True)
    for name, source in image.files.items():
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
    for name, points_to in image.links.items():
        link = context / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(points_to)  # COPY takes it over as it is, wherever it leads
    for folder, _, _ in os.walk(context):
        # COPY keeps modes, and the user in the image is not the one whose umask made these.
        Path(folder).chmod(0o755)


def _require_supervisor(image: ImagePlan) -> None:
    """Refuse an image whose process 1 would be another program: nothing could be swapped in it."""
    shown = tools.run("docker", "image", "inspect", "--format={{json .Config}}", image.reference)
    settings = json.loads(shown.stdout)
    entrypoint = settings.get("Entrypoint") or []
    if entrypoint and PurePosixPath(entrypoint[0]).name == SUPERVISOR_STAGE:
        return
    # It must not be found when the Dockerfile is tried again with the same words.
    tools.run("docker", "image", "rm", image.reference, check=False)
    folder = PurePosixPath(settings.get("WorkingDir") or "/")
    words = [str(folder / SUPERVISOR_STAGE), "--binary", str(folder / image.supervised), "--"]
    raise ConfigError(
        f"{display(image.dockerfile)} does not start the supervisor",
        evidence=[f"its ENTRYPOINT: {json.dumps(entrypoint) if entrypoint else 'none'}"],
        why="the supervisor starts and swaps the binary of a workload with a swap",
        hint=f"end {display(image.dockerfile)} with: ENTRYPOINT {json.dumps(words)}",
    )


def load(config: Config, image: ImagePlan) -> bool:
    """Load the image into the node unless it is there; returns whether it was loaded."""
    if image.reference in in_node(config):
        return False
    with report.step("load image into the node"):
        load_references(config, [image.reference])
    return True


def load_references(config: Config, references: Sequence[str]) -> None:
    """Bring images of the engine into the node, whether they are there or not."""
    # kind writes the images to a temporary file, and leaves it there when it is interrupted.
    with tempfile.TemporaryDirectory(prefix="kindloop-load-") as folder:
        tools.run(
            "kind", "load", "docker-image", *references, "--name", config.name,
            env={"TMPDIR": folder}, timeout_s=300,
        )  # fmt: skip


def superfluous(references: Sequence[str], keep: Sequence[str], kept: int = KEPT) -> list[str]:
    """Which of `references` (newest first) go: all but `keep` and the newest up to `kept`. Pure."""
    staying = {*keep, *[r for r in references if r not in keep][: max(kept - len(keep), 0)]}
    return [r for r in references if r not in staying]


def prune(config: Config, image: ImagePlan) -> list[str]:
    """Remove images of this workload beyond the newest two, in engine and node."""
    references = _listed(config, image.repository)
    gone = superfluous(references, [image.reference])
    for reference in gone:
        tools.run("docker", "image", "rm", reference, check=False)
    _prune_node(config, image, references)
    return gone


def built(config: Config, workload: Workload) -> list[str]:
    """References of the workload's images in the engine, newest first."""
    return _listed(config, repository(config, workload))


def _listed(config: Config, of: str) -> list[str]:
    listed = tools.run(
        "docker", "image", "ls", of, "--filter", f"label={LABEL}={config.name}",
        "--format", "{{json .}}", quiet=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    # docker lists newest first.
    return [f"{row['Repository']}:{row['Tag']}" for row in rows]


def _prune_node(config: Config, image: ImagePlan, references: Sequence[str]) -> None:
    """Remove the workload's images from the node, beyond the newest two that it has.

    `references` are those of the engine, newest first; it may have a newer one that the node never
    got. Containerd keeps an image while any name has its digest: all names of it go.
    """
    images = in_node(config)
    here = [r for r in references if r in images]
    gone = superfluous(here, [image.reference])
    staying = {images[r] for r in here if r not in gone}
    ours = {d for r, d in images.items() if r.startswith(f"{image.repository}:")}
    old = ours - staying
    names = [reference for reference, digest in images.items() if digest in old]
    if names:
        node = cluster.environment(config).node
        tools.run("docker", "exec", node, "ctr", "-n", "k8s.io", "images", "rm", *names)


def _tag(config: Config, image: ImagePlan, platform: str) -> str:
    content = [
        str(SCHEMA),
        image.base,
        platform,
        config.name,
        _sha256(image.dockerfile),
        *(f"{name} {_mode(path)} {_sha256(path)}" for name, path in sorted(image.files.items())),
        *(f"{name} -> {target}" for name, target in sorted(image.links.items())),
    ]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:16]


def _needed(program: Path | None, what: str) -> Path:
    if program is None:
        raise ValueError(f"the image of a workload with a swap needs {what}")
    return program


def _copied(root: Path, workload: Workload) -> dict[str, Path]:
    declared = ((each.source, each.to) for each in workload.image.files)
    return _context(root, workload, declared, "image.files")


def _synced(root: Path, workload: Workload) -> dict[str, Path]:
    return _context(root, workload, ((each.source, each.to) for each in workload.sync), "sync")


def _context(
    root: Path, workload: Workload, declared: Iterable[tuple[str, str]], setting: str
) -> dict[str, Path]:
    """File by path in the context; `declared` has what is copied, below `root`, and where to."""
    files: dict[str, Path] = {}
    for name, to in declared:
        source = root / name
        if source.is_file():
            files[to] = source
        elif source.is_dir():
            for path in sorted(p for p in source.rglob("*") if p.is_file()):
                files[f"{to}/{path.relative_to(source)}"] = path
        else:
            raise ConfigError(
                f"workload {workload.name} copies {name}, which does not exist",
                hint=f"correct workloads.{workload.name}.{setting} in kindloop.yaml",
            )
    return files


def _refuse_overlaps(
    workload: Workload, files: Mapping[str, Path], links: Mapping[str, str]
) -> None:
    """A folder copied to `.` may hold what is swapped as well; settings alone do not show it."""
    for name in files:
        for link in links:
            one, other = PurePosixPath(name), PurePosixPath(link)
            if one.is_relative_to(other) or other.is_relative_to(one):
                raise ConfigError(
                    f"workload {workload.name}: {one} is copied into the image, {other} is swapped",
                    why="a file is either fixed in the image or comes by a swap",
                    hint=f"correct image.files or sync of workloads.{workload.name} in "
                    "kindloop.yaml",
                )


def _mode(path: Path) -> str:
    return "x" if path.stat().st_mode & 0o100 else "-"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
