"""Colour changes for random composites: statistics transfers from a reference region, and photographic moves.

Every transfer has the shape ``f(source, reference, pixels) -> pixels``: it is fitted on samples of the source region
[B, K, 3] and of the reference region [B, K, 3] and applied to any pixels [B, P, 3] of the same pictures. All are sRGB
0..1, float32, batched and on any device; results are not clamped.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Transfer = Callable[[Tensor, Tensor, Tensor], Tensor]

_LUMA = (0.299, 0.587, 0.114)
_TO_LMS = torch.tensor([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LMS_TO_LAB = (
    torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]]) / torch.tensor([[3.0], [6.0], [2.0]]).sqrt()
)
TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
"""R, G, B -> Y, Cb, Cr about zero (JFIF)."""


def _apply(matrix: Tensor, pixels: Tensor) -> Tensor:
    out: Tensor = pixels @ matrix.to(pixels).mT
    return out


def srgb_to_linear(x: Tensor) -> Tensor:
    """IEC 61966-2-1."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """IEC 61966-2-1."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(1e-8) ** (1 / 2.4) - 0.055)


def to_lab(pixels: Tensor) -> Tensor:
    """sRGB [..., 3] -> CIE L*a*b* (D65)."""
    matrix = pixels.new_tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    white = pixels.new_tensor([0.95047, 1.0, 1.08883])
    xyz = srgb_to_linear(pixels) @ matrix.T / white
    f = torch.where(xyz > 0.008856, xyz.clamp_min(1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def luma(pixels: Tensor) -> Tensor:
    """[..., 3] -> [...], Rec. 601."""
    return pixels @ pixels.new_tensor(_LUMA)


def reinhard(source: Tensor, reference: Tensor, pixels: Tensor) -> Tensor:
    """Mean and deviation in l-alpha-beta (Reinhard et al., 2001)."""

    def to_opponent(x: Tensor) -> Tensor:
        return _apply(_LMS_TO_LAB, _apply(_TO_LMS, x.clamp_min(1 / 255)).clamp_min(1e-4).log10())

    s, r = to_opponent(source), to_opponent(reference)
    gain = r.std(1, keepdim=True) / (s.std(1, keepdim=True) + 1e-4)
    lab = (to_opponent(pixels) - s.mean(1, keepdim=True)) * gain + r.mean(1, keepdim=True)
    return _apply(torch.linalg.inv(_TO_LMS), 10.0 ** _apply(torch.linalg.inv(_LMS_TO_LAB), lab).clamp(-6, 0.5))


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred.mT @ centred / (x.shape[1] - 1) + 3e-5 * torch.eye(3, device=x.device)


def _affine(source: Tensor, reference: Tensor, matrix: Tensor, pixels: Tensor) -> Tensor:
    return (pixels - source.mean(1, keepdim=True)) @ matrix.mT + reference.mean(1, keepdim=True)


def covariance(source: Tensor, reference: Tensor, pixels: Tensor) -> Tensor:
    """Mean and covariance in RGB by the axes of both clouds (Xiao & Ma, 2006)."""
    s_values, s_axes = torch.linalg.eigh(_covariance(source))
    r_values, r_axes = torch.linalg.eigh(_covariance(reference))
    # eigh leaves each axis' sign open: align the reference's axes with the source's, else the map mirrors colours.
    r_axes = r_axes * torch.where((s_axes * r_axes).sum(1, keepdim=True) < 0, -1.0, 1.0)
    gain = (r_values.clamp_min(0) / s_values.clamp_min(1e-6)).sqrt()
    return _affine(source, reference, r_axes * gain[:, None] @ s_axes.mT, pixels)


def _root(matrix: Tensor, power: float) -> Tensor:
    values, axes = torch.linalg.eigh(matrix)
    root: Tensor = axes * values.clamp_min(1e-10)[:, None] ** power @ axes.mT
    return root


def monge_kantorovich(source: Tensor, reference: Tensor, pixels: Tensor) -> Tensor:
    """The linear Monge-Kantorovich map between both clouds in RGB (Pitie & Kokaram, 2007)."""
    s = _covariance(source)
    s_root, s_inverse = _root(s, 0.5), _root(s, -0.5)
    matrix = s_inverse @ _root(s_root @ _covariance(reference) @ s_root, 0.5) @ s_inverse
    return _affine(source, reference, matrix, pixels)


_KNOTS = 128


def match_histogram(source: Tensor, reference: Tensor, values: Tensor) -> Tensor:
    """One-dimensional optimal transport: quantiles of ``source`` [B, K] onto those of ``reference``, for values [B, P].

    Piecewise linear between quantiles; nothing gets beyond the reference's ends.
    """
    at = torch.linspace(0, 1, _KNOTS, device=source.device)
    s = source.sort(1).values[:, (at * (source.shape[1] - 1)).round().long()].contiguous()
    r = reference.sort(1).values[:, (at * (reference.shape[1] - 1)).round().long()].contiguous()
    s = s + torch.arange(_KNOTS, device=s.device) * 1e-5  # strictly growing
    cell = (torch.searchsorted(s, values.contiguous()) - 1).clamp(0, _KNOTS - 2)
    s0, s1 = s.gather(1, cell), s.gather(1, cell + 1)
    r0, r1 = r.gather(1, cell), r.gather(1, cell + 1)
    return torch.lerp(r0, r1, ((values - s0) / (s1 - s0)).clamp(0, 1))


def histogram(source: Tensor, reference: Tensor, pixels: Tensor) -> Tensor:
    """Cumulative histograms of Y, Cb and Cr, each onto the reference's."""
    s, r, p = (_apply(TO_YCC, x) for x in (source, reference, pixels))
    matched = torch.stack([match_histogram(s[..., c], r[..., c], p[..., c]) for c in range(3)], -1)
    return _apply(torch.linalg.inv(TO_YCC), matched)


def _rotations(count: int) -> Tensor:
    """Fixed, well spread rotations: QR of seeded normal matrices, the first one the identity."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(7)))
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    q[0] = torch.eye(3)
    rotations: Tensor = q
    return rotations


_ROTATIONS = _rotations(6)


def iterative(source: Tensor, reference: Tensor, pixels: Tensor) -> Tensor:
    """Iterative distribution transfer: histograms matched along rotated axes, again and again (Pitie et al., 2005)."""
    for rotation in _ROTATIONS.to(source):
        s, r, p = (x @ rotation for x in (source, reference, pixels))
        both = torch.cat([s, p], 1)  # the source cloud moves along
        moved = torch.stack([match_histogram(s[..., c], r[..., c], both[..., c]) for c in range(3)], -1) @ rotation.T
        source, pixels = moved[:, : s.shape[1]], moved[:, s.shape[1] :]
    return pixels


STATISTICS_TRANSFERS: dict[str, Transfer] = {
    "reinhard": reinhard,
    "covariance": covariance,
    "histogram": histogram,
    "monge_kantorovich": monge_kantorovich,
    "iterative": iterative,
}


def photographic(moves: Tensor, pixels: Tensor) -> Tensor:
    """Exposure, white balance, contrast curve, saturation and hue, in this order.

    Args:
        moves: [B, 7]: exposure in stops, warmth and tint (log gains), contrast (0 = none), shadows (gamma, log),
            saturation (log gain), hue (radians). All zero: no change.
        pixels: [B, P, 3].
    """
    exposure, warmth, tint, contrast, shadows, saturation, hue = (m[:, None] for m in moves.unbind(1))
    gains = torch.stack(
        [exposure * math.log(2) + warmth, exposure * math.log(2) + tint, exposure * math.log(2) - warmth], -1
    )
    x = linear_to_srgb(srgb_to_linear(pixels.clamp(0, 1)) * gains.exp()).clamp(0, 1.2)
    x = x.clamp_min(1e-5) ** shadows.exp()[..., None]
    s_curve = x + contrast[..., None] * (x - 0.5) * (4 * x * (1 - x)).clamp_min(
        0
    )  # pivots at mid grey, holds both ends
    y = luma(s_curve)[..., None]
    chroma = _apply(TO_YCC, s_curve - y)[..., 1:] * saturation.exp()[..., None]
    cos, sin = hue.cos(), hue.sin()
    turned = torch.stack([chroma[..., 0] * cos - chroma[..., 1] * sin, chroma[..., 0] * sin + chroma[..., 1] * cos], -1)
    back = torch.linalg.inv(TO_YCC).to(pixels)[:, 1:]
    out: Tensor = y + turned @ back.T
    return out


MOVE_SCALE = (0.7, 0.12, 0.06, 0.35, 0.25, 0.3, 0.12)
"""Standard deviations of the seven photographic moves when a foreground is regraded by itself."""
GRADE_SCALE = (0.4, 0.07, 0.03, 0.25, 0.15, 0.25, 0.03)
"""The same when a whole photo is regraded, foreground and background alike."""
LIGHT_SCALE = (0.8, 0.16, 0.04, 0.3, 0.2, 0.3, 0.03)
"""The same when it is put into another light: a lamp's, a sunset's, the shade's."""
