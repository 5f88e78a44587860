"""The statistics that the LRE is handed, against numpy."""

from __future__ import annotations

import numpy as np
import torch

from gknet.statistics import BINS, COLOR_STATISTICS, StatisticsPath, color_statistics, masked_mean
from gknet.tone import BASIS, COEFFICIENTS, change


def test_masked_mean() -> None:
    torch.manual_seed(0)
    features, mask = torch.randn(2, 5, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    for image in range(2):
        chosen = features[image][:, mask[image, 0] > 0]
        torch.testing.assert_close(masked_mean(features, mask)[image], chosen.mean(1), rtol=1e-3, atol=1e-3)


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


def test_the_path_tells_foreground_from_background() -> None:
    torch.manual_seed(0)
    path = StatisticsPath((4, 8), hidden=32)
    composite = torch.rand(1, 3, 32, 32)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    features = [torch.randn(1, 4, 4, 4), torch.randn(1, 8, 8, 8)]
    out = path(composite, mask, features)
    assert out.shape == (1, 32)
    assert not torch.allclose(out, path(composite, 1 - mask, features))


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
    torch.testing.assert_close(change(composite, flat), change(composite, flat.expand(-1, -1, 16, 16)))
    assert not change(composite, torch.zeros(1, COEFFICIENTS, 4, 4)).any()
