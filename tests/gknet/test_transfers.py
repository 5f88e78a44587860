"""Every colour change does what its definition says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gknet.data import transfers
from gknet.data.transfers import STATISTICS_TRANSFERS, match_histogram, photographic


def clouds(seed: int = 0, b: int = 3) -> tuple[Tensor, Tensor]:
    """Two correlated colour clouds a picture, well inside 0..1."""
    g = torch.Generator().manual_seed(seed)

    def cloud() -> Tensor:
        mix = torch.randn(b, 3, 3, generator=g) * 0.05 + 0.04
        thickness = 0.02 * torch.randn(b, 400, 3, generator=g)  # transfers are regularised where a cloud is flat
        centre = 0.35 + 0.3 * torch.rand(b, 1, 3, generator=g)
        return (torch.randn(b, 400, 3, generator=g) @ mix + thickness + centre).clamp(0.05, 0.95)

    return cloud(), cloud()


def covariance(x: Tensor) -> Tensor:
    return torch.stack([torch.cov(picture.T) for picture in x])


@pytest.mark.parametrize("name", STATISTICS_TRANSFERS)
def test_a_region_carried_onto_itself_stays(name: str) -> None:
    source, _ = clouds()
    moved = STATISTICS_TRANSFERS[name](source, source, source)
    assert float((moved - source).abs().max()) < 5e-3


@pytest.mark.parametrize("name", sorted(STATISTICS_TRANSFERS.keys() - {"reinhard"}))  # whose means arrive in logarithms
def test_the_mean_arrives(name: str) -> None:
    source, reference = clouds()
    moved = STATISTICS_TRANSFERS[name](source, reference, source)
    torch.testing.assert_close(moved.mean(1), reference.mean(1), atol=0.015, rtol=0)


@pytest.mark.parametrize("name", STATISTICS_TRANSFERS)
def test_pictures_of_a_batch_do_not_meet_and_pixels_are_mapped_alone(name: str) -> None:
    source, reference = clouds()
    transfer = STATISTICS_TRANSFERS[name]
    together = transfer(source, reference, source)
    torch.testing.assert_close(
        transfer(source[1:2], reference[1:2], source[1:2, 7:8]), together[1:2, 7:8], atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("transfer", [transfers.covariance, transfers.monge_kantorovich])
def test_the_covariance_arrives(transfer: transfers.Transfer) -> None:
    source, reference = clouds()
    moved = transfer(source, reference, source)
    torch.testing.assert_close(covariance(moved), covariance(reference), atol=3e-4, rtol=0.02)


def test_monge_kantorovich_is_the_gradient_of_a_convex_function() -> None:
    """Of all maps that carry the covariance over, optimal transport is the one with a symmetric, positive matrix."""
    source, reference = clouds()
    origin = source.mean(1, keepdim=True)
    steps = torch.cat([origin, origin + torch.eye(3)[None]], 1)
    moved = transfers.monge_kantorovich(source, reference, steps)
    matrix = moved[:, 1:] - moved[:, :1]
    torch.testing.assert_close(matrix, matrix.mT, atol=1e-4, rtol=1e-3)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_reinhard_sets_mean_and_deviation_in_log_lms() -> None:
    source, reference = clouds()
    moved = transfers.reinhard(source, reference, source)

    def log_lms(x: Tensor) -> Tensor:
        return (x @ transfers._TO_LMS.T).log10()

    torch.testing.assert_close(log_lms(moved).mean(1), log_lms(reference).mean(1), atol=2e-3, rtol=0)
    deviations = [(log_lms(x) @ transfers._LMS_TO_LAB.T).std(1) for x in (moved, reference)]
    torch.testing.assert_close(*deviations, rtol=0.02, atol=0)


def test_histograms_are_matched_quantile_by_quantile() -> None:
    g = torch.Generator().manual_seed(0)
    source = torch.rand(2, 500, generator=g)
    reference = torch.rand(2, 500, generator=g) ** 2 * 0.5 + 0.2
    moved = match_histogram(source, reference, source)
    at = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    torch.testing.assert_close(moved.quantile(at, 1), reference.quantile(at, 1), atol=0.02, rtol=0)
    order = source.argsort(1)
    assert bool((moved.gather(1, order).diff(dim=1) >= -1e-6).all()), "a histogram match never reorders"


def test_iterative_transfer_carries_the_whole_distribution() -> None:
    source, reference = clouds()
    moved = transfers.iterative(source, reference, source)
    direction = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0)  # none of the transfer's own axes
    at = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    gap = ((moved @ direction).quantile(at, 1) - (reference @ direction).quantile(at, 1)).abs().max()
    before = ((source @ direction).quantile(at, 1) - (reference @ direction).quantile(at, 1)).abs().max()
    assert float(gap) < 0.02 < float(before)


def move(**values: float) -> Tensor:
    names = ["exposure", "warmth", "tint", "contrast", "shadows", "saturation", "hue"]
    return torch.tensor([[values.get(name, 0.0) for name in names]])


def test_no_move_is_no_change() -> None:
    source, _ = clouds(b=1)
    torch.testing.assert_close(photographic(move(), source), source, atol=1e-4, rtol=0)


def test_one_stop_doubles_the_light() -> None:
    pixels = torch.full((1, 1, 3), 0.3)
    linear = transfers.srgb_to_linear(pixels)
    torch.testing.assert_close(
        transfers.srgb_to_linear(photographic(move(exposure=1), pixels)), 2 * linear, rtol=1e-3, atol=0
    )


def test_each_move_moves_what_it_is_named_after() -> None:
    grey, blue = torch.full((1, 1, 3), 0.5), torch.tensor([[[0.2, 0.3, 0.6]]])
    r, g, b = photographic(move(warmth=0.1), grey)[0, 0].tolist()
    assert r > 0.5 > b and g == pytest.approx(0.5, abs=0.01)
    r, g, b = photographic(move(tint=0.1), grey)[0, 0].tolist()
    assert g > r and g > b
    ends = photographic(move(contrast=0.5), torch.tensor([[[0.3] * 3, [0.5] * 3, [0.7] * 3]]))[0, :, 0]
    assert ends[0] < 0.3 and ends[1] == pytest.approx(0.5, abs=1e-3) and ends[2] > 0.7
    assert float(photographic(move(shadows=0.3), grey)[0, 0, 0]) < 0.5
    dull = photographic(move(saturation=-20.0), blue)[0, 0]
    assert float(dull.max() - dull.min()) < 1e-3
    assert float(transfers.luma(dull)) == pytest.approx(float(transfers.luma(blue)[0, 0]), abs=1e-3)
    around = photographic(move(hue=2 * math.pi), blue)
    torch.testing.assert_close(around, blue, atol=1e-3, rtol=0)
    r, g, b = photographic(move(hue=0.5), blue)[0, 0].tolist()
    assert r > 0.25 and g < 0.29  # blue turns toward purple
