"""Dark, light and flat pictures as the network is to see them: with some contrast.

Training photos use most of the range there is. In one that does not, a scene at dusk or in fog, or footage that is yet
to be graded, the network would change by as much as in any other, which is too much. Not in the paper.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gknet.upsampling import Float

LEAST = 0.65
"""Of the range 0..1 what the network sees covers this at least, if that takes no more than"""
MOST = 4.0
"""times its contrast: where there is nothing but noise it is to stay small (docs/training.md, "Dark, light and flat
pictures")."""
TAIL = 0.005
"""Share of the values that may lie beyond either end."""
EVERY = 4
"""Of the rows and columns one in so many is looked at."""


class Levels(NamedTuple):
    """``seen = gain * value + offset``, for red, green and blue alike."""

    gain: float
    offset: float

    def stretched(self, picture: Float) -> Float:
        """A picture, 0..1, as it is to be seen, 0..1."""
        return picture if self.gain == 1 else np.clip(picture * self.gain + self.offset, 0, 1, dtype=np.float32)

    def back(self, seen: Float) -> Float:
        """What is seen, not limited to 0..1, as the picture has it."""
        return seen if self.gain == 1 else (seen - np.float32(self.offset)) / np.float32(self.gain)


def levels(picture: Float) -> Levels:
    """Of a picture, sRGB [S, S, 3], 0..1: what is light stays lighter than what is dark."""
    low, high = np.quantile(picture[::EVERY, ::EVERY], [TAIL, 1 - TAIL])
    span = float(high - low)
    if span >= LEAST:
        return Levels(1.0, 0.0)
    gain = min(LEAST / span, MOST) if span > 0 else 1.0  # one colour has no contrast to raise
    # 0 where there is nothing darker to be had, 1 where there is nothing lighter. The more it is stretched, the nearer
    # it comes to black, which next to all training photos hold.
    place = float(low) / (1 - span)
    return Levels(gain, place * (1 - gain * span) / gain - gain * float(low))
