"""Photographs as Krita holds them, and what the engine makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.link.context import context_box
from backend.link.messages import Rect
from gknet import Harmonizer

Array = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parents[3]
PROFILES = Path("/usr/share/color/icc/krita")
TYPES: dict[str, type[np.generic]] = {"U8": np.uint8, "U16": np.uint16, "F16": np.float16, "F32": np.float32}
PLACE = (200, 120)
"""Where the object lies in the picture: x, y."""


@dataclass(frozen=True)
class Space:
    """A document's colours, and the file of the profile that goes with its name."""

    model: str
    depth: str
    profile: str
    file: str

    @property
    def icc(self) -> bytes:
        return (PROFILES / self.file).read_bytes()

    def encode(self, rgba: Array) -> bytes:
        """Values 0..1 [H, W, 4] as Krita's bytes."""
        values = rgba
        if self.model == "GRAYA":
            values = np.dstack([rgba[..., :3].mean(axis=2), rgba[..., 3]])
        elif self.depth in ("U8", "U16"):
            values = rgba[..., [2, 1, 0, 3]]
        dtype = np.dtype(TYPES[self.depth])
        if dtype.kind == "u":
            values = np.rint(values * np.iinfo(dtype).max)
        return values.astype(dtype).tobytes()

    def decode(self, data: bytes, rect: tuple[int, ...]) -> Array:
        """Krita's bytes as [H, W, 4 or 2] of the document's type, red first."""
        channels = 2 if self.model == "GRAYA" else 4
        values = np.frombuffer(data, TYPES[self.depth]).reshape(rect[3], rect[2], channels)
        return values[..., [2, 1, 0, 3]] if channels == 4 and self.depth in ("U8", "U16") else values


SRGB = Space("RGBA", "U8", "sRGB-elle-V2-srgbtrc.icc", "sRGB-elle-V2-srgbtrc.icc")


@cache
def background() -> Array:
    """A street corner or the like, [H, W, 4], 0..1."""
    return _rgba(Image.open(ROOT / "examples" / "coffee.jpg"))


@cache
def cut_out() -> Array:
    """A person with soft edges, transparent around, [300, 240, 4], 0..1."""
    picture = _rgba(Image.open(ROOT / "examples" / "astronaut.jpg"))
    picture[..., 3] = np.asarray(Image.open(ROOT / "examples" / "astronaut_mask.png").convert("L")) / 255
    rows, columns = np.flatnonzero(picture[..., 3].any(1)), np.flatnonzero(picture[..., 3].any(0))
    tight = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scaled = Image.fromarray(np.rint(tight * 255).astype(np.uint8)).resize((240, 260))
    return np.asarray(scaled) / 255


def layers(space: Space = SRGB, place: tuple[int, int] = PLACE) -> dict[str, Any]:
    """Arguments for the step "create": the cut-out over the background."""
    below, above = background(), cut_out()
    height, width = below.shape[:2]
    return {
        "width": width,
        "height": height,
        "model": space.model,
        "depth": space.depth,
        "profile": space.profile,
        "layers": [
            ("Photo", [0, 0, width, height], space.encode(below)),
            ("Person", [*place, above.shape[1], above.shape[0]], space.encode(above)),
        ],
    }


def engine(
    harmonizer: Harmonizer,
    space: Space,
    picture: Array,
    mask: Array,
    icc: bytes | None = None,
    transfer: str | None = None,
    pasted: bool | None = True,
) -> tuple[Rect, Array]:
    """What the engine itself answers.

    Args:
        icc: the profile where it is not the space's.
        transfer: what counts instead of a profile.
        picture: [H, W, C], what the document shows.
        mask: [H, W], the foreground, 0..255 or 0..65535 or 0..1.
        pasted: None where it is a selection of an opaque layer.

    Returns:
        The rectangle of the foreground, and its pixels: colour at full strength, alpha = mask.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    rect = Rect(int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    sent = context_box(rect, Rect(0, 0, picture.shape[1], picture.shape[0]))
    area = slice(sent.y, sent.y + sent.height), slice(sent.x, sent.x + sent.width)
    values, coverage = picture[area], mask[area]
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if coverage.dtype == np.float16:
        coverage = coverage.astype(np.float32)
    colours = {"transfer": transfer} if transfer else {"profile": icc or space.icc}
    image = harmonizer.harmonize(values, coverage, pasted=pasted, blend=False, **colours).image  # type: ignore[arg-type]
    result = np.array(image).astype(picture.dtype)
    result[..., -1] = _converted(coverage, picture.dtype)
    left, top = rect.x - sent.x, rect.y - sent.y
    return rect, result[top : top + rect.height, left : left + rect.width]


def _converted(mask: Array, dtype: np.dtype[Any]) -> Array:
    """A mask in another depth."""
    if mask.dtype == dtype or mask.dtype.kind == "f" and dtype.kind == "f":
        return mask.astype(dtype)
    full = np.iinfo(mask.dtype).max if mask.dtype.kind == "u" else 1
    scale = (np.iinfo(dtype).max if dtype.kind == "u" else 1) / full
    values = mask * np.float32(scale)
    return (np.rint(values) if dtype.kind == "u" else values).astype(dtype)


def _rgba(image: Image.Image) -> Array:
    return np.asarray(image.convert("RGBA")) / 255
