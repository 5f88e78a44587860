"""Shadows that a person paints below a paste: they say nothing of its colours, and must not be taken for the light.

Not in the paper. A shadow is the foreground's own shape, moved, squeezed towards its foot, blurred, and laid over the
background; it may be a layer of its own, and so of the background, or part of what was cut out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gknet.layers import blur

ASIDE, DOWN = 0.09, (-0.03, 0.12)
"""Of the picture's side, by what they are moved at most; or else they lie on the ground, squeezed to"""
SQUEEZED = (0.08, 0.35)
"""of the foreground's height, which is"""
GROUND = 0.25
"""of them."""
OPACITY = (0.2, 0.9)
DARK = 0.35
"""What a shadow's colour is of the picture's mean, at most; two of three are black."""
IN_MASK = 0.5
"""Share of the shadows that are part of the cut-out, and of the mask."""


def cast(
    composite: Tensor, real: Tensor, mask: Tensor, *, softness: int, random: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay a shadow between foreground and background.

    Args:
        composite: [B, 3, H, W], 0..1.
        real: [B, 3, H, W], 0..1.
        mask: [B, 1, H, W], 0..1.
        softness: pixels by which shadows are blurred to each side, twice.
        random: [B, 8], uniform in 0..1.

    Returns:
        Composite, real image and mask. Nothing is different where the mask is 1.
    """
    aside, down, ground, squeezed, *others = random.T
    opaque, dark, coloured, inside = (column[:, None, None, None] for column in others)
    shape = _placed(mask, aside, down, torch.where(ground < GROUND, squeezed, torch.nan))
    shadow = (1 - mask) * blur(blur(shape, softness), softness) * _between(OPACITY, opaque)
    colour = real.mean((2, 3), keepdim=True) * DARK * dark * (coloured < 1 / 3)
    composite, real = (picture.lerp(colour.expand_as(picture), shadow) for picture in (composite, real))
    return composite, real, mask + shadow * (inside < IN_MASK)


def _placed(mask: Tensor, aside: Tensor, down: Tensor, squeezed: Tensor) -> Tensor:
    """The foreground's shape where its shadow lies; ``squeezed`` [B] is NaN where it does not lie on the ground."""
    lies = squeezed.isfinite()
    height = torch.where(lies, _between(SQUEEZED, squeezed), 1.0)
    # As affine_grid has it: from -1 to 1, and from what is seen to where that comes from.
    right = ASIDE * 2 * (2 * aside - 1)
    lower = torch.where(lies, 0.0, 2 * _between(DOWN, down))
    rows = torch.linspace(-1, 1, mask.shape[2], device=mask.device)
    foot = torch.where(mask.amax((1, 3)) > 0.5, rows, -1.0).amax(1)
    zero, one = torch.zeros_like(height), torch.ones_like(height)
    across = torch.stack([one, zero, -right], 1)
    along = torch.stack([zero, 1 / height, foot - (foot + lower) / height], 1)
    grid = F.affine_grid(torch.stack([across, along], 1), list(mask.shape), align_corners=False)
    return F.grid_sample(mask, grid, align_corners=False)


def _between(limits: tuple[float, float], random: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * random
