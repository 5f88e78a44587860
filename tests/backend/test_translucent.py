"""Half-transparent foregrounds, looked at as if they were opaque."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.foreground import full
from backend.link.messages import Rect
from backend.translucent import Opaque
from gknet.color import decode_srgb, encode_srgb
from tests.backend.test_daemon import TYPES, Array, disc, picture

HEIGHT, WIDTH = 300, 280  # more rows than are raised at a time
AREA = Rect(30, 10, 200, 280)
INSIDE = np.s_[10:290, 30:230]


def stored(values: Array, dtype: str) -> Array:
    kind: Any = TYPES[dtype]
    return np.rint(values * np.iinfo(kind).max).astype(kind) if dtype[0] == "u" else values.astype(kind)


def scene(dtype: str, opacity: float, below: float = 1.0, linear: bool = False) -> tuple[Array, Array, Array, Array]:
    """A picture with alpha, the layer that lies in its area, what is below, 0..1, and the mask."""
    own = picture(AREA.height, AREA.width, 4, dtype)[:, ::-1].copy()
    own[..., 3] = stored(disc(AREA.height, AREA.width) / 255, dtype)
    behind = picture(HEIGHT, WIDTH, 4, "f32").astype(np.float64)
    behind[..., 3] = below
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[INSIDE] = opacity * (own[..., 3] / full(own))
    return stored(over(own / full(own), mask[INSIDE], behind, linear), dtype), own, behind, mask


def over(own: Array, opacity: Array, behind: Array, linear: bool = False) -> Array:
    """The layer laid over its area of what is behind."""
    result = behind.copy()
    result[INSIDE] = laid(own[..., :3], opacity[..., None], behind[INSIDE], linear)
    return result


def laid(own: Array, alpha: Array, behind: Array, linear: bool = False) -> Array:
    """What is seen of a layer over what is behind, 0..1, straight alpha."""
    if linear:
        result = laid(decode_srgb(own), alpha, np.dstack([decode_srgb(behind[..., :3]), behind[..., 3:]]))
        return np.dstack([encode_srgb(result[..., :3]), result[..., 3:]])
    visible = alpha + (1 - alpha) * behind[..., 3:]
    colours = alpha * own + (1 - alpha) * behind[..., 3:] * behind[..., :3]
    return np.dstack([colours / np.maximum(visible, 1e-9), visible])


@pytest.mark.parametrize("dtype", ["u8", "u16", "f32"])
@pytest.mark.parametrize("opacity", [0.75, 0.3])
@pytest.mark.parametrize("below", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("linear", [False, True])
def test_it_is_shown_as_the_layer_would_be_at_full_opacity(
    dtype: str, opacity: float, below: float, linear: bool
) -> None:
    image, own, behind, mask = scene(dtype, opacity, below, linear)
    before = image.copy()
    opaque = Opaque.of(image, mask, AREA, own[..., :3], own[..., 3:], opacity, linear)
    assert opaque is not None
    np.testing.assert_allclose(opaque.mask, mask / opacity, atol=1 / 256 / opacity)
    expected = over(own / full(own), opaque.mask[INSIDE], behind, linear)
    coarse = {"u8": 4 / 255, "u16": 2e-4, "f32": 1e-5}
    seen = expected[..., 3] > 0.1  # where next to nothing is there, eight bits do not hold what
    np.testing.assert_allclose((image / full(image))[seen], expected[seen], atol=coarse[dtype] / opacity)
    solid = opaque.mask[INSIDE] == 1
    np.testing.assert_allclose(image[INSIDE][solid][:, :3], own[solid][:, :3], atol=1e-6 if dtype == "f32" else 0)
    assert (image[mask == 0] == before[mask == 0]).all()


@pytest.mark.parametrize("dtype", ["u8", "u16", "f32"])
def test_the_change_is_made_to_what_is_seen(dtype: str) -> None:
    image, own, _, mask = scene(dtype, 0.5)
    before = image.copy()
    opaque = Opaque.of(image, mask, AREA, own[..., :3], own[..., 3:], 0.5)
    assert opaque is not None
    box = Rect(20, 0, 250, 300)
    area = np.s_[0:300, 20:270]
    unchanged = image[area].copy()
    opaque.back(unchanged, box)
    np.testing.assert_allclose(unchanged[..., :3], before[area][..., :3], atol=1e-6 if dtype == "f32" else 0)
    step = stored(np.float64(0.1), dtype)
    lighter = image[area].copy()
    lighter[..., :3] += step
    opaque.back(lighter, box)
    change = lighter[10:290, 10:210, :3].astype(float) - before[INSIDE][..., :3]
    np.testing.assert_allclose(change, float(step), atol=1e-6 if dtype == "f32" else 0)


def test_what_leaves_the_range_is_its_end() -> None:
    image, own, _, mask = scene("u8", 0.5)
    image[..., :3] = 250
    opaque = Opaque.of(image, mask, AREA, own[..., :3], own[..., 3:], 0.5)
    assert opaque is not None
    lighter = np.full_like(image, 255)
    opaque.back(lighter, Rect(0, 0, WIDTH, HEIGHT))
    assert lighter[150, 130, :3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("opacity", [1.0, 0.99])
def test_what_is_opaque_is_left_alone(opacity: float) -> None:
    image, own, _, mask = scene("u8", opacity)
    before = image.copy()
    assert Opaque.of(image, mask, AREA, own[..., :3], own[..., 3:], opacity) is None
    assert Opaque.of(image, np.rint(mask * 255).astype(np.uint8), AREA, own[..., :3], None, opacity) is None
    assert (image == before).all()


def test_a_foreground_too_thin_to_be_judged_is_left_alone() -> None:
    side = 1200
    image = np.full((side, side, 3), 100, np.uint8)
    before, mask = image.copy(), np.zeros((side, side), np.float32)
    mask[:, 601] = 0.5  # between the columns that are looked at
    alpha = np.rint(mask * 255).astype(np.uint8)[..., None]
    assert Opaque.of(image, mask, Rect(0, 0, side, side), image[::-1], alpha, 1.0) is None
    assert (image == before).all()
