"""Document values <-> sRGB: curves by literal values, ICC profiles against arithmetic of our own."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import ImageCms

from gknet.color import decode_srgb, document_space, encode_srgb

# Colorants adapted to D50, as profiles store them: sRGB's and Adobe RGB (1998)'s.
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def icc_profile(space: bytes, gamma: float, colorants: tuple[tuple[float, float, float], ...] = ()) -> bytes:
    """A minimal ICC 2.1 display profile: a gamma and, for RGB, three colorants."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for name, colorant in zip(b"rgb", colorants, strict=True):
            tags[bytes([name]) + b"XYZ"] = xyz(colorant)
            tags[bytes([name]) + b"TRC"] = curve
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    size = start + len(data)
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x02100000, b"mntr", space, b"XYZ ", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + data


def vips_profile(name: str) -> bytes:
    """One of the profiles that libvips brings: srgb, p3, cmyk."""
    import pyvips

    black = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    return black.icc_transform(name, input_profile="srgb").get("icc-profile-data")


def colours(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((64, 64, 3), dtype=np.float32)


def test_srgb_curve_has_the_values_of_the_standard() -> None:
    light = np.array([-0.5, 0, 0.001, 0.0031308, 0.18, 0.5, 1, 4], np.float32)
    value = [-0.735357, 0, 0.01292, 0.04045, 0.461356, 0.735357, 1, 1.824797]
    np.testing.assert_allclose(encode_srgb(light), value, atol=2e-6)
    np.testing.assert_allclose(decode_srgb(np.array(value, np.float32)), light, atol=2e-5)


def test_values_without_profile_pass_unchanged() -> None:
    space, values = document_space(None, "srgb", 3), colours()
    assert np.array_equal(space.to_srgb(values), values)
    assert np.array_equal(space.from_srgb(values * 3), values * 3)


def test_linear_documents_are_encoded_and_keep_values_beyond_white() -> None:
    space = document_space(None, "linear", 3)
    assert space.to_srgb(np.full((1, 1, 3), 0.18, np.float32))[0, 0, 0] == pytest.approx(0.461356, abs=1e-5)
    bright = space.from_srgb(np.full((1, 1, 3), 1.5, np.float32))
    assert bright[0, 0, 0] == pytest.approx(2.537, abs=1e-2)


def test_grey_goes_to_three_equal_channels_and_back_by_luma() -> None:
    space = document_space(None, "srgb", 1)
    grey = colours()[..., :1]
    rgb = space.to_srgb(grey)
    assert rgb.shape == (64, 64, 3) and (rgb == grey).all()
    np.testing.assert_allclose(space.from_srgb(rgb), grey, atol=1e-6)
    red = np.zeros((1, 1, 3), np.float32)
    red[..., 0] = 1
    assert space.from_srgb(red)[0, 0, 0] == pytest.approx(0.2126)


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(lambda: icc_profile(b"RGB ", 2.2, ADOBE), id="adobe-like"),
        pytest.param(lambda: icc_profile(b"RGB ", 1.0, SRGB), id="linear"),
        pytest.param(lambda: vips_profile("p3"), id="display-p3"),
        pytest.param(lambda: ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), id="srgb"),
    ],
)
def test_icc_round_trip_is_far_finer_than_eight_bits(profile) -> None:
    space = document_space(profile(), "srgb", 3)
    srgb = colours() * 0.8 + 0.1
    back = space.to_srgb(space.from_srgb(srgb))
    error = np.abs(back - srgb)
    assert error.mean() < 0.1 / 255
    assert error.max() < 1.5 / 255


@pytest.mark.parametrize(
    ("profile", "light"),
    [
        (lambda: icc_profile(b"RGB ", 1.0, ADOBE), True),
        (lambda: icc_profile(b"RGB ", 1.0, SRGB), True),
        (lambda: icc_profile(b"GRAY", 1.0), True),
        (lambda: icc_profile(b"RGB ", 1.8, ADOBE), False),
        (lambda: icc_profile(b"RGB ", 2.2, ADOBE), False),
        (lambda: vips_profile("p3"), False),
        (lambda: None, False),
    ],
)
def test_values_that_are_light_are_told_from_others(profile, light: bool) -> None:
    icc = profile()
    grey = icc is not None and icc[16:20] == b"GRAY"
    assert document_space(icc, "srgb", 1 if grey else 3).light is light


def test_adobe_like_profile_converts_as_its_numbers_say() -> None:
    space = document_space(icc_profile(b"RGB ", 2.2, ADOBE), "srgb", 3)
    values = colours() * 0.3 + 0.4  # inside sRGB's gamut
    light = values.astype(np.float64) ** (round(2.2 * 256) / 256)
    expected = encode_srgb((light @ np.array(ADOBE) @ np.linalg.inv(np.array(SRGB))).astype(np.float32))
    assert 0 < expected.min() and expected.max() < 1
    np.testing.assert_allclose(space.to_srgb(values), expected, atol=1.5 / 255)
    assert np.abs(space.to_srgb(values) - expected).mean() < 0.3 / 255
    assert np.abs(values - expected).max() > 10 / 255  # the profile matters


@pytest.mark.parametrize(
    ("profile", "transfer", "channels"),
    [
        pytest.param(lambda: icc_profile(b"RGB ", 1.0, SRGB), "linear", 3, id="linear"),
        pytest.param(lambda: icc_profile(b"RGB ", 1.0, SRGB), "linear", 1, id="linear-on-grey"),
        pytest.param(lambda: icc_profile(b"GRAY", 1.0), "linear", 1, id="grey-linear"),
        pytest.param(lambda: vips_profile("srgb"), "srgb", 3, id="srgb"),
    ],
)
def test_a_profile_that_says_nothing_new_is_its_transfer(profile, transfer: str, channels: int) -> None:
    """Exactly, and so values beyond white are kept."""
    by_profile, by_transfer = document_space(profile(), "srgb", channels), document_space(None, transfer, channels)
    values = (colours() * 1.4)[..., :channels]
    assert np.array_equal(by_profile.to_srgb(values), by_transfer.to_srgb(values))
    srgb = by_transfer.to_srgb(values)
    assert np.array_equal(by_profile.from_srgb(srgb), by_transfer.from_srgb(srgb))


@pytest.mark.parametrize("gamma", [2.2, 1.05])
def test_a_profile_near_a_transfer_is_not_taken_for_it(gamma: float) -> None:
    values = colours() * 0.4 + 0.01
    light = values.astype(np.float64) ** (round(gamma * 256) / 256)
    srgb = document_space(icc_profile(b"RGB ", gamma, SRGB), "srgb", 3).to_srgb(values)
    assert np.abs(srgb - encode_srgb(light.astype(np.float32))).mean() < 0.3 / 255
    assert np.abs(srgb - values).max() > 2 / 255 and np.abs(srgb - encode_srgb(values)).max() > 2 / 255


def test_grey_profile_on_a_grey_image() -> None:
    space = document_space(icc_profile(b"GRAY", 1.0), "srgb", 1)
    grey = np.full((4, 4, 1), 0.18, np.float32)
    rgb = space.to_srgb(grey)
    np.testing.assert_allclose(rgb, np.full((4, 4, 3), 0.461356), atol=1 / 255)
    np.testing.assert_allclose(space.from_srgb(rgb), grey, atol=0.3 / 255)


def test_rgb_profile_on_a_grey_image_is_its_neutral_axis() -> None:
    # PIL keeps an RGB profile through convert("L").
    space = document_space(icc_profile(b"RGB ", 1.0, SRGB), "srgb", 1)
    grey = np.full((4, 4, 1), 0.18, np.float32)
    rgb = space.to_srgb(grey)
    np.testing.assert_allclose(rgb, np.full((4, 4, 3), 0.461356), atol=1 / 255)
    np.testing.assert_allclose(space.from_srgb(rgb), grey, atol=0.3 / 255)


def test_equal_colours_give_equal_document_values() -> None:
    # The change is a difference of two conversions: where the network changes nothing it must vanish.
    space, srgb = document_space(vips_profile("p3"), "srgb", 3), colours()
    assert np.array_equal(space.from_srgb(srgb), space.from_srgb(srgb.copy()))


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"transfer 'gamma' is unknown; choose one of srgb, linear"):
        document_space(None, "gamma", 3)
    with pytest.raises(ValueError, match=r"ICC profile \(8 bytes\) is damaged or is none.*pass the image without it"):
        document_space(b"nonsense", "srgb", 3)
    with pytest.raises(ValueError, match="is damaged"):
        document_space(icc_profile(b"RGB ", 2.2, ADOBE)[:150], "srgb", 3)
    with pytest.raises(ValueError, match=r"for CMYK images, this one is RGB; convert the image to RGB, or drop"):
        document_space(vips_profile("cmyk"), "srgb", 3)
    with pytest.raises(ValueError, match=r"for GRAY images, this one is RGB"):
        document_space(icc_profile(b"GRAY", 2.2), "srgb", 3)
    with pytest.raises(TypeError, match=r"must be the bytes of an ICC profile, not str"):
        document_space("sRGB", "srgb", 3)  # type: ignore[arg-type]


def test_a_grey_profile_is_refused_on_colours_also_if_it_says_nothing_new() -> None:
    with pytest.raises(ValueError, match="for GRAY images, this one is RGB"):
        document_space(icc_profile(b"GRAY", 1.0), "srgb", 3)
