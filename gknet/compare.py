"""`gknet compare A B`: a static page on which people vote, blind, which of two methods' pictures looks more real."""

from __future__ import annotations

import random
import secrets
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
from gknet.data.iharmony4 import DataError, index_images, open_image, read_triples

_SIDE = 640
"""Longest side of a picture on the page, pixels."""


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
        ValueError: there is none of that name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._results = index_images(Path(name)) if Path(name).is_dir() else {}
        self._network = None
        if name not in baselines.BASELINES and not self._results:
            from gknet.harmonizer import Harmonizer

            self._network = Harmonizer.load(name, "auto")

    def __call__(self, composite: Composite) -> Image.Image:
        """The method's picture. Raises DataError where a folder has none, or one of another shape."""
        image = open_image(composite.image, "RGB", upright)
        if self._results:
            result = self._results.get(Path(composite.name).name)
            if result is None:
                raise DataError(f"{self.name} has no picture named {Path(composite.name).name}")
            return open_image(result, "RGB", upright)
        mask = open_image(composite.mask, "L", upright).resize(image.size, Image.Resampling.BICUBIC)
        if self._network is not None:
            harmonized = self._network(image, mask)
            assert isinstance(harmonized, Image.Image)
            return harmonized
        pixels: npt.NDArray[np.uint8] = baselines.BASELINES[self.name](np.asarray(image), np.asarray(mask) > 127)
        return Image.fromarray(pixels)


def write_page(out: Path, composites: list[Composite], methods: list[Method]) -> None:
    """Make the page in a folder: index.html and pictures whose names and order tell nothing.

    Raises:
        DataError: a picture cannot be read or is missing.
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
        write_page(output, read_composites(data), [Method(a), Method(b)])
    except (ValueError, ArithmeticError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"open {output / 'index.html'}")
