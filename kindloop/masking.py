"""Secrets out of texts: every form in which a value may be written becomes `***`. Pure.

Which values are secret, `secrecy` knows; `report` applies it to all that is shown or written.
A value that stands in any text by chance, such as 5432 or true, is masked in its own place only;
see `Places`.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = [
    "LONGEST",
    "MASK",
    "SHORTEST",
    "Known",
    "Masker",
    "Secret",
    "common",
    "few",
    "forms",
]

MASK = "***"
SHORTEST = 4
"""Characters of the shortest value that is masked everywhere; CircleCI has the same."""
NUMBER = 8
"""Characters of the shortest number that is masked everywhere: ports, sizes and times are shorter.
GitLab takes no shorter value of any kind."""
COMMON = frozenset({"true", "false", "null", "none", "info", "warn", "debug", "error", "trace"})
"""Words that are not masked everywhere: JSON and logs are made of them."""
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
_FIGURES = re.compile(r"[\d.,:+-]+")
"""What numbers, times and addresses are made of."""
_BARE = re.compile(r"[\w.\"'-]+:\s*[\[{|>-]*")
"""A line of a YAML or JSON file that is a key with nothing behind it, such as `server:`."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What the keys of our own documents are made of."""
REACH = 200
"""Characters before a value in which its key is looked for."""
_QUOTES = r"[\"'\\]*"
_VALUE = r"(?:^[ \t-]*value:|\"value\"\s*:)\s*"
"""Of a container's variable in YAML or JSON: its name stands on another line."""
_PASSWORD = re.compile(r"://[^\s/@:]*:\Z")
_LINE_BEGINS = re.compile(r"(?:^|\| )[ \t\"']*\Z", re.MULTILINE)
"""A line, or one of a log: whose it is stands in front of it."""
_LINE_ENDS = re.compile(r"[ \t\"']*$", re.MULTILINE)
_GO_HTML = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}
"""How Go's JSON, which is kubectl's, writes these."""


@dataclass(frozen=True)
class Secret:
    """A value that is to be masked, and the key that it is kept under, as far as it has one."""

    value: str
    key: str = ""


Span = tuple[int, int]
"""Where something stands in a text: its begin, and what follows its end."""


class Masker:
    """Replaces secrets and their forms by `***`: the longest that fits, in one pass.

    Without a secret it is false, and returns what it is given.
    """

    def __init__(self, secrets: Iterable[str | Secret] = ()) -> None:
        known = _secrets(secrets)
        self._forms: dict[str, set[str]] = {}
        for form in (form for secret in known for form in forms(secret.value)):
            self._forms.setdefault(form[:HEAD], set()).add(form)
        self._heads = re.compile(_pattern(sorted(self._forms))) if self._forms else None
        self._places = Places(known)

    def __bool__(self) -> bool:
        return self._heads is not None or bool(self._places)

    def text(self, text: str) -> str:
        """`text` with `***` for every secret."""
        spans = [*self._found(text), *self._places.found(text)]
        parts, done = [], 0
        for start, end in _joined(spans) if spans else ():
            parts += [text[done:start], MASK]
            done = end
        return "".join((*parts, text[done:])) if parts else text

    def _found(self, text: str) -> Iterator[Span]:
        """Where forms of secrets stand; they may overlap."""
        at = 0
        while self._heads and (found := self._heads.search(text, at)):
            start, at = found.start(), found.start() + 1
            yield start, start + max(_shared(form, text, start) for form in self._forms[found[0]])

    def data(self, value: Any) -> Any:
        """A document of JSON values with `***` in its texts.

        Numbers stay, and so do keys made of a-z, 0-9 and _: those are the document's own. What
        JSON has no form for becomes its text, when there is a secret in it.
        """
        if not self or value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            name = value.get("name")  # a container's variables are a list of `name` and `value`
            return {
                self._key(key): MASK
                if self._places.hold(name if key == "value" and name else key, each)
                else self.data(each)
                for key, each in value.items()
            }
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
            return [self.data(each) for each in value]
        shown = str(value)
        hidden = self.text(shown)
        return value if hidden == shown else hidden

    def _key(self, key: Any) -> Any:
        return key if not isinstance(key, str) or _NAME.fullmatch(key) else self.text(key)


class Places:
    """Where those of `secrets` stand that are met in any text by chance.

    That is behind their key, in whatever way it is written (`KEY=1`, `key: 1`, `"key": "1"`,
    `--key 1`, a row of a table), and as the password of a URL; a number of `SHORTEST` characters
    also where it is all that stands on a line.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        keys: dict[str, set[str]] = {}
        for secret in secrets:
            for text in _by_chance(secret.value):
                keys.setdefault(text, set()).add(secret.key)
        self._behind = {text: _behind(known) for text, known in keys.items()}
        found = _pattern(sorted(keys)) if keys else ""
        self._texts = re.compile(rf"(?<!\w){found}(?!\w)") if found else None

    def __bool__(self) -> bool:
        return self._texts is not None

    def found(self, text: str) -> Iterator[Span]:
        """Where they stand in a text."""
        for found in self._texts.finditer(text) if self._texts else ():
            if self._own(found):
                yield found.span()

    def hold(self, key: Any, value: Any) -> bool:
        """Whether `value` is one of them, and `key` what it is kept under."""
        behind = self._behind.get(value.strip()) if isinstance(value, str) else None
        return behind is not None and bool(behind.search(f"{key}="))

    def _own(self, found: re.Match[str]) -> bool:
        text, start, end = found.string, found.start(), found.end()
        reach = max(start - REACH, 0), start
        return bool(
            self._behind[found[0]].search(text, *reach)
            or (text.startswith("@", end) and _PASSWORD.search(text, *reach))
            or (len(found[0]) >= SHORTEST and few(found[0])
                and _LINE_BEGINS.search(text, *reach) and _LINE_ENDS.match(text, end))
        )  # fmt: skip


class Known:
    """The secrets that are known so far. Safe for threads; without any it costs nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[Secret] = frozenset()
        self._masker: Masker | None = None

    def add(self, secrets: Iterable[str | Secret]) -> bool:
        """Know these too; whether one of them is new."""
        given = _secrets(secrets)
        with self._lock:
            new = not given <= self._secrets
            if new:
                self._secrets |= given
                self._masker = Masker(self._secrets) or None
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
            self._secrets, self._masker = frozenset(), None


def few(value: str) -> bool:
    """Whether it is a number, a time or the like, shorter than `NUMBER`."""
    return len(value) < NUMBER and bool(_FIGURES.fullmatch(value))


def common(value: str) -> bool:
    """Whether it is met in any text by chance: a secret in its own place only."""
    return len(value) < SHORTEST or value.lower() in COMMON or few(value)


def forms(value: str) -> Iterator[str]:
    """Every text to look for: the value's lines, as URL, JSON and shell have them, and its base64.

    Nothing for a value shorter than `SHORTEST`, of what else is `common` the base64. A base64 of
    something longer, such as of `user:password`, is found by the part that the value decides.
    """
    whole = value[:LONGEST].strip()
    if len(whole) < SHORTEST:
        return
    lines = {line.strip() for line in whole.splitlines()}
    for text in lines:
        structure = _PEM.fullmatch(text) or (len(lines) > 1 and _BARE.fullmatch(text))
        if not common(text) and not structure:
            yield from _written(text)
    for text in {value[:LONGEST], whole, f"{whole}\n"}:
        yield from _encoded(text.encode("utf-8", "surrogateescape"))


def _secrets(given: Iterable[str | Secret]) -> set[Secret]:
    return {Secret(each) if isinstance(each, str) else each for each in given}


def _by_chance(value: str) -> Iterator[str]:
    """The value if it is `common`, else each of its lines that is a number."""
    whole = value[:LONGEST].strip()
    if whole and common(whole):
        yield whole
        return
    for line in map(str.strip, whole.splitlines()):
        if len(line) >= SHORTEST and few(line):
            yield line


def _behind(keys: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches up to where the value of one of `keys` begins."""
    begins = [_VALUE]
    for key in sorted(filter(None, keys)):
        own = "[-_.]".join(map(re.escape, re.split("[-_.]", key)))
        # It may be the end of a longer name, such as DB_PORT or stages.shop.env.PORT.
        begins.append(rf"(?<![^\W_]){own}{_QUOTES}(?:\s*[:=]\s*| {{2,}}(?:\S+ {{2,}})?)")
        begins.append(rf"--(?:[\w.-]*[-_.])?{own} ")
    pattern = rf"(?:{'|'.join(begins)}){_QUOTES}\Z"
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


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


def _joined(spans: Iterable[Span]) -> list[Span]:
    """In order; those that meet or overlap are one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            before = joined.pop()
            joined.append((before[0], max(before[1], end)))
        else:
            joined.append((start, end))
    return joined


def _shared(form: str, text: str, at: int) -> int:
    """How many characters of `form` stand in `text` at this place."""
    return len(_prefix(form, text[at : at + len(form)]))
