"""The parts of the observability stack: what each is called, and which belong to a level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kindloop.config import Config, Observability

__all__ = ["LEVELS", "PARTS", "Part", "url_of"]


@dataclass(frozen=True)
class Part:
    """A component and its names: folder of manifests, Deployment, host port."""

    name: str
    """Name of the component and of its folder of manifests."""
    deployment: str
    """Name of its Deployment, and of the container in it."""
    port: str
    """Name of its host port in `cluster.ports`."""
    health: str = ""
    """Path that answers 200 when it works; empty where nothing answers GET on its host port."""


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        part.name: part
        for part in (
            Part("prometheus", "prometheus", "prometheus", "/-/ready"),
            Part("alertmanager", "alertmanager", "alertmanager", "/-/ready"),
            Part("collector", "otel-collector", "otlp_http"),
            Part("jaeger", "jaeger", "jaeger", "/api/services"),
            Part("grafana", "grafana", "grafana", "/api/health"),
        )
    }
)
"""Every part, in the order in which they are started."""

LEVELS: Mapping[Observability, tuple[str, ...]] = MappingProxyType(
    {"off": (), "minimal": ("prometheus", "alertmanager"), "full": tuple(PARTS)}
)
"""The parts of each level."""


def url_of(config: Config, name: str) -> str:
    """Where a part answers on this machine; empty where its port is off."""
    port = config.cluster.host_ports().get(PARTS[name].port)
    return f"http://127.0.0.1:{port}" if port else ""
