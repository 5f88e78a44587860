"""Between a document's pixels and the network's: area reduction down, a local model of the network's change back up.

The network's change is known at its own resolution only. A linear model of it is fitted around every low-resolution
pixel ("cell"), from the composite's values to the change (guided-filter statistics: He et al., TPAMI 2013; growing
coefficients instead of pixels: He & Sun, 2015). Grown bilinearly and applied to the document's own values it keeps
texture that the network never saw, at any size and depth. The document is read and written once, in strips of rows, so
extra memory does not grow with its height.

Values are the document's, scaled so that 1 is full scale: 255, 65535 or 1.0. Where they are proportional to light the
model is one of their square roots, which are near to what the network sees: a line through light would turn shadows
black, or take the black out of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
Float = NDArray[np.float32]

WINDOW = 2
"""Radius of the fit's tent-shaped window, in cells. Chosen on composites of known change: a wider one follows the
change less well, a second smoothing of the coefficients gains nothing."""
RIDGE = 3e-3
"""Weight of the ridge against a window's variance. It follows the square of brightness, as texture and noise do
(Weber), so that one number serves gamma-encoded and linear documents."""
MAX_SLOPE = 7.0
"""Steepest slope of a change: contrast times eight. The other limit is -1, below which light would turn into dark."""
STRIP = 1 << 18
"""Numbers in a strip's buffer: 1 MB of float32, which stays in a core's cache."""
_PIXELS, _CELLS, _ROWS = 16, 8, 32
"""Reduction goes by small dense products: first over about so many rows of pixels, then, once there are about so many
rows of cells, over so many columns of cells. The quickest on two cores between 0.25 and 24 megapixels."""
_WIDE = 1 << 14
"""Numbers of a row in one product: few enough for BLAS to stay on one core; a second one would gain nothing."""


class Box(NamedTuple):
    """A rectangle of pixels: right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, other: Box) -> Box:
        """The same rectangle, counted from another's upper left corner."""
        return Box(self.left - other.left, self.top - other.top, self.right - other.left, self.bottom - other.top)

    def out_of(self, other: Box) -> Box:
        """The same rectangle, which was counted from another's upper left corner, counted from where that one is."""
        return Box(self.left + other.left, self.top + other.top, self.right + other.left, self.bottom + other.top)


class LocalModel(NamedTuple):
    """``change = slope * value + offset`` for each cell and channel; both float32 [S, S, C]."""

    slope: Float
    offset: Float


def full_scale(dtype: np.dtype[Any]) -> float:
    """The value that stands for 1: 255, 65535, or 1 for floats and booleans."""
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0


def reduce_area(image: Array, size: int, *, premultiply: bool = False) -> Float:
    """Mean over the area of each of size x size cells; a side shorter than that keeps its pixels.

    Args:
        image: [H, W, C], uint8, uint16, bool or float. Floats are limited to 0..1, so that one highlight does not
            outshine its cell.
        size: cells a side, at most.
        premultiply: weight each pixel's other channels with its last one (alpha).

    Returns:
        float32 [min(H, size), min(W, size), C], 0..1.
    """
    height, width, channels = image.shape
    if max(height, width) <= size:  # a pixel a cell
        low = _values(image, np.empty(image.shape, np.float32), premultiply)
    else:
        together = max(_PIXELS * min(height, size) // height, 1)
        rows, columns = _bands(height, size, together), _bands(width, size, _CELLS)
        across = [_for_each(channels, band) for band in columns]
        several = max(_ROWS // together, 1)
        strip = np.empty((max(band.share.shape[1] for band in rows), width, channels), np.float32)
        means = np.empty((several * together, width * channels), np.float32)
        low = np.empty((rows[-1].cells.stop, columns[-1].cells.stop, channels), np.float32)
        flat = low.reshape(len(low), -1)
        for i in range(0, len(rows), several):
            part = rows[i : i + several]
            top, bottom = part[0].cells.start, part[-1].cells.stop
            for cells, pixels, share in part:
                values = _values(image[pixels], strip[: share.shape[1]], premultiply).reshape(share.shape[1], -1)
                for x in range(0, width * channels, _WIDE):
                    wide = slice(x, x + _WIDE)
                    np.matmul(share, values[:, wide], out=means[cells.start - top : cells.stop - top, wide])
            for pixels, cells, share in across:
                np.matmul(means[: bottom - top, pixels], share, out=flat[top:bottom, cells])
    low /= np.float32(full_scale(image.dtype))
    np.clip(low, 0, 1, out=low)  # rounding must not lift a full mask above 1
    return low


def enlarge(image: Float, size: int) -> Float:
    """Grow both sides to ``size`` by cubic convolution (Keys, 1981), which keeps detail sharper than bilinear growth
    does: what the network goes by is in the detail.

    Args:
        image: [H, W, C], 0..1, neither side longer than ``size``.
        size: pixels a side.

    Returns:
        float32 [size, size, C], limited to 0..1.
    """
    if image.shape[:2] == (size, size):  # no copy of what is as it should be
        return image
    planes = [Image.fromarray(image[..., c]) for c in range(image.shape[2])]
    grown = [np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC)) for plane in planes]
    limited: Float = np.clip(np.stack(grown, -1), 0, 1)
    return limited


def _values(image: Array, out: Float, premultiply: bool) -> Float:
    """Pixels as floats, in ``out``: floats limited to 0..1, multiplied with alpha where asked, else as they are."""
    np.copyto(out, image)
    if image.dtype.kind == "f":
        np.clip(out, 0, 1, out=out)
    if premultiply:
        alpha = out[..., -1] / np.float32(full_scale(image.dtype))
        for channel in range(image.shape[2] - 1):  # one by one: numpy is slow where its innermost loop is short
            out[..., channel] *= alpha
    return out


class _Band(NamedTuple):
    """Neighbouring cells along a side, the pixels on which they lie, and each pixel's share in each cell's mean."""

    cells: slice
    pixels: slice
    share: Float
    """[cells, pixels]: a band of a matrix that is zero elsewhere."""


def _bands(length: int, size: int, together: int) -> list[_Band]:
    """Of ``size`` cells, ``together`` a band; of a cell a pixel where the side is shorter."""
    cells = min(length, size)
    starts = np.arange(0, cells, together)
    stops = np.minimum(starts + together, cells)
    edges = np.minimum(starts[:, None] + np.arange(together + 1), cells) * (length / cells)
    begins, ends = edges[:, 0].astype(np.intp), np.minimum(np.ceil(edges[:, -1]).astype(np.intp), length)
    pixels = begins[:, None] + np.arange((ends - begins).max())
    before = np.clip(edges[:, :, None] - pixels[:, None], 0, 1)  # how much of each pixel lies before each edge
    share = (np.diff(before, axis=1) * (cells / length)).astype(np.float32)
    return [
        _Band(slice(start, stop), slice(begin, end), part[: stop - start, : end - begin])
        for start, stop, begin, end, part in zip(starts, stops, begins, ends, share, strict=True)
    ]


def _for_each(channels: int, band: _Band) -> tuple[slice, slice, Float]:
    """A band's pixels, cells and transposed shares for rows in which channels are interleaved."""
    pixels, cells = (slice(part.start * channels, part.stop * channels) for part in (band.pixels, band.cells))
    each, share = np.arange(channels), np.zeros((*band.share.T.shape, channels, channels), np.float32)
    share[..., each, each] = band.share.T[..., None]
    return pixels, cells, share.swapaxes(1, 2).reshape(pixels.stop - pixels.start, -1)


def interpolate(low: Float, length: int, *, axis: int) -> Float:
    """Grow an axis bilinearly to ``length``; cell centres stay in place, edges repeat."""
    cells = low.shape[axis]
    return low if cells == length else _grow(low, *_places(cells, length, 0, length), axis=axis)


def _grow(low: Float, cell: NDArray[np.intp], share: Float, *, axis: int) -> Float:
    """Along an axis: ``low[cell] + share * (low[cell + 1] - low[cell])``."""
    shape = [1] * low.ndim
    shape[axis] = -1
    grown: Float = np.take(low, np.minimum(cell + 1, low.shape[axis] - 1), axis=axis)
    base = np.take(low, cell, axis=axis)
    grown -= base
    grown *= share.reshape(shape)
    grown += base
    return grown


def _places(cells: int, length: int, begin: int, end: int) -> tuple[NDArray[np.intp], Float]:
    """For pixels begin..end of a side grown from ``cells`` to ``length``: the cell before and the share of the next."""
    place = np.clip((np.arange(begin, end) + 0.5) * (cells / length) - 0.5, 0, cells - 1)
    left = np.minimum(place.astype(np.intp), max(cells - 2, 0))
    return left, (place - left).astype(np.float32)


def fill_absent(premultiplied: Float, coverage: Float) -> Float:
    """Colours of cells out of colour x coverage; a cell without coverage takes its surroundings'.

    Push-pull (Gortler et al., The Lumigraph, 1996): averages of ever larger blocks until one has some coverage.

    Args:
        premultiplied: [H, W, C], colour x coverage.
        coverage: [H, W, 1], 0..1, not all zero.

    Returns:
        float32 [H, W, C].
    """
    present = coverage > 0
    colours = np.divide(premultiplied, coverage, out=np.zeros_like(premultiplied), where=present)
    if present.all():
        return colours
    height, width = coverage.shape[:2]
    if height % 2 or width % 2:
        around = premultiplied.sum((0, 1)) / coverage.sum()
    else:
        halves = (x.reshape(height // 2, 2, width // 2, 2, -1).sum((1, 3)) for x in (premultiplied, coverage))
        coarse = fill_absent(*halves)
        around = interpolate(interpolate(coarse, height, axis=0), width, axis=1)
    return np.where(present, colours, around).astype(np.float32)


def roots(values: Float) -> Float:
    """What a model of values that are light is fitted on."""
    root: Float = np.sqrt(np.maximum(values, 0))
    return root


def fit(composite: Float, mask: Float, change: Float) -> LocalModel:
    """The local linear model of a change, fitted around every cell.

    The network blends its change with the mask: ``change`` = mask x the change to find. Weighting cells by a power of
    the mask divides that out of every sum, without a division. The fourth power: a cell that holds some background has
    a mixed colour, and must count little beside pure ones, yet be there for foregrounds thinner than a cell. A ridge
    draws slopes toward the whole foreground's slope: where a window is flat, or noise, texture changes as it does on
    the average. No change at all gives coefficients of exactly zero.

    Args:
        composite: the guide, float32 [S, S, C], 0..1.
        mask: float32 [S, S], 0..1.
        change: float32 [S, S, C], already blended with the mask.

    Returns:
        Slopes and offsets; zero further than ``WINDOW`` cells from the foreground.
    """
    slope_map, offset_map = np.zeros_like(composite), np.zeros_like(composite)
    near = box_near(mask)
    if near is None:
        return LocalModel(slope_map, offset_map)
    mask = mask[near]
    guide, change = composite[near].transpose(2, 0, 1), change[near].transpose(2, 0, 1)
    cubed = mask * mask * mask
    weight, blended = cubed * mask, cubed * change  # blended = weight x the change to find
    sums = np.stack([weight * guide, blended, weight * guide * guide, blended * guide])  # [4, C, S, S]
    # A mask too faint for its fourth power to be a float32 changes nothing.
    overall = sums.sum((2, 3), dtype=np.float64) / max(weight.sum(dtype=np.float64), 1e-300)
    prior = (overall[3] - overall[0] * overall[1]) / (overall[2] - overall[0] ** 2 + RIDGE * 1e-2)

    total = _window_sum(weight)
    means = np.divide(_window_sum(sums), total, out=np.zeros_like(sums), where=total > 0)
    mean, mean_change = means[0], means[1]
    ridge = np.float32(RIDGE) * (mean + np.float32(0.1)) ** 2
    covariance = means[3] - mean * mean_change
    variance = np.maximum(means[2] - mean * mean, 0)
    slope = (covariance + ridge * prior.astype(np.float32)[:, None, None]) / (variance + ridge)
    slope = np.where(total > 0, np.clip(slope, -1, MAX_SLOPE), 0)
    offset = mean_change - slope * mean
    slope_map[near], offset_map[near] = slope.transpose(1, 2, 0), offset.transpose(1, 2, 0)
    return LocalModel(slope_map, offset_map)


def box_near(mask: Float) -> tuple[slice, slice] | None:
    """The box of the cells above 0 and ``WINDOW`` cells around it: beyond, the fit is zero. None: no cell is above."""
    box = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis))
        if not len(places):
            return None
        box.append(slice(max(int(places[0]) - WINDOW, 0), int(places[-1]) + WINDOW + 1))
    return box[0], box[1]


def _window_sum(maps: Float) -> Float:
    """Weighted sum of each cell's neighbourhood: a tent of radius ``WINDOW`` along both of the last axes."""
    for axis in (-2, -1):
        lines = np.moveaxis(maps, axis, 0)
        total = (WINDOW + 1) * lines
        for shift in range(1, WINDOW + 1):
            total[shift:] += (WINDOW + 1 - shift) * lines[:-shift]
            total[:-shift] += (WINDOW + 1 - shift) * lines[shift:]
        maps = np.moveaxis(total, 0, axis)
    return maps


def apply(
    model: LocalModel,
    image: Array,
    mask: Array,
    out: Array,
    foreground: Box,
    strength: float,
    *,
    light: bool = False,
) -> None:
    """``out = image + strength * mask * change`` inside a box, where the mask is above 0.

    Rounded and limited to the depth's range. Floats are not limited; beyond 0..1 the change is that of the range's end,
    so values keep their order.

    Args:
        model: of the whole image. Alpha, which it has no coefficients for, stays as it is.
        image: [H, W, C], uint8, uint16 or float32.
        mask: [h, w], any depth, of the box.
        out: [h, w, C], what is to become of the box; only its pixels with a mask above 0 are written.
        foreground: the box; it holds every pixel with a mask above 0.
        strength: 0..1.
        light: the image's values are proportional to light, and the model is of their :func:`roots`.
    """
    height, width, channels = image.shape
    scale, blend = full_scale(image.dtype), strength / full_scale(mask.dtype)
    left, top, right, bottom = foreground
    cells = len(model.slope)
    row, lower = _places(cells, height, top, bottom)
    column, share = _places(cells, width, left, right)
    # In the document's own units, with mask and strength folded in, and 0 for alpha; of roots as they are.
    units = (1, 1) if light else (blend, blend * scale)
    coefficients = np.stack([model.slope * np.float32(units[0]), model.offset * np.float32(units[1])])
    coefficients = np.pad(coefficients, [(0, 0)] * 3 + [(0, channels - model.slope.shape[2])])

    @lru_cache(maxsize=2)  # a strip lies between two rows of cells, the next one often starts with the second of them
    def widen(cell: int) -> Float:
        """Slopes and offsets of a row of cells, grown to the box's width: [2, (right - left) * channels]."""
        return _grow(coefficients[:, cell], column, share, axis=1).reshape(2, -1)

    numbers = (right - left) * channels
    rows = max(1, STRIP // numbers)
    buffers = np.empty((4, min(rows, bottom - top), numbers), np.float32)
    for begin, end in _strips(row, rows):
        above, below = widen(int(row[begin])), widen(int(row[begin]) + 1)
        difference, weight = below - above, lower[begin:end, None]
        value, change, offset, blending = buffers[:, : end - begin]
        pixels = (end - begin, right - left, channels)
        np.copyto(value.reshape(pixels), image[top + begin : top + end, left:right])
        for channel in range(channels):
            blending.reshape(pixels)[..., channel] = mask[begin:end]

        np.multiply(weight, difference[0], out=change)
        change += above[0]
        root = roots(value * np.float32(1 / scale)) if light else None
        if root is not None:
            change *= np.minimum(root, 1)
        else:
            change *= value if image.dtype.kind == "u" else np.clip(value, 0, 1)
        np.multiply(weight, difference[1], out=offset)
        offset += above[1]
        change += offset
        if root is not None:  # (root + change)^2 - root^2, which is 0 exactly where nothing changes
            np.maximum(change, -root, out=change)
            change *= (2 * root + change) * np.float32(blend * scale)
        change *= blending
        value += change
        if image.dtype.kind == "u":
            np.clip(np.rint(value, out=value), 0, scale, out=value)
            # Where the mask is 0 a whole number has had 0 added: storing it is the select, at a third of the cost.
            np.copyto(out[begin:end], value.reshape(pixels), casting="unsafe")
        else:
            np.copyto(out[begin:end], value.reshape(pixels), where=blending.reshape(pixels) > 0)


def _strips(cell: NDArray[np.intp], rows: int) -> Iterator[tuple[int, int]]:
    """Runs of rows, at most ``rows`` long, that lie between the same two cells."""
    edges = [0, *(np.flatnonzero(np.diff(cell)) + 1), len(cell)]
    for begin, end in zip(edges[:-1], edges[1:], strict=True):
        for start in range(begin, end, rows):
            yield start, min(start + rows, end)
