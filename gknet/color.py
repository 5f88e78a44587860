"""Document values <-> the sRGB values that the network sees. Only the small images are converted, never the document.

Values are floats, 1 is full scale. ICC transforms are LittleCMS's, through libvips, in 16 bits and a float PCS.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

Float = NDArray[np.float32]

TRANSFERS = ("srgb", "linear")
_STEPS = 17
"""Values of each channel by which a profile is compared with a transfer."""
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of R, G and B in a grey (ITU-R BT.709)."""


def encode_srgb(linear: Float) -> Float:
    """Light -> sRGB value (IEC 61966-2-1), any shape; odd around 0 and not clipped above 1."""
    size = np.abs(linear)
    curve = 1.055 * np.maximum(size, 0.0031308) ** (1 / 2.4) - 0.055
    return np.copysign(np.where(size <= 0.0031308, size * 12.92, curve), linear).astype(np.float32)


def decode_srgb(value: Float) -> Float:
    """sRGB value -> light; the inverse of :func:`encode_srgb`."""
    size = np.abs(value)
    curve = ((np.maximum(size, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.copysign(np.where(size <= 0.04045, size / 12.92, curve), value).astype(np.float32)


@dataclass(frozen=True)
class DocumentSpace:
    """What a document's values mean.

    Attributes:
        to_srgb: float32 [H, W, C] in document values, 0..1, C = 1 (grey) or 3 -> float32 [H, W, 3] in sRGB, 0..1.
        from_srgb: the way back. An ICC profile limits values to 0..1; the other spaces keep those beyond.
        light: values are proportional to light, or nearly so, and not to what is seen.
    """

    to_srgb: Callable[[Float], Float]
    from_srgb: Callable[[Float], Float]
    light: bool


def document_space(profile: bytes | None, transfer: str, channels: int) -> DocumentSpace:
    """The space of a document with 1 (grey) or 3 colour channels.

    Args:
        profile: its ICC profile. A grey document may carry an RGB one: it is that space's neutral axis.
        transfer: what values without a profile are: "srgb", or "linear" (light, with sRGB's primaries).
        channels: 1 or 3.

    Raises:
        ValueError: the profile is damaged or made for other images, or the transfer is unknown.
        TypeError: the profile is not bytes.
    """
    if transfer not in TRANSFERS:
        raise ValueError(f"transfer {transfer!r} is unknown; choose one of {', '.join(TRANSFERS)}")
    if profile is not None:
        kind, intent = _kind_and_intent(profile)
        if kind != "RGB" and not (kind == "GRAY" and channels == 1):
            raise ValueError(
                f"the ICC profile is for {kind} images, this one is {'grey' if channels == 1 else 'RGB'}; "
                "convert the image to RGB, or drop the profile (for a PIL image: del image.info['icc_profile'])"
            )
        if same := _as_without(profile, intent, kind):
            return document_space(None, same, channels)
        rgb = DocumentSpace(
            lambda values: _icc_to_srgb(values, profile, intent),
            lambda srgb: _icc_from_srgb(srgb, profile, intent),
            light=_is_light(profile, intent, kind),
        )
        if kind == "GRAY":
            return rgb
    elif transfer == "linear":
        rgb = DocumentSpace(encode_srgb, decode_srgb, light=True)
    else:
        rgb = DocumentSpace(lambda x: x, lambda x: x, light=False)
    if channels == 3:
        return rgb
    return DocumentSpace(
        lambda grey: rgb.to_srgb(np.repeat(grey, 3, axis=2)),
        lambda srgb: (rgb.from_srgb(srgb) * LUMA).sum(axis=2, keepdims=True),
        light=rgb.light,
    )


def _kind_and_intent(profile: bytes) -> tuple[str, str]:
    """The profile's colour space, RGB, GRAY, CMYK, ..., and the rendering intent to use: relative, or perceptual where
    the profile has no other way back, as those of HDR have none."""
    if not isinstance(profile, bytes):
        raise TypeError(f"profile must be the bytes of an ICC profile, not {type(profile).__name__}")
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError(
            f"the ICC profile ({len(profile)} bytes) is damaged or is none: {error}; "
            "pass the image without it, or embed a valid one"
        ) from error
    relative = read.is_intent_supported(ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Direction.OUTPUT)
    return str(read.xcolor_space).strip(), "relative" if relative else "perceptual"


@lru_cache(maxsize=16)
def _as_without(profile: bytes, intent: str, kind: str) -> str | None:
    """The transfer that says what an RGB or GRAY profile says, to less than an 8-bit level, if one does. Most profiles
    are sRGB or its linear light, and arithmetic is many times as quick as LittleCMS is."""
    steps = np.linspace(0, 1, _STEPS, dtype=np.float32)
    axes = np.meshgrid(*[steps] * (3 if kind == "RGB" else 1), indexing="ij")
    values = np.stack(axes, -1).reshape(1, -1, len(axes))
    srgb = _icc_to_srgb(values, profile, intent)
    for transfer, curve in (("srgb", values), ("linear", encode_srgb(values))):
        if np.abs(srgb - curve).max() < 1 / 255:
            return transfer
    return None


@lru_cache(maxsize=16)
def _is_light(profile: bytes, intent: str, kind: str) -> bool:
    """Whether a fifth of full scale is nearer to what it is as light, 0.48 in sRGB, than to itself."""
    grey = np.full((1, 1, 3 if kind == "RGB" else 1), 0.2, np.float32)
    return float(_icc_to_srgb(grey, profile, intent).mean()) > 0.34


def _icc_to_srgb(values: Float, profile: bytes, intent: str) -> Float:
    pcs = _image(values, profile).icc_import(embedded=True, intent=intent)
    return _export(pcs, output_profile="srgb", intent=intent)


def _icc_from_srgb(srgb: Float, profile: bytes, intent: str) -> Float:
    lab = _image(srgb, None).icc_import(input_profile="srgb", intent=intent).copy()
    _embed(lab, profile)
    return _export(lab, intent=intent)


def _image(values: Float, profile: bytes | None) -> Any:
    import pyvips  # a document without a profile needs no libvips

    whole = np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)
    image = pyvips.Image.new_from_array(whole).copy(interpretation="grey16" if whole.shape[2] == 1 else "rgb16")
    if profile is not None:
        _embed(image, profile)
    return image


def _embed(image: Any, profile: bytes) -> None:
    import pyvips

    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)


def _export(pcs: Any, **target: str) -> Float:
    import pyvips

    try:
        values = pcs.icc_export(depth=16, **target).numpy()
    except pyvips.Error as error:
        raise ValueError(
            f"the ICC profile cannot be converted from and to ({str(error).strip().splitlines()[-1]}); "
            "convert the image to sRGB, or to another profile that editors use"
        ) from error
    scaled: Float = values.reshape(*values.shape[:2], -1).astype(np.float32) * np.float32(1 / 65535)
    return scaled
