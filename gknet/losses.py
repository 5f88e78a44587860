"""The foreground-normalised MSE, the only loss (paper eq. 7)."""

from __future__ import annotations

from torch import Tensor

REFERENCE_AREA = 256 * 256
A_MIN = 100.0
"""The paper's floor for the foreground's area, in pixels of a 256x256 picture."""


def foreground_mse(harmonized: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    """``sum_{h,w} ||I_h - I||^2 / max(A_min, sum_{h,w} M)`` (eq. 7), averaged over the batch.

    ``A_min`` keeps tiny foregrounds from dominating. It is a number of pixels, so it scales with the picture's area:
    100 at 256x256, 25 at 128x128. The loss then means the same at every training resolution.

    Args:
        harmonized: ``I_h``, [B, 3, H, W], 0..1.
        real: ``I``, the target, [B, 3, H, W].
        mask: ``M``, [B, 1, H, W], 0..1.

    Returns:
        A scalar: squared error summed over the three channels, per foreground pixel.
    """
    error = ((harmonized.float() - real.float()) ** 2).sum((1, 2, 3))
    floor = A_MIN * mask.shape[-2] * mask.shape[-1] / REFERENCE_AREA
    return (error / mask.float().sum((1, 2, 3)).clamp_min(floor)).mean()
