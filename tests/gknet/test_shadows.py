"""Shadows below pastes: nothing but the background gets darker."""

from __future__ import annotations

import torch

from gknet.data.shadows import DOWN, GROUND, OPACITY, cast

SIDE = 64


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two dark composites, their light real images, and a square."""
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[..., 20:40, 24:40] = 1
    real = torch.full((2, 3, SIDE, SIDE), 0.8)
    return real - 0.3 * mask, real, mask


def random(**columns: float) -> torch.Tensor:
    """[2, 8]; unnamed: not moved aside, laid down by the most, black, half of the way, not in the mask."""
    usual = {"aside": 0.5, "down": 1.0, "ground": 1.0, "squeezed": 0.5, "opaque": 0.5, "dark": 1.0, "coloured": 1.0}
    return torch.tensor([*(usual | {"inside": 1.0} | columns).values()]).expand(2, -1)


def test_it_lies_below_the_foreground_and_darkens_both_alike() -> None:
    composite, real, mask = scene()
    shaded, target, same = cast(composite, real, mask, softness=1, random=random())
    object_ = (mask == 1).expand_as(real)
    assert torch.equal(same, mask)
    assert torch.equal(shaded[object_], composite[object_]) and torch.equal(target[object_], real[object_])
    assert torch.equal(shaded[~object_], target[~object_])
    shadow = 1 - target[0, 0] / 0.8
    assert abs(float(shadow.max()) - sum(OPACITY) / 2) < 1e-5
    down = round(DOWN[1] * SIDE)
    rows, columns = (shadow > 0.1).nonzero().T
    assert abs(int(rows.max()) - (39 + down)) <= 1 and 23 <= columns.min() <= 24 and 39 <= columns.max() <= 40


def test_one_that_was_cut_out_with_the_foreground_is_in_its_mask() -> None:
    composite, real, mask = scene()
    shaded, target, larger = cast(composite, real, mask, softness=2, random=random(inside=0.0))
    torch.testing.assert_close(larger - mask, 1 - target[:, :1] / 0.8)
    torch.testing.assert_close(shaded, torch.where(mask == 1, composite, 0.8 * (1 - larger)))


def test_on_the_ground_it_starts_at_the_foot() -> None:
    composite, real, mask = scene()
    _, target, _ = cast(composite, real, mask, softness=1, random=random(ground=GROUND / 2, aside=1.0, squeezed=0.0))
    rows, _ = (target[0, 0] < 0.75).nonzero().T
    assert 36 <= rows.min() and rows.max() <= 41  # 8 % of 20 rows, blurred
