"""docs/REFERENCE.md: every task, flag, setting, variable, exit code and document, from the code."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kindloop import errors
from kindloop.documents import DATA, DOCUMENTS, KINDS, schema_of
from kindloop.documents.deriving import object_of, rows_of
from kindloop.errors import EXIT_CODES, KindloopError
from kindloop.reference import settings
from kindloop.reference.variables import READ

__all__ = ["ALWAYS", "COMMAND", "Flag", "TaskFacts", "classes", "markdown"]

COMMAND = "python -m kindloop.tasks.reference"
"""Writes docs/REFERENCE.md of the checkout that it is called in."""
ALWAYS = (0, 1, 2, 130)
"""Exit codes of every task: ok, a failed tool, a mistake in kindloop.yaml or a flag, Ctrl-C."""


@dataclass(frozen=True)
class Flag:
    """A flag, or a word without one, of a task. `names` are as they are typed."""

    names: tuple[str, ...]
    kind: str
    default: str
    text: str


@dataclass(frozen=True)
class TaskFacts:
    """A task as it is documented. `text` is all that its --help says before the flags."""

    name: str
    text: str
    flags: tuple[Flag, ...]
    codes: tuple[int, ...]
    """Exit codes beside `ALWAYS`."""
    documents: tuple[str, ...]
    """What it prints for programs; the first with --json alone."""


def markdown(tasks: Sequence[TaskFacts]) -> str:
    """The whole page. Pure."""
    parts = [_HEAD, *_exit_codes(), *_tasks(tasks), *_settings(), *_variables(), *_documents(tasks)]
    return "\n\n".join(parts) + "\n"


def classes() -> dict[int, list[type[KindloopError]]]:
    """The classes of errors by their exit code."""
    found: dict[int, list[type[KindloopError]]] = {}
    for name in errors.__all__:
        one = getattr(errors, name)
        if inspect.isclass(one) and issubclass(one, KindloopError):
            found.setdefault(one.exit_code, []).append(one)
    return found


_HEAD = f"""# Reference

Every task, flag, setting, variable, exit code and JSON document. This page is made from the code:
`{COMMAND}` writes it, and a test compares. How to use it all is in
[Local development](LOCAL_DEVELOPMENT.md).

- [Exit codes](#exit-codes)
- [Tasks](#tasks)
- [kindloop.yaml](#kindloopyaml), [ports](#ports)
- [Variables](#variables)
- [JSON](#json), [errors](#errors), [events](#events), [documents](#documents)"""


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes"
    yield (
        "Every task ends with one of these. A task or flag that does not exist is Invoke's own "
        "error, which ends with 1."
    )
    known = classes()
    rows = []
    for code, meaning in EXIT_CODES.items():
        names = ", ".join(f"`{one.__name__}`" for one in known.get(code, ()))
        texts = [_first_line(one) for one in known.get(code, ())]
        rows.append((str(code), meaning, names or "none", " ".join(dict.fromkeys(texts))))
    yield _table(("code", "meaning", "class", "when"), rows)


def _first_line(one: type) -> str:
    line = (inspect.getdoc(one) or "").partition("\n")[0]
    return line.partition(" (exit ")[0].rstrip(".") + "."


def _tasks(tasks: Sequence[TaskFacts]) -> Iterator[str]:
    yield "## Tasks"
    always = ", ".join(f"{code} {EXIT_CODES[code]}" for code in ALWAYS)
    yield (
        "Each is called by `invoke`, by `kindloop` where there is no tasks.py, and by `just` with "
        f"a dash for the dot. Beside the exit codes that are named, each can end with {always}."
    )
    yield _table(
        ("task", "what it does", "JSON"),
        [(f"[{t.name}](#{_anchor(t.name)})", _summary(t), _links(t.documents)) for t in tasks],
    )
    for one in tasks:
        yield from _task(one)


def _task(one: TaskFacts) -> Iterator[str]:
    yield f"### {one.name}"
    yield one.text
    if one.flags:
        rows = [
            (", ".join(f"`{n}`" for n in f.names), f.kind, f.default, f.text) for f in one.flags
        ]
        yield _table(("flag", "type", "default", "meaning"), rows)
    facts = []
    if one.codes:
        facts.append("Exit codes: " + ", ".join(f"{c} {EXIT_CODES[c]}" for c in one.codes) + ".")
    if one.documents:
        facts.append(f"JSON: {_links(one.documents)}.")
    if facts:
        yield " ".join(facts)


def _summary(one: TaskFacts) -> str:
    return one.text.partition("\n")[0]


def _settings() -> Iterator[str]:
    yield "## kindloop.yaml"
    yield (
        "Paths are relative to the file, those of stages and copied files to `app.root`; `${NAME}` "
        "in a path is that variable of the environment. `invoke config.schema` prints the JSON "
        "Schema for editors, `invoke config.show` every value and where it comes from."
    )
    yield _table(
        ("setting", "type", "default", "meaning"),
        [(f"`{name}`", kind, default, text) for name, kind, default, text in settings.rows()],
    )
    yield "### Ports"
    yield _table(
        ("name", "host port", "NodePort"),
        [(name, str(host), str(node)) for name, host, node in settings.ports()],
    )


def _variables() -> Iterator[str]:
    yield "## Variables"
    yield _table(("variable", "meaning"), [(f"`{name}`", text) for name, text in READ.items()])


_JSON = """A task with `--json` prints one JSON document on standard output and everything else on
standard error. Events and log lines are many: one JSON object a line. Each has `schema`, its
version: a field may be added at any time, so ignore what you do not know; the version rises when a
field goes, is renamed or changes its meaning. `invoke config.schema --of status` prints the JSON
Schema of one. Secrets are masked as everywhere."""
_ERRORS = """A task that fails before it has a document prints this one instead, and ends with its
`exit_code`. The same error stands as text on standard error. A task that has printed its document,
such as a status that is unhealthy or a call that failed, prints no second one: its exit code says
it. With events, the last line is one of kind `error` with the same facts in `data`; with log lines,
the last line is this document. A task or flag that does not exist is Invoke's own error: text
alone."""
_EVENTS = (
    """`invoke dev-up --json` and `invoke dev-watch --json` print an event a line, as it happens."""
)


def _documents(tasks: Sequence[TaskFacts]) -> Iterator[str]:
    yield from ("## JSON", _JSON)
    yield from ("### Errors", _ERRORS, *_fields("error"))
    yield from ("### Events", _EVENTS, *_fields("event"))
    yield _table(("kind", "meaning"), [(f"`{name}`", text) for name, text in KINDS.items()])
    for kind, shape in DATA.items():
        if kind != "error":
            yield f"`data` of kind `{kind}`:"
            yield _rows(rows_of(object_of(shape, strict=False)))
    yield "### Documents"
    for name, document in DOCUMENTS.items():
        if name not in ("error", "event"):
            yield f"#### {name}"
            yield f"Version {document.version}, of {_called(name, tasks)}. {document.text}"
            yield from _fields(name)


def _called(name: str, tasks: Sequence[TaskFacts]) -> str:
    found = [f"[{t.name}](#{_anchor(t.name)})" for t in tasks if name in t.documents]
    return ", ".join(found) or "no task"


def _fields(name: str) -> Iterator[str]:
    yield _rows(rows_of(schema_of(name)))


def _rows(rows: Iterable[tuple[str, str, str]]) -> str:
    # Two forms of an item may have a field in common.
    unique = dict.fromkeys((f"`{path}`", kind, text) for path, kind, text in rows)
    return _table(("field", "type", "meaning"), list(unique))


def _links(documents: Iterable[str]) -> str:
    places = {"error": "errors", "event": "events"}
    return ", ".join(f"[{name}](#{places.get(name, name)})" for name in documents)


def _anchor(name: str) -> str:
    """As GitHub makes it of a heading."""
    return name.lower().replace(".", "")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
