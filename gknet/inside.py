"""What happens inside the network for one picture, recorded while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gknet.kernels import SelectiveCorrelationFusion
from gknet.modulation import modulate
from gknet.network import GKNet
from gknet.reference import EncoderLayer


@dataclass(frozen=True)
class Fusion:
    """SCF of one level (eq. 2-4): two sets of channels, each map times its weight, are added.

    Attributes:
        encoder, previous: the maps before they are weighed, [C_l, h, w] and [C_l, h', w'].
        encoder_weights, previous_weights: S_E and S_KPB of eq. 3, [C_l], 0..1.
    """

    encoder: Tensor
    previous: Tensor
    encoder_weights: Tensor
    previous_weights: Tensor


@dataclass(frozen=True)
class Level:
    """One level of the decoder; the deepest is 1.

    Attributes:
        kernels: the harmony kernels K^l, [C * N^2, h, w], channel ``c * N^2 + i * N + j``.
        before: F_D^l, [C, h, w].
        after: F_D^l modulated by the kernels (eq. 5), [C, h, w].
        fusion: None without SCF.
    """

    kernels: Tensor
    before: Tensor
    after: Tensor
    fusion: Fusion | None


@dataclass(frozen=True)
class Inside:
    """What :func:`look` returns. Parts that the network does not have are empty or None.

    Attributes:
        harmonized: [3, S, S], sRGB, not limited to 0..1.
        global_tone: the same by the global tone step alone, without decoder, kernels and LRE (gknet.statistics; the
            paper's network has none).
        levels: deepest first.
        attention: [layers, heads, T, T], 0..1: rows look at columns. The first ``grid[0] * grid[1]`` tokens are the
            cells of the deepest feature, row by row; the others are statistics tokens (the paper's network has none).
        grid: rows and columns of the deepest feature.
    """

    harmonized: Tensor
    global_tone: Tensor | None
    levels: list[Level]
    attention: Tensor | None
    grid: tuple[int, int]


def look(network: GKNet, composite: Tensor, mask: Tensor) -> Inside:
    """Run the network on one picture and record what is inside.

    Args:
        network: in eval mode.
        composite: [3, S, S], float32, sRGB 0..1, on the network's device.
        mask: [1, S, S], 0..1.
    """
    image, mask = composite[None], mask[None]
    global_tone = None
    with torch.inference_mode():
        if network.statistics is not None and network.config.output == "tone":
            network.global_only = True
            try:
                global_tone = network(image, mask)[0]
            finally:
                network.global_only = False
        blocks = list(network.kernels) if network.kernels is not None else []
        layers: list[Any] = [] if network.reference is None else list(network.reference.layers)
        with _recorded([*blocks, *layers, *network.decoder, network.encoder[-1]]) as calls:
            harmonized = network(image, mask)[0]
        deepest: Tensor = calls[network.encoder[-1]][1]
        decoded = [deepest, *(calls[block][1] for block in network.decoder)]
        levels = [_level(block, *calls[block], before) for block, before in zip(blocks, decoded, strict=False)]
        attention = torch.stack([_attention(layer, calls[layer][0][0]) for layer in layers]) if layers else None
    return Inside(harmonized, global_tone, levels, attention, (deepest.shape[-2], deepest.shape[-1]))


@contextmanager
def _recorded(modules: list[nn.Module]) -> Iterator[dict[nn.Module, tuple[Any, Any]]]:
    """The inputs and the output of each module, once it has run."""
    calls: dict[nn.Module, tuple[Any, Any]] = {}

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        calls[module] = (inputs, output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _level(block: nn.Module, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor], before: Tensor) -> Level:
    kernels = output[0]
    fusion = None
    if isinstance(block.fusion, SelectiveCorrelationFusion):
        convolve: tuple[Callable[[Tensor], Tensor], ...] = (block.fusion.conv_encoder, block.fusion.conv_previous)
        maps = [convolution(x)[0] for convolution, x in zip(convolve, inputs, strict=True)]
        weights = [w[0] for w in block.fusion.weights(*inputs)]
        fusion = Fusion(*maps, *weights)
    return Level(kernels[0], before[0], modulate(before, kernels.to(before.dtype))[0], fusion)


def _attention(layer: EncoderLayer, tokens: Tensor) -> Tensor:
    return layer.attention(tokens)[0]
