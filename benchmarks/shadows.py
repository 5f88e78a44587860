"""What a shadow below a paste costs (gknet.data.shadows).

    python benchmarks/shadows.py --photos PHOTOS [--weights NAME] [--batches 2]

Pastes of the 400 held-out photos at 256x256, without a shadow, with one in the scene, and with one that was cut out
with the foreground. Errors are those of the foreground without its shadow, over the untouched composites'.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from quality import harmonize
from shown import command, left

from gknet import Harmonizer
from gknet.data.composites import Batch
from gknet.data.shadows import cast

SOFTNESS = (2, 6)
"""Pixels; every other paste has the one."""


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """The share of errors without a shadow, and with either kind."""
    random = torch.rand((len(batch.mask), 8), generator=torch.Generator().manual_seed(0))
    softness = torch.arange(len(batch.mask)) % len(SOFTNESS)
    for name, inside in (("no shadow", None), ("in the scene", 1.0), ("in the foreground", 0.0)):
        composite, real, mask = batch.composite.clone(), batch.real.clone(), batch.mask.clone()
        for which, pixels in enumerate(SOFTNESS if inside is not None else ()):
            rows = (softness == which).nonzero()[:, 0]
            random[:, -1] = inside
            parts = composite[rows], real[rows], mask[rows]
            composite[rows], real[rows], mask[rows] = cast(*parts, softness=pixels, random=random[rows])
        composite = (composite * 255).round() / 255
        result = harmonize(harmonizer, Batch(composite, mask, real), pasted)
        judged = Batch(composite, batch.mask, real)
        yield f"{name:18} {left(judged.fmse(composite), judged.fmse(result))}"


if __name__ == "__main__":
    command(lines, seed=9_970_000, in_place=False)()
