"""Images of users' own: upright, in 8 bits, masks by their opacity where they have one."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gknet.cli import main
from gknet.data.files import upright
from gknet.data.photos import load_photos


def read(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(upright(image, mode))


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 300], [257 * 128 - 100, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(">u2")).save(tmp_path / "deep.tif")  # as big-endian machines write it
    for file in ("deep.png", "deep.tif"):
        for mode in ("L", "RGB"):
            values = read(tmp_path / file, mode)
            assert (values if mode == "L" else values[..., 0]).tolist() == [[0, 1], [128, 255]]


def test_it_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    shown = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3))
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned clockwise
    shown.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert (read(tmp_path / "turned.png", "RGB") == np.asarray(shown)).all()


def test_a_masks_opacity_counts_where_it_has_one(tmp_path: Path) -> None:
    values = np.full((2, 2, 2), 255, np.uint8)
    values[0, 0, 1] = 7
    Image.fromarray(values).save(tmp_path / "mask.png")
    assert read(tmp_path / "mask.png", "L").tolist() == [[7, 255], [255, 255]]
    values[..., 0], values[..., 1] = 9, 255
    Image.fromarray(values).save(tmp_path / "mask.png")
    assert (read(tmp_path / "mask.png", "L") == 9).all()


def test_what_nobody_knows_the_white_of_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bits"):
        upright(Image.fromarray(np.zeros((2, 2), np.float32)), "L")


def test_photos_that_cannot_be_trained_on_are_named(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_photos(tmp_path, 3, zipped=False)
    manifest = next(folder.rglob("manifest.csv"))
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes())  # as spreadsheets save it
    assert len(load_photos(folder, 32)[1]) == 3
    mask = next(folder.rglob("masks/p1_1.png"))
    Image.new("L", (9, 9), 255).save(mask)
    with pytest.raises(ValueError, match=r"masks/p1_1.png has \(9, 9\) pixels, images/p1.jpg"):
        load_photos(folder, 32)
    mask.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="masks/p1_1.png cannot be read"):
        load_photos(folder, 32)
    for file in folder.rglob("masks/*.png"):
        Image.new("L", Image.open(file.parents[1] / "images" / f"{file.stem[:2]}.jpg").size).save(file)
    with pytest.raises(ValueError, match="no photo in .* has a mask with foreground"):
        load_photos(folder, 32)
    (folder / "more").mkdir()
    (folder / "more" / "manifest.csv").write_text("name,masks\n1,2\n")
    with pytest.raises(ValueError, match="more.*no column id and no column mask_ids and no column source"):
        load_photos(folder, 32)
    archive = folder / "part-1.zip"
    archive.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"part-1.zip is no archive of photos"):
        load_photos(folder, 32)
    with zipfile.ZipFile(archive, "w"):
        pass
    with pytest.raises(ValueError, match=r"part-1.zip is no archive of photos with a manifest.csv"):
        load_photos(folder, 32)


def test_explain_refuses_what_it_cannot_explain(tmp_path: Path) -> None:
    picture, mask = tmp_path / "picture.png", tmp_path / "mask.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    for content, text in (("black", "mask is empty"), ("white", "no background"), ("", "cannot be read as an image")):
        mask.write_bytes(b"no picture")
        if content:
            Image.new("L", (64, 64), content).save(mask)
        result = CliRunner().invoke(main, ["explain", str(picture), str(mask), "-o", str(tmp_path / "out")])
        assert result.exit_code == 1 and text in result.output and not (tmp_path / "out").exists()
