"""Harmony kernel prediction: SCF and KPB (paper sec. 3.2, eq. 1-4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gknet.layers import conv_block, resize


class AttentionVector(nn.Module):
    """``alpha`` of eq. 2-3: a 3x3 convolution, global average pooling, an MLP. [B, inputs, H, W] -> [B, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, reduction: int) -> None:
        super().__init__()
        self.conv = conv_block(inputs, outputs, norm=False)
        hidden = max(outputs // reduction, 8)
        self.mlp = nn.Sequential(nn.Linear(outputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mlp(self.conv(x).mean((2, 3)))
        return out


class SelectiveCorrelationFusion(nn.Module):
    """SCF: weigh encoder and previous KPB features by their own and by their mutual importance (eq. 2-4).

    Args:
        encoder_channels: channels of ``F_E^l``.
        previous_channels: channels of ``F_KPB^{l-1}``.
        channels: ``C_l``, channels of the fused feature; a multiple of ``groups``.
        groups: n; every attention vector is read as n groups of length m = C_l / n.
        reduction: bottleneck of the attention vectors' MLP.
    """

    def __init__(
        self, encoder_channels: int, previous_channels: int, channels: int, *, groups: int, reduction: int
    ) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"SCF splits {channels} channels into {groups} groups: choose a divisor")
        self.groups = groups
        self.attention_encoder = AttentionVector(encoder_channels, channels, reduction=reduction)
        self.attention_previous = AttentionVector(previous_channels, channels, reduction=reduction)
        self.select = nn.Conv2d(1, 2 * channels, groups)  # the n x n convolution over the relation A
        self.fc_encoder = nn.Linear(channels, channels)
        self.fc_previous = nn.Linear(channels, channels)
        self.balance_encoder = nn.Parameter(torch.zeros(()))  # b of eq. 3: 0 keeps the fusion plain at first
        self.balance_previous = nn.Parameter(torch.zeros(()))
        self.conv_encoder = nn.Conv2d(encoder_channels, channels, 1)
        self.conv_previous = nn.Conv2d(previous_channels, channels, 1)

    def weights(self, encoder: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """The channel weights (S_E, S_KPB) of eq. 3, each [B, C_l] in 0..1."""
        alpha_encoder = self.attention_encoder(encoder)
        alpha_previous = self.attention_previous(previous)
        b = len(alpha_encoder)
        a_encoder = alpha_encoder.view(b, self.groups, -1)  # [B, n, m]
        a_previous = alpha_previous.view(b, self.groups, -1)
        relation = a_previous @ a_encoder.transpose(1, 2)  # eq. 2, [B, n, n]
        factor_previous, factor_encoder = self.select(relation[:, None]).flatten(1).chunk(2, 1)
        return (
            torch.sigmoid(alpha_encoder + self.balance_encoder * self.fc_encoder(factor_encoder)),
            torch.sigmoid(alpha_previous + self.balance_previous * self.fc_previous(factor_previous)),
        )

    def forward(self, encoder: Tensor, previous: Tensor) -> Tensor:
        """Eq. 4: ``F_E^l`` [B, C_E, H, W] and ``F_KPB^{l-1}`` [B, C_P, h, w] -> the fused feature [B, C_l, H, W]."""
        s_encoder, s_previous = self.weights(encoder, previous)
        mine = s_encoder[:, :, None, None] * self.conv_encoder(encoder)
        theirs = s_previous[:, :, None, None] * self.conv_previous(previous)
        fused: Tensor = mine + resize(theirs, encoder)
        return fused


class ConcatFusion(nn.Module):
    """What SCF replaces in the ablation: upsample, concatenate, convolve."""

    def __init__(self, encoder_channels: int, previous_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(encoder_channels + previous_channels, channels, 1)

    def forward(self, encoder: Tensor, previous: Tensor) -> Tensor:
        """[B, C_E, H, W] and [B, C_P, h, w] -> [B, C_l, H, W]."""
        out: Tensor = self.conv(torch.cat([encoder, resize(previous, encoder)], 1))
        return out


class KernelPredictionBlock(nn.Module):
    """KPB: ``(K^l, F_KPB^l) = KPB(F_E^l, F_KPB^{l-1})`` (eq. 1).

    The kernels start as the identity: the head is zero and the centre tap has one added, so that an untrained network's
    modulation changes nothing.

    Args:
        fusion: SCF or its replacement, giving ``channels`` channels.
        channels: channels of ``F_KPB^l``.
        modulated_channels: C, channels of the decoder feature that ``K^l`` modulates.
        kernel: N, odd.
        norm: batch norm in the convolution.
    """

    def __init__(self, fusion: nn.Module, channels: int, modulated_channels: int, *, kernel: int, norm: bool) -> None:
        super().__init__()
        self.fusion = fusion
        self.conv = conv_block(channels, channels, norm=norm)
        self.head = nn.Conv2d(channels, modulated_channels * kernel**2, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        with torch.no_grad():
            identity = torch.zeros(modulated_channels, kernel**2)
            identity[:, kernel**2 // 2] = 1
            self.head.bias.copy_(identity.flatten())

    def forward(self, encoder: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (``K^l`` [B, C * N^2, H, W], ``F_KPB^l`` [B, channels, H, W])."""
        features = self.conv(self.fusion(encoder, previous))
        return self.head(features), features
