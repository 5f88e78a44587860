"""Triples of composite, mask and real photo as training data: resized, and augmented as in the paper's sec. 4.1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gknet.data.iharmony4 import WHOLE, Box, Triple, open_image, resize_image, resize_mask


def random_crop(rng: np.random.Generator) -> Box:
    """A random box for a resized crop: 0.5 to 1 of the area, width to height 3:4 to 4:3, anywhere inside.

    Sides are measured by the image's own, because the whole image is resized to a square as well.
    """
    area = rng.uniform(0.5, 1.0)
    form = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    width = min(max(math.sqrt(area * form), area), 1.0)  # at least `area`, else the height would pass 1
    height = area / width
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return (left, top, min(left + width, 1.0), min(top + height, 1.0))


class IHarmony4(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Triples as tensors, for a :class:`torch.utils.data.DataLoader`.

    Args:
        triples: what :func:`gknet.data.iharmony4.read_triples` gives.
        size: side of the square that every image is resized to, pixels.
        augment: flip at random and cut out half to all of the area at random (:func:`random_crop`), alike for the three
            images. A crop that loses the foreground is drawn again.
        seed: the augmentation of item i is drawn from (seed, epoch, i) alone, whatever the order and number of workers.

    Attributes:
        epoch: set it before each pass. Workers get it when they start, so not with ``persistent_workers``.
    """

    def __init__(self, triples: Sequence[Triple], size: int = 256, *, augment: bool = False, seed: int = 0) -> None:
        self.triples = list(triples)
        self.size = size
        self.augment = augment
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.triples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Composite [3, S, S], mask [1, S, S] (0 or 1) and real [3, S, S], float32 0..1.

        Raises:
            DataError: one of the files cannot be read.
        """
        triple = self.triples[index]
        composite, real = open_image(triple.composite, "RGB"), open_image(triple.real, "RGB")
        mask = open_image(triple.mask, "L")
        box, flip = self._draw(index, mask) if self.augment else (WHOLE, False)
        return (
            _tensor(resize_image(composite, self.size, box), flip),
            _tensor(resize_mask(mask, self.size, box)[..., None] * np.uint8(255), flip),
            _tensor(resize_image(real, self.size, box), flip),
        )

    def _draw(self, index: int, mask: Image.Image) -> tuple[Box, bool]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        flip = bool(rng.random() < 0.5)
        for _ in range(10):
            box = random_crop(rng)
            if resize_mask(mask, self.size, box).any():
                return box, flip
        return WHOLE, flip


def _tensor(image: npt.NDArray[Any], flip: bool) -> Tensor:
    """uint8 [S, S, C] -> float32 [C, S, S], 0..1."""
    if flip:
        image = image[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
