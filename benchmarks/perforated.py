"""What gknet.perforated is worth: composites of which only stripes, dots, strands or leaves are there.

    python benchmarks/perforated.py --photos PHOTOS [--weights NAME] [--batches 2]

Composites of the 400 held-out photos at 256x256, whole and perforated. What is behind a paste is drawn from the photo's
mirror image. Harmonized with the network shown what is there, and as the product does. Errors are those of the
foreground, over the untouched composites'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from quality import SIZE
from shown import command, left
from torch import Tensor

from gknet import Harmonizer, perforated
from gknet.data.composites import Batch
from gknet.layers import blur
from gknet.upsampling import fill_absent

LARGE = 4
"""How many times as wide and high documents with finer strands are."""
LEAST = 20
"""Pixels of a foreground, at least."""


def patterns() -> dict[str, NDArray[np.bool_]]:
    """What is left of a foreground, [S, S]; of finer ones at :data:`LARGE` times the size."""
    y, x = np.mgrid[:SIZE, :SIZE]
    fine = np.mgrid[: LARGE * SIZE, : LARGE * SIZE][1]
    return {
        "all": np.ones((SIZE, SIZE), bool),
        "stripes, 3 of 12 pixels": x % 12 < 3,
        "dots, 4 of 16 pixels": (x % 16 < 4) & (y % 16 < 4),
        "grid, 5 of 16 pixels": (x % 16 < 5) | (y % 16 < 5),
        "speckles, a half": leaves(1, 0.5),
        "leaves, three tenths": leaves(3, 0.3),
        "leaves, six tenths": leaves(3, 0.6),
        "large leaves, a half": leaves(8, 0.5),
        f"strands, 2 of 12 pixels, {LARGE} times as large": fine % 12 < 2,
        f"strands, 1 of 6 pixels, {LARGE} times as large": fine % 6 < 1,
    }


def leaves(radius: int, share: float) -> NDArray[np.bool_]:
    """Blurred noise, cut so that this share is left."""
    noise = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(radius))
    smooth = blur(blur(noise, radius), radius)[0, 0].numpy()
    return np.asarray(smooth > np.quantile(smooth, 1 - share))


def perforate(batch: Batch, pattern: NDArray[np.bool_], pasted: bool) -> tuple[list[NDArray[np.float32]], ...]:
    """Composites [S, S, 3] and real images, 0..255, and masks [S, S] of what the pattern leaves."""
    side = len(pattern)
    composites, reals, masks = [], [], []
    for composite, real, mask in zip(
        *(resized(x, side) for x in (batch.composite, batch.real, batch.mask)), strict=True
    ):
        mask = mask[..., 0] / 255
        behind = mirrored(real, mask) if pasted else real
        there = (pattern * mask).astype(np.float32)
        opaque = there[..., None] if pasted else pattern[..., None]
        composites.append(np.rint(behind + opaque * (composite - behind)))
        reals.append(behind + opaque * (real - behind))
        masks.append(there)
    return composites, reals, masks


def resized(pictures: Tensor, side: int) -> NDArray[np.float32]:
    values = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    planes = [[Image.fromarray(v[..., c]).resize((side, side)) for c in range(v.shape[2])] for v in values]
    return np.array([np.stack(some, -1) for some in planes], np.float32)


def mirrored(real: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """The photo without its foreground: its mirror image there, and what is around where that has it as well."""
    hidden = blur(torch.from_numpy(mask)[None, None], 2 * len(mask) // SIZE)[0, 0].numpy() > 0
    turns = [np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1]]
    turn = min(turns, key=lambda turn: np.count_nonzero(hidden & hidden[turn]))
    picture = np.where(hidden[..., None], real[turn], real)
    known = ~(hidden & hidden[turn])[..., None]
    return fill_absent(picture * known, known.astype(np.float32))


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """Of each pattern both shares of errors."""
    for name, pattern in patterns().items():
        errors = []
        for composite, real, mask in zip(*perforate(batch, pattern, pasted), strict=True):
            if mask.sum() < LEAST:
                continue
            document = composite.astype(np.uint8)
            with patch.object(perforated, "MUCH", math.inf):
                results = [composite, harmonizer(document, mask, pasted=pasted)]
            results.append(harmonizer(document, mask, pasted=pasted))
            errors.append([np.average(np.square(x - real).mean(2), weights=mask) for x in results])
        before, as_it_is, solid = np.array(errors).T
        yield f"{name:42} n {len(before):4}  as it is {left(before, as_it_is)}  as if solid {left(before, solid)}"


if __name__ == "__main__":
    command(lines, seed=9_500_000)()
