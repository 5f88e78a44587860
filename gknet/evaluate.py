"""Evaluation: `gknet evaluate`, Table 1's columns by sub-set, Table 2's groups by foreground ratio, for any method."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np
import numpy.typing as npt

from gknet import baselines, metrics
from gknet.data.iharmony4 import Triple, find_predictions, open_image, read_triples, resize_image, resize_mask

if TYPE_CHECKING:
    from gknet.harmonizer import Harmonizer

Images = npt.NDArray[np.uint8]
Masks = npt.NDArray[np.bool_]

Predict = Callable[[Sequence[Triple], Images, Masks], Images]
"""A method: triples (for their names), composites uint8 [B, S, S, 3], masks bool [B, S, S] -> harmonized uint8
[B, S, S, 3]."""

GROUPS = {"0-5%": (0.0, 0.05), "5-15%": (0.05, 0.15), "15-100%": (0.15, float("inf"))}
"""Table 2's groups: least foreground ratio (included), greatest (excluded)."""
WORSE = 1.10
"""An image counts as made worse when its fMSE is above this many times its composite's."""


def convention(size: int) -> str:
    """How the figures are taken, in words: written wherever they are written."""
    return (
        f"whole image (fMSE: foreground), peak 255, {size}x{size}, images resized bicubic, masks bicubic and "
        f"thresholded at half, predictions rounded to uint8, an image's PSNR at most {metrics.PSNR_CAP:g} dB, mean "
        "over images; ratios are ratios of those means"
    )


@dataclass(frozen=True)
class Score:
    """One image's figures, and its untouched composite's. MSE and fMSE on the 0..255 scale, PSNR in dB."""

    subset: str
    name: str
    foreground_ratio: float
    mse: float
    fmse: float
    psnr: float
    composite_mse: float
    composite_fmse: float
    composite_psnr: float


@dataclass(frozen=True)
class Row:
    """A row of the table: means over some images. All but ``n`` are NaN where there is no image."""

    n: int
    mse: float
    fmse: float
    psnr: float
    composite_mse: float
    composite_fmse: float
    composite_psnr: float
    worse: float
    """Share of images, 0..1, whose fMSE is above :data:`WORSE` times their composite's."""

    @staticmethod
    def of(scores: Sequence[Score]) -> Row:
        """Means over scores."""
        names = ("mse", "fmse", "psnr", "composite_mse", "composite_fmse", "composite_psnr")
        if not scores:
            return Row(n=0, worse=float("nan"), **dict.fromkeys(names, float("nan")))
        means = {name: float(np.mean([getattr(score, name) for score in scores])) for name in names}
        worse = np.mean([score.fmse > WORSE * score.composite_fmse for score in scores])
        return Row(n=len(scores), worse=float(worse), **means)

    @property
    def fmse_ratio(self) -> float:
        """Mean fMSE divided by the composites' mean fMSE; NaN where those are perfect."""
        return self.fmse / self.composite_fmse if self.composite_fmse else float("nan")

    @property
    def psnr_gain(self) -> float:
        """Mean PSNR less the composites' mean PSNR, dB."""
        return self.psnr - self.composite_psnr


@dataclass(frozen=True)
class Report:
    """A method's figures on a data set."""

    method: str
    size: int
    scores: tuple[Score, ...]

    def rows(self) -> dict[str, Row]:
        """Rows by name: each sub-set in the data's order, ``ALL``, then the groups by foreground ratio."""
        subsets = dict.fromkeys(score.subset for score in self.scores)
        rows = {subset: Row.of([s for s in self.scores if s.subset == subset]) for subset in subsets}
        rows["ALL"] = Row.of(self.scores)
        for name, (least, greatest) in GROUPS.items():
            rows[name] = Row.of([s for s in self.scores if least <= s.foreground_ratio < greatest])
        return rows

    def as_json(self) -> dict[str, Any]:
        """``{"convention", "method": {row: {"n", "mse", "fmse", "psnr"}}, "composite": {same}}``; null where n is 0."""

        def figures(prefix: str) -> dict[str, dict[str, float | None]]:
            return {
                name: {"n": row.n}
                | {key: getattr(row, prefix + key) if row.n else None for key in ("mse", "fmse", "psnr")}
                for name, row in self.rows().items()
            }

        return {"convention": convention(self.size), "method": figures(""), "composite": figures("composite_")}

    def table(self) -> str:
        """The rows as aligned text."""
        lines = [[self.method, "n", "PSNR", "MSE", "fMSE", "fMSE ratio", "gain dB", "worse"]]
        for name, row in self.rows().items():
            cells = [f"{row.psnr:.2f}", f"{row.mse:.2f}", f"{row.fmse:.2f}", f"{row.fmse_ratio:.3f}"]
            cells += [f"{row.psnr_gain:+.2f}", f"{row.worse:.1%}"]
            lines.append([name, str(row.n), *(cells if row.n else ["-"] * 6)])
        first, *others = [max(map(len, column)) for column in zip(*lines, strict=True)]
        form = f"{{:<{first}}}" + "".join(f"  {{:>{width}}}" for width in others)
        return "\n".join(form.format(*line) for line in lines)


@lru_cache(maxsize=512)  # a small benchmark is decoded once a process (230 MB at 256x256); a large one passes through
def _load(triple: Triple, size: int) -> tuple[Images, Masks, Images]:
    """Composite [S, S, 3], mask [S, S], real [S, S, 3]."""
    return (
        resize_image(open_image(triple.composite, "RGB"), size),
        resize_mask(open_image(triple.mask, "L"), size),
        resize_image(open_image(triple.real, "RGB"), size),
    )


def _batches(
    triples: Sequence[Triple], size: int, batch: int, label: str | None
) -> Iterator[tuple[Sequence[Triple], Images, Masks, Images]]:
    from tqdm import tqdm

    # disable=None: no bar where stderr is no terminal
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(triples), desc=label, unit=" images", leave=False, disable=None if label else True) as bar,
    ):
        for start in range(0, len(triples), batch):
            part = triples[start : start + batch]
            composites, masks, reals = zip(*pool.map(lambda triple: _load(triple, size), part), strict=True)
            yield part, np.stack(composites), np.stack(masks), np.stack(reals)
            bar.update(len(part))


def evaluate(
    triples: Sequence[Triple], predict: Predict, *, method: str, size: int = 256, batch: int = 8, progress: bool = False
) -> Report:
    """Score a method on triples, by the convention that :func:`convention` states.

    Args:
        triples: what to score on (gknet.data.iharmony4.read_triples).
        predict: the method.
        method: its name, for the report.
        size: side at which images are compared, pixels.
        batch: images handed to ``predict`` at once.
        progress: show a bar on stderr.

    Raises:
        DataError: a file cannot be read.
        ValueError: ``predict`` gave something else than a harmonized image for each composite.
    """
    scores: list[Score] = []
    for part, composites, masks, reals in _batches(triples, size, batch, method if progress else None):
        composites.setflags(write=False)  # a method must not touch what it is compared with
        harmonized = predict(part, composites, masks)
        if harmonized.dtype != np.uint8 or harmonized.shape != composites.shape:
            raise ValueError(
                f"{method} gave {harmonized.dtype} {harmonized.shape} for composites that are uint8 {composites.shape}"
            )
        figures = [
            figure
            for images in (harmonized, composites)
            for figure in (metrics.mse(images, reals), metrics.fmse(images, reals, masks), metrics.psnr(images, reals))
        ]
        columns = zip(metrics.foreground_ratio(masks).tolist(), *(figure.tolist() for figure in figures), strict=True)
        scores += [Score(triple.subset, triple.name, *column) for triple, column in zip(part, columns, strict=True)]
    return Report(method, size, tuple(scores))


def harmonizer_method(harmonizer: Harmonizer) -> Predict:
    """Weights as a method: each composite harmonized as a document of its size.

    One whose mask is empty or full, so that a user would be told that there is nothing to do, stays as it is.

    Raises:
        ValueError: the network gave a value that is not finite; the message names the image.
    """

    def predict(triples: Sequence[Triple], composites: Images, masks: Masks) -> Images:
        results = []
        for triple, composite, mask in zip(triples, composites, masks, strict=True):
            try:
                result = harmonizer(composite, mask) if mask.any() and not mask.all() else composite
            except ArithmeticError as error:
                raise ValueError(f"{triple.subset}/{triple.name}: {error}") from error
            results.append(np.asarray(result))
        return np.stack(results)

    return predict


def baseline_method(name: str) -> Predict:
    """A built-in baseline (gknet.baselines) as a method."""
    baseline = baselines.BASELINES[name]
    return lambda triples, composites, masks: np.stack([baseline(c, m) for c, m in zip(composites, masks, strict=True)])


def predictions_method(folder: Path, triples: Sequence[Triple]) -> Predict:
    """Another method's results (:func:`gknet.data.iharmony4.find_predictions`) as a method. Files of another size are
    resized bicubic.

    Raises:
        DataError: one is missing, or could belong to two sub-sets.
    """
    found = find_predictions(folder, [(triple.subset, Path(triple.name).stem) for triple in triples])
    files = dict(zip(triples, found, strict=True))

    def predict(triples: Sequence[Triple], composites: Images, masks: Masks) -> Images:
        size = composites.shape[1]
        return np.stack([resize_image(open_image(files[triple], "RGB"), size) for triple in triples])

    return predict


def write_csv(path: Path, reports: Sequence[Report]) -> None:
    """One line an image and method: method, :class:`Score`'s fields, convention."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = [field.name for field in fields(Score)]
        writer.writerow(["method", *names, "convention"])
        for report in reports:
            for score in report.scores:
                writer.writerow([report.method, *(getattr(score, name) for name in names), convention(report.size)])


Kind = Literal["weights", "predictions", "method"]


def _method(kind: Kind, name: str, triples: Sequence[Triple], device: str) -> Predict:
    if kind == "weights":
        from gknet.harmonizer import Harmonizer

        return harmonizer_method(Harmonizer.load(name, device))
    return predictions_method(Path(name), triples) if kind == "predictions" else baseline_method(name)


_OUTPUT = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command("evaluate")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder in iHarmony4's layout; its test lists are scored.",
)
@click.option("--weights", multiple=True, metavar="NAME_OR_FILE", help="Score a network. May be repeated.")
@click.option(
    "--predictions",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Score a folder of results named like the composites, flat or in sub-set folders. May be repeated.",
)
@click.option(
    "--method", multiple=True, type=click.Choice(list(baselines.BASELINES)), help="Score a baseline. May be repeated."
)
@click.option("--csv", "csv_file", type=_OUTPUT, help="Write one line an image and method.")
@click.option("--json", "json_file", type=_OUTPUT, help="Write the means of the one method that is scored.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Where networks run.",
)
@click.option("--size", default=256, show_default=True, type=click.IntRange(min=16), help="Side of the images, pixels.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(min=1), help="Images a step.")
def command(
    data: Path,
    weights: tuple[str, ...],
    predictions: tuple[str, ...],
    method: tuple[str, ...],
    csv_file: Path | None,
    json_file: Path | None,
    device: str,
    size: int,
    batch: int,
) -> None:
    """Score harmonization methods on a folder in iHarmony4's layout.

    The untouched composite is always scored first. Each table has a row for each sub-set, for ALL, and for images whose
    foreground covers 0-5, 5-15 and 15-100 % of the picture; "worse" is the share of images whose fMSE is more than 1.10
    times their composite's. --json takes exactly one method (or none: the composite).
    """
    chosen: dict[tuple[Kind, str], None] = {("method", "composite"): None}
    chosen |= {("method", name): None for name in method}
    chosen |= {("predictions", name): None for name in predictions}
    chosen |= {("weights", name): None for name in weights}
    if json_file and len(chosen) > 2:
        raise click.UsageError(f"--json holds one method's figures, but {len(chosen) - 1} are to be scored")
    for path in (csv_file, json_file):
        if path and not path.parent.is_dir():
            raise click.UsageError(f"{path} cannot be written: there is no folder {path.parent}")
    try:
        triples = read_triples(data, "test")
        # All of them before any is scored: what is wrong with the last one is said at once.
        methods = [(name, _method(kind, name, triples, device)) for kind, name in chosen]
        click.echo(f"{len(triples)} images of {data}\n{convention(size)}")
        reports = []
        for name, predict in methods:
            reports.append(evaluate(triples, predict, method=name, size=size, batch=batch, progress=True))
            click.echo(f"\n{reports[-1].table()}")
        if csv_file:
            write_csv(csv_file, reports)
        if json_file:
            json_file.write_text(json.dumps(reports[-1].as_json(), indent=1) + "\n", encoding="utf-8")
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
