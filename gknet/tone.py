"""The tone output of `gknet-lite`: the change as a smooth map of colour transforms, applied to the picture's own
pixels.

Not in the paper, whose decoder writes RGB at full resolution. A map of coefficients may be coarse, because detail comes
from the composite; it starts as the identity; and a global transform is one set of coefficients for all pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gknet.layers import strip

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
    coefficients = coefficients.to(composite.dtype)
    if coefficients.shape[-2:] == (1, 1):  # one set for all pixels: a product of two small matrices a picture
        centred = composite - 0.5
        basis = torch.cat([torch.ones_like(centred[:, :1]), centred, centred * centred], 1)  # [B, 7, H, W]
        return (coefficients.view(-1, 3, BASIS) @ basis.flatten(2)).view_as(composite)
    (height, width), (rows, columns) = composite.shape[-2:], coefficients.shape[-2:]
    across = coefficients.contiguous() @ _growing(columns, width, composite).mT  # [B, COEFFICIENTS, h, W]
    down = _growing(rows, height, composite)
    changes, size = [], strip(composite)
    for top in range(0, height, size):
        centred = composite[..., top : top + size, :] - 0.5
        # Of the coefficients' rows only those that these rows lie between.
        first = max(math.floor((top + 0.5) * rows / height - 0.5), 0)
        last = math.floor((top + centred.shape[-2] - 0.5) * rows / height - 0.5) + 2
        maps = down[top : top + size, first:last] @ across[:, :, first:last]
        out, *factors = maps.unflatten(1, (3, BASIS)).unbind(2)  # [B, 3, strip, W] each
        functions = [*centred.split(1, 1), *(centred * centred).split(1, 1)]
        for factor, function in zip(factors, functions, strict=True):
            out = torch.addcmul(out, factor, function)
        changes.append(out)
    return torch.cat(changes, 2)


def _growing(short: int, long: int, like: Tensor) -> Tensor:
    """The matrix [long, short] that grows a line bilinearly."""
    line = torch.eye(short, dtype=like.dtype, device=like.device)[None]
    return F.interpolate(line, size=long, mode="linear", align_corners=False)[0].mT
