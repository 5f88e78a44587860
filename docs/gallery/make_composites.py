"""Make the gallery's composites and masks out of photographs that anyone may redistribute; NOTICE names them.

The photographs come from packages of Debian 12 and PyPI. In an empty folder of your choice:

    apt-get download gcompris-qt-data lomiri-wallpapers-16.04 palapeli-data
    python -m pip download --no-deps scikit-learn==1.9.1 matplotlib==3.11.2
    for package in *.deb; do dpkg-deb -x "$package" .; done
    for package in *.whl; do python -m zipfile -e "$package" .; done

and then here, where scikit-image carries the coffee cup:

    python -m pip install opencv-python-headless PySide6-Essentials
    python -m docs.gallery.make_composites FOLDER

`python benchmarks/gallery.py --composites docs/gallery --out docs/gallery/harmonized` harmonizes them.
"""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw
from PySide6.QtCore import QResource
from skimage import data

from examples.make_examples import COFFEE, Points, blend, cut_out, object_colors, resized, soften

HERE = Path(__file__).parent
WIDTH = 800  # of photographs and composites; all outlines, strokes and places are in these pixels
PAD = 24
ERASE = "usr/share/gcompris-qt/rcc/erase.rcc"  # archives of GCompris's photographs of animals
LOMIRI = "usr/share/backgrounds"
Stroke = tuple[Points, int]  # line and width

HOPPER: Points = [
    (11, 611), (13, 598), (25, 500), (34, 428), (49, 383), (98, 364), (147, 346), (183, 327), (196, 315), (196, 298),
    (183, 291), (167, 278), (161, 241), (157, 214), (155, 183), (161, 161), (162, 116), (176, 85), (190, 61), (216, 38),
    (259, 23), (298, 36), (332, 57), (351, 86), (369, 94), (370, 161), (374, 187), (374, 210), (368, 245), (361, 276),
    (348, 294), (335, 310), (345, 327), (385, 353), (446, 371), (486, 386), (500, 410), (516, 446), (530, 611),
]  # fmt: skip


@dataclass(frozen=True)
class Outlined:
    """An object whose outline was drawn by hand."""

    outline: Points
    band: float

    def mask(self, photo: np.ndarray) -> np.ndarray:
        """HxW, float in 0..1."""
        return cut_out(photo, self.outline, self.band)


@dataclass(frozen=True)
class Grabbed:
    """An object that GrabCut finds in a box, helped by strokes of a hand where it goes wrong."""

    box: tuple[int, int, int, int]  # left, top, right, bottom
    inside: tuple[Stroke, ...] = ()
    outside: tuple[Stroke, ...] = ()

    def mask(self, photo: np.ndarray) -> np.ndarray:
        """HxW, float in 0..1."""
        labels = np.full(photo.shape[:2], cv2.GC_BGD, np.uint8)
        left, top, right, bottom = self.box
        labels[top:bottom, left:right] = cv2.GC_PR_FGD
        for strokes, label in ((self.inside, cv2.GC_FGD), (self.outside, cv2.GC_BGD)):
            for line, width in strokes:
                drawn = Image.fromarray(np.zeros_like(labels))
                ImageDraw.Draw(drawn).line(line, fill=255, width=width)
                labels[np.asarray(drawn) > 0] = label
        cv2.setRNGSeed(0)
        bgr = np.ascontiguousarray(photo[..., ::-1])
        cv2.grabCut(bgr, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 8, cv2.GC_INIT_WITH_MASK)
        found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
        _, pieces, sizes, _ = cv2.connectedComponentsWithStats(found)
        object_ = pieces == 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())
        return soften(photo, np.pad(object_, PAD, mode="edge"), PAD, 3, np.zeros_like(object_))


@dataclass(frozen=True)
class Scene:
    """`cut` of the photograph `foreground`, mirrored or not, in `crop` of the photograph `background`.

    `scale` enlarges the foreground's photograph, whose left upper corner is put to `corner` of the background.
    """

    name: str
    foreground: str
    cut: Outlined | Grabbed
    background: str
    crop: tuple[int, int, int, int]
    scale: float
    corner: tuple[int, int]
    mirrored: bool = False


SCENES = (
    Scene(
        "hopper", "matplotlib/mpl-data/sample_data/grace_hopper.jpg", Outlined(HOPPER, 7),
        "usr/share/palapeli/collection/cincinnati-bridge.jpg", (0, 0, 800, 586), 0.8, (391, 106),
    ),
    Scene(
        "cup", "coffee", Outlined(COFFEE, 3),
        f"{LOMIRI}/Picture_0B_by_freespace.jpg", (0, 0, 800, 541), 0.5, (-25, 335),
    ),
    Scene(
        "ibex", f"{ERASE}:nubian_ibex",
        Grabbed(
            (255, 15, 680, 434),
            inside=(([(316, 48), (319, 62)], 2), ([(352, 34), (344, 62)], 2)),
            outside=(
                ([(390, 75), (385, 105)], 12), ([(375, 62), (378, 90)], 6), ([(395, 60), (470, 70), (560, 80)], 20),
                ([(465, 300), (478, 380)], 8), ([(540, 290), (575, 370)], 20), ([(385, 290), (405, 370)], 10),
                ([(390, 422), (440, 423), (480, 425), (540, 420), (575, 427)], 5), ([(320, 45), (345, 50)], 2),
            ),
        ),
        f"{LOMIRI}/picosdeeuropa_by_Aitzol_Berasategi.jpg", (0, 60, 800, 600), 0.62, (345, 268),
    ),
    Scene(
        "horse", f"{ERASE}:horse", Grabbed((70, 35, 500, 435)),
        f"{LOMIRI}/sunset_by_Aitzol_Berasategi.jpg", (0, 0, 800, 533), 0.55, (85, 250),
    ),
    Scene(
        "meerkats", f"{ERASE}:meerkats",
        Grabbed(
            (190, 15, 740, 450),
            inside=(([(660, 60), (690, 75)], 6),),
            outside=(([(374, 145), (372, 200), (374, 280)], 12), ([(545, 140), (550, 220), (560, 260)], 10)),
        ),
        f"{LOMIRI}/aitzgorri_by_Aitzol_Berasategi.jpg", (0, 0, 800, 533), 0.7, (-60, 218),
    ),
    Scene(
        "swan", f"{ERASE}:swans", Grabbed((110, 95, 262, 292)),
        "usr/share/palapeli/collection/cincinnati-bridge.jpg", (0, 0, 800, 586), 0.6, (330, 370),
    ),
    Scene(
        "squirrel", f"{ERASE}:squirrel",
        Grabbed(
            (0, 0, 495, 450),
            inside=(([(98, 0), (98, 450)], 190), ([(352, 75), (350, 130)], 10), ([(402, 75), (397, 120)], 4)),
            outside=(
                ([(228, 240), (232, 275)], 10), ([(440, 300), (350, 350), (300, 420)], 30),
                ([(238, 315), (224, 322), (222, 352)], 7),
                ([(250, 70), (300, 85), (325, 80)], 14), ([(265, 105), (300, 115), (330, 105)], 14),
                ([(380, 70), (377, 115)], 8), ([(432, 115), (432, 165), (450, 200)], 14), ([(290, 132), (325, 130)], 8),
            ),
        ),
        f"{LOMIRI}/life_by_Aitzol_Berasategi.jpg", (0, 83, 800, 533), 1.0, (0, 0),
    ),
    Scene(
        "bee", f"{ERASE}:bee",
        Grabbed(
            (65, 160, 285, 340),
            outside=(
                ([(225, 250), (250, 270), (240, 320)], 16), ([(225, 330), (280, 330)], 10),
                ([(110, 310), (150, 295)], 3), ([(235, 168), (284, 168)], 14),
            ),
        ),
        "sklearn/datasets/images/flower.jpg", (0, 0, 640, 427), 0.55, (25, 60),
    ),
    Scene(
        "butterfly", f"{ERASE}:butterfly",
        Grabbed(
            (30, 0, 600, 450),
            inside=(([(77, 5), (85, 60), (95, 130), (120, 270), (140, 350), (160, 446)], 6),),
            outside=(
                ([(165, 290), (185, 400), (200, 440)], 20), ([(420, 345), (450, 430), (330, 445)], 16),
                ([(130, 100), (165, 112)], 8), ([(130, 270), (150, 265), (190, 230)], 6), ([(120, 60), (180, 60)], 8),
                ([(60, 20), (70, 100)], 8), ([(60, 300), (90, 430)], 20), ([(250, 20), (590, 20)], 30),
                ([(215, 75), (300, 100), (420, 105), (520, 125), (580, 160)], 12), ([(480, 300), (580, 260)], 12),
                ([(130, 122), (135, 150), (125, 165)], 10), ([(184, 128), (184, 150)], 8), ([(62, 110), (76, 146)], 10),
                ([(412, 322), (425, 330)], 3), ([(200, 442), (460, 440)], 10),
            ),
        ),
        f"{LOMIRI}/seeding_by_Clements_Engelhardt.jpg", (0, 0, 800, 450), 1.0, (40, 0), mirrored=True,
    ),
    Scene(
        "penguin", f"{ERASE}:penguin",
        Grabbed(
            (195, 20, 520, 445),
            inside=(
                ([(385, 48), (410, 36), (430, 44)], 8), ([(372, 80), (376, 110), (385, 115)], 4),
                ([(345, 190), (335, 215)], 3), ([(336, 398), (330, 388)], 3), ([(318, 385), (325, 398)], 3),
            ),
        ),
        f"{LOMIRI}/Wine_by_Jakkub_Mede.jpg", (0, 560, 800, 1180), 0.85, (345, 215),
    ),
)  # fmt: skip


def photograph(folder: Path, source: str) -> np.ndarray:
    """The photograph of that path in `folder`, of archive:name, or of scikit-image: uint8, at most WIDTH wide."""
    if source == "coffee":
        return data.coffee()
    archive, _, member = source.partition(":")
    if member:
        QResource.registerResource(str(folder / archive))
        file = io.BytesIO(bytes(QResource(f":/gcompris/src/activities/erase/resource/{member}.webp").data()))
    else:
        file = io.BytesIO((folder / source).read_bytes())
    photo = Image.open(file).convert("RGB")
    size = (WIDTH, round(photo.height * WIDTH / photo.width))
    return np.asarray(photo if photo.width <= WIDTH else photo.resize(size, Image.Resampling.LANCZOS))


def composite(scene: Scene, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The composite, HxWx3, and its mask, HxW, both uint8."""
    photo = photograph(folder, scene.foreground)
    mask = scene.cut.mask(photo)
    size = (round(photo.shape[1] * scene.scale), round(photo.shape[0] * scene.scale))
    colors, alpha = resized(object_colors(photo.astype(float), mask), size), resized(255 * mask, size) / 255
    if scene.mirrored:
        colors, alpha = colors[:, ::-1], alpha[:, ::-1]
    left, top, right, bottom = scene.crop
    background = photograph(folder, scene.background)[top:bottom, left:right].astype(float)
    layer, placed = np.zeros_like(background), np.zeros(background.shape[:2])
    (x, y), (height, width) = scene.corner, placed.shape
    there = np.s_[max(y, 0) : y + size[1], max(x, 0) : x + size[0]]
    here = np.s_[max(-y, 0) : height - y, max(-x, 0) : width - x]
    layer[there], placed[there] = colors[here], alpha[here]
    return np.uint8(np.round(blend(layer, placed, background))), np.uint8(np.round(255 * placed))


def main(folder: Path) -> None:
    """Write composites/, masks/ and list.csv beside this file."""
    for kind in ("composites", "masks"):
        (HERE / kind).mkdir(exist_ok=True)
    with (HERE / "list.csv").open("w", newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("name", "source"))
        for scene in SCENES:
            picture, mask = composite(scene, folder)
            Image.fromarray(picture).save(HERE / "composites" / f"{scene.name}.jpg", quality=86)
            Image.fromarray(mask).save(HERE / "masks" / f"{scene.name}.png", optimize=True)
            rows.writerow((scene.name, f"{scene.foreground} on {scene.background}"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
