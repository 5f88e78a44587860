"""What a shadow below a paste costs (gknet.data.shadows), and what backend.shadow is worth.

    python benchmarks/shadows.py --photos PHOTOS [--weights NAME] [--batches 2]

Pastes of the 400 held-out photos at 256x256, without a shadow, with one in the scene, and with one that was cut out
with the foreground: as a picture and its mask, and with an editor's layers known. Errors are those of the foreground
without its shadow, over the untouched composites'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from quality import harmonize
from shown import command, left
from torch import Tensor

from backend.shadow import take_away, take_out
from gknet import Harmonizer
from gknet.data.composites import Batch
from gknet.data.shadows import cast

SOFTNESS = (2, 6)
"""Pixels; every other paste has the one."""


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """The share of errors without a shadow, and with either kind."""
    yield f"{'no shadow':36} {share(harmonizer, batch, batch, pasted)}"
    for name, inside in (("in the scene", False), ("in the foreground", True)):
        shaded, shadow = with_shadows(batch, inside)
        judged = Batch(shaded.composite, batch.mask, shaded.real)
        yield f"{name:36} {share(harmonizer, shaded, judged, pasted)}"
        layers = zip(shaded.composite, batch.composite, batch.mask, shadow, strict=True)
        composite, mask = (
            torch.stack(parts) for parts in zip(*(without(*each, inside) for each in layers), strict=True)
        )
        seen = Batch(composite, mask, shaded.real)
        yield f"{name + ', its layer known':36} {share(harmonizer, seen, judged, pasted)}"


def share(harmonizer: Harmonizer, seen: Batch, judged: Batch, pasted: bool) -> str:
    """What is left of the errors within a batch's masks if another's composites are harmonized."""
    return left(judged.fmse((judged.composite * 255).round() / 255), judged.fmse(harmonize(harmonizer, seen, pasted)))


def with_shadows(batch: Batch, inside: bool) -> tuple[Batch, Tensor]:
    """The batch with shadows, ``inside`` the cut-out or not, and how much of each pixel they cover, [B, 1, H, W]."""
    random = torch.rand((len(batch.mask), 8), generator=torch.Generator().manual_seed(0))
    composite, real, mask = batch.composite.clone(), batch.real.clone(), batch.mask.clone()
    random[:, -1] = 0  # part of the mask, to learn what they cover
    for which, pixels in enumerate(SOFTNESS):
        rows = torch.arange(which, len(mask), len(SOFTNESS))
        parts = composite[rows], real[rows], mask[rows]
        composite[rows], real[rows], mask[rows] = cast(*parts, softness=pixels, random=random[rows])
    return Batch(composite, mask if inside else batch.mask, real), mask - batch.mask


def without(shaded: Tensor, bare: Tensor, foreground: Tensor, shadow: Tensor, inside: bool) -> tuple[Tensor, Tensor]:
    """The picture and the mask that are left of a layer that holds the shadow: the foreground's own, or one below it.

    Args:
        shaded, bare: [3, H, W], 0..1, the composite with the shadow and without.
        foreground, shadow: [1, H, W], 0..1, how much of each pixel they cover.
    """
    colour = ((shaded - bare * (1 - shadow)).sum((1, 2)) / shadow.sum().clamp(min=1e-6))[:, None, None]
    below = shadow / (1 - foreground).clamp(min=1e-6)
    whole = foreground + shadow
    own = (foreground * bare + shadow * colour) / whole.clamp(min=1e-6) if inside else colour.expand_as(bare)
    parts = (shaded, own, whole if inside else below, foreground)
    picture, layer, alpha, mask = (
        (part.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().copy() for part in parts
    )
    if inside:
        take_out(picture, layer, alpha, 1.0)
        mask = alpha
    else:
        take_away(picture, layer, alpha, 1.0, mask[..., 0])
    seen, covered = (torch.from_numpy(part.astype(np.float32) / 255).permute(2, 0, 1) for part in (picture, mask))
    return seen, covered


if __name__ == "__main__":
    command(lines, seed=9_970_000, in_place=False)()
