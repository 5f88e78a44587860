"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# How long an example takes says nothing about the code on a busy machine.
settings.register_profile("gknet", deadline=None)
settings.load_profile("gknet")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The research photographs in ../shared/data. Without them a test is skipped, but on CI it fails."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"needs the research photographs in {folder}"
        if os.environ.get("GKNET_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
