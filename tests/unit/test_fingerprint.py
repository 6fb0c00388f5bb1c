"""Digests behind the stat cache, and which files a pattern stands for."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kindloop import fingerprint
from kindloop.errors import ConfigError
from kindloop.fingerprint import (
    Digests,
    digest_inputs,
    digest_mapping,
    expand,
    fine_device,
    trusted,
)


def later() -> int:
    """A clock by which every file of the test is old enough to be trusted."""
    return time.time_ns() + 10_000_000_000


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return root


def names(root: Path, *patterns: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in expand(root, patterns)]


def test_a_digest_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert Digests().of(str(path)) == hashlib.sha256(b"abc").hexdigest()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path, cache = tree(tmp_path, "a") / "a", tmp_path / "cache.json"
    with Digests(cache, now_ns=later) as digests:
        real = digests.of(str(path))
    cache.write_text(cache.read_text().replace(real, "from the cache"))
    assert Digests(cache).of(str(path)) == "from the cache"


def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path) -> None:
    path, cache = tmp_path / "a", tmp_path / "cache.json"
    path.write_text("one")
    before = path.stat()
    with Digests(cache, now_ns=later) as digests:
        first = digests.of(str(path))
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Digests(cache).of(str(path)) != first


@pytest.mark.parametrize(("age_s", "kept"), [(0, False), (-5, False), (2.1, True)])
def test_where_the_clock_is_coarse_a_file_changed_just_before_it_was_read_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float, kept: bool
) -> None:
    monkeypatch.setattr(fingerprint, "fine_device", lambda _: -1)
    path, cache = tree(tmp_path, "a") / "a", tmp_path / "cache.json"
    seen = path.stat()
    now_ns = max(seen.st_mtime_ns, seen.st_ctime_ns) + int(age_s * 1e9)
    with Digests(cache, now_ns=lambda: now_ns) as digests:
        digests.of(str(path))
    assert cache.exists() is kept


def test_where_each_change_has_its_time_a_file_is_kept_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "fine_device", lambda folder: folder.stat().st_dev)
    path, cache = tree(tmp_path, "a") / "a", tmp_path / "cache.json"
    with Digests(cache) as digests:
        digests.of(str(path))
    assert cache.exists()


def test_a_change_right_after_the_read_is_never_missed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    digests = Digests(tmp_path / "cache.json")
    for number in range(300):
        content = f"{number:03d}".encode()
        path.write_bytes(content)
        assert digests.of(str(path)) == hashlib.sha256(content).hexdigest()


def test_a_clock_that_steps_is_no_fine_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "TICK_NS", 10**10)
    monkeypatch.setattr(fingerprint, "_changed_ns", lambda _: 1)
    assert fine_device(tmp_path) == -1
    times = iter(range(100))
    monkeypatch.setattr(fingerprint, "_changed_ns", lambda _: next(times))
    assert fine_device(tmp_path) == tmp_path.stat().st_dev
    monkeypatch.setattr(fingerprint, "TICK_NS", 0)
    assert fine_device(tmp_path) == -1
    assert fine_device(tmp_path / "gone") == -1


def test_what_one_thread_reads_another_waits_for(tmp_path: Path) -> None:
    path = tree(tmp_path, "a") / "a"
    started, reads = threading.Event(), []

    class Slow(Digests):
        def _read(self, path: str) -> str:
            reads.append(path)
            started.set()
            time.sleep(0.05)
            return super()._read(path)

    digests = Slow(tmp_path / "cache.json", now_ns=later)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(digests.of, str(path))
        started.wait()
        assert digests.of(str(path)) == first.result()
    assert len(reads) == 1


COARSE_NS, FINE_NS = 1_700_000_000_123_000_000, 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("ctime_ns", "age_ms", "expected"),
    [
        (COARSE_NS, 1900, False),
        (COARSE_NS, 2100, True),
        (FINE_NS, 10, False),
        (FINE_NS, 30, True),
        (FINE_NS, -5000, False),
    ],
)
@pytest.mark.parametrize("mtime_ns", [0, None], ids=["an old date", "the date of the change"])
def test_a_fine_clock_needs_less_distance(
    ctime_ns: int, age_ms: int, expected: bool, mtime_ns: int | None
) -> None:
    seen: Any = SimpleNamespace(
        st_ctime_ns=ctime_ns, st_mtime_ns=ctime_ns if mtime_ns is None else mtime_ns
    )
    assert trusted(seen, ctime_ns + age_ms * 1_000_000) is expected


def test_a_date_in_the_future_is_never_trusted() -> None:
    seen: Any = SimpleNamespace(st_ctime_ns=FINE_NS, st_mtime_ns=FINE_NS + 10**12)
    assert not trusted(seen, FINE_NS + 10**10)


@pytest.mark.parametrize("content", ["", '{"schema": 1, "fi', "[]", '{"schema": 0, "files": {}}'])
def test_a_broken_or_older_cache_is_empty(tmp_path: Path, content: str) -> None:
    path, cache = tree(tmp_path, "a") / "a", tmp_path / "cache.json"
    cache.write_text(content)
    assert Digests(cache).of(str(path)) == hashlib.sha256(b"content of a").hexdigest()


def test_the_cache_forgets_files_that_are_gone(tmp_path: Path) -> None:
    root, cache = tree(tmp_path, "a", "b"), tmp_path / "cache.json"
    with Digests(cache, now_ns=later) as digests:
        digest_inputs(root, ["a", "b"], digests)
    (root / "a").unlink()
    (root / "b").write_text("new")
    with Digests(cache, now_ns=later) as digests:
        digest_inputs(root, ["b"], digests)
    assert list(json.loads(cache.read_text())["files"]) == [str(root / "b")]


def test_the_cache_is_written_only_when_it_changed(tmp_path: Path) -> None:
    root, cache = tree(tmp_path, "a"), tmp_path / "cache.json"
    written = []
    for _ in range(2):
        with Digests(cache, now_ns=later) as digests:
            digest_inputs(root, ["a"], digests)
        written.append((cache.stat().st_ino, cache.stat().st_mtime_ns))
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("Cargo.toml", ["Cargo.toml"]),
        ("src", ["src/a/b.rs", "src/main.rs", "src/notes.md"]),
        ("./src/", ["src/a/b.rs", "src/main.rs", "src/notes.md"]),
        (".", ["Cargo.toml", "crates/x/src/lib.rs", "src/a/b.rs", "src/main.rs", "src/notes.md"]),
        ("src/*.rs", ["src/main.rs"]),
        ("src/**/*.rs", ["src/a/b.rs", "src/main.rs"]),
        ("**/*.rs", ["crates/x/src/lib.rs", "src/a/b.rs", "src/main.rs"]),
        ("src/**", ["src/a/b.rs", "src/main.rs", "src/notes.md"]),
        ("crates/*/src", ["crates/x/src/lib.rs"]),
        ("src/mai?.rs", ["src/main.rs"]),
        ("src/[a-m]*.rs", ["src/main.rs"]),
        ("src/[!m]*", ["src/a/b.rs", "src/notes.md"]),
        ("src/nothing*", []),
        ("nothing", []),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    root = tree(
        tmp_path, "src/main.rs", "src/a/b.rs", "src/notes.md", "crates/x/src/lib.rs", "Cargo.toml"
    )
    assert names(root, pattern) == expected


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    assert names(tree(tmp_path, "src/a.rs"), "src", "src/*.rs", "src/a.rs") == ["src/a.rs"]


def test_a_pattern_may_leave_the_root(tmp_path: Path) -> None:
    tree(tmp_path, "spec/openapi.yaml", "app/main.rs")
    found = digest_inputs(tmp_path / "app", ["../spec", "../spec/*.yaml"], Digests())
    assert list(found) == ["../spec/openapi.yaml"]


def test_names_with_the_characters_of_patterns(tmp_path: Path) -> None:
    root = tree(tmp_path / "check[1]out", "a[1].txt", "src/b*.rs", "src/bc.rs")
    assert names(root, "a[1].txt", "src/*.rs") == ["a[1].txt", "src/b*.rs", "src/bc.rs"]
    assert names(root, "src/b*.rs") == ["src/b*.rs"], "a name that exists is not a glob"


def test_products_and_temporary_files_do_not_count(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "Cargo.toml",
        "target/release/app",
        "crate/target/CACHEDIR.TAG",
        "crate/target/debug/x",
        ".git/HEAD",
        ".kindloop/state",
        "src/__pycache__/x.pyc",
        *(f"src/{n}" for n in ("a.rs~", ".#a.rs", "#a.rs#", ".a.rs.swp", "4913", ".DS_Store")),
        "src/a.rs___jb_tmp___",
        "src/a.rs",
        "src/4913.rs",
        "src/.hidden",
    )
    assert names(root, ".") == ["Cargo.toml", "src/.hidden", "src/4913.rs", "src/a.rs"]


def test_a_module_called_target_counts(tmp_path: Path) -> None:
    assert names(tree(tmp_path, "src/target/mod.rs"), "src") == ["src/target/mod.rs"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root = tree(tmp_path, "shared/spec.yaml", "app/src/main.rs", "app/lib/lib.rs") / "app"
    (root / "src/shared").symlink_to(tmp_path / "shared")
    (root / "src/up").symlink_to(root)
    (root / "src/to_lib").symlink_to(root / "lib")
    (root / "lib/to_src").symlink_to(root / "src")
    (root / "src/broken").symlink_to(root / "nowhere")
    found = names(root, "src")
    assert {"src/main.rs", "src/shared/spec.yaml", "src/to_lib/lib.rs"} <= set(found)
    assert not [name for name in found if "up" in name or "broken" in name]


def test_an_input_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"input openapi\.yml matches no file") as caught:
        digest_inputs(tree(tmp_path, "openapi.yaml"), ["openapi.yaml", "openapi.yml"], Digests())
    assert caught.value.exit_code == 2
    assert "kindloop.yaml" in caught.value.hint


def test_a_glob_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"src/\*\.go"):
        digest_inputs(tree(tmp_path, "src/a.rs"), ["src/*.go"], Digests())


def test_an_input_may_be_missing_when_it_is_still_to_be_made(tmp_path: Path) -> None:
    found = digest_inputs(
        tree(tmp_path, "a"), ["a", "made"], Digests(), may_miss=lambda pattern: pattern == "made"
    )
    assert list(found) == ["a"]


def test_an_empty_folder_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    assert digest_inputs(tmp_path, ["src"], Digests()) == {}


def test_the_executable_bit_counts(tmp_path: Path) -> None:
    path = tree(tmp_path, "run.sh") / "run.sh"
    before = digest_inputs(tmp_path, ["run.sh"], Digests())
    path.chmod(0o755)
    after = digest_inputs(tmp_path, ["run.sh"], Digests())
    assert after == {"run.sh": before["run.sh"] + "+x"}


def test_the_digest_of_a_mapping_ignores_order_and_sees_names() -> None:
    assert digest_mapping({"a": "1", "b": "2"}) == digest_mapping({"b": "2", "a": "1"})
    assert digest_mapping({"a": "1"}) != digest_mapping({"b": "1"})
    assert digest_mapping({"a": "1"}) != digest_mapping({"a": "2"})


def test_a_name_that_is_not_utf8_has_a_digest(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.rs")).write_text("x")
    with Digests(tmp_path / "cache.json", now_ns=later) as digests:
        found = digest_inputs(tmp_path, ["*.rs"], digests)
    assert len(found) == 1
    assert digest_mapping(found)
