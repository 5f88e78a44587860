"""What the plugin itself costs in real Krita: a pasted layer over 24 megapixels, 8 bits.

    python -m benchmarks.krita [--repeat 5] [--json FILE]

total: from the click until the layer is there. engine: the daemon's stages, waiting included. krita: its own calls that
read, write and add pixels. plugin: the rest, that is the way there and back and all of the plugin's Python. stall: the
longest time that Krita's event loop stood still, its own calls not counted. work and piece: the same two as processor
time of Krita's main thread, which a busy machine hardly stretches. Milliseconds; the first run is apart, as it asks
Krita for the colour profile. Needs what the tests in tests/editors/krita need.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from backend.link import Client
from tests.editors.krita.photos import SRGB, background, cut_out
from tests.editors.krita.session import Krita

WIDTH, HEIGHT = 6000, 4000
OBJECT = (1920, 2080)  # a sixth of it
COLUMNS = ("total", "engine", "krita", "plugin", "stall", "work", "piece")


def document() -> dict[str, Any]:
    """Photographs enlarged to that size, as arguments for the step "create"."""
    rows, columns = np.arange(HEIGHT) // 10, np.arange(WIDTH) // 10
    photo = np.frombuffer(SRGB.encode(background()), np.uint8).reshape(*background().shape)[rows][:, columns]
    person = np.frombuffer(SRGB.encode(cut_out()), np.uint8).reshape(*cut_out().shape)
    person = np.kron(person, np.ones((8, 8, 1), np.uint8))
    layers = [
        ("Photo", [0, 0, WIDTH, HEIGHT], photo.tobytes()),
        ("Person", [2000, 1500, *OBJECT], person.tobytes()),
    ]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "model": SRGB.model,
        "depth": SRGB.depth,
        "profile": SRGB.profile,
        "layers": layers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    print(f"{'':8s}" + "".join(f"{name:>10s}" for name in COLUMNS))
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Krita(Path(folder))) as krita:
        krita("create", **document())
        krita("harmonize")  # starts the daemon
        krita("trigger", action="edit_undo")
        krita("forget_profiles")
        for run in range(1 + arguments.repeat):
            found = krita("measure")
            engine = sum(found["timings"].values())
            row = {"total": found["total"], "engine": engine, "krita": found["krita"]}
            row["plugin"] = found["total"] - engine - found["krita"]
            row.update({name: found[name] for name in COLUMNS[4:]})
            show("first" if run == 0 else str(run), row)
            rows.append(row)
            krita("trigger", action="edit_undo")
        Client("benchmark", python=None, file=krita.connection).shutdown()
    show("median", {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]})
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2), encoding="utf-8")


def show(label: str, row: dict[str, float]) -> None:
    print(f"{label:8s}" + "".join(f"{value:10.0f}" for value in row.values()), flush=True)


if __name__ == "__main__":
    main()
