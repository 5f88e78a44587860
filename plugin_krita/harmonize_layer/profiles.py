"""A document's colour profile, of which Krita tells the name alone."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from krita import Document, InfoObject, Krita

from .link.texts import text

_found: dict[tuple[str, str], bytes | None] = {}


def find(document: Document) -> tuple[bytes | None, str, str]:
    """A document's profile.

    Returns:
        Its bytes, or None where they cannot be had; what values without them are, a transfer of link.messages; and a
        note for the user where they are missing, else "".
    """
    model, name = document.colorModel(), document.colorProfile()
    if (model, name) not in _found:
        _found[model, name] = _saved(model, name)
    icc = _found[model, name]
    linear = any(mark in name.lower() for mark in ("linear", "g10"))
    note = "" if icc else text("profile_linear" if linear else "profile_srgb", profile=name)
    return icc, "linear" if linear else "srgb", note


def _saved(model: str, name: str) -> bytes | None:
    """A profile's bytes out of the file of an empty document, which holds them even where no profile's file does."""
    document = Krita.instance().createDocument(1, 1, "profile", model, "U8", name, 72.0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "profile.kra"
            document.setBatchmode(True)
            if document.colorProfile() != name or not document.exportImage(str(file), InfoObject()):
                return None
            with zipfile.ZipFile(file) as archive:
                icc = [entry for entry in archive.namelist() if entry.endswith("/annotations/icc")]
                return archive.read(icc[0]) if icc else None
    except (OSError, zipfile.BadZipFile):
        return None
    finally:
        document.close()
