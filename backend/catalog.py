"""What a batch is to do: a folder, a glob, a manifest or standard input as a list of images with masks and outputs."""

from __future__ import annotations

import csv
import glob
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TextIO

from backend import places

if TYPE_CHECKING:
    from backend.places import Place

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

    image: Place
    mask: Place | None
    output: Path
    strength: float


def read(source: str, out: Place, *, rule: str | None, strength: float, stdin: TextIO) -> list[Item]:
    """The items of a batch, in an order that depends on nothing but the source.

    A row of a manifest has ``image`` and may have ``mask``, ``output`` (inside ``out``) and ``strength``; relative
    paths begin at the manifest's folder. A line of standard input is a path, or such a row in JSON. A URL may stand
    wherever a path may, but for ``output``.

    Args:
        source: a folder, a glob pattern, a manifest (:data:`MANIFESTS`), or "-" for ``stdin``.
        out: the output folder. What lies in it is no input.
        rule: where a mask lies that no row names, relative to the source's folder, with {parent}, {stem} and {name} of
            the image; None: the image's alpha is the mask.
        strength: of the rows that name none.

    Raises:
        CatalogError: nothing to do, a row that cannot be read, two items with one output, an output that is an input.
        PlaceError: a URL that cannot be reached.
    """
    root, rows = _rows(source, out, stdin)
    items = [_item(row, root, rule, strength) for row in rows]
    if Path(source).suffix.lower() not in MANIFESTS:  # in which every row is meant
        masks = {item.mask for item in items}
        # A naming rule makes images of masks that lie beside them.
        items = [item for item in items if item.mask == item.image or item.image not in masks]
    if not items:
        raise CatalogError(f"{source} holds no image: give a folder, a quoted glob, {', '.join(MANIFESTS)} or -")
    _check_outputs(items, out)
    return items


def shard(items: list[Item], index: int, count: int) -> list[Item]:
    """The ``index``-th (from 1) of ``count`` parts that together are all items."""
    return items[index - 1 :: count]


Row = Mapping[str, Any]


def _rows(source: str, out: Place, stdin: TextIO) -> tuple[Place, list[Row]]:
    """The source's folder and its rows."""
    if source == "-":
        return Path(), [_parsed(line, "standard input") for line in stdin if line.strip()]
    path = places.place(source) if places.is_url(source) else Path(source)
    if path.is_dir():
        return path, _files(places.files(path), path, out)
    if path.suffix.lower() in MANIFESTS and path.is_file():
        return path.parent, list(_manifest(path))
    if glob.has_magic(source):
        parts = source.split("/") if places.is_url(source) else list(Path(source).parts)
        plain = list(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
        root = places.place("/".join(plain)) if places.is_url(source) else Path(*plain)
        return root, _files(places.matching(root, "/".join(parts[len(plain) :])), root, out)
    if path.is_file():
        raise CatalogError(f"{path} is neither a folder nor a manifest: one image is for harmonize run")
    raise CatalogError(f"{path} does not exist: check its name")


def _files(paths: Iterable[Place], root: Place, out: Place) -> list[Row]:
    """The images among the files, without those of an output folder inside the root."""
    results = out if out != places.place(str(root)) else None
    found = (places.place(str(path)) for path in paths if path.suffix.lower() in IMAGES)
    return [{"image": path} for path in sorted(found) if results not in path.parents and path.name[0] != "."]


def _manifest(path: Place) -> Iterator[Row]:
    try:
        if path.suffix.lower() == ".parquet":
            try:
                from pyarrow import parquet
            except ImportError:
                raise CatalogError(f"{path} needs pyarrow: install the extra [batch] (docs/scale.md)") from None
            with path.open("rb") as table:
                yield from parquet.read_table(table).to_pylist()
            return
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".csv":
                yield from csv.DictReader(file)
            else:
                yield from (_parsed(line, str(path)) for line in file if line.strip())
    except (OSError, ValueError, csv.Error) as error:
        raise CatalogError(f"{path} cannot be read ({error}): check it") from error


def _parsed(line: str, source: str) -> Row:
    if not line.lstrip().startswith("{"):
        return {"image": line.rstrip("\r\n")}
    try:
        row: Row = json.loads(line)
    except ValueError as error:
        raise CatalogError(f"{source} has a line that is no JSON ({error}): {line.strip()[:80]}") from error
    return row


def _item(row: Row, root: Place, rule: str | None, strength: float) -> Item:
    if not row.get("image"):
        raise CatalogError(f"a row has no image, only {dict(row)}: the columns are image, mask, output, strength")
    image = places.place(str(row["image"]), root)
    inside = places.relative(image, root)
    named = str(row.get("output") or inside)
    output = Path(os.path.normpath(named))
    if places.is_url(named) or output.is_absolute() or output.parts[:1] in ((), ("..",)):
        raise CatalogError(f"{image} is to become {named}, outside the output folder: give an output inside it")
    mask = str(row.get("mask") or "") or (_named(rule, inside) if rule else "")
    try:
        own = float(strength if row.get("strength") in (None, "") else row["strength"])
    except (TypeError, ValueError):
        own = -1
    if not 0 <= own <= 1:
        raise CatalogError(f"{image} has the strength {row['strength']!r}: give a number from 0 to 1")
    return Item(image, places.place(mask, root) if mask else None, output, own)


def _named(rule: str, image: str) -> str:
    parent, _, name = image.replace(os.sep, "/").rpartition("/")  # no Path: it would take a URL's // for one /
    try:
        return rule.format(parent=parent or ".", stem=PurePosixPath(name).stem, name=name)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise CatalogError(f"--mask {rule!r} is no rule: the names are {{parent}}, {{stem}} and {{name}}") from error


def _check_outputs(items: list[Item], out: Place) -> None:
    inputs = {_real(place) for item in items for place in (item.image, item.mask) if place}
    images: dict[str, Place] = {}
    for item in items:
        output = _real(out / item.output.as_posix())
        if output in inputs:
            raise CatalogError(f"{output} is an input, which would be lost: choose another output folder")
        # Some file systems do not tell a.png from A.png.
        key = output.casefold()
        if key in images:
            raise CatalogError(f"{images[key]} and {item.image} would both become {output}: name outputs in a manifest")
        images[key] = item.image


def _real(place: Place) -> str:
    return os.path.realpath(place) if isinstance(place, Path) else str(place)
