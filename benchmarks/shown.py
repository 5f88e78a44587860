"""What the benchmarks of what the network is shown share: composites of held-out photos, and how errors are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import torch
from numpy.typing import ArrayLike
from quality import AS_IS, PASTED, SIZE, draw, joined

from gknet import Harmonizer
from gknet.data.composites import Batch
from gknet.data.photos import load_photos
from gknet.evaluate import WORSE

Lines = Callable[[Harmonizer, Batch, bool], Iterator[str]]
"""A harmonizer, composites and whether they are pasted -> lines to print."""


def left(before: ArrayLike, after: ArrayLike) -> str:
    """Of errors what is left, and how many composites come out worse."""
    untouched, harmonized = (torch.as_tensor(errors) for errors in (before, after))
    worse = (harmonized > WORSE * untouched).float().mean()
    return f"{harmonized.sum() / untouched.sum():.3f} ({worse:.0%} worse)"


def command(lines: Lines, *, seed: int, in_place: bool = True) -> click.Command:
    """The command that prints these lines, of known pastes and, ``in_place``, of what was changed where it stands."""

    @click.command()
    @click.option("--photos", required=True, type=click.Path(exists=True, path_type=Path), help="Those of training.")
    @click.option("--weights", default="gknet-lite", show_default=True)
    @click.option("--batches", default=2, show_default=True, help="Of 32 composites, of either kind of change.")
    def main(photos: Path, weights: str, batches: int) -> None:
        """Print a line for each kind of picture."""
        harmonizer = Harmonizer.load(weights, "cpu")
        data, names = load_photos(photos, SIZE)
        _, held = data.split(400, names)
        for kind, pasted in (("known pastes", True), ("changed in place", False))[: 1 + in_place]:
            config = PASTED if pasted else AS_IS
            batch = joined([draw(held, replace(config, photographic=share), batches, seed) for share in (0.0, 1.0)])
            for line in lines(harmonizer, batch, pasted):
                click.echo(f"{kind:17} {line}")

    return main
