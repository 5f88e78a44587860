"""Where `harmonize run` and `batch` have their colours from: the daemon, or the network in this process.

Both give the same unblended colours, and `blend` lays them over the image, so the same bytes come out. torch is
imported only where this process computes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.link.client import Client
from backend.link.messages import Harmonize, Image, Pixels, Rect, new_job
from backend.version import package_version

Array = npt.NDArray[Any]

# The protocol's names of numpy's types, and of numbers of channels.
_DTYPES = {"uint8": "u8", "uint16": "u16", "float32": "f32"}
_LAYOUTS = {1: "GRAY", 2: "GRAYA", 3: "RGB", 4: "RGBA"}
_STRIP = 256


@dataclass(frozen=True)
class Harmonized:
    """An engine's answer.

    Attributes:
        colours: [h, w, C] without alpha, in the image's type: the foreground's colours at full strength, unblended.
        area: the rows and columns of the image that they fill; no foreground lies outside.
        engine: what made them, for people.
    """

    colours: Array
    area: tuple[slice, slice]
    engine: str


class Network:
    """The network in this process: loaded once, asked as often as there are images.

    Args:
        model, device: as Harmonizer.load takes them.
        pasted: what the foregrounds are, as Harmonizer.harmonize takes it.

    Attributes:
        name: the model and its device, for people.

    Raises:
        ValueError: no such model or device.
    """

    def __init__(self, model: str, device: str, pasted: bool | None = None) -> None:
        from gknet import Harmonizer

        self._model = model
        self._pasted = pasted
        self._harmonizer = Harmonizer.load(model, device)
        self.name = f"{self._harmonizer.model} on {self._harmonizer.device}"

    @cached_property
    def identity(self) -> str:
        """The program's version, the digest of the weights, whatever their file is called, and what foregrounds are:
        same identity, same results on the same kind of device. Reads the weights again, which a single image is
        spared."""
        from gknet import weights

        content = weights.digest(self._harmonizer.model if self._model == "auto" else self._model)
        kind = {None: "", True: " pasted", False: " in place"}[self._pasted]
        return f"{package_version()} {content}{kind}"

    def __call__(self, image: Array, mask: Array, *, icc: bytes | None) -> Harmonized:
        """Harmonize one image.

        Args:
            image: [H, W] or [H, W, C], uint8, uint16 or float32; alpha tells what is absent.
            mask: [H, W], uint8, uint16 or float32 0..1.
            icc: the image's profile; without one it is sRGB.

        Raises:
            ValueError: an image that cannot be harmonized.
        """
        done = self._harmonizer.harmonize(image, mask, profile=icc, pasted=self._pasted, blend=False, crop=True)
        colours = _channels(np.asarray(done.image))
        return Harmonized(colours[..., : _colours(colours)], done.box.slices, self.name)


def by_daemon(
    image: Array, mask: Array, *, icc: bytes | None, pasted: bool | None, model: str, start: bool
) -> Harmonized:
    """By the user's daemon; arguments as for `Network`.

    Args:
        start: start a daemon where none runs.

    Raises:
        LinkError: why there is no result.
    """
    with Client("harmonize run", python=sys.executable if start else None) as client:
        sent, selection = Image(*_sent(image)), Pixels(*_sent(mask))
        request = Harmonize(new_job(), sent, icc=icc, selection=selection, pasted=pasted, model=model)
        result = client.harmonize(request)
    rect, pixels = result.pixels.rect, _channels(image)
    received = np.frombuffer(result.pixels.data, image.dtype).reshape(rect.height, rect.width, -1)
    area = slice(rect.y, rect.y + rect.height), slice(rect.x, rect.x + rect.width)
    return Harmonized(received[..., : _colours(pixels)], area, f"{result.model} on {result.device}, by the daemon")


def blend(image: Array, mask: Array, harmonized: Harmonized, strength: float) -> Array:
    """The image with the harmonized colours over it, as opaque as strength x mask says: of the image's shape and type.

    What the mask leaves out stays as it is, bit for bit, and so does alpha; where it is full, at full strength, the
    colours are the engine's, bit for bit.

    Args:
        strength: 0..1.
    """
    result: Array = image.copy()
    out = _channels(result)[harmonized.area][..., : _colours(_channels(image))]
    opacity = mask[harmonized.area]
    full = np.iinfo(mask.dtype).max if mask.dtype.kind == "u" else 1
    shown = np.flatnonzero(opacity.max(axis=1))
    for top in range(int(shown[0]), int(shown[-1]) + 1, _STRIP) if len(shown) else ():
        rows = slice(top, top + _STRIP)
        before, after = out[rows], harmonized.colours[rows]
        replaced = (opacity[rows] == full) & (strength == 1)
        np.copyto(before, after, where=replaced[..., None])
        mixed = (opacity[rows] > 0) & ~replaced  # as a rule no more than the rim
        weight = (opacity[rows][mixed] / np.float32(full) * np.float32(strength))[:, None]
        old, new = before[mixed].astype(np.float32), after[mixed].astype(np.float32)
        values = old + weight * (new - old)
        before[mixed] = np.rint(values) if out.dtype.kind == "u" else values
    return result


def _channels(image: Array) -> Array:
    """[H, W, C], not copied."""
    channels: Array = image[..., None] if image.ndim == 2 else image
    return channels


def _colours(image: Array) -> int:
    """Channels that are not alpha."""
    return int(image.shape[2]) - (image.shape[2] in (2, 4))


def _sent(image: Array) -> tuple[Rect, str, str, memoryview]:
    """What backend.link.messages.Pixels is made of."""
    pixels = np.ascontiguousarray(_channels(image))
    height, width, channels = pixels.shape
    return Rect(0, 0, width, height), _LAYOUTS[channels], _DTYPES[pixels.dtype.name], pixels.data
