"""Fixtures for the tests of gknet."""

from __future__ import annotations

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
