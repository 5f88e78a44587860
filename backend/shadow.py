"""A shadow that somebody has painted, into a cut-out or on the layer below it: soft, and of one dark colour.

It is no foreground, nor the scene's light. Harmonized with the object it would fade or take on a colour, and its
darkness would be taken for the object's or the scene's (docs/training.md, "Shadows painted below a paste"). So it stays
as it is, and the network is shown the picture without it.
"""

from __future__ import annotations

import numpy as np

from backend.foreground import Array, full
from backend.translucent import ENOUGH, SOLID, STRIP, covering, lay

_DARK = 0.25
"""What a shadow's colour is at most, in any channel."""
_FLAT = 3 / 255
"""By how much its pixels may differ from one colour, which eight bits and scaling round."""
_DEEP = 3
"""Pixels to each side of which something shines through as well, within a shadow. An object's edge is thinner."""
_LEAST = 0.02
"""Share of what the layer covers that a shadow covers at least, within, and"""
_PURE = 0.75
"""of what is as soft and dark. What it leaves is at least"""
_REST = 0.1
"""of what the layer covers."""
_WIDE = 100
"""Pixels looked at, to each that touches what is opaque and of the same colour. An object's soft edge has fewer."""


def take_out(shown: Array, own: Array, alpha: Array, opacity: float, linear: bool = False) -> None:
    """Make a layer transparent where its shadow is, and the picture what it is without; both in place.

    Args:
        shown: the picture where the layer is, [h, w, C] or, with straight alpha, [h, w, C + 1]: uint8, uint16, float32.
        own: [h, w, C], the layer's colours.
        alpha: [h, w, 1], the layer's.
        opacity: by which times alpha it is laid over the rest, 0..1.
        linear: it was laid in linear light, as backend.translucent.lay has it.
    """
    colour = _colour(own, alpha, 1.0, _REST)
    if colour is not None:
        _take(shown, own, alpha, opacity, linear, colour)


def take_away(shown: Array, own: Array, alpha: Array, opacity: float, mask: Array, linear: bool = False) -> None:
    """Make the picture, in place, what it is without the shadow that the layer below is or has.

    Args:
        shown, own, alpha, opacity, linear: as above, of that layer.
        mask: [h, w], above 0 where the foreground lies over it.
    """
    colour = _colour(own, alpha, opacity, 0)
    if colour is not None:
        visible = covering(alpha, opacity)
        visible[mask > 0] = 0
        _take(shown, own, visible, 1.0, linear, colour)


def _take(shown: Array, own: Array, alpha: Array, opacity: float, linear: bool, colour: Array) -> None:
    """Take the layer's shadow, of this colour, off the picture, and make the layer transparent there; both in place."""
    for top in range(0, len(shown), STRIP):
        rows = slice(top, top + STRIP)
        soft = np.nonzero(_soft(alpha[rows, :, 0], full(alpha)))
        flat = _flat(own[rows][soft], colour, full(own))
        shadow = soft[0][flat], soft[1][flat]
        pixels = shown[rows][shadow][None]
        opacities = covering(alpha[rows][shadow], opacity)[None]
        lay(pixels, own[rows][shadow][None], opacities, np.zeros_like(opacities), True, linear)
        shown[rows][shadow] = pixels[0]
        alpha[rows][shadow] = 0


def _colour(own: Array, alpha: Array, opacity: float, rest: float) -> Array | None:
    """[C], the colour of the shadow of a layer that is laid so; None: it has none, or leaves less than this share."""
    height, width = alpha.shape[:2]
    step = max(1, max(height, width) // ENOUGH)
    rows, columns = np.ogrid[:height:step, :width:step]
    coverage, colours = covering(alpha[rows, columns, 0], opacity), own[rows, columns]
    soft = _soft(coverage, 1)
    dark = soft & (colours.max(2) <= _DARK * full(own))
    whole = coverage.sum()
    if coverage[dark].sum() <= _LEAST * whole:
        return None
    for y, x in ((0, _DEEP), (0, -_DEEP), (_DEEP, 0), (-_DEEP, 0)):
        beside = alpha[np.clip(rows + y, 0, height - 1), np.clip(columns + x, 0, width - 1), 0]
        dark &= _soft(covering(beside, opacity), 1)
    within = coverage[dark].sum()
    if within <= _LEAST * whole:
        return None
    colour: Array = np.median(colours[dark].astype(np.float32), axis=0)
    flat = _flat(colours, colour, full(own))
    pure = coverage[dark & flat].sum() >= _PURE * within
    shadow, solid = soft & flat, ~soft & flat & (coverage > 0)
    if not pure or coverage[~shadow].sum() < rest * whole:
        return None
    pairs = (shadow, solid), (solid, shadow), (shadow.T, solid.T), (solid.T, shadow.T)
    touching = sum(np.count_nonzero(one[1:] & other[:-1]) for one, other in pairs)
    return colour if _WIDE * touching <= np.count_nonzero(shadow) else None


def _soft(alpha: Array, scale: float) -> Array:
    """Where something shines through."""
    soft: Array = (alpha > 0) & (alpha < SOLID * scale)
    return soft


def _flat(own: Array, colour: Array, scale: float) -> Array:
    """[...], where pixels of a layer, [..., C], are of this colour."""
    return np.asarray(np.abs(own - colour).max(-1) <= _FLAT * scale)
