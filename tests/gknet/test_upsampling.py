"""Area reduction, bilinear growth, the local model of a change, and its application: each against a slow reference."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gknet import upsampling
from gknet.upsampling import Box, LocalModel, enlarge, fill_absent, fit, interpolate, reduce_area

SIZE = 32


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def area_weights(length: int, size: int) -> np.ndarray:
    """Each cell's share of each pixel: the overlap of two intervals."""
    edges, pixel = np.arange(size + 1) * (length / size), np.arange(length)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.maximum(overlap, 0) * (size / length)


def growth_weights(cells: int, length: int) -> np.ndarray:
    """Bilinear: a hat around every cell centre, edges repeated."""
    place = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0)


@settings(max_examples=40)
@given(
    height=st.integers(SIZE, 200),
    width=st.integers(SIZE, 200),
    channels=st.sampled_from([1, 2, 3, 4]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    seed=st.integers(0, 99),
)
def test_reduction_is_the_mean_over_each_cell(height: int, width: int, channels: int, dtype: str, seed: int) -> None:
    values = rng(seed).random((height, width, channels))
    scale = upsampling.full_scale(np.dtype(dtype))
    image = (values * scale).astype(dtype)
    expected = np.einsum(
        "ij,jkc,lk->ilc", area_weights(height, SIZE), image / scale, area_weights(width, SIZE), optimize=True
    )
    reduced = reduce_area(image, SIZE)
    assert reduced.shape == (SIZE, SIZE, channels) and reduced.dtype == np.float32
    np.testing.assert_allclose(reduced, expected, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 100), (100, 17)])
def test_a_short_side_keeps_its_pixels(height: int, width: int) -> None:
    image = rng().random((height, width, 3), dtype=np.float32)
    rows, columns = area_weights(height, min(height, SIZE)), area_weights(width, min(width, SIZE))
    expected = np.einsum("ij,jkc,lk->ilc", rows, image, columns, optimize=True)
    np.testing.assert_allclose(reduce_area(image, SIZE), expected, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (31, 32), (32, 11), (32, 32)])
def test_enlargement_is_cubic(height: int, width: int) -> None:
    """Against Pillow's bicubic filter, which has Keys' a as well; but at edges, which do not repeat there."""
    image = rng().random((height, width, 3), dtype=np.float32)
    planes = [Image.fromarray(image[..., c]).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for c in range(3)]
    expected = np.clip(np.stack([np.asarray(plane) for plane in planes], -1), 0, 1)
    grown = enlarge(image, SIZE)
    assert grown.dtype == np.float32 and grown.shape == (SIZE, SIZE, 3)
    inner = slice(6, -6)
    np.testing.assert_allclose(grown[inner, inner], expected[inner, inner], atol=1e-5)
    assert grown.min() >= 0 and grown.max() <= 1
    np.testing.assert_allclose(enlarge(np.full((height, width, 1), 0.3, np.float32), SIZE), 0.3, rtol=1e-6)


def test_a_full_mask_never_exceeds_one() -> None:
    for height in range(SIZE, 3 * SIZE):
        assert reduce_area(np.full((height, 77, 1), 255, np.uint8), SIZE).max() <= 1


def test_highlights_do_not_outshine_their_cell() -> None:
    image = np.full((64, 64, 1), 0.25, np.float32)
    image[0, 0] = 1000
    assert reduce_area(image, SIZE)[0, 0, 0] == pytest.approx((3 * 0.25 + 1) / 4)


@given(cells=st.integers(2, 40), length=st.integers(1, 90))
def test_growth_is_bilinear(cells: int, length: int) -> None:
    low = rng().random((cells, 3), dtype=np.float32)
    np.testing.assert_allclose(interpolate(low, length, axis=0), growth_weights(cells, length) @ low, atol=1e-5)


def test_absent_cells_take_their_surroundings() -> None:
    coverage = np.zeros((SIZE, SIZE, 1), np.float32)
    coverage[:, :8], coverage[:, 24:] = 1, 0.5
    colours = np.where(np.arange(SIZE)[None, :, None] < 16, [0.2, 0.4, 0.6], [0.8, 0.6, 0.4]).astype(np.float32)
    colours = np.broadcast_to(colours, (SIZE, SIZE, 3))
    filled = fill_absent(colours * coverage, coverage)
    np.testing.assert_allclose(filled[:, :8], colours[:, :8], rtol=1e-6)
    np.testing.assert_allclose(filled[:, 24:], colours[:, 24:], rtol=1e-6)
    assert np.all(np.abs(filled[:, 8] - colours[:, 0]) < np.abs(filled[:, 8] - colours[:, 31]))  # the nearer side wins
    assert filled.min() >= 0.199 and filled.max() <= 0.801


def circle(size: int, radius: float, soft: float = 0.01) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip((radius - np.hypot(x, y)) / soft + 0.5, 0, 1).astype(np.float32)


def test_no_change_has_coefficients_of_exactly_zero() -> None:
    model = fit(
        rng().random((SIZE, SIZE, 3), dtype=np.float32), circle(SIZE, 9, 3), np.zeros((SIZE, SIZE, 3), np.float32)
    )
    assert not model.slope.any() and not model.offset.any()


def test_an_affine_change_is_found_through_a_soft_mask() -> None:
    guide, mask = rng().random((SIZE, SIZE, 3), dtype=np.float32), circle(SIZE, 9, 6)
    slope, offset = np.array([0.3, -0.2, 0.0], np.float32), np.array([-0.1, 0.05, 0.2], np.float32)
    model = fit(guide, mask, mask[..., None] * (guide * slope + offset))
    inside = mask > 0
    np.testing.assert_allclose(model.slope[inside], np.broadcast_to(slope, model.slope[inside].shape), atol=2e-3)
    np.testing.assert_allclose(model.offset[inside], np.broadcast_to(offset, model.offset[inside].shape), atol=2e-3)


def test_the_background_has_no_say_so_there_is_no_halo() -> None:
    guide, mask = rng().random((SIZE, SIZE, 3), dtype=np.float32), circle(SIZE, 9)
    change = mask[..., None] * (0.5 - guide)
    other = np.where(mask[..., None] > 0, guide, rng(1).random(guide.shape, dtype=np.float32))
    for a, b in zip(fit(guide, mask, change), fit(other, mask, change), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("share", [1e-4, 1e-7])
def test_the_model_reaches_every_cell_that_growth_can_ask_for(share: float) -> None:
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[10, 20] = share  # a speck of a pixel in a large document
    guide = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    model = fit(guide, mask, mask[..., None] * np.float32([0.1, 0, -0.1]))
    change = model.slope * guide + model.offset
    np.testing.assert_allclose(change[9:12, 19:22], np.broadcast_to([0.1, 0, -0.1], (3, 3, 3)), atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_mask_that_vanishes_changes_nothing() -> None:
    guide, mask = rng().random((SIZE, SIZE, 3), dtype=np.float32), np.full((SIZE, SIZE), 1e-15, np.float32)
    model = fit(guide, mask, mask[..., None] * guide)
    assert not model.slope.any() and not model.offset.any()


def test_cells_that_hold_background_do_not_flatten_the_foregrounds_texture() -> None:
    """At the rim a cell's colour is a mixture; a gamma curve of a mixture is not the mixture of the curves."""
    texture = rng().uniform(0.05, 0.3, (SIZE, SIZE, 1)).astype(np.float32)
    mask = circle(SIZE, 9, 1.4)
    mixed = mask[..., None] * texture + (1 - mask[..., None]) * np.float32(0.9)
    slope = fit(mixed, mask, mask[..., None] * (mixed**0.6 - mixed)).slope
    rim, inside = (mask == 1) & (circle(SIZE, 7) == 0), circle(SIZE, 5) == 1
    assert np.median(slope[inside]) > 0.2
    assert np.median(slope[rim]) > 0.55 * np.median(slope[inside])


def test_flat_windows_take_the_foregrounds_slope() -> None:
    guide, mask = np.full((SIZE, SIZE, 1), 0.5, np.float32), np.ones((SIZE, SIZE), np.float32)
    guide[16:] = rng().random((16, SIZE, 1), dtype=np.float32)
    model = fit(guide, mask, guide * np.float32(0.4))
    assert model.slope[3, 3, 0] == pytest.approx(0.4, abs=1e-3)


def test_slopes_never_turn_light_into_dark() -> None:
    guide, mask = rng().random((SIZE, SIZE, 3), dtype=np.float32), np.ones((SIZE, SIZE), np.float32)
    assert fit(guide, mask, -3 * guide).slope.min() >= -1
    assert fit(guide, mask, 50 * guide).slope.max() <= upsampling.MAX_SLOPE


def constant(slope: float, offset: float, channels: int = 3) -> LocalModel:
    shape = (SIZE, SIZE, channels)
    return LocalModel(np.full(shape, slope, np.float32), np.full(shape, offset, np.float32))


def random_model(channels: int = 3) -> LocalModel:
    draw = rng(7)
    return LocalModel(
        draw.uniform(-0.5, 0.5, (SIZE, SIZE, channels)).astype(np.float32),
        draw.uniform(-0.2, 0.2, (SIZE, SIZE, channels)).astype(np.float32),
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mask_dtype", ["bool", "uint8", "uint16", "float64"])
def test_application_follows_the_formula(dtype: str, channels: int, mask_dtype: str) -> None:
    height, width, box = 90, 71, Box(5, 11, 60, 83)
    scale = upsampling.full_scale(np.dtype(dtype))
    image = (rng().random((height, width, channels)) * scale).astype(dtype)
    mask = np.zeros((height, width), mask_dtype)
    soft = rng(1).random((72, 55))
    mask[box.slices] = soft > 0.5 if mask_dtype == "bool" else soft * upsampling.full_scale(mask.dtype)
    model = random_model(min(channels, 3))
    rows, columns = growth_weights(SIZE, height), growth_weights(SIZE, width)
    slope, offset = (np.einsum("ij,jkc,lk->ilc", rows, x, columns, optimize=True) for x in model)
    colours = image[..., : slope.shape[2]] / scale
    blend = (mask / upsampling.full_scale(mask.dtype))[..., None] * 0.7
    expected = (colours + blend * (slope * colours + offset)) * scale

    out = image.copy()
    upsampling.apply(model, image, mask[box.slices], out[box.slices], box, 0.7)
    if dtype == "float32":
        np.testing.assert_allclose(out[..., : slope.shape[2]], expected, atol=1e-5)
    else:
        expected = np.clip(expected, 0, scale)
        assert np.abs(out[..., : slope.shape[2]] - expected).max() <= 0.5 + 2e-2
    assert np.array_equal(out[mask == 0], image[mask == 0])
    assert np.array_equal(out[..., 3:], image[..., 3:])


def test_strips_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    image = rng().integers(0, 65536, (300, 200, 3)).astype(np.uint16)
    mask, box = np.ones((300, 200), bool), Box(0, 0, 200, 300)
    whole, parts = image.copy(), image.copy()
    upsampling.apply(random_model(), image, mask, whole, box, 1)
    monkeypatch.setattr(upsampling, "STRIP", 1)
    upsampling.apply(random_model(), image, mask, parts, box, 1)
    assert np.array_equal(whole, parts)


def test_the_background_of_floats_keeps_even_its_negative_zeros() -> None:
    image, mask = np.full((64, 64, 3), -0.0, np.float32), np.zeros((64, 64), np.float32)
    mask[20, 20] = mask[40, 40] = 1
    out = image.copy()
    box = Box(20, 20, 41, 41)
    upsampling.apply(constant(0, 0.5), image, mask[box.slices], out[box.slices], box, 1)
    assert np.signbit(out[mask == 0]).all()
    assert (out[mask == 1] == 0.5).all()


def test_floats_beyond_the_range_keep_their_order_and_get_the_ends_change() -> None:
    values = np.linspace(-2, 30, 64 * 64, dtype=np.float32)
    image = values.reshape(64, 64, 1)
    mask, box = np.ones((64, 64), np.float32), Box(0, 0, 64, 64)
    for slope, offset in ((-0.9, 0.5), (3.0, -0.2)):
        out = image.copy()
        upsampling.apply(constant(slope, offset, 1), image, mask, out, box, 1)
        result = out.reshape(-1)
        assert np.isfinite(result).all() and (np.diff(result) > 0).all()
        np.testing.assert_allclose(result[values > 1], values[values > 1] + slope + offset, rtol=1e-5)
        np.testing.assert_allclose(result[values < 0], values[values < 0] + offset, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_light_is_changed_by_its_square_root(dtype: str) -> None:
    scale = 1 if dtype == "float32" else 65535
    image = (np.linspace(0, 1, 64 * 64).reshape(64, 64, 1) ** 2 * scale).astype(dtype)
    mask, box = np.full((64, 64), 0.5, np.float32), Box(0, 0, 64, 64)
    for slope, offset in ((-0.3, 0.1), (0.5, -0.2), (0.0, 0.0)):
        out = image.copy()
        upsampling.apply(constant(slope, offset, 1), image, mask, out, box, 0.8, light=True)
        light = image / scale
        moved = np.maximum(np.sqrt(light) * (1 + slope) + offset, 0) ** 2
        expected = np.clip(light + 0.4 * (moved - light), 0, 1 if dtype == "uint16" else np.inf)
        np.testing.assert_allclose(out / scale, expected, atol=1e-5)
    assert np.array_equal(out, image)  # no change at all is none to the last bit


def test_light_beyond_the_range_keeps_its_order() -> None:
    values = np.linspace(-2, 30, 64 * 64, dtype=np.float32)
    mask, box = np.ones((64, 64), np.float32), Box(0, 0, 64, 64)
    for slope, offset in ((-0.9, 0.5), (3.0, -0.2), (-0.5, -0.3)):
        out = values.reshape(64, 64, 1).copy()
        upsampling.apply(constant(slope, offset, 1), out.copy(), mask, out, box, 1, light=True)
        result = out.reshape(-1)
        steps = np.diff(result)
        assert np.isfinite(result).all() and steps.min() > -1e-6 and (steps[values[1:] > 1] > 0).all()
        above = np.sqrt(values[values > 1]) + slope + offset
        np.testing.assert_allclose(result[values > 1], np.maximum(above, 0) ** 2, rtol=1e-4, atol=1e-5)


def test_a_sixteen_bit_gradient_keeps_its_steps() -> None:
    """Banding would merge steps: a contrast of 1.3 must leave every one of them distinct."""
    ramp = np.arange(16000, 16000 + 24000, dtype=np.uint16).reshape(100, 240)
    image, mask = np.repeat(ramp[..., None], 3, axis=2), np.ones((100, 240), bool)
    out = image.copy()
    upsampling.apply(constant(0.3, -0.05), image, mask, out, Box(0, 0, 240, 100), 1)
    result = out[..., 0].reshape(-1)
    assert len(np.unique(result)) == 24000
    assert (np.diff(result.astype(int)) >= 1).all() and np.diff(result.astype(int)).max() <= 2


def test_memory_does_not_grow_with_the_height() -> None:
    def peak(height: int) -> int:
        image, mask = np.zeros((height, 3000, 3), np.uint8), np.ones((height, 3000), np.uint8)
        out = image.copy()
        tracemalloc.start()
        try:
            reduce_area(image, SIZE)
            upsampling.apply(constant(0.1, 0), image, mask, out, Box(0, 0, 3000, height), 1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(2048) < 12e6  # the image has 18 MB
    # Reduction holds the rows of one cell; the application a strip of fixed size.
    assert peak(2048) < peak(1024) + 2048 / SIZE * 3000 * 3 * 4


def test_absent_cells_of_any_size_take_their_surroundings() -> None:
    for side in (11, 44, 352):  # halved to an odd number of cells
        coverage = np.zeros((side, side, 1), np.float32)
        coverage[0, :3] = 0.5
        colours = np.broadcast_to(np.float32([0.2, 0.4, 0.6]), (side, side, 3))
        np.testing.assert_allclose(fill_absent(colours * coverage, coverage), colours, atol=1e-5)


def test_alpha_weighs_the_colours_of_a_cell() -> None:
    for dtype in ("uint8", "uint16", "float32"):
        scale = upsampling.full_scale(np.dtype(dtype))
        image = (rng().random((64, 64, 4)) * scale).astype(dtype)
        values = image / scale
        values[..., :3] *= values[..., 3:]
        expected = values.reshape(32, 2, 32, 2, 4).mean((1, 3))
        np.testing.assert_allclose(reduce_area(image, SIZE, premultiply=True), expected, atol=2e-6)


def test_the_ridge_goes_by_brightness() -> None:
    """A dark texture and a bright one that is as strong for its brightness keep the same share of their slopes."""
    half = rng().normal(0, 0.01, (SIZE // 2, SIZE, 1)).astype(np.float32)
    texture = np.concatenate([half, half])
    mask, shares = np.ones((SIZE, SIZE), np.float32), []
    for light in (0.0, 0.9):
        scale = np.float32(light + 0.1)
        guide = np.float32(light) + scale * texture
        change = np.where(np.arange(SIZE)[:, None, None] < 16, 1, -1) * scale * texture
        shares.append(np.abs(fit(guide, mask, change).slope[[5, 26], 5]).mean())
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_near_is_as_far_as_the_windows_reach() -> None:
    mask = np.zeros((SIZE, SIZE), np.float32)
    assert upsampling.box_near(mask) is None
    mask[10, 20] = 0.1
    reach = upsampling.WINDOW
    assert upsampling.box_near(mask) == (slice(10 - reach, 11 + reach), slice(20 - reach, 21 + reach))
