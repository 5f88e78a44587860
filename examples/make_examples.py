"""Make the three examples (composite and mask of each) from photographs that anyone may redistribute.

scikit-image carries three of the photographs. SciPy 1.9 carries the raccoon (`scipy.misc.face`); its wheel is read as
an archive, not installed:

    pip download --no-deps --only-binary :all: --python-version 3.11 scipy==1.9.3
    python examples/make_examples.py scipy-1.9.3-*.whl

An outline drawn by hand says where the object ends to within a few pixels. A random walk (Grady 2006) that starts on
both sides of this band finds the edge itself, soft where hair or defocus make it so.
"""

import bz2
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage import data
from skimage.color import rgb2lab
from skimage.segmentation import random_walker

HERE = Path(__file__).parent
Points = list[tuple[int, int]]

# Outlines in pixels of the photographs, clockwise from the lower left.
ASTRONAUT: Points = [
    (37, 530), (31, 500), (25, 475), (22, 450), (23, 412), (19, 400), (21, 383), (25, 330), (34, 308),
    (40, 285), (51, 264), (62, 249), (80, 235), (98, 222), (111, 208), (114, 188), (120, 175), (132, 160),
    (147, 152), (162, 149), (182, 148), (181, 138), (174, 129), (171, 120), (160, 110), (154, 92), (153, 74),
    (159, 58), (175, 43), (188, 35), (200, 22), (220, 15), (240, 15), (262, 20), (285, 35), (298, 55),
    (302, 85), (299, 103), (291, 118), (281, 127), (276, 135), (268, 137), (264, 150), (256, 168), (256, 172),
    (271, 181), (290, 203), (302, 230), (306, 235), (325, 245), (342, 265), (350, 282), (357, 305), (364, 332),
    (363, 348), (380, 345), (400, 343), (420, 345), (440, 352), (460, 368), (475, 386), (488, 410), (496, 440),
    (504, 455), (509, 470), (509, 500), (505, 530),
]  # fmt: skip
COFFEE: Points = [
    (76, 215), (80, 183), (88, 157), (100, 132), (128, 103), (158, 81), (181, 69), (188, 58), (210, 38),
    (240, 24), (270, 18), (300, 18), (330, 23), (355, 34), (380, 51), (397, 69), (410, 66), (420, 68),
    (425, 75), (422, 90), (418, 101), (435, 117), (453, 140), (467, 166), (476, 195), (480, 225), (477, 250),
    (470, 275), (455, 300), (435, 325), (408, 351), (380, 368), (350, 380), (320, 388), (290, 391), (260, 389),
    (225, 382), (195, 373), (165, 358), (140, 340), (117, 315), (100, 292), (87, 266), (79, 240),
]  # fmt: skip
RACCOON: Points = [
    (-20, 290), (-20, -20), (822, -20), (838, 14), (853, 50), (866, 98), (884, 93), (910, 90), (933, 96),
    (943, 111), (939, 135), (926, 163), (911, 189), (892, 204), (888, 217), (902, 242), (912, 274), (911, 299),
    (900, 326), (881, 351), (855, 377), (838, 388), (808, 393), (776, 400), (757, 408), (731, 424), (712, 446),
    (687, 459), (656, 471), (645, 482), (629, 489), (628, 500), (648, 512), (674, 524), (699, 520), (731, 514),
    (757, 512), (769, 519), (760, 527), (745, 533), (731, 551), (718, 564), (696, 577), (674, 588), (648, 590),
    (623, 584), (597, 576), (572, 565), (556, 580), (545, 610), (551, 637), (559, 662), (550, 679), (521, 657),
    (502, 641), (486, 618), (468, 594), (440, 555), (400, 536), (364, 505), (327, 479), (301, 448), (281, 434),
    (249, 432), (223, 430), (197, 433), (179, 418), (164, 405), (154, 378), (140, 346), (119, 329), (68, 321),
    (31, 298),
]  # fmt: skip
# Blades of grass in front of the raccoon: centre line and width.
BLADES: list[tuple[Points, int]] = [
    ([(299, 446), (350, 428), (400, 411), (450, 402), (500, 400), (600, 400), (680, 399), (742, 405)], 9),
    ([(312, 474), (380, 460), (450, 441), (530, 420)], 12),
    ([(338, 496), (400, 495), (448, 495)], 8),
]


def cut_out(photo: np.ndarray, outline: Points, band: float, holes: Sequence[tuple[Points, int]] = ()) -> np.ndarray:
    """The soft mask, HxW float in 0..1, of the object whose edge lies within `band` pixels of the outline.

    `holes` are lines and their widths in pixels that lie in front of the object.
    """
    height, width = photo.shape[:2]
    pad = 24  # an outline that runs out of the picture has no edge there
    drawn = Image.new("L", (width + 2 * pad, height + 2 * pad))
    pen = ImageDraw.Draw(drawn)
    pen.polygon([(x + pad, y + pad) for x, y in outline], fill=255)
    for line, thickness in holes:
        pen.line([(x + pad, y + pad) for x, y in line], fill=0, width=thickness, joint="curve")
    cores = Image.new("L", (width, height))  # a hole thinner than the band still needs its seed
    for line, _ in holes:
        ImageDraw.Draw(cores).line(line, fill=255, width=2)
    return soften(photo, np.asarray(drawn) > 0, pad, band, np.asarray(cores) > 0)


def soften(photo: np.ndarray, inside: np.ndarray, pad: int, band: float, outside: np.ndarray) -> np.ndarray:
    """The soft mask, HxW float in 0..1, of an object whose edge lies within `band` pixels of that of `inside`.

    `inside`, boolean, reaches `pad` pixels beyond the photograph on each side; `outside`, HxW boolean, is no object
    however near to the edge it lies.
    """
    crop = np.s_[pad:-pad, pad:-pad]
    depth_in, depth_out = distance_transform_edt(inside)[crop], distance_transform_edt(~inside)[crop]
    seeds = np.where(depth_in > band, 2, np.where(depth_out > band, 1, 0))
    seeds[outside] = 1
    lab = rgb2lab(photo) / 100
    walked = random_walker(lab, seeds, beta=400, tol=1e-5, mode="cg_j", channel_axis=-1, return_full_prob=True)
    probability = walked[1]
    soft = gaussian_filter(np.clip((probability - 0.5) * 2 + 0.5, 0, 1), 0.7)
    return np.where(depth_in > band + 3, 1.0, np.where(depth_out > band + 3, 0.0, soft))


def object_colors(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The photograph without the old background's tint in the object's edge: colours there come from just inside."""
    sure = (mask > 0.95)[..., None].astype(float)
    inner = gaussian_filter(photo * sure, (3, 3, 0)) / np.maximum(gaussian_filter(sure, (3, 3, 0)), 1e-6)
    return np.where(sure > 0, photo, inner)


def regrade(photo: np.ndarray, gains: tuple[float, float, float], gamma: float, saturation: float) -> np.ndarray:
    """Another light on the same object: gains in linear light (white balance, exposure), then contrast, saturation."""
    linear = np.clip((photo / 255) ** 2.2 * gains, 0, 1)
    toned = linear ** (gamma / 2.2)
    grey = toned @ [0.2126, 0.7152, 0.0722]
    return 255 * np.clip(grey[..., None] + saturation * (toned - grey[..., None]), 0, 1)


def blend(foreground: np.ndarray, mask: np.ndarray, background: np.ndarray) -> np.ndarray:
    return mask[..., None] * foreground + (1 - mask[..., None]) * background


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(np.uint8(np.round(picture))).resize(size, Image.Resampling.LANCZOS)).astype(float)


def save(name: str, composite: np.ndarray, mask: np.ndarray) -> None:
    Image.fromarray(np.uint8(np.round(composite))).save(HERE / f"{name}.jpg", quality=93, subsampling=0)
    Image.fromarray(np.uint8(np.round(255 * mask))).save(HERE / f"{name}_mask.png", optimize=True)


def astronaut() -> None:
    """A studio portrait pasted before a launch pad at dusk."""
    photo, background = data.astronaut().astype(float), data.rocket().astype(float)
    mask = cut_out(data.astronaut(), ASTRONAUT, band=6)
    side, left = 380, -6
    foreground, alpha = resized(object_colors(photo, mask), (side, side)), resized(255 * mask, (side, side)) / 255
    height, width = background.shape[:2]
    layer, placed = np.zeros_like(background), np.zeros((height, width))
    visible = np.s_[height - side : height, 0 : left + side]
    layer[visible], placed[visible] = foreground[:, -left:], alpha[:, -left:]
    save("astronaut", blend(layer, placed, background), placed)


def coffee() -> None:
    """A cup in cold, flat daylight on a table in warm lamplight."""
    photo = data.coffee()
    mask = cut_out(photo, COFFEE, band=3)
    save("coffee", blend(regrade(photo, (0.62, 1.0, 1.75), 0.85, 0.8), mask, photo), mask)


def raccoon(wheel: Path) -> None:
    """A raccoon in the light of a lamp among leaves under a grey sky."""
    with zipfile.ZipFile(wheel) as archive:
        photo = np.frombuffer(bz2.decompress(archive.read("scipy/misc/face.dat")), np.uint8).reshape(768, 1024, 3)
    mask = cut_out(photo, RACCOON, band=7, holes=BLADES)
    composite = blend(regrade(photo, (1.8, 1.0, 0.4), 0.95, 1.15), mask, photo)
    save("raccoon", resized(composite, (800, 600)), resized(255 * mask, (800, 600)) / 255)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    astronaut()
    coffee()
    raccoon(Path(sys.argv[1]))
