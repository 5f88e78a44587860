"""What a test needs of the machine."""

from __future__ import annotations

import os

import pytest


def need(there: bool, what: str) -> None:
    """Skip the test where `what` is not there; on CI, which has everything, fail it."""
    __tracebackhide__ = True  # a failure is shown where it was asked
    if there:
        return
    if os.environ.get("GKNET_CI") == "1":
        pytest.fail(f"CI lacks {what}")
    pytest.skip(f"needs {what}")
