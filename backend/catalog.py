"""What a batch is to do: a folder, a glob, a manifest or standard input as a list of images with masks and outputs."""

from __future__ import annotations

import csv
import glob
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""What of a folder is taken for an image."""
MANIFESTS = (".csv", ".jsonl", ".parquet")


class CatalogError(ValueError):
    """A batch that cannot be begun; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Item:
    """One image to harmonize.

    Attributes:
        image: its file.
        mask: its mask's file; None: the alpha of the image.
        output: the file to write, relative to the batch's output folder and inside it.
        strength: 0..1.
    """

    image: Path
    mask: Path | None
    output: Path
    strength: float


def read(source: str, out: Path, *, rule: str | None, strength: float, stdin: TextIO) -> list[Item]:
    """The items of a batch, in an order that depends on nothing but the source.

    A row of a manifest has ``image`` and may have ``mask``, ``output`` (inside ``out``) and ``strength``; relative
    paths begin at the manifest's folder. A line of standard input is a path, or such a row in JSON.

    Args:
        source: a folder, a glob pattern, a manifest (:data:`MANIFESTS`), or "-" for ``stdin``.
        out: the output folder. What lies in it is no input.
        rule: where a mask lies that no row names, relative to the source's folder, with {parent}, {stem} and {name} of
            the image; None: the image's alpha is the mask.
        strength: of the rows that name none.

    Raises:
        CatalogError: nothing to do, a row that cannot be read, two items with one output, an output that is an input.
    """
    root, rows = _rows(source, out, stdin)
    items = [_item(row, root, rule, strength) for row in rows]
    masks = {item.mask for item in items}
    # A naming rule makes images of masks that lie beside them.
    items = [item for item in items if item.image not in masks]
    if not items:
        raise CatalogError(f"{source} holds no image: give a folder, a quoted glob, {', '.join(MANIFESTS)} or -")
    _check_outputs(items, out)
    return items


def shard(items: list[Item], index: int, count: int) -> list[Item]:
    """The ``index``-th (from 1) of ``count`` parts that together are all items."""
    return items[index - 1 :: count]


Row = Mapping[str, Any]


def _rows(source: str, out: Path, stdin: TextIO) -> tuple[Path, list[Row]]:
    """The source's folder and its rows."""
    path = Path(source)
    if source == "-":
        return Path(), [_parsed(line, "standard input") for line in stdin if line.strip()]
    if path.is_dir():
        return path, _files(path.rglob("*"), path, out)
    if path.suffix.lower() in MANIFESTS and path.is_file():
        return path.parent, list(_manifest(path))
    if glob.has_magic(source):
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        return root, _files(map(Path, glob.glob(source, recursive=True)), root, out)
    if path.is_file():
        raise CatalogError(f"{path} is neither a folder nor a manifest: one image is for harmonize run")
    raise CatalogError(f"{path} does not exist: check its name")


def _files(paths: Iterable[Path], root: Path, out: Path) -> list[Row]:
    """The images among the paths, without those of an output folder inside the root."""
    made = Path(os.path.abspath(out))
    results = made if made != Path(os.path.abspath(root)) else None
    found = (Path(os.path.abspath(path)) for path in paths if path.suffix.lower() in IMAGES and path.is_file())
    return [{"image": path} for path in sorted(found) if results not in path.parents and path.name[0] != "."]


def _manifest(path: Path) -> Iterator[Row]:
    try:
        if path.suffix.lower() == ".parquet":
            try:
                from pyarrow import parquet
            except ImportError:
                raise CatalogError(f"{path} needs pyarrow: pip install 'gknet-harmonize[batch]'") from None
            yield from parquet.read_table(path).to_pylist()
            return
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".csv":
                yield from csv.DictReader(file)
            else:
                yield from (_parsed(line, str(path)) for line in file if line.strip())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogError(f"{path} cannot be read ({error}): check it") from error


def _parsed(line: str, source: str) -> Row:
    if not line.lstrip().startswith("{"):
        return {"image": line.rstrip("\r\n")}
    try:
        row: Row = json.loads(line)
    except ValueError as error:
        raise CatalogError(f"{source} has a line that is no JSON ({error}): {line.strip()[:80]}") from error
    return row


def _item(row: Row, root: Path, rule: str | None, strength: float) -> Item:
    if not row.get("image"):
        raise CatalogError(f"a row has no image, only {dict(row)}: the columns are image, mask, output, strength")
    image = Path(os.path.abspath(root / str(row["image"])))
    inside = os.path.relpath(image, root)
    output = Path(os.path.normpath(str(row.get("output") or inside)))
    if output.is_absolute() or output.parts[:1] in ((), ("..",)):
        raise CatalogError(f"{image} is to become {output}, outside the output folder: give an output inside it")
    mask = str(row.get("mask") or "") or (_named(rule, Path(inside)) if rule else "")
    try:
        own = float(strength if row.get("strength") in (None, "") else row["strength"])
    except (TypeError, ValueError):
        own = -1
    if not 0 <= own <= 1:
        raise CatalogError(f"{image} has the strength {row['strength']!r}: give a number from 0 to 1")
    return Item(image, Path(os.path.abspath(root / mask)) if mask else None, output, own)


def _named(rule: str, image: Path) -> str:
    try:
        return rule.format(parent=image.parent, stem=image.stem, name=image.name)
    except (KeyError, IndexError, ValueError) as error:
        raise CatalogError(f"--mask {rule!r} is no rule: the names are {{parent}}, {{stem}} and {{name}}") from error


def _check_outputs(items: list[Item], out: Path) -> None:
    inputs = {os.path.realpath(path) for item in items for path in (item.image, item.mask) if path}
    images: dict[str, Path] = {}
    for item in items:
        output = os.path.realpath(out / item.output)
        if output in inputs:
            raise CatalogError(f"{output} is an input, which would be lost: choose another output folder")
        # Some file systems do not tell a.png from A.png.
        key = output.casefold()
        if key in images:
            raise CatalogError(f"{images[key]} and {item.image} would both become {output}: name outputs in a manifest")
        images[key] = item.image
