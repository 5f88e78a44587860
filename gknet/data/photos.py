"""Photos with foreground masks, held in memory: the raw material of random composites."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

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
    """

    photos: Tensor
    masks: Tensor
    owner: Tensor
    table: Tensor
    source: Tensor

    def split(self, holdout: int, names: list[str]) -> tuple[PhotoSet, PhotoSet]:
        """(training, held out): the ``holdout`` photos whose names have the smallest SHA-256, so that every run
        agrees."""
        order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
        held = torch.zeros(len(names), dtype=torch.bool)
        held[order[:holdout]] = True
        return self._select(~held), self._select(held)

    def _select(self, keep: Tensor) -> PhotoSet:
        renumber = keep.cumsum(0) - 1
        mine = keep[self.owner]
        return PhotoSet(
            self.photos[keep], self.masks[mine], renumber[self.owner[mine]], self.table[mine], self.source[keep]
        )

    def to(self, device: str | torch.device) -> PhotoSet:
        """The same set on another device."""
        return PhotoSet(*(t.to(device) for t in (self.photos, self.masks, self.owner, self.table, self.source)))


def load_photos(folder: str | Path, size: int, *, progress: bool = True) -> tuple[PhotoSet, list[str]]:
    """Read a folder of photos with masks.

    The folder holds ``part-*.zip`` archives or part folders, or is itself one such folder. A part holds
    ``images/<id>.jpg``, ``masks/<id>_<k>.png`` and ``manifest.csv`` with at least the columns ``id, source, mask_ids``.

    Args:
        folder: where they are.
        size: S, the side to which every photo is squeezed, in pixels.
        progress: show a progress bar.

    Returns:
        The set and the photos' ids, in order.

    Raises:
        FileNotFoundError: the folder holds no part.
    """
    rows = list(_rows(Path(folder)))
    if not rows:
        raise FileNotFoundError(
            f"{folder} holds no photos: expected part-*.zip, or a folder with manifest.csv, images/, masks/"
        )
    random = np.random.default_rng(0)  # the tables are part of the data: the same for every run
    names: list[str] = []
    sources: list[str] = []
    owner: list[int] = []
    photos: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    table: list[np.ndarray] = []
    for row, read in tqdm(rows, desc="photos", unit="", disable=not progress):
        with Image.open(io.BytesIO(read(f"images/{row['id']}.jpg"))) as file:
            full = np.asarray(file.convert("RGB"))
        found = []
        for mask_id in row["mask_ids"].split():
            with Image.open(io.BytesIO(read(f"masks/{mask_id}.png"))) as file:
                mask = file.convert("L")
            foreground = full[np.asarray(mask) > 127]
            if len(foreground):
                found.append(mask)
                table.append(foreground[random.integers(len(foreground), size=TABLE)])
        if found:
            masks += [np.asarray(m.resize((size, size), Image.Resampling.BOX)) for m in found]
            owner += [len(photos)] * len(found)
            photos.append(
                np.asarray(Image.fromarray(full).resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            )
            names.append(row["id"])
            sources.append(row["source"])
    numbers = {source: i for i, source in enumerate(sorted(set(sources)))}
    return (
        PhotoSet(
            torch.from_numpy(np.stack(photos)),
            torch.from_numpy(np.stack(masks)),
            torch.tensor(owner),
            torch.from_numpy(np.stack(table)),
            torch.tensor([numbers[source] for source in sources]),
        ),
        names,
    )


def _rows(folder: Path) -> Iterator[tuple[dict[str, str], Callable[[str], bytes]]]:
    """Each manifest row with a function that reads a file of its part."""
    for archive in sorted(folder.glob("part-*.zip")):
        file = zipfile.ZipFile(archive)
        for row in csv.DictReader(io.StringIO(file.read("manifest.csv").decode())):
            yield row, file.read
    for manifest in sorted([*folder.glob("manifest.csv"), *folder.glob("*/manifest.csv")]):
        with manifest.open(newline="") as text:
            for row in csv.DictReader(text):
                yield row, lambda name, part=manifest.parent: (part / name).read_bytes()  # type: ignore[misc]
