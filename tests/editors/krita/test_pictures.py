"""The real action on photographs of every kind: the result is the engine's own answer, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gknet import Harmonizer
from tests.editors.krita.photos import PLACE, PROFILES, SRGB, Array, Space, background, cut_out, engine, layers
from tests.editors.krita.session import Krita

HEIGHT, WIDTH = background().shape[:2]
WHOLE = (0, 0, WIDTH, HEIGHT)
RESULT = "Person (harmonized)"
LINEAR = ("sRGB-elle-V2-g10.icc", "sRGB-elle-V2-g10.icc")
HDR = (  # a profile that has only a perceptual way back
    "High Dynamic Range UHDTV Wide Color Gamut Display (Rec. 2020) - SMPTE ST 2084 PQ EOTF",
    "ITUR_2100_PQ_FULL.ICC",
)
GREY = ("Gray-D50-elle-V2-srgbtrc.icc", "Gray-D50-elle-V2-srgbtrc.icc")
GREY_LINEAR = ("Gray-D50-elle-V2-g10.icc", "Gray-D50-elle-V2-g10.icc")
SPACES = [
    SRGB,
    Space("RGBA", "U16", *LINEAR),
    Space("RGBA", "U16", SRGB.profile, SRGB.file),
    Space("RGBA", "F16", *LINEAR),
    Space("RGBA", "F32", *LINEAR),
    Space("RGBA", "U8", "ClayRGB-elle-V2-g22.icc", "ClayRGB-elle-V2-g22.icc"),
    Space("RGBA", "U16", *HDR),
    Space("GRAYA", "U8", *GREY),
    Space("GRAYA", "U16", *GREY_LINEAR),
    Space("GRAYA", "F32", *GREY_LINEAR),
]


def seen(krita: Krita, space: Space = SRGB) -> Array:
    """What the document shows."""
    return space.decode(krita("seen", rect=WHOLE), WHOLE)


def shown(krita: Krita, name: str, space: Space = SRGB) -> Array:
    """What a layer shows within the document."""
    return space.decode(krita("pixels", name=name, rect=WHOLE, projection=True), WHOLE)


def harmonize(krita: Krita, **settings: int) -> None:
    """Do it, without a complaint."""
    line, boxes = krita("harmonize", **settings)
    assert boxes == [] and line.startswith("Harmonized in"), line


def check(
    krita: Krita,
    harmonizer: Harmonizer,
    picture: Array,
    mask: Array,
    name: str = RESULT,
    space: Space = SRGB,
    pasted: bool | None = True,
) -> None:
    """A layer is what the engine makes of a picture and a foreground."""
    rect, expected = engine(harmonizer, space, picture, mask, pasted=pasted)
    got = space.decode(krita("pixels", name=name, rect=list(rect)), rect)
    visible = expected[..., -1] > 0
    assert (got[..., -1] == expected[..., -1]).all()
    assert (got[visible] == expected[visible]).all()
    assert (got[visible] != picture[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width][visible]).any()
    assert krita("box", name=name) == tuple(rect)


def disc(rect: tuple[int, int, int, int], soft: float = 0.2) -> Array:
    """[H, W] of the whole document, uint8: 255 in an ellipse in `rect`, soft at its edge."""
    x, y, width, height = rect
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.hypot((columns + 0.5 - x) / width * 2 - 1, (rows + 0.5 - y) / height * 2 - 1)
    return np.rint(np.clip((1 - radius) / soft, 0, 1) * 255).astype(np.uint8)


def select(krita: Krita, mask: Array) -> None:
    krita("select", rect=WHOLE, values=mask.tobytes())


# Colours


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.model}-{space.depth}-{space.profile}")
def test_a_pasted_layer(krita: Krita, harmonizer: Harmonizer, space: Space) -> None:
    assert krita("create", **layers(space)) == space.profile
    picture, person, before = seen(krita, space), shown(krita, "Person", space), krita("state")
    photo = shown(krita, "Photo", space)
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., -1], space=space)
    assert krita("tree") == ["Photo", "Person", RESULT] and krita("modified")
    assert (shown(krita, "Person", space) == person).all() and (shown(krita, "Photo", space) == photo).all()
    assert krita("state") == before
    around = person[..., -1] == 0
    assert (seen(krita, space)[around] == picture[around]).all()


@pytest.mark.parametrize("space", [SRGB, SPACES[2], SPACES[4], SPACES[7]], ids=lambda space: space.model + space.depth)
def test_a_layer_that_is_half_transparent_is_changed_as_it_is_when_opaque(krita: Krita, space: Space) -> None:
    krita("create", **layers(space))
    person = shown(krita, "Person", space)

    def change() -> tuple[Array, Array]:
        """What is added to what is seen, and the result's alpha."""
        before = seen(krita, space).astype(np.float64)
        harmonize(krita)
        result = shown(krita, RESULT, space)
        return result[..., :-1] - before[..., :-1], result[..., -1]

    opaque, alpha = change()
    assert (alpha == person[..., -1]).all()
    krita("trigger", action="edit_undo")
    krita("change", name="Person", Opacity=128)
    half, faint = change()
    full = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
    step = 1 if alpha.dtype.kind == "u" else 0
    np.testing.assert_allclose(faint, alpha * (128 / 255), atol=max(step, 1e-3))
    inside = alpha == full
    assert abs(opaque[inside]).mean() > 0.01 * full
    assert abs(half - opaque)[inside].mean() < 0.2 * abs(opaque[inside]).mean()


def test_a_shadow_in_the_layer_stays_as_it_is(krita: Krita) -> None:
    arguments, person = layers(), cut_out()
    photo, (name, (left, top, width, height), _) = arguments["layers"]
    y, x = np.mgrid[:height, :width]
    alpha, shadow = person[..., 3], 0.5 * np.clip(1.5 - 1.5 * np.hypot((x - 170) / 90, (y - 90) / 90), 0, 1)
    whole = alpha + (1 - alpha) * shadow
    own = person[..., :3] * np.divide(alpha, whole, out=np.zeros_like(whole), where=whole > 0)[..., None]
    layer = (name, [left, top, width, height], SRGB.encode(np.dstack([own, whole])))
    krita("create", **{**arguments, "layers": [photo, layer]})
    before = seen(krita)
    harmonize(krita)
    area = np.s_[top : top + height, left : left + width]
    after, result = seen(krita)[area], shown(krita, RESULT)[area]
    cast = (alpha == 0) & (shadow > 0.02)
    assert cast.mean() > 0.05 and (result[cast][:, 3] == 0).all() and (after[cast] == before[area][cast]).all()
    assert (result[alpha == 1][:, 3] == 255).all()
    assert abs(after[alpha == 1].astype(int) - before[area][alpha == 1]).mean() > 3


@pytest.mark.parametrize("mode", ["normal", "multiply"])
def test_a_shadow_on_the_layer_below_is_not_taken_for_the_scenes_light(
    krita: Krita, harmonizer: Harmonizer, mode: str
) -> None:
    arguments = layers()
    photo, person = arguments["layers"]
    shadow = np.zeros((HEIGHT - 80, WIDTH - 160, 4))
    y, x = np.mgrid[: HEIGHT - 80, : WIDTH - 160]
    shadow[..., 3] = np.clip(3 - 3 * np.hypot((x - 220) / 200, (y - 170) / 150), 0, 1)
    below = ("Shadow", [80, 60, WIDTH - 160, HEIGHT - 80], SRGB.encode(shadow))
    krita("create", **{**arguments, "layers": [photo, below, person]})
    krita("change", name="Shadow", BlendingMode=mode, Opacity=210)
    picture, alpha = seen(krita), shown(krita, "Person")[..., 3]
    harmonize(krita)
    got = shown(krita, RESULT)
    krita("trigger", action="edit_undo")
    krita("change", name="Shadow", Visible=False)
    bare = engine(harmonizer, SRGB, seen(krita), alpha)
    darker = engine(harmonizer, SRGB, picture, alpha)
    left, top, width, height = bare[0]
    solid = bare[1][..., 3] == 255
    result = got[top : top + height, left : left + width][solid].astype(int)
    cost, rest = (abs(bare[1][solid].astype(int) - other).mean() for other in (darker[1][solid], result))
    assert cost > 0.5 and rest < 0.5 * cost


def test_of_a_layer_in_another_mode_only_what_is_seen_is_known(krita: Krita, harmonizer: Harmonizer) -> None:
    krita("create", **layers())
    krita("change", name="Person", Opacity=128, BlendingMode="multiply")
    picture, person = seen(krita), shown(krita, "Person")
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3])


def test_the_profile_in_a_photographs_file(krita: Krita, harmonizer: Harmonizer, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    clay = PROFILES / "ClayRGB-elle-V2-g22.icc"
    # Another name, which no file has.
    icc = clay.read_bytes().replace(b"ClayRGB-elle-V2-g22.icc", b"Camera-of-mine-V2-g2.icc"[:23])
    Image.fromarray(np.rint(background() * 255).astype(np.uint8)).convert("RGB").save(file, icc_profile=icc)
    krita("open_file", path=str(file))
    mask = disc((150, 100, 250, 200))
    select(krita, mask)
    picture = seen(krita)
    harmonize(krita)
    (result,) = (name for name in krita("tree") if name.endswith("(harmonized)"))
    rect, expected = engine(harmonizer, SRGB, picture, mask, icc=icc, pasted=None)
    got = SRGB.decode(krita("pixels", name=result, rect=list(rect)), rect)
    visible = expected[..., -1] > 0
    assert (got[visible] == expected[visible]).all()
    _, as_srgb = engine(harmonizer, SRGB, picture, mask, pasted=None)
    assert (as_srgb[visible] != expected[visible]).any()


@pytest.mark.parametrize("space", [SRGB, SPACES[1]], ids=["sRGB", "linear"])
def test_a_profile_that_cannot_be_had_is_told(krita: Krita, harmonizer: Harmonizer, space: Space) -> None:
    krita("create", **layers(space))
    picture, person = seen(krita, space), shown(krita, "Person", space)
    harmonize(krita)  # starts the daemon, which needs a temporary file
    krita("forget_profiles")
    krita("temporary_files_in", folder="/nowhere")
    line, boxes = krita("harmonize")
    krita("temporary_files_in", folder=None)
    krita("forget_profiles")
    transfer = "srgb" if space is SRGB else "linear"
    assert boxes == [] and f"{space.profile} was not found" in line and f"treated as {transfer}" in line.lower()
    rect, expected = engine(harmonizer, space, picture, person[..., -1], transfer=transfer)
    got = space.decode(krita("pixels", name=RESULT, rect=list(rect)), rect)
    assert (got[expected[..., -1] > 0] == expected[expected[..., -1] > 0]).all()


def test_a_layer_in_another_colour_model_is_refused_with_the_way_out(krita: Krita) -> None:
    krita("create", **layers())
    krita("convert_layer", name="Person", model="CMYKA", depth="U8")
    _, boxes = krita("harmonize")
    assert len(boxes) == 1 and "Layer > Convert > Convert Layer Color Space" in boxes[0]


@pytest.mark.parametrize(
    ("model", "depth", "name"),
    [("CMYKA", "U8", "CMYK"), ("LABA", "U16", "L*a*b*"), ("XYZA", "F32", "XYZ"), ("YCbCrA", "U8", "YCbCr")],
)
def test_other_colour_models_are_refused_with_the_way_out(krita: Krita, model: str, depth: str, name: str) -> None:
    krita("create", **layers())
    krita("convert", model=model, depth=depth, profile="")
    _, boxes = krita("harmonize")
    assert len(boxes) == 1 and f"is in {name};" in boxes[0] and "Image > Convert Image Color Space" in boxes[0]
    assert krita("tree") == ["Photo", "Person"]


# Foregrounds


def test_a_selection_in_one_layer(krita: Krita, harmonizer: Harmonizer) -> None:
    arguments = layers()
    krita("create", **{**arguments, "layers": arguments["layers"][:1]})
    picture, mask = seen(krita), disc((150, 100, 250, 200))
    select(krita, mask)
    before = krita("state")
    assert before[1] == mask.tobytes()
    harmonize(krita)
    check(krita, harmonizer, picture, mask, "Photo (harmonized)", pasted=None)
    assert krita("state") == before


def test_a_selection_counts_within_the_layers_alpha(krita: Krita, harmonizer: Harmonizer) -> None:
    krita("create", **layers())
    picture, person = seen(krita), shown(krita, "Person")
    mask = disc((PLACE[0] - 50, PLACE[1] - 60, 200, 250))
    select(krita, mask)
    harmonize(krita)
    share = np.float32(1 / 255)
    check(krita, harmonizer, picture, np.minimum((mask * share) * (person[..., 3] * share), np.float32(1)))


@pytest.mark.parametrize("place", [(-90, -40), (WIDTH - 100, HEIGHT - 150)])
def test_a_layer_partly_off_canvas(krita: Krita, harmonizer: Harmonizer, place: tuple[int, int]) -> None:
    krita("create", **layers(place=place))
    picture, person = seen(krita), shown(krita, "Person")
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3])


def test_layers_above_do_not_count(krita: Krita, harmonizer: Harmonizer) -> None:
    krita("create", **layers())
    picture, person, before = seen(krita), shown(krita, "Person"), krita("state")
    krita("add", kind="paint", name="Cover")
    krita("paint", name="Cover", rect=WHOLE, pixels=bytes([0, 0, 200, 255]) * (WIDTH * HEIGHT))
    krita("activate", name="Person")
    assert (seen(krita)[..., 0] == 200).all()
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3])
    assert krita("tree") == ["Photo", "Person", RESULT, "Cover"] and krita("state") == before
    assert (seen(krita)[..., 0] == 200).all()


def test_a_transparency_mask_shapes_the_object_even_if_it_is_active(krita: Krita, harmonizer: Harmonizer) -> None:
    krita("create", **layers())
    mask = disc((PLACE[0] + 20, PLACE[1] + 20, 150, 200))
    krita("add_mask", layer="Person", rect=WHOLE, values=mask.tobytes())
    krita("activate", name="mask")
    picture, person, own = seen(krita), shown(krita, "Person"), krita("pixels", name="Person", rect=WHOLE)
    assert (person[..., 3] < SRGB.decode(own, WHOLE)[..., 3]).any()
    before = krita("state")
    assert before[0] == "mask"
    harmonize(krita)
    assert krita("state") == before
    check(krita, harmonizer, picture, person[..., 3])
    assert krita("tree") == ["Photo", "Person", ["mask"], RESULT]
    assert krita("pixels", name="Person", rect=WHOLE) == own


@pytest.mark.parametrize("active", ["Group", "Person"])
def test_groups(krita: Krita, harmonizer: Harmonizer, active: str) -> None:
    krita("create", **layers())
    krita("group", name="Group", members=["Person"])
    krita("activate", name=active)
    picture, person = seen(krita), shown(krita, active)
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3], f"{active} (harmonized)")
    inside = ["Photo", "Group", ["Person", RESULT]]
    assert krita("tree") == (inside if active == "Person" else ["Photo", "Group", ["Person"], "Group (harmonized)"])


@pytest.mark.parametrize("effect", [{"Opacity": 128}, {"BlendingMode": "multiply"}, "mask"])
@pytest.mark.parametrize("covered", [False, True])
def test_what_a_group_does_is_done_to_the_result_once(
    krita: Krita, harmonizer: Harmonizer, effect: dict[str, object] | str, covered: bool
) -> None:
    krita("create", **layers())
    picture, person = seen(krita), shown(krita, "Person")
    krita("group", name="Group", members=["Person"])
    if isinstance(effect, dict):
        krita("change", name="Group", **effect)
    else:
        krita("add_mask", layer="Group", rect=WHOLE, values=bytes([128]) * (WIDTH * HEIGHT))
    if covered:
        krita("add", kind="paint", name="Cover", above="Group")
        krita("paint", name="Cover", rect=[0, 0, 300, 300], pixels=bytes([90, 90, 90, 255]) * 90_000)
    krita("activate", name="Person")
    assert (seen(krita) != picture).any()
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3])


def test_a_clipped_layers_result_is_clipped_too(krita: Krita) -> None:
    krita("create", **layers())
    krita("add", kind="group", name="Group", above="Photo")
    krita("add", kind="paint", name="Shape", parent="Group")
    x, y = PLACE
    krita("paint", name="Shape", rect=[x, y, 100, 150], pixels=bytes([0, 0, 0, 255]) * 15_000)
    krita("group", name="Both", members=["Shape", "Person"])
    krita("change", name="Person", InheritAlpha=True)
    krita("activate", name="Person")
    picture = seen(krita)
    harmonize(krita)
    changed = (seen(krita) != picture).any(-1)
    inside = changed[y : y + 150, x : x + 100]
    assert inside.any() and changed.sum() == inside.sum()


@pytest.mark.parametrize("kind", ["clone_layer", "vector", "fill_layer", "file_layer"])
def test_layers_without_pixels_of_their_own(krita: Krita, harmonizer: Harmonizer, kind: str, tmp_path: Path) -> None:
    arguments = layers()
    krita("create", **arguments)
    if kind == "clone_layer":
        krita("clone_layer", name="It", source="Person")
    elif kind == "vector":
        krita("vector", name="It", svg=_SVG)
    elif kind == "fill_layer":
        krita("fill_layer", name="It", rect=WHOLE, values=disc((250, 150, 200, 150)).tobytes())
    else:
        Image.fromarray(np.rint(cut_out() * 255).astype(np.uint8)).save(tmp_path / "person.png")
        krita("file_layer", name="It", path=str(tmp_path / "person.png"))
    krita("change", name="Person", Visible=kind == "clone_layer")
    krita("activate", name="It")
    picture, shape = seen(krita), shown(krita, "It")
    assert 0 < (shape[..., 3] > 0).mean() < 1
    harmonize(krita)
    check(krita, harmonizer, picture, shape[..., 3], "It (harmonized)")
    assert krita("tree") == ["Photo", "Person", "It", "It (harmonized)"]


@pytest.mark.parametrize("lock", ["Locked", "AlphaLocked"])
def test_locked_layers_are_left_alone_and_can_be_harmonized(krita: Krita, harmonizer: Harmonizer, lock: str) -> None:
    krita("create", **layers())
    krita("change", name="Person", **{lock: True})
    picture, person = seen(krita), shown(krita, "Person")
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3])
    assert (shown(krita, "Person") == person).all()


def test_hidden_layers_below_are_not_seen(krita: Krita, harmonizer: Harmonizer) -> None:
    arguments = layers()
    name, rect, pixels = arguments["layers"][0]
    dark = ("Dark", rect, bytes([9, 9, 9, 255]) * (WIDTH * HEIGHT))
    krita("create", **{**arguments, "layers": [arguments["layers"][0], dark, arguments["layers"][1]]})
    krita("change", name="Dark", Visible=False)
    picture, person = seen(krita), shown(krita, "Person")
    assert picture.mean() > 20
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3])


def test_the_current_frame_of_an_animated_layer(krita: Krita, harmonizer: Harmonizer) -> None:
    krita("create", **layers())
    krita("animate", name="Person", frame=5, rect=[50, 40, 240, 260], pixels=SRGB.encode(cut_out()[:, ::-1]))
    assert krita("tree") == ["Photo", "Person"]
    picture, person = seen(krita), shown(krita, "Person")
    assert person[..., 3][:, :60].any()  # where only that frame has something
    harmonize(krita)
    check(krita, harmonizer, picture, person[..., 3])


# The layer


def test_one_undo_takes_it_away_and_redo_brings_it_back(krita: Krita) -> None:
    krita("create", **layers())
    picture = krita("seen", rect=WHOLE)
    harmonize(krita)
    pixels, harmonized = krita("pixels", name=RESULT, rect=WHOLE), krita("seen", rect=WHOLE)
    krita("trigger", action="edit_undo")
    assert krita("tree") == ["Photo", "Person"] and krita("seen", rect=WHOLE) == picture
    krita("trigger", action="edit_redo")
    assert krita("tree") == ["Photo", "Person", RESULT]
    assert krita("pixels", name=RESULT, rect=WHOLE) == pixels and krita("seen", rect=WHOLE) == harmonized


@pytest.mark.parametrize("space", [SRGB, SPACES[4]], ids=["U8", "F32"])
def test_it_is_saved_and_comes_back(krita: Krita, space: Space, tmp_path: Path) -> None:
    krita("create", **layers(space))
    harmonize(krita, strength=60)
    pixels = krita("pixels", name=RESULT, rect=WHOLE)
    krita("save_and_reopen", path=str(tmp_path / "picture.kra"))
    assert krita("tree") == ["Photo", "Person", RESULT] and krita("opacity", name=RESULT) == round(0.6 * 255)
    assert krita("pixels", name=RESULT, rect=WHOLE) == pixels


def test_strength_is_opacity_and_never_in_the_pixels(krita: Krita, harmonizer: Harmonizer) -> None:
    krita("create", **layers())
    picture, person = seen(krita), shown(krita, "Person")
    harmonize(krita, strength=40)
    check(krita, harmonizer, picture, person[..., 3])
    assert krita("opacity", name=RESULT) == 102


def test_the_layers_mode_takes_light_or_colours_alone(krita: Krita) -> None:
    krita("create", **layers())
    pictures = {"before": seen(krita)}
    harmonize(krita)
    for mode in ("normal", "luminize", "color"):
        krita("change", name=RESULT, BlendingMode=mode)
        krita("pause", milliseconds=400)  # quicker than anyone clicks, Krita 5.1.5 sometimes crashes by itself
        pictures[mode] = seen(krita)
    inside = shown(krita, "Person")[..., 3] == 255
    luma = {mode: picture[inside][:, :3] @ [0.299, 0.587, 0.114] for mode, picture in pictures.items()}
    hue = {mode: picture[inside][:, :3] - luma[mode][:, None] for mode, picture in pictures.items()}
    for values, light, colours in ((luma, "normal", "before"), (hue, "before", "normal")):
        changed = abs(values["normal"] - values["before"]).mean()
        assert changed > 1
        assert abs(values["luminize"] - values[light]).mean() < 0.2 * changed
        assert abs(values["color"] - values[colours]).mean() < 0.2 * changed


def test_feather_softens_the_edge(krita: Krita) -> None:
    arguments = layers()
    krita("create", **{**arguments, "layers": arguments["layers"][:1]})
    mask = disc((150, 100, 250, 200), soft=0.001)
    select(krita, mask)
    harmonize(krita, feather=9)
    alpha = shown(krita, "Photo (harmonized)")[..., 3]
    assert ((alpha > 0) & (alpha < 255)).sum() > 20 * ((mask > 0) & (mask < 255)).sum()
    assert (alpha[disc((170, 120, 210, 160)) == 255] == 255).all() and (
        alpha[disc((130, 80, 290, 240)) == 0] == 0
    ).all()


def test_again_replaces_what_is_as_it_was(krita: Krita, harmonizer: Harmonizer) -> None:
    krita("create", **layers())
    picture, person = seen(krita), shown(krita, "Person")
    harmonize(krita)
    harmonize(krita, strength=50)
    assert krita("tree") == ["Photo", "Person", RESULT] and krita("opacity", name=RESULT) == 128
    check(krita, harmonizer, picture, person[..., 3])  # made of the original, not of the first result
    krita("trigger", action="edit_undo")
    assert krita("tree") == ["Photo", "Person"]
    krita("trigger", action="edit_undo")
    assert krita("tree") == ["Photo", "Person", RESULT] and krita("opacity", name=RESULT) == 255


@pytest.mark.parametrize("inside", [True, False])
def test_again_keeps_what_the_user_has_painted_on(krita: Krita, inside: bool) -> None:
    krita("create", **layers())
    harmonize(krita)
    x, y = (PLACE[0] + 100, PLACE[1] + 100) if inside else (2, 2)
    krita("paint", name=RESULT, rect=[x, y, 1, 1], pixels=b"\1\2\3\xff")
    harmonize(krita)
    assert krita("tree") == ["Photo", "Person", RESULT, RESULT]


@pytest.mark.parametrize("change", [{"Name": "Mine"}, {"BlendingMode": "multiply"}, {"Locked": True}, "mask"], ids=str)
def test_again_keeps_what_the_user_has_made_his_own(krita: Krita, change: dict[str, object] | str) -> None:
    krita("create", **layers())
    harmonize(krita)
    if isinstance(change, dict):
        krita("change", name=RESULT, **change)
    else:
        krita("add_mask", layer=RESULT, rect=WHOLE, values=bytes([128]) * (WIDTH * HEIGHT))
        krita("activate", name="Person")
    before = krita("tree")
    harmonize(krita)
    assert krita("tree") == [*before[:2], RESULT, *before[2:]]


def test_several_objects_of_one_photo_keep_a_result_each(krita: Krita) -> None:
    arguments = layers()
    krita("create", **{**arguments, "layers": arguments["layers"][:1]})
    result = "Photo (harmonized)"
    for place, results in (((50, 50, 150, 150), 1), ((180, 100, 200, 200), 2), ((185, 105, 195, 190), 2)):
        select(krita, disc(place))
        harmonize(krita)
        assert krita("tree").count(result) == results


_SVG = (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}pt" height="{HEIGHT}pt">'
    '<circle cx="300" cy="200" r="90" fill="#d06030"/></svg>'
)
