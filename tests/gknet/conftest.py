"""Fixtures for the tests of gknet."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def small_iharmony(tmp_path: Path) -> Path:
    """A folder in iHarmony4's layout with lossless images of 40x48 pixels.

    Test lists: HA a1_1_1 (foreground 1/40 of the picture) and a1_2_1 (1/10), HB b1_1_1 (1/2).
    Train lists: HA a2_1_1, HB none. Composites are the real photos with the foreground 20 to 40 levels brighter in red.
    """
    root = tmp_path / "ihd"
    rng = np.random.default_rng(0)
    images = [
        ("HA", "test", "a1", "1", 1, 20),
        ("HA", "test", "a1", "2", 4, 30),
        ("HB", "test", "b1", "1", 20, 40),
        ("HA", "train", "a2", "1", 10, 25),
    ]
    for subset in ("HA", "HB"):
        for folder in ("composite_images", "masks", "real_images"):
            (root / subset / folder).mkdir(parents=True)
        for split in ("test", "train"):
            (root / subset / f"{subset}_{split}.txt").touch()
    for subset, split, image, mask, rows, shift in images:
        real_file = root / subset / "real_images" / f"{image}.png"
        if not real_file.exists():
            Image.fromarray(rng.integers(0, 200, (40, 48, 3), np.uint8)).save(real_file)
        composite = np.array(Image.open(real_file))
        foreground = np.zeros((40, 48), np.uint8)
        foreground[:rows] = 255
        composite[:rows, :, 0] += np.uint8(shift)
        Image.fromarray(foreground).save(root / subset / "masks" / f"{image}_{mask}.png")
        name = f"{image}_{mask}_1.png"
        Image.fromarray(composite).save(root / subset / "composite_images" / name)
        with (root / subset / f"{subset}_{split}.txt").open("a") as names:
            names.write(f"{name}\n")
        with (root / f"IHD_{split}.txt").open("a") as paths:
            paths.write(f"{subset}/composite_images/{name}\n")
    return root


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., Path]:
    """(folder, count=8, *, zipped=True) -> folder, with pictures laid out as the photos that training reads."""
    return _make_photos


def _make_photos(folder: Path, count: int = 8, *, zipped: bool = True) -> Path:
    """Smooth random pictures with an ellipse as foreground, laid out as the photos that training reads."""
    random = np.random.default_rng(0)
    part = folder / "part"
    (part / "images").mkdir(parents=True)
    (part / "masks").mkdir()
    rows = []
    for i in range(count):
        size = (int(random.integers(60, 120)), int(random.integers(60, 120)))
        coarse = random.integers(20, 235, size=(5, 6, 3)).astype(np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        noise = random.normal(0, 8, (size[1], size[0], 3))
        Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)).save(
            part / f"images/p{i}.jpg", quality=95
        )
        y, x = np.mgrid[: size[1], : size[0]]
        ids = []
        for k in (1, 2):
            centre = random.uniform(0.35, 0.65, 2)
            ellipse = ((x / size[0] - centre[0]) / 0.25) ** 2 + ((y / size[1] - centre[1]) / 0.2) ** 2 < 1
            Image.fromarray(ellipse).save(part / f"masks/p{i}_{k}.png")
            ids.append(f"p{i}_{k}")
        rows.append({"id": f"p{i}", "source": "ab"[i % 2], "mask_ids": " ".join(ids)})
    with (part / "manifest.csv").open("w", newline="") as text:
        writer = csv.DictWriter(text, ["id", "source", "mask_ids"])
        writer.writeheader()
        writer.writerows(rows)
    if zipped:
        with zipfile.ZipFile(folder / "part-0.zip", "w") as archive:
            for path in sorted(part.rglob("*.*")):
                archive.write(path, path.relative_to(part))
        for path in sorted(part.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        part.rmdir()
    return folder
