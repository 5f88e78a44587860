"""Composites as a person pastes them: a clean cut-out over a background that never held it.

A composite whose foreground was changed where it stands gives its change away: the photo's edges are softer than the
mask's, so that a rim of the foreground's own colours, as they were, lies around it, and a network need only compare the
two sides of the seam. No real paste has such a rim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gknet.layers import blur, soften


def paste(
    composite: Tensor, real: Tensor, mask: Tensor, *, margin: int, softness: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw both sides of the seam anew, each from what lies more than ``margin`` pixels away from it, and lay the one
    over the other with a soft edge.

    Args:
        composite: [B, 3, H, W], 0..1. What lies outside the mask is not used.
        real: [B, 3, H, W], 0..1.
        mask: [B, 1, H, W], 0 or 1.
        margin: pixels on each side that are not gone by. A foreground too thin to have others is left out.
        softness: how often the mask is blurred (3x3).

    Returns:
        Composite, real image and mask as they were given; the mask is 0..1, and where it is 0 the two are equal.
    """
    near = blur(mask, margin)
    reach = 2 * margin + 1
    foreground, cut = _extend(torch.cat([composite, real], 1), (near == 1).float(), reach)
    background, filled = _extend(real, (near == 0).float(), reach)
    background = torch.where(filled > 0, background, real)
    opacity = soften(mask * cut, softness)
    pasted, target = (background.lerp(side, opacity) for side in foreground.split(3, 1))
    return pasted, target, opacity


def _extend(picture: Tensor, known: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Colours [B, C, H, W] of the pixels that are known [B, 1, H, W] (0 or 1), carried beyond them by ``reach`` pixels
    or a little more; and what is known then."""
    picture, step = picture * known, 1
    while reach > 0:
        share = blur(known, step)
        new = (known == 0) & (share > 0)
        picture = torch.where(new, blur(picture, step) / share.clamp_min(1e-6), picture)
        known = known + new.float()
        reach, step = reach - step, min(2 * step, 4)
    return picture, known
