"""`gknet compare A B`: a static page on which people vote, blind, which of two methods' pictures looks more real."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from gknet import baselines
from gknet.data.files import upright
from gknet.data.iharmony4 import DataError, find_predictions, index_images, open_image, read_triples

_SIDE = 640
"""Longest side of a picture on the page, pixels."""
_SHAPE = 0.02
"""Up to which share the ratio of a result's sides may differ from its composite's: sizes are rounded."""


@dataclass(frozen=True)
class Composite:
    """A composite with the name that votes call it by."""

    name: str
    image: Path
    mask: Path


def read_composites(folder: Path) -> list[Composite]:
    """The composites of a folder with ``composites/`` and ``masks/``, of equal names, or in iHarmony4's layout.

    Raises:
        DataError: the folder is neither, or a composite has no mask.
    """
    if not (folder / "composites").is_dir():
        return [Composite(f"{t.subset}/{Path(t.name).stem}", t.composite, t.mask) for t in read_triples(folder, "test")]
    masks = index_images(folder / "masks")
    found = sorted(index_images(folder / "composites").items())
    missing = [name for name, _ in found if name not in masks]
    if missing or not found:
        raise DataError(f"{folder}/masks lacks {', '.join(missing[:5])}" if found else f"{folder}/composites is empty")
    return [Composite(name, image, masks[name]) for name, image in found]


class Method:
    """A method by name: a built-in baseline, a folder of results named like the composites, or weights.

    Raises:
        DataError: the folder lacks a result (:func:`gknet.data.iharmony4.find_predictions`).
        ValueError: there is none of that name.
    """

    def __init__(self, name: str, composites: Sequence[Composite]) -> None:
        self.name = name
        self._results: dict[Composite, Path] = {}
        self._network = None
        if name in baselines.BASELINES:
            return
        if Path(name).is_dir():
            parts = [composite.name.rpartition("/") for composite in composites]
            found = find_predictions(Path(name), [(subset, stem) for subset, _, stem in parts])
            self._results = dict(zip(composites, found, strict=True))
        else:
            from gknet.harmonizer import Harmonizer

            self._network = Harmonizer.load(name, "auto")

    def __call__(self, composite: Composite) -> Image.Image:
        """The method's picture.

        Raises:
            DataError: a file cannot be read, a result is of another shape than its composite, or the composite cannot
                be harmonized; the message names it.
        """
        image = open_image(composite.image, "RGB", upright)
        if self._results:
            result = open_image(self._results[composite], "RGB", upright)
            if abs(result.width / result.height * image.height / image.width - 1) > _SHAPE:
                sizes = f"{result.width}x{result.height}, the composite {image.width}x{image.height}"
                raise DataError(f"{self._results[composite]} is {sizes}: results must be of their composites' shape")
            return result
        mask = open_image(composite.mask, "L", upright).resize(image.size, Image.Resampling.BICUBIC)
        if self._network is not None:
            try:
                harmonized = self._network(image, mask)
            except (ValueError, ArithmeticError) as error:
                raise DataError(f"{composite.name}: {error}") from error
            assert isinstance(harmonized, Image.Image)
            return harmonized
        pixels: npt.NDArray[np.uint8] = baselines.BASELINES[self.name](np.asarray(image), np.asarray(mask) > 127)
        return Image.fromarray(pixels)


def write_page(out: Path, composites: list[Composite], methods: list[Method]) -> None:
    """Make the page in a folder: index.html and pictures whose names and order tell nothing.

    Raises:
        DataError: of :class:`Method`.
        OSError: the folder cannot be written to.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    pairs = []
    for composite in tqdm(composites, unit=" pairs", disable=None):
        pair: dict[str, str] = {}
        for method in random.sample(methods, 2):
            file = f"images/{secrets.token_hex(8)}.jpg"
            picture = method(composite)
            picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            picture.save(out / file, quality=95, subsampling=0)
            pair[file] = method.name
        pairs.append({"image": composite.name, "pictures": pair})
    pages = jinja2.Environment(loader=jinja2.PackageLoader("gknet", "pages"), autoescape=True)
    page = pages.get_template("compare.html").render(pairs=pairs, key=secrets.token_hex(8))
    (out / "index.html").write_text(page, encoding="utf-8")


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with composites/ and masks/, or in iHarmony4's layout.",
)
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER")
def command(a: str, b: str, data: Path, output: Path) -> None:
    """Make a page that shows results of A and B side by side and asks which looks more real.

    A and B are weights, a baseline (composite, reinhard, mkl) or a folder of results named like the composites. Open
    FOLDER/index.html in any browser, also from a web server; what it saves is for `gknet rank`.
    """
    if a == b:
        raise click.UsageError(f"A and B are both {a}: name two methods")
    try:
        composites = read_composites(data)
        write_page(output, composites, [Method(name, composites) for name in (a, b)])
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"open {output / 'index.html'}")
