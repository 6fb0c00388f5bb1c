"""How fast saves are served, measured on a kind cluster of its own: `nox -s bench`."""
