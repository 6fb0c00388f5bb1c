"""Where metrics, traces and dashboards are to be seen on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kindloop import apiserver, tools
from kindloop.config import Config
from kindloop.errors import KindloopError, ToolMissing
from kindloop.observing.looking import State, look
from kindloop.observing.planning import folder_of

__all__ = ["Page", "browse", "of", "pages"]

OPENERS = ("open",) if sys.platform == "darwin" else ("xdg-open", "wslview")
"""Programs that give a URL to the user's browser."""
OFF = "off; next: invoke dev-up --observability full"


@dataclass(frozen=True)
class Page:
    """A URL and what is behind it; `opens` when a browser shows something there."""

    name: str
    url: str
    note: str = ""
    opens: bool = False

    def __str__(self) -> str:
        return f"{self.name}: " + ", ".join(part for part in (self.url, self.note) if part)

    def as_json(self) -> dict[str, Any]:
        """The page as a JSON document."""
        return asdict(self)


def pages(config: Config) -> list[Page]:
    """The service's URLs, then those of the stack. Raises CannotTell without an environment."""
    with apiserver.connect(config) as api:
        found = look(config, api)
    services = [
        Page(name, workload.url) for name, workload in config.workloads.items() if workload.url
    ]
    return [*services, *of(found, _dashboards(folder_of(config)))]


def of(found: Iterable[State], dashboards: Iterable[tuple[str, str]]) -> Iterator[Page]:
    """The pages of the parts; `dashboards` is (uid, title). Pure."""
    parts = list(found)
    if not parts:
        yield Page("observability", "", OFF)
    for one in parts:
        shown = one.state == "ok" and not one.api_only and one.name != "collector"
        notes = {"collector": "takes OTLP, has no page"}
        note = "API only" if one.api_only else notes.get(one.name, "")
        if one.state != "ok":
            note = one.detail if one.state in ("absent", "broken") else one.state
        yield Page(one.name, one.url, note, shown)
        if one.name == "grafana" and one.state == "ok":
            for uid, title in dashboards:
                yield Page(f"dashboard {title}", f"{one.url}/d/{uid}", opens=True)


def browse(urls: Iterable[str]) -> None:
    """Open each URL in the user's browser. Raises ToolMissing where nothing can do that."""
    opener = next((name for name in OPENERS if tools.find(name)), None)
    if opener is None:
        raise ToolMissing(
            f"there is no {' or '.join(OPENERS)} on PATH to open a browser with",
            hint="invoke observe.open (prints the URLs)",
        )
    for url in urls:
        done = tools.run(opener, url, check=False)
        if not done.ok:
            raise KindloopError(
                f"{opener} cannot open {url}",
                evidence=done.stderr.splitlines()[-3:],
                why="there is no browser or no display here",
                hint="invoke observe.open (prints the URLs)",
            )


def _dashboards(folder: Path) -> list[tuple[str, str]]:
    found = []
    for path in sorted((folder / "grafana" / "dashboards").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        found.append((str(document["uid"]), str(document["title"])))
    return found
