"""The harmony kernel modulation operator, forward and backward (paper sec. 3.3, eq. 5-6)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def modulate(features: Tensor, kernels: Tensor) -> Tensor:
    """Apply one N x N kernel per pixel and channel: ``F_D (*) K`` of eq. 5.

    Eq. 6: ``out[p] = sum over q of K_p[p - q] * F[q]``. The kernel is indexed by ``p - q``, as in a true convolution:
    entry ``(i, j)`` of pixel p's kernel weighs the feature at ``q = p - (i - r, j - r)``, ``r = N // 2``; so entry
    ``(0, 0)`` weighs the neighbour BELOW and to the right. Features outside the picture count as zero.

    Args:
        features: decoder features ``F_D``, [B, C, H, W], floating point.
        kernels: harmony kernels ``K``, [B, C * N^2, H, W], same dtype, N odd; channel ``c * N^2 + i * N + j``.

    Returns:
        The modulated features, [B, C, H, W].

    Raises:
        ValueError: the shapes do not fit or N is not an odd whole number.

    Memory: no unfolded tensor. Forward keeps one padded copy of ``features`` beside its output; backward allocates the
    two gradients and again one padded copy.
    """
    b, c, h, w = features.shape
    taps = kernels.shape[1] // c
    n = round(taps**0.5)
    if kernels.shape != (b, c * n * n, h, w) or n % 2 == 0:
        raise ValueError(
            f"kernels of shape {tuple(kernels.shape)} do not fit features of shape {tuple(features.shape)}: "
            "give [B, C * N^2, H, W] with N odd"
        )
    out: Tensor = _Modulate.apply(  # type: ignore[no-untyped-call]
        features, kernels.view(b, c, n * n, h, w), n
    )
    return out


def _windows(padded: Tensor, n: int) -> list[Tensor]:
    """Views of the padded features, one a kernel entry: view ``i * n + j`` holds ``F[p - (i - r, j - r)]`` at p."""
    h, w = padded.shape[-2] - n + 1, padded.shape[-1] - n + 1
    return [padded[..., n - 1 - i : n - 1 - i + h, n - 1 - j : n - 1 - j + w] for i in range(n) for j in range(n)]


class _Modulate(torch.autograd.Function):
    """N^2 shifted multiply-adds. Autograd through the shifts would zero-fill the whole kernel gradient once a shift."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, kernels: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(features, kernels)
        ctx.n = n
        windows = _windows(F.pad(features, [n // 2] * 4), n)
        out = kernels[:, :, 0] * windows[0]
        for tap in range(1, n * n):
            out.addcmul_(kernels[:, :, tap], windows[tap])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, kernels = ctx.saved_tensors
        n, r = ctx.n, ctx.n // 2
        grad_features = grad_kernels = None
        if ctx.needs_input_grad[1]:
            grad_kernels = torch.empty_like(kernels)
            for tap, window in enumerate(_windows(F.pad(features, [r] * 4), n)):
                torch.mul(grad, window, out=grad_kernels[:, :, tap])
        if ctx.needs_input_grad[0]:
            h, w = grad.shape[-2:]
            padded = grad.new_zeros(*grad.shape[:2], h + 2 * r, w + 2 * r)
            for tap, window in enumerate(_windows(padded, n)):
                window.addcmul_(grad, kernels[:, :, tap])
            grad_features = padded[..., r : r + h, r : r + w].contiguous()
        return grad_features, grad_kernels, None
