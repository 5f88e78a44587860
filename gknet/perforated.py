"""Perforated foregrounds, leaves, hair or a fence, as the network is to see them: as if they were solid.

No training photo has a mask full of holes, and where holes are finer than a cell of what the network sees, colours are
mixed. So what lies between such a foreground's parts is filled with its own colours; the change that the network then
finds is applied to what is there. Not in the paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gknet.network import CUT
from gknet.upsampling import Float, enlarge, full_scale, reduce_area

Array = NDArray[Any]
Cells = NDArray[np.bool_]

REACH = 1 / 24
"""Of the picture's side: parts that are less than twice this apart are joined."""
MUCH = 1.5
"""A foreground is perforated if joining makes it so many times as large: others have bays and gaps too, which show
background (docs/training.md, "Thin and perforated foregrounds")."""
MOST = 2 / 3
"""Of the picture a joined foreground may cover: background must be left to go by."""
LEAST = 0.15
"""Share of the mask's highest value from which on a cell holds foreground."""


def joined(mask: Array, seen: Float) -> Cells | None:
    """The cells of a perforated foreground and all that lies between its parts. None: it is none, or fills the picture.

    Morphological closing (Serra, 1982) by a square.

    Args:
        mask: the document's, bool, uint8, uint16 or float (0..1) [H, W], not all zero.
        seen: what is seen of it, float32 [S, S], 0..1.
    """
    highest = seen.max()
    radius = round(REACH * len(seen))
    grown = _grown(np.pad(seen > LEAST * highest, radius), radius)
    closed = ~_grown(~grown, radius)[radius:-radius, radius:-radius]
    share = np.count_nonzero(closed) / closed.size
    # A mask covers at least its sum over its highest value, which is quicker to know and says it of most.
    at_least = seen.mean() / (mask.max() / full_scale(mask.dtype))
    if not MUCH * at_least < share < MOST or share < MUCH * _covered(mask):
        return None
    solid: Cells = seen > CUT * highest
    return solid | ~_grown(~closed, 1)  # the outermost cells are background more than foreground


def _covered(mask: Array) -> float:
    """Share of a picture that a mask covers, whatever its opacity: Kish's effective number of pixels (1965). A mask
    that is 0.5 everywhere covers all, an even ramp from 0 to 1 three quarters of itself."""
    values = mask.astype(np.float32)
    values /= values.max()
    return float(values.mean(dtype=np.float64) ** 2 / np.square(values, out=values).mean(dtype=np.float64))


def filled(image: Array, mask: Array, colours: Float, cells: Cells) -> Float:
    """What is seen of an image, with the foreground's own colours in all of these cells.

    Args:
        image: uint8, uint16 or float32 (0..1) [H, W, 1, 2, 3 or 4].
        mask: bool, uint8, uint16 or float (0..1) [H, W].
        colours: what is seen of the image, float32 [S, S, 1 or 3].
        cells: of it, as :func:`joined` finds them.

    Returns:
        float32 [S, S, 1 or 3].
    """
    size, channels = len(colours), colours.shape[2]
    scale = np.float32(full_scale(image.dtype))
    weighted = np.empty((*mask.shape, channels + 1), image.dtype)
    for channel in range(channels):
        weighted[..., channel] = image[..., channel]
    weight = weighted[..., channels]
    np.multiply(mask, scale / np.float32(full_scale(mask.dtype)), out=weight, casting="unsafe")
    if image.shape[2] > channels:
        np.multiply(weight, image[..., -1] / scale, out=weight, casting="unsafe")
    means = reduce_area(weighted, size, premultiply=True)
    premultiplied, coverage = means[..., :-1], means[..., -1:]
    present = coverage > LEAST * coverage.max()
    if not present.any():  # all of the foreground is transparent
        return colours
    own = np.divide(premultiplied, coverage, out=np.zeros_like(premultiplied), where=present)
    own = _carried(own, np.where(present, coverage, 0))
    return np.where(cells[..., None], enlarge(own, size), colours)


def _grown(cells: Cells, radius: int) -> Cells:
    """Marked cells, and all in a square of ``2 * radius + 1`` around each."""
    for axis in (0, 1):
        lines, reached = np.moveaxis(cells, axis, 0), 0
        while reached < radius:
            step = min(reached + 1, radius - reached)
            wider = lines.copy()
            wider[step:] |= lines[:-step]
            wider[:-step] |= lines[step:]
            lines, reached = wider, reached + step
        cells = np.moveaxis(lines, 0, axis)
    return cells


def _carried(colours: Float, coverage: Float) -> Float:
    """Cells without coverage take the colours of one nearby that has some: unlike a mean of several
    (:func:`gknet.upsampling.fill_absent`) they are as light and as dark as the foreground's own.

    Args:
        colours: [H, W, C].
        coverage: [H, W, 1], not all zero. Of the cells nearby the one that has most is taken.
    """
    present = coverage > 0
    if present.all():
        return colours
    height, width = coverage.shape[:2]
    even = [(0, height % 2), (0, width % 2), (0, 0)]
    blocks = [np.pad(x, even).reshape((height + 1) // 2, 2, (width + 1) // 2, 2, -1) for x in (colours, coverage)]
    fours = [np.concatenate([x[:, 0], x[:, 1]], 2) for x in blocks]  # [H / 2, W / 2, 4, C]
    best = fours[1].argmax(2, keepdims=True)
    coarse = _carried(*(np.take_along_axis(x, best, 2)[:, :, 0] for x in fours))
    around = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(present, colours, around)
