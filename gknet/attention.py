"""S2AM: spatial-separated attention (Cun & Pun, TIP 2020), the attention of the base U-Net (paper sec. 3.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gknet.layers import conv_block


class ChannelGate(nn.Module):
    """Scale each channel by a sigmoid of its pooled mean and maximum through a shared bottleneck."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        gate: Tensor = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        return x * gate[:, :, None, None]


class S2AM(nn.Module):
    """Foreground features are relearned and mixed with the gated input; background features are only gated.

    ``out = M * (learn(gate_fg(x)) + gate_mix(x)) + (1 - M) * gate_bg(x)`` with M the mask, blurred so that both sides
    meet softly.

    Args:
        channels: channels of the features.
        mid_factor: width of the learning block, as a multiple of ``channels``.
        reduction: bottleneck of the channel gates.
        norm: batch norm in the learning block.
    """

    def __init__(self, channels: int, *, mid_factor: float, reduction: int, norm: bool) -> None:
        super().__init__()
        mid = max(int(channels * mid_factor), 1)
        self.background_gate = ChannelGate(channels, reduction=reduction)
        self.foreground_gate = ChannelGate(channels, reduction=reduction)
        self.mix_gate = ChannelGate(channels, reduction=reduction)
        self.learn = nn.Sequential(
            conv_block(channels, mid, norm=norm),
            conv_block(mid, channels, norm=norm),
        )
        taps = torch.exp(-0.5 * torch.arange(-3.0, 4.0) ** 2)  # Gaussian, sigma 1, 7 taps
        self.blur: Tensor
        self.register_buffer("blur", taps / taps.sum(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features [B, C, H, W], mask [B, 1, H, W] in 0..1 at the same size -> [B, C, H, W]."""
        taps = self.blur.to(mask.dtype)
        soft = F.conv2d(F.pad(mask, [3, 3, 3, 3], mode="replicate"), taps.view(1, 1, 1, 7))
        soft = F.conv2d(soft, taps.view(1, 1, 7, 1))
        foreground = self.learn(self.foreground_gate(x)) + self.mix_gate(x)
        return torch.lerp(self.background_gate(x), foreground, soft.to(x.dtype))
