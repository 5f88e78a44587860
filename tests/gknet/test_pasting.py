"""Pastes: the seam must not tell what the foreground was."""

from __future__ import annotations

import pytest
import torch

from gknet.data.pasting import paste
from gknet.layers import blur

RED, BLUE, GREEN = (torch.tensor(c)[:, None, None] for c in ((0.8, 0.2, 0.1), (0.1, 0.3, 0.9), (0.2, 0.7, 0.2)))


def disc(radius: float, side: int = 64) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((y - side / 2) ** 2 + (x - side / 2) ** 2 < radius**2).float()[None, None]


def changed_where_it_stands(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A red thing before a blue ground, as a lens draws it; and the thing turned green within its mask."""
    real = BLUE.lerp(RED, blur(blur(mask)))
    return real.lerp(GREEN, mask), real


@pytest.mark.parametrize("softness", [0, 2])
def test_nothing_of_the_foreground_as_it_was_is_left(softness: int) -> None:
    mask = disc(15)
    composite, real = changed_where_it_stands(mask)
    ring = (blur(mask, 2) > 0) & (mask == 0)
    assert (composite - BLUE).abs().amax(1, keepdim=True)[ring].max() > 0.1  # the rim that gives it away
    pasted, target, opacity = paste(composite, real, mask, margin=3, softness=softness)
    assert torch.allclose(pasted, BLUE.lerp(GREEN, opacity), atol=1e-5)
    assert torch.allclose(target, BLUE.lerp(RED, opacity), atol=1e-5)


def test_the_mask_is_soft_at_its_edge_only() -> None:
    mask = disc(15)
    hard, soft = (paste(*changed_where_it_stands(mask), mask, margin=2, softness=n)[2] for n in (0, 2))
    assert torch.equal(hard, mask)
    edge = (blur(mask, 2) > 0) & (blur(mask, 2) < 1)
    assert torch.equal(soft * ~edge, mask * ~edge)
    assert bool(((soft > 0) & (soft < 1)).any()) and soft.min() >= 0 and soft.max() <= 1


def test_where_nothing_is_pasted_composite_and_real_are_one() -> None:
    mask = disc(15)
    pasted, target, opacity = paste(*changed_where_it_stands(mask), mask, margin=4, softness=1)
    assert torch.equal(pasted * (opacity == 0), target * (opacity == 0))
    far = blur(mask, 9) == 0
    assert torch.equal(target * far, changed_where_it_stands(mask)[1] * far)


def test_what_fits_still_fits() -> None:
    mask = disc(15)
    _, real = changed_where_it_stands(mask)
    pasted, target, _ = paste(real, real, mask, margin=3, softness=1)
    assert torch.equal(pasted, target)


def test_what_is_too_thin_is_left_out() -> None:
    mask = disc(15)
    mask[..., 31:33, :] = 1  # a wire across the picture
    composite, real = changed_where_it_stands(mask)
    pasted, target, opacity = paste(composite, real, mask, margin=3, softness=0)
    assert opacity[..., 31:33, :4].max() == 0 and opacity[..., 31:33, 24:40].min() == 1
    assert torch.allclose(pasted[..., 31:33, :4], BLUE.expand(3, 2, 4)[None], atol=1e-5)
    assert torch.equal(pasted[..., :4], target[..., :4])


def test_pictures_do_not_mix() -> None:
    masks = torch.cat([disc(15), disc(9)])
    both = [torch.cat(x) for x in zip(*(changed_where_it_stands(m[None]) for m in masks), strict=True)]
    together = paste(*both, masks, margin=2, softness=1)
    for i in range(2):
        alone = paste(*(x[i : i + 1] for x in (*both, masks)), margin=2, softness=1)
        assert all(torch.equal(a[0], t[i]) for a, t in zip(alone, together, strict=True))
