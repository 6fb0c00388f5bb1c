"""Images of the observability components, from packages, where no registry is reachable."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kindloop import state, tools
from kindloop.bake import oci
from kindloop.bake.debian import mirror
from kindloop.bake.node import LABEL
from kindloop.bake.parts import Part, architecture, go_part, run
from kindloop.errors import BuildFailed
from kindloop.versions import section

__all__ = [
    "BAKED",
    "Recipe",
    "assemble",
    "part",
    "parts",
    "promtool",
    "reference",
    "select",
    "tools_of",
]

USER = 65534
"""nobody, as in the images of Prometheus itself; a pod may choose another."""
LAYOUT = 1
"""Raised when `_layer` lays the same files out in another way."""
LIBC = ("usr/lib/*/libc.so.6", "usr/lib/*/libresolv.so.2", "usr/lib/*/ld-linux*.so.*")
"""What Debian's Go programs load."""
LOADER = ("usr/lib64/ld-linux*.so.*", "usr/lib/ld-linux*.so.*")
"""Where programs look for the loader; which of the two depends on the architecture."""
CERTIFICATES = "usr/share/ca-certificates/mozilla/*.crt"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
"""Where Go looks for certificates; Debian writes it in a script that does not run here."""


@dataclass(frozen=True)
class Recipe:
    """How the image of a component is made."""

    what: str
    estimate_s: float
    """Seconds on 2 cores without any cache."""
    program: str
    """Path of the program in the image: its entrypoint."""
    data: str
    """Folder of its data in the image, which belongs to USER; empty where it keeps none."""
    packages: Sequence[str] = ()
    """Debian packages; empty where it is a Go program with a recipe of its own name."""
    files: Sequence[str] = ()
    """Patterns of the packages' files that belong in the image; each must match."""
    module: str = ""
    """Go package to build; empty where it comes from Debian."""
    web: bool = False
    """Whether it has its web page."""


BAKED = {
    "prometheus": Recipe(
        "Prometheus of Debian", 15, "usr/bin/prometheus", "prometheus",
        packages=("prometheus", "promtool"),
        # The web page is templates and scripts that other packages have.
        files=("usr/share/prometheus/web/*", "usr/share/javascript/*", "usr/share/nodejs/*",
               "usr/share/fonts-glyphicons/*"),
        web=True,
    ),
    "alertmanager": Recipe(
        "Alertmanager of Debian", 10, "usr/bin/prometheus-alertmanager", "alertmanager",
        packages=("prometheus-alertmanager",),
        # Its web page needs Elm, which Debian lacks.
        files=("usr/share/prometheus/alertmanager/*.tmpl", "usr/share/zoneinfo/*"),
    ),
    "jaeger": Recipe(
        "Jaeger", 200, "usr/bin/jaeger", "badger",
        module="github.com/jaegertracing/jaeger/cmd/all-in-one",
    ),
    "collector": Recipe(
        "OpenTelemetry collector", 80, "usr/bin/otelcol", "", module=".", web=True
    ),
}  # fmt: skip
"""The components that can be made from packages. The collector has no web page to lack."""


def reference(name: str) -> str:
    """Reference of the image that a bake of this recipe gives; no registry has this host name."""
    return f"kindloop.local/{name}:{part(name).digest}"


def parts() -> list[Part]:
    """The part of every component, in their order."""
    return [part(name) for name in BAKED]


def part(name: str) -> Part:
    """What is made for one component: `layer.tar`, and `promtool` beside that of Prometheus."""
    recipe = BAKED[name]
    return _go(name, recipe) if recipe.module else _debian(name, recipe)


def promtool() -> Path:
    """Where the host's promtool lies once Prometheus is made; Linux with glibc 2.34 runs it."""
    return part("prometheus").folder / "promtool"


def tools_of(name: str) -> tuple[str, ...]:
    """What this machine needs to make a component."""
    return ("go",) if BAKED[name].module else ("mmdebstrap",)


def assemble(name: str) -> str:
    """Load the image of a finished part into the engine; returns its reference."""
    recipe, made = BAKED[name], part(name)
    archive = state.cache_home() / "work" / f"{made.folder.name}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    spec = oci.ImageSpec(
        reference(name), made.folder / "layer.tar", architecture(), [f"/{recipe.program}"],
        labels={LABEL: made.digest}, user=f"{USER}:{USER}",
    )  # fmt: skip
    try:
        oci.write_archive(archive, [spec])
        tools.run("docker", "load", "--input", archive, timeout_s=300)
    finally:
        archive.unlink(missing_ok=True)
    return reference(name)


def _go(name: str, recipe: Recipe) -> Part:
    version = section("bake_observability")[name]
    program = recipe.program.rpartition("/")[2]
    programs = go_part(name, "", 0, [recipe.module], rename=program)

    def build(folder: Path, log: Path) -> None:
        programs.build(folder, log)
        with tarfile.open(folder / "layer.tar", "w") as layer:
            oci.add_file(layer, folder / program, recipe.program)
            _add_rest(layer, recipe)
        (folder / program).unlink()

    content = {**programs.recipe, "layout": _layout(recipe)}
    return Part(name, f"{recipe.what} {version}", recipe.estimate_s, content, build)


def _debian(name: str, recipe: Recipe) -> Part:
    suite = section("bake_observability")["debian"]
    packages = [*recipe.packages, "ca-certificates"]
    wanted = [recipe.program, *recipe.files, *LIBC]

    def build(folder: Path, log: Path) -> None:
        rootfs = folder / "rootfs.tar"
        # `extract` unpacks packages and what they need; none of their scripts runs.
        argv = ["mmdebstrap", "--variant=extract", f"--include={','.join(packages)}"]
        argv += [f"--architectures={architecture()}", suite, str(rootfs)]
        found = mirror()
        run([*argv, found] if found else argv, log, env={"DEBIAN_FRONTEND": "noninteractive"})
        with tarfile.open(rootfs) as source, tarfile.open(folder / "layer.tar", "w") as layer:
            select(source, layer, wanted, optional=LOADER)
            _add_certificates(source, layer)
            _add_rest(layer, recipe)
            if "promtool" in recipe.packages:
                _extract(source, "usr/bin/promtool", folder / "promtool")
        rootfs.unlink()

    content = {
        "suite": suite,
        "packages": " ".join(packages),
        "files": " ".join([*wanted, *LOADER, CERTIFICATES]),
        "architecture": architecture(),
        "layout": _layout(recipe),
    }
    return Part(name, f"{recipe.what} {suite}", recipe.estimate_s, content, build)


def _layout(recipe: Recipe) -> str:
    return f"{LAYOUT} {recipe.program} {recipe.data} {USER}"


def _add_rest(layer: tarfile.TarFile, recipe: Recipe) -> None:
    """What every program of ours finds: its user, a folder for its data, one for the moment."""
    oci.add_text(layer, f"root:x:0:0::/:\nnobody:x:{USER}:{USER}::/:\n", "etc/passwd")
    oci.add_text(layer, f"root:x:0:\nnogroup:x:{USER}:\n", "etc/group")
    if recipe.data:
        oci.add_folder(layer, recipe.data, 0o755, USER)
    oci.add_folder(layer, "tmp", 0o1777)


def select(
    source: tarfile.TarFile, out: tarfile.TarFile, wanted: Sequence[str], optional: Sequence[str]
) -> None:
    """Copy files and links whose path matches, by name, undated and owned by root.

    `*` matches slashes too. Debian's merged folders (`lib` → `usr/lib`) come along, since
    programs name them. Raises BuildFailed when a pattern of `wanted` matches nothing.
    """
    members = {m.name.removeprefix("./"): m for m in source.getmembers() if m.isreg() or m.issym()}
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in members):
            raise _renamed(pattern)
    for merged in ("lib", "lib64"):
        oci.add_link(out, merged, f"usr/{merged}")
    for name in sorted(members):
        if any(fnmatchcase(name, pattern) for pattern in (*wanted, *optional)):
            _copy(source, members[name], out, name)


def _copy(
    source: tarfile.TarFile, member: tarfile.TarInfo, out: tarfile.TarFile, name: str
) -> None:
    if member.issym():
        oci.add_link(out, name, member.linkname)
        return
    info = tarfile.TarInfo(name)
    info.size = member.size
    info.mode = 0o755 if member.mode & 0o100 else 0o644
    out.addfile(info, source.extractfile(member))


def _add_certificates(source: tarfile.TarFile, out: tarfile.TarFile) -> None:
    names = [m for m in source.getmembers() if fnmatchcase(m.name, f"*{CERTIFICATES}")]
    content = [source.extractfile(m) for m in sorted(names, key=lambda m: m.name)]
    text = b"".join(file.read() for file in content if file is not None)
    if not text:
        raise _renamed(CERTIFICATES)
    info = tarfile.TarInfo(BUNDLE)
    info.size = len(text)
    info.mode = 0o644
    out.addfile(info, io.BytesIO(text))


def _extract(source: tarfile.TarFile, name: str, target: Path) -> None:
    for prefix in ("./", ""):
        if prefix + name in source.getnames():
            member = source.extractfile(prefix + name)
            if member is not None:
                target.write_bytes(member.read())
                target.chmod(0o755)
                return
    raise _renamed(name)


def _renamed(pattern: str) -> BuildFailed:
    return BuildFailed(
        f"{pattern} is not in Debian's packages",
        why="the Debian release renamed a package file",
        hint="set KINDLOOP_OBSERVABILITY=off to go on without, and report it",
    )
