"""Errors: one exit code per class, and a text that says what, why and what next."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import kindloop
from kindloop import errors
from kindloop.errors import EXIT_CODES, KindloopError, ToolFailed

CLASSES = [
    getattr(errors, name)
    for name in errors.__all__
    if isinstance(getattr(errors, name), type)
    and name not in ("KindloopError", "ToolFailed", "Failure")
]


def test_every_class_has_an_exit_code_of_its_own_that_is_documented() -> None:
    codes = [c.exit_code for c in CLASSES]
    assert len(set(codes)) == len(codes)
    assert set(codes) | {0} == set(EXIT_CODES)


def test_no_class_of_the_package_has_an_exit_code_beside_the_table() -> None:
    """A class elsewhere is one of these, said more closely."""
    for found in pkgutil.walk_packages(kindloop.__path__, "kindloop."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    known: set[type[KindloopError]] = set()
    new = {KindloopError}
    while new:
        known |= new
        new = {sub for one in new for sub in one.__subclasses__()}
    ours = {one for one in known if one.__module__.startswith("kindloop")}
    here = {one for one in ours if one.__module__ == "kindloop.errors"}
    assert {one.__name__ for one in here} == set(errors.__all__) - {"EXIT_CODES", "Failure"}
    assert [one for one in ours - here if "exit_code" in vars(one)] == []
    assert {one.exit_code for one in ours} <= set(EXIT_CODES)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Unhealthy", 1), ("ConfigError", 2), ("CannotTell", 3), ("Stale", 4), ("BuildFailed", 5),
        ("RolloutFailed", 6), ("ToolMissing", 7), ("Locked", 8), ("NotOurs", 9),
        ("Interrupted", 130),
    ],
)  # fmt: skip
def test_exit_codes_are_a_contract(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


def test_text_holds_message_evidence_why_and_next_in_this_order() -> None:
    error = KindloopError("it broke", why="it was thin", hint="invoke mend", evidence=["l1", "l2"])
    assert str(error).splitlines() == [
        "error: it broke",
        "  | l1",
        "  | l2",
        "  why:  it was thin",
        "  next: invoke mend",
    ]


def test_text_leaves_out_what_is_not_known() -> None:
    assert str(KindloopError("it broke")) == "error: it broke"


def test_a_failed_tool_shows_a_line_to_copy_its_code_and_the_last_lines_of_stderr() -> None:
    stderr = "\n".join(f"line {n}" for n in range(50))
    error = ToolFailed(["echo", "a b"], 3, stdout="not this", stderr=stderr, duration_s=1.25)
    assert error.message == "echo 'a b': exit code 3 after 1.2 s"
    assert error.evidence == tuple(f"line {n}" for n in range(30, 50))


def test_a_failed_tool_without_stderr_shows_stdout() -> None:
    assert ToolFailed(["x"], 1, stdout="said\n", stderr="\n").evidence == ("said",)


def test_a_tool_ended_at_its_deadline_says_so() -> None:
    assert "did not end in time" in ToolFailed(["x"], None).message
