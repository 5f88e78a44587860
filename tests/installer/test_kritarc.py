"""The line in kritarc that enables the plugin; all others stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer import kritarc

LINE = b"enable_harmonize_layer=true\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"[python]\n" + LINE),
        (b"[a]\nb=1", b"[a]\nb=1\n[python]\n" + LINE),
        (b"[python]\nenable_x=true\n\n[z]\n", b"[python]\n" + LINE + b"enable_x=true\n\n[z]\n"),
        (b"[a]\nenable_harmonize_layer=false\n", b"[a]\nenable_harmonize_layer=false\n[python]\n" + LINE),
        (b"\xff=\xe9\r\n[python]\r\n", b"\xff=\xe9\r\n[python]\r\n" + LINE),
    ],
)
def test_enabling_adds_one_line_and_forgetting_takes_it_out(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "kritarc"
    path.write_bytes(before)
    assert kritarc.is_enabled(path) is None
    kritarc.enable(path)
    assert path.read_bytes() == after and kritarc.is_enabled(path)
    kritarc.forget(path)
    assert kritarc.is_enabled(path) is None
    left = path.read_bytes() if path.exists() else b""
    assert left.splitlines() == [
        one for one in before.splitlines() if one.strip() != b"[python]" or b"enable_x" in before
    ]


def test_disabled_one_is_enabled_in_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "kritarc"
    path.write_bytes(b"[python]\nenable_harmonize_layer=false\nenable_x=false\n")
    assert kritarc.is_enabled(path) is False
    kritarc.enable(path)
    assert path.read_bytes() == b"[python]\n" + LINE + b"enable_x=false\n"


def test_a_file_that_was_made_for_the_line_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kritarc"
    kritarc.enable(path)
    kritarc.forget(path)
    assert not path.exists()


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    real, path = tmp_path / "dotfiles", tmp_path / "kritarc"
    real.write_bytes(b"[a]\n")
    real.chmod(0o600)
    path.symlink_to(real)
    kritarc.enable(path)
    assert path.is_symlink() and LINE in real.read_bytes() and real.stat().st_mode & 0o777 == 0o600
