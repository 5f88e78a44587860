"""The command `harmonize run` on real files with the shipped network."""

from __future__ import annotations

import os
import re
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from click.testing import CliRunner, Result
from PIL import Image, ImageCms, ImageFilter
from PIL.PngImagePlugin import PngInfo

from backend import images
from backend.cli import main
from backend.images import Picture
from tests.places import EXAMPLES

HEIGHT, WIDTH = 48, 64
INSIDE = (slice(12, 36), slice(16, 48))
LAYOUTS = [
    *((".png", depth, channels) for depth in ("uint8", "uint16") for channels in (1, 2, 3, 4)),
    *((".tif", depth, channels) for depth in ("uint8", "uint16", "float32") for channels in (1, 2, 3, 4)),
    (".webp", "uint8", 3),
    (".webp", "uint8", 4),
    (".jpg", "uint8", 1),
    (".jpg", "uint8", 3),
]


def composite(depth: str = "uint8", channels: int = 3) -> npt.NDArray[Any]:
    """A warm, textured background with a dark blue foreground in it, opaque but for a corner."""
    noise = np.random.default_rng(0).normal(0, 0.03, (HEIGHT, WIDTH, 3))
    image = np.linspace(0.4, 0.8, WIDTH)[None, :, None] * np.array([1.0, 0.8, 0.6]) + noise
    image[INSIDE] = np.array([0.1, 0.15, 0.4]) + noise[INSIDE]
    alpha = np.ones((HEIGHT, WIDTH, 1))
    alpha[:8, :8] = 0.5
    whole = np.concatenate([image if channels > 2 else image[..., :1], alpha], axis=2)[..., :channels]
    scaled = np.clip(whole, 0, 1) * images.WHITE[depth]
    values: npt.NDArray[Any] = (scaled if depth == "float32" else np.rint(scaled)).astype(depth)
    return values[..., 0] if channels == 1 else values


def mask_array() -> npt.NDArray[np.uint8]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[INSIDE] = 255
    return mask


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    Image.fromarray(mask_array()).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(composite()).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments)])


def refused(result: Result, text: str) -> None:
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines), result.stdout) == (2, 1, ""), result.output
    assert lines[0].startswith("harmonize: ") and text in lines[0], lines[0]


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".harmonize-*"))


@pytest.mark.parametrize(("suffix", "depth", "channels"), LAYOUTS)
def test_every_format_depth_and_layout(tmp_path: Path, mask: Path, suffix: str, depth: str, channels: int) -> None:
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    images.write(source, Picture(composite(depth, channels)))
    result = run(source, mask, "-o", out)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    before, after = images.read(source).pixels, images.read(out).pixels
    assert (after.shape, after.dtype) == (before.shape, before.dtype)
    background = mask_array() == 0
    if suffix != ".jpg":
        np.testing.assert_array_equal(after[background], before[background])
    if channels in (2, 4):
        np.testing.assert_array_equal(after[..., -1], before[..., -1])
    white = images.WHITE[depth]
    change = np.abs(after[INSIDE].astype(np.float64) - before[INSIDE]).mean() / white
    assert change > 0.002


def test_the_command_itself_keeps_16_bits_profile_exif_and_background(tmp_path: Path, mask: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = Image.Exif()
    tags[0x010F] = "A camera maker"
    source, out = tmp_path / "in.tif", tmp_path / "out.png"
    images.write(source, Picture(composite("uint16", 4), profile, tags.tobytes()))
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "backend.cli",
        "run",
        source,
        mask,
        "-o",
        out,
        "--strength",
        "0.5",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    said = rf"{re.escape(str(out))}: 64x48 RGB \+ alpha, 16 bits a channel; [\w-]+ on \w+.*, \d+ ms\n"
    assert re.fullmatch(said, done.stdout), done.stdout
    after = pyvips.Image.pngload(str(out))
    assert (after.format, after.get("icc-profile-data")) == ("ushort", profile)
    with Image.open(out) as image:
        assert image.getexif()[0x010F] == "A camera maker"
    background = mask_array() == 0
    np.testing.assert_array_equal(after.numpy()[background], composite("uint16", 4)[background])
    assert not leftovers(tmp_path)


def test_strength_0_changes_nothing_and_half_lies_between(tmp_path: Path, image: Path, mask: Path) -> None:
    results = []
    for strength in (0, 0.5, 1):
        assert run(image, mask, "-o", tmp_path / "out.png", "--strength", strength).exit_code == 0
        results.append(images.read(tmp_path / "out.png").pixels.astype(int))
    none, half, full = results
    np.testing.assert_array_equal(none, composite())
    unclipped = (full > 0) & (full < 255)
    assert np.abs(half - (none + full) / 2)[unclipped].max() <= 1
    assert np.abs(full - none).max() > 3


def test_who_knows_whether_it_is_pasted_says_so(tmp_path: Path) -> None:
    raccoon = [EXAMPLES / f"raccoon{end}" for end in (".jpg", "_mask.png")]
    results = []
    for told in ([], ["--in-place"], ["--pasted"]):
        assert run(*raccoon, "-o", tmp_path / "out.png", *told).exit_code == 0
        results.append(images.read(tmp_path / "out.png").pixels)
    np.testing.assert_array_equal(results[0], results[1])  # which it was, and its edge tells
    assert not np.array_equal(results[0], results[2])


@pytest.mark.parametrize("kind", ["jpg", "L16", "rgb", "rgba", "webp", "float", "1"])
def test_a_mask_may_be_of_any_kind(tmp_path: Path, image: Path, mask: Path, kind: str) -> None:
    grey = mask_array()
    colours = np.dstack([grey] * 3)
    other = tmp_path / {"jpg": "m.jpg", "webp": "m.webp", "float": "m.tif"}.get(kind, "m.png")
    if kind == "rgba":  # a cut-out: what is opaque counts, not how bright it is
        Image.fromarray(np.dstack([composite(), grey])).save(other)
    elif kind == "1":
        Image.fromarray(grey).convert("1").save(other)
    else:
        arrays: dict[str, npt.NDArray[Any]] = {
            "jpg": grey,
            "L16": grey.astype(np.uint16) * 257,
            "rgb": colours,
            "webp": colours,
            "float": (grey / 255).astype(np.float32),
        }
        images.write(other, Picture(arrays[kind]))
    assert run(image, mask, "-o", tmp_path / "a.png").exit_code == 0
    result = run(image, other, "-o", tmp_path / "b.png")
    assert (result.exit_code, result.stderr) == (0, "")
    expected, got = images.read(tmp_path / "a.png").pixels, images.read(tmp_path / "b.png").pixels
    if kind == "jpg":  # ringing makes the background of a mask not quite black
        assert np.abs(expected.astype(int) - got)[INSIDE].mean() < 4
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("colour", "luminance"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_the_luminance_of_a_coloured_mask_counts(
    tmp_path: Path, image: Path, colour: tuple[int, int, int], luminance: int
) -> None:
    coloured, grey = np.zeros((HEIGHT, WIDTH, 4), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    coloured[INSIDE] = (*colour, 0)
    coloured[..., 3] = 255  # opaque, so it is not what counts
    grey[INSIDE] = luminance
    for name, array in (("coloured", coloured), ("grey", grey)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        assert run(image, tmp_path / f"{name}.png", "-o", tmp_path / f"{name}_out.png").exit_code == 0
    assert (tmp_path / "coloured_out.png").read_bytes() == (tmp_path / "grey_out.png").read_bytes()


def test_floats_of_a_mask_beyond_the_range_are_its_ends(tmp_path: Path, mask: Path) -> None:
    wild = np.where(mask_array() > 0, 1.5, -0.5).astype(np.float32)
    images.write(tmp_path / "wild.tif", Picture(wild))
    source, cut_out = composite("float32"), tmp_path / "cut_out.tif"
    images.write(tmp_path / "in.tif", Picture(source))
    images.write(cut_out, Picture(np.dstack([source, wild])))
    told = [tmp_path / "in.tif", mask], [tmp_path / "in.tif", tmp_path / "wild.tif"], [cut_out]
    for number, arguments in enumerate(told):
        result = run(*arguments, "-o", tmp_path / f"{number}.tif")
        assert (result.exit_code, result.stderr) == (0, ""), result.output
    expected, *others = (images.read(tmp_path / f"{number}.tif").pixels[..., :3] for number in range(3))
    for other in others:
        np.testing.assert_allclose(other, expected, atol=1e-6)


def test_the_profile_tells_what_the_values_mean(tmp_path: Path, mask: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"....", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"....", b"gXYZ", 1)
    results = []
    for number, profile in enumerate((None, srgb, swapped)):
        images.write(tmp_path / "in.png", Picture(composite(), profile))
        assert run(tmp_path / "in.png", mask, "-o", tmp_path / f"{number}.png").exit_code == 0
        results.append(images.read(tmp_path / f"{number}.png"))
    assert [result.icc for result in results] == [None, srgb, swapped]
    plain, tagged, other = (result.pixels.astype(int) for result in results)
    assert np.abs(plain - tagged).max() <= 1
    assert np.abs(plain - other).max() > 1


def test_a_profile_that_no_message_may_hold_is_for_this_process(tmp_path: Path, mask: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    large = (5 << 20).to_bytes(4, "big") + srgb[4:] + bytes((5 << 20) - len(srgb))
    images.write(tmp_path / "in.png", Picture(composite(), large))
    result = run(tmp_path / "in.png", mask, "-o", tmp_path / "out.png")
    assert result.exit_code == 0 and "by the daemon" not in result.stdout, result.output
    result = run(tmp_path / "in.png", mask, "-o", tmp_path / "out.png", "--daemon")
    refused(result, "its ICC profile has 5242880 bytes, 4194304 at most are taken (convert it to another profile)")


def test_without_mask_the_alpha_is_the_mask(tmp_path: Path, image: Path, mask: Path) -> None:
    source = tmp_path / "in.png"
    Image.fromarray(np.dstack([composite(), mask_array()])).save(source)
    assert run(source, "-o", tmp_path / "out.png").exit_code == 0
    assert run(image, mask, "-o", tmp_path / "expected.png").exit_code == 0
    after = images.read(tmp_path / "out.png").pixels
    np.testing.assert_array_equal(after[..., 3], mask_array())
    np.testing.assert_array_equal(after[..., :3], images.read(tmp_path / "expected.png").pixels)


@pytest.mark.parametrize("seen", [True, False])
def test_a_turned_image_takes_a_mask_as_seen_or_as_stored(tmp_path: Path, mask: Path, image: Path, seen: bool) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(composite()))  # to be turned clockwise
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=tags.tobytes())
    if not seen:
        Image.fromarray(np.ascontiguousarray(np.rot90(mask_array()))).save(mask)
    assert run(tmp_path / "turned.png", mask, "-o", tmp_path / "out.png").exit_code == 0
    Image.fromarray(mask_array()).save(mask)
    assert run(image, mask, "-o", tmp_path / "expected.png").exit_code == 0
    np.testing.assert_array_equal(
        images.read(tmp_path / "out.png").pixels, images.read(tmp_path / "expected.png").pixels
    )
    with Image.open(tmp_path / "out.png") as out:
        assert out.getexif().get(0x0112, 1) == 1


def test_lost_depth_is_told_on_one_line(tmp_path: Path, mask: Path) -> None:
    images.write(tmp_path / "in.png", Picture(composite("uint16", 3)))
    result = run(tmp_path / "in.png", mask, "-o", tmp_path / "out.jpg")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"harmonize: {tmp_path / 'out.jpg'} gets 8 bits a channel of the image's 16 bits a channel: "
        "choose .png or .tif to keep them all"
    ]
    assert "64x48 RGB, 8 bits a channel" in result.stdout
    with Image.open(tmp_path / "out.jpg") as out:
        assert (out.format, out.size) == ("JPEG", (WIDTH, HEIGHT))


def test_an_existing_output_is_replaced(tmp_path: Path, image: Path, mask: Path) -> None:
    out = tmp_path / "out.PNG"
    out.write_bytes(b"old")
    assert run(image, mask, "-o", out).exit_code == 0
    assert images.read(out).pixels.shape == (HEIGHT, WIDTH, 3)


def _nan(path: Path) -> None:
    array = composite("float32")
    array[3, 4, 1] = np.nan
    images.write(path, Picture(array))


def _truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _vips(array: npt.NDArray[Any], path: Path, interpretation: str) -> None:
    pyvips.Image.new_from_array(array).copy(interpretation=interpretation).tiffsave(str(path))


def _pages(path: Path) -> None:
    first = Image.fromarray(composite())
    first.save(path, save_all=True, append_images=[Image.fromarray(255 - composite())])


def _bomb(path: Path) -> None:
    """A PNG header that promises 2 gigapixels."""
    Image.new("L", (1, 1)).save(path, pnginfo=PngInfo())
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 50_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


BAD_IMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing.png", lambda path: None, "does not exist: check its name"),
    ("folder.png", Path.mkdir, "is a folder: give an image file in it"),
    ("fifo.png", os.mkfifo, "is no ordinary file"),
    ("empty.png", Path.touch, "is empty"),
    (
        "text.png",
        lambda path: path.write_text("not an image at all"),
        "is no PNG, JPEG, TIFF or WebP image: convert it",
    ),
    (
        "gif.gif",
        lambda path: Image.fromarray(composite()).save(path),
        "is no PNG, JPEG, TIFF or WebP image: convert it",
    ),
    (
        "raw.nef",
        lambda path: Image.fromarray(composite()).save(path, "TIFF"),
        "looks like a camera raw file: develop it",
    ),
    ("cut.png", _truncated, "it is cut off, damaged"),
    ("cut.jpg", _truncated, "it is cut off, damaged"),
    ("cut.tif", _truncated, "it is cut off, damaged"),
    ("cut.webp", _truncated, "it is cut off, damaged"),
    ("head.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "it is cut off, damaged"),
    ("head.tif", lambda path: path.write_bytes(b"II*\0\x08\0\0\0"), "it is cut off, damaged"),
    ("nan.tif", _nan, "holds NaN or infinite values"),
    ("cmyk.jpg", lambda path: Image.new("CMYK", (WIDTH, HEIGHT)).save(path), "has CMYK colours: convert it to RGB"),
    ("raw.tif", lambda path: Image.new("YCbCr", (WIDTH, HEIGHT)).save(path), "has YCbCr colours: convert it to RGB"),
    ("cmyk.tif", lambda path: Image.new("CMYK", (WIDTH, HEIGHT)).save(path), "has CMYK colours: convert it to RGB"),
    ("lab.tif", lambda path: _vips(composite().astype(np.float32), path, "lab"), "colours: convert it to RGB"),
    ("xyz.tif", lambda path: _vips(composite().astype(np.float32), path, "xyz"), "colours: convert it to RGB"),
    ("int.tif", lambda path: _vips(composite().astype(np.int32), path, "srgb"), "has channels of type int"),
    ("five.tif", lambda path: _vips(np.dstack([composite(), composite()]), path, "srgb"), "has 6 channels: flatten it"),
    ("pages.tif", _pages, "holds 2 pages or frames"),
    ("frames.webp", _pages, "holds 2 pages or frames"),
    ("frames.png", _pages, "is animated"),
    ("bomb.png", _bomb, "is 50000x40000, more than a gigapixel"),
    ("small.png", lambda path: Image.new("RGB", (64, 15)).save(path), "give an image of at least 16 pixels a side"),
]


@pytest.mark.parametrize(("name", "make", "text"), BAD_IMAGES, ids=[name for name, _, _ in BAD_IMAGES])
def test_a_bad_image_is_refused_on_one_line(
    tmp_path: Path, mask: Path, name: str, make: Callable[[Path], object], text: str
) -> None:
    make(tmp_path / name)
    out = tmp_path / "out.png"
    out.write_bytes(b"old")
    refused(run(tmp_path / name, mask, "-o", out), f"{tmp_path / name} ")
    refused(run(tmp_path / name, mask, "-o", out), text)
    assert out.read_bytes() == b"old"
    refused(run(tmp_path / name, mask, "-o", tmp_path / "new.png"), text)
    assert not (tmp_path / "new.png").exists() and not leftovers(tmp_path)


BAD_MASKS: list[tuple[str, npt.NDArray[Any] | None, str]] = [
    ("missing", None, "does not exist: check its name"),
    ("small", mask_array()[:, 1:], "is 63x48 but"),
    ("turned", mask_array().T, "is 48x64 but"),
    ("empty", np.zeros((HEIGHT, WIDTH), np.uint8), "is empty: paint the foreground white"),
    ("labels", mask_array() // 255, "is empty: paint the foreground white"),
    ("full", np.full((HEIGHT, WIDTH), 255, np.uint8), "is white everywhere: leave the background black"),
]


@pytest.mark.parametrize(("name", "array", "text"), BAD_MASKS, ids=[name for name, _, _ in BAD_MASKS])
def test_a_bad_mask_is_refused_on_one_line(
    tmp_path: Path, image: Path, name: str, array: npt.NDArray[Any] | None, text: str
) -> None:
    path = tmp_path / f"{name}.png"
    if array is not None:
        Image.fromarray(np.ascontiguousarray(array)).save(path)
    refused(run(image, path, "-o", tmp_path / "out.png"), text)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("alpha", "text"),
    [
        (None, "has no alpha to take the foreground from: give a MASK"),
        (0, "is transparent everywhere"),
        (255, "is opaque everywhere"),
    ],
)
def test_an_image_whose_alpha_is_no_mask_needs_one(tmp_path: Path, alpha: int | None, text: str) -> None:
    array = composite() if alpha is None else np.dstack([composite(), np.full((HEIGHT, WIDTH), alpha, np.uint8)])
    Image.fromarray(array).save(tmp_path / "in.png")
    refused(run(tmp_path / "in.png", "-o", tmp_path / "out.png"), text)


@pytest.mark.parametrize("softness", [0, 3])
def test_a_cut_out_on_nothing_is_refused(tmp_path: Path, softness: int) -> None:
    alpha = np.asarray(Image.fromarray(mask_array()).filter(ImageFilter.GaussianBlur(softness)))
    cut_out = composite()
    cut_out[alpha == 0] = 0
    Image.fromarray(np.dstack([cut_out, alpha])).save(tmp_path / "in.png")
    refused(run(tmp_path / "in.png", "-o", tmp_path / "out.png"), "holds no picture under its transparent parts")


def test_bad_outputs_are_refused(tmp_path: Path, image: Path, mask: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "same.png").symlink_to(image)
    (tmp_path / "hard.png").hardlink_to(mask)
    before = image.read_bytes()
    for out, text in {
        "out": "names no format to write: let it end in .png, .jpg, .tif or .webp",
        "out.bmp": "names no format to write",
        "folder.png": "is a folder",
        "none/out.png": "does not exist: create it first",
        "file/out.png": "does not exist: create it first",
        "image.png": "is also an input, which would be lost",
        "same.png": "is also an input, which would be lost",
        "hard.png": "is also an input, which would be lost",
        "n" * 300 + ".png": "choose another name",
    }.items():
        refused(run(image, mask, "-o", tmp_path / out), text)
    assert image.read_bytes() == before
    images.write(tmp_path / "alpha.tif", Picture(composite("uint8", 4)))
    refused(
        run(tmp_path / "alpha.tif", mask, "-o", tmp_path / "out.jpg"), "JPEG cannot carry transparency: choose .png"
    )
    assert not leftovers(tmp_path)


def test_bad_arguments_are_refused_on_one_line(tmp_path: Path, image: Path, mask: Path) -> None:
    out = tmp_path / "out.png"
    for arguments, text in (
        ([], "Missing argument 'IMAGE'. (see "),
        ([image, mask], "Missing option '-o' / '--output'. (see "),
        ([image, mask, "-o", out, "--strength", "1.5"], "1.5 is not in the range 0<=x<=1"),
        ([image, mask, "-o", out, "--strength", "much"], "'much' is not a valid float"),
        ([image, mask, "-o", out, "--strength", "nan"], "strength"),
        ([image, mask, "-o", out, "--model", "nonesuch"], "nonesuch"),
        ([image, mask, "-o", out, "--device", "abacus"], "abacus"),
        ([image, mask, "-o", out, "--colour"], "No such option"),
    ):
        refused(run(*arguments), text)
    assert not out.exists()


def test_a_full_disk_leaves_the_old_output(tmp_path: Path, image: Path, mask: Path) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        result = run(image, mask, "-o", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    refused(result, "cannot be written")
    assert out.read_bytes() == b"old" and not leftovers(tmp_path)


HOOKED = """
import sys

def hook(event, arguments):
    if event == "os.rename" and ".harmonize-" in str(arguments[0]):  # the output is complete but not in its place
        raise {error}

sys.addaudithook(hook)
from backend.cli import main

main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("KeyboardInterrupt", 130, r"\n?"),
        ("RuntimeError('oh')", 1, r"harmonize: unexpected RuntimeError: oh \(set HARMONIZE_DEBUG=1 to see where\)\n"),
    ],
)
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, image: Path, mask: Path, error: str, status: int, said: str
) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"old")
    command: list[str | Path] = [sys.executable, "-c", HOOKED.format(error=error), "run", image, mask, "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (status, "")
    assert re.fullmatch(said, done.stderr), done.stderr
    assert out.read_bytes() == b"old" and not leftovers(tmp_path)


def test_help_and_bad_input_do_not_wait_for_torch(image: Path) -> None:
    script = """
import sys
from backend.cli import main

try:
    main(sys.argv[1:])
finally:
    print("numpy" in sys.modules, "torch" in sys.modules)
"""
    bad: list[str] = ["run", str(image), str(image.with_name("none.png")), "-o", str(image.with_name("out.png"))]
    cases: list[tuple[list[str], int, str]] = [
        (["run", "--help"], 0, "False False"),
        ([], 0, "False False"),
        (bad, 2, "True False"),
    ]
    for arguments, status, loaded in cases:
        command: list[str] = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert (done.returncode, done.stdout.splitlines()[-1]) == (status, loaded), done.stderr
