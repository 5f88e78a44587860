"""The plug-in in a real GIMP 3 without a screen, against a real daemon that it starts, with the shipped network."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage.color import rgb2lab

from backend.link import Client
from backend.link.context import context_box
from backend.link.messages import Rect
from backend.link.texts import text
from gknet import Harmonizer
from gknet.color import decode_srgb
from tests.editors.gimp.session import Gimp, processes
from tests.places import EXAMPLES
from tests.processes import stopped, wait

Array = npt.NDArray[Any]

WIDTH, HEIGHT = 320, 213
DEPTHS: dict[str, Any] = {"u8": np.uint8, "u16": np.uint16, "half": np.float16, "float": np.float32}
# What a precision's values travel as: sRGB values in so many bits if those hold all that it holds, else in floats.
NORMAL_LEGACY, LCH_COLOR, LCH_LIGHTNESS, NORMAL, MULTIPLY, PASS_THROUGH = 0, 26, 27, 28, 30, 61  # of Gimp.LayerMode
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
ROUNDING = 1e-5  # babl's curves, which are less exact than floats could be
EXACT = {precision for precision, kind in PRECISIONS.items() if kind != "float"} | {"FLOAT_NON_LINEAR"}


def photo() -> Array:
    """float32 [H, W, 3]: an example, with more depth than its 8 bits."""
    with Image.open(EXAMPLES / "astronaut.jpg") as picture:
        values = np.asarray(picture.convert("RGB").resize((WIDTH, HEIGHT))) / 255
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, values.shape) / 255
    return np.clip(values + noise, 0, 1).astype(np.float32)


def object_mask() -> Array:
    """uint8 [H, W], with soft edges."""
    with Image.open(EXAMPLES / "astronaut_mask.png") as picture:
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


def engine(harmonizer: Harmonizer, image: Array, mask: Array, *, pasted: bool | None = True) -> Array:
    """The colours, unblended, that the engine itself gives for a mask that comes in the image's depth; ``pasted`` is
    None where that is a selection of an opaque layer."""
    kind = next(kind for kind, depth in DEPTHS.items() if image.dtype == depth)
    coverage = np.frombuffer(encoded(mask / 255, kind), image.dtype).reshape(mask.shape)
    if image.dtype == np.float16:
        image, coverage = image.astype(np.float32), coverage.astype(np.float32)
    result = np.asarray(harmonizer.harmonize(image, coverage, pasted=pasted, blend=False).image)
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

    expected = engine(harmonizer, before, mask, pasted=None)
    depth, curve = precision.split("_", 1)
    if precision in EXACT:
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


# What the foreground and the picture are


def cutout() -> Array:
    """float32 [H, W, 4]: the object alone, bluer than it was."""
    values = photo() * np.array([0.7, 0.85, 1.0], np.float32)
    return np.concatenate([values, object_mask()[..., None] / np.float32(255)], axis=2)


def placed(alpha: Array, at: tuple[int, int]) -> Array:
    """A layer's alpha, on the canvas."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    height, width = alpha.shape
    left, top = max(at[0], 0), max(at[1], 0)
    right, bottom = min(at[0] + width, WIDTH), min(at[1] + height, HEIGHT)
    canvas[top:bottom, left:right] = alpha[top - at[1] : bottom - at[1], left - at[0] : right - at[0]]
    return canvas


@pytest.fixture
def picture(gimp: Gimp) -> Iterator[Picture]:
    """The photograph on a layer, 8 bits, and nothing selected."""
    picture = Picture(gimp)
    picture.backdrop()
    yield picture
    gimp("delete", picture.id)


@pytest.mark.parametrize("at", [(0, 0), (-60, -40), (70, 90)])
def test_a_pasted_layer_is_the_foreground_wherever_it_lies(
    picture: Picture, harmonizer: Harmonizer, at: tuple[int, int]
) -> None:
    layer = picture.layer(cutout(), "pasted", at)
    mask, before = placed(object_mask(), at), picture.seen()
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, mask), mask)


@pytest.mark.parametrize(
    ("base", "precision"),
    [("GRAY", "U8_NON_LINEAR"), ("GRAY", "U16_NON_LINEAR"), ("RGB", "U16_NON_LINEAR"), ("RGB", "HALF_NON_LINEAR")],
)
def test_a_pasted_layer_in_other_kinds_of_images(gimp: Gimp, harmonizer: Harmonizer, base: str, precision: str) -> None:
    picture = Picture(gimp, precision=precision, base=base)
    picture.backdrop()
    layer = picture.layer(cutout()[..., [1, 3]] if base == "GRAY" else cutout(), "pasted")
    before = picture.seen()
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, object_mask()), object_mask())
    gimp("delete", picture.id)


def test_a_layer_smaller_than_the_picture_and_one_that_is_larger(picture: Picture, harmonizer: Harmonizer) -> None:
    values = cutout()
    small = picture.layer(values[60:150, 40:200], "small", (30, 20))
    mask, before = placed(object_mask()[60:150, 40:200], (30, 20)), picture.seen()
    holds(picture, picture.harmonize(small), engine(harmonizer, before, mask), mask)
    large = picture.layer(np.pad(values, ((50, 50), (60, 60), (0, 0))), "large", (-60, -50))
    mask, before = object_mask(), picture.seen()
    holds(picture, picture.harmonize(large), engine(harmonizer, before, mask), mask)


def test_what_lies_above_does_not_count_and_stays_above(gimp: Gimp, picture: Picture, harmonizer: Harmonizer) -> None:
    layer = picture.layer(cutout(), "pasted")
    before = picture.seen()
    picture.layer(np.full((HEIGHT, WIDTH, 3), 0.9, np.float32), "covering")
    result = picture.harmonize(layer)
    holds(picture, result, engine(harmonizer, before, object_mask()), object_mask())
    names = ["covering", "pasted (harmonized)", "pasted", "photo"]
    assert [each["name"] for each in picture.state()["layers"]] == names
    assert all(each["visible"] for each in picture.state()["layers"])


def test_a_layer_mask_hides_part_of_the_object(gimp: Gimp, picture: Picture, harmonizer: Harmonizer) -> None:
    layer = picture.layer(cutout(), "pasted")
    shown = np.zeros((HEIGHT, WIDTH), np.uint8)
    shown[:, : WIDTH // 4] = 255
    gimp("mask", layer, shown.tobytes())
    mask, before = np.minimum(object_mask(), shown), picture.seen()
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, mask), mask)


def test_a_layer_mask_that_is_shown(gimp: Gimp, picture: Picture, harmonizer: Harmonizer) -> None:
    layer = picture.layer(cutout(), "pasted")
    gimp("mask", layer, bytes([255]) * (WIDTH * HEIGHT))
    before = picture.seen()
    gimp("change", layer, show_mask=True)
    assert (picture.seen() != before).any()
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, object_mask()), object_mask())


def test_layers_whose_visibility_is_locked(gimp: Gimp, picture: Picture, harmonizer: Harmonizer) -> None:
    layer = picture.layer(cutout(), "pasted")
    gimp("mask", layer, bytes([255]) * (WIDTH * HEIGHT))  # what is below is hidden to see the layer alone
    before = picture.seen()
    covering = picture.layer(np.full((HEIGHT, WIDTH, 3), 0.9, np.float32), "covering")
    for each in (covering, picture.state()["layers"][-1]["id"]):
        gimp("change", each, lock_visibility=True)
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, object_mask()), object_mask())


def test_groups(gimp: Gimp, picture: Picture, harmonizer: Harmonizer) -> None:
    outer = gimp("group", picture.id, "outer")
    inner = gimp("group", picture.id, "inner", outer)
    layer = picture.layer(cutout(), "pasted", parent=inner)
    before = picture.seen()
    picture.layer(np.full((HEIGHT, WIDTH, 3), 0.9, np.float32), "covering", parent=outer)
    expected = engine(harmonizer, before, object_mask())
    holds(picture, picture.harmonize(layer), expected, object_mask())
    inside = picture.state()["layers"][0]["children"][1]
    assert inside["id"] == inner and [each["name"] for each in inside["children"]] == ["pasted (harmonized)", "pasted"]

    gimp("remove", picture.id, inside["children"][0]["id"])
    holds(picture, picture.harmonize(inner), expected, object_mask())  # the group as one object
    assert [each["name"] for each in picture.state()["layers"][0]["children"]] == [
        "covering",
        "inner (harmonized)",
        "inner",
    ]


@pytest.mark.parametrize(
    "effect", [{"opacity": 50.0}, {"mode": MULTIPLY}, {"mode": PASS_THROUGH, "opacity": 50.0}, "mask"]
)
def test_what_a_group_does_is_done_to_the_result_once(
    gimp: Gimp, picture: Picture, harmonizer: Harmonizer, effect: dict[str, Any] | str
) -> None:
    group = gimp("group", picture.id, "group")
    layer = picture.layer(cutout(), "pasted", parent=group)
    before = picture.seen()
    if isinstance(effect, dict):
        gimp("change", group, **effect)
    else:
        gimp("mask", group, bytes([128]) * (WIDTH * HEIGHT))
    assert (picture.seen() != before).any()
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, object_mask()), object_mask())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("precision", ["U8_NON_LINEAR", "U16_NON_LINEAR", "FLOAT_LINEAR"])
def test_a_layer_that_is_half_transparent_is_changed_as_it_is_when_opaque(
    gimp: Gimp, precision: str, masked: bool
) -> None:
    picture = Picture(gimp, precision=precision)
    picture.layer(np.ascontiguousarray(photo()[::-1]), "below")
    layer = picture.layer(cutout() * np.float32([0.5, 0.5, 0.7, 1]), "pasted")
    if masked:  # the other way to its own colours
        gimp("mask", layer, bytes([255]) * (WIDTH * HEIGHT))
    x, y, width, height = box(object_mask())
    area = slice(y, y + height), slice(x, x + width)

    def change() -> tuple[Array, Array]:
        """What is added to what is seen, and the result's alpha; 0..1."""
        before = picture.seen()[area] / picture.full
        result = picture.harmonize(layer)
        got = picture.pixels(result, "R'G'B'A", picture.kind) / picture.full
        gimp("remove", picture.id, result["id"])
        return got[..., :3] - before[..., :3], got[..., 3]

    opaque, alpha = change()
    gimp("change", layer, opacity=50.0)
    half, faint = change()
    np.testing.assert_allclose(faint, alpha / 2, atol=0.003)
    inside = alpha == 1
    assert abs(opaque[inside]).mean() > 0.02
    assert abs(half - opaque)[inside].mean() < 0.2 * abs(opaque[inside]).mean()
    gimp("delete", picture.id)


def test_a_shadow_in_the_layer_stays_as_it_is(picture: Picture) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    own, shadow = cutout(), 0.5 * np.clip(1.5 - 1.5 * np.hypot((x - 180) / 60, (y - 100) / 60), 0, 1)
    alpha = own[..., 3].copy()
    own[..., 3] += (1 - alpha) * shadow
    own[..., :3] *= np.divide(alpha, own[..., 3], out=np.zeros_like(alpha), where=own[..., 3] > 0)[..., None]
    layer = picture.layer(own, "pasted")
    before = picture.seen()
    result = picture.harmonize(layer)
    left, top, width, height = result["rect"]
    coverage = np.zeros((HEIGHT, WIDTH), np.uint8)
    coverage[top : top + height, left : left + width] = picture.pixels(result, "R'G'B'A", "u8")[..., 3]
    cast = (alpha == 0) & (shadow > 0.02)
    assert cast.mean() > 0.02 and (coverage[cast] == 0).all() and (coverage[alpha == 1] == 255).all()
    after = picture.seen()
    assert (after[cast] == before[cast]).all()
    assert abs(after[alpha == 1].astype(int) - before[alpha == 1]).mean() > 3


@pytest.mark.parametrize("effect", ["none", "mask", "filter", "legacy"])
def test_a_shadow_on_the_layer_below_is_not_taken_for_the_scenes_light(
    gimp: Gimp, picture: Picture, harmonizer: Harmonizer, effect: str
) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shadow = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    shadow[..., 3] = np.clip(3 - 3 * np.hypot((x - 120) / 110, (y - 110) / 100), 0, 1)
    below = picture.layer(shadow, "shadow")
    if effect == "mask":
        gimp("mask", below, bytes([128]) * (WIDTH * HEIGHT))
    elif effect == "filter":
        gimp("blur", below, 6.0)
    gimp("change", below, opacity=100.0 if effect == "mask" else 70.0)
    layer = picture.layer(cutout(), "pasted")
    if effect == "legacy":  # these modes do not blend in linear light
        gimp("change", below, mode=NORMAL_LEGACY)
        gimp("change", layer, mode=NORMAL_LEGACY)
    darker = engine(harmonizer, picture.seen(), object_mask())
    result = picture.harmonize(layer)
    left, top, width, height = result["rect"]
    got = picture.pixels(result, "R'G'B'A", "u8")
    gimp("remove", picture.id, result["id"])
    gimp("remove", picture.id, below)
    bare = engine(harmonizer, picture.seen(), object_mask())
    area = np.s_[top : top + height, left : left + width]
    solid = got[..., 3] == 255
    expected = bare[area][solid].astype(int)
    cost, rest = (abs(expected - other).mean() for other in (darker[area][solid], got[solid][:, :3]))
    assert cost > 0.5 and rest < 0.5 * cost


def test_a_drop_shadow_that_is_an_effect_stays_as_it_is(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    bare = picture.seen()
    gimp("drop_shadow", layer)
    before = picture.seen()
    result = picture.harmonize(layer)
    x, y, width, height = result["rect"]
    coverage = np.zeros((HEIGHT, WIDTH), np.uint8)
    coverage[y : y + height, x : x + width] = picture.pixels(result, "R'G'B'A", "u8")[..., 3]
    mask, after = object_mask(), picture.seen()
    cast = (mask == 0) & (before != bare).any(2)
    assert cast.mean() > 0.01 and (coverage[cast] == 0).mean() > 0.99 and (coverage[mask == 255] == 255).all()
    assert (after[cast] == before[cast]).mean() > 0.99


def test_of_a_layer_in_another_mode_only_what_is_seen_is_known(
    gimp: Gimp, picture: Picture, harmonizer: Harmonizer
) -> None:
    layer = picture.layer(cutout(), "pasted")
    gimp("change", layer, opacity=50.0, mode=MULTIPLY)
    before = picture.seen()
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, object_mask()), object_mask())


def test_a_text_layer(gimp: Gimp, picture: Picture, harmonizer: Harmonizer) -> None:
    empty = picture.seen()
    layer = gimp("text_layer", picture.id, "GKNet", 80, (40, 60))
    before = picture.seen()
    result = picture.harmonize(layer)
    x, y, width, height = result["rect"]
    area = slice(y, y + height), slice(x, x + width)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[area] = picture.pixels(result, "R'G'B'A", "u8")[..., 3]
    holds(picture, result, engine(harmonizer, before, mask), mask)
    assert ((before != empty).any(2) <= (mask > 0)).all() and 0 < (mask > 0).mean() < 0.5


def test_a_selection_counts_within_what_the_layer_shows(gimp: Gimp, picture: Picture, harmonizer: Harmonizer) -> None:
    layer = picture.layer(cutout(), "pasted")
    chosen = np.zeros((HEIGHT, WIDTH), np.uint8)
    chosen[: HEIGHT // 2] = 255
    picture.select(chosen)
    mask, before, selection = np.minimum(object_mask(), chosen), picture.seen(), picture.state()["selection"]
    holds(picture, picture.harmonize(layer), engine(harmonizer, before, mask), mask)
    assert picture.state()["selection"] == selection and gimp("selected", picture.id) == chosen.tobytes()


def test_a_small_object_in_a_large_picture_is_seen_with_its_surroundings(gimp: Gimp, harmonizer: Harmonizer) -> None:
    picture = Picture(gimp, 1500, 1100)
    layer = picture.layer(np.tile(photo(), (6, 5, 1))[:1100, :1500])
    spot = Rect(900, 300, 90, 70)
    mask = np.zeros((1100, 1500), np.uint8)
    mask[spot.y : spot.y + spot.height, spot.x : spot.x + spot.width] = 255
    picture.select(mask)
    left, top, width, height = context_box(spot, Rect(0, 0, 1500, 1100))
    assert width * height < 1500 * 1100 / 4
    area = slice(top, top + height), slice(left, left + width)
    before = picture.seen()
    expected = before[..., :3].copy()
    expected[area] = engine(
        harmonizer, np.ascontiguousarray(before[area]), np.ascontiguousarray(mask[area]), pasted=None
    )
    holds(picture, picture.harmonize(layer), expected, mask)
    gimp("delete", picture.id)


@pytest.mark.parametrize(("profile", "precision"), [("adobe", "U8_NON_LINEAR"), ("linear", "U16_NON_LINEAR")])
def test_another_profile_is_converted_there_and_back(
    gimp: Gimp, harmonizer: Harmonizer, profile: str, precision: str
) -> None:
    picture = Picture(gimp, precision=precision, profile=profile)
    layer = picture.backdrop()
    picture.select(object_mask())
    before, icc = picture.seen(), picture.state()["profile"]
    result = picture.harmonize(layer)
    assert picture.state()["profile"] == icc
    # What GIMP makes of the engine's sRGB values is what stands in the layer, in the document's own values.
    expected = np.concatenate([engine(harmonizer, before, object_mask(), pasted=None), before[..., 3:]], 2)
    x, y, width, height = result["rect"]
    wanted = picture.layer(expected[y : y + height, x : x + width], "expected")
    depth = np.uint8 if precision[:2] == "U8" else np.uint16
    own, theirs = (
        np.frombuffer(gimp("pixels", each), depth).reshape(height, width, 4) for each in (result["id"], wanted)
    )
    inside = object_mask()[y : y + height, x : x + width] > 0
    np.testing.assert_array_equal(own[inside][:, :3], theirs[inside][:, :3])
    gimp("delete", picture.id)


def test_the_layers_mode_takes_light_or_colours_alone(picture: Picture, gimp: Gimp) -> None:
    layer = picture.layer(cutout(), "pasted")
    pictures = {"before": picture.seen()}
    result = picture.harmonize(layer)
    for name, mode in (("whole", NORMAL), ("light", LCH_LIGHTNESS), ("colours", LCH_COLOR)):
        gimp("change", result["id"], mode=mode)
        pictures[name] = picture.seen()
    inside = object_mask() == 255
    lab = {name: rgb2lab(seen[inside][:, :3] / 255) for name, seen in pictures.items()}
    for channels, light, colours in ((slice(0, 1), "whole", "before"), (slice(1, 3), "before", "whole")):
        values = {name: found[:, channels] for name, found in lab.items()}
        changed = abs(values["whole"] - values["before"]).mean()
        assert changed > 0.5
        assert abs(values["light"] - values[light]).mean() < 0.3 * changed
        assert abs(values["colours"] - values[colours]).mean() < 0.3 * changed


# Arguments


def test_strength_is_the_opacity_and_feather_softens(picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    sharp = picture.harmonize(layer, strength=60.0, model="gknet-lite")
    assert sharp["opacity"] == 60
    soft = picture.harmonize(layer, feather=6.0)
    assert soft["opacity"] == 100
    grown = [edge - other for edge, other in zip(soft["rect"], sharp["rect"], strict=True)]
    assert grown[0] <= 0 and grown[1] < 0 and 0 < grown[2] <= 12 and 0 < grown[3] <= 12


def test_from_script_fu(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    gimp(
        "script_fu",
        f"(plug-in-harmonize-layer #:run-mode RUN-NONINTERACTIVE #:image {picture.id} "
        f'#:drawables (vector {layer}) #:strength 40 #:model "auto")',
    )
    result = picture.state()["layers"][0]
    assert (result["name"], result["opacity"]) == ("pasted (harmonized)", 40)


# The result: again, saved, opened


def test_again_replaces_what_is_unedited_and_keeps_the_rest(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    first = picture.harmonize(layer)
    second = picture.harmonize(layer, strength=50.0)
    assert [each["name"] for each in picture.state()["layers"]] == ["pasted (harmonized)", "pasted", "photo"]
    assert second["id"] != first["id"] and second["opacity"] == 50 and picture.state()["active"] == [layer]
    gimp("copy", picture.id, second["id"])
    third = picture.harmonize(layer)
    assert len(picture.state()["layers"]) == 4
    gimp("fill", third["id"])
    painted = gimp("pixels", third["id"])
    fourth = picture.harmonize(layer)
    layers = [each["id"] for each in picture.state()["layers"]]
    assert len(layers) == 5 and layers[-4:-1] == [third["id"], fourth["id"], layer]
    assert gimp("pixels", third["id"]) == painted


def test_again_with_the_result_active(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    first = picture.harmonize(layer)
    assert picture.call(first["id"]) == ("success", "")
    assert [each["name"] for each in picture.state()["layers"]] == ["pasted (harmonized)", "pasted", "photo"]
    assert picture.state()["active"] == [layer]


@pytest.mark.parametrize("change", [{"name": "mine"}, {"mode": MULTIPLY}, {"lock_content": True}], ids=str)
def test_again_keeps_what_the_user_has_made_his_own(gimp: Gimp, picture: Picture, change: dict[str, Any]) -> None:
    layer = picture.layer(cutout(), "pasted")
    first = picture.harmonize(layer)
    gimp("change", first["id"], **change)
    second = picture.harmonize(layer)
    layers = [each["id"] for each in picture.state()["layers"]]
    assert layers[:3] == [first["id"], second["id"], layer]


def test_several_objects_of_one_photo_keep_a_result_each(gimp: Gimp, picture: Picture) -> None:
    photo = picture.state()["layers"][0]["id"]
    for (x, y, width, height), results in (((20, 20, 80, 60), 1), ((90, 60, 100, 90), 2), ((94, 62, 96, 90), 2)):
        chosen = np.zeros((HEIGHT, WIDTH), np.uint8)
        chosen[y : y + height, x : x + width] = 255
        picture.select(chosen)
        picture.harmonize(photo)
        assert len(picture.state()["layers"]) == results + 1


def test_the_result_is_saved_and_known_again(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    result = picture.harmonize(layer, strength=60.0)  # which XCF's bytes hold exactly
    seen, colours = picture.seen(), gimp("pixels", result["id"])
    for name in ("saved.xcf", "saved.png"):
        gimp("save", picture.id, str(gimp.folder / name))
    flat = gimp("load", str(gimp.folder / "saved.png"))
    np.testing.assert_array_equal(seen.tobytes(), gimp("visible", flat, "R'G'B'A u8"))
    opened = gimp("load", str(gimp.folder / "saved.xcf"))
    top, pasted, _ = gimp("state", opened)["layers"]
    assert (top["name"], round(top["opacity"], 3), top["rect"]) == (result["name"], 60, result["rect"])
    assert gimp("pixels", top["id"]) == colours
    assert gimp("call", opened, [pasted["id"]])[0] == "success"
    assert [each["name"] for each in gimp("state", opened)["layers"]] == ["pasted (harmonized)", "pasted", "photo"]
    for image in (flat, opened):
        gimp("delete", image)


# What cannot be done is said, and changes nothing


def none_selected(gimp: Gimp, picture: Picture) -> list[int]:
    return [picture.state()["layers"][0]["id"]]


def no_background(gimp: Gimp, picture: Picture) -> list[int]:
    (photograph,) = none_selected(gimp, picture)
    layer = picture.layer(cutout(), "pasted")
    gimp("change", photograph, visible=False)
    return [layer]


def several(gimp: Gimp, picture: Picture) -> list[int]:
    return [picture.layer(cutout(), "pasted"), *none_selected(gimp, picture)]


def masked(gimp: Gimp, picture: Picture) -> list[int]:
    return [gimp("mask", picture.layer(cutout(), "pasted"), bytes([255]) * WIDTH * HEIGHT)]


def channel(gimp: Gimp, picture: Picture) -> list[int]:
    return [gimp("channel", picture.id)]


def indexed(gimp: Gimp, picture: Picture) -> list[int]:
    layer = picture.layer(cutout(), "pasted")
    gimp("indexed", picture.id)
    return [layer]


def floating(gimp: Gimp, picture: Picture) -> list[int]:
    return [gimp("float_selection", picture.id, *none_selected(gimp, picture))]


def hidden(gimp: Gimp, picture: Picture) -> list[int]:
    layer = picture.layer(cutout(), "pasted")
    gimp("change", layer, visible=False)
    return [layer]


def of_no_opacity(gimp: Gimp, picture: Picture) -> list[int]:
    layer = picture.layer(cutout(), "pasted")
    gimp("change", layer, opacity=0.0)
    return [layer]


def in_hidden_group(gimp: Gimp, picture: Picture) -> list[int]:
    group = gimp("group", picture.id, "mine")
    layer = picture.layer(cutout(), "pasted", parent=group)
    gimp("change", group, visible=False)
    return [layer]


def locked(gimp: Gimp, picture: Picture) -> list[int]:
    layer = picture.layer(cutout(), "pasted")
    gimp("change", layer, lock_content=True)
    return [layer]


def in_locked_group(gimp: Gimp, picture: Picture) -> list[int]:
    group = gimp("group", picture.id, "mine")
    layer = picture.layer(cutout(), "pasted", parent=group)
    gimp("change", group, lock_content=True)
    return [layer]


def transparent(gimp: Gimp, picture: Picture) -> list[int]:
    return [picture.layer(cutout() * 0, "pasted")]


def elsewhere(gimp: Gimp, picture: Picture) -> list[int]:
    return [picture.layer(cutout(), "pasted", (WIDTH, 0))]


def selected_beside(gimp: Gimp, picture: Picture) -> list[int]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:20, :20] = 255
    picture.select(mask)
    return [picture.layer(cutout()[100:], "pasted", (0, 100))]


def selected_transparent(gimp: Gimp, picture: Picture) -> list[int]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:20, -20:] = 255
    picture.select(mask)
    return [picture.layer(cutout(), "pasted")]


def all_selected(gimp: Gimp, picture: Picture) -> list[int]:
    picture.select(np.full((HEIGHT, WIDTH), 255, np.uint8))
    return none_selected(gimp, picture)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (none_selected, text("no_object")),
        (no_background, text("no_background")),
        (several, text("several_layers")),
        (masked, text("mask")),
        (channel, text("channel")),
        (indexed, text("colour_model", model="indexed colours", menu="Image > Mode > RGB")),
        (floating, text("floating")),
        (hidden, text("layer_hidden")),
        (of_no_opacity, text("layer_hidden")),
        (in_hidden_group, text("layer_hidden")),
        (locked, text("layer_locked", layer="pasted")),
        (in_locked_group, text("layer_locked", layer="mine")),
        (transparent, text("layer_empty")),
        (elsewhere, text("layer_empty")),
        (selected_beside, text("selection_empty")),
        (selected_transparent, text("error.no_foreground")),
        (all_selected, text("error.no_background")),
    ],
)
def test_what_cannot_be_harmonized(
    gimp: Gimp, picture: Picture, prepare: Callable[[Gimp, Picture], list[int]], message: str
) -> None:
    drawables = prepare(gimp, picture)
    gimp("clean", picture.id)
    before = picture.state()
    status, said = picture.call(*drawables)
    assert status == "execution-error" and said.startswith(message)
    assert picture.state() == before and not before["dirty"]


def test_a_backend_that_is_not_installed(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    gimp("clean", picture.id)
    before, file = picture.state(), gimp.plug_in / "harmonize" / "backend.json"
    content = file.read_text()
    file.write_text(content.replace('"python": "', '"python": "/nowhere'))
    try:
        status, said = picture.call(layer)
    finally:
        file.write_text(content)
    assert status == "execution-error" and said.startswith(
        "The backend is not installed: there is no Python at /nowhere"
    )
    assert picture.state() == before


# What happens meanwhile


@contextmanager
def held(gimp: Gimp, picture: Picture, layer: int) -> Iterator[Client]:
    """A job that stays with the worker, as if a stage took very long."""
    picture.harmonize(layer)
    gimp("remove", picture.id, picture.state()["layers"][0]["id"])
    gimp("clean", picture.id)
    with Client(file=gimp.connection) as client:
        with stopped(client.status().workers[0].pid):
            gimp.begin("call", picture.id, [layer])
            wait(lambda: client.status().running == 1)
            yield client


def test_a_worker_that_dies(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    with held(gimp, picture, layer) as client:
        os.kill(client.status().workers[0].pid, signal.SIGKILL)
        status, said, _ = gimp.end()
    assert status == "execution-error" and said.startswith(text("error.worker_died"))
    state = picture.state()
    assert [each["name"] for each in state["layers"]] == ["pasted", "photo"] and not state["dirty"]
    picture.harmonize(layer)


def test_cancel_which_kills_the_plug_in_ends_the_job(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    images = picture.state()["images"]
    with held(gimp, picture, layer) as client:
        before = client.status().cancelled
        (program,) = processes(str(gimp.plug_in / "harmonize_layer.py"))
        os.kill(program, signal.SIGKILL)
        status, _, _ = gimp.end()
        wait(lambda: client.status().cancelled == before + 1)
    assert status != "success"
    state = picture.state()
    assert [each["name"] for each in state["layers"]] == ["pasted", "photo"] and not state["dirty"]
    assert state["images"] == images
    picture.harmonize(layer)


def test_copies_of_a_plug_in_that_was_killed_are_deleted(gimp: Gimp, picture: Picture) -> None:
    layer, images = picture.layer(cutout(), "pasted"), picture.state()["images"]
    gimp("leave_copy", picture.id, False)
    running = gimp("leave_copy", picture.id, True)
    picture.harmonize(layer)
    assert picture.state()["images"] == images + 1
    gimp("delete", running)
    assert picture.state()["images"] == images


def test_a_daemon_that_is_stopped(gimp: Gimp, picture: Picture) -> None:
    layer = picture.layer(cutout(), "pasted")
    with held(gimp, picture, layer) as client:
        client.shutdown()
        status, said, _ = gimp.end()
    assert status == "execution-error" and said.startswith(text("error.stopping"))
    assert not picture.state()["dirty"]
    picture.harmonize(layer)  # which starts another daemon
