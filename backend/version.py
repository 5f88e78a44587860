"""The version of this package, as it is installed."""

from __future__ import annotations

import importlib.metadata


def package_version() -> str:
    """Such as "0.1.0"."""
    return importlib.metadata.version("gknet-harmonize")
