"""Parameters, operations and time of every network variant at 256x256.

python benchmarks/variants.py [--repeat 20] [--json FILE]
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from gknet import variants


@click.command()
@click.option("--repeat", default=20, show_default=True, help="Timed runs of each, after three to warm up.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures here.")
def main(repeat: int, path: Path | None) -> None:
    """Print a table. Untrained weights: neither figure depends on them. FLOP = 2 x multiply-adds of convolutions and
    matrix products; kernel modulation is added by its definition."""
    rows = []
    for name in variants.VARIANTS:
        model = variants.create(name).eval()
        config = model.config
        composite, mask = torch.rand(1, 3, 256, 256), torch.zeros(1, 1, 256, 256)
        mask[..., 64:192, 64:192] = 1
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model(composite, mask)
        finest = min(256, config.trunk or 256) // config.unshuffle
        sides = [finest >> level for level in range(len(config.widths))][::-1]
        modulation = sum(2 * w * config.kernel**2 * s * s for w, s in zip(config.decoded_widths, sides, strict=False))
        wall, cpu = [], []
        with torch.inference_mode():
            for i in range(repeat + 3):
                began, used = time.perf_counter(), time.process_time()
                model(composite, mask)
                if i >= 3:
                    wall.append(1000 * (time.perf_counter() - began))
                    cpu.append(1000 * (time.process_time() - used))
        rows.append(
            {
                "variant": name,
                "parameters_m": sum(p.numel() for p in model.parameters()) / 1e6,
                "gflop": (counter.get_total_flops() + modulation * config.kpb) / 1e9,
                "wall_ms": statistics.median(wall),
                "cpu_ms": statistics.median(cpu),
            }
        )
    click.echo(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch 1, fp32, median of {repeat}")
    click.echo(f"{'variant':16} {'M params':>9} {'GFLOP':>7} {'wall ms':>8} {'cpu ms':>7}")
    for r in rows:
        click.echo(
            f"{r['variant']:16} {r['parameters_m']:9.2f} {r['gflop']:7.2f} {r['wall_ms']:8.0f} {r['cpu_ms']:7.0f}"
        )
    if path:
        path.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
