"""Image files as training, `gknet explain` and `gknet compare` take them, read with Pillow."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for a file that it cannot read."""
DEEP = ("I;16", "I;16L", "I;16B")
"""Pillow's modes for 16 bits of grey, whose values its own conversion cuts off at 255 instead of scaling them."""


def upright(image: Image.Image, mode: str) -> Image.Image:
    """An image as its viewer shows it, in 8 bits: turned as its EXIF says.

    Args:
        image: of any mode but 32-bit integers and floats, whose white nobody knows.
        mode: "RGB", or "L" for a mask, which is its opacity where some of it is transparent, else its luminance.

    Raises:
        ValueError: the image is of 32 bits.
    """
    turned = ImageOps.exif_transpose(image)
    if turned.mode in DEEP:
        turned = Image.fromarray(np.rint(np.asarray(turned, np.uint16) / 257).astype(np.uint8))
    if turned.mode in ("I", "F"):
        raise ValueError(f"its mode is {turned.mode!r}, 32 bits a pixel: save it with 8 or 16")
    if mode == "L" and turned.has_transparency_data:
        opacity = turned.convert("RGBA").getchannel("A")
        if np.asarray(opacity).min() < 255:
            return opacity
    return turned.convert(mode)
