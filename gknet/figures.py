"""Pictures of numbers: maps in colour, laid out in rows with a line of text over each."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Values = npt.NDArray[np.float32]

_GAP, _LINE = 8, 20
_CATEGORIES = (
    np.array([0x4477AA, 0xEE6677, 0x228833, 0xCCBB44, 0x66CCEE, 0xAA3377])[:, None] >> np.array([16, 8, 0]) & 255
).astype(np.uint8)  # Paul Tol's bright scheme, which the colour-blind can tell apart
CATEGORIES = len(_CATEGORIES)


def warm(values: Values) -> Image.Image:
    """[H, W], from black (0 and less) through red and yellow to white (the largest)."""
    shares = values / max(float(values.max()), 1e-12)
    return Image.fromarray(np.rint(np.clip(3 * shares[..., None] - (0, 1, 2), 0, 1) * 255).astype(np.uint8))


def signed(values: Values, limit: float) -> Image.Image:
    """[H, W], from blue (-limit) through white (0) to red (limit); NaN is grey."""
    shares = np.clip(values / limit, -1, 1)
    colours = np.stack([1 + np.minimum(shares, 0), 1 - np.abs(shares), 1 - np.maximum(shares, 0)], -1)
    return Image.fromarray(np.rint(np.where(np.isnan(colours), 0.5, colours) * 255).astype(np.uint8))


def categories(labels: npt.NDArray[np.integer]) -> Image.Image:
    """[H, W] of whole numbers below :data:`CATEGORIES`, a colour each."""
    return Image.fromarray(_CATEGORIES[labels])


def sheet(rows: list[list[tuple[str, Image.Image]]], size: tuple[int, int]) -> Image.Image:
    """Rows of (text, picture), every picture brought to `size`, (width, height), without blurring its pixels."""
    width, height = size
    columns = max(len(row) for row in rows)
    step_x, step_y = width + _GAP, height + _LINE + _GAP
    page = Image.new("RGB", (columns * step_x + _GAP, len(rows) * step_y + _GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for y, row in enumerate(rows):
        for x, (text, picture) in enumerate(row):
            corner = (_GAP + x * step_x, _GAP + y * step_y)
            draw.text(corner, text, "black", font)
            page.paste(picture.resize(size, Image.Resampling.NEAREST), (corner[0], corner[1] + _LINE))
    return page


def data_url(picture: Image.Image) -> str:
    """The picture as a PNG in a data URL."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
