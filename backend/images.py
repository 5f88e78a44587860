"""Image files in and out: PNG, JPEG, TIFF and WebP, with what they carry besides pixels.

libvips does the work: unlike Pillow it keeps 16-bit RGB and float TIFF. Pixels are upright here: `read` turns them as
the file's EXIF orientation says, and `write` stores them as they are.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from backend import exif

Pixels = npt.NDArray[Any]

WHITE = {"uint8": 255, "uint16": 65535, "float32": 1}

# pyvips hides the warnings of libvips, but shows a traceback for one that is no UTF-8. So nobody is to hear them.
pyvips.ffi.def_extern(name="_log_handler_callback")(lambda *warning: None)

_MOST_PIXELS = 1_000_000_000
_USUAL_RESOLUTION = (72 / 25.4, 72 / 25.4)
_SAVE_AGAIN = "open it in an editor and save it as RGB or grey, 8 or 16 bits a channel"


class ImageFileError(ValueError):
    """A file that cannot be read or written; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Picture:
    """An upright image with all that its file carries.

    pixels: HxW grey, HxWx2 grey + alpha, HxWx3 RGB or HxWx4 RGBA; uint8, uint16, or float32 where 1 is white. Alpha is
    straight (not premultiplied).
    icc, exif: the bytes of the ICC profile and of the EXIF block. resolution: pixels a millimetre along x and y.
    orientation: the EXIF orientation, 1 to 8, that the file had and `pixels` need no more.
    metadata: XMP and PNG's comments, by the names that libvips gives them. (IPTC is not carried: JPEG and TIFF wrap it
    differently, and libvips does not convert.)
    """

    pixels: Pixels
    icc: bytes | None = None
    exif: bytes | None = None
    resolution: tuple[float, float] = _USUAL_RESOLUTION
    orientation: int = 1
    metadata: Mapping[str, bytes | str] = field(default_factory=dict)

    @property
    def grey(self) -> bool:
        return self.pixels.ndim == 2 or self.pixels.shape[2] == 2

    @property
    def alpha(self) -> Pixels | None:
        """HxW, or None where the picture has no alpha channel."""
        return self.pixels[..., -1] if self.pixels.ndim == 3 and self.pixels.shape[2] in (2, 4) else None

    @property
    def colour(self) -> Pixels:
        """The pixels without their alpha: HxW or HxWx3."""
        if self.alpha is None:
            return self.pixels
        return self.pixels[..., 0] if self.grey else self.pixels[..., :3]

    def __str__(self) -> str:
        height, width = self.pixels.shape[:2]
        layout = ("grey" if self.grey else "RGB") + ("" if self.alpha is None else " + alpha")
        return f"{width}x{height} {layout}, {_depth(self.pixels.dtype.name)}"


@dataclass(frozen=True)
class _Format:
    name: str
    signature: bytes  # a regular expression
    vips: str
    depths: tuple[str, ...]
    alpha: bool
    longest_side: int
    options: Mapping[str, object]


_PNG = _Format(
    name="PNG",
    signature=rb"\x89PNG\r\n\x1a\n",
    vips="png",
    depths=("uint8", "uint16"),
    alpha=True,
    longest_side=2**31 - 1,
    options={"compression": 6, "filter": "up"},
)
_JPEG = _Format(
    name="JPEG",
    signature=rb"\xff\xd8\xff",
    vips="jpeg",
    depths=("uint8",),
    alpha=False,
    longest_side=65_535,
    options={"Q": 95, "optimize_coding": True},  # from quality 90 up, libvips keeps the chroma of every pixel
)
_TIFF = _Format(
    name="TIFF",
    signature=rb"II[*+]\0|MM\0[*+]",
    vips="tiff",
    depths=("uint8", "uint16", "float32"),
    alpha=True,
    longest_side=2**31 - 1,
    options={"compression": "deflate"},
)
_WEBP = _Format(
    name="WebP",
    signature=rb"RIFF....WEBP",
    vips="webp",
    depths=("uint8",),
    alpha=True,
    longest_side=16_383,
    # Lossless, so that the background stays bit for bit. A higher effort takes twice as long and saves a tenth.
    options={"lossless": True, "exact": True, "effort": 0},
)
_FORMATS = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".tif": _TIFF, ".tiff": _TIFF, ".webp": _WEBP}


def read(path: Path) -> Picture:
    """Read the image file at `path`, upright.

    A palette becomes RGB, 1 to 4 bits a channel become 8, half floats become float32, premultiplied alpha becomes
    straight. Raises ImageFileError for what is not one whole still image, grey or RGB, of 8, 16 or float bits a
    channel without NaN.
    """
    format = _sniff(path)
    try:
        # "error" rather than "truncated": libvips reports half a TIFF file as an error only.
        load = getattr(pyvips.Image, format.vips + "load")
        image = load(os.fsencode(path), access="sequential", fail_on="error")
        _check_header(path, image)
        shape = (image.height, image.width) if image.bands == 1 else (image.height, image.width, image.bands)
        pixels = image.numpy().reshape(shape)
    except pyvips.Error as error:
        raise ImageFileError(
            f"{path} cannot be read as {format.name} ({_reason(error)}): it is cut off, damaged or of a rare kind: "
            f"get a complete copy, or {_SAVE_AGAIN}"
        ) from error
    if format is _TIFF and exif.is_raw_ycbcr(path):
        raise ImageFileError(f"{path} has YCbCr colours: convert it to RGB or grey")
    if not np.isfinite(pixels).all():
        raise ImageFileError(f"{path} holds NaN or infinite values: {_SAVE_AGAIN}")
    orientation = _get(image, "orientation") or 1
    resolution = (image.xres, image.yres)
    if resolution == (1, 1) or min(resolution) < 0.1 or max(resolution) > 10_000:  # 1 is libvips's word for none
        resolution = _USUAL_RESOLUTION
    return Picture(
        pixels=np.ascontiguousarray(turn(pixels, orientation)),
        icc=_profile(image),
        exif=exif.of_tiff(path) if format is _TIFF else _get(image, "exif-data"),
        resolution=resolution[::-1] if orientation > 4 else resolution,
        orientation=orientation,
        metadata={
            name: _upright(image.get(name))
            for name in image.get_fields()
            if name == "xmp-data" or name.startswith("png-comment-")
        },
    )


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """A view of `pixels`, HxW or HxWxC as stored in a file with this EXIF orientation, the way they are to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def check_output(path: Path, inputs: list[Path]) -> None:
    """Raise ImageFileError unless `path` can be written and is none of the `inputs`. Looks, but touches nothing."""
    try:
        _format(path)
        if path.is_dir():
            raise ImageFileError(f"{path} is a folder: give the name of a file in it")
        if not path.parent.is_dir():
            raise ImageFileError(f"the folder {path.parent} does not exist: create it first, or choose another")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise ImageFileError(f"the folder {path.parent} cannot be written to: choose another or allow it")
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise ImageFileError(f"{path} exists and cannot be overwritten: choose another name")
        if any(path.exists() and path.samefile(file) for file in inputs if file.exists()):
            raise ImageFileError(f"{path} is also an input, which would be lost: choose another name for the output")
    except OSError as error:
        raise ImageFileError(f"{path} cannot be written ({error.strerror}): choose another name") from error


def losses(path: Path, picture: Picture) -> str | None:
    """What the format that `path` names cannot keep of `picture`, in a sentence for the user; None where it keeps all.

    Fewer bits a channel is such a loss. Raises ImageFileError where the picture would look different: transparency,
    size.
    """
    format = _format(path)
    if max(picture.pixels.shape[:2]) > format.longest_side:
        raise ImageFileError(f"{format.name} ends at {format.longest_side} pixels a side: choose .tif or .png for OUT")
    alpha = picture.alpha
    if alpha is not None and not format.alpha and (alpha != WHITE[alpha.dtype.name]).any():
        raise ImageFileError(f"{format.name} cannot carry transparency: choose .png, .tif or .webp for OUT")
    if format is _WEBP and picture.grey and picture.icc:
        raise ImageFileError("WebP has no grey and cannot carry a profile for it: choose .png or .tif for OUT")
    depth = picture.pixels.dtype.name
    if depth in format.depths:
        return None
    better = ".tif" if depth == "float32" else ".png or .tif"
    return f"{path} gets {_depth(format.depths[-1])} of the image's {_depth(depth)}: choose {better} to keep them all"


def write(path: Path, picture: Picture) -> Picture:
    """Write `picture` to `path`, in the format that its extension names, whole or not at all; replaces an older file.

    Returns the picture as the file holds it: the same but for what `losses` says and what JPEG (quality 95, 4:4:4)
    loses. Raises ImageFileError.
    """
    losses(path, picture)
    format = _format(path)
    picture = _fitted(picture, format)
    image, options = _image(picture, format)
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".harmonize-{secrets.token_hex(8)}{path.suffix}")
    try:
        getattr(image, format.vips + "save")(os.fsencode(temporary), **options)
        if format is _TIFF and picture.exif:
            exif.into_tiff(temporary, picture.exif)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, pyvips.Error) as error:
        reason = _reason(error) if isinstance(error, pyvips.Error) else error.strerror
        raise ImageFileError(f"{path} cannot be written ({reason}): make room, or choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)
    return picture


def _sniff(path: Path) -> _Format:
    try:
        if path.is_dir():
            raise ImageFileError(f"{path} is a folder: give an image file in it")
        if not path.exists():
            raise ImageFileError(f"{path} does not exist: check its name")
        if not path.is_file():
            raise ImageFileError(f"{path} is no ordinary file: save the image to one first")
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise ImageFileError(f"{path} cannot be read ({error.strerror}): check its name and permissions") from error
    if not head:
        raise ImageFileError(f"{path} is empty: get a complete copy")
    for format in _FORMATS.values():
        if re.match(format.signature, head, re.DOTALL):
            break
    else:
        raise ImageFileError(f"{path} is no PNG, JPEG, TIFF or WebP image: convert it to one of these")
    # Most camera raw files are TIFF files whose first image is a thumbnail.
    if format is _TIFF and _FORMATS.get(path.suffix.lower()) is not _TIFF:
        raise ImageFileError(f"{path} looks like a camera raw file: develop it to TIFF (whose name ends in .tif)")
    if format is _PNG and b"\0\0\0\x08acTL" in head.partition(b"IDAT")[0]:
        raise ImageFileError(f"{path} is animated: save one frame as an image of its own")
    return format


def _check_header(path: Path, image: Any) -> None:
    """Refuse what cannot be harmonized before its pixels take up memory."""
    if (_get(image, "n-pages") or 1) > 1:
        raise ImageFileError(f"{path} holds {image.get('n-pages')} pages or frames: save one as an image of its own")
    if image.width * image.height > _MOST_PIXELS:
        raise ImageFileError(f"{path} is {image.width}x{image.height}, more than a gigapixel: scale it down or crop it")
    colours = image.interpretation
    if colours not in ("b-w", "grey16", "rgb", "srgb", "rgb16", "scrgb"):
        raise ImageFileError(f"{path} has {colours.upper()} colours: convert it to RGB or grey")
    if image.bands > (2 if colours in ("b-w", "grey16") else 4):
        raise ImageFileError(f"{path} has {image.bands} channels: flatten it to grey or RGB, at most one alpha")
    if image.format not in ("uchar", "ushort", "float"):
        raise ImageFileError(f"{path} has channels of type {image.format}: {_SAVE_AGAIN}")


def _fitted(picture: Picture, format: _Format) -> Picture:
    """`picture` with the depth and the channels that `format` can hold."""
    if not format.alpha:
        picture = replace(picture, pixels=picture.colour)
    depth = picture.pixels.dtype.name
    if depth in format.depths:
        return picture
    best = format.depths[-1]
    scaled = np.clip(picture.pixels * np.float32(WHITE[best] / WHITE[depth]), 0, WHITE[best])
    return replace(picture, pixels=np.rint(scaled).astype(best))


def _image(picture: Picture, format: _Format) -> tuple[Any, dict[str, object]]:
    """The libvips image of `picture` and the options to save it with."""
    pixels = np.ascontiguousarray(picture.pixels)
    depth = pixels.dtype.name
    height, width = pixels.shape[:2]
    sample = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}[depth]
    grey, rgb = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}[depth]
    image = pyvips.Image.new_from_memory(pixels.data, width, height, pixels.size // (width * height), sample)
    x, y = picture.resolution
    image = image.copy(interpretation=grey if picture.grey else rgb, xres=x, yres=y)
    block = exif.without_thumbnail(picture.exif) if picture.exif else None
    for name, value in {"icc-profile-data": picture.icc, "exif-data": block, **picture.metadata}.items():
        if value is not None:
            kind = pyvips.GValue.blob_type if isinstance(value, bytes) else pyvips.GValue.refstr_type
            image.set_type(kind, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    options = dict(format.options)
    if format is _TIFF:
        options["predictor"] = "float" if depth == "float32" else "horizontal"
        options["bigtiff"] = pixels.nbytes > 3_500_000_000
    return image, options


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise ImageFileError(f"{path} names no format to write: let it end in .png, .jpg, .tif or .webp") from None


def _depth(dtype: str) -> str:
    return {"uint8": "8 bits", "uint16": "16 bits", "float32": "32 bits"}[dtype] + " a channel"


def _get(image: Any, name: str) -> Any:
    return image.get(name) if image.get_typeof(name) else None


def _profile(image: Any) -> bytes | None:
    """The ICC profile without padding; None where it is broken or for other channels, as viewers then ignore it."""
    icc: bytes = _get(image, "icc-profile-data") or b""
    length = int.from_bytes(icc[:4], "big")
    space = b"GRAY" if image.bands < 3 else b"RGB "
    return icc[:length] if 128 < length <= len(icc) and icc[16:20] == space and icc[36:40] == b"acsp" else None


def _upright(value: bytes | str) -> bytes | str:
    # Lightroom and others repeat the orientation in XMP.
    return re.sub(rb"(tiff:Orientation\W{1,3})[2-8]", rb"\g<1>1", value) if isinstance(value, bytes) else value


def _reason(error: pyvips.Error) -> str:
    """The cause in what libvips says: the system's, or its own first line without the name of the place in its code."""
    system = re.search(r"system error: (?!Unknown)(.+)", error.detail)
    lines = [system[1]] if system else [line.strip() for line in error.detail.splitlines() if line.strip()]
    return lines[0].rpartition(": ")[2] if lines else "nothing readable in it"
