"""What an editor is to send, by the rules of what is foreground."""

from __future__ import annotations

import numpy as np
import pytest

from backend.link.foreground import Plan, is_opaque, replaces
from backend.link.messages import CHANNELS, Below, Image, Pixels, Rect
from backend.link.texts import Refusal, text

DOCUMENT = Rect(0, 0, 4000, 3000)
OBJECT = Rect(1000, 900, 300, 200)
TYPES = {"u8": np.uint8, "u16": np.uint16, "f16": np.float16, "f32": np.float32}


def pixels(rect: Rect, layout: str = "BGRA", dtype: str = "u8", hole: tuple[int, int] | None = None) -> Pixels:
    """White and opaque, with a pixel that is a little transparent."""
    white = np.iinfo(TYPES[dtype]).max if dtype[0] == "u" else 1
    values = np.full((rect.height, rect.width, CHANNELS[layout]), white, TYPES[dtype])
    if hole:
        values[(*hole, -1)] = np.nextafter(values.dtype.type(1), values.dtype.type(0)) if dtype[0] == "f" else white - 1
    return Pixels(rect, layout, dtype, values.tobytes())


def image(rect: Rect) -> Image:
    return Image(rect, "GRAY", "u8", bytes(rect.width * rect.height))


def test_a_selection_is_the_foreground_within_the_layer() -> None:
    plan = Plan.of(DOCUMENT, DOCUMENT, OBJECT, background=False)
    assert plan == Plan(Rect(700, 550, 900, 900), OBJECT, True)
    cut = Plan.of(DOCUMENT, Rect(1100, -50, 5000, 1000), OBJECT, background=True)
    assert cut.foreground == Rect(1100, 900, 200, 50) and cut.selected


def test_without_one_the_pasted_layer_is() -> None:
    plan = Plan.of(DOCUMENT, Rect(-100, 100, 300, 300), None, background=True)
    assert plan == Plan(Rect(0, 0, 900, 900), Rect(0, 100, 200, 300), False)


@pytest.mark.parametrize(
    ("key", "layer", "selection", "background"),
    [
        ("layer_empty", None, None, True),
        ("layer_empty", Rect(-300, 0, 300, 300), OBJECT, True),
        ("selection_empty", Rect(0, 0, 500, 500), OBJECT, True),
        ("no_background", OBJECT, None, False),
        ("no_object", DOCUMENT, None, False),
    ],
)
def test_the_rest_is_refused(key: str, layer: Rect | None, selection: Rect | None, background: bool) -> None:
    with pytest.raises(Refusal) as refused:
        Plan.of(DOCUMENT, layer, selection, background)
    assert str(refused.value) == text(key)


def test_an_opaque_layer_all_over_the_picture_is_no_object() -> None:
    small = Rect(0, 0, 60, 40)
    plan = Plan.of(small, small, None, background=True)
    with pytest.raises(Refusal, match="not clear what to harmonize"):
        plan.request(image(small), pixels(small))
    layer = pixels(small, hole=(39, 59))
    assert plan.request(image(small), layer).layer == layer


def test_an_opaque_layer_is_sent_only_where_its_shape_is_the_foreground() -> None:
    small, part = Rect(0, 0, 60, 40), Rect(10, 10, 20, 20)
    selected = Plan.of(small, small, part, background=False)
    selection = Pixels(part, "GRAY", "u8", bytes(400))
    request = selected.request(image(small), pixels(part), selection, b"icc", 3.5)
    assert (request.layer, request.selection, request.icc, request.feather) == (None, selection, b"icc", 3.5)
    assert request.pasted is None  # the layer may be the photo itself
    for plan, own in ((selected, pixels(part, hole=(0, 0))), (Plan.of(small, part, None, True), pixels(part))):
        request = plan.request(image(small), own, selection if plan is selected else None)
        assert request.layer == own and request.pasted


def test_of_the_layer_below_what_is_in_the_picture_is_sent() -> None:
    plan = Plan.of(DOCUMENT, OBJECT, None, background=True)
    assert plan.image == Rect(700, 550, 900, 900)
    assert plan.below(Rect(600, 1300, 300, 300)) == Rect(700, 1300, 200, 150)
    for nothing in (None, Rect(0, 0, 700, 550), DOCUMENT, plan.image):  # what fills the picture is no object's shadow
        assert plan.below(nothing) is None
    below = Below(Rect(700, 1300, 1, 1), "GRAYA", "u8", bytes(2), 0.5)
    assert plan.request(image(plan.image), pixels(OBJECT, "GRAYA"), below=below).below == below
    selected = Plan.of(DOCUMENT, DOCUMENT, OBJECT, background=True)  # of what may be the photo itself
    assert selected.request(image(plan.image), pixels(OBJECT, "GRAYA"), below=below).below is None


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", CHANNELS)
def test_a_layer_is_opaque_where_each_pixel_is(layout: str, dtype: str) -> None:
    rect = Rect(0, 0, 300, 300)  # more than is looked at in one piece
    assert is_opaque(pixels(rect, layout, dtype))
    if layout in ("RGB", "GRAY"):
        return
    for hole in ((0, 0), (150, 20), (299, 299)):
        assert not is_opaque(pixels(rect, layout, dtype, hole))


@pytest.mark.parametrize(
    ("earlier", "selected", "replaced"),
    [
        (OBJECT, True, True),
        (Rect(1000, 900, 300, 100), True, True),  # half of what both fill
        (Rect(1000, 900, 300, 99), True, False),
        (Rect(1300, 900, 300, 200), True, False),
        (Rect(1300, 900, 300, 200), False, True),  # of the whole layer
        (Rect(1000, 900, 300, 99), False, True),
    ],
)
def test_a_result_takes_the_place_of_one_of_the_same_object(earlier: Rect, selected: bool, replaced: bool) -> None:
    assert replaces(OBJECT, earlier, selected) == replaces(earlier, OBJECT, selected) == replaced
