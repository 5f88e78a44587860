"""A Krita for the tests of this folder, and photographs for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.link import Client
from backend.link.messages import LinkError
from gknet import Harmonizer
from tests.editors.krita.session import Krita
from tests.need import need


@pytest.fixture(scope="session")
def harmonizer() -> Harmonizer:
    return Harmonizer.load(device="cpu")


@pytest.fixture(scope="session")
def session() -> Iterator[Krita]:
    """One Krita for all tests, since it takes long to start with a fresh home."""
    need(all(map(shutil.which, ("krita", "Xvfb"))), "Krita and Xvfb")
    with tempfile.TemporaryDirectory(prefix="krita-") as folder:
        krita = Krita(Path(folder))
        yield krita
        krita.close()
        try:
            Client("tests", python=None, file=krita.connection).shutdown()
        except LinkError:
            pass  # a test has stopped it


@pytest.fixture
def krita(session: Krita) -> Iterator[Krita]:
    """A Krita without documents, whatever became of the one before."""
    if session.process.poll() is not None:
        session.close()
        session.start()
    yield session
    if session.process.poll() is None:
        session("close_all")
