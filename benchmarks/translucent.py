"""What backend.translucent is worth: pastes through which something shines.

    python benchmarks/translucent.py --photos PHOTOS [--weights NAME] [--batches 2]

Pastes of the 400 held-out photos at 256x256, laid over their photo, its hole filled from around, and over other photos,
at several opacities. Harmonized as a picture and its mask, as an editor's layer whose opacity is not told (which until
protocol 1.1 none was), and as one whose opacity is. Errors are those of the foreground, over the untouched composites'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from quality import SIZE
from shown import command, left

from backend.link.messages import Rect
from backend.translucent import Opaque
from gknet import Harmonizer
from gknet.data.composites import Batch
from gknet.upsampling import fill_absent

Float = NDArray[np.float32]
OPACITIES = (1.0, 0.9, 0.75, 0.5, 0.25)
WHOLE = Rect(0, 0, SIZE, SIZE)


def lines(harmonizer: Harmonizer, batch: Batch, pasted: bool) -> Iterator[str]:
    """Of each opacity the three shares of errors, over either kind of picture."""
    pictures = [
        [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in part]
        for part in (batch.composite, batch.real)
    ]
    masks = batch.mask[:, 0].numpy()
    for below in ("its photo", "another photo"):
        for opacity in OPACITIES:
            errors = []
            for number, (own, real, mask) in enumerate(zip(*pictures, masks, strict=True)):
                absent = (mask <= 0)[..., None].astype(np.float32)
                around = pictures[1][number - 1] if below == "another photo" else fill_absent(real * absent, absent)
                errors.append(shares(harmonizer, own, real, np.where(absent, real, around), mask, opacity))
            before, *after = np.array(errors).T
            told = zip(("picture", "opacity not told", "opacity told"), after, strict=True)
            yield f"over {below:13} {opacity:4.0%}  " + "  ".join(f"{name} {left(before, each)}" for name, each in told)


def shares(
    harmonizer: Harmonizer, own: Float, real: Float, below: Float, mask: Float, opacity: float
) -> tuple[float, ...]:
    """Errors of one paste: untouched, and harmonized in each of the three ways."""
    weight = mask[..., None] * np.float32(opacity)
    picture, truth = (
        (np.rint(255 * (weight * colours + (1 - weight) * below))).astype(np.uint8) for colours in (own, real)
    )

    def error(result: NDArray[np.generic]) -> float:
        squares = np.square(result.astype(np.float32) - truth).mean(2)
        return float((squares * mask).sum() / mask.sum())

    alone = harmonizer(picture, mask * np.float32(opacity), pasted=True)
    untold = harmonizer(picture, mask, pasted=True)
    shown, layer = picture.copy(), np.rint(255 * own).astype(np.uint8)
    opaque = Opaque.of(shown, mask * np.float32(opacity), WHOLE, layer, mask[..., None], opacity)
    colours = harmonizer.harmonize(shown, opaque.mask if opaque else weight[..., 0], pasted=True, blend=False).image
    if opaque:
        opaque.back(colours, WHOLE)
    told = picture + weight * (colours.astype(np.float32) - picture)
    return error(picture), error(alone), error(untold), error(told)


if __name__ == "__main__":
    command(lines, seed=9_950_000, in_place=False)()
