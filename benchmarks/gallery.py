"""Real composites beside their harmonized selves, to be looked at: one JPEG each, and on request sheets of six.

    python benchmarks/gallery.py --composites docs/gallery --out docs/gallery/harmonized --pasted
    python benchmarks/gallery.py --composites REAL_COMPOSITES --out FOLDER --sheets [--weights NAME] [--source libcom]

The folder holds list.csv (name, source), composites/<name>.jpg and masks/<name>.png.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw

from gknet import Harmonizer

SIDE = 480
GAP = 4
HEADING = 20


def panels(harmonizer: Harmonizer, folder: Path, name: str, pasted: bool | None) -> Image.Image:
    """Composite | mask | harmonized, each at most SIDE a side."""
    with Image.open(folder / "composites" / f"{name}.jpg") as file:
        composite = file.convert("RGB")
    with Image.open(folder / "masks" / f"{name}.png") as file:
        mask = file.convert("L")
    pictures = (composite, mask, harmonizer(composite, mask, pasted=pasted))
    for picture in pictures:
        picture.thumbnail((SIDE, SIDE))
    sheet = Image.new("RGB", (3 * composite.width + 2 * GAP, composite.height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * (composite.width + GAP), 0))
    return sheet


@click.command()
@click.option("--composites", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--weights", default="gknet-lite", show_default=True, help="Shipped name or file.")
@click.option("--source", default="", help="Only those whose source contains this.")
@click.option("--pasted/--in-place", default=None, help="What the foregrounds are; else the seam is asked.")
@click.option("--sheets", is_flag=True, help="Also sheets of six.")
def main(composites: Path, out: Path, weights: str, source: str, pasted: bool | None, sheets: bool) -> None:
    """Write the pictures."""
    harmonizer = Harmonizer.load(weights)
    out.mkdir(parents=True, exist_ok=True)
    with (composites / "list.csv").open(newline="") as text:
        names = [row["name"] for row in csv.DictReader(text) if source in row["source"]]
    rows = {name: panels(harmonizer, composites, name, pasted) for name in names}
    for name, picture in rows.items():
        picture.save(out / f"{name}.jpg", quality=85)
    for start in range(0, len(names) if sheets else 0, 6):
        shown = names[start : start + 6]
        tops = np.cumsum([0, *(rows[name].height + HEADING for name in shown)])
        sheet = Image.new("RGB", (3 * SIDE + 2 * GAP, int(tops[-1])), "white")
        for name, top in zip(shown, tops[:-1].tolist(), strict=True):
            ImageDraw.Draw(sheet).text((GAP, top + GAP), name, fill="black")
            sheet.paste(rows[name], (0, top + HEADING))
        sheet.save(out / f"sheet-{start // 6:02}.png")


if __name__ == "__main__":
    main()
