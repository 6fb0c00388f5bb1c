"""The environment variables that kindloop reads, and what each means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kindloop._yaml import dotted
from kindloop.loading import VARIABLES

__all__ = ["READ"]

_OTEL = "[the loop's own traces and metrics](LOCAL_DEVELOPMENT.md#observability)"

READ: Mapping[str, str] = MappingProxyType(
    {
        **{name: f"overrides `{dotted(keys)}`" for name, (_, keys) in VARIABLES.items()},
        "KINDLOOP_CONFIG": "path of kindloop.yaml",
        "KINDLOOP_VERBOSE": "`1` shows every command, like `-v`",
        "KINDLOOP_DEBIAN_MIRROR": "Debian mirror that a bake uses; else the one of this machine",
        "XDG_CACHE_HOME": "below it lies what is baked and downloaded; else `~/.cache`",
        "XDG_STATE_HOME": "below it lies what belongs to environments; else `~/.local/state`",
        "DOCKER_HOST": "the Docker engine, as docker reads it",
        "HTTP_PROXY": "reaches every program that kindloop runs",
        "HTTPS_PROXY": "the same; image registries are looked for through it",
        "NO_PROXY": "goes to every program that kindloop runs, this machine added",
        "no_proxy": "the same",
        "PATH": "where programs are looked for",
        "TERM": "`dumb`: plain lines, and words for marks",
        "KINDLOOP_PLAIN": "`1`: plain lines also in a terminal",
        "NO_COLOR": "anything: plain lines also in a terminal",
        "CI": "anything: plain lines also in a terminal",
        "RUSTUP_HOME": "where rustup keeps toolchains",
        "RUSTUP_TOOLCHAIN": "the toolchain, as rustup reads it; another one builds anew",
        "WATCHFILES_FORCE_POLLING": "`true`: saves are found by polling, where nothing tells them",
        "WATCHFILES_POLL_DELAY_MS": "milliseconds between two looks then",
        "OTEL_SDK_DISABLED": f"`true` sends none of {_OTEL}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"where {_OTEL} go",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "must be `http/protobuf` where it is set",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "where traces go",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "where metrics go",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "seconds for a request",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "seconds for a request with traces",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "seconds for a request with metrics",
    }
)
"""Meaning by name, in Markdown. Variables of a stage are named by `env_inputs` of it."""
