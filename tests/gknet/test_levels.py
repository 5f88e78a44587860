"""Pictures of little contrast are shown to the network with more, and others as they are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gknet import Harmonizer
from gknet.levels import LEAST, MOST, levels
from gknet.perforated import Array
from tests.gknet.test_harmonizer import Affine, disc, harmonizer, picture
from tests.places import EXAMPLES

FLATTER = {"dark": (0.25, 0.0), "light": (0.25, 0.75), "fog": (0.4, 0.5), "dim": (0.5, 0.0)}
"""Contrast and brightness of a whole picture."""


def photo(name: str) -> Array:
    return np.asarray(Image.open(EXAMPLES / name))


@pytest.mark.parametrize("kind", FLATTER)
def test_a_flat_picture_is_stretched_and_comes_back(kind: str) -> None:
    gain, offset = FLATTER[kind]
    flat = (photo("coffee.jpg") / np.float32(255)).clip(0.02, 0.98) * np.float32(gain) + np.float32(offset)
    stretch = levels(flat)
    seen = stretch.stretched(flat)
    low, high = np.quantile(seen, [0.005, 0.995])
    assert high - low == pytest.approx(LEAST, abs=0.01)
    assert seen.min() >= 0 and seen.max() <= 1 and seen.dtype == np.float32
    inside = (seen > 0) & (seen < 1)
    np.testing.assert_allclose(stretch.back(seen)[inside], flat[inside], atol=1e-6)
    assert {"dark": low < 0.05, "dim": low < 0.05, "light": high > 0.75, "fog": low > 0.1}[kind]


def test_a_picture_of_one_colour_and_noise_stays_flat() -> None:
    noise = np.random.default_rng(0).normal(0.5, 0.01, (64, 64, 3)).astype(np.float32)
    stretch = levels(noise)
    assert 1 < stretch.gain <= MOST
    for colour in (0.0, 0.3, 1.0):
        plain = np.full((64, 64, 3), colour, np.float32)
        np.testing.assert_allclose(levels(plain).stretched(plain), colour, atol=1e-5)


def test_others_are_seen_as_they_are() -> None:
    network = Affine()
    image = picture(64, 64)
    image[::2, 0], image[1::2, 0] = 0, 255
    harmonizer(network)(image, disc(64, 64))
    assert network.composite is not None
    assert np.array_equal((network.composite[0].permute(1, 2, 0) * 255).round().numpy(), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("side", [64, 200])
def test_a_change_comes_back_as_much_smaller(side: int, dtype: str) -> None:
    """Of a picture of a quarter of the contrast, a change by 0.1 of what the network sees is one by less."""
    full = 1 if dtype == "float32" else np.iinfo(dtype).max
    image = (picture(side, side) / 255 / 4 * full).astype(dtype)
    network = Affine((1, 1, 1), (0.1, 0.1, 0.1))
    mask = disc(side, side)
    result = harmonizer(network)(image, mask)
    gain = levels(image / np.float32(full)).gain
    assert 2 < gain <= 4
    change = (result[mask].astype(float) - image[mask]) / full
    np.testing.assert_allclose(change.mean(), 0.1 / gain, rtol=0.12)
    assert np.array_equal(result[~mask], image[~mask])


@pytest.mark.parametrize("kind", FLATTER)
@pytest.mark.parametrize("pasted", [True, False])
def test_a_foreground_that_fits_is_changed_by_less(pasted: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Harmonizer.load(device="cpu")
    gain, offset = FLATTER[kind]
    flat = np.rint(photo("astronaut.jpg") * gain + offset * 255).astype(np.uint8)
    mask = photo("astronaut_mask.png")

    def change() -> float:
        return float(np.abs(np.asarray(loaded(flat, mask, pasted=pasted)).astype(int) - flat)[mask > 127].mean())

    stretched = change()
    monkeypatch.setattr("gknet.levels.LEAST", 0)
    assert stretched < 0.9 * change()
