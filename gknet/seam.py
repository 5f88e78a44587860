"""What the seam tells: was the foreground changed where it stands, or pasted?

A photo's edges are softer than a mask. So a foreground that was changed where it stands keeps a rim of its own colours,
as they were, and the step across the seam is the change; a paste has no such rim, and tells far less. Not in the paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REACH = 5
"""Pixels that a piece of the seam reaches to each side of its middle."""
SIDE = 2 * REACH + 1
"""Pixels a side of a piece of the seam."""
PIECES = 512
"""Pieces looked at, spread along the whole seam."""
WIDTH = 128
"""Of the layer that sees a piece."""
FEATURES = 64
"""What is known of each piece; their mean and deviation over the pieces decide."""


class SeamReader(nn.Module):
    """Tells pastes by small pieces of the seam, each turned so that the foreground lies on the same side."""

    def __init__(self) -> None:
        super().__init__()
        self.piece = nn.Sequential(nn.Linear(4 * SIDE**2, WIDTH), nn.SiLU(), nn.Linear(WIDTH, FEATURES), nn.SiLU())
        self.head = nn.Sequential(nn.Linear(2 * FEATURES, FEATURES), nn.SiLU(), nn.Linear(FEATURES, 1))

    def forward(self, pieces: Tensor) -> Tensor:
        """What :func:`pieces` returns -> [B], above zero where the foreground looks pasted: the logarithm of the
        odds."""
        colours, mask = pieces.split((3, 1), 2)
        colours = 4 * (colours - colours.mean((-1, -2), keepdim=True))
        known = self.piece(torch.cat([colours, 2 * mask - 1], 2).flatten(2))
        odds: Tensor = self.head(torch.cat([known.mean(1), known.std(1)], 1))[:, 0]
        return odds


def pieces(composite: Tensor, mask: Tensor, count: int = PIECES) -> Tensor:
    """Pieces along the seam, in even steps from the top to the bottom.

    Args:
        composite: [B, 3, H, W], sRGB 0..1.
        mask: [B, 1, H, W], 0 or 1.
        count: how many a picture; a shorter seam repeats some.

    Returns:
        [B, count, 4, SIDE, SIDE]: colours and mask around pixels of the foreground that touch the background, flipped
        and transposed so that the foreground lies to the right and more so than below. A picture without a seam gives
        pieces of its first pixel.
    """
    near = F.pad(mask, [1] * 4, mode="replicate")
    across = torch.minimum(near[..., 1:-1, 2:], near[..., 1:-1, :-2])
    along = torch.minimum(near[..., 2:, 1:-1], near[..., :-2, 1:-1])
    edge = ((mask > 0) & (torch.minimum(across, along) == 0)).flatten(1)
    padded = F.pad(torch.cat([composite, mask], 1), [REACH] * 4, mode="replicate")
    width = padded.shape[-1]
    within = torch.arange(SIDE, device=mask.device)
    around = (within[:, None] * width + within).flatten()
    found = []
    for picture, on_edge in zip(padded.flatten(2), edge, strict=True):
        at = on_edge.nonzero()[:, 0]
        if not len(at):
            at = on_edge.new_zeros(1, dtype=torch.long)
        at = at[torch.linspace(0, len(at) - 1, count, device=at.device).round().long()]
        start = at // mask.shape[-1] * width + at % mask.shape[-1]
        found.append(picture[:, start[:, None] + around].transpose(0, 1).unflatten(2, (SIDE, SIDE)))
    turned: Tensor = _turned(torch.cat(found)).unflatten(0, (len(found), count))
    return turned


def _turned(pieces: Tensor) -> Tensor:
    """[P, 4, SIDE, SIDE] -> the same, all lying alike."""
    at = torch.arange(-REACH, REACH + 1.0, device=pieces.device)
    mask = pieces[:, 3]
    right, below = ((mask * along).sum((1, 2)) for along in (at, at[:, None]))
    one = (-1, 1, 1, 1)
    pieces = torch.where((right < 0).view(one), pieces.flip(-1), pieces)
    pieces = torch.where((below < 0).view(one), pieces.flip(-2), pieces)
    return torch.where((below.abs() > right.abs()).view(one), pieces.transpose(-1, -2), pieces)
