"""What needs no learning: the untouched composite, and classical transfers of the background's colours to the object.

A baseline takes a composite (uint8 [H, W, 3], sRGB) and its mask (bool [H, W]) and gives the harmonized image (uint8
[H, W, 3]). Its background is the composite's, bit for bit; without foreground or background it is the composite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Colors = npt.NDArray[np.float64]
Baseline = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.bool_]], npt.NDArray[np.uint8]]

_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
_FLAT = 1e-6
"""Deviations at or below this are no spread but rounding: there is nothing to stretch."""


def composite(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The composite as it is: what every method must beat."""
    return image


def reinhard(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Mean and deviation in l-alpha-beta (Reinhard et al., "Color Transfer between Images", IEEE CG&A 2001)."""
    return _transfer(image, mask, match_deviations)


def mkl(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Mean and covariance in RGB by the linear Monge-Kantorovich map.

    Pitie & Kokaram, "The Linear Monge-Kantorovitch Linear Colour Mapping for Example-Based Colour Transfer", CVMP 2007.
    """
    return _transfer(image, mask, match_covariances)


BASELINES: dict[str, Baseline] = {"composite": composite, "reinhard": reinhard, "mkl": mkl}
"""Built-in methods by name."""


def _transfer(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], match: Callable[[Colors, Colors], Colors]
) -> npt.NDArray[np.uint8]:
    if mask.all() or not mask.any():
        return image
    matched = match(image[mask] / 255, image[~mask] / 255)
    result: npt.NDArray[np.uint8] = image.copy()
    result[mask] = np.rint(matched.clip(0, 1) * 255).astype(np.uint8)
    return result


def match_deviations(foreground: Colors, background: Colors) -> Colors:
    """Give the foreground the background's mean and deviation in each channel of l-alpha-beta.

    A channel in which the foreground is constant has no deviation to scale: it is only shifted. The logarithm's
    argument has a floor of 1/255: the paper leaves black open.

    Args:
        foreground: sRGB 0..1, [N, 3], N > 0.
        background: sRGB 0..1, [M, 3], M > 0.

    Returns:
        [N, 3], not clamped.
    """
    f, b = _to_lab(foreground), _to_lab(background)
    spread = f.std(0)
    gain = np.divide(b.std(0), spread, out=np.ones(3), where=spread > _FLAT)
    return _from_lab((f - f.mean(0)) * gain + b.mean(0))


def _to_lab(rgb: Colors) -> Colors:
    lms: Colors = rgb @ _LMS.T
    return np.asarray(np.log10(np.maximum(lms, 1 / 255)) @ _LAB.T)


def _from_lab(lab: Colors) -> Colors:
    # 10^3 is far beyond white, and keeps a wild extrapolation finite.
    lms = 10 ** np.minimum(lab @ np.linalg.inv(_LAB).T, 3.0)
    return np.asarray(lms @ np.linalg.inv(_LMS).T)


def match_covariances(foreground: Colors, background: Colors) -> Colors:
    """Give the foreground the background's mean and RGB covariance, moving its colours as little as any map can.

    ``T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2`` with A the foreground's covariance, B the background's. T is the only
    symmetric positive map with T A T = B. Directions in which the foreground has no spread get none.

    Args:
        foreground: RGB 0..1, [N, 3], N > 0.
        background: RGB 0..1, [M, 3], M > 0.

    Returns:
        [N, 3], not clamped.
    """
    covariance = _covariance(foreground)
    # Eigenvalues that are zero but for rounding are zero in the root and, as in a pseudo-inverse, in its inverse.
    root, inverse = _power(covariance, 0.5, _FLAT**2), _power(covariance, -0.5, _FLAT**2)
    t = inverse @ _power(root @ _covariance(background) @ root, 0.5, 0.0) @ inverse
    return np.asarray((foreground - foreground.mean(0)) @ t + background.mean(0))


def _covariance(colors: Colors) -> Colors:
    centred = colors - colors.mean(0)
    return np.asarray(centred.T @ centred / len(colors))


def _power(matrix: Colors, exponent: float, floor: float) -> Colors:
    """Power of a symmetric matrix >= 0, in which eigenvalues up to ``floor`` give zero."""
    values, axes = np.linalg.eigh(matrix)
    powers = np.power(values, exponent, out=np.zeros(3), where=values > floor)
    return np.asarray((axes * powers) @ axes.T)
