"""What gknet.framing is worth: small foregrounds in large scenes, and panoramas.

    python benchmarks/framing.py --photos PHOTOS [--weights NAME] [--batches 2]

Composites of the 400 held-out photos at 256x256, each in a scene made of its own mirror images without the foreground,
so that all else stays the same. Harmonized with all of the scene seen, and as the product does. Errors are those of the
foreground, over the untouched composites'.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from quality import AS_IS, PASTED, SIZE, draw, joined

from gknet import Harmonizer
from gknet.data.composites import Batch
from gknet.data.photos import load_photos
from gknet.evaluate import WORSE
from gknet.upsampling import fill_absent

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Pixels above and below, to the left and to the right."""
LARGEST = 0.12
"""Of the composites those whose foreground covers less."""


def scene(composite: NDArray[np.uint8], mask: NDArray[np.float32], pads: Pads) -> NDArray[np.uint8]:
    """The composite amid mirror images of its background."""
    background = (mask == 0)[..., None].astype(np.float32)
    clean = fill_absent(composite * background, background).round().astype(np.uint8)
    wide = np.pad(clean, (*pads, (0, 0)), mode="symmetric")
    wide[middle(pads)] = composite
    return wide


def middle(pads: Pads) -> tuple[slice, ...]:
    return tuple(slice(before, before + SIZE) for before, _ in pads)


def left(harmonizer: Harmonizer, batch: Batch, wide: int, high: int, pasted: bool) -> str:
    """Both ratios of errors, and how many come out worse."""
    pads = ((high - 1) * SIZE // 2,) * 2, ((wide - 1) * SIZE // 2,) * 2
    composites = (batch.composite * 255).round().byte().permute(0, 2, 3, 1).numpy()
    results = []
    for composite, mask in zip(composites, batch.mask[:, 0].numpy(), strict=True):
        document, foreground = scene(composite, mask, pads), np.pad(mask, pads)
        for box in ((0, 0, wide * SIZE, high * SIZE), None):
            result = np.asarray(harmonizer(document, foreground, pasted=pasted, context_box=box))
            results.append(torch.from_numpy(result[middle(pads)]).permute(2, 0, 1).float() / 255)
    before, *after = (batch.fmse(x) for x in (batch.composite, torch.stack(results[::2]), torch.stack(results[1::2])))
    figures = [f"{x.sum() / before.sum():.3f} ({(x > WORSE * before).float().mean():.0%} worse)" for x in after]
    return f"n {len(before):4}  all seen {figures[0]}  framed {figures[1]}"


@click.command()
@click.option("--photos", required=True, type=click.Path(exists=True, path_type=Path), help="Those of training.")
@click.option("--weights", default="gknet-lite", show_default=True)
@click.option("--batches", default=2, show_default=True, help="Of 32 composites, of either kind of change.")
def main(photos: Path, weights: str, batches: int) -> None:
    """Print a line for each kind of scene."""
    harmonizer = Harmonizer.load(weights, "cpu")
    data, names = load_photos(photos, SIZE)
    _, held = data.split(400, names)
    for kind, pasted in (("known pastes", True), ("changed in place", False)):
        config = PASTED if pasted else AS_IS
        kinds = [replace(config, photographic=share) for share in (0.0, 1.0)]
        batch = joined([draw(held, changes, batches, 9_300_000) for changes in kinds])
        small = batch.mask.mean((1, 2, 3)) < LARGEST
        batch = Batch(*(values[small] for values in (batch.composite, batch.mask, batch.real)))
        for wide, high in ((1, 1), (2, 2), (4, 4), (8, 8), (2, 1), (4, 1), (1, 2), (1, 4)):
            print(f"{kind:17} {wide} wide, {high} high  {left(harmonizer, batch, wide, high, pasted)}", flush=True)


if __name__ == "__main__":
    main()
