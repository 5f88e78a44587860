"""The file that says what is installed, and that one installer at a time writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer import manifest
from installer.manifest import LOCK, ManifestError, locked


def test_there_is_one_installer_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path):
        second = (tmp_path / LOCK).open("ab")  # comes while the first is at work, and gets in when it leaves
        with pytest.raises(ManifestError, match="another installer"), locked(tmp_path):
            pass
    with second:
        manifest._lock(second)
        with pytest.raises(ManifestError, match="another installer"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
