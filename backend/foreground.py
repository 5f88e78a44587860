"""How much of each pixel is foreground: the arithmetic of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.link.context import intersection
from backend.link.messages import WITHOUT_ALPHA, Code, LinkError, Rect

if TYPE_CHECKING:
    from backend.worker import Task

Array = NDArray[Any]

_FAINTEST = 1 / 255
_STRIP = 256


def foreground(task: Task, buffer: memoryview) -> tuple[Array, Rect]:
    """How much of each pixel is foreground: selection x layer alpha, feathered.

    Returns:
        [height, width] of the image: bool, uint8, uint16 or float32. The values of a selection or layer that alone
        decides stay as they are. And the box of its pixels above 0, in the image's own pixels.

    Raises:
        LinkError: `no_foreground`; `bad_image`: NaN.
    """
    image = task.image.rect
    area: Rect | None = image
    parts: list[tuple[Rect, Array]] = []
    for place in (task.selection, task.layer):
        if place is not None:
            pixels = place.view(buffer)
            opaque = place.layout in WITHOUT_ALPHA and place is task.layer
            parts.append((place.rect, np.ones(pixels.shape[:2], bool) if opaque else pixels[..., -1]))
            area = area and intersection(area, place.rect)
    if not parts or area is None:
        raise _no_foreground()
    values = _product([_values(pixels[slices(within(area, rect))]) for rect, pixels in parts])
    if task.opacity is not None and task.opacity < 1:
        values = values * np.float32(task.opacity / full(values))
    _check_visible(values)
    mask = np.zeros((image.height, image.width), values.dtype)
    area = within(area, image)
    mask[slices(area)] = values
    box = _box(values)
    box = Rect(area.x + box.x, area.y + box.y, box.width, box.height)
    reach = round(task.feather)
    if reach:
        mask, grown = _feather(mask, box, reach)
        _check_visible(mask[slices(grown)])
        inner = _box(mask[slices(grown)])
        box = Rect(grown.x + inner.x, grown.y + inner.y, inner.width, inner.height)
    return mask, box


def _check_visible(mask: Array) -> None:
    most = mask.max()
    if np.isnan(most):  # which feathering would spread over whole rows
        raise LinkError(Code.BAD_IMAGE, "the selection or the layer's alpha contains NaN", "paint over it there")
    if most <= _FAINTEST * full(mask):
        raise _no_foreground()


def _no_foreground() -> LinkError:
    return LinkError(
        Code.NO_FOREGROUND,
        "nothing in the image is selected as foreground",
        "select the object, or activate the layer with the pasted object",
    )


def _values(pixels: Array) -> Array:
    """Values of a mask as the Harmonizer takes them: floats are float32 within 0..1, or NaN."""
    return np.clip(pixels.astype(np.float32), 0, 1) if pixels.dtype.kind == "f" else pixels


def _product(masks: list[Array]) -> Array:
    """The product of one or two masks; the other one as it is where one is full."""
    partial = [mask for mask in masks if not mask.min() >= full(mask)]  # NaN is not full
    if len(partial) < 2:
        return (partial or masks)[0]
    first, second = (mask * np.float32(1 / full(mask)) for mask in partial)
    product: Array = np.minimum(first * second, np.float32(1))
    return product


def _feather(mask: Array, box: Rect, reach: int) -> tuple[Array, Rect]:
    """Soften the edges of a mask, over `reach` pixels to either side.

    Three box blurs, which come close to a Gaussian one and end exactly there. At the image's edge the mask counts as
    going on, so that an object which is cut off there is not faded.

    Returns:
        uint16, like the mask, and the box that it may fill: in whole steps, what is far away is exactly 0.
    """
    height, width = mask.shape
    left, top = max(box.x - reach, 0), max(box.y - reach, 0)
    right, bottom = min(box.x + box.width + reach, width), min(box.y + box.height + reach, height)
    grown = Rect(left, top, right - left, bottom - top)
    values = np.pad(mask[slices(grown)], reach, mode="edge").astype(np.float32)
    radii = [(reach + third) // 3 for third in range(3)]
    values = _blur_rows(_blur_rows(values, radii).T, radii).T
    result = np.zeros(mask.shape, np.uint16)
    result[slices(grown)] = np.rint(values * np.float32(65535 / full(mask)))
    return result, grown


def _blur_rows(values: Array, radii: list[int]) -> Array:
    """Means of 2 x radius + 1 values along the last axis, for one radius after another; ends are cut off."""
    height, width = values.shape
    result = np.empty((height, width - 2 * sum(radii)), np.float32)
    for top in range(0, height, _STRIP):
        strip = values[top : top + _STRIP].astype(np.float64)
        for radius in radii:
            sums = np.pad(np.cumsum(strip, axis=1), ((0, 0), (1, 0)))
            window = 2 * radius + 1
            strip = (sums[:, window:] - sums[:, :-window]) / window
        result[top : top + _STRIP] = strip
    return result


def full(array: Array) -> float:
    """The value that stands for 1."""
    return float(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else 1.0


def _box(mask: Array) -> Rect:
    """The box of the pixels above 0, of which there is one at least."""
    rows, columns = np.flatnonzero(mask.max(axis=1)), np.flatnonzero(mask.max(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return Rect(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def within(a: Rect, b: Rect) -> Rect:
    """`a`, counted from the upper left corner of `b`."""
    return Rect(a.x - b.x, a.y - b.y, a.width, a.height)


def slices(rect: Rect) -> tuple[slice, slice]:
    """The rows and columns of a rectangle."""
    return slice(rect.y, rect.y + rect.height), slice(rect.x, rect.x + rect.width)
