"""The Harmonizer's promises: same type, size and depth back, an untouched background, honest errors."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from gknet import variants, weights
from gknet.experts import single
from gknet.harmonizer import Harmonized, Harmonizer, NoBackgroundError
from gknet.network import GKNet, GKNetConfig
from tests.places import EXAMPLES

SLOPE, OFFSET = (0.8, 1.1, 0.9), (0.1, -0.05, 0.02)
"""A colour change per channel that keeps 0.05..0.95 within 0..1."""


class Affine(nn.Module):
    """A network of a known colour change, blended and composed as GKNet does (paper sec. 3.1). It keeps what it saw."""

    def __init__(
        self, slope: tuple[float, ...] = SLOPE, offset: tuple[float, ...] = OFFSET, size: int = 64, **config: Any
    ) -> None:
        super().__init__()
        self.config = GKNetConfig(size=size, **config)
        self.slope, self.offset = (torch.tensor(x)[:, None, None] for x in (slope, offset))
        self.composite: Tensor | None = None
        self.mask: Tensor | None = None

    def forward(self, composite: Tensor, mask: Tensor) -> Tensor:
        self.composite, self.mask = composite, mask
        harmonized = composite * self.slope + self.offset
        return torch.where(mask > 0, torch.lerp(composite, harmonized, mask), composite)


def harmonizer(network: nn.Module | None = None) -> Harmonizer:
    return Harmonizer(network=network or Affine(), model="affine", device="cpu")  # type: ignore[arg-type]


IDENTITY = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def perturbed() -> GKNet:
    """A GKNet that is not the identity it starts as."""
    network = variants.create("gknet-lite").eval()
    torch.manual_seed(0)
    for tensor in (network.head.weight, network.head.bias):
        nn.init.normal_(tensor, 0, 0.05)
    return network


def picture(height: int, width: int, channels: int = 3, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Smooth shapes with noise on them, 0.05..0.95; alpha opaque."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    values = np.stack([np.sin(x + c) * np.cos(y * (c + 1) / 2) for c in range(channels)], 2) * 0.45 + 0.5
    values = np.clip(values + draw.normal(0, 0.04, values.shape), 0.05, 0.95)
    if channels in (2, 4):
        values[..., -1] = 1
    scale = np.iinfo(dtype).max if dtype != "float32" else 1
    return (np.rint(values * scale) if dtype != "float32" else values).astype(dtype)


def disc(height: int, width: int) -> np.ndarray:
    """A bool mask with background all around."""
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) / height) ** 2 + ((x - width / 2) / width) ** 2 < 0.09


def changed(image: np.ndarray, mask: np.ndarray, strength: float = 1) -> np.ndarray:
    """What Affine does to an image at its own size, unrounded, in the image's units."""
    scale = float(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else 1.0
    colours = image[..., :3] / scale
    change = colours * (np.array(SLOPE) - 1) + np.array(OFFSET)
    return (colours + strength * mask[..., None] * change) * scale


@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.6), ("uint16", 12), ("float32", 2e-4)])
def test_a_global_change_is_reproduced_at_full_size(dtype: str, tolerance: float) -> None:
    image, mask = picture(700, 1000, dtype=dtype), disc(700, 1000)
    result = harmonizer()(image, mask)
    assert np.abs(result - changed(image, mask)).max() <= tolerance
    assert np.abs(result[mask].astype(float) - image[mask]).max() > 30 * tolerance  # there was something to reproduce


def test_soft_masks_and_strength_blend() -> None:
    image = picture(300, 400, dtype="uint16")
    soft = np.clip(1.5 - np.hypot(*(np.mgrid[:300, :400] - np.array([150, 200])[:, None, None])) / 90, 0, 1)
    result = harmonizer()(image, soft, strength=0.4)
    assert np.abs(result - changed(image, soft, 0.4)).max() <= 40
    for depth, scale in (("uint8", 255), ("uint16", 65535)):
        same = harmonizer()(image, np.rint(soft * scale).astype(depth), strength=0.4)
        assert np.abs(same - result.astype(float)).max() <= 65535 * 0.15 * 0.5 / scale * 0.4 + 2


@pytest.mark.parametrize("side", [64, 150])  # the network's own size, and another
@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 1.5), ("float32", 1e-3)])
def test_unblended_the_result_laid_over_the_image_is_the_blended_one(side: int, dtype: str, tolerance: float) -> None:
    image = picture(side, side, dtype=dtype)
    soft = np.clip(1.5 - np.hypot(*(np.mgrid[:side, :side] - side / 2)) / side * 4, 0, 1)
    mask = np.rint(soft * 255).astype(np.uint8)
    blended = harmonizer()(image, mask)
    unblended = harmonizer().harmonize(image, mask, blend=False).image
    assert np.array_equal(unblended[mask == 255], blended[mask == 255])
    assert np.array_equal(unblended[mask == 0], image[mask == 0])
    opacity = mask[..., None] / 255
    assert np.abs(image * (1 - opacity) + unblended * opacity - blended).max() <= tolerance
    seen = mask > 25
    assert np.abs(unblended - changed(image, seen))[seen].max() <= 4 * tolerance


@pytest.mark.parametrize("side", [64, 150])
@pytest.mark.parametrize("context_box", [None, (5, 8, 60, 63)])
def test_cropped_the_result_is_the_whole_ones_part(side: int, context_box: tuple[int, int, int, int] | None) -> None:
    image = picture(side, side)
    mask = np.zeros((side, side), np.uint8)
    mask[20:50, 11:43] = 200
    whole = harmonizer().harmonize(image, mask, context_box=context_box)
    assert whole.box == (11, 20, 43, 50) and not np.array_equal(whole.image, image)
    cropped = harmonizer().harmonize(image, mask, context_box=context_box, crop=True)
    assert np.array_equal(cropped.image, whole.image[20:50, 11:43]) and cropped.box == whole.box
    small = harmonizer().harmonize(Image.fromarray(image), Image.fromarray(mask), context_box=context_box, crop=True)
    assert isinstance(small.image, Image.Image) and np.array_equal(small.image, cropped.image)
    assert harmonizer().harmonize(image[..., 0], mask, strength=0, crop=True).image.shape == (30, 32)


def test_stages_are_told_as_they_begin_and_can_be_the_last() -> None:
    image, mask, stages = picture(100, 100), disc(100, 100), []
    result = harmonizer().harmonize(image, mask, on_stage=stages.append)
    assert stages == list(result.timings) == ["check", "reduce", "network", "fit", "apply"]

    def stop(stage: str) -> None:
        if stage == "fit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harmonizer().harmonize(image, mask, on_stage=stop)


LAYOUTS = {
    "rgb": (3, "uint8"),
    "rgb16": (3, "uint16"),
    "rgb float": (3, "float32"),
    "rgba": (4, "uint8"),
    "rgba16": (4, "uint16"),
    "rgba float": (4, "float32"),
    "grey": (0, "uint8"),
    "grey16": (0, "uint16"),
    "grey alpha": (2, "uint8"),
}


@settings(max_examples=60)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    height=st.integers(16, 150),
    width=st.integers(16, 150),
    seed=st.integers(0, 9),
    mask_type=st.sampled_from(["bool", "uint8", "uint16", "float32", "float64"]),
    strided=st.booleans(),
)
def test_any_size_and_layout_comes_back_with_its_background_untouched(
    layout: str, height: int, width: int, seed: int, mask_type: str, strided: bool
) -> None:
    channels, dtype = LAYOUTS[layout]
    draw = np.random.default_rng(seed)
    image = picture(height, width, channels or 1, dtype, seed)
    if channels in (2, 4):
        image[..., -1] = draw.integers(0, 2, (height, width)) * image[..., -1]
    if not channels:
        image = image[..., 0]
    soft = draw.random((height, width)) * (draw.random((height, width)) > 0.6)
    soft[0, :], soft[height // 2, width // 2] = 0, 1
    mask = soft > 0.3 if mask_type == "bool" else soft
    if mask_type.startswith("uint"):
        mask = np.rint(soft * np.iinfo(mask_type).max)
    mask = mask.astype(mask_type)
    if strided:
        image, mask = np.asfortranarray(image)[::-1], mask[::-1]
    original = image.copy()
    result = harmonizer()(image, mask)
    assert isinstance(result, np.ndarray)
    assert result.shape == image.shape and result.dtype == image.dtype
    assert np.array_equal(image, original)
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert not np.array_equal(result, image)
    if channels in (2, 4):
        assert np.array_equal(result[..., -1], image[..., -1])


@pytest.mark.parametrize("shape", [(64, 64), (200, 300), (40, 50)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("transfer", ["srgb", "linear"])
def test_strength_zero_and_a_network_without_change_are_the_identity(
    shape: tuple[int, int], dtype: str, transfer: str
) -> None:
    image, mask = picture(*shape, dtype=dtype), disc(*shape)
    assert np.array_equal(harmonizer()(image, mask, strength=0, transfer=transfer), image)
    result = harmonizer(Affine(*IDENTITY))(image, mask, transfer=transfer)
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


@pytest.mark.parametrize(
    ("shape", "side"),
    [((40, 50), 64), ((64, 64), 64), ((90, 100), 96), ((96, 96), 96), ((60, 200), 96), ((400, 300), 128)],
)
def test_the_network_sees_as_many_pixels_as_the_document_has_within_its_limits(
    shape: tuple[int, int], side: int
) -> None:
    network = Affine(max_size=128)
    image, mask = picture(*shape), disc(*shape)
    harmonizer(network)(image, mask)
    assert network.composite is not None and network.composite.shape[2:] == (side, side)
    network.config = GKNetConfig(size=64)  # as in weights from before there was a limit
    harmonizer(network)(image, mask)
    assert network.composite.shape[2:] == (64, 64)


@pytest.mark.parametrize(("shape", "side"), [((20, 30), 64), ((64, 64), 96), ((60, 90), 96), ((96, 96), 128)])
def test_a_small_document_is_shown_larger_within_the_limits(shape: tuple[int, int], side: int) -> None:
    network = Affine(max_size=128, enlarge=1.5)
    image, mask = picture(*shape), disc(*shape)
    image[::2, 0], image[1::2, 0] = 0, 255
    result = harmonizer(network)(image, mask)
    assert network.composite is not None and network.composite.shape[2:] == (side, side)
    expected = np.rint((image / 255 * SLOPE + OFFSET) * 255)
    assert np.abs(np.asarray(result)[mask].astype(float) - expected[mask]).max() <= 1
    assert np.array_equal(np.asarray(result)[~mask], image[~mask])


def test_of_a_context_box_its_own_pixels_count() -> None:
    network = Affine(max_size=128)
    image, mask = picture(200, 300), np.zeros((200, 300), bool)
    mask[40:80, 40:80] = True
    harmonizer(network)(image, mask, context_box=(10, 10, 106, 106))
    assert network.composite is not None and network.composite.shape[2:] == (96, 96)


@pytest.mark.parametrize("side", [256, 352, 512])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_at_its_own_size_the_networks_output_is_returned(dtype: str, side: int) -> None:
    network = perturbed()
    network.config = dataclasses.replace(network.config, enlarge=1.0)
    image, mask = picture(side, side, dtype=dtype), disc(side, side)
    scale = np.float32(np.iinfo(dtype).max if dtype != "float32" else 1)
    with torch.inference_mode():
        tensor = torch.from_numpy(image.astype(np.float32) / scale).permute(2, 0, 1)[None].contiguous()
        output = network(tensor, torch.from_numpy(mask.astype(np.float32))[None, None])[0].permute(1, 2, 0).numpy()
    expected = output if dtype == "float32" else np.clip(np.rint(output * scale), 0, scale)
    result = harmonizer(network)(image, mask)
    assert np.array_equal(result, expected)
    assert not np.array_equal(result, image)


def test_gknet_is_deterministic_at_full_size() -> None:
    network = perturbed()
    image, mask = picture(300, 420), disc(300, 420)
    first = harmonizer(network)(image, mask)
    assert np.array_equal(first, harmonizer(network)(image, mask))
    assert not np.array_equal(first, image)


@pytest.mark.parametrize(
    ("mode", "dtype", "channels"),
    [("L", "uint8", 1), ("LA", "uint8", 2), ("RGB", "uint8", 3), ("RGBA", "uint8", 4), ("I;16", "uint16", 1)],
)
def test_pil_images_in_and_out(mode: str, dtype: str, channels: int) -> None:
    array, mask = picture(120, 90, channels, dtype), disc(120, 90)
    image = Image.fromarray(array[..., 0] if channels == 1 else array)
    image.info["dpi"] = (300, 300)
    assert image.mode == mode
    by_mode = [Image.fromarray(mask), Image.fromarray(mask.astype(np.uint8) * 255)]
    assert [m.mode for m in by_mode] == ["1", "L"]
    for pil_mask in by_mode:
        result = harmonizer()(image, pil_mask)
        assert isinstance(result, Image.Image)
        assert (result.mode, result.size, result.info) == (image.mode, image.size, image.info)
        expected = harmonizer()(array, np.asarray(pil_mask))
        assert np.array_equal(np.asarray(result).reshape(array.shape), expected)


def test_a_grey_document_stays_grey() -> None:
    image, mask = picture(200, 200, 1)[..., 0], disc(200, 200)
    result = harmonizer(Affine((1, 1, 1), (0.1, 0.1, 0.1)))(image, mask)
    np.testing.assert_allclose(result[mask], np.clip(image[mask] + 25.5, 0, 255), atol=0.6)


@pytest.mark.parametrize("side", [200, 700])
@pytest.mark.parametrize("pasted", [True, False])
def test_a_black_and_white_photo_gets_no_tint(side: int, pasted: bool) -> None:
    photo, mask = (Image.open(EXAMPLES / name).resize((side, side)) for name in ("coffee.jpg", "coffee_mask.png"))
    image, mask = np.asarray(photo.convert("L").convert("RGB")).copy(), np.asarray(mask)
    image[mask > 127] //= 2
    result = np.asarray(Harmonizer.load(device="cpu")(image, mask, pasted=pasted)).astype(int)
    assert np.abs(result - image)[mask > 127].mean() > 10
    assert np.ptp(result, axis=2).max() <= 1


def test_absent_pixels_do_not_reach_the_network_as_black() -> None:
    network = Affine()
    image, mask = np.maximum(picture(128, 160, 4), 40), disc(128, 160)
    image[:100, :40] = 0  # transparent black
    harmonizer(network)(image, mask)
    assert network.composite is not None
    assert network.composite[0, :, :, :16].min() > 0.1
    opaque = image.copy()
    opaque[..., 3] = 255
    harmonizer(network)(opaque, mask)
    assert network.composite[0, :, :40, :10].max() == 0


def test_the_network_sees_the_document_in_srgb() -> None:
    network, mask = Affine(), disc(100, 100)
    image = np.full((100, 100, 3), 0.18, np.float32)
    harmonizer(network)(image, mask, transfer="linear")
    assert network.composite is not None
    np.testing.assert_allclose(network.composite.numpy(), 0.461356, atol=1e-5)


def test_linear_documents_get_the_same_change_as_their_srgb_twins() -> None:
    from gknet.color import decode_srgb, encode_srgb

    image, mask = picture(400, 500, dtype="float32"), disc(400, 500)
    linear = harmonizer()(decode_srgb(image), mask, transfer="linear")
    difference = np.abs(encode_srgb(linear) - harmonizer()(image, mask))
    assert difference.mean() < 1e-3 and np.quantile(difference, 0.999) < 0.02


def test_shadows_of_linear_documents_are_neither_crushed_nor_lifted() -> None:
    """Beside highlights in the same cell a line through light has no place for them."""
    from gknet.color import decode_srgb, encode_srgb

    image = np.random.default_rng(4).uniform(0.02, 0.9, (400, 500, 3)).astype(np.float32)
    image[:200, :40], image[200:, :40] = 0, 1
    mask = disc(400, 500)
    for slope, offset in (((0.7,) * 3, (0.2,) * 3), ((0.9,) * 3, (-0.01,) * 3)):
        network = Affine(slope, offset)
        linear = encode_srgb(harmonizer(network)(decode_srgb(image), mask, transfer="linear"))
        plain = image * np.array(slope) + np.array(offset)
        difference = np.abs(linear - plain)[mask]
        assert difference.mean() < 2.5 / 255 and np.quantile(difference, 0.99) < 12 / 255


def test_a_profile_is_honoured_and_a_pil_image_brings_its_own() -> None:
    import pyvips

    black = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    p3 = black.icc_transform("p3", input_profile="srgb").get("icc-profile-data")
    network, mask = Affine(), disc(100, 100)
    array = np.full((100, 100, 3), (200, 60, 40), np.uint8)
    by_argument = harmonizer(network)(array, mask, profile=p3)
    assert network.composite is not None
    # Display P3's red 200, 60, 40 is beyond it in sRGB: redder (about 216, 44, 24).
    red, green, _ = network.composite[0, :, 50, 50] * 255
    assert red > 210 and green < 50
    image = Image.fromarray(array)
    image.info["icc_profile"] = p3
    result = harmonizer()(image, mask)
    assert np.array_equal(np.asarray(result), by_argument)
    assert isinstance(result, Image.Image) and result.info["icc_profile"] == p3
    assert np.array_equal(by_argument[~mask], array[~mask])
    assert not np.array_equal(by_argument, harmonizer()(array, mask))
    assert np.array_equal(harmonizer(Affine(*IDENTITY))(array, mask, profile=p3), array)


def test_high_dynamic_range_stays_sane() -> None:
    image, mask = picture(200, 300, dtype="float32"), np.zeros((200, 300), bool)
    mask[60:140, 50:250] = True
    image[100, 50:250] = np.linspace(1, 500, 200, dtype=np.float32)[:, None]
    image[101, 50:250] = -0.5
    result = harmonizer()(image, mask)
    assert np.isfinite(result).all()
    assert result[100, 249].min() > 490 and result[101, 50:250].max() < 0
    assert (np.diff(result[100, 50:250], axis=0) > 0).all()


def test_a_sixteen_bit_gradient_does_not_band() -> None:
    """The network sees 64 steps; the result keeps nearly every one of the document's."""
    ramp = np.linspace(8000, 58000, 1600).astype(np.uint16)
    image = np.repeat(np.broadcast_to(ramp, (200, 1600))[..., None], 3, axis=2).copy()
    mask = np.zeros((200, 1600), bool)
    mask[50:150, 20:1580] = True
    row = harmonizer()(image, mask)[100, 20:1580, 0].astype(int)
    assert len(np.unique(row)) == 1560
    assert np.diff(row).min() > 0.7 * 0.8 * 31 and np.diff(row).max() < 1.3 * 0.8 * 32


def test_a_context_box_is_what_the_network_sees() -> None:
    image, mask = picture(300, 400), np.zeros((300, 400), bool)
    mask[100:140, 210:260] = True
    network = Affine()
    result = harmonizer(network)(image, mask, context_box=(180, 60, 308, 188))
    assert network.composite is not None
    seen = image[60:188, 180:308].reshape(64, 2, 64, 2, 3).mean((1, 3)) / 255
    np.testing.assert_allclose(network.composite[0].permute(1, 2, 0), seen, atol=1e-5)
    assert np.abs(result - changed(image, mask)).max() <= 0.6
    assert np.array_equal(result[~mask], image[~mask])
    large = disc(300, 400)
    assert np.array_equal(harmonizer()(image, large, context_box=(0, 0, 400, 300)), harmonizer()(image, large))


def test_the_report_names_model_device_and_stages() -> None:
    report = harmonizer().harmonize(picture(100, 100), disc(100, 100))
    assert isinstance(report, Harmonized)
    assert (report.model, report.device) == ("affine", "cpu")
    assert list(report.timings) == ["check", "reduce", "network", "fit", "apply"]
    assert all(value >= 0 for value in report.timings.values())


IMAGE, MASK = picture(60, 80), disc(60, 80)


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    array = array.astype(np.float32)
    array[3, 4] = value
    return array


@pytest.mark.parametrize(
    ("error", "text", "image", "mask", "options"),
    [
        (TypeError, "PIL image or a numpy array, not list", [[0]], MASK, {}),
        (TypeError, "PIL image or a numpy array, not str", IMAGE, "mask.png", {}),
        (TypeError, r"PIL mode is 'P'; convert .*convert\('RGB'\)", Image.new("P", (80, 60)), MASK, {}),
        (TypeError, "PIL mode is 'CMYK'; convert", Image.new("CMYK", (80, 60)), MASK, {}),
        (TypeError, "PIL mode is '1'; convert", Image.new("1", (80, 60)), MASK, {}),
        (TypeError, r"mask's PIL mode is 'RGB'; .*convert\('L'\)", IMAGE, Image.new("RGB", (80, 60)), {}),
        (TypeError, "image is int64; convert it to uint8, uint16 or float32", IMAGE.astype(int), MASK, {}),
        (TypeError, "image is float64; convert", IMAGE / 255, MASK, {}),
        (TypeError, "mask is int64; convert", IMAGE, MASK.astype(int), {}),
        (ValueError, r"image has shape \(60, 80, 5\); pass", np.zeros((60, 80, 5), np.uint8), MASK, {}),
        (ValueError, r"image has shape \(60,\); pass", np.zeros(60, np.uint8), MASK, {}),
        (ValueError, r"mask has shape \(60, 80, 1\); pass one channel", IMAGE, MASK[..., None], {}),
        (ValueError, "image is 80 x 15; pass one of at least 16 x 16", IMAGE[:15], MASK[:15], {}),
        (ValueError, "image is 80 x 60, the mask 79 x 60; resize the mask", IMAGE, MASK[:, :79], {}),
        (ValueError, "mask is empty; mark the foreground", IMAGE, MASK & False, {}),
        (ValueError, "mask is full: there is no background", IMAGE, MASK | True, {}),
        (NoBackgroundError, "mask is full: there is no background", IMAGE, np.full((60, 80), 128, np.uint8), {}),
        (ValueError, "mask is uint8 and ends at 1, where 255 is full", IMAGE, MASK.astype(np.uint8), {}),
        (ValueError, "mask is uint16 and ends at 1, where 65535 is full", IMAGE, MASK.astype(np.uint16), {}),
        (ValueError, "image contains NaN or infinity", with_value(IMAGE / 255, np.nan), MASK, {}),
        (ValueError, "image contains NaN or infinity", with_value(IMAGE / 255, np.inf), MASK, {}),
        (ValueError, "image contains NaN or infinity", with_value(IMAGE / 255, -np.inf), MASK, {}),
        (ValueError, "mask contains NaN or infinity", IMAGE, with_value(MASK, np.nan), {}),
        (ValueError, "mask runs from 0 to 255; .*divide or clip", IMAGE, MASK * np.float32(255), {}),
        (ValueError, "mask runs from -0.5 to 1", IMAGE, with_value(MASK, -0.5), {}),
        (ValueError, "strength is 1.5; pass a number from 0", IMAGE, MASK, {"strength": 1.5}),
        (ValueError, "strength is -0.1; pass", IMAGE, MASK, {"strength": -0.1}),
        (ValueError, "strength is nan; pass", IMAGE, MASK, {"strength": float("nan")}),
        (TypeError, "strength must be a number from 0 to 1, not str", IMAGE, MASK, {"strength": "1"}),
        (TypeError, "strength must be a number from 0 to 1, not bool", IMAGE, MASK, {"strength": True}),
        (TypeError, r"context_box must be \(left, top, right, bottom\)", IMAGE, MASK, {"context_box": (0, 0, 80)}),
        (TypeError, "context_box must be four whole numbers", IMAGE, MASK, {"context_box": (0, 0, 80, 59.5)}),
        *(
            (ValueError, "reaches beyond the image, which is 80 x 60", IMAGE, MASK, {"context_box": box})
            for box in ((-1, 0, 80, 60), (0, -1, 80, 60), (0, 0, 81, 60), (0, 0, 80, 61))
        ),
        *(
            (ValueError, "does not contain the foreground, which fills", IMAGE, MASK, {"context_box": box})
            for box in ((40, 0, 80, 60), (0, 30, 80, 60), (0, 0, 40, 60), (0, 0, 80, 30))
        ),
        *(
            (ValueError, "smaller than 16 x 16 pixels or inside out", IMAGE, MASK, {"context_box": box})
            for box in ((60, 0, 20, 60), (20, 0, 35, 60), (0, 20, 80, 35))
        ),
        (ValueError, "around the foreground is transparent", np.dstack([IMAGE, MASK & np.uint8(0)]), MASK, {}),
        (NoBackgroundError, "around the foreground", np.dstack([IMAGE, MASK * np.uint8(255)]), MASK, {}),
        (ValueError, "transfer 'gamma' is unknown", IMAGE, MASK, {"transfer": "gamma"}),
        (ValueError, "ICC profile .* is damaged", IMAGE, MASK, {"profile": b"nonsense"}),
    ],
)
def test_errors_say_what_to_do(error: type[Exception], text: str, image: object, mask: object, options: dict) -> None:
    with pytest.raises(error, match=text):
        harmonizer()(image, mask, **options)  # type: ignore[arg-type]


def test_a_context_box_without_background_is_an_error() -> None:
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    with pytest.raises(ValueError, match="mask is full.*enlarge context_box"):
        harmonizer()(IMAGE, mask, context_box=(30, 20, 50, 40))


def test_a_mask_too_faint_to_be_seen_changes_nothing() -> None:
    image, mask = picture(300, 300), np.zeros((300, 300), np.float32)
    mask[100, 100] = 1e-44
    assert np.array_equal(harmonizer()(image, mask), image)


def test_a_network_that_returns_nan_is_an_error() -> None:
    with pytest.raises(ArithmeticError, match="'affine' returned NaN or infinity"):
        harmonizer(Affine((float("nan"), 1, 1), (0, 0, 0)))(IMAGE, MASK)
    shipped = Harmonizer.load("gknet-lite", "cpu")
    with torch.no_grad():
        single(shipped.network).global_tone.bias.fill_(float("nan"))  # what its second look then sees is none
    with pytest.raises(ArithmeticError, match="'gknet-lite' returned NaN or infinity"):
        shipped(IMAGE, MASK, pasted=True)


def test_load_takes_a_file_and_lists_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    weights.save(path, variants.create("gknet-lite"), {})
    loaded = Harmonizer.load(path, "cpu")
    assert (loaded.model, loaded.device) == ("mine", "cpu")
    assert isinstance(loaded.network, GKNet) and not loaded.network.training
    assert np.array_equal(loaded(IMAGE, MASK), IMAGE)  # untrained: the identity
    with pytest.raises(ValueError, match="there is no model 'gnet'; choose one of auto"):
        Harmonizer.load("gnet")
    with pytest.raises(ValueError, match=r"no device 'tpu'; choose one of auto, .*cpu"):
        Harmonizer.load(path, "tpu")


@pytest.mark.parametrize(("threads", "before", "expected"), [(None, None, "half"), ("2", None, 2), (None, 1, 1)])
def test_a_loaded_harmonizer_leaves_cores_to_others(threads: str | None, before: int | None, expected: object) -> None:
    """torch has half of the cores, or fewer if it had fewer; or as many as OMP_NUM_THREADS says."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = [f"import torch; torch.set_num_threads({before})" if before else "import torch", "import gknet"]
    code += 2 * ["gknet.Harmonizer.load(device='cpu')"] + ["print(torch.get_num_threads())"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env={**environment, **({"OMP_NUM_THREADS": threads} if threads else {})},
        capture_output=True,
        text=True,
        check=True,
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 1 <= int(done.stdout) <= max(1, cores // 2) if expected == "half" else int(done.stdout) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_processes_forked_after_the_first_use_harmonize_as_well() -> None:
    """OpenMP's threads do not live on in a forked process: one that waited for them would hang."""
    code = """
import multiprocessing, numpy, torch, gknet
harmonizer = gknet.Harmonizer.load(device="cpu")
torch.set_num_threads(2)  # as on a machine with four cores
image, mask = numpy.zeros((300, 300, 3), "uint8"), numpy.zeros((300, 300), bool)
image[:150], mask[100:200, 100:200] = 200, True
expected = harmonizer(image, mask)
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.starmap_async(harmonizer, 3 * [(image, mask)]).get(60)
print([int(abs(a.astype(int) - expected).max()) for a in found])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout)) <= 1


def test_auto_loads_shipped_weights_that_change_the_foreground_only() -> None:
    loaded = Harmonizer.load(device="cpu")
    assert loaded.model == "gknet-lite" and loaded.device == "cpu"
    image, mask = picture(300, 400), disc(300, 400)
    image[mask] //= 2
    result = loaded(image, mask)
    assert np.array_equal(result[~mask], image[~mask])
    assert result[mask].mean() > image[mask].mean()  # brighter, toward its surroundings


@pytest.mark.parametrize("pasted", [True, None])
def test_before_a_flat_colour_rounding_decides_nothing(pasted: bool | None) -> None:
    loaded = Harmonizer.load(device="cpu")
    photo, mask = (np.asarray(Image.open(EXAMPLES / name)) for name in ("astronaut.jpg", "astronaut_mask.png"))
    inside, random = mask > 127, np.random.default_rng(5)
    for colour in random.integers(20, 236, (6, 3)):
        flat = np.where(inside[..., None], photo, colour).astype(np.float32) / 255
        hardly = (flat + random.normal(0, 0.004, flat.shape).astype(np.float32)).clip(0, 1)
        one, other = (np.asarray(loaded(image, mask, pasted=pasted))[inside].mean(0) for image in (flat, hardly))
        np.testing.assert_allclose(one, other, atol=5 / 255, err_msg=str(colour))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_at_its_own_size_what_is_beyond_the_range_is_its_end(dtype: str) -> None:
    image, mask = picture(64, 64, dtype=dtype), disc(64, 64)
    full = np.iinfo(dtype).max
    assert (harmonizer(Affine((1, 1, 1), (2, 2, 2)))(image, mask)[mask] == full).all()
    assert (harmonizer(Affine((1, 1, 1), (-2, -2, -2)))(image, mask)[mask] == 0).all()


def test_of_two_equal_channels_a_third_is_a_colour() -> None:
    image, mask = np.full((64, 64, 3), (90, 90, 40), np.uint8), disc(64, 64)
    image[:32] = (150, 150, 200)
    result = harmonizer()(image, mask).astype(int)
    assert np.abs(result - changed(image, mask)).max() <= 0.6


def test_the_background_of_a_black_and_white_photo_stays_also_at_the_networks_own_size() -> None:
    image, mask = np.repeat(picture(64, 64, 1, "float32"), 3, axis=2), disc(64, 64)
    assert np.array_equal(harmonizer()(image, mask)[~mask], image[~mask])


def test_a_cut_outs_soft_edge_is_no_background() -> None:
    mask = np.rint(disc(60, 80) * 254).astype(np.uint8)
    alpha = np.where(mask > 0, 255, 0).astype(np.uint8)  # a step more opaque than it is marked
    with pytest.raises(NoBackgroundError, match="around the foreground is transparent"):
        harmonizer()(np.dstack([IMAGE, alpha]), mask)


def test_the_box_is_the_images_and_not_the_contexts() -> None:
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    assert harmonizer().harmonize(IMAGE, mask, context_box=(10, 5, 70, 55)).box == (30, 20, 50, 40)
