"""The contact sheet of a batch: one HTML file with small pictures of the largest changes, before and after."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import jinja2
import pyvips

from backend import places
from backend.batch import Summary

if TYPE_CHECKING:
    from backend.places import Place

MOST = 100
"""Pictures on a sheet: a batch may have millions."""
_SIDE = 240


def write(path: Place, summary: Summary, *, title: str) -> None:
    """Write the sheet of a batch to `path`; its links lead to the outputs. Raises OSError."""
    largest = sorted(summary.done, key=lambda entry: -entry.change)[:MOST]
    pictures = [
        {
            "before": _thumbnail(entry.image),
            "after": _thumbnail(entry.output),
            "link": quote(os.fsencode(Path(os.path.relpath(entry.output, str(path.parent))).as_posix())),
            "name": entry.output,
            "change": f"{entry.change:.1%}",
        }
        for entry in largest
    ]
    pages = jinja2.Environment(loader=jinja2.PackageLoader("backend", "pages"), autoescape=True)
    page = pages.get_template("sheet.html").render(
        title=title, summary=str(summary), pictures=pictures, left_out=len(summary.done) - len(largest)
    )
    path.write_text(page, encoding="utf-8", errors="replace")  # names need not be text


def _thumbnail(name: str) -> str:
    """A data URL; empty where the file is no longer there."""
    try:
        with places.local(places.place(name)) as path:
            small = pyvips.Image.thumbnail(os.fsencode(path), _SIDE, height=_SIDE, export_profile="srgb")
            if small.hasalpha():
                small = small.flatten(background=128)
            data = small.jpegsave_buffer(Q=80, keep="none")
    except (OSError, pyvips.Error):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
