"""Empty margins, bars and frames are left out of what the network sees, and what is far from a small foreground."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gknet import Harmonizer
from gknet.framing import SHARE, Array, close_box, picture_box, visible_box
from gknet.harmonizer import NoBackgroundError, checked
from gknet.upsampling import Box

HEIGHT, WIDTH = 120, 160
FOREGROUND = Box(60, 50, 90, 80)


def photo(dtype: str = "uint8") -> Array:
    """A picture that is nowhere of one colour."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    values = 0.5 + 0.2 * np.sin(x / 17)[..., None] + 0.2 * np.cos(y[..., None] / 11 + np.arange(3))
    values += np.random.default_rng(0).normal(0, 0.02, values.shape)
    scale = 1 if dtype == "float32" else np.iinfo(dtype).max
    return (values.clip(0, 1) * scale).astype(dtype)


def marked(box: Box = FOREGROUND) -> Array:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[box.slices] = True
    return mask


def framed(picture: Array, top: int, right: int, bottom: int, left: int, colour: float) -> Array:
    sides = [(top, bottom), (left, right), (0, 0)][: picture.ndim]
    return np.pad(picture, sides, constant_values=colour)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("sides", [(20, 0, 20, 0), (0, 33, 0, 31), (7, 9, 8, 40), (0, 0, 12, 0)])
def test_bars_are_found(dtype: str, sides: tuple[int, int, int, int]) -> None:
    top, _, _, left = sides
    for colour in (0, 1 if dtype == "float32" else np.iinfo(dtype).max):
        document, mask = framed(photo(dtype), *sides, colour), framed(marked(), *sides, 0)
        box = picture_box(document, mask, FOREGROUND.out_of(Box(left, top, 0, 0)))
        assert tuple(box) == (left, top, left + WIDTH, top + HEIGHT)


def test_a_frame_in_a_frame_is_found_and_grey_pictures_and_alpha_are_taken() -> None:
    document, mask = photo(), marked()
    for colour in (255, 0, 255):
        document, mask = framed(document, 9, 9, 9, 9, colour), framed(mask, 9, 9, 9, 9, 0)
    inner = Box(27, 27, WIDTH + 27, HEIGHT + 27)
    foreground = FOREGROUND.out_of(inner)
    alpha = np.random.default_rng(1).integers(0, 256, (*mask.shape, 1), np.uint8)
    for some in (document, document[..., :1], np.dstack([document, alpha]), np.dstack([document[..., :1], alpha])):
        assert picture_box(some, mask, foreground) == inner


def test_a_compressed_bar_is_found_with_its_smeared_edge() -> None:
    document, mask = framed(photo(), 21, 0, 21, 0, 0), framed(marked(), 21, 0, 21, 0, 0)
    file = io.BytesIO()
    Image.fromarray(document).save(file, "JPEG", quality=60)
    box = picture_box(np.asarray(Image.open(file)), mask, FOREGROUND.out_of(Box(0, 21, 0, 0)))
    assert 21 <= box.top <= 29 and HEIGHT + 13 <= box.bottom <= HEIGHT + 21 and (box.left, box.right) == (0, WIDTH)


def test_the_foreground_says_nothing_and_is_kept() -> None:
    document, mask = framed(photo(), 0, 0, 30, 0, 0), framed(marked(), 0, 0, 30, 0, 0)
    mask[HEIGHT - 20 : HEIGHT + 10, 40:70] = True  # it stands on the bar
    document[mask] = 200
    foreground = Box(40, 50, 90, HEIGHT + 10)
    assert picture_box(document, mask, foreground) == Box(0, 0, WIDTH, HEIGHT + 10)
    mask[-30:] = True  # all of the bar is foreground
    assert picture_box(document, mask, Box(0, 50, WIDTH, HEIGHT + 30)) == Box(0, 0, WIDTH, HEIGHT + 30)


def test_what_fades_and_what_is_of_one_colour_throughout_is_picture() -> None:
    whole = Box(0, 0, WIDTH, HEIGHT)
    sky = photo().astype(float)
    fade = np.clip((np.arange(HEIGHT) - 20) / 100, 0, 1)[:, None, None]
    burnt = (255 + fade * (sky - 255)).astype(np.uint8)
    backdrop = np.full_like(burnt, 250)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    object_ = (y - 70) ** 2 + (x - 75) ** 2 < 45**2
    backdrop[object_] = photo()[object_]
    for document in (burnt, backdrop, np.zeros_like(burnt), photo()):
        assert picture_box(document, marked(), FOREGROUND) == whole


@pytest.fixture(scope="module")
def harmonizer() -> Harmonizer:
    return Harmonizer.load("gknet-lite", "cpu")


@pytest.mark.parametrize("colour", [0, 255])
def test_bars_do_not_move_the_result(harmonizer: Harmonizer, colour: int) -> None:
    plain = harmonizer(photo(), marked(), pasted=True)
    document, mask = framed(photo(), 30, 5, 24, 5, colour), framed(marked(), 30, 5, 24, 5, 0)
    result = harmonizer(document, mask, pasted=True)
    assert np.array_equal(result[30 : 30 + HEIGHT, 5 : 5 + WIDTH], plain)
    assert np.array_equal(result[mask == 0], document[mask == 0])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_transparent_margins_are_found(dtype: str) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 1 if dtype == "float32" else np.iinfo(dtype).max, dtype)
    for picture in (np.dstack([photo(dtype), alpha]), np.dstack([photo(dtype)[..., :1], alpha])):
        document, mask = framed(picture, 20, 0, 9, 31, 0), framed(marked(), 20, 0, 9, 31, 0)
        foreground = FOREGROUND.out_of(Box(31, 20, 0, 0))
        assert visible_box(document, mask, foreground) == Box(31, 20, 31 + WIDTH, 20 + HEIGHT)
        assert visible_box(document, mask, Box(0, 0, 60, 50)) == Box(0, 0, 31 + WIDTH, 20 + HEIGHT)
        whole = Box(0, 0, *mask.shape[::-1])
        assert visible_box(document[..., :-1], mask, foreground) == whole
        assert visible_box(np.zeros_like(document), mask, foreground) == whole


def test_transparent_margins_do_not_move_the_result(harmonizer: Harmonizer) -> None:
    picture = np.dstack([photo(), np.full((HEIGHT, WIDTH, 1), 255, np.uint8)])
    document, mask = framed(picture, 300, 100, 10, 200, 0), framed(marked(), 300, 100, 10, 200, 0)
    document[:290, :, :3] = np.random.default_rng(3).integers(0, 256, (290, WIDTH + 300, 3))  # hidden, and stays
    result = harmonizer(document, mask, pasted=True)
    plain = harmonizer(picture, marked(), pasted=True)
    assert np.array_equal(result[300 : 300 + HEIGHT, 200 : 200 + WIDTH], plain) and not np.array_equal(plain, picture)
    assert np.array_equal(result[mask == 0], document[mask == 0])


@pytest.mark.parametrize("side", [8, 50])
def test_a_rectangle_on_nothing_has_no_background(harmonizer: Harmonizer, side: int) -> None:
    document = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    document[30 : 30 + side, 40 : 40 + side] = 200
    document[30 : 30 + side, 40 : 40 + side, 3] = 255
    for mask in (document[..., 3], document[..., 3] > 0):
        with pytest.raises(NoBackgroundError, match="all around the foreground is transparent"):
            harmonizer(document, mask, pasted=True)


def test_a_frame_that_is_all_the_background_there_is_is_gone_by(harmonizer: Harmonizer) -> None:
    mask = framed(np.ones((HEIGHT, WIDTH), bool), 20, 20, 20, 20, 0)
    document = framed(photo(), 20, 20, 20, 20, 40)
    assert not np.array_equal(harmonizer(document, mask), document)


def test_a_picture_too_small_to_be_seen_is_seen_with_its_bars() -> None:
    document, mask = framed(photo()[:14], 40, 0, 40, 0, 0), np.zeros((94, WIDTH), bool)
    mask[42:50, 50:110] = True
    assert picture_box(document, mask, Box(50, 42, 110, 50)) == Box(0, 40, WIDTH, 54)
    assert checked(document, mask).context == Box(0, 0, WIDTH, 94)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
@pytest.mark.parametrize("at", [(0, 0), (300, 500), (1199, 1580), (595, 795)])
def test_a_small_foreground_is_seen_from_near(dtype: str, at: tuple[int, int]) -> None:
    document, mask = np.zeros((1200, 1600, 3), np.uint8), np.zeros((1200, 1600), dtype)
    foreground = Box(at[1], at[0], min(at[1] + 20, 1600), min(at[0] + 10, 1200))
    mask[foreground.slices] = np.iinfo(dtype).max if mask.dtype.kind == "u" else 1
    box = close_box(document, mask, foreground)
    assert (
        (mask[box.slices] > 0).sum() == (mask > 0).sum() and min(box) >= 0 and box.right <= 1600 and box.bottom <= 1200
    )
    height, width = box.bottom - box.top, box.right - box.left
    assert (mask[box.slices] > 0).mean() == pytest.approx(SHARE, rel=0.1)
    assert width / height == pytest.approx(1600 / 1200, rel=0.1)
    inside = foreground.within(box)
    if at == (595, 795):
        assert abs(inside.left - (width - inside.right)) <= 1 and abs(inside.top - (height - inside.bottom)) <= 1


def test_a_foreground_that_is_large_or_scattered_is_seen_with_all_of_the_picture() -> None:
    document, mask = np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400), bool)
    mask[100:160, 100:161] = True  # just over SHARE
    assert close_box(document, mask, Box(100, 100, 161, 160)) == Box(0, 0, 400, 300)
    mask[:] = False
    mask[:, 200] = True  # a lamp post
    assert close_box(document, mask, Box(200, 0, 201, 300)) == Box(0, 0, 400, 300)
    mask[:] = False
    mask[[5, 154], [10, 109]] = True  # two specks
    assert close_box(document, mask, Box(10, 5, 110, 155)) == Box(0, 5, 200, 155)


@pytest.mark.parametrize(
    ("foreground", "box"),
    [
        (Box(700, 100, 900, 200), Box(500, 0, 1100, 300)),
        (Box(1300, 100, 1480, 200), Box(900, 0, 1500, 300)),
        (Box(100, 100, 1300, 200), Box(100, 0, 1300, 300)),  # as wide as it is
        (Box(800, 140, 810, 150), Box(764, 124, 846, 165)),  # 3 % of a part twice as wide as high
    ],
)
def test_of_a_panorama_what_is_beside_the_foreground_is_seen(foreground: Box, box: Box) -> None:
    document, mask = np.zeros((300, 1500, 3), np.uint8), np.zeros((300, 1500), bool)
    mask[foreground.slices] = True
    assert close_box(document, mask, foreground) == pytest.approx(box, abs=1)
    turned = Box(foreground.top, foreground.left, foreground.bottom, foreground.right)
    expected = Box(box.top, box.left, box.bottom, box.right)
    assert close_box(document.swapaxes(0, 1), mask.T, turned) == pytest.approx(expected, abs=1)


def test_a_faint_mask_counts_by_its_opacity() -> None:
    document, mask = np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400), np.uint8)
    mask[100:200, 100:200] = 16
    box = close_box(document, mask, Box(100, 100, 200, 200))
    assert mask[box.slices].mean() / 255 == pytest.approx(SHARE, rel=0.05)


def test_transparent_surroundings_are_not_enough() -> None:
    document, mask = np.full((300, 400, 4), 255, np.uint8), np.zeros((300, 400), bool)
    mask[140:150, 200:210] = True
    foreground = Box(200, 140, 210, 150)
    assert close_box(document, mask, foreground) != Box(0, 0, 400, 300)
    document[100:190, 150:260, 3] = 0
    document[mask] = 255
    assert close_box(document, mask, foreground) == Box(0, 0, 400, 300)


def test_what_lies_far_from_a_small_foreground_does_not_move_the_result(harmonizer: Harmonizer) -> None:
    document = np.random.default_rng(2).integers(0, 256, (720, 960, 3), np.uint8)
    document[300 : 300 + HEIGHT, 400 : 400 + WIDTH] = photo()
    mask = np.zeros((720, 960), bool)
    mask[355:367, 475:490] = True
    far = document.copy()
    far[:200], far[-200:] = far[:200] // 8, 255 - far[-200:]
    result = harmonizer(document, mask, pasted=True)
    assert np.array_equal(harmonizer(far, mask, pasted=True)[mask], result[mask])
    assert not np.array_equal(result, document) and np.array_equal(result[~mask], document[~mask])
