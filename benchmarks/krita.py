"""What the plugin itself costs in real Krita: a pasted layer over 24 megapixels, 8 bits.

    python -m benchmarks.krita [--repeat 5] [--json FILE]

total: from the click until the layer is there. engine: the daemon's stages, waiting included. krita: its own calls that
read, write and add pixels. plugin: the rest, that is the way there and back and all of the plugin's Python. stall: the
longest time that Krita's event loop stood still, its own calls not counted. work and piece: the same two as processor
time of Krita's main thread, which a busy machine hardly stretches. draw: for how long the event loop stands still once
the layer is there, while Krita shows it. Milliseconds; the first run is apart, as it asks Krita for the colour profile.
Needs what the tests in tests/editors/krita need.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

from backend.link import Client
from benchmarks.editors import HEIGHT, OBJECT, PLACE, WIDTH, Rows, main, photographs
from tests.editors.krita.photos import SRGB
from tests.editors.krita.session import Krita

_SETTLED = 1.0  # seconds after which Krita has drawn what was undone
COLUMNS = ("total", "engine", "krita", "plugin", "stall", "work", "piece", "draw")


def document() -> dict[str, Any]:
    """The picture, as arguments for the step "create"."""
    photo, person = photographs()
    layers = [
        ("Photo", [0, 0, WIDTH, HEIGHT], photo.convert("RGBA").tobytes("raw", "BGRA")),
        ("Person", [*PLACE, *OBJECT], person.tobytes("raw", "BGRA")),
    ]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "model": SRGB.model,
        "depth": SRGB.depth,
        "profile": SRGB.profile,
        "layers": layers,
    }


def measure(repeat: int) -> Rows:
    """Harmonize it so often."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Krita(Path(folder))) as krita:
        krita("create", **document())
        krita("harmonize")  # starts the daemon
        krita("trigger", action="edit_undo")
        krita("forget_profiles")
        for _ in range(repeat):
            time.sleep(_SETTLED)
            found = krita("measure")
            engine = sum(found["timings"].values())
            row = {"total": found["total"], "engine": engine, "krita": found["krita"]}
            row["plugin"] = found["total"] - engine - found["krita"]
            row.update({name: found[name] for name in COLUMNS[4:]})
            yield row
            krita("trigger", action="edit_undo")
        Client("benchmark", python=None, file=krita.connection).shutdown()


if __name__ == "__main__":
    main(__doc__, COLUMNS, measure, warm_up=1)
