"""Eq. 5-6 against a plain loop, in float64, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gknet.modulation import modulate


def literal(features: Tensor, kernels: Tensor, n: int) -> Tensor:
    """Eq. 6 as it stands: out[p] = sum over q in the N x N neighbourhood of p of K_p[p - q] * F[q]."""
    b, c, h, w = features.shape
    k = kernels.view(b, c, n, n, h, w)
    r = n // 2
    out = torch.zeros_like(features)
    for image in range(b):
        for channel in range(c):
            for py in range(h):
                for px in range(w):
                    for qy in range(py - r, py + r + 1):
                        for qx in range(px - r, px + r + 1):
                            if 0 <= qy < h and 0 <= qx < w:
                                weight = k[image, channel, py - qy + r, px - qx + r, py, px]
                                out[image, channel, py, px] += weight * features[image, channel, qy, qx]
    return out


def random_pair(n: int, b: int, c: int, h: int, w: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n * 100 + h)
    features = torch.randn(b, c, h, w, generator=g, dtype=torch.float64)
    return features, torch.randn(b, c * n * n, h, w, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (3, 2, 8, 3)])
def test_equals_the_literal_loop(n: int, shape: tuple[int, int, int, int]) -> None:
    features, kernels = random_pair(n, *shape)
    torch.testing.assert_close(modulate(features, kernels), literal(features, kernels, n), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_gradients_equal_finite_differences_and_the_loops(n: int) -> None:
    features, kernels = (t.requires_grad_() for t in random_pair(n, 2, 2, 4, 5))
    assert torch.autograd.gradcheck(modulate, (features, kernels))
    seed = torch.randn_like(features)
    mine = torch.autograd.grad(modulate(features, kernels), (features, kernels), seed)
    loops = torch.autograd.grad(literal(features, kernels, n), (features, kernels), seed)
    for a, b in zip(mine, loops, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("needs", [(True, False), (False, True)])
def test_a_gradient_that_nobody_needs_is_not_computed(needs: tuple[bool, bool]) -> None:
    features, kernels = random_pair(3, 1, 2, 4, 4)
    inputs = [t.requires_grad_(need) for t, need in zip((features, kernels), needs, strict=True)]
    modulate(*inputs).sum().backward()
    assert [t.grad is not None for t in inputs] == list(needs)


def test_entry_0_0_weighs_the_neighbour_below_and_to_the_right() -> None:
    features = torch.arange(9.0).view(1, 1, 3, 3)
    kernels = torch.zeros(1, 9, 3, 3)
    kernels[:, 0] = 1
    assert modulate(features, kernels)[0, 0].tolist() == [[4, 5, 0], [7, 8, 0], [0, 0, 0]]


def test_memory_is_what_the_docstring_says() -> None:
    """Forward allocates its output and one padded copy; an unfolded tensor would be nine times as much."""
    features, kernels = torch.rand(1, 16, 64, 64), torch.rand(1, 16 * 9, 64, 64)
    with torch.profiler.profile(profile_memory=True) as profile:
        modulate(features, kernels)
    allocated = sum(max(event.cpu_memory_usage, 0) for event in profile.events() if not event.cpu_children)
    padded = 16 * 66 * 66 * 4
    assert allocated <= features.nbytes + padded + 4096


@pytest.mark.parametrize("shape", [(1, 2 * 4, 4, 4), (1, 2 * 9, 4, 5), (2, 2 * 9, 4, 4), (1, 2 * 9 + 1, 4, 4)])
def test_kernels_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit features"):
        modulate(torch.zeros(1, 2, 4, 4), torch.zeros(shape))
