"""S2AM against its definition."""

from __future__ import annotations

import torch

from gknet.attention import S2AM, ChannelGate


def test_channel_gate_equals_its_definition() -> None:
    torch.manual_seed(0)
    gate = ChannelGate(16, reduction=2)
    x = torch.randn(2, 16, 5, 5)
    for image in range(2):
        mean = torch.stack([x[image, c].mean() for c in range(16)])
        peak = torch.stack([x[image, c].max() for c in range(16)])
        scale = torch.sigmoid(gate.mlp(mean) + gate.mlp(peak))
        torch.testing.assert_close(gate(x)[image], x[image] * scale[:, None, None])


def test_far_from_the_rim_each_side_has_its_own_attention() -> None:
    torch.manual_seed(0)
    block = S2AM(16, mid_factor=0.5, reduction=2, norm=False)
    x = torch.randn(1, 16, 24, 24)
    mask = torch.zeros(1, 1, 24, 24)
    mask[..., :12] = 1
    out = block(x, mask)
    foreground = block.learn(block.foreground_gate(x)) + block.mix_gate(x)
    torch.testing.assert_close(out[..., :9], foreground[..., :9])
    torch.testing.assert_close(out[..., 15:], block.background_gate(x)[..., 15:])
    # On the rim both meet: column 11 is the Gaussian's mass left of 11.5.
    taps = torch.exp(-0.5 * torch.arange(-3.0, 4.0) ** 2)
    share = float(taps[:4].sum() / taps.sum())
    mixed = share * foreground[..., 11] + (1 - share) * block.background_gate(x)[..., 11]
    torch.testing.assert_close(out[..., 11], mixed)
