"""Foregrounds full of holes are shown to the network as if they were solid, and only those."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from gknet import Harmonizer, perforated
from gknet.harmonizer import as_seen
from gknet.perforated import Array, Cells, joined
from tests.gknet.test_harmonizer import changed, disc, harmonizer, picture
from tests.places import EXAMPLES

SIDE = 240
SEEN = 192
INSIDE = (slice(60, 180), slice(50, 200))


def found(mask: Array, side: int = SEEN) -> Cells | None:
    picture = np.zeros((*mask.shape, 3), np.uint8)
    return joined(mask, as_seen(picture, mask, side)[1])


def places(side: int = SIDE) -> tuple[Array, Array]:
    y, x = np.mgrid[:side, :side]
    return y, x


def box() -> Array:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[INSIDE] = True
    return mask


def perforations() -> dict[str, Array]:
    y, x = places()
    random = np.random.default_rng(0)
    return {
        "stripes": x % 8 < 2,
        "grid": (x % 12 < 3) | (y % 12 < 3),
        "fence": ((x + y) % 14 < 3) | ((x - y) % 14 < 3),
        "dots": (x % 6 < 2) & (y % 6 < 2),
        "speckles": random.random((SIDE, SIDE)) < 0.3,
    }


@pytest.mark.parametrize("name", perforations())
@pytest.mark.parametrize("opacity", [True, np.uint8(255), np.uint16(40_000), np.float32(0.3)])
def test_a_perforated_foreground_is_joined_to_its_outline(name: str, opacity: bool | np.generic) -> None:
    cells = found(np.where(perforations()[name] & box(), opacity, np.zeros_like(opacity)))
    assert cells is not None
    outline = as_seen(np.zeros((SIDE, SIDE, 3), np.uint8), box(), SEEN)[1]
    near = 6 * SEEN // SIDE + 2  # the last stripe may lie that far within
    assert not cells[outline == 0].any()
    y, x = (slice(round(part.start * SEEN / SIDE) + near, round(part.stop * SEEN / SIDE) - near) for part in INSIDE)
    assert cells[y, x].all()


def whole_ones() -> dict[str, Array]:
    y, x = places()
    away = np.hypot(y - 120, x - 120)
    return {
        "box": box(),
        "half-transparent box": box() * np.float32(0.5),
        "disc": away < 70,
        "feathered disc": np.clip(1.5 - away / 80, 0, 1),
        "cone": np.clip(1 - away / 100, 0, 1),
        "ring": (away < 90) & (away > 50),
        "rod": abs(x - y) < 6,
        "two": (np.hypot(y - 120, x - 70) < 30) | (np.hypot(y - 120, x - 170) < 30),
        "grid all over": (x % 12 < 3) | (y % 12 < 3),
    }


@pytest.mark.parametrize("name", whole_ones())
def test_others_are_left_as_they_are(name: str) -> None:
    assert found(whole_ones()[name]) is None


@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("side", [64, 150, 1200])
def test_what_is_filled_has_the_foregrounds_own_colours(side: int, dtype: str, opaque: bool) -> None:
    y, x = places(side)
    random, full = np.random.default_rng(1), 1 if dtype == "float32" else np.iinfo(dtype).max
    mask = (x % 5 < 1) & (np.hypot(y - side / 2, x - side / 2) < side / 3)
    levels = np.where(mask, random.choice([0.8, 0.9], mask.shape), random.choice([0.1, 0.2], mask.shape))
    channels = [levels, levels / 2, 1 - levels] + ([] if opaque else [np.where(y < side * 0.9, 1, 0)])
    image = (np.stack(channels, -1) * full).astype(dtype)
    colours, seen = as_seen(image, mask, 128)
    cells = joined(mask, seen)
    assert cells is not None and 0.25 < cells.mean() < 0.4
    filled = perforated.filled(image, mask, colours, cells)
    assert np.array_equal(filled[~cells], colours[~cells])
    red, green, blue = np.moveaxis(filled[cells], -1, 0)
    assert 0.77 < red.min() and red.max() < 0.93  # cubic growth overshoots a little
    np.testing.assert_allclose(green, red / 2, atol=0.01)
    np.testing.assert_allclose(blue, 1 - red, atol=0.01)


@pytest.mark.parametrize("side", [400, 1000])
def test_a_perforated_foreground_gets_the_change_of_the_whole(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Harmonizer.load(device="cpu")
    picture, whole = (
        np.asarray(Image.open(EXAMPLES / name).resize((side, side))) for name in ("astronaut.jpg", "astronaut_mask.png")
    )
    dark = np.where(whole[..., None] > 127, picture * 0.6, picture).astype(np.uint8)
    holes = np.where((places(side)[1] % 12 < 3) & (whole > 127), np.uint8(255), np.uint8(0))
    marked = holes > 0
    behind = np.roll(picture[:, ::-1], side // 3, 0)
    perforated_one = np.where((whole > 0)[..., None] & ~marked[..., None], behind, dark)

    def change(document: Array, mask: Array) -> Array:
        result = np.asarray(loaded(document, mask, pasted=True)).astype(float)
        assert np.array_equal(result[mask == 0], document[mask == 0])
        return (result[marked] - document[marked]).mean(0)

    wanted, got = change(dark, whole), change(perforated_one, holes)
    monkeypatch.setattr(perforated, "MUCH", math.inf)
    before = change(perforated_one, holes)
    assert np.abs(got - wanted).max() < np.abs(before - wanted).max() / 3


@pytest.mark.parametrize("side", [64, 200])
def test_at_any_size_it_is_changed_where_it_is_by_as_much_as_it_is_there(side: int) -> None:
    image = picture(side, side)
    mask = np.where(places(side)[1] % 5 < 2, np.float32(0.7), np.float32(0)) * disc(side, side)
    result = harmonizer()(image, mask)
    np.testing.assert_allclose(result, changed(image, mask), atol=0.6)
    assert np.array_equal(result[mask == 0], image[mask == 0])


def test_a_perforated_foreground_that_is_transparent_is_no_error() -> None:
    image = picture(120, 120, 4)
    mask = (places(120)[1] % 6 < 2) & disc(120, 120)
    image[mask, 3] = 0
    result = harmonizer()(image, mask)
    assert np.array_equal(result[~mask], image[~mask])
