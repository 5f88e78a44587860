"""What gknet.levels is worth: composites of little contrast.

    python benchmarks/levels.py --photos PHOTOS [--weights NAME] [--batches 2]

Composites of the 400 held-out photos at 256x256, made darker, lighter or flatter as a whole. Harmonized with the
network shown them as they are, and as the product does. Errors are those of the foreground, over the untouched
composites'.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

from quality import harmonize
from shown import command, left

from gknet import Harmonizer, levels
from gknet.data.composites import Batch

PICTURES = {
    "as they are": (1.0, 0.0),
    "half as light": (0.5, 0.0),
    "a quarter": (0.25, 0.0),
    "fog": (0.4, 0.5),
    "flat": (0.4, 0.3),
    "very light": (0.25, 0.75),
}
"""``contrast * value + brightness``."""


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """Of each kind of picture both shares of errors."""
    for name, (contrast, brightness) in PICTURES.items():
        composite, real = (contrast * pictures + brightness for pictures in (batch.composite, batch.real))
        flat = Batch((composite * 255).round() / 255, batch.mask, real)
        stretched = flat.fmse(harmonize(harmonizer, flat, pasted))
        with patch.object(levels, "LEAST", 0.0):
            as_it_is = flat.fmse(harmonize(harmonizer, flat, pasted))
        before = flat.fmse(flat.composite)
        yield f"{name:14} n {len(before):4}  as it is {left(before, as_it_is)}  stretched {left(before, stretched)}"


if __name__ == "__main__":
    command(lines, seed=9_900_000)()
