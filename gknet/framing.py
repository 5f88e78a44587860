"""Where a document's picture lies: without the bars and frames of one colour around it.

Letterbox bars, a passe-partout or a comic's gutter are neither lit nor dark, and would be taken for the scene's light.
Not in the paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gknet.upsampling import Box, full_scale

Array = NDArray[Any]

FLAT = 3 / 255
"""Up to which difference the pixels of a bar are of one colour: compression leaves it a little uneven."""
STEP = 16 / 255
"""What is further than this from a bar's colour is picture."""
RING = 8
"""Pixels beside a bar that compression smears its edge over."""
SAMPLES = 256
"""Pixels looked at a line, at most."""


def picture_box(document: Array, mask: Array, foreground: Box) -> Box:
    """The part of a document that is picture: what lies within lines of one colour that run along a whole side.

    A bar is told by its straight edge: beside it half of a line at least is of other colours. So what fades out, as a
    burnt-out sky or a studio's backdrop does, is picture.

    Args:
        document: uint8, uint16 or float32 (0..1) [H, W, 1, 2, 3 or 4].
        mask: bool, uint8, uint16 or float (0..1) [H, W]. Pixels above 0 say nothing.
        foreground: box of the mask's pixels above 0, which stays in the picture.
    """
    colours = document[..., : document.shape[2] - (document.shape[2] % 2 == 0)]
    height, width = mask.shape
    box, wider = Box(0, 0, width, height), None
    while box != wider:  # there may be a frame in a frame
        wider, (lines, known) = box, (whole[box.slices] for whole in (colours, mask))
        across, known_across = lines.swapaxes(0, 1), known.T
        box = Box(
            min(box.left + _bar(across, known_across), foreground.left),
            min(box.top + _bar(lines, known), foreground.top),
            max(box.right - _bar(across[::-1], known_across[::-1]), foreground.right),
            max(box.bottom - _bar(lines[::-1], known[::-1]), foreground.bottom),
        )
    return box


def _bar(lines: Array, mask: Array) -> int:
    """How many lines from the first one on are a bar and its smeared edge, of lines [D, N, C] and their mask [D, N]."""
    scale, step = np.float32(full_scale(lines.dtype)), -(-lines.shape[1] // SAMPLES)
    lines, mask = lines[: len(lines) // 2, ::step], mask[: len(mask) // 2, ::step]
    first = lines[0][mask[0] == 0]
    if not len(first) or np.ptp(first, axis=0).max() > FLAT * scale:
        return 0
    unknown = mask > 0
    away = np.abs(lines / scale - first[0] / scale).max(2)
    away[unknown] = 0
    flat = (away <= FLAT).all(1)
    bar = int(flat.argmin())  # 0 if all are
    beside = slice(bar, bar + RING)
    other, seen = np.count_nonzero(away[beside] > STEP, 1), np.count_nonzero(~unknown[beside], 1)
    edge = other > seen / 2
    return bar + int(edge.argmax()) if edge.any() else 0
