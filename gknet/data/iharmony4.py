"""The public iHarmony4 layout (Cong et al., CVPR 2020): triples of composite, mask and real photo, in named sub-sets.

    ROOT/IHD_test.txt, IHD_train.txt             <Set>/composite_images/<img>_<mask>_<n>.jpg, one a line
    ROOT/<Set>/<Set>_test.txt, <Set>_train.txt   <img>_<mask>_<n>.jpg, one a line
    ROOT/<Set>/composite_images/<img>_<mask>_<n>.jpg
    ROOT/<Set>/masks/<img>_<mask>.png
    ROOT/<Set>/real_images/<img>.jpg

iHarmony4's own sub-sets are HCOCO, HAdobe5k, HFlickr and Hday2night; any other folder with such lists is one, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gknet.data.files import UNREADABLE

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    Base = Dataset[tuple[Tensor, Tensor, Tensor]]
else:
    Base = object  # a DataLoader asks for no base class, and evaluating baselines must not wait for `import torch`

UInt8Image = npt.NDArray[np.uint8]
BoolMask = npt.NDArray[np.bool_]

PAPER_ORDER = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")
"""Table 1's order of the sub-sets; others follow by name."""
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""Image files that are recognised; of two with the same name the earlier here, lossless first."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares 0..1 of the image's sides."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class DataError(ValueError):
    """A data set is not what its layout promises; the message names the folder, list or file."""


@dataclass(frozen=True)
class Triple:
    """One composite with its mask and its ground truth."""

    subset: str
    name: str
    """The composite's file name, as listed."""
    composite: Path
    mask: Path
    real: Path


def index_images(folder: Path) -> dict[str, Path]:
    """File name without extension -> image file, for the images right in a folder; empty if there is no folder."""
    if not folder.is_dir():
        return {}
    files = [path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS]
    files.sort(key=lambda path: EXTENSIONS.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in files}


def read_triples(root: Path, split: str) -> list[Triple]:
    """The triples of a folder in iHarmony4's layout, sub-set by sub-set, each in its list's order.

    The sub-sets' own lists are read; where no sub-set has one, the list at the top (``IHD_<split>.txt``). Masks and
    real photos may have any extension of :data:`EXTENSIONS`.

    Args:
        root: the folder that holds the sub-sets.
        split: ``"train"`` or ``"test"``.

    Raises:
        DataError: the folder or its lists are missing or empty, a line is no composite's name, or a listed composite,
            its mask or its real photo is missing.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; name the one that holds iHarmony4's sub-sets")
    top = root / f"IHD_{split}.txt"
    lists = sorted(path for path in root.glob(f"*/*_{split}.txt") if path.name == f"{path.parent.name}_{split}.txt")
    if lists:
        entries = [(path.parent.name, line, path) for path in lists for line in _lines(path)]
    elif top.is_file():
        entries = [(*_split_entry(line, top), top) for line in _lines(top)]
    else:
        raise DataError(f"{root} has no list of {split} images: neither <Set>/<Set>_{split}.txt nor {top.name}")
    if not entries:
        raise DataError(f"the lists of {split} images in {root} are empty")

    folders: dict[Path, dict[str, Path]] = {}

    def find(kind: str, subset: str, stem: str, listed: str, source: Path) -> Path:
        folder = root / subset / kind
        if folder not in folders:
            folders[folder] = index_images(folder)
        if stem not in folders[folder]:
            what = f"no image {stem}.* in {folder}" if folder.is_dir() else f"the folder {folder} is missing"
            raise DataError(f"{source} lists {listed}, but {what}")
        return folders[folder][stem]

    triples = []
    for subset, name, source in entries:
        name = Path(name).name  # some copies of the lists carry folders before the name
        parts = Path(name).stem.rsplit("_", 2)
        if len(parts) != 3:
            raise DataError(f"{source} lists {name!r}, which is not of the form <img>_<mask>_<n>.jpg")
        image, mask, _ = parts
        composite = root / subset / "composite_images" / name
        if not composite.is_file():
            raise DataError(f"{source} lists {name}, but {composite} is missing")
        triples.append(
            Triple(
                subset,
                name,
                composite,
                find("masks", subset, f"{image}_{mask}", name, source),
                find("real_images", subset, image, name, source),
            )
        )
    return sorted(triples, key=lambda triple: _subset_order(triple.subset))


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8-sig")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _split_entry(line: str, source: Path) -> tuple[str, str]:
    subset, slash, name = line.partition("/")
    if not slash:
        raise DataError(f"{source} lists {line!r}, which is not of the form <Set>/composite_images/<name>")
    return subset, name


def _subset_order(subset: str) -> tuple[int, str]:
    return (PAPER_ORDER.index(subset) if subset in PAPER_ORDER else len(PAPER_ORDER), subset)


def open_image(
    path: Path, mode: str, convert: Callable[[Image.Image, str], Image.Image] = Image.Image.convert
) -> Image.Image:
    """Read a whole image file and convert it to a Pillow mode.

    Args:
        convert: how. The benchmark's files are taken as they are stored; for a user's, see gknet.data.files.

    Raises:
        DataError: the file cannot be read as an image; the message names it.
    """
    try:
        with Image.open(path) as image:
            return convert(image, mode)
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def resize_image(image: Image.Image, size: int, box: Box = WHOLE) -> UInt8Image:
    """Cut ``box`` out of an RGB image and resize it by Pillow's bicubic filter -> uint8 [size, size, 3]."""
    return np.asarray(_resize(image, size, box))


def resize_mask(mask: Image.Image, size: int, box: Box = WHOLE) -> BoolMask:
    """Cut ``box`` out of a grey mask, resize it by Pillow's bicubic filter, threshold at half -> bool [size, size]."""
    return np.asarray(_resize(mask, size, box)) >= 128


def _resize(image: Image.Image, size: int, box: Box) -> Image.Image:
    width, height = image.size
    left, top, right, bottom = box
    pixels = (left * width, top * height, right * width, bottom * height)
    return image.resize((size, size), Image.Resampling.BICUBIC, pixels)


def random_crop(rng: np.random.Generator) -> Box:
    """A random box for a resized crop: 0.5 to 1 of the area, width to height 3:4 to 4:3, anywhere inside.

    Sides are measured by the image's own, because the whole image is resized to a square as well.
    """
    area = rng.uniform(0.5, 1.0)
    form = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    width = min(max(math.sqrt(area * form), area), 1.0)  # at least `area`, else the height would pass 1
    height = area / width
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return (left, top, min(left + width, 1.0), min(top + height, 1.0))


class IHarmony4(Base):
    """Triples as tensors, for a :class:`torch.utils.data.DataLoader`.

    Args:
        triples: what :func:`read_triples` gives.
        size: side of the square that every image is resized to, pixels.
        augment: flip at random and cut out half to all of the area at random (:func:`random_crop`), alike for the three
            images. A crop that loses the foreground is drawn again.
        seed: the augmentation of item i is drawn from (seed, epoch, i) alone, whatever the order and number of workers.

    Attributes:
        epoch: set it before each pass. Workers get it when they start, so not with ``persistent_workers``.
    """

    def __init__(self, triples: Sequence[Triple], size: int = 256, *, augment: bool = False, seed: int = 0) -> None:
        self.triples = list(triples)
        self.size = size
        self.augment = augment
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.triples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Composite [3, S, S], mask [1, S, S] (0 or 1) and real [3, S, S], float32 0..1.

        Raises:
            DataError: one of the files cannot be read.
        """
        triple = self.triples[index]
        composite, real = open_image(triple.composite, "RGB"), open_image(triple.real, "RGB")
        mask = open_image(triple.mask, "L")
        box, flip = self._draw(index, mask) if self.augment else (WHOLE, False)
        return (
            _tensor(resize_image(composite, self.size, box), flip),
            _tensor(resize_mask(mask, self.size, box)[..., None] * np.uint8(255), flip),
            _tensor(resize_image(real, self.size, box), flip),
        )

    def _draw(self, index: int, mask: Image.Image) -> tuple[Box, bool]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        flip = bool(rng.random() < 0.5)
        for _ in range(10):
            box = random_crop(rng)
            if resize_mask(mask, self.size, box).any():
                return box, flip
        return WHOLE, flip


def _tensor(image: npt.NDArray[Any], flip: bool) -> Tensor:
    """uint8 [S, S, C] -> float32 [C, S, S], 0..1."""
    import torch

    if flip:
        image = image[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
