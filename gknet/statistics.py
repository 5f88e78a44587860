"""Foreground and background statistics: the path that sees at a glance how the two differ.

Not in the paper. Reinhard-style statistics are what classical harmonization works on; a network that is handed them
learns in minutes what its convolutions need hours for (docs/training.md). They enter the LRE as extra tokens, and
decide a first, global tone step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gknet.layers import luma, resize

BINS = 16
COLOR_STATISTICS = 2 * 6 * (2 + BINS) + 1
"""Numbers that :func:`color_statistics` gives."""


def masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Mean of features [B, C, H, W] under a mask [B, 1, h, w] (0..1, resized by area) -> [B, C]."""
    weight = resize(mask, features).to(features.dtype)
    total = torch.einsum("bchw,bhw->bc", features, weight[:, 0])
    return total / (weight.sum((2, 3)) + 1e-3)


def color_statistics(composite: Tensor, mask: Tensor) -> Tensor:
    """Mean, deviation and soft histogram of R, G, B, Y, Cb, Cr over foreground and over background, and the mask's
    share.

    Args:
        composite: [B, 3, H, W], sRGB 0..1.
        mask: [B, 1, H, W], 0..1.

    Returns:
        [B, COLOR_STATISTICS], float32, roughly centred.
    """
    composite, mask = composite.float(), mask.float()
    if composite.shape[-1] > 64:  # colours need no more pixels than this
        side = composite.new_empty(64, 64)
        composite, mask = resize(composite, side), resize(mask, side)
    r, g, b = composite.unbind(1)
    y = luma(composite)[:, 0]
    channels = torch.stack([r, g, b, y, (b - y) * 0.564 + 0.5, (r - y) * 0.713 + 0.5], 1).flatten(2)  # [B, 6, P]
    numbers = [mask.mean((1, 2, 3))[:, None]]
    # Bin i of a soft histogram is a triangle around i: a pixel shares its weight between its two neighbours.
    place = channels.clamp(0, 1) * (BINS - 1)
    low = place.floor()
    share = place - low
    index = low.long()
    for weight in (mask.flatten(2), 1 - mask.flatten(2)):  # [B, 1, P]
        area = weight.sum(2) + 1e-3
        mean = (channels * weight).sum(2) / area
        deviation = (((channels - mean[..., None]) ** 2 * weight).sum(2) / area + 1e-6).sqrt()
        histogram = channels.new_zeros(*channels.shape[:2], BINS + 1)
        histogram.scatter_add_(2, index, (1 - share) * weight)
        histogram.scatter_add_(2, index + 1, share * weight)
        numbers += [
            (mean - 0.5) * 4,
            deviation * 8 - 1,
            (histogram[..., :BINS] / area[..., None]).clamp_min(0).sqrt().flatten(1) * 2,
        ]
    return torch.cat(numbers, 1)


class StatisticsPath(nn.Module):
    """Colour statistics and mask-pooled encoder features -> one vector that says how foreground and background differ.

    Args:
        channels: channels of each encoder level, any order (the order of ``forward``'s features).
        hidden: D, width of the MLP and of its output.
    """

    def __init__(self, channels: tuple[int, ...], *, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * sum(channels) + COLOR_STATISTICS, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )

    def forward(self, composite: Tensor, mask: Tensor, features: list[Tensor]) -> Tensor:
        """Composite [B, 3, H, W], mask [B, 1, H, W], one feature map a level -> [B, D]."""
        pooled = [masked_mean(f, m) for f in features for m in (mask, 1 - mask)]
        out: Tensor = self.mlp(torch.cat([*pooled, color_statistics(composite, mask).to(pooled[0].dtype)], 1))
        return out
