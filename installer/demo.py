"""The demo: harmonizes the pictures in examples/ and shows before, mask and after side by side. Runs inside .venv."""

from __future__ import annotations

import sys
import time

from PIL import Image, ImageDraw, ImageFont

from gknet.harmonizer import Harmonizer
from installer.environment import ROOT

Row = tuple[Image.Image, Image.Image, Image.Image]


def examples() -> list[tuple[str, Image.Image, Image.Image]]:
    """Name, composite (RGB) and mask (L, same size) of every example."""
    found = []
    for mask in sorted((ROOT / "examples").glob("*_mask.png")):
        name = mask.name.removesuffix("_mask.png")
        found.append((name, Image.open(mask.with_name(f"{name}.jpg")).convert("RGB"), Image.open(mask).convert("L")))
    return found


def sheet(rows: list[Row], width: int = 400, gap: int = 8) -> Image.Image:
    """One picture with a row for every (before, mask, after), each scaled to `width` pixels, under their titles."""
    font = ImageFont.load_default(18)
    heights = [round(before.height * width / before.width) for before, _, _ in rows]
    page = Image.new("RGB", (3 * width + 4 * gap, 36 + sum(heights) + gap * len(rows)), "white")
    pen = ImageDraw.Draw(page)
    for column, title in enumerate(("before", "mask", "after")):
        pen.text((gap + column * (width + gap) + width // 2, 18), title, fill="black", font=font, anchor="mm")
    top = 36
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            cell = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            page.paste(cell, (gap + column * (width + gap), top))
        top += height + gap
    return page


def main(started: float) -> int:
    """Harmonize every example into out/demo. `started`: when the command was given, in seconds since the epoch."""
    try:
        harmonizer = Harmonizer.load()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    out = ROOT / "out" / "demo"
    out.mkdir(parents=True, exist_ok=True)
    pictures = examples()
    print(f"model {harmonizer.model} on {harmonizer.device}, ready after {time.time() - started:.1f} s")
    rows: list[Row] = []
    for name, composite, mask in pictures:
        result = harmonizer.harmonize(composite, mask)
        assert isinstance(result.image, Image.Image)
        rows.append((composite, mask, result.image))
        result.image.save(out / f"{name}.png")
        stages = ", ".join(f"{stage} {milliseconds:.0f}" for stage, milliseconds in result.timings.items())
        print(f"  {name}.png  {composite.width}x{composite.height}  {sum(result.timings.values()):.0f} ms: {stages}")
    sheet(rows).save(out / "before_after.png", optimize=True)
    print(f"the results, and before_after.png with all of them side by side, are in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
