"""Two networks of one kind, and the seam that says which of them a picture gets: a mixture of experts (Jacobs et al.,
1991) whose gate is taught apart. Not in the paper."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from gknet.network import GKNet, GKNetConfig, hard
from gknet.seam import SeamReader, pieces

PASTED_SIZE, PASTED_ENLARGE = 384, 1.125
"""``GKNetConfig.max_size`` and ``enlarge`` for what is known to be a paste. What gives it away is not its finest
detail, so more pixels are of no use (docs/training.md, "After version 8.1: a quicker look")."""


class Experts(nn.Module):
    """One network for foregrounds that were changed where they stand, one for pastes.

    Taught both, a network loses on the one what it gains on the other (docs/training.md, "Version 8"): at a seam that
    tells the change it should look there, and where none does it must not.
    """

    def __init__(self, config: GKNetConfig) -> None:
        super().__init__()
        self.config = config
        self.seam = SeamReader()
        self.in_place = GKNet(config)
        size, enlarge = min(config.max_size, PASTED_SIZE), min(config.enlarge, PASTED_ENLARGE)
        self.pasted = GKNet(replace(config, max_size=size, enlarge=enlarge))

    def of(self, pasted: bool) -> GKNet:
        """The network for foregrounds of this kind. Its config says at which size it is shown what is known to be of
        it; where the seam is asked, :attr:`config` says it, as the seam may be read wrong."""
        return self.pasted if pasted else self.in_place

    def reads_paste(self, composite: Tensor, mask: Tensor) -> bool:
        """What the seam says of one picture: [1, 3, H, W] and [1, 1, H, W] as :meth:`GKNet.forward` takes them."""
        return bool(self.seam(pieces(composite, hard(mask).to(composite.dtype))) > 0)

    def forward(self, composite: Tensor, mask: Tensor) -> Tensor:
        """As :meth:`GKNet.forward`, each picture by its own network."""
        pictures = zip(composite.split(1), mask.split(1), strict=True)
        return torch.cat([self.of(self.reads_paste(picture, its))(picture, its) for picture, its in pictures])


def single(network: GKNet | Experts, pasted: bool = True) -> GKNet:
    """A single network to go on training: of two experts the one for pastes, or the other."""
    return network.of(pasted) if isinstance(network, Experts) else network
