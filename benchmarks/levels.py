"""What gknet.levels is worth: composites of little contrast.

    python benchmarks/levels.py --photos PHOTOS [--weights NAME] [--batches 2]

Composites of the 400 held-out photos at 256x256, made darker, lighter or flatter as a whole. Harmonized with the
network shown them as they are, and as the product does. Errors are those of the foreground, over the untouched
composites'.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch
from quality import AS_IS, PASTED, SIZE, draw, joined

from gknet import Harmonizer, levels
from gknet.data.composites import Batch
from gknet.data.photos import load_photos
from gknet.evaluate import WORSE

PICTURES = {
    "as they are": (1.0, 0.0),
    "half as light": (0.5, 0.0),
    "a quarter": (0.25, 0.0),
    "fog": (0.4, 0.5),
    "flat": (0.4, 0.3),
    "very light": (0.25, 0.75),
}
"""``contrast * value + brightness``."""


def left(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> str:
    """Both ratios of errors, and how many come out worse."""
    composites = (batch.composite * 255).round().byte().permute(0, 2, 3, 1).numpy()
    masks = batch.mask[:, 0].numpy()
    errors = []
    for least in (0.0, levels.LEAST):
        with patch.object(levels, "LEAST", least):
            results = [harmonizer(*pair, pasted=pasted) for pair in zip(composites, masks, strict=True)]
        errors.append(batch.fmse(torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2) / 255))
    before = batch.fmse(torch.from_numpy(composites).permute(0, 3, 1, 2) / 255)
    figures = [f"{x.sum() / before.sum():.3f} ({(x > WORSE * before).float().mean():.0%} worse)" for x in errors]
    return f"n {len(before):4}  as it is {figures[0]}  stretched {figures[1]}"


@click.command()
@click.option("--photos", required=True, type=click.Path(exists=True, path_type=Path), help="Those of training.")
@click.option("--weights", default="gknet-lite", show_default=True)
@click.option("--batches", default=2, show_default=True, help="Of 32 composites, of either kind of change.")
def main(photos: Path, weights: str, batches: int) -> None:
    """Print a line for each kind of picture."""
    harmonizer = Harmonizer.load(weights, "cpu")
    data, names = load_photos(photos, SIZE)
    _, held = data.split(400, names)
    for kind, pasted in (("known pastes", True), ("changed in place", False)):
        config = PASTED if pasted else AS_IS
        batch = joined([draw(held, replace(config, photographic=share), batches, 9_900_000) for share in (0.0, 1.0)])
        for name, (contrast, brightness) in PICTURES.items():
            flat = Batch(contrast * batch.composite + brightness, batch.mask, contrast * batch.real + brightness)
            print(f"{kind:17} {name:14} {left(harmonizer, flat, pasted)}", flush=True)


if __name__ == "__main__":
    main()
