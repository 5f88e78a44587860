"""Photos with foreground masks, held in memory: the raw material of random composites."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gknet.data.files import UNREADABLE, upright

TABLE = 512
"""Foreground pixels kept a mask, for colour statistics."""


@dataclass
class PhotoSet:
    """Photos and masks at one working size.

    Attributes:
        photos: [N, 3, S, S] uint8, sRGB, squeezed to a square (as the benchmark protocol squeezes them).
        masks: [M, S, S] uint8, 0..255, area-reduced, so that rims are soft.
        owner: [M] int64, the photo of each mask.
        table: [M, TABLE, 3] uint8, random foreground pixels of each mask.
        source: [N] int64, a number for each photo's source.
        side: [N] float32, the root of the number of pixels that each photo has in its file.
    """

    photos: Tensor
    masks: Tensor
    owner: Tensor
    table: Tensor
    source: Tensor
    side: Tensor

    def split(self, holdout: int, names: list[str]) -> tuple[PhotoSet, PhotoSet]:
        """(training, held out): the ``holdout`` photos whose names have the smallest SHA-256, so that every run
        agrees; of a small set a quarter at most."""
        holdout = min(holdout, len(names) // 4)
        order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
        held = torch.zeros(len(names), dtype=torch.bool)
        held[order[:holdout]] = True
        return self._select(~held), self._select(held)

    def at_least(self, side: int) -> PhotoSet:
        """Those photos that have ``side`` x ``side`` pixels or more in their files: no others show that much detail."""
        return self._select(self.side >= side)

    def _select(self, keep: Tensor) -> PhotoSet:
        renumber = keep.cumsum(0) - 1
        mine = keep[self.owner]
        return PhotoSet(
            self.photos[keep],
            self.masks[mine],
            renumber[self.owner[mine]],
            self.table[mine],
            self.source[keep],
            self.side[keep],
        )

    def to(self, device: str | torch.device) -> PhotoSet:
        """The same set on another device."""
        return PhotoSet(*(tensor.to(device) for tensor in vars(self).values()))


def load_photos(folder: str | Path, size: int, *, progress: bool = True) -> tuple[PhotoSet, list[str]]:
    """Read a folder of photos with masks.

    The folder holds ``part-*.zip`` archives or part folders, or is itself one such folder. A part holds
    ``images/<id>.jpg``, ``masks/<id>_<k>.png`` and ``manifest.csv`` with at least the columns ``id, source, mask_ids``.

    Args:
        folder: where they are.
        size: S, the side to which every photo is squeezed, in pixels.
        progress: show a progress bar on a terminal.

    Returns:
        The set and the photos' ids, in order.

    Raises:
        FileNotFoundError: the folder holds no part.
        ValueError: a manifest is missing or lacks a column, a file cannot be read, a mask is not as large as its photo,
            or none has foreground.
    """
    rows = list(_rows(Path(folder)))
    if not rows:
        raise FileNotFoundError(
            f"{folder} holds no photos: expected part-*.zip, or a folder with manifest.csv, images/, masks/"
        )
    names: list[str] = []
    sources: list[str] = []
    sides: list[float] = []
    owner: list[int] = []
    photos: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    table: list[np.ndarray] = []
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda at: _read(*rows[at], size, at), range(len(rows)))
        for (row, _), (photo, side, found) in zip(
            rows, tqdm(read, "photos", len(rows), disable=None if progress else True), strict=True
        ):
            if found:
                for mask, colours in found:
                    masks.append(mask)
                    table.append(colours)
                owner += [len(photos)] * len(found)
                photos.append(photo)
                names.append(row["id"])
                sources.append(row["source"])
                sides.append(side)
    if not photos:
        raise ValueError(f"no photo in {folder} has a mask with foreground")
    numbers = {source: i for i, source in enumerate(sorted(set(sources)))}
    return (
        PhotoSet(
            torch.from_numpy(np.stack(photos)),
            torch.from_numpy(np.stack(masks)),
            torch.tensor(owner),
            torch.from_numpy(np.stack(table)),
            torch.tensor([numbers[source] for source in sources]),
            torch.tensor(sides),
        ),
        names,
    )


def _read(
    row: dict[str, str], read: Callable[[str], bytes], size: int, seed: int
) -> tuple[np.ndarray, float, list[tuple[np.ndarray, np.ndarray]]]:
    """A manifest row's photo [3, S, S], its side, and each mask [S, S] that is not empty with colours [TABLE, 3]."""
    random = np.random.default_rng(seed)  # the colours are part of the data: the same for every run
    photo = _open(read, f"images/{row['id']}.jpg", "RGB")
    full = np.asarray(photo)
    found = []
    for mask_id in row["mask_ids"].split():
        mask = _open(read, f"masks/{mask_id}.png", "L")
        if mask.size != photo.size:
            raise ValueError(f"masks/{mask_id}.png has {mask.size} pixels, images/{row['id']}.jpg {photo.size}")
        foreground = full[np.asarray(mask) > 127]
        if len(foreground):
            colours = foreground[random.integers(len(foreground), size=TABLE)]
            found.append((np.asarray(mask.resize((size, size), Image.Resampling.BOX)), colours))
    squeezed = np.asarray(photo.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    return squeezed, math.sqrt(photo.width * photo.height), found


def _open(read: Callable[[str], bytes], name: str, mode: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(read(name))) as file:
            return upright(file, mode)
    except (*UNREADABLE, KeyError) as error:
        raise ValueError(f"{name} cannot be read as an image: {error}") from error


def _rows(folder: Path) -> Iterator[tuple[dict[str, str], Callable[[str], bytes]]]:
    """Each manifest row with a function that reads a file of its part."""
    for archive in sorted(folder.glob("part-*.zip")):
        try:
            file = zipfile.ZipFile(archive)
            text = file.read("manifest.csv").decode("utf-8-sig")
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{archive} is no archive of photos with a manifest.csv: {error}") from error
        for row in _manifest(text, archive):
            yield row, file.read
    for path in sorted([*folder.glob("manifest.csv"), *folder.glob("*/manifest.csv")]):
        for row in _manifest(path.read_text(encoding="utf-8-sig"), path):
            yield row, lambda name, part=path.parent: (part / name).read_bytes()  # type: ignore[misc]


def _manifest(text: str, path: Path) -> csv.DictReader[str]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if lacking := sorted({"id", "source", "mask_ids"} - set(rows.fieldnames or [])):
        raise ValueError(f"the manifest of {path} has no column {' and no column '.join(lacking)}")
    return rows
