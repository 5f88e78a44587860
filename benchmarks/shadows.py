"""What a shadow below a paste costs (gknet.data.shadows), and what backend.shadow is worth.

    python benchmarks/shadows.py --photos PHOTOS [--weights NAME] [--batches 2]

Pastes of the 400 held-out photos at 256x256, without a shadow, with one in the scene, and with one that was cut out
with the foreground: as a picture and its mask, and as an editor's layer. Errors are those of the foreground without its
shadow, over the untouched composites'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from quality import harmonize
from shown import command, left
from torch import Tensor

from backend.shadow import take_out
from gknet import Harmonizer
from gknet.data.composites import Batch
from gknet.data.shadows import cast

SOFTNESS = (2, 6)
"""Pixels; every other paste has the one."""


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """The share of errors without a shadow, and with either kind."""
    random = torch.rand((len(batch.mask), 8), generator=torch.Generator().manual_seed(0))
    softness = torch.arange(len(batch.mask)) % len(SOFTNESS)
    for name, inside in (("no shadow", None), ("in the scene", 1.0), ("in the foreground", 0.0), ("in a layer", 0.0)):
        composite, real, mask = batch.composite.clone(), batch.real.clone(), batch.mask.clone()
        for which, pixels in enumerate(SOFTNESS if inside is not None else ()):
            rows = (softness == which).nonzero()[:, 0]
            random[:, -1] = inside
            parts = composite[rows], real[rows], mask[rows]
            composite[rows], real[rows], mask[rows] = cast(*parts, softness=pixels, random=random[rows])
        seen = (composite * 255).round() / 255
        judged = Batch(seen, batch.mask, real)
        if name == "in a layer":
            layers = zip(batch.composite, composite, batch.mask, mask, strict=True)
            seen, mask = (torch.stack(part) for part in zip(*(without_shadow(*layer) for layer in layers), strict=True))
        result = harmonize(harmonizer, Batch(seen, mask, real), pasted)
        yield f"{name:18} {left(judged.fmse(judged.composite), judged.fmse(result))}"


def without_shadow(bare: Tensor, shaded: Tensor, foreground: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The picture and the mask that are left of a layer, which is the foreground with its shadow.

    Args:
        bare, shaded: [3, H, W], 0..1, the composite without the shadow and with it.
        foreground, mask: [1, H, W], 0..1, without it and with it.
    """
    shadow = mask - foreground
    colour = (shaded - bare * (1 - shadow)).sum((1, 2)) / shadow.sum().clamp(min=1e-6)
    own = (foreground * bare + shadow * colour[:, None, None]) / mask.clamp(min=1e-6)
    pixels = [(part.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().copy() for part in (shaded, own, mask)]
    take_out(*pixels, opacity=1.0)
    picture, _, alpha = (torch.from_numpy(part.astype(np.float32) / 255).permute(2, 0, 1) for part in pixels)
    return picture, alpha


if __name__ == "__main__":
    command(lines, seed=9_970_000, in_place=False)()
