"""A composite as its files give it: the image, what of it is foreground, and what is written once it is harmonized.

`harmonize run` and `harmonize batch` are both made of this, so the same bytes come out of both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backend import engine, images
from backend.images import ImageFileError, Picture, Pixels

SHORTEST_SIDE = 16


@dataclass(frozen=True)
class Composite:
    """An image file and its foreground.

    Attributes:
        picture: the image file.
        seen: [H, W] or [H, W, C] in the file's type: what an engine gets. To the Harmonizer, what is transparent is
            absent; where the alpha is the mask, it is the background, and `seen` lacks it.
        foreground: [H, W], uint8, uint16 or float32 0..1.
    """

    picture: Picture
    seen: Pixels
    foreground: Pixels

    def with_colours(self, harmonized: engine.Harmonized, strength: float) -> Picture:
        """The picture to write: with the harmonized colours over it, `strength` 0..1, and all else as it was."""
        pixels = engine.blend(self.seen, self.foreground, harmonized, strength)
        if self.seen.shape != self.picture.pixels.shape:
            pixels = np.dstack([pixels, self.picture.pixels[..., -1]])
        return replace(self.picture, pixels=pixels)


def read(image: Path, mask: Path | None) -> Composite:
    """Read an image and its mask; without one, the alpha of the image is the mask.

    Raises ImageFileError: a file that cannot be read, an image that is too small, a mask of another size, or one that
    shows no foreground or no background.
    """
    picture = images.read(image)
    if min(picture.pixels.shape[:2]) < SHORTEST_SIDE:
        raise ImageFileError(f"{image} is {picture}: give an image of at least {SHORTEST_SIDE} pixels a side")
    if mask is None:
        return Composite(picture, picture.colour, _own_foreground(image, picture))
    return Composite(picture, picture.pixels, _foreground(mask, image, picture))


def _foreground(mask: Path, image: Path, picture: Picture) -> Pixels:
    """HxW from the mask file: its opacity where some of it is transparent, else its luminance."""
    read = images.read(mask)
    white = images.WHITE[read.pixels.dtype.name]
    if read.alpha is not None and (read.alpha != white).any():
        values = read.alpha
    elif read.grey:
        values = read.colour
    else:
        luminance = read.colour @ np.array([0.299, 0.587, 0.114], np.float32)
        # In float32 the luminance of white can exceed white.
        values = np.minimum(luminance if white == 1 else np.rint(luminance), read.colour.max(axis=2))
        values = values.astype(read.pixels.dtype)
    size = picture.pixels.shape[:2]
    if values.shape != size and picture.orientation > 4 and values.shape == size[::-1]:
        values = images.turn(values, picture.orientation)
    if values.shape != size:
        raise ImageFileError(
            f"{mask} is {values.shape[1]}x{values.shape[0]} but {image} is {size[1]}x{size[0]}: "
            "make the mask as large as the image"
        )
    if values.dtype.kind == "f":
        values = np.clip(values, 0, 1)
    if values.max() <= white / 255:
        raise ImageFileError(f"{mask} is empty: paint the foreground white")
    if values.min() >= white:
        raise ImageFileError(
            f"{mask} is white everywhere: leave the background black, so that there is something to match"
        )
    return values


def _own_foreground(image: Path, picture: Picture) -> Pixels:
    """HxW: the alpha of the image, which must hold a foreground and, under what is transparent, a background."""
    alpha = picture.alpha
    if alpha is None:
        raise ImageFileError(
            f"{image} has no alpha to take the foreground from: give a MASK, white where the foreground is"
        )
    white = images.WHITE[alpha.dtype.name]
    if alpha.max() <= white / 255:
        raise ImageFileError(f"{image} is transparent everywhere, so no foreground shows: give a MASK")
    if alpha.min() >= white:
        raise ImageFileError(f"{image} is opaque everywhere, so its alpha shows no foreground: give a MASK")
    hidden = alpha <= 0  # a cut-out's soft edge is no background
    background = picture.colour[hidden if hidden.any() else alpha < white]
    if (background == background[0]).all():
        raise ImageFileError(f"{image} holds no picture under its transparent parts: paste it onto one and give a MASK")
    return np.clip(alpha, 0, 1) if alpha.dtype.kind == "f" else alpha
