from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gknet import metrics

Image = npt.NDArray[np.uint8]
IMAGES = arrays(np.uint8, (3, 4, 3))
MASKS = arrays(np.bool_, (3, 4))


def slow(image: Image, real: Image, mask: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(MSE, fMSE) by the letter: loops over pixels and channels in Python integers."""
    total = inside = area = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            error = sum((int(image[y, x, c]) - int(real[y, x, c])) ** 2 for c in range(3))
            total += error
            if mask[y, x]:
                inside += error
                area += 1
    return total / (3 * image.shape[0] * image.shape[1]), inside / (3 * area) if area else 0.0


@given(IMAGES, IMAGES, MASKS)
def test_equal_the_loops(image: Image, real: Image, mask: npt.NDArray[np.bool_]) -> None:
    mse, fmse = slow(image, real, mask)
    assert float(metrics.mse(image, real)) == pytest.approx(mse, rel=1e-12)
    assert float(metrics.fmse(image, real, mask)) == pytest.approx(fmse, rel=1e-12)
    if mse:
        assert float(metrics.psnr(image, real)) == pytest.approx(10 * math.log10(255**2 / mse), rel=1e-12)


@given(IMAGES, st.integers(0, 11))
def test_a_change_of_the_foreground_alone_scales_with_its_share(image: Image, count: int) -> None:
    mask = np.arange(12).reshape(3, 4) < count
    other = np.where(mask[..., None], 255 - image, image)
    share = float(metrics.foreground_ratio(mask))
    assert share == count / 12
    assert float(metrics.mse(other, image)) == pytest.approx(share * float(metrics.fmse(other, image, mask)))


def test_known_figures() -> None:
    real = np.full((5, 7, 3), 100, np.uint8)
    assert float(metrics.mse(real + np.uint8(10), real)) == 100
    assert float(metrics.psnr(real + np.uint8(10), real)) == pytest.approx(28.1308, abs=1e-4)
    # unsigned bytes must not wrap round
    assert float(metrics.mse(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8))) == 255**2


def test_a_batch_gives_one_figure_an_image_also_from_tensors() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, 2, 3, 6, 5, 3), np.uint8)
    mask = rng.random((2, 3, 6, 5)) < 0.4
    batch = [metrics.mse(a, b), metrics.psnr(a, b), metrics.fmse(a, b, mask), metrics.foreground_ratio(mask)]
    tensors = [
        metrics.mse(torch.tensor(a), torch.tensor(b)),
        metrics.psnr(torch.tensor(a), torch.tensor(b)),
        metrics.fmse(torch.tensor(a), torch.tensor(b), torch.tensor(mask)),
        metrics.foreground_ratio(torch.tensor(mask)),
    ]
    single = [metrics.mse(a[1, 2], b[1, 2]), metrics.psnr(a[1, 2], b[1, 2]), metrics.fmse(a[1, 2], b[1, 2], mask[1, 2])]
    for of_batch, of_tensors in zip(batch, tensors, strict=True):
        assert of_batch.shape == (2, 3)
        np.testing.assert_array_equal(of_batch, of_tensors)
    for of_batch, of_one in zip(batch, single, strict=False):
        assert of_batch[1, 2] == of_one


def test_psnr_is_capped_only_for_the_perfect() -> None:
    real = np.zeros((256, 256, 3), np.uint8)
    assert float(metrics.psnr(real, real)) == metrics.PSNR_CAP
    nearly = real.copy()
    nearly[0, 0, :2] = 1
    assert float(metrics.psnr(nearly, real)) == pytest.approx(10 * math.log10(255**2 * 256 * 256 * 3 / 2))


def test_an_empty_foreground_has_no_error() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert float(metrics.fmse(black, white, np.zeros((4, 4), bool))) == 0


def test_shapes_that_do_not_fit() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match="images must both be"):
        metrics.mse(image, image[:, :5])
    with pytest.raises(ValueError, match="images must both be"):
        metrics.mse(image[..., 0], image[..., 0])
    with pytest.raises(ValueError, match="the mask must be"):
        metrics.fmse(image, image, np.zeros((6, 4), bool))
