"""The tone output of `gknet-lite`: the change as a smooth map of colour transforms, applied to the picture's own
pixels.

Not in the paper, whose decoder writes RGB at full resolution. A map of coefficients may be coarse, because detail comes
from the composite; it starts as the identity; and a global transform is one set of coefficients for all pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gknet.layers import resize

BASIS = 7
"""Functions of a pixel's colour that a change is composed of: 1, r, g, b and their squares."""
COEFFICIENTS = 3 * BASIS


def change(composite: Tensor, coefficients: Tensor) -> Tensor:
    """``sum_k coefficients[c, k] * basis_k(composite)``: the change to add to each pixel.

    Args:
        composite: [B, 3, H, W], sRGB 0..1.
        coefficients: [B, COEFFICIENTS, h, w], any size; grown bilinearly to H x W. All zero: no change.

    Returns:
        [B, 3, H, W].
    """
    centred = composite - 0.5
    squares = centred * centred
    coefficients = coefficients.to(composite.dtype)
    if coefficients.shape[-2:] == (1, 1):  # one set for all pixels: a product of two small matrices a picture
        basis = torch.cat([torch.ones_like(centred[:, :1]), centred, squares], 1)  # [B, 7, H, W]
        return (coefficients.view(-1, 3, BASIS) @ basis.flatten(2)).view_as(composite)
    functions, changes = [*centred.split(1, 1), *squares.split(1, 1)], []
    # One channel after another: 21 grown maps at once would leave the cache. One map at a time would grow half as fast.
    for channel in coefficients.contiguous().split(BASIS, 1):
        maps = resize(channel, composite).split(1, 1)
        out = maps[0]
        for coefficient, function in zip(maps[1:], functions, strict=True):
            out = torch.addcmul(out, coefficient, function)
        changes.append(out)
    return torch.cat(changes, 1)
