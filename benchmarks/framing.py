"""What gknet.framing is worth: small foregrounds in large scenes, and panoramas.

    python benchmarks/framing.py --photos PHOTOS [--weights NAME] [--batches 2]

Composites of the 400 held-out photos at 256x256, each in a scene made of its own mirror images without the foreground,
so that all else stays the same. Harmonized with all of the scene seen, and as the product does. Errors are those of the
foreground, over the untouched composites'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from quality import SIZE
from shown import command, left

from gknet import Harmonizer
from gknet.data.composites import Batch
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


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """Of each kind of scene both shares of errors."""
    small = batch.mask.mean((1, 2, 3)) < LARGEST
    batch = Batch(*(values[small] for values in (batch.composite, batch.mask, batch.real)))
    composites = (batch.composite * 255).round().byte().permute(0, 2, 3, 1).numpy()
    before = batch.fmse(batch.composite)
    for wide, high in ((1, 1), (2, 2), (4, 4), (8, 8), (2, 1), (4, 1), (1, 2), (1, 4)):
        pads = ((high - 1) * SIZE // 2,) * 2, ((wide - 1) * SIZE // 2,) * 2
        results = []
        for composite, mask in zip(composites, batch.mask[:, 0].numpy(), strict=True):
            document, foreground = scene(composite, mask, pads), np.pad(mask, pads)
            for box in ((0, 0, wide * SIZE, high * SIZE), None):
                result = np.asarray(harmonizer(document, foreground, pasted=pasted, context_box=box))
                results.append(torch.from_numpy(result[middle(pads)]).permute(2, 0, 1).float() / 255)
        seen, framed = (left(before, batch.fmse(torch.stack(results[i::2]))) for i in (0, 1))
        yield f"{wide} wide, {high} high  n {len(before):4}  all seen {seen}  framed {framed}"


if __name__ == "__main__":
    command(lines, seed=9_300_000)()
