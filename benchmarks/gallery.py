"""Real composites beside their harmonized selves, to be looked at: one JPEG each, and contact sheets of six.

    python benchmarks/gallery.py --composites REAL_COMPOSITES --out FOLDER [--weights NAME] [--source libcom]

The folder holds list.csv (name, source), composites/<name>.jpg and masks/<name>.png.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
from PIL import Image, ImageDraw

from gknet import Harmonizer

SIDE = 480
GAP = 6


def pair(harmonizer: Harmonizer, folder: Path, name: str) -> Image.Image:
    """The composite with its mask's outline drawn small in a corner | the harmonized picture."""
    with Image.open(folder / "composites" / f"{name}.jpg") as file:
        composite = file.convert("RGB")
    with Image.open(folder / "masks" / f"{name}.png") as file:
        mask = file.convert("L")
    harmonized = harmonizer(composite, mask)
    for picture in (composite, harmonized, mask):
        picture.thumbnail((SIDE, SIDE))
    corner = mask.copy()
    corner.thumbnail((SIDE // 5, SIDE // 5))
    composite.paste(corner, (0, 0))
    sheet = Image.new("RGB", (2 * composite.width + GAP, composite.height), "white")
    sheet.paste(composite, (0, 0))
    sheet.paste(harmonized, (composite.width + GAP, 0))
    return sheet


@click.command()
@click.option("--composites", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--weights", default="gknet-lite", show_default=True, help="Shipped name or file.")
@click.option("--source", default="", help="Only those whose source contains this.")
def main(composites: Path, out: Path, weights: str, source: str) -> None:
    """Write the pictures."""
    harmonizer = Harmonizer.load(weights)
    out.mkdir(parents=True, exist_ok=True)
    with (composites / "list.csv").open(newline="") as text:
        names = [row["name"] for row in csv.DictReader(text) if source in row["source"]]
    pairs = {name: pair(harmonizer, composites, name) for name in names}
    for name, picture in pairs.items():
        picture.save(out / f"{name}.jpg", quality=85)
    for start in range(0, len(names), 6):
        sheet = Image.new("RGB", (2 * (2 * SIDE + 4 * GAP), 3 * (SIDE + 4 * GAP)), "white")
        draw = ImageDraw.Draw(sheet)
        for i, name in enumerate(names[start : start + 6]):
            at = ((i % 2) * (sheet.width // 2), (i // 2) * (sheet.height // 3))
            sheet.paste(pairs[name], (at[0], at[1] + 16))
            draw.text((at[0] + 4, at[1] + 2), name, fill="black")
        sheet.save(out / f"sheet-{start // 6:02}.png")


if __name__ == "__main__":
    main()
