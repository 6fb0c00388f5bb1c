"""Secrets out of texts: every form in which a value may be written becomes `***`. Pure.

Which values are secret, `secrecy` knows; `report` applies it to all that is shown or written.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = ["COMMON", "LONGEST", "MASK", "SHORTEST", "Known", "Masker", "forms"]

MASK = "***"
SHORTEST = 4
"""Characters of the shortest value that is masked: a shorter one stands in any text by chance."""
COMMON = frozenset({"true", "false", "null", "none"})
"""Values that are never masked: JSON is made of them, and they stand in any text."""
LONGEST = 32_768
"""Characters of a value that are looked for at most; what is longer is a file, no secret."""
HEAD = 24
"""Characters by which a longer text is found: so it is also when somebody has cut it off."""
CORE = 6
"""Characters of base64 from which a part is masked: 4 would be met by chance."""
WRAPS = (64, 76)
"""Columns at which openssl and base64 wrap their lines."""
_PEM = re.compile(r"-----(BEGIN|END) [A-Z ]+-----")
"""A line that every key has."""
_BARE = re.compile(r"[\w.\"'-]+:\s*[\[{|>-]*")
"""A line of a YAML or JSON file that is a key with nothing behind it, such as `server:`."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What the keys of our own documents are made of."""
_GO_HTML = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}
"""How Go's JSON, which is kubectl's, writes these."""


class Masker:
    """Replaces `values` and their forms by `***`: the longest that fits, in one pass.

    Without a value that is long enough it is false, and returns what it is given.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._forms: dict[str, set[str]] = {}
        for form in (form for value in values for form in forms(value)):
            self._forms.setdefault(form[:HEAD], set()).add(form)
        self._heads = re.compile(_pattern(sorted(self._forms))) if self._forms else None

    def __bool__(self) -> bool:
        return self._heads is not None

    def text(self, text: str) -> str:
        """`text` with `***` for every secret."""
        parts, done = [], 0
        for start, end in self._found(text):
            parts += [text[done:start], MASK]
            done = end
        return "".join((*parts, text[done:])) if parts else text

    def _found(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand; those that meet or overlap are one."""
        spans: list[tuple[int, int]] = []
        at = 0
        while self._heads and (found := self._heads.search(text, at)):
            start, at = found.start(), found.start() + 1
            end = start + max(_shared(form, text, start) for form in self._forms[found[0]])
            if spans and start <= spans[-1][1]:
                start, before = spans.pop()
                end = max(before, end)
            spans.append((start, end))
        return spans

    def data(self, value: Any) -> Any:
        """A document of JSON values with `***` in its texts.

        Numbers stay, and so do keys made of a-z, 0-9 and _: those are the document's own. What
        JSON has no form for becomes its text, when there is a secret in it.
        """
        if self._heads is None or value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._key(key): self.data(each) for key, each in value.items()}
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
            return [self.data(each) for each in value]
        shown = str(value)
        hidden = self.text(shown)
        return value if hidden == shown else hidden

    def _key(self, key: Any) -> Any:
        return key if not isinstance(key, str) or _NAME.fullmatch(key) else self.text(key)


class Known:
    """The secrets that are known so far. Safe for threads; without any it costs nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: frozenset[str] = frozenset()
        self._masker: Masker | None = None

    def add(self, values: Iterable[str]) -> bool:
        """Know these too; whether one of them is new."""
        with self._lock:
            known = self._values.union(values)
            new = known != self._values
            if new:
                self._values, self._masker = known, Masker(known) or None
        return new

    def text(self, text: str) -> str:
        """As `Masker.text`."""
        masker = self._masker
        return masker.text(text) if masker else text

    def data(self, value: Any) -> Any:
        """As `Masker.data`."""
        masker = self._masker
        return masker.data(value) if masker else value

    def forget(self) -> None:
        """Know none any more."""
        with self._lock:
            self._values, self._masker = frozenset(), None


def forms(value: str) -> Iterator[str]:
    """Every text to look for: the value's lines, as URL, JSON and shell have them, and its base64.

    Nothing for a value shorter than `SHORTEST` or one of `COMMON`. A base64 of something longer,
    such as of `user:password`, is found by the part that the value decides.
    """
    whole = value[:LONGEST].strip()
    if len(whole) < SHORTEST or whole.lower() in COMMON:
        return
    lines = {line.strip() for line in whole.splitlines()}
    for text in lines:
        structure = _PEM.fullmatch(text) or (len(lines) > 1 and _BARE.fullmatch(text))
        if len(text) >= SHORTEST and text.lower() not in COMMON and not structure:
            yield from _written(text)
    for text in {value[:LONGEST], whole, f"{whole}\n"}:
        yield from _encoded(text.encode("utf-8", "surrogateescape"))


def _written(text: str) -> set[str]:
    """The text as it stands, and as it is written where some characters cannot stand."""
    urls = {quote(text, safe="", errors="replace"), quote(text, errors="replace")}
    urls |= {quote_plus(text, errors="replace")}
    urls |= {re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), url) for url in urls}
    quoted = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    quoted |= {"".join(_GO_HTML.get(c, c) for c in each) for each in quoted}
    return {text, *urls, *quoted, repr(text)[1:-1], text.replace("'", "'\"'\"'")}


def _encoded(raw: bytes) -> Iterator[str]:
    """The base64 of `raw`, alone and in the midst of something longer, wrapped and not."""
    for alphabet in (b"+/", b"-_"):
        whole = base64.b64encode(raw, alphabet).decode()
        yield whole
        for wrap in WRAPS:
            lines = [whole[at : at + wrap] for at in range(0, len(whole), wrap)]
            yield from (line for line in lines if len(line) >= CORE)
        for before in range(3):
            text = base64.b64encode(bytes(before) + raw, alphabet).decode().rstrip("=")
            # The first characters also hold bits of what stands before, the last of what follows.
            first = (before * 8 + 5) // 6
            last = (before + len(raw)) * 8 // 6
            if last - first >= CORE:
                yield text[first:last]


def _pattern(heads: Sequence[str]) -> str:
    """A pattern for the longest of `heads` (sorted, none empty): what they share stands once.

    As plain alternatives, each character of a text would be compared with each of hundreds.
    """
    branches = []
    for _, grouped in itertools.groupby(heads, key=lambda head: head[0]):
        group = list(grouped)
        shared = _prefix(group[0], group[-1])
        rest = [head[len(shared) :] for head in group if len(head) > len(shared)]
        tail = _pattern(rest) if rest else ""
        optional = f"(?:{tail})?" if rest and len(rest) < len(group) else tail
        branches.append(re.escape(shared) + optional)
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _prefix(first: str, last: str) -> str:
    """What both begin with, and so all that are sorted between them."""
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((at for at, (a, b) in pairs if a != b), min(len(first), len(last)))]


def _shared(form: str, text: str, at: int) -> int:
    """How many characters of `form` stand in `text` at this place."""
    return len(_prefix(form, text[at : at + len(form)]))
