"""JPEG compression on the training device (ITU-T T.81 with libjpeg's tables): what a composite loses when it is saved.

Entropy coding loses nothing and is left out.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gknet.data.transfers import TO_YCC

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""T.81, table K.1."""
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""T.81, table K.2."""


def _dct() -> Tensor:
    """The orthonormal DCT-II of eight values (T.81, A.3.3)."""
    at = torch.arange(8.0)
    matrix = torch.cos((2 * at + 1) * at[:, None] * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


_DCT = _dct()


def _steps(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """libjpeg's quantisation steps at qualities [B] of 1..100: [B, 1, 1, 8, 8]."""
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()
    base = torch.tensor(table, dtype=torch.float32, device=quality.device)
    steps: Tensor = ((base * scale[:, None, None] + 50) / 100).floor().clamp(1, 255)
    return steps[:, None, None]


def _quantise(plane: Tensor, steps: Tensor) -> Tensor:
    """Planes [B, H, W] in -128..127 through the quantised DCT of their 8x8 blocks; a partial block repeats its edge."""
    height, width = plane.shape[1:]
    plane = F.pad(plane[:, None], (0, -width % 8, 0, -height % 8), mode="replicate")[:, 0]
    blocks = plane.unflatten(2, (-1, 8)).unflatten(1, (-1, 8)).transpose(2, 3)  # [B, H / 8, W / 8, 8, 8]
    dct = _DCT.to(plane)
    coefficients = (dct @ blocks @ dct.T / steps).round() * steps
    back: Tensor = dct.T @ coefficients @ dct
    return back.transpose(2, 3).flatten(3).flatten(1, 2)[:, :height, :width]


def compress(pictures: Tensor, quality: Tensor, subsample: Tensor) -> Tensor:
    """Pictures as they come back from a JPEG file.

    Args:
        pictures: [B, 3, H, W], sRGB 0..1, float32; H and W even.
        quality: [B], libjpeg's, 1..100.
        subsample: [B], bool: chroma at half the resolution (4:2:0, most programs' default), else at full (4:4:4).

    Returns:
        [B, 3, H, W], of 8-bit values in 0..1. Within a grey level of libjpeg's, which calculates in integers, on the
        average of a picture.
    """
    pixels = (pictures * 255).round().permute(0, 2, 3, 1)
    luma, blue, red = (pixels @ TO_YCC.to(pixels).T).round().unbind(-1)  # chroma about zero, luma not
    luma = _quantise(luma - 128, _steps(_LUMA, quality)) + 128
    steps = _steps(_CHROMA, quality)
    full = torch.stack([blue, red], 1)
    chroma = torch.empty_like(full)
    for halved in (False, True):
        rows = (subsample == halved).nonzero()[:, 0]
        if not len(rows):
            continue
        plane = F.avg_pool2d(full[rows], 2).round() if halved else full[rows]
        table = steps[rows].repeat_interleave(2, 0)
        plane = _quantise(plane.flatten(0, 1), table).round().clamp(-128, 127).unflatten(0, (-1, 2))
        # libjpeg's "fancy upsampling" is this triangle filter.
        chroma[rows] = F.interpolate(plane, scale_factor=2, mode="bilinear") if halved else plane
    out = torch.cat([luma.round().clamp(0, 255)[:, None], chroma], 1).permute(0, 2, 3, 1)
    back = torch.linalg.inv(TO_YCC).to(out)
    rgb: Tensor = (out @ back.T).round().clamp(0, 255) / 255
    return rgb.permute(0, 3, 1, 2)
