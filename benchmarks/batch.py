"""What a batch costs: processor seconds and memory of `harmonize batch` on copies of the examples.

    OMP_NUM_THREADS=1 python benchmarks/batch.py [--copies N] [--json FILE]

Processor seconds are what a core that does nothing else would need, so they hold on a busy machine too; images a
second by the clock do not.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = ("astronaut", "coffee", "raccoon")


def measure(folder: Path, copies: int) -> dict[str, float]:
    """One process on `copies` of each example: processor seconds, seconds by the clock, peak memory in MB."""
    photos = folder / f"photos-{copies}"
    photos.mkdir()
    for number in range(copies):
        for name in NAMES:
            shutil.copy(EXAMPLES / f"{name}.jpg", photos / f"{name}{number}.jpg")
            shutil.copy(EXAMPLES / f"{name}_mask.png", photos / f"{name}{number}_mask.png")
    command = [sys.executable, "-m", "backend.cli", "batch", str(photos), "-o", str(folder / f"out-{copies}")]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "--mask", "{stem}_mask.png", "--device", "cpu"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "images": copies * len(NAMES),
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "clock": time.perf_counter() - start,
        "memory": after.ru_maxrss / 1024,
    }


@click.command()
@click.option("--copies", default=10, show_default=True, help="Copies of each of the three examples.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here as well.")
def main(copies: int, json_file: Path | None) -> None:
    """Measure one process, with OMP_NUM_THREADS threads for the network."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = measure(Path(folder), 1), measure(Path(folder), copies)
    images = many["images"] - few["images"]
    each = (many["cpu"] - few["cpu"]) / images
    figures = {
        "cpu_seconds_an_image": each,
        "images_a_second_and_core": 1 / each,
        "clock_images_a_second": images / (many["clock"] - few["clock"]),
        "start_cpu_seconds": few["cpu"] - each * few["images"],
        "peak_memory_mb": many["memory"],
        "cores": len(os.sched_getaffinity(0)),
    }
    for name, value in figures.items():
        click.echo(f"{name:<28}{value:10.3f}")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
