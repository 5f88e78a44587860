"""Table 4's ablation (paper sec. 4.4) at equal budget: every network sees the same composites, once, in the same order.

python benchmarks/ablation.py --data PHOTOS [--of gknet-lite] [--size 64] [--steps 1500] [--seed 0] [--json FILE]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import click
import torch
from torch import Tensor
from tqdm import tqdm

from gknet import network, variants
from gknet.data.composites import AS_IS, Batch, Composer
from gknet.data.photos import load_photos
from gknet.network import GKNetConfig
from gknet.train import TrainConfig, Trainer

POOLS = {
    "global": replace(AS_IS, photographic=0.0, gradient=0.0),  # the changes are one map of the foreground's colours
    "local": replace(AS_IS, photographic=0.0, gradient=1.0),  # and a light that falls off lies over each
}


def rows_of(name: str) -> dict[str, GKNetConfig]:
    """The networks to compare: Table 4's, and where the network has statistics, those alone and with all."""
    whole = variants.VARIANTS[name]
    paper = replace(whole, statistics_tokens=0, statistics_bins=0, looks=1)
    rows = {
        "baseline": replace(paper, kpb=False, lre=False, scf=False),
        "+ KPB": replace(paper, lre=False, scf=False),
        "+ LRE": replace(paper, scf=False),
        "+ SCF": paper,
    }
    if whole.statistics_tokens:
        with_statistics = replace(whole, looks=1)
        rows["baseline + statistics"] = replace(with_statistics, kpb=False, lre=False, scf=False)
        rows["all + statistics"] = with_statistics
    return rows


@contextmanager
def identity_kernels() -> Iterator[None]:
    """Within it every kernel is the identity: modulation does nothing."""

    def unmodulated(features: Tensor, kernels: Tensor) -> Tensor:
        return features

    with mock.patch.object(network, "modulate", unmodulated):
        yield


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False), help="Photos with masks.")
@click.option("--of", "name", default="gknet-lite", show_default=True, type=click.Choice(["gknet", "gknet-lite"]))
@click.option("--size", default=64, show_default=True, help="Side of the composites, pixels.")
@click.option("--batch", default=32, show_default=True)
@click.option("--steps", default=1500, show_default=True)
@click.option("--lr", default=2e-3, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of the composites.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures here.")
def main(data: str, name: str, size: int, batch: int, steps: int, lr: float, seed: int, path: Path | None) -> None:
    """Print a table: fMSE ratio on composites of 400 held-out photos, as trained and with kernels set to the
    identity."""
    photos, names = load_photos(data, size * 9 // 8)
    training, held = photos.split(400, names)
    pools: dict[str, list[Batch]] = {}
    for pool, config in POOLS.items():
        judge = Composer(held, size=size, config=config)
        pools[pool] = [judge.batch(32, 1_000_000_007 + i) for i in range(20)]
    rows = rows_of(name)
    variants.VARIANTS.update(rows)  # so that the trainer knows them
    trainers = {}
    for row in rows:
        settings = TrainConfig(data=data, out="", model=row, size=size, batch=batch, lr=lr, steps=steps, seed=seed)
        trainers[row] = Trainer(settings, torch.device("cpu"))
    recent = dict.fromkeys(rows, 0.0)
    composer = Composer(training, size=size)
    for step in tqdm(range(steps), desc="train", unit=" steps", disable=None):
        composites = composer.batch(batch, seed * 1_000_003 + step)
        for row, trainer in trainers.items():
            recent[row] += (trainer.train_step(composites) - recent[row]) * max(0.02, 1 / (step + 1))

    figures: list[dict[str, Any]] = []
    for row, trainer in trainers.items():
        parameters = sum(p.numel() for p in trainer.model.parameters())
        found: dict[str, Any] = {"network": row, "parameters_m": parameters / 1e6, "loss": recent[row]}
        for pool, batches in pools.items():
            found[pool], found[f"{pool}_db"] = trainer.validate(batches)
            if rows[row].kpb:
                with identity_kernels():
                    found[f"{pool}_identity"] = trainer.validate(batches)[0]
        figures.append(found)
    click.echo(f"{name} at {size}x{size}, {steps * batch} composites, seed {seed}; fMSE ratio (kernels = identity)")
    for f in figures:
        cells = [f"{f[p]:.4f} {f[f'{p}_db']:+.2f} dB ({f.get(f'{p}_identity', f[p]):.4f})" for p in pools]
        click.echo(f"{f['network']:22} {f['parameters_m']:5.2f} M  loss {f['loss']:.4f}  " + "  ".join(cells))
    if path:
        path.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
