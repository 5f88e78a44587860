"""Enables Krita's plugin in its kritarc, of which every other byte stays as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SECTION = b"[python]"
_KEY = b"enable_harmonize_layer"
_ENABLED = _KEY + b"=true"


def is_enabled(path: Path) -> bool | None:
    """What the file says; None: nothing."""
    lines = _lines(path)
    number = _setting(lines)
    return None if number is None else lines[number].strip() == _ENABLED


def enable(path: Path) -> None:
    """Enable the plugin, in a file that is made if need be."""
    lines = _lines(path)
    number = _setting(lines)
    if number is not None:
        lines[number] = _ENABLED + b"\n"
    else:
        if _section(lines) is None:
            if lines and not lines[-1].endswith(b"\n"):
                lines[-1] += b"\n"
            lines.append(_SECTION + b"\n")
        lines.insert((_section(lines) or 0) + 1, _ENABLED + b"\n")
    _write(path, lines)


def forget(path: Path) -> None:
    """Take out what `enable` put in, also the section and the file if there is nothing else in them."""
    lines = _lines(path)
    number = _setting(lines)
    if number is None:
        return
    del lines[number]
    section = _section(lines)
    rest = lines[section + 1 :] if section is not None else []
    following = next((line for line in rest if line.strip()), b"[")
    if section is not None and following.startswith(b"["):
        del lines[section]
    if b"".join(lines).strip():
        _write(path, lines)
    else:
        path.resolve().unlink()


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.is_file() else []


def _section(lines: list[bytes]) -> int | None:
    return next((number for number, line in enumerate(lines) if line.strip() == _SECTION), None)


def _setting(lines: list[bytes]) -> int | None:
    """The line of the setting within its section."""
    section = _section(lines)
    for number in range(len(lines) if section is None else section + 1, len(lines)):
        if lines[number].startswith(b"["):
            break
        if lines[number].partition(b"=")[0].strip() == _KEY:
            return number
    return None


def _write(path: Path, lines: list[bytes]) -> None:
    path = path.resolve()  # where it is a link, the link stays
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.harmonize")
    partial.write_bytes(b"".join(lines))
    if path.exists():
        shutil.copymode(path, partial)
    os.replace(partial, path)
