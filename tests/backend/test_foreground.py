"""What counts as foreground: where selection and layer meet, feathered."""

from __future__ import annotations

import numpy as np
import pytest

from backend import worker
from backend.foreground import foreground
from backend.link.messages import Code, LinkError, Pixels, Rect
from tests.backend.test_daemon import Array, disc, picture, pixels


def derived(
    image: Rect, selection: Pixels | None, layer: Pixels | None, feather: float = 0, opacity: float | None = None
) -> tuple[Array, Rect]:
    buffer, places = bytearray(), []
    for part in (selection, layer):
        places.append(part and worker.Place(part.rect, part.layout, part.dtype, len(buffer)))
        buffer += memoryview(part.data).cast("B") if part else b""
        buffer += bytes(-len(buffer) % 8)
    whole = worker.Place(image, "RGB", "u8", 0)
    task = worker.Task(1, "", whole, "srgb", None, places[0], places[1], None, "auto", feather, opacity)
    return foreground(task, memoryview(buffer))


def test_the_foreground_is_where_selection_and_layer_meet() -> None:
    selection = pixels(np.full((40, 40), 128, np.uint8), "GRAY", 10, 20)
    alpha = np.zeros((50, 50, 4), np.uint16)
    alpha[5:, :, 3] = 65535 // 2
    mask, box = derived(Rect(0, 0, 100, 100), selection, pixels(alpha, "BGRA", -20, 30))
    assert mask.shape == (100, 100) and mask.dtype == np.float32
    assert box == Rect(10, 35, 20, 25)
    assert np.count_nonzero(mask) == 20 * 25
    np.testing.assert_allclose(mask[35:60, 10:30], 128 / 255 / 2, atol=1e-4)


def test_a_layer_without_alpha_leaves_the_selection_as_it_is() -> None:
    selection = disc(60, 60)
    mask, _ = derived(Rect(0, 0, 60, 60), pixels(selection, "GRAY"), pixels(picture(60, 60, 3), "RGB"))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, selection)
    mask, box = derived(Rect(0, 0, 60, 60), None, pixels(picture(20, 20, 3), "RGB", 50, 10))
    assert box == Rect(50, 10, 10, 20) and mask.sum() == 200


def test_a_layers_opacity_is_of_its_foreground() -> None:
    alpha = np.dstack([disc(60, 60), disc(60, 60)])
    layer = pixels(alpha, "GRAYA")
    mask, _ = derived(Rect(0, 0, 60, 60), None, layer, opacity=1.0)
    assert mask.dtype == np.uint8 and (mask == alpha[..., 1]).all()
    for shown in (layer, pixels(picture(60, 60, 3), "RGB")):
        solid, _ = derived(Rect(0, 0, 60, 60), None, shown)
        mask, _ = derived(Rect(0, 0, 60, 60), None, shown, opacity=0.25)
        np.testing.assert_allclose(mask, solid / (255 if shown is layer else 1) / 4, atol=1e-6)
    with pytest.raises(LinkError) as raised:
        derived(Rect(0, 0, 60, 60), None, layer, opacity=0.0)
    assert raised.value.code == Code.NO_FOREGROUND


@pytest.mark.parametrize("broken", ["selection", "layer"])
@pytest.mark.parametrize("full", [np.full((40, 40), 255, np.uint8), np.ones((40, 40), np.float32)])
def test_nan_is_refused_beside_what_is_full(broken: str, full: Array) -> None:
    nan = np.ones((40, 40), np.float32)
    nan[20, 20] = np.nan
    selection, alpha = (nan, full) if broken == "selection" else (full, nan)
    layer = np.dstack([alpha, alpha])
    with pytest.raises(LinkError) as raised:
        derived(Rect(0, 0, 40, 40), pixels(selection, "GRAY"), pixels(layer, "GRAYA"))
    assert raised.value.code == Code.BAD_IMAGE


def test_feather_softens_over_its_reach_and_not_at_the_images_edge() -> None:
    selection = np.zeros((100, 120), np.uint8)
    selection[:, 60:] = 255
    mask, box = derived(Rect(0, 0, 120, 100), pixels(selection, "GRAY"), None, feather=10)
    assert mask.dtype == np.uint16
    assert box == Rect(50, 0, 70, 100)
    assert (mask[:, :50] == 0).all() and (mask[:, 70:] == 65535).all()
    assert (np.diff(mask[50, 50:70].astype(int)) > 0).all() and (mask == mask[:1]).all()
    with pytest.raises(LinkError) as raised:
        selection[:] = 0
        selection[50, 50] = 255
        derived(Rect(0, 0, 120, 100), pixels(selection, "GRAY"), None, feather=100)
    assert raised.value.code == Code.NO_FOREGROUND


def test_floats_beyond_the_range_are_its_ends() -> None:
    values = np.full((40, 40), -0.5, np.float32)
    values[10:30, 10:30] = 1.5
    mask, box = derived(Rect(0, 0, 40, 40), pixels(values, "GRAY"), None)
    assert box == Rect(10, 10, 20, 20) and (mask == np.clip(values, 0, 1)).all()


def test_feather_of_a_tall_picture_is_the_same_everywhere() -> None:
    selection = np.zeros((700, 90), np.uint8)  # more rows than are blurred at a time
    selection[100:600, 30:60] = 255
    mask, _ = derived(Rect(0, 0, 90, 700), pixels(selection, "GRAY"), None, feather=8)
    assert (mask == mask[::-1]).all() and (mask == mask[:, ::-1]).all()
    assert (mask[110:590] == mask[350]).all() and mask[350, 45] == 65535


def test_what_is_fainter_than_a_step_of_eight_bits_is_no_foreground() -> None:
    for value, found in ((257, False), (258, True)):
        selection = np.full((20, 20), value, np.uint16)
        selection[:5] = 0
        try:
            derived(Rect(0, 0, 20, 20), pixels(selection, "GRAY"), None)
        except LinkError as error:
            assert not found and error.code == Code.NO_FOREGROUND
        else:
            assert found
