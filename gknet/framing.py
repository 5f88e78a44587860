"""What of a document the network sees: the picture without margins, bars and frames, and of it what is near enough.

What would fill a transparent margin is made up (gknet.upsampling.fill_absent). Letterbox bars, a passe-partout or a
comic's gutter are neither lit nor dark, and would be taken for the scene's light. A foreground that is a speck in a
large picture would be a few pixels, far less than any that was trained on, and one in a panorama squeezed to a pillar.
Not in the paper.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gknet.upsampling import Box, full_scale

Array = NDArray[Any]

FLAT = 3 / 255
"""Up to which difference the pixels of a bar are of one colour: compression leaves it a little uneven."""
STEP = 24 / 255
"""The least that counts as an edge, within"""
WIDTH = 4
"""pixels, as scaling blurs it, and"""
SMEAR = 16
"""pixels from where the bar is no longer flat: the blocks that compression smears colours over."""
SAMPLES = 256
"""Pixels looked at a line, at most."""
SHARE = 0.03
"""Of what the network sees a foreground covers this at least (docs/training.md, "Small foregrounds")."""
ASPECT = 2
"""How many times as wide as high, or as high as wide, what the network sees may be: it is shown as a square."""
VISIBLE = 0.5
"""How much of a foreground's surroundings must not be transparent, to be enough."""


def filled_box(values: Array) -> Box | None:
    """The box of an array's values above 0, [H, W]. None: no value is."""
    rows = np.flatnonzero(values.max(axis=1) > 0)
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(values[top:bottom].max(axis=0) > 0)
    return Box(int(columns[0]), top, int(columns[-1]) + 1, bottom)


def visible_box(document: Array, mask: Array, foreground: Box) -> Box:
    """The part of a document outside of which all is transparent. The foreground is in it.

    Args:
        document: uint8, uint16 or float32 (0..1) [H, W, 1, 2, 3 or 4].
        mask: bool, uint8, uint16 or float (0..1) [H, W].
        foreground: box of the mask's pixels above 0.
    """
    height, width = mask.shape
    whole, alpha = Box(0, 0, width, height), document[..., -1]
    if document.shape[2] % 2 or all(edge.any() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])):
        return whole
    visible = filled_box(alpha)
    if visible is None:
        return whole
    return Box(
        min(visible.left, foreground.left),
        min(visible.top, foreground.top),
        max(visible.right, foreground.right),
        max(visible.bottom, foreground.bottom),
    )


def picture_box(document: Array, mask: Array, foreground: Box) -> Box:
    """The part of a document that is picture: what lies within lines of one colour that run along a whole side.

    A bar is told by its straight edge, at which half of a line at least jumps. So what fades out, as a burnt-out sky or
    a studio's backdrop does, is picture; and beside an edge there is background always.

    Args:
        document: uint8, uint16 or float32 (0..1) [H, W, 1, 2, 3 or 4].
        mask: bool, uint8, uint16 or float (0..1) [H, W]. Pixels above 0 say nothing.
        foreground: box of the mask's pixels above 0, which stays in the picture.
    """
    colours = document[..., : document.shape[2] - (document.shape[2] % 2 == 0)]
    height, width = mask.shape
    box, wider = Box(0, 0, width, height), None
    while box != wider:  # there may be a frame in a frame
        wider, (lines, marked) = box, (whole[box.slices] for whole in (colours, mask))
        across, marked_across = lines.swapaxes(0, 1), marked.T
        box = Box(
            min(box.left + _bar(across, marked_across), foreground.left),
            min(box.top + _bar(lines, marked), foreground.top),
            max(box.right - _bar(across[::-1], marked_across[::-1]), foreground.right),
            max(box.bottom - _bar(lines[::-1], marked[::-1]), foreground.bottom),
        )
    return box


def close_box(document: Array, mask: Array, foreground: Box) -> Box:
    """The part of a picture in which a small foreground covers :data:`SHARE`, and which is no panorama.

    It has the picture's shape, but for :data:`ASPECT`, with the foreground in its middle unless that is near a side.
    A foreground whose parts lie far from each other is held whole, and covers less.

    Args:
        document: uint8, uint16 or float32 (0..1) [H, W, 1, 2, 3 or 4].
        mask: bool, uint8, uint16 or float (0..1) [H, W].
        foreground: box of the mask's pixels above 0.
    """
    height, width = mask.shape
    rows, columns = foreground.bottom - foreground.top, foreground.right - foreground.left
    box_height, box_width = min(height, max(ASPECT * width, rows)), min(width, max(ASPECT * height, columns))
    area = rows * columns * _mean(mask[foreground.slices])
    part = max(math.sqrt(area / (SHARE * box_height * box_width)), rows / box_height, columns / box_width)
    part = min(part, 1)
    box_height, box_width = max(round(part * box_height), rows), max(round(part * box_width), columns)
    left = min(max((foreground.left + foreground.right - box_width) // 2, 0), width - box_width)
    top = min(max((foreground.top + foreground.bottom - box_height) // 2, 0), height - box_height)
    box = Box(left, top, left + box_width, top + box_height)
    alpha = document.shape[2] % 2 == 0
    return Box(0, 0, width, height) if alpha and _mean(document[box.slices][..., -1]) < VISIBLE else box


def _mean(values: Array) -> float:
    """Mean of some of an array's values, 0..1."""
    rows, columns = (-(-side // SAMPLES) for side in values.shape)
    return float(values[::rows, ::columns].mean(dtype=np.float64) / full_scale(values.dtype))


def _bar(lines: Array, mask: Array) -> int:
    """How many lines from the first one on are a bar and its smeared edge, of lines [D, N, C] and their mask [D, N]."""
    scale, step = np.float32(full_scale(lines.dtype)), -(-lines.shape[1] // SAMPLES)
    lines, mask = lines[: len(lines) // 2, ::step], mask[: len(mask) // 2, ::step]
    first = lines[0][mask[0] == 0]
    if not len(first) or np.ptp(first, axis=0).max() > FLAT * scale:
        return 0

    def differs(one: Array, other: Array, least: float) -> Array:
        return np.asarray(np.abs(one / scale - other / scale).max(-1) > least)

    def first_other(rows: Array) -> int:
        """Of these lines the first one that is not the bar's; 0 if all are."""
        other = (differs(lines[rows], first[0], FLAT) & (mask[rows] == 0)).any(1)
        return int(rows[other.argmax()]) if other.any() else 0

    some = first_other(np.append(np.arange(0, len(lines), SMEAR), len(lines) - 1))  # few tell how far a tall bar goes
    if not some:
        return 0
    bar = first_other(np.arange(max(some - SMEAR, 0), some + 1))
    after = np.arange(bar, min(bar + SMEAR, len(lines)))
    before = np.maximum(after - WIDTH, 0)
    known = (mask[after] == 0) & (mask[before] == 0)
    jumps = np.count_nonzero(differs(lines[after], lines[before], STEP) & known, 1)
    edge = jumps > np.count_nonzero(known, 1) / 2
    return bar + int(edge.argmax()) if edge.any() else 0
