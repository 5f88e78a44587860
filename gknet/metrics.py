"""The field's metrics: MSE, fMSE and PSNR on the 0..255 scale (paper sec. 4.1).

Every function takes one image [H, W, C] or a batch [..., H, W, C], channels last, as a numpy array or a torch tensor on
the CPU, of any real dtype with values 0..255, and gives float64 [...]: one figure an image. Convention: whole image
(the background is judged as it is, not copied from the real photo), peak 255. Means over a data set are means of these
figures over its images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PSNR_CAP = 100.0
"""PSNR of identical images, dB: infinity would make every mean infinite. One sample of a 256x256 image that is off by
one level already means 101 dB, so the cap lowers nothing that is further from perfect than that."""

Figures = npt.NDArray[np.float64]


def squared_error(image: npt.ArrayLike, real: npt.ArrayLike) -> Figures:
    """Squared error of every sample, same shape as both inputs.

    Raises:
        ValueError: the shapes differ or are not [..., H, W, C].
    """
    a, b = np.asarray(image, np.float64), np.asarray(real, np.float64)
    if a.shape != b.shape or a.ndim < 3:
        raise ValueError(f"images must both be [..., H, W, C], not {a.shape} and {b.shape}")
    return (a - b) ** 2


def mse(image: npt.ArrayLike, real: npt.ArrayLike) -> Figures:
    """Mean squared error over all pixels and channels, [..., H, W, C] x 2 -> [...]."""
    return np.asarray(squared_error(image, real).mean((-3, -2, -1)))


def fmse(image: npt.ArrayLike, real: npt.ArrayLike, mask: npt.ArrayLike) -> Figures:
    """Squared error summed over the foreground, divided by the foreground's size, mean over channels.

    Args:
        image: [..., H, W, C].
        real: [..., H, W, C].
        mask: [..., H, W], bool or 0/1. Where it is empty there is no foreground to be wrong: 0.

    Raises:
        ValueError: the shapes do not fit.
    """
    error = squared_error(image, real).mean(-1)
    foreground = np.asarray(mask, bool)
    if foreground.shape != error.shape:
        raise ValueError(f"the mask must be [..., H, W] = {error.shape}, not {foreground.shape}")
    size = foreground.sum((-2, -1))
    return np.asarray((error * foreground).sum((-2, -1)) / np.maximum(size, 1))


def psnr(image: npt.ArrayLike, real: npt.ArrayLike) -> Figures:
    """``10 log10(255^2 / MSE)``, dB, at most :data:`PSNR_CAP`; [..., H, W, C] x 2 -> [...]."""
    floor = 255**2 / 10 ** (PSNR_CAP / 10)
    return np.asarray(10 * np.log10(255**2 / np.maximum(mse(image, real), floor)))


def foreground_ratio(mask: npt.ArrayLike) -> Figures:
    """Share of foreground pixels, 0..1; mask [..., H, W], bool or 0/1 -> [...]."""
    return np.asarray(np.asarray(mask, bool).mean((-2, -1)))
