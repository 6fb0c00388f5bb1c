"""One plan in this process: `python -m bench.explain KINDLOOP_YAML PLATFORM [--build]`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from kindloop import loading, stages


def main() -> None:
    """Print how long the plan took, what is stale, and how many files were looked at."""
    config, platform = loading.load(Path(sys.argv[1]), env={}), sys.argv[2]
    if "--build" in sys.argv:
        stages.build(config, engine_platform=platform)
    started_s = time.perf_counter()
    decisions = stages.explain(config, engine_platform=platform)
    took_s = time.perf_counter() - started_s
    with stages.opened(config, platform) as site:
        record = site.record("tree")
    stale = [decision.reason for decision in decisions if decision.stale]
    files = len(record.inputs) if record else 0
    print(json.dumps({"took_s": took_s, "stale": stale, "files": files}))


if __name__ == "__main__":
    main()
