"""A local Kubernetes development loop for Rust services, as Invoke tasks and Nox sessions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from kindloop.errors import EXIT_CODES, KindloopError

try:
    __version__ = version("kindloop")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.0.0"

__all__ = ["EXIT_CODES", "KindloopError", "__version__"]
