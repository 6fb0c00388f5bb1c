"""The screens in a real pseudo-terminal, without a cluster: drawn, resized, left as it was found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from screens import CBREAK, ENTER, LEAVE, PATIENCE_S, Terminal, project

SCRIPT = """
import contextlib, sys, threading, time
from invoke.context import Context
from invoke.exceptions import Exit
from kindloop import loading, report, screen
from kindloop.keys import Keys
from kindloop.saves import Saved
from kindloop.tasks._task import task

ended = threading.Event()

def take(key):
    if key == "l":
        report.output("\\n".join(f"log line {{n}}" for n in range(100)))
    else:
        report.key("<" + key + ">", data={{"key": key}})
    if key == "q":
        ended.set()

def save(digest):
    saved = Saved("fresh", 1.42, workload="petstore", digest=digest * 8,
                  parts={{"cargo": 1.27, "swap": 0.09}}, paths=("src/app.rs",), shown="src/app.rs")
    report.save(saved.line(), took_s=saved.took_s, data=saved.data())

def break_():
    line = "src/app.rs:69:72: error: prefix `walks` is unknown"
    report.line(line)
    saved = Saved("not built", 0.5, workload="petstore", stages=("petstore",), errors=(line,))
    report.save("✗ " + saved.line(), ok=False, took_s=0.5, data=saved.data())

@task("dev-fake")
def fake(c):
    {before}
    report.use(report.{renderer})
    config = loading.load(env={{}})
    with screen.{which}(config{flag}):
        with Keys(take, screen=report.screen()):
            report.line("watching 3 files; ? shows the keys")
            {body}
            {wait}
    with contextlib.suppress(OSError):  # the window was closed
        report.output("the last line")

try:
    fake(Context())
except Exit as exc:
    with contextlib.suppress(OSError):
        sys.stderr.write(str(exc.message) + "\\n")
    sys.exit(exc.code)
"""


def script(body: str = "", **more: str) -> str:
    given = {
        "which": "watching", "flag": "", "renderer": "Plain()", "before": "",
        "wait": "ended.wait()", "body": body,
    }  # fmt: skip
    return SCRIPT.format(**{**given, **more})


def run(
    terminal: Terminal, body: str = "", *, env: dict[str, str] | None = None, **more: str
) -> None:
    """Run SCRIPT with this in the middle."""
    terminal.start(sys.executable, "-c", script(body, **more), **(env or {}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project(tmp_path)
    return tmp_path


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    """A terminal of its own; what still runs in it is ended."""
    terminal = Terminal(folder)
    yield terminal
    terminal.close()


def test_saves_errors_and_keys_are_on_the_screen(terminal: Terminal) -> None:
    run(terminal, "save('4c883b08'); break_()")
    terminal.shows("watching 3 files", "4c883b08", "█", "cargo 1.27 swap 0.09")
    assert terminal.modes() == CBREAK
    # A screen is drawn from top to foot, and read in pieces.
    terminal.until(lambda: terminal.row(-1).startswith("Esc hide errors"))
    assert terminal.row(0).split()[0] == "demo"
    assert terminal.row(1).startswith("✗ petstore not built")
    assert "error: prefix `walks` is unknown" in terminal.row(2)
    terminal.type("\x1b")
    terminal.until(lambda: terminal.row(-1).startswith("r rebuild"))
    terminal.type("p")
    terminal.shows("<p>")
    terminal.type("?")
    terminal.shows("builds and swaps, whatever was saved")
    terminal.type("\x1b[A\x1b[5~?")
    terminal.until(lambda: "whatever was saved" not in "\n".join(terminal.screen.display))
    terminal.type("q")
    assert terminal.code() == 0
    assert terminal.restored()
    assert "<?>" not in terminal.left, "this one is the screen's"
    assert terminal.left.startswith("watching 3 files; ? shows the keys\n4c883b08 fresh in 1.42 s")


def test_what_l_shows_can_be_scrolled(terminal: Terminal) -> None:
    run(terminal)
    terminal.shows("watching 3 files")
    terminal.type("l")
    terminal.shows("log line 99", "to 100 of 100")
    terminal.type("\x1b[H")
    terminal.shows("log line 0", "1 to 21 of 100")
    terminal.type("\x1b[B")
    terminal.shows("2 to 22 of 100")
    terminal.type("\x1b")
    terminal.shows("build", "saves")
    terminal.type("q")
    assert terminal.code() == 0
    assert "log line" not in terminal.left, "it was asked for and seen"


@pytest.mark.parametrize(("columns", "rows"), [(200, 50), (60, 12), (30, 5)])
def test_it_follows_the_size_of_the_window(terminal: Terminal, columns: int, rows: int) -> None:
    run(terminal, "save('4c883b08')")
    terminal.shows("4c883b08")
    terminal.size(columns, rows)
    terminal.until(lambda: terminal.row(-1).startswith("r") and terminal.row(0).startswith(" demo"))
    if columns == 200:
        assert terminal.row(-1).endswith("? keys")
        wide = next(line for line in terminal.screen.display if "4c883b08  1.42 s" in line)
        assert wide.count("█") > 30
    terminal.size(80, 24)
    terminal.until(lambda: terminal.row(-1).startswith("r rebuild"))
    terminal.shows("watching 3 files", "4c883b08")
    terminal.type("q")
    assert terminal.code() == 0
    assert terminal.restored()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda terminal: terminal.type("q"), 0),
        (lambda terminal: terminal.type("\x04"), 0),
        (lambda terminal: terminal.type("\x03"), 130),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 130),
        (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 130),
        (lambda terminal: terminal.type("\x1c"), -signal.SIGQUIT),
    ],
    ids=["q", "Ctrl-D", "Ctrl-C", "SIGTERM", "SIGHUP", "SIGQUIT"],
)
def test_after_any_end_the_terminal_is_as_before(
    terminal: Terminal, end: Callable[[Terminal], object], code: int
) -> None:
    run(terminal, "save('4c883b08'); break_()")
    terminal.shows("4c883b08", "error: prefix")
    end(terminal)
    assert terminal.code() == code
    assert terminal.restored()
    if code >= 0:  # SIGQUIT ends it on the spot
        assert "4c883b08 fresh in 1.42 s · cargo 1.27 · swap 0.09 · src/app.rs" in terminal.left
        assert "src/app.rs:69:72: error: prefix `walks` is unknown" in terminal.left


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [("1 / 0", 1, "ZeroDivisionError"), ("raise SystemExit(5)", 5, "")],
)
def test_after_an_error_too_and_it_can_be_read(
    terminal: Terminal, error: str, code: int, said: str
) -> None:
    run(terminal, "save('4c883b08')", wait=f"time.sleep(0.5); {error}")
    assert terminal.code() == code
    assert ENTER in terminal.raw
    assert terminal.restored()
    _, found, after = terminal.left.partition("4c883b08 fresh")
    assert found
    assert said in after


def test_a_closed_window_ends_it(terminal: Terminal) -> None:
    run(terminal, "save('4c883b08')")
    terminal.shows("4c883b08")
    terminal.hang_up()
    assert terminal.process
    # By the signal, or by the end of input where that was heard first.
    assert terminal.process.wait(PATIENCE_S) in (130, 0)


@pytest.mark.parametrize("which", ["watching", "bringing_up"])
def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(
    terminal: Terminal, folder: Path, which: str
) -> None:
    file = folder / "script.py"
    file.write_text(script("step = report.step('petstore'); step.__enter__()", which=which))
    terminal.start("bash", "--norc", "--noediting", "-i")
    terminal.until(lambda: "ready> " in terminal.raw)
    terminal.type(f"{sys.executable} {file}\n")
    terminal.until(lambda: ENTER in terminal.raw)
    terminal.shows("petstore")
    terminal.type("\x1a")
    terminal.until(lambda: "Stopped" in terminal.left)
    terminal.until(terminal.restored)
    terminal.type("stty -a; echo 'the' end\n")
    terminal.until(lambda: "the end" in terminal.left)
    said = terminal.left.rpartition("stty -a")[2]
    assert {"icanon", "echo"} <= set(said.replace(";", " ").split())
    terminal.type("fg\n")
    terminal.until(lambda: terminal.raw.count(ENTER) == 2)
    terminal.screen.reset()
    terminal.shows("petstore")
    terminal.type("q")
    terminal.until(lambda: "ready>" in terminal.left.partition("the last line")[2])
    assert terminal.raw.count(ENTER) == terminal.raw.count(LEAVE) == 2
    terminal.type("exit 3\n")
    assert terminal.code() == 3


@pytest.mark.parametrize(
    ("env", "more"),
    [
        ({"NO_COLOR": "1"}, {}),
        ({"CI": "true"}, {}),
        ({"TERM": "dumb"}, {}),
        ({"KINDLOOP_PLAIN": "1"}, {}),
        ({}, {"flag": ", plain=True"}),
        ({}, {"renderer": "Plain(verbosity=1)"}),
        ({}, {"renderer": "JsonLines()"}),
        ({}, {"before": "sys.modules['rich'] = None"}),
        ({"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:replace"}, {}),
    ],
    ids=["NO_COLOR", "CI", "dumb", "KINDLOOP_PLAIN", "--plain", "-v", "--json", "no rich", "ascii"],
)
def test_where_no_screen_is_wanted_lines_are_plain(
    terminal: Terminal, env: dict[str, str], more: dict[str, str]
) -> None:
    run(terminal, "save('4c883b08')", wait="time.sleep(0.3)", env=env, **more)
    assert terminal.code() == 0
    assert "\x1b" not in terminal.raw
    assert "4c883b08 fresh in 1.42 s" in terminal.raw


def test_nor_has_an_up_one(terminal: Terminal) -> None:
    more = {"which": "bringing_up", "wait": "time.sleep(1.5)"}
    run(terminal, "save('4c883b08')", env={"NO_COLOR": "1"}, **more)
    assert terminal.code() == 0
    assert "\x1b" not in terminal.raw


def test_piped_lines_are_plain(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script("save('4c883b08')", wait="")],
        cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=True,
        env={n: v for n, v in os.environ.items() if n not in ("CI", "NO_COLOR")},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "watching 3 files; ? shows the keys",
        "4c883b08 fresh in 1.42 s · cargo 1.27 · swap 0.09 · src/app.rs",
        "the last line",
    ]


def test_in_the_background_lines_are_plain(terminal: Terminal, folder: Path) -> None:
    file = folder / "script.py"
    file.write_text(script("save('4c883b08')", wait="time.sleep(0.5)"))
    terminal.start("bash", "--norc", "--noediting", "-i")
    terminal.until(lambda: "ready> " in terminal.raw)
    terminal.type(f"{sys.executable} {file} & wait\n")
    terminal.until(lambda: "the last line" in terminal.raw)
    assert ENTER not in terminal.raw
    terminal.type("exit 4\n")
    assert terminal.code() == 4


def test_what_cannot_be_drawn_goes_on_as_plain_lines(terminal: Terminal) -> None:
    before = "import kindloop.screen.dayview as view; view.draw = lambda *a, **k: 1 / 0"
    run(terminal, "save('4c883b08'); time.sleep(1); save('5d994c19')", before=before)
    terminal.until(lambda: "5d994c19 fresh" in terminal.left)
    terminal.type("q")
    assert terminal.code() == 0
    assert terminal.restored()
    said = terminal.left.splitlines()
    assert sum("the screen cannot be drawn" in line for line in said) == 1
    assert sum("4c883b08 fresh" in line for line in said) == 1


def test_on_a_full_disk_the_lines_still_stay(terminal: Terminal) -> None:
    full = "lambda *_: (_ for _ in ()).throw(OSError(28, 'No space left on device'))"
    before = f"from kindloop.screen import durations; durations.keep = {full}"
    run(terminal, "save('4c883b08')", before=before)
    terminal.shows("4c883b08")
    terminal.type("q")
    assert terminal.code() == 0
    assert terminal.restored()
    assert "4c883b08 fresh in 1.42 s" in terminal.left


STEPS = """
            with report.step("router") as one:
                one.note("up to date")
            with report.step("petstore"):
                report.log("   Compiling serde v1.0")
                while not ended.wait(0.1):
                    pass
            with report.step("rollout petstore"):
                pass
"""


def test_an_up_is_a_tree_and_its_lines_stay(terminal: Terminal) -> None:
    run(terminal, STEPS.strip(), which="bringing_up", wait="pass")
    terminal.shows("✓ router  up to date", "petstore", "Compiling serde v1.0", "rollout")
    assert terminal.row(0).startswith(" demo  coming up")
    terminal.size(200, 50)
    terminal.until(lambda: terminal.row(-1).startswith("Ctrl-C ends it"))
    terminal.type("q")
    assert terminal.code() == 0
    assert terminal.restored()
    lines = terminal.left.splitlines()
    assert [line.partition(" · ")[0] for line in lines if line[0] in "✓✗"] == [
        "✓ router", "✓ petstore", "✓ rollout petstore",
    ]  # fmt: skip


def test_an_up_that_has_nothing_to_do_is_lines(terminal: Terminal) -> None:
    run(terminal, "report.line('all is there')", which="bringing_up", wait="pass")
    assert terminal.code() == 0
    assert ENTER not in terminal.raw
    assert "the last line" in terminal.raw


def test_a_failed_up_leaves_its_lines_and_the_error(terminal: Terminal) -> None:
    body = "from kindloop.errors import BuildFailed\n" + STEPS.replace(
        "while not ended.wait(0.1):\n                    pass",
        "time.sleep(2); raise BuildFailed('stage petstore failed', hint='invoke build.petstore')",
    )
    run(terminal, body.strip(), which="bringing_up", wait="pass")
    terminal.shows("Compiling serde")
    assert terminal.code() == 5
    assert terminal.restored()
    assert terminal.left.index("✗ petstore") < terminal.left.index("error: stage petstore failed")


def test_listing_the_tasks_does_not_import_rich(folder: Path) -> None:
    text = "import sys; from kindloop.tasks import collection; collection(); print('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
