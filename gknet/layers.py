"""The two building blocks that every part of the network shares."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv_block(inputs: int, outputs: int, *, norm: bool, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm when ``norm``, leaky ReLU. [B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.LeakyReLU(0.1))


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bring ``x`` to the height and width of ``like``: area average when shrinking, bilinear when growing."""
    size = (like.shape[-2], like.shape[-1])
    if tuple(x.shape[-2:]) == size:
        return x
    if x.shape[-2] > size[0]:
        return F.adaptive_avg_pool2d(x, size)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
