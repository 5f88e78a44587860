"""The public iHarmony4 layout (Cong et al., CVPR 2020): triples of composite, mask and real photo, in named sub-sets.

    ROOT/IHD_test.txt, IHD_train.txt             <Set>/composite_images/<img>_<mask>_<n>.jpg, one a line
    ROOT/<Set>/<Set>_test.txt, <Set>_train.txt   <img>_<mask>_<n>.jpg, one a line
    ROOT/<Set>/composite_images/<img>_<mask>_<n>.jpg
    ROOT/<Set>/masks/<img>_<mask>.png
    ROOT/<Set>/real_images/<img>.jpg

iHarmony4's own sub-sets are HCOCO, HAdobe5k, HFlickr and Hday2night; any other folder with such lists is one, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gknet.data.files import UNREADABLE

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


def find_predictions(folder: Path, names: Sequence[tuple[str, str]]) -> list[Path]:
    """Another method's results: image files named like the composites, with any of :data:`EXTENSIONS`.

    Args:
        folder: they lie in ``folder/<sub-set>/`` or right in it.
        names: each composite's sub-set, which may be empty, and file name without extension.

    Raises:
        DataError: one is missing, or a file right in ``folder`` could belong to two sub-sets.
    """
    flat = index_images(folder)
    by_subset = {subset: index_images(folder / subset) for subset in {subset for subset, _ in names}}
    stems = Counter(stem for _, stem in names)
    found: list[Path] = []
    missing: list[str] = []
    for subset, stem in names:
        path = by_subset[subset].get(stem) or flat.get(stem)
        if path is None:
            missing.append(f"{subset}/{stem}".lstrip("/"))
        elif path.parent == folder and stems[stem] > 1:
            raise DataError(f"{path} could belong to several sub-sets; put predictions into {folder}/<sub-set>/")
        else:
            found.append(path)
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise DataError(
            f"{folder} lacks {len(missing)} of {len(names)} predictions: {shown}; "
            "files must be named like the composites, right in the folder or in sub-set folders"
        )
    return found


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
