"""GIMP 3, which only CI installs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.link import Client
from backend.link.messages import LinkError
from gknet import Harmonizer
from installer.debian import gimp_root
from tests.editors.gimp.session import Gimp
from tests.need import need

Start = Callable[..., Gimp]


@pytest.fixture(scope="session")
def root() -> Path:
    """Where GIMP is."""
    root = gimp_root()
    need(root.exists(), f"GIMP 3 in {root}, where `python3 -m installer test --ci` puts it (as root on Debian)")
    return root


@pytest.fixture(scope="session")
def start(root: Path) -> Iterator[Start]:
    """(display="") -> GIMP with a home and a daemon of its own."""
    sessions: list[tuple[Gimp, Path]] = []

    def begin(display: str = "") -> Gimp:
        folder = Path(tempfile.mkdtemp(prefix="hz", dir=root / "tmp"))
        sessions.append((Gimp(root, folder, display), folder))
        return sessions[-1][0]

    yield begin
    for session, folder in sessions:
        session.close()
        with contextlib.suppress(LinkError):  # no job has started one
            Client(file=session.connection).shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def gimp(start: Start) -> Gimp:
    """One without a screen, which tests share."""
    return start()


@pytest.fixture(scope="session")
def harmonizer() -> Harmonizer:
    return Harmonizer.load()
