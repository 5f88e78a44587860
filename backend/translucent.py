"""A half-transparent foreground, looked at as if it were opaque.

What shines through a foreground hides its own colours, and the network changes it too little then, or wrongly
(docs/training.md, "Half-transparent foregrounds"). An editor's layer has them. So the network is shown what the picture
would be if the layer were more opaque, and its change of that is the change of the layer's own colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.foreground import Array, full, slices, within
from backend.link.messages import Rect

SOLID = 0.98
"""A foreground whose typical opacity is less is looked at so."""
_LEVELS = 256
ENOUGH = 512
"""Rows and columns that tell how opaque a foreground is."""
STRIP = 256
"""Rows that are worked on at a time."""


@dataclass(frozen=True)
class Opaque:
    """What is to be looked at in place of a picture, and what to make of the result.

    Attributes:
        mask: float32 [H, W], 0..1, of the foreground as if it were opaque.
    """

    mask: Array
    _area: Rect
    _before: Array
    _shown: Array

    @classmethod
    def of(
        cls,
        image: Array,
        mask: Array,
        area: Rect,
        own: Array,
        alpha: Array | None,
        opacity: float,
        linear: bool = False,
    ) -> Opaque | None:
        """Make the foreground of a picture more opaque, in place; None: it is opaque as it is, and nothing is changed.

        What the picture shows is a layer's colours, laid over the rest by ``opacity * alpha``.

        Args:
            image: [H, W, C] or, with straight alpha, [H, W, C + 1]: uint8, uint16 or float32.
            mask: [H, W], bool, uint8, uint16 or float 0..1.
            area: of the image, where the layer is, in pixels.
            own: [h, w, C], the layer's colours there.
            alpha: [h, w, 1], theirs; None: 1 everywhere.
            opacity: the layer's, 0..1.
            linear: it was laid in linear light, as :func:`lay` has it.
        """

        def opacities(rows: slice, columns: slice = np.s_[:]) -> Array:
            if alpha is None:
                return np.full((*own[rows, columns].shape[:2], 1), opacity, np.float32)
            return covering(alpha[rows, columns], opacity)

        coverage, shown = mask[slices(area)], image[slices(area)]
        some = slice(None, None, max(1, max(coverage.shape) // ENOUGH))
        typical = _typical(opacities(some, some), coverage[some, some])
        if typical >= SOLID:
            return None
        before = shown[..., : own.shape[2]].copy()
        for top in range(0, len(shown), STRIP):
            rows = slice(top, top + STRIP)
            _raise(shown[rows], coverage[rows], own[rows], opacities(rows), typical, linear)
        raised = np.minimum(mask / np.float32(full(mask) * typical), np.float32(1))
        return cls(raised, area, before, shown[..., : own.shape[2]])

    def back(self, harmonized: Array, box: Rect) -> None:
        """Make a result, in place, one to be laid over the picture by the mask that it had: what it showed, changed by
        as much.

        Args:
            harmonized: [h, w, C or more], the rectangle ``box`` of the image, unblended. It holds the area.
        """
        colours = harmonized[slices(within(self._area, box))][..., : self._before.shape[2]]
        for top in range(0, len(colours), STRIP):
            rows = slice(top, top + STRIP)
            change = colours[rows].astype(np.float32) - self._shown[rows]
            _store(colours[rows], self._before[rows] + change)


def _typical(alpha: Array, mask: Array) -> float:
    """The opacity that half of the foreground has at least."""
    counts, edges = np.histogram(alpha[..., 0], _LEVELS, (0, 1), weights=mask.astype(np.float32))
    if not counts.any():
        return 1.0  # so little of it is there that none was looked at
    return max(float(edges[np.searchsorted(counts.cumsum(), counts.sum() / 2)]), 1 / _LEVELS)


def _raise(shown: Array, mask: Array, own: Array, alpha: Array, typical: float, linear: bool) -> None:
    """Show a layer of opacity `alpha` as if that were ``alpha / typical``."""
    raised = np.minimum(alpha / np.float32(typical), 1)
    lay(shown, own, alpha, raised, (mask > 0)[..., None] & (raised > alpha), linear)


def covering(alpha: Array, opacity: float) -> Array:
    """How opaque a layer of this alpha, of any shape and type, is laid over the rest: float32 0..1."""
    values: Array = np.clip(alpha * np.float32(opacity / full(alpha)), 0, 1)
    return values


def lay(shown: Array, own: Array, alpha: Array, instead: Array, where: Array | bool, linear: bool) -> None:
    """Show a layer of opacity `alpha` as if that were another, in place: what it lies over is what the picture shows
    without it.

    Args:
        shown: [h, w, C] or, with straight alpha, [h, w, C + 1]: uint8, uint16 or float32.
        own: [h, w, C], the layer's colours.
        alpha, instead: [h, w, 1], its opacity, 0..1, and the other.
        where: the pixels to change, bool [h, w, 1].
        linear: values are sRGB's, and were mixed as the light that they stand for.
    """
    from gknet.color import decode_srgb, encode_srgb

    colours, scale = own.shape[2], full(shown)
    rest = np.divide(1 - instead, 1 - alpha, out=np.zeros_like(instead), where=alpha < 1)
    seen = shown[..., -1:] / np.float32(scale) if shown.shape[2] > colours else np.float32(1)
    layer, picture = own * np.float32(scale / full(own)), shown[..., :colours]
    if linear:
        layer, picture = (decode_srgb(part / np.float32(scale)) * np.float32(scale) for part in (layer, picture))
    values = instead * layer + rest * (picture * seen - alpha * layer)
    visible = instead + rest * np.maximum(seen - alpha, 0)
    np.divide(values, visible, out=values, where=where & (visible > 0))
    if linear:
        values = encode_srgb(values / np.float32(scale)) * np.float32(scale)
    _store(shown[..., :colours], values, where)
    if shown.shape[2] > colours:
        _store(shown[..., -1:], visible * np.float32(scale), where)


def _store(out: Array, values: Array, where: Array | bool = True) -> None:
    """Put floats into an array of any of the types."""
    if out.dtype.kind == "u":
        values = np.clip(np.rint(values), 0, full(out))
    np.copyto(out, values, where=where, casting="unsafe")
