"""Where traces and metrics of the loop go, as the settings and the OTEL_ variables say. Pure.

The variables are those of the OpenTelemetry specification; kindloop has none of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from kindloop.config import Config

__all__ = ["Target", "installed", "target_of"]

DISABLED = "OTEL_SDK_DISABLED"
BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
SPOKEN = "http/protobuf"
_LOOPBACK = ("127.", "localhost", "::1")


@dataclass(frozen=True)
class Target:
    """URLs that take OTLP over HTTP, by signal; empty: that signal is not sent."""

    traces: str = ""
    metrics: str = ""
    ours: bool = False
    """Whether it is the collector of this environment, and no variable says otherwise."""
    why_not: str = ""
    """Why nothing can be sent although it is wanted."""

    @property
    def wanted(self) -> bool:
        """Whether anything is to be sent."""
        return bool(self.traces or self.metrics)

    def shown(self) -> str:
        """The address without its path."""
        parts = urlsplit(self.traces or self.metrics)
        return f"{parts.scheme}://{parts.netloc}"

    def local(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports on this machine that must listen, or nothing arrives."""
        found = []
        for url in (self.traces, self.metrics):
            parts = urlsplit(url)
            if parts.hostname and parts.hostname.startswith(_LOOPBACK):
                default = 443 if parts.scheme == "https" else 80
                found.append((parts.hostname, parts.port or default))
        return tuple(dict.fromkeys(found))


def target_of(config: Config, variables: Mapping[str, str]) -> Target:
    """Where to send to: what the variables say, else the environment's own collector."""
    if variables.get(DISABLED, "").strip().lower() == "true":
        return Target()
    base, ours = variables.get(BASE, ""), False
    port = config.cluster.host_ports().get("otlp_http")
    if not base and config.observability == "full" and port:
        base, ours = f"http://127.0.0.1:{port}", True
    traces = variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    metrics = variables.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "")
    found = Target(
        traces or (f"{base.rstrip('/')}/v1/traces" if base else ""),
        metrics or (f"{base.rstrip('/')}/v1/metrics" if base else ""),
        ours=ours and not (traces or metrics),
    )
    protocol = variables.get(PROTOCOL) or SPOKEN
    if found.wanted and not found.ours and protocol != SPOKEN:
        return Target(why_not=f"{PROTOCOL} is {protocol}, and kindloop speaks {SPOKEN}")
    return found


def installed() -> bool:
    """Whether the extra `otel` is there. Looks, without importing the SDK."""
    names = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    try:
        return all(importlib.util.find_spec(name) for name in names)
    except ModuleNotFoundError:  # a parent of the last one is missing
        return False
