"""LRE, the long-distance reference extractor: global references for every pixel of the deepest feature (paper sec.
3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EncoderLayer(nn.Module):
    """One transformer encoder layer as in ViT: layer norm before attention and before the MLP, residuals around
    both."""

    def __init__(self, width: int, *, heads: int, mlp_factor: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        hidden = int(width * mlp_factor)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        q, k, v = self._split(tokens)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(tokens.shape)
        tokens = tokens + self.project(attended)
        out: Tensor = tokens + self.mlp(self.norm_mlp(tokens))
        return out

    def attention(self, tokens: Tensor) -> Tensor:
        """What each token looks at: [B, T, D] -> [B, heads, T, T], 0..1, each row summing to 1."""
        q, k, _ = self._split(tokens)
        return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, heads, T, D / heads]."""
        b, t, d = tokens.shape
        q, k, v = (
            self.qkv(self.norm_attention(tokens)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        )
        return q, k, v


class LongDistanceReference(nn.Module):
    """One token a pixel of ``F_E^1``, l transformer layers, back to a map, one convolution -> ``F_LR``.

    Extra tokens (the statistics of :mod:`gknet.statistics`) may join the sequence, for the pixels to attend to.

    Args:
        channels: channels of ``F_E^1`` and of ``F_LR``.
        width: token width (divisible by ``heads`` and by 4).
        layers: l.
        heads: attention heads.
        mlp_factor: hidden width of each MLP over ``width``.
    """

    def __init__(self, channels: int, *, width: int, layers: int, heads: int, mlp_factor: float) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, 1)
        self.layers = nn.ModuleList(EncoderLayer(width, heads=heads, mlp_factor=mlp_factor) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, features: Tensor, extra: Tensor | None = None) -> Tensor:
        """Features ``F_E^1`` [B, C, h, w], extra tokens [B, S, D] or none -> ``F_LR`` [B, C, h, w]."""
        tokens = self.embed(features)
        b, d, h, w = tokens.shape
        tokens = (tokens + position_encoding(h, w, d, tokens)).flatten(2).transpose(1, 2)  # [B, h * w, D]
        if extra is not None:
            tokens = torch.cat([tokens, extra.to(tokens.dtype)], 1)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens[:, : h * w])
        out: Tensor = self.out(tokens.transpose(1, 2).reshape(b, d, h, w))
        return out


def position_encoding(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Fixed 2-D sine encoding [1, channels, height, width]: half of the channels for y, half for x.

    Positions are fractions of the picture, so that a network trained at one size means the same place at another.
    """
    octaves = torch.arange(channels // 4, device=like.device, dtype=torch.float32)
    frequency = math.pi * 2.0 ** (octaves * 6 / max(channels // 4 - 1, 1))  # half a period to 32 periods a side

    def encode(length: int) -> Tensor:
        place = (torch.arange(length, device=like.device, dtype=torch.float32) + 0.5) / length
        angle = frequency[:, None] * place[None]
        return torch.cat([angle.sin(), angle.cos()])  # [channels / 2, length]

    y = encode(height)[:, :, None].expand(-1, -1, width)
    x = encode(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([y, x])[None].to(like.dtype)
