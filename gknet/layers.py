"""The building blocks that every part of the network shares."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CACHED = 1 << 15
"""Pixels of which some float32 maps stay in a core's cache; half and twice as many are as good."""


def conv_block(inputs: int, outputs: int, *, norm: bool, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm when ``norm``, SiLU (OPEN in the paper). [B, inputs, H, W] -> [B, outputs, H, W]."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.SiLU())


def separable_block(channels: int, *, norm: bool) -> nn.Sequential:
    """A 3x3 convolution in two parts, depthwise and pointwise, then as :func:`conv_block`. [B, C, H, W] -> the same."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(depthwise, *conv_block(channels, channels, norm=norm, kernel=1))


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Every batch norm of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def fold_batch_norm(network: nn.Module) -> None:
    """Make every batch norm part of the convolution before it, for inference: a pass over the features less for each.

    Args:
        network: in eval mode; changed in place, and no more to be trained.
    """
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            for i in range(len(block) - 1):
                convolution, norm = block[i], block[i + 1]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    block[i], block[i + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


def luma(picture: Tensor) -> Tensor:
    """Rec. 601: [B, 3, H, W] -> [B, 1, H, W]."""
    r, g, b = picture.split(1, 1)
    y: Tensor = 0.299 * r + 0.587 * g + 0.114 * b
    return y


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bring ``x`` to the height and width of ``like``: area average when shrinking, bilinear when growing."""
    size = (like.shape[-2], like.shape[-1])
    if tuple(x.shape[-2:]) == size:
        return x
    if x.shape[-2] > size[0]:
        return F.adaptive_avg_pool2d(x, size)
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def strip(like: Tensor) -> int:
    """Rows of maps [..., H, W] to compute at a time where many maps are gone over and few are kept: on a CPU as many
    as stay in its cache, elsewhere all."""
    height, width = like.shape[-2:]
    return max(_CACHED // width, 1) if like.is_cpu else height


def fold(x: Tensor, side: int) -> Tensor:
    """As ``F.pixel_unshuffle``, channels last in memory, as convolutions on a CPU want them: one copy instead of two.
    [B, C, H, W] -> [B, C * side * side, H / side, W / side]."""
    blocks = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    folded: Tensor = blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).permute(0, 3, 1, 2)
    return folded


def soften(mask: Tensor, times: int) -> Tensor:
    """A mask blurred (3x3) so many times."""
    for _ in range(times):
        mask = blur(mask)
    return mask


def blur(picture: Tensor, radius: int = 1) -> Tensor:
    """Mean over ``2 * radius + 1`` pixels a side, edges repeated, by sums of shifted views: several times faster on a
    CPU than pooling."""
    x, side = F.pad(picture, [radius] * 4, mode="replicate"), 2 * radius + 1
    for axis in (-1, -2):
        length = x.shape[axis] - side + 1
        total = x.narrow(axis, 0, length).clone()
        for i in range(1, side):
            total += x.narrow(axis, i, length)
        x = total
    return x / side**2
