"""Shadows that are part of a cut-out's layer."""

from __future__ import annotations

import numpy as np
import pytest

from backend.foreground import full
from backend.shadow import take_away, take_out
from tests.backend.test_daemon import Array, disc, picture
from tests.backend.test_translucent import laid, stored

HEIGHT, WIDTH = 700, 340  # more rows than are worked on at a time, and more than are looked at
FLOATS = {"u8": 1.5 / 255, "u16": 1e-4, "f16": 1e-3, "f32": 1e-5}


def layer(object_: Array, shadow: Array, colour: float = 0.0) -> tuple[Array, Array]:
    """Colours and alpha, 0..1, of an object, how much of it each pixel has, over its shadow."""
    alpha = (object_ + (1 - object_) * shadow)[..., None]
    own = picture(HEIGHT, WIDTH, 3, "f32").astype(np.float64)
    cover = np.divide(object_[..., None], alpha, out=np.zeros_like(alpha), where=alpha > 0)
    return cover * own + (1 - cover) * colour, alpha


def sharp() -> Array:
    """An object with a smooth edge, as editors draw it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(np.clip(90 - np.hypot(y - 250, x - 150), 0, 1))


def below(opacity: float = 0.6) -> Array:
    """A soft shadow, moved aside."""
    return np.asarray(opacity * np.roll(disc(HEIGHT, WIDTH) / 255, (60, 20), (0, 1)))


@pytest.mark.parametrize("dtype", ["u8", "u16", "f16", "f32"])
@pytest.mark.parametrize("opacity", [1.0, 0.7])
@pytest.mark.parametrize("around", [1.0, 0.0])
@pytest.mark.parametrize("linear", [False, True])
def test_it_is_out_of_the_layer_and_the_picture(dtype: str, opacity: float, around: float, linear: bool) -> None:
    own, alpha = layer(sharp(), below(), 0.02)
    behind = picture(HEIGHT, WIDTH, 4, "f32").astype(np.float64)[::-1].copy()
    behind[..., 3] = around
    image = stored(laid(own, opacity * alpha, behind, linear), "f32" if dtype == "f16" else dtype)
    colours, coverage, before = stored(own, dtype), stored(alpha, dtype), image.copy()
    take_out(image, colours, coverage, opacity, linear)
    object_ = sharp()
    assert (coverage[object_ == 1] == full(coverage)).all()
    assert (image[object_ == 1] == before[object_ == 1]).all()
    assert (colours == stored(own, dtype)).all()
    gone = (coverage[..., 0] == 0) & (alpha[..., 0] > 0)
    shadow = below() * (object_ == 0)
    assert (shadow * gone).sum() > 0.95 * shadow.sum()
    held = gone & (opacity * alpha[..., 0] < 0.9)  # eight bits do not hold what next to nothing is seen of
    seen = image / full(image)
    if around:
        np.testing.assert_allclose(seen[held], behind[held], atol=10 * FLOATS[dtype])
    else:
        np.testing.assert_allclose(seen[held][:, 3], 0, atol=10 * FLOATS[dtype])


@pytest.mark.parametrize("dtype", ["u8", "u16", "f16", "f32"])
@pytest.mark.parametrize("opacity", [1.0, 0.5])
def test_a_layer_below_that_is_one_is_out_of_the_picture_but_for_under_the_foreground(
    dtype: str, opacity: float
) -> None:
    alpha = below(0.6 / opacity if opacity < 0.6 else 0.6)[..., None]  # opaque in its middle, if it is not laid so
    alpha, own = np.minimum(alpha, 1), np.zeros((HEIGHT, WIDTH, 3))
    behind = picture(HEIGHT, WIDTH, 4, "f32").astype(np.float64)
    image = stored(laid(own, opacity * alpha, behind)[..., :3], "f32" if dtype == "f16" else dtype)
    mask, before = np.rint(255 * sharp()).astype(np.uint8), image.copy()
    coverage = stored(alpha, dtype)
    take_away(image, stored(own, dtype), coverage, opacity, mask)
    assert (image[mask > 0] == before[mask > 0]).all() and (coverage == stored(alpha, dtype)).all()
    np.testing.assert_allclose((image / full(image))[mask == 0], behind[mask == 0][:, :3], atol=10 * FLOATS[dtype])


@pytest.mark.parametrize("colour", [(0.1, 0.2, 0.7), (0.9, 0.9, 0.9)])
def test_a_layer_below_that_is_none_is_of_the_picture(colour: tuple[float, ...]) -> None:
    own = np.broadcast_to(np.array(colour), (HEIGHT, WIDTH, 3))
    image, alpha = picture(HEIGHT, WIDTH, 3), stored(below()[..., None], "u8")
    before = image.copy()
    take_away(image, stored(own, "u8"), alpha, 1.0, np.zeros((HEIGHT, WIDTH), np.uint8))
    assert (image == before).all()


@pytest.mark.parametrize(
    "name", ["smooth", "feathered", "black", "blue", "noise", "shadow alone", "faint", "opaque", "empty"]
)
def test_what_is_no_shadow_stays(name: str) -> None:
    own, alpha = layer(sharp(), np.zeros((HEIGHT, WIDTH)))
    if name == "feathered":
        alpha = disc(HEIGHT, WIDTH)[..., None] / 255
    elif name == "black":  # a silhouette with soft edges
        own, alpha = np.zeros_like(own), disc(HEIGHT, WIDTH)[..., None] / 255
    elif name == "blue":  # glass
        own, alpha = layer(sharp(), below())
        own[alpha[..., 0] < 1] = (0.1, 0.2, 0.7)
    elif name == "noise":  # hair
        own, alpha = layer(sharp(), below())
        own[alpha[..., 0] < 1] = np.random.default_rng(0).uniform(0, 0.2, own[alpha[..., 0] < 1].shape)
    elif name == "shadow alone":
        own, alpha = layer(np.zeros((HEIGHT, WIDTH)), below())
    elif name == "faint":
        own, alpha = layer(sharp(), below(0.005))
    elif name in ("opaque", "empty"):
        own, alpha = np.zeros_like(own), np.full_like(alpha, name == "opaque")
    image = picture(HEIGHT, WIDTH, 3)
    colours, coverage, before = stored(own, "u8"), stored(alpha, "u8"), image.copy()
    take_out(image, colours, coverage, 1.0)
    assert (coverage == stored(alpha, "u8")).all() and (image == before).all()
