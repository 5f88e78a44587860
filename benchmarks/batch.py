"""What a batch costs: processor seconds and memory of `harmonize batch` on copies of the examples, by both engines.

    OMP_NUM_THREADS=1 python benchmarks/batch.py [--copies N] [--json FILE]

Local processes share the images as shards; Ray's workers are on a cluster of their own, which runs already. What an
image costs is seen between a fifth and nine tenths of the images, when all have started and none has ended. Processor
seconds are what a core that does nothing else would need, so they hold on a busy machine too, as far as caches and
memory are not shared; images a second by the clock do not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psutil

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = ("astronaut", "coffee", "raccoon")
BATCH = [sys.executable, "-m", "backend.cli", "batch"]


@dataclass(frozen=True)
class Sample:
    """A moment of a batch: outcomes noted, seconds by the clock, processor seconds of all its processes and of those
    that were called, and the memory of the largest in MB."""

    noted: int
    clock: float
    cpu: float
    called: float
    memory: float


def samples(commands: list[list[str]], out: Path, environment: dict[str, str]) -> Iterator[Sample]:
    """Run commands side by side, and look at them and at the processes of the cluster, if there is one."""
    before = {process: _seconds(process) for process in psutil.Process().children(recursive=True)}
    called = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    pids = {process.pid for process in called}
    cpu: dict[psutil.Process, float] = {}
    while any(process.poll() is None for process in called):
        noted = sum(path.read_bytes().count(b'{"image"') for path in out.glob("harmonize-batch/*.jsonl"))
        memory = 0
        for process in psutil.Process().children(recursive=True):
            try:
                cpu[process] = _seconds(process) - before.get(process, 0)
                memory = max(memory, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        by_called = sum(seconds for process, seconds in cpu.items() if process.pid in pids)
        yield Sample(noted, time.perf_counter(), sum(cpu.values()), by_called, memory / 2**20)
        time.sleep(0.05)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def steady(found: list[Sample], count: int) -> tuple[Sample, Sample]:
    """The first moments when a fifth and when nine tenths of the images were done."""
    first, last = (next(one for one in found if one.noted >= part * count) for part in (0.2, 0.9))
    return first, last


@contextmanager
def cluster(workers: int) -> Iterator[dict[str, str]]:
    """The environment variables that lead to a Ray cluster with room for so many workers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    started = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield {**os.environ, "RAY_ADDRESS": started.address}
    finally:
        started.shutdown()


def figures(
    photos: Path, out: Path, engine: str, workers: int, environment: dict[str, str], *options: str
) -> dict[str, float]:
    """What an image costs."""
    shards = range(1, workers + 1) if engine == "local" else [1]
    command = [*BATCH, str(photos), "-o", str(out), "--engine", engine, "--mask", "{stem}_mask.png", "--device", "cpu"]
    command += options
    found = list(samples([[*command, "--shard", f"{index}/{len(shards)}"] for index in shards], out, environment))
    first, last = steady(found, len(list(photos.glob("*.jpg"))))
    each = (last.cpu - first.cpu) / (last.noted - first.noted)
    return {
        "cpu_seconds_an_image": each,
        "images_a_second_and_core": 1 / each,
        "clock_images_a_second": (last.noted - first.noted) / (last.clock - first.clock),
        "start_cpu_seconds": first.cpu - each * first.noted,
        "peak_memory_mb": max(one.memory for one in found),
    }


def driver(folder: Path, environment: dict[str, str]) -> float:
    """Processor seconds that handing out an image and noting its outcome take: of images that are not there."""
    manifest, out, count = folder / "none.csv", folder / "none", 6000
    manifest.write_text("\n".join(["image", *(f"{index}.png" for index in range(count))]))
    command = [*BATCH, str(manifest), "-o", str(out), "--engine", "ray", "--device", "cpu"]
    first, last = steady(list(samples([command], out, environment)), count)
    return (last.called - first.called) / (last.noted - first.noted)


@click.command()
@click.option("--copies", default=60, show_default=True, help="Copies of each of the three examples.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here as well.")
def main(copies: int, json_file: Path | None) -> None:
    """Measure one and two processes, and one and two workers of Ray."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos"
        photos.mkdir()
        for copy in range(copies):
            for example in NAMES:
                shutil.copy(EXAMPLES / f"{example}.jpg", photos / f"{example}{copy}.jpg")
                shutil.copy(EXAMPLES / f"{example}_mask.png", photos / f"{example}{copy}_mask.png")
        found["1 --pasted"] = figures(photos, folder / "pasted", "local", 1, dict(os.environ), "--pasted")
        for workers in (1, 2):
            title = f"{workers} local"
            found[title] = figures(photos, folder / title, "local", workers, dict(os.environ))
            with cluster(workers) as environment:
                title = f"{workers} by Ray"
                found[title] = figures(photos, folder / title, "ray", workers, environment)
                if workers == 2:
                    handing = driver(folder / title, environment)
    click.echo(f"{'':<26}" + "".join(f"{title:>12}" for title in found))
    for row in next(iter(found.values())):
        click.echo(f"{row:<26}" + "".join(f"{column[row]:>12.3f}" for column in found.values()))
    click.echo(f"Ray's driver, with two workers: {1000 * handing:.2f} ms an image")
    click.echo(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if json_file:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
