"""What the documents say about the code is what the code says: tasks, settings, codes, links."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.program import Program

from kindloop import config, reference, versions
from kindloop.config import DEFAULT_PORTS, NODE_PORTS
from kindloop.documents import DOCUMENTS, schema_of
from kindloop.documents.deriving import rows_of
from kindloop.errors import EXIT_CODES
from kindloop.reference import ALWAYS, TaskFacts, settings
from kindloop.reference.variables import READ
from kindloop.tasks import collection
from kindloop.tasks.reference import PAGE, facts

ROOT = Path(__file__).resolve().parents[2]
MANUAL = "LOCAL_DEVELOPMENT.md"
SUPERVISORS = {"KINDLOOP_PORT", "KINDLOOP_HEALTH", "KINDLOOP_DIR", "KINDLOOP_LISTEN"}
"""Variables that kindloop sets in a container for the supervisor; its README has them."""
INTERNAL = {"KINDLOOP_RECORDER"}
"""What a watch tells its children, so that a later one knows them."""
OF_THE_PROOFS = {"KINDLOOP_KEEP", "KINDLOOP_TEST_DISRUPTIVE"}
"""What the sessions and tests of this repository read."""
CHANGES = {
    *("dev-setup", "dev-rebuild", "dev-restart", "dev-stop", "dev-start", "dev-down"),
    *("bake.node", "bake.base", "bake.save", "bake.load"),
    *("cluster.ensure", "cluster.delete", "config.init"),
    *("image.build", "image.load", "image.save", "image.prune"),
    *("k8s.apply", "k8s.kubectl", "swap.push", "swap.rollback"),
}
"""Tasks that change something, or run another program; all others tell something."""
OF_BRRTROUTER = {"dev-clean", "dev-registry"}
"""Recipes of BRRTRouter that have no task here."""
OF_TILT = {"config.tilt_subcommand", "config.main_path", "config.main_dir"}
"""Values of a Tiltfile."""
READS = re.compile(
    r"""(?:environ|env|variables)(?:\.get\(|\[)"([A-Z][A-Z_]+)"|"([A-Z][A-Z_]+)" in (?:os\.)?env"""
)


# -- docs/REFERENCE.md


def test_the_page_is_what_the_code_says() -> None:
    written = (ROOT / PAGE).read_text(encoding="utf-8")
    assert written == reference.markdown(facts()), f"{PAGE} is stale; run: {reference.COMMAND}"


def test_the_page_has_every_task() -> None:
    assert {one.name for one in facts()} - {"build.STAGE"} == {
        name for name in tasks() if not name.startswith("build.") or name == "build.all"
    }


@pytest.mark.parametrize("one", facts(), ids=lambda one: one.name)
def test_every_flag_says_what_it_means(one: TaskFacts) -> None:
    """In `flags=` of @task; what is the same for many is in `COMMON` of _task.py."""
    assert [flag.names for flag in one.flags if not flag.text] == []


@pytest.mark.parametrize("one", facts(), ids=lambda one: one.name)
def test_what_a_task_says_of_its_exit_codes_is_what_it_declares(one: TaskFacts) -> None:
    """In `codes=` of @task."""
    assert set(one.codes) <= set(EXIT_CODES) - set(ALWAYS)
    said = re.findall(r"[Ee]xit (?:codes?:? )?(.*?)(?:\.\s|\.$)", one.text + " ", re.DOTALL)
    named = {int(code) for text in said for code in re.findall(r"\b(\d+)\b", text)}
    assert named <= {*one.codes, *ALWAYS}


@pytest.mark.parametrize("one", facts(), ids=lambda one: one.name)
def test_a_task_with_json_says_which_document_it_prints(one: TaskFacts) -> None:
    """In `document=` of @task."""
    has_json = any("--json" in flag.names for flag in one.flags)
    assert bool(one.documents) == has_json
    assert set(one.documents) <= set(DOCUMENTS)


def test_every_task_that_only_looks_has_json() -> None:
    without = {one.name for one in facts() if not one.documents}
    assert without - CHANGES == {"config.schema"}, "it is a JSON document itself"
    assert without >= CHANGES, "whoever can be asked by programs changes nothing"


def test_every_document_is_of_a_task() -> None:
    used = {name for one in facts() for name in one.documents}
    assert used == set(DOCUMENTS) - {"error"}


def test_every_class_of_errors_is_in_the_page(text_of: dict[str, str]) -> None:
    rows = table(text_of[PAGE.name], "code", "meaning", "class", "when")
    known = {code: {one.__name__ for one in found} for code, found in reference.classes().items()}
    assert {int(row[0]): set(re.findall(r"`(\w+)`", row[2])) for row in rows} == {
        code: known.get(code, set()) for code in EXIT_CODES
    }


def test_every_setting_has_a_meaning_and_its_unit() -> None:
    seen = list(settings.rows())
    for name, _, _, meaning in seen:
        assert meaning, name
        for ending, unit in (("_s", "seconds "), ("_ms", "milliseconds ")):
            if name.endswith(ending):
                assert meaning.lower().startswith(unit), f"{name} has no unit"
    classes = [one for one in vars(config).values() if is_dataclass(one)]
    declared = {each.name for one in classes for each in fields(one)}
    # `path` is where the file is, `source` is `from` there, and a section or mapping is its parts.
    assert declared - {"path", "source", "stages", "workloads", "load"} <= {
        name.rpartition(".")[2] for name, *_ in seen
    }


def test_variables_are_those_that_the_code_reads() -> None:
    files = [*ROOT.glob("kindloop/**/*.py"), *ROOT.glob("scripts/**/*.sh")]
    used = set()
    for file in files:
        text = file.read_text(encoding="utf-8")
        used |= set(re.findall(r"(?:KINDLOOP|OTEL_(?:SDK|EXPORTER))_[A-Z_]*[A-Z]", text))
        used |= {a or b for a, b in READS.findall(text)}
    used -= SUPERVISORS | INTERNAL | OF_THE_PROOFS
    assert {name for name in used if name not in READ} - {"OTEL_EXPORTER_OTLP"} == set()
    words = " ".join(
        file.read_text(encoding="utf-8") for file in files if "reference" not in file.parts
    )
    # Made of parts, or read by urllib and every child.
    unspelt = {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT"}
    unspelt |= {"HTTP_PROXY", "HTTPS_PROXY"}
    assert {name for name in READ if name not in words} <= unspelt


# -- the pages that are written by hand: what they repeat must be right


def tables(text: str, *header: str) -> list[list[list[str]]]:
    """The rows of each table with this header."""
    head = re.escape("| " + " | ".join(header) + " |")
    found = re.findall(rf"^{head}\n\|[ |-]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]
        for rows in found
    ]


def table(text: str, *header: str) -> list[list[str]]:
    """The rows of the one table with this header."""
    found = tables(text, *header)
    assert len(found) == 1, f"{len(found)} tables have the header {header}"
    return found[0]


def test_settings_in_the_manual_exist_and_have_these_defaults(text_of: dict[str, str]) -> None:
    known = {name: default for name, _, default, _ in settings.rows()}
    words = {"[ports](#ports)": "see [ports](#ports)"}
    for rows in tables(text_of[MANUAL], "setting", "default", "meaning"):
        for name, default, _ in rows:
            real = known[name.strip("`")]
            if "{" not in default and "[" not in default:
                assert default == words.get(real, real), name


def test_variables_in_the_manual_exist(text_of: dict[str, str]) -> None:
    for rows in tables(text_of[MANUAL], "variable", "meaning"):
        assert {row[0].strip("`") for row in rows} <= {*READ, *OF_THE_PROOFS}


def test_ports_are_those_of_the_code(text_of: dict[str, str]) -> None:
    for page in (PAGE.name, MANUAL):
        for rows in tables(text_of[page], "name", "host port", "NodePort"):
            assert {n: int(p) for n, p, _ in rows} == dict(DEFAULT_PORTS)
            assert {n: int(p) for n, _, p in rows} == dict(NODE_PORTS)


def test_tools_are_those_of_the_data_file(text_of: dict[str, str]) -> None:
    rows = table(text_of[MANUAL], "tool", "version", "needed", "what for")
    data = tomllib.loads(versions.text())["tool"]
    assert {tuple(row) for row in rows} == {
        (name, each["needed"] or "any", each["when"], each["purpose"])
        for name, each in data.items()
    }


def test_exit_codes_are_those_of_the_code(text_of: dict[str, str]) -> None:
    rows = table(text_of["README.md"], "code", "meaning")
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES
    for rows in tables(text_of["FAULTS.md"], "code", "meaning"):
        assert {int(code): meaning for code, meaning in rows} == EXIT_CODES
    text = " ".join(text_of.values())
    for code, state in re.findall(r"exit code (\d+)\b(?: \(([^)]*)\))?", text):
        assert int(code) in EXIT_CODES, state


def test_every_relative_link_resolves(page: Path, text_of: dict[str, str]) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of[page.name]):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{target}: {sorted(anchors(linked))}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_every_task_named_in_backticks_exists(page: Path, text_of: dict[str, str]) -> None:
    spaces = "bake|build|cluster|config|image|k8s|swap|test"
    named = re.findall(rf"`(dev-[a-z]+|(?:{spaces})\.(?!py`)[a-z_]+)`", text_of[page.name])
    known = tasks() | {name.rpartition(">.")[2] for name, *_ in settings.rows()}
    known |= {path for name in DOCUMENTS for path, *_ in rows_of(schema_of(name))}
    known |= {f"bake.{name}" for name in versions.section("bake")}
    known |= OF_BRRTROUTER | OF_TILT if page.name == "FROM_TILT.md" else set()
    assert [name for name in named if name not in known] == []


def tasks() -> set[str]:
    return set(collection().task_names)


def test_the_supervisors_variables_are_in_its_readme() -> None:
    text = (ROOT / "supervisor/README.md").read_text(encoding="utf-8")
    assert {name for name in SUPERVISORS if name not in text} == set()


def test_no_figure_is_left_to_be_filled_in(page: Path) -> None:
    assert re.findall(r"@@\w+@@", page.read_text(encoding="utf-8")) == []


def hints() -> list[tuple[str, str]]:
    """Each `invoke …` in a string of the package: what a user is told to type."""
    found = set()
    for file in ROOT.glob("kindloop/**/*.py"):
        for text in _strings(ast.parse(file.read_text(encoding="utf-8"))):
            for match in re.finditer(r"invoke ((?:[a-z0-9]+[-.][\w.-]+|build)(?: -[\w-]+)*)", text):
                # A word behind it is an argument when it ends the text or stands for a value.
                word = re.match(r" (?:[\w./]+$|\w+(?=`)|[A-Z]+\b)", text[match.end() :])
                found.add((file.name, match[1] + (word[0] if word else "")))
    return sorted(found)


def _strings(tree: ast.AST) -> Iterator[str]:
    """The strings of a module; the fields of an f-string stand for the name of a stage."""
    pieces: set[ast.AST] = set()  # of an f-string: no strings of their own
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "petstore" for v in node.values]
            yield "".join(map(str, parts))
            pieces.update(node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in pieces:
            yield node.value


@pytest.mark.parametrize(("file", "line"), hints())
def test_every_hint_is_a_command_that_exists(
    monkeypatch: pytest.MonkeyPatch, file: str, line: str
) -> None:
    words = line.removesuffix(" --").split()
    monkeypatch.setattr("sys.argv", ["invoke", *words])
    parser = Parser(contexts=collection().to_contexts(), initial=Program().initial_context)
    try:
        parser.parse_argv(words)
    except ParseError as exc:
        raise AssertionError(f"{file} says: invoke {line}\n{exc}") from exc
