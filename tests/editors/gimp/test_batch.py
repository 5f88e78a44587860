"""The plug-in in a real GIMP 3 without a screen, against a real daemon that it starts, with the shipped network."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from backend.link import Client
from backend.link.context import context_box
from backend.link.messages import LinkError, Rect
from backend.link.texts import text
from gknet import Harmonizer
from gknet.color import decode_srgb
from installer.environment import ROOT
from tests.editors.gimp.session import Gimp

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 320, 213
DEPTHS: dict[str, Any] = {"u8": np.uint8, "u16": np.uint16, "half": np.float16, "float": np.float32}
# What a precision's values travel as: sRGB values in so many bits if those hold all that it holds, else in floats.
PRECISIONS = {
    f"{depth}_{curve}": "float" if curve == "LINEAR" else kind
    for curve in ("NON_LINEAR", "PERCEPTUAL", "LINEAR")
    for depth, kind in [
        ("U8", "u8"),
        ("U16", "u16"),
        ("U32", "float"),
        ("HALF", "half"),
        ("FLOAT", "float"),
        ("DOUBLE", "float"),
    ]
}
# Half a step of what the document's precision can hold, and what floats lose on the way there and back.
STEPS = {"U8": 0.5 / 255, "U16": 0.5 / 65535, "U32": 0, "HALF": 2.0**-11, "FLOAT": 0, "DOUBLE": 0}
ROUNDING = 3e-6


def photo() -> Array:
    """float32 [H, W, 3]: an example, with more depth than its 8 bits."""
    with Image.open(ROOT / "examples" / "astronaut.jpg") as picture:
        values = np.asarray(picture.convert("RGB").resize((WIDTH, HEIGHT))) / 255
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, values.shape) / 255
    return np.clip(values + noise, 0, 1).astype(np.float32)


def object_mask() -> Array:
    """uint8 [H, W], with soft edges."""
    with Image.open(ROOT / "examples" / "astronaut_mask.png") as picture:
        return np.asarray(picture.convert("L").resize((WIDTH, HEIGHT)))


def box(mask: Array) -> tuple[int, int, int, int]:
    """x, y, width, height of what is above 0."""
    rows, columns = np.flatnonzero(mask.max(1)), np.flatnonzero(mask.max(0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1


def encoded(values: Array, kind: str) -> bytes:
    """0..1 as pixels of that kind."""
    if kind[0] == "u":
        values = np.rint(values * np.iinfo(DEPTHS[kind]).max)
    return values.astype(DEPTHS[kind]).tobytes()


class Picture:
    """An image in GIMP, RGB unless it is grey."""

    def __init__(
        self, gimp: Gimp, width: int = WIDTH, height: int = HEIGHT, precision: str = "U8_NON_LINEAR", **more: str
    ) -> None:
        self.gimp, self.width, self.height = gimp, width, height
        self.grey = more.get("base") == "GRAY"
        self.id = gimp("new", width, height, precision=precision, **more)
        self.kind = "float" if "profile" in more else PRECISIONS[precision]

    @property
    def full(self) -> float:
        """What stands for 1."""
        return float(np.iinfo(DEPTHS[self.kind]).max) if self.kind[0] == "u" else 1.0

    def layer(self, values: Array, name: str = "photo", at: tuple[int, int] = (0, 0), parent: int = 0) -> int:
        """A new one on top; values 0..1 are sRGB's."""
        height, width, channels = values.shape
        form = {1: "Y'", 2: "Y'A", 3: "R'G'B'", 4: "R'G'B'A"}[channels] + " float"
        layer: int = self.gimp("layer", self.id, name, (width, height), form, encoded(values, "float"), at, parent)
        return layer

    def backdrop(self) -> int:
        """The photograph as an opaque layer of the image's size."""
        values = np.asarray(photo())
        return self.layer(values[..., 1:2] if self.grey else values)

    def select(self, mask: Array) -> None:
        self.gimp("select", self.id, mask.tobytes())

    def seen(self, kind: str = "") -> Array:
        """[H, W, C] of what is seen now, as it would travel."""
        kind = kind or self.kind
        data = self.gimp("visible", self.id, ("Y'A " if self.grey else "R'G'B'A ") + kind)
        return np.frombuffer(data, DEPTHS[kind]).reshape(self.height, self.width, -1)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.gimp("state", self.id)
        return state

    def call(self, *layers: int, **arguments: object) -> tuple[str, str]:
        """The plug-in's status and message."""
        status, message, _ = self.gimp("call", self.id, list(layers), **arguments)
        return status, message

    def harmonize(self, layer: int, **arguments: object) -> dict[str, Any]:
        """The new layer, which is the one above."""
        assert self.call(layer, **arguments) == ("success", "")
        siblings = next(each for each in _groups(self.state()["layers"]) if layer in [one["id"] for one in each])
        result: dict[str, Any] = siblings[[each["id"] for each in siblings].index(layer) - 1]
        return result

    def pixels(self, layer: dict[str, Any], form: str, kind: str) -> Array:
        data = self.gimp("pixels", layer["id"], f"{form} {kind}")
        return np.frombuffer(data, DEPTHS[kind]).reshape(layer["rect"][3], layer["rect"][2], -1)


def _groups(layers: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [layers, *(group for layer in layers for group in _groups(layer["children"]))]


def engine(harmonizer: Harmonizer, image: Array, mask: Array) -> Array:
    """The colours, unblended, that the engine itself gives for a mask that comes in the image's depth."""
    kind = next(kind for kind, depth in DEPTHS.items() if image.dtype == depth)
    coverage = np.frombuffer(encoded(mask / 255, kind), image.dtype).reshape(mask.shape)
    if image.dtype == np.float16:
        image, coverage = image.astype(np.float32), coverage.astype(np.float32)
    result = np.asarray(harmonizer.harmonize(image, coverage, blend=False).image)
    return result.astype(DEPTHS[kind])[..., :-1]


def holds(picture: Picture, result: dict[str, Any], expected: Array, mask: Array) -> None:
    """The layer has exactly the engine's colours where there is foreground, and the foreground as its alpha."""
    x, y, width, height = result["rect"]
    assert (x, y, width, height) == box(mask)
    area = slice(y, y + height), slice(x, x + width)
    got = picture.pixels(result, "Y'A" if picture.grey else "R'G'B'A", picture.kind)
    inside = mask[area] > 0
    np.testing.assert_array_equal(got[..., :-1][inside], expected[area][inside])
    atol = 0.51 / picture.full if picture.full > 1 else 1e-3
    np.testing.assert_allclose(got[..., -1] / picture.full, mask[area] / 255, rtol=0, atol=atol)


# Each precision


@pytest.mark.parametrize(
    ("base", "precision"),
    [*(("RGB", precision) for precision in PRECISIONS), *(("GRAY", f"{depth}_NON_LINEAR") for depth in STEPS)]
    + [("GRAY", "U8_LINEAR"), ("GRAY", "FLOAT_LINEAR")],
)
def test_each_precision_gets_the_engines_pixels(gimp: Gimp, harmonizer: Harmonizer, base: str, precision: str) -> None:
    picture = Picture(gimp, precision=precision, base=base)
    layer, mask = picture.backdrop(), object_mask()
    picture.select(mask)
    original, before = gimp("pixels", layer), picture.seen()
    result = picture.harmonize(layer)

    expected = engine(harmonizer, before, mask)
    depth, curve = precision.split("_", 1)
    if depth in ("U8", "U16", "HALF", "FLOAT") and curve != "LINEAR":
        holds(picture, result, expected, mask)
    else:
        # In the document's own values, which is where its steps are even.
        linear = curve == "LINEAR"
        form = {("RGB", True): "RGBA", ("RGB", False): "R'G'B'A", ("GRAY", True): "YA", ("GRAY", False): "Y'A"}
        x, y, width, height = result["rect"]
        area = slice(y, y + height), slice(x, x + width)
        values = decode_srgb(expected) if linear else expected
        got = picture.pixels(result, form[base, linear], "float")[..., :-1]
        values = np.clip(values[area], 0, 1) if depth[0] == "U" else values[area]
        inside = mask[area] > 0
        np.testing.assert_allclose(got[inside], values[inside], rtol=0, atol=STEPS[depth] + ROUNDING)
        assert (x, y, width, height) == box(mask)
    assert result["name"] == "photo (harmonized)" and result["opacity"] == 100
    assert gimp("pixels", layer) == original
    # GIMP blends in floats, so a layer that is transparent there moves what is seen by a last bit, as any layer does.
    seen, outside = picture.seen(), mask == 0
    np.testing.assert_allclose(seen[outside], before[outside], rtol=0, atol=0 if seen.dtype.kind == "u" else 2e-6)
    assert (np.abs(seen.astype(float) - before)[~outside] > 0.02 * picture.full).any()
    gimp("delete", picture.id)
