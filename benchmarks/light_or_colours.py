"""What a result's light alone is worth, or its colours alone: an editor's layer modes Luminosity and Color.

    python benchmarks/light_or_colours.py --photos PHOTOS [--weights NAME] [--batches 2]

Pastes of the 400 held-out photos at 256x256. Errors are those of the foreground, over the untouched composites'.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from quality import harmonize
from shown import command, left
from torch import Tensor

from gknet import Harmonizer
from gknet.data.composites import Batch
from gknet.layers import luma


def with_luma(picture: Tensor, light: Tensor) -> Tensor:
    """Colours [B, 3, H, W] in a light [B, 1, H, W]; paler where they would not be within 0..1 (W3C's compositing)."""
    colours = picture - luma(picture)
    darkest, brightest = colours.amin(1, keepdim=True), colours.amax(1, keepdim=True)
    share = torch.minimum(light / (-darkest).clamp_min(1e-6), (1 - light) / brightest.clamp_min(1e-6))
    return light + colours * share.clamp(0, 1)


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """The share of errors of each, and if the best of them is taken every time."""
    before, result = batch.composite, harmonize(harmonizer, batch, pasted)
    untouched = batch.fmse(before)
    errors = {
        "light and colours": batch.fmse(result),
        "light alone": batch.fmse(with_luma(before, luma(result))),
        "colours alone": batch.fmse(with_luma(result, luma(before))),
    }
    errors["the best of each"] = torch.stack(list(errors.values())).amin(0)
    for name, values in errors.items():
        yield f"{name:18} {left(untouched, values)}"


if __name__ == "__main__":
    command(lines, seed=8_860_000, in_place=False)()
