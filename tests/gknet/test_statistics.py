"""The statistics that the LRE is handed, against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gknet.statistics import (
    BINS,
    COLOR_STATISTICS,
    StatisticsPath,
    color_statistics,
    detail_numbers,
    detail_statistics,
    masked_means,
)
from gknet.tone import BASIS, COEFFICIENTS, change


def test_masked_means() -> None:
    torch.manual_seed(0)
    features, mask = torch.randn(2, 5, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    means = masked_means(features, torch.cat([mask, 1 - mask], 1))
    for image in range(2):
        for region in range(2):
            chosen = features[image][:, mask[image, 0] == 1 - region]
            torch.testing.assert_close(means[image, region], chosen.mean(1), rtol=1e-3, atol=1e-3)


def test_color_statistics_are_means_deviations_and_histograms() -> None:
    torch.manual_seed(0)
    composite, mask = torch.rand(1, 3, 32, 32), (torch.rand(1, 1, 32, 32) > 0.7).float()
    numbers = color_statistics(composite, mask)[0].numpy()
    assert numbers.shape == (COLOR_STATISTICS,)
    np.testing.assert_allclose(numbers[0], mask.mean(), rtol=1e-5)
    red = composite[0, 0][mask[0, 0] > 0].numpy()
    np.testing.assert_allclose(numbers[1] / 4 + 0.5, red.mean(), rtol=1e-3)
    np.testing.assert_allclose((numbers[7] + 1) / 8, red.std(), rtol=1e-2)
    histogram = np.zeros(BINS)
    for value in red:
        place = value * (BINS - 1)
        for i in range(BINS):
            histogram[i] += max(0.0, 1 - abs(place - i)) / len(red)
    np.testing.assert_allclose((numbers[13 : 13 + BINS] / 2) ** 2, histogram, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("bins", [0, 3])
def test_the_path_tells_foreground_from_background(bins: int) -> None:
    torch.manual_seed(0)
    path = StatisticsPath((4, 8), hidden=32, bins=bins, remember=False)
    composite = torch.rand(1, 3, 32, 32)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    features = [torch.randn(1, 4, 4, 4), torch.randn(1, 8, 8, 8)]
    out = path(composite, mask, features)
    assert out.shape == (1, 32)
    assert not torch.allclose(out, path(composite, 1 - mask, features))


def halves(contrast: float, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey noise, its left half (the foreground) of ``contrast`` times the right half's."""
    torch.manual_seed(0)
    noise = torch.randn(1, 1, size, size).expand(-1, 3, -1, -1) * 0.05
    mask = torch.zeros(1, 1, size, size)
    mask[..., : size // 2] = 1
    return 0.5 + noise * torch.where(mask > 0, contrast, 1.0), mask


def test_detail_statistics_see_contrast_and_nothing_of_the_other_region() -> None:
    numbers = 6 * 3  # the first of the detail: log deviations and correlations, after both regions' colours
    (plain, mask), (flat, _) = halves(1.0), halves(0.25)
    a, b = (detail_statistics(x, mask, 5)[0, numbers:] for x in (plain, flat))
    assert a.shape == (detail_numbers(5) - numbers,)
    torch.testing.assert_close(a[:3] - b[:3], torch.full((3,), 4.0).log(), atol=0.02, rtol=0)  # foreground
    torch.testing.assert_close(a[6:12], b[6:12])  # background
    torch.testing.assert_close(a[3:6], torch.ones(3), atol=0.02, rtol=0)  # grey: the channels go together


def test_detail_statistics_are_the_numbers_of_numpy() -> None:
    torch.manual_seed(1)
    picture = torch.rand(1, 3, 32, 32)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 4:20, 6:28] = 1
    x = picture[0].double().numpy()
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    detail = (x - windows.mean((3, 4)))[:, 5:19, 7:27]  # a pixel away from the mask's edge
    area = detail[0].size
    variance = (detail**2).sum((1, 2)) / (area + 1) + 4e-6
    product = (detail * np.roll(detail, -1, 0)).sum((1, 2)) / (area + 1)
    expected = np.concatenate([0.5 * np.log(variance) + 3.5, product / np.sqrt(variance * np.roll(variance, -1))])
    np.testing.assert_allclose(detail_statistics(picture, mask, 5)[0, 18:24].numpy(), expected, rtol=1e-3, atol=1e-4)


def test_of_flat_colours_rounding_tells_nothing() -> None:
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 60:180, 60:180] = 1
    inside, outside = (torch.tensor(colour)[None, :, None, None] for colour in ((0.37, 0.52, 0.71), (0.61, 0.43, 0.27)))
    colours = detail_statistics(torch.where(mask > 0, inside, outside), mask, 5)[0, :18].view(2, 9)
    torch.testing.assert_close(colours[:, 3:6], torch.full((2, 3), 0.5 * math.log(4e-6) + 3.5), atol=0.01, rtol=0)
    torch.testing.assert_close(colours[:, 6:], torch.zeros(2, 3), atol=0.01, rtol=0)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_statistics_of_an_empty_region_are_finite(fill: float) -> None:
    for picture in (torch.rand(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)):
        assert bool(detail_statistics(picture, torch.full((1, 1, 32, 32), fill), 5).isfinite().all())


def test_tone_change_is_a_polynomial_of_the_pixel() -> None:
    torch.manual_seed(0)
    composite, coefficients = torch.rand(1, 3, 8, 8), torch.randn(1, COEFFICIENTS, 8, 8)
    out = change(composite, coefficients)
    x = composite[0, :, 3, 5] - 0.5
    basis = torch.cat([torch.ones(1), x, x**2])
    for c in range(3):
        expected = sum(coefficients[0, c * BASIS + k, 3, 5] * basis[k] for k in range(BASIS))
        torch.testing.assert_close(out[0, c, 3, 5], expected)


def test_coarse_coefficients_are_grown_and_zero_changes_nothing() -> None:
    composite = torch.rand(1, 3, 16, 16)
    flat = torch.randn(1, COEFFICIENTS, 1, 1)
    # One set for all pixels takes a shorter way to the same change.
    torch.testing.assert_close(change(composite, flat), change(composite, flat.expand(-1, -1, 16, 16)))
    assert not change(composite, torch.zeros(1, COEFFICIENTS, 4, 4)).any()


def test_color_statistics_of_each_channel_and_region_are_those_of_numpy() -> None:
    torch.manual_seed(0)
    composite, mask = torch.rand(1, 3, 32, 32), (torch.rand(1, 1, 32, 32) > 0.7).float()
    numbers = color_statistics(composite, mask)[0, 1:].view(2, -1)
    r, g, b = composite[0].double().numpy()
    y = 0.299 * r + 0.587 * g + 0.114 * b
    for region, inside in zip(numbers, (mask[0, 0] > 0, mask[0, 0] == 0), strict=True):
        values = np.stack([c[inside.numpy()] for c in (r, g, b, y, (b - y) * 0.564 + 0.5, (r - y) * 0.713 + 0.5)])
        np.testing.assert_allclose(region[:6] / 4 + 0.5, values.mean(1), rtol=1e-3)
        np.testing.assert_allclose((region[6:12] + 1) / 8, values.std(1), rtol=1e-2)


def test_coarse_coefficients_lie_bilinearly_between_cells() -> None:
    torch.manual_seed(0)
    composite, coefficients = torch.rand(1, 3, 300, 400), torch.randn(1, COEFFICIENTS, 6, 8)  # more than one strip
    grown = torch.nn.functional.interpolate(coefficients, (300, 400), mode="bilinear")
    torch.testing.assert_close(change(composite, coefficients), change(composite, grown))
