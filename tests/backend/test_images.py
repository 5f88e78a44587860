"""Reading and writing image files: Pillow, libvips as it is and an encoder of our own are what they are held to."""

from __future__ import annotations

import io
import os
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from backend import exif, images
from backend.images import ImageFileError, Picture

CHANNELS = (1, 2, 3, 4)
LOSSLESS = [
    *((".png", depth, channels) for depth in ("uint8", "uint16") for channels in CHANNELS),
    *((".tif", depth, channels) for depth in ("uint8", "uint16", "float32") for channels in CHANNELS),
    *((".webp", "uint8", channels) for channels in (3, 4)),  # WebP has no grey
]
SUFFIXES = (".png", ".jpg", ".tif", ".webp")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005


def pixels(depth: str, channels: int, height: int = 40, width: int = 48, seed: int = 0) -> npt.NDArray[Any]:
    values = np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)
    values = (values * images.WHITE[depth]).astype(depth)
    return values[..., 0] if channels == 1 else values


def write_png(path: Path, array: npt.NDArray[Any]) -> None:
    """A PNG encoder to hold libvips to: no filter, one chunk of data (PNG specification, sections 5 and 9)."""
    height, width, channels = np.atleast_3d(array).shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = array.astype(array.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    filtered = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, colour_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(filtered)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data)


def exif_block(orientation: int = 6, endian: str = "<") -> bytes:
    tags = Image.Exif()
    tags.endian = endian
    tags[0x010F], tags[0x0112], tags[0x8298] = "A camera maker", orientation, "(c) somebody"
    tags.get_ifd(EXIF_IFD).update(
        {0x829D: 2.8, 0x8827: 200, 0x9003: "2020:01:02 03:04:05", 0x927C: b"notes" * 9, 0xA002: 9, 0xA003: 9}
    )
    tags.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 51.0, 29.5)})
    tags.get_ifd(EXIF_IFD)[INTEROPERABILITY_IFD] = {1: "R03"}
    return tags.tobytes()


def check_exif(path: Path) -> None:
    with Image.open(path) as image:
        tags = image.getexif()
        assert (tags[0x010F], tags[0x8298], tags.get(0x0112, 1)) == ("A camera maker", "(c) somebody", 1)
        details, place = tags.get_ifd(EXIF_IFD), tags.get_ifd(GPS_IFD)
        assert float(details[0x829D]) == 2.8
        assert (details[0x8827], details[0x9003], details[0x927C]) == (200, "2020:01:02 03:04:05", b"notes" * 9)
        assert tags.get_ifd(INTEROPERABILITY_IFD)[1] == "R03"
        # PixelXDimension and PixelYDimension: right or not there, but not those of another file.
        assert (details.get(0xA002, image.width), details.get(0xA003, image.height)) == image.size
        assert (place[1], tuple(map(float, place[2]))) == ("N", (48.0, 51.0, 29.5))


@pytest.fixture(scope="module")
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_reads_png_of_every_layout(tmp_path: Path, depth: str, channels: int) -> None:
    expected = pixels(depth, channels)
    write_png(tmp_path / "a.png", expected)
    read = images.read(tmp_path / "a.png").pixels
    assert read.dtype == depth
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize(("suffix", "depth", "channels"), LOSSLESS)
def test_lossless_formats_keep_every_value(tmp_path: Path, suffix: str, depth: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    picture = Picture(pixels(depth, channels))
    assert images.losses(path, picture) is None
    assert images.write(path, picture) is picture
    load = {".png": pyvips.Image.pngload, ".tif": pyvips.Image.tiffload, ".webp": pyvips.Image.webpload}[suffix]
    np.testing.assert_array_equal(load(str(path)).numpy(), picture.pixels)
    np.testing.assert_array_equal(images.read(path).pixels, picture.pixels)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@settings(max_examples=30, deadline=None)
@given(form=st.sampled_from(LOSSLESS), height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 99))
def test_any_size_survives(
    tmp_path_factory: pytest.TempPathFactory, form: tuple[str, str, int], height: int, width: int, seed: int
) -> None:
    suffix, depth, channels = form
    path = tmp_path_factory.mktemp("any") / f"a{suffix}"
    picture = Picture(pixels(depth, channels, height, width, seed))
    images.write(path, picture)
    np.testing.assert_array_equal(images.read(path).pixels, picture.pixels)


@pytest.mark.parametrize(("depth", "predictor"), [("uint8", 2), ("uint16", 2), ("float32", 3)])
def test_tiff_is_deflated_after_a_predictor(tmp_path: Path, depth: str, predictor: int) -> None:
    images.write(tmp_path / "a.tif", Picture(pixels(depth, 1)))
    with Image.open(tmp_path / "a.tif") as image:
        assert (image.tag_v2[259], image.tag_v2[317]) == (8, predictor)


def test_comments_are_carried(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("Comment", "made by hand")
    Image.fromarray(pixels("uint8", 3)).save(tmp_path / "a.png", pnginfo=text)
    images.write(tmp_path / "b.png", images.read(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["Comment"] == "made by hand"


def test_colour_under_transparency_survives(tmp_path: Path) -> None:
    array = pixels("uint8", 4)
    array[..., 3] = 0
    for suffix in (".png", ".tif", ".webp"):
        images.write(tmp_path / f"a{suffix}", Picture(array))
        np.testing.assert_array_equal(images.read(tmp_path / f"a{suffix}").pixels, array)


def test_jpeg_is_fine_and_without_chroma_subsampling(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (64, 64, 3)).copy()
    smooth[..., 1] = smooth[..., 1].T
    images.write(tmp_path / "a.jpg", Picture(smooth))
    with Image.open(tmp_path / "a.jpg") as image:
        assert {part[1:3] for part in image.layer} == {(1, 1)}
        assert max(image.quantization[0]) <= 12  # quality 95 in the tables of libjpeg
        assert np.abs(np.asarray(image).astype(int) - smooth).max() <= 4


def test_an_opaque_alpha_is_no_loss_in_jpeg_and_grey_stays_grey(tmp_path: Path) -> None:
    array = pixels("uint8", 2)
    array[..., 1] = 255
    written = images.write(tmp_path / "a.jpg", Picture(array))
    assert written.pixels.shape == (40, 48)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == "L"


@pytest.mark.parametrize(
    ("suffix", "depth", "loses"),
    [
        (".jpg", "uint8", None),
        (".jpg", "uint16", "a.jpg gets 8 bits a channel of the image's 16 bits a channel: choose .png or .tif"),
        (".webp", "float32", "a.webp gets 8 bits a channel of the image's 32 bits a channel: choose .tif"),
        (".png", "float32", "a.png gets 16 bits a channel of the image's 32 bits a channel: choose .tif"),
        (".tif", "float32", None),
    ],
)
def test_losses_are_told(suffix: str, depth: str, loses: str | None) -> None:
    told = images.losses(Path(f"a{suffix}"), Picture(pixels(depth, 3)))
    assert (told is None) if loses is None else (told or "").startswith(loses)


def test_depth_is_lowered_by_rounding(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    images.write(tmp_path / "a.webp", Picture(np.dstack([values] * 3)))
    assert images.read(tmp_path / "a.webp").pixels[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]
    images.write(tmp_path / "a.png", Picture(np.array([[-0.5, 0, 0.5, 1, 7]], np.float32)))
    assert images.read(tmp_path / "a.png").pixels.tolist() == [[0, 0, 32768, 65535, 65535]]


def test_what_a_format_cannot_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="JPEG cannot carry transparency: choose .png, .tif or .webp"):
        images.write(tmp_path / "a.jpg", Picture(pixels("uint8", 4)))
    with pytest.raises(ImageFileError, match="WebP ends at 16383 pixels a side: choose .tif or .png"):
        images.write(tmp_path / "a.webp", Picture(np.zeros((1, 16384, 3), np.uint8)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
def test_profile_exif_xmp_and_resolution_are_carried(tmp_path: Path, srgb: bytes, source: str, target: str) -> None:
    block = exif_block()
    picture = Picture(pixels("uint8", 3), srgb, block, (300 / 25.4, 300 / 25.4), metadata={"xmp-data": XMP})
    images.write(tmp_path / f"a{source}", picture)
    read = images.read(tmp_path / f"a{source}")
    assert read.icc == srgb
    out = tmp_path / f"b{target}"
    images.write(out, read)
    check_exif(out)
    with Image.open(out) as image:
        assert image.info["icc_profile"] == srgb
        if ".webp" not in (source, target):  # which has no resolution of its own
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    xmp = images.read(out).metadata["xmp-data"]
    assert isinstance(xmp, bytes) and b'tiff:Orientation="1"' in xmp


def test_a_useless_profile_is_left_out_and_padding_is_cut(tmp_path: Path, srgb: bytes) -> None:
    def read(profile: bytes, channels: int) -> bytes | None:
        Image.fromarray(pixels("uint8", channels)).save(tmp_path / "a.tif", icc_profile=profile)
        return images.read(tmp_path / "a.tif").icc

    grey = srgb[:16] + b"GRAY" + srgb[20:]
    assert (read(srgb, 3), read(srgb + b"\0\0", 3), read(grey, 1)) == (srgb, srgb, grey)
    assert (read(srgb[:-4], 3), read(b"junk" * 50, 3), read(grey, 3), read(srgb, 1)) == (None,) * 4
    with pytest.raises(ImageFileError, match="WebP has no grey and cannot carry a profile for it: choose .png or .tif"):
        images.write(tmp_path / "a.webp", Picture(pixels("uint8", 1), grey))


def test_a_wild_resolution_is_not_believed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for dots in (1, 100_000_000):
        Image.fromarray(pixels("uint8", 3)).save(tmp_path / "a.png", dpi=(dots, dots))
        picture = images.read(tmp_path / "a.png")
        images.write(tmp_path / "b.png", picture)
        with Image.open(tmp_path / "b.png") as image:
            assert image.info["dpi"] == pytest.approx((72, 72), abs=0.02)
    assert capfd.readouterr().err == ""


def test_warnings_of_libvips_stay_quiet(tmp_path: Path, srgb: bytes) -> None:
    path = tmp_path / "a.png"
    # pyvips drops them, but fails in public on one that is no UTF-8: libpng's on a wrong profile quotes its name.
    Image.new("RGB", (8, 8)).save(path, icc_profile=srgb[:68] + b"\1" * 12 + srgb[80:])
    data = path.read_bytes()
    start = data.index(b"iCCP")
    end = start + 4 + struct.unpack(">I", data[start - 4 : start])[0]
    chunk = b"iCCP\xc9" + data[start + 5 : end]
    path.write_bytes(data[:start] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[end + 4 :])
    script = "import sys; from pathlib import Path; from backend import images; images.read(Path(sys.argv[1]))"
    quiet = subprocess.run([sys.executable, "-c", script, path], capture_output=True, cwd=Path(__file__).parents[2])
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    script = "import sys, pyvips; pyvips.Image.pngload(sys.argv[1])"
    assert subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True
    ).stderr  # there was one to keep quiet


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_exif_goes_into_tiff_and_comes_out_again(tmp_path: Path, endian: str, big: bool) -> None:
    path = tmp_path / "a.tif"
    stored = pyvips.Image.new_from_array(pixels("uint16", 3))
    stored.tiffsave(str(path), bigtiff=big)
    assert exif.of_tiff(path) is None
    exif.into_tiff(path, exif_block(endian=endian))
    block = exif.of_tiff(path)
    assert block is not None and block.startswith(b"Exif\0\0II*\0")
    copy = tmp_path / "copy.jpg"
    Image.new("RGB", (9, 9)).save(copy, exif=block)
    check_exif(copy)
    np.testing.assert_array_equal(pyvips.Image.tiffload(str(path)).numpy(), stored.numpy())


@pytest.mark.parametrize("byte_order", ["II", "MM"])
def test_exif_of_a_tiff_by_pillow(tmp_path: Path, byte_order: str) -> None:
    known = Image.Exif()
    known.load(exif_block())
    prefix = {"II": b"II*\0", "MM": b"MM\0*"}[byte_order]
    tags = ImageFileDirectory_v2(prefix + b"\0\0\0\x08")
    tags[0x010F], tags[0x8298] = "A camera maker", "(c) somebody"
    details = known.get_ifd(EXIF_IFD) | {INTEROPERABILITY_IFD: known.get_ifd(INTEROPERABILITY_IFD)}
    tags[EXIF_IFD], tags[GPS_IFD] = details, known.get_ifd(GPS_IFD)
    start = b"\x08\0\0\0" if byte_order == "II" else b"\0\0\0\x08"
    (tmp_path / "a.tif").write_bytes(prefix + start + tags.tobytes(8))
    block = exif.of_tiff(tmp_path / "a.tif")
    assert block is not None
    Image.new("RGB", (9, 9)).save(tmp_path / "copy.jpg", exif=block)
    check_exif(tmp_path / "copy.jpg")


def test_a_tag_that_points_beyond_all_files_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(pixels("uint8", 3)).tiffsave(str(path), bigtiff=True)
    exif.into_tiff(path, exif_block())
    content = bytearray(path.read_bytes())
    layout = struct.Struct("<HHQQ")  # tag, type, count and offset of an entry
    (entry,) = re.finditer(re.escape(struct.pack("<HH", 0x010F, 2)), content)
    tag, kind, count, _ = layout.unpack_from(content, entry.start())
    layout.pack_into(content, entry.start(), tag, kind, count, 1 << 41)
    path.write_bytes(content)
    block = exif.of_tiff(path)
    assert block is not None and b"A camera maker" not in block
    assert not exif.is_raw_ycbcr(path)
    images.read(path)


def test_a_broken_exif_block_does_not_break_the_image(tmp_path: Path) -> None:
    for block in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(256))):
        for suffix in SUFFIXES:
            images.write(tmp_path / f"a{suffix}", Picture(pixels("uint8", 3), exif=block))
            assert images.read(tmp_path / f"a{suffix}").pixels.shape == (40, 48, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    array = pixels("uint8", 3, 20, 30)
    path, out = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(array).save(path, exif=exif_block(orientation), dpi=(2 * 25.4, 4 * 25.4))
    picture = images.read(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(image)))
    assert picture.orientation == orientation
    assert picture.resolution == pytest.approx((4, 2) if orientation > 4 else (2, 4), abs=0.01)
    np.testing.assert_array_equal(images.turn(array, orientation), picture.pixels)
    images.write(out, picture)
    check_exif(out)
    np.testing.assert_array_equal(images.read(out).pixels, picture.pixels)


def test_the_embedded_thumbnail_is_left_out(tmp_path: Path) -> None:
    # It shows the image before.
    preview = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(preview, "JPEG")
    block = exif_block(1)
    # Directory 1 of the block: Compression 6 (JPEG), where the preview starts, and its length.
    first = 6 + struct.unpack("<I", block[10:14])[0]
    count = struct.unpack("<H", block[first : first + 2])[0]
    link = first + 2 + 12 * count
    start = len(block) - 6
    data = start + 2 + 3 * 12 + 4
    directory = struct.pack("<H", 3) + struct.pack("<HHIHH", 0x0103, 3, 1, 6, 0)
    directory += struct.pack("<HHII", 0x0201, 4, 1, data) + struct.pack("<HHII", 0x0202, 4, 1, len(preview.getvalue()))
    block = block[:link] + struct.pack("<I", start) + block[link + 4 :] + directory + b"\0" * 4 + preview.getvalue()
    Image.new("RGB", (32, 32)).save(tmp_path / "a.jpg", exif=block)
    assert preview.getvalue() in (tmp_path / "a.jpg").read_bytes()
    picture = images.read(tmp_path / "a.jpg")
    for suffix in SUFFIXES:
        images.write(tmp_path / f"b{suffix}", picture)
        assert preview.getvalue() not in (tmp_path / f"b{suffix}").read_bytes()
        check_exif(tmp_path / f"b{suffix}")


def test_palette_and_one_bit_are_expanded(tmp_path: Path) -> None:
    palette = Image.fromarray(pixels("uint8", 3)).quantize(16)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(images.read(tmp_path / "p.png").pixels, np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(pixels("uint8", 1)).convert("1")
    for suffix in (".png", ".tif"):
        bits.save(tmp_path / f"1{suffix}")
        np.testing.assert_array_equal(images.read(tmp_path / f"1{suffix}").pixels, np.asarray(bits.convert("L")))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_png(tmp_path / "a.png", pixels("uint8", 3, seed=seed))
        np.testing.assert_array_equal(images.read(tmp_path / "a.png").pixels, pixels("uint8", 3, seed=seed))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for suffix in SUFFIXES:
            path = tmp_path / f"a{suffix}"
            path.write_bytes(b"old")
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
            with pytest.raises(ImageFileError, match=rf"a{suffix} cannot be written \(File too large\): make room"):
                images.write(path, Picture(pixels("uint8", 3, 200, 200)))
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            assert path.read_bytes() == b"old"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert len(list(tmp_path.iterdir())) == len(SUFFIXES)


def test_permissions_follow_the_umask_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("real.png")
    before = os.umask(0o027)
    try:
        images.write(tmp_path / "link.png", Picture(pixels("uint8", 3)))
    finally:
        os.umask(before)
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("suffix", [".PNG", ".jpeg", ".JPG", ".tiff", ".TIF"])
def test_every_spelling_of_an_ending_counts(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    images.write(path, Picture(pixels("uint8", 3)))
    assert images.read(path).pixels.shape == (40, 48, 3)
    with Image.open(path) as image:
        assert image.format == {"P": "PNG", "J": "JPEG", "T": "TIFF"}[suffix[1].upper()]


def test_what_only_tiff_can_hold_is_read(tmp_path: Path) -> None:
    path, opaque = tmp_path / "a.tif", pixels("uint8", 4) // 2 + 128
    stored = pyvips.Image.new_from_array(opaque).copy(interpretation="srgb")
    stored.tiffsave(str(path), premultiply=True)
    assert np.abs(images.read(path).pixels.astype(int) - opaque).max() <= 2
    stored[:3].tiffsave(str(path), compression="jpeg", Q=75)  # as YCbCr, which libjpeg converts
    assert images.read(path).pixels.shape == (40, 48, 3)


def test_more_channels_than_one_alpha_are_refused(tmp_path: Path) -> None:
    five = np.dstack([pixels("uint8", 4), pixels("uint8", 1)])
    pyvips.Image.new_from_array(five).copy(interpretation="srgb").tiffsave(str(tmp_path / "a.tif"))
    with pytest.raises(ImageFileError, match="has 5 channels"):
        images.read(tmp_path / "a.tif")


def test_as_long_a_side_as_a_format_allows_is_written(tmp_path: Path) -> None:
    images.write(tmp_path / "a.webp", Picture(np.zeros((1, 16383, 3), np.uint8)))
    assert images.read(tmp_path / "a.webp").pixels.shape == (1, 16383, 3)


def test_without_a_resolution_it_is_the_usual_one(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        Image.fromarray(pixels("uint8", 3)).save(tmp_path / f"a{suffix}")
        assert images.read(tmp_path / f"a{suffix}").resolution == pytest.approx((72 / 25.4,) * 2, abs=0.01)


def test_a_tiff_files_own_tags_win_and_its_directory_begins_at_an_even_place(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(pixels("uint8", 3)).save(path, tiffinfo={0x010F: "Mine"})
    path.write_bytes(path.read_bytes() + bytes(1 - path.stat().st_size % 2))
    exif.into_tiff(path, exif_block())
    assert struct.unpack("<I", path.read_bytes()[4:8])[0] % 2 == 0  # TIFF 6.0, section 2
    with Image.open(path) as image:
        assert (image.getexif()[0x010F], image.getexif()[0x8298]) == ("Mine", "(c) somebody")
