"""What gknet.framing is worth: small foregrounds in large scenes, and panoramas.

    python benchmarks/framing.py --photos PHOTOS [--weights NAME] [--batches 2]

Composites of the 400 held-out photos at 256x256, each in a scene made of its own mirror images without the foreground,
so that all else stays the same. Harmonized with all of the scene seen, and as the product does. Errors are those of the
foreground, over the untouched composites'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from quality import AS_IS, PASTED, SIZE, joined

from gknet import Harmonizer
from gknet.data.composites import Batch, Composer
from gknet.data.photos import load_photos
from gknet.evaluate import WORSE
from gknet.upsampling import fill_absent

LARGEST = 0.12
"""Of the composites those whose foreground covers less."""


def scenes(batch: Batch, wide: int, high: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32], int]]:
    """Scenes of so many composites' widths and heights, their masks, and which composite lies in the middle."""
    pads = ((high - 1) * SIZE // 2,) * 2, ((wide - 1) * SIZE // 2,) * 2
    middle = tuple(slice(before, before + SIZE) for before, _ in pads)
    composites = (batch.composite * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for i, (composite, mask) in enumerate(zip(composites, batch.mask[:, 0].numpy(), strict=True)):
        if mask.mean() >= LARGEST:
            continue
        background = (mask == 0)[..., None].astype(np.float32)
        clean = fill_absent(composite * background, background).round().astype(np.uint8)
        scene = np.pad(clean, (*pads, (0, 0)), mode="symmetric")
        scene[middle] = composite
        yield scene, np.pad(mask, pads), i


def left(harmonizer: Harmonizer, batch: Batch, wide: int, high: int, pasted: bool) -> str:
    """Both ratios of errors, and how many come out worse."""
    real = batch.real.permute(0, 2, 3, 1).numpy() * 255
    errors = []
    for scene, mask, i in scenes(batch, wide, high):
        height, width = mask.shape
        place = tuple(slice((side - SIZE) // 2, (side + SIZE) // 2) for side in (height, width))
        whole = harmonizer(scene, mask, pasted=pasted, context_box=(0, 0, width, height))
        framed = harmonizer(scene, mask, pasted=pasted)
        squares = [((np.asarray(picture)[place] - real[i]) ** 2).mean(2) for picture in (scene, whole, framed)]
        errors.append([np.average(square, weights=mask[place]) for square in squares])
    before, *after = np.array(errors).T
    figures = [f"{x.sum() / before.sum():.3f} ({(x > WORSE * before).mean():.0%} worse)" for x in after]
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
        composers = [Composer(held, size=SIZE, config=replace(config, photographic=share)) for share in (0.0, 1.0)]
        batch = joined([composer.batch(32, 9_300_000 + i) for composer in composers for i in range(batches)])
        for wide, high in ((1, 1), (2, 2), (4, 4), (8, 8), (2, 1), (4, 1), (1, 2), (1, 4)):
            print(f"{kind:17} {wide} wide, {high} high  {left(harmonizer, batch, wide, high, pasted)}", flush=True)


if __name__ == "__main__":
    main()
