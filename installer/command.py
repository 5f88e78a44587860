"""The command under a path that stays: each version has an environment of its own, and this starts the newest."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path

FOLDER = "bin"


def path(prefix: Path) -> Path:
    """Where the command is."""
    return prefix / FOLDER / ("harmonize.cmd" if sys.platform == "win32" else "harmonize")


def write(prefix: Path, environment: Path) -> None:
    """Have it start the program of an environment in `prefix`. Raises OSError."""
    if starts(prefix, environment):
        return
    found = path(prefix)
    found.parent.mkdir(exist_ok=True)
    partial = found.with_suffix(".partial")
    partial.write_text(_text(environment), encoding="utf-8")
    partial.chmod(0o755)
    os.replace(partial, found)


def starts(prefix: Path, environment: Path) -> bool:
    """Whether it is there and starts the program of this environment."""
    try:
        return path(prefix).read_text(encoding="utf-8") == _text(environment)
    except (OSError, UnicodeDecodeError):
        return False


def remove(prefix: Path) -> None:
    """Take it away, and its folder if that is empty then."""
    path(prefix).unlink(missing_ok=True)
    with suppress(OSError):
        (prefix / FOLDER).rmdir()


def _text(environment: Path) -> str:
    if sys.platform == "win32":  # by its own place, as cmd.exe reads no UTF-8
        return f'@"%~dp0..\\{environment.name}\\Scripts\\harmonize.exe" %*\n'
    return f'#!/bin/sh\nexec {shlex.quote(str(environment / "bin" / "harmonize"))} "$@"\n'
