"""Eq. 7 against loops."""

from __future__ import annotations

import pytest
import torch

from gknet.losses import A_MIN, foreground_mse


def literal(harmonized: torch.Tensor, real: torch.Tensor, mask: torch.Tensor, a_min: float) -> float:
    total = 0.0
    for h, i, m in zip(harmonized, real, mask, strict=True):
        squares = sum(
            float(((h[:, y, x] - i[:, y, x]) ** 2).sum()) for y in range(h.shape[1]) for x in range(h.shape[2])
        )
        total += squares / max(a_min, float(m.sum()))
    return total / len(harmonized)


@pytest.mark.parametrize("side, a_min", [(16, 100 / 256), (32, 100 / 64)])
@pytest.mark.parametrize("foreground", [0, 1, 60])
def test_equals_eq_7_with_a_min_scaled_by_area(side: int, a_min: float, foreground: int) -> None:
    torch.manual_seed(side)
    harmonized, real = torch.rand(2, 3, side, side), torch.rand(2, 3, side, side)
    mask = torch.zeros(2, 1, side, side)
    mask.view(2, -1)[:, :foreground] = 1
    loss = float(foreground_mse(harmonized, real, mask))
    assert loss == pytest.approx(literal(harmonized, real, mask, a_min), rel=1e-5)


def test_a_min_is_100_pixels_at_256() -> None:
    harmonized, real, mask = torch.ones(1, 3, 256, 256), torch.zeros(1, 3, 256, 256), torch.zeros(1, 1, 256, 256)
    mask[..., :10, :10] = 1  # exactly 100
    exact = float(foreground_mse(harmonized, real, mask))
    mask[..., 0, 0] = 0  # 99: the floor holds
    assert A_MIN == 100 and float(foreground_mse(harmonized, real, mask)) == exact == pytest.approx(3 * 65536 / 100)
    mask[..., 20:, :] = 1
    assert float(foreground_mse(harmonized, real, mask)) < exact


def test_the_floor_goes_by_the_area_of_pictures_that_are_not_square() -> None:
    mask = torch.zeros(1, 1, 16, 64)
    mask[..., 0, 0] = 1
    harmonized, real = torch.ones(1, 3, 16, 64), torch.zeros(1, 3, 16, 64)
    assert float(foreground_mse(harmonized, real, mask)) == pytest.approx(literal(harmonized, real, mask, 100 / 64))
