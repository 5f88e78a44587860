"""What the benchmarks of the editors share: the picture, the command line and the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from installer.environment import ROOT

Rows = Iterator[dict[str, float]]

WIDTH, HEIGHT = 6000, 4000
PLACE = (2000, 1500)
OBJECT = (1920, 2080)  # a sixth of the picture


def photographs() -> tuple[Image.Image, Image.Image]:
    """An example enlarged to 24 megapixels, RGB, and its object, RGBA, which belongs at PLACE."""
    folder = ROOT / "examples"
    with Image.open(folder / "astronaut.jpg") as photo, Image.open(folder / "astronaut_mask.png") as mask:
        person = Image.merge("RGBA", [*photo.convert("RGB").split(), mask.convert("L")])
        return photo.convert("RGB").resize((WIDTH, HEIGHT)), person.resize(OBJECT)


def main(text: str, columns: Sequence[str], measure: Callable[[int], Rows], warm_up: int = 0) -> None:
    """Run a benchmark by the command line.

    Args:
        text: what --help tells.
        columns: of the table, milliseconds.
        measure: (how often) -> a row each time.
        warm_up: how many more rows come first, which the median leaves out.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    print(f"{'':8s}" + "".join(f"{name:>12s}" for name in columns))

    def show(label: str, row: dict[str, float]) -> None:
        print(f"{label:8s}" + "".join(f"{row[name]:12.0f}" for name in columns), flush=True)

    rows: list[dict[str, float]] = []
    for row in measure(warm_up + arguments.repeat):
        show(str(len(rows) - warm_up + 1) if len(rows) >= warm_up else "first", row)
        rows.append(row)
    show("median", {name: statistics.median(row[name] for row in rows[warm_up:]) for name in columns})
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2), encoding="utf-8")
