"""What a batch costs: processor seconds and memory of `harmonize batch` on copies of the examples, by both engines.

    OMP_NUM_THREADS=1 python benchmarks/batch.py [--copies N] [--json FILE]

Local processes share the images as shards; Ray's workers are on a cluster of their own, which runs already. Processor
seconds are what a core that does nothing else would need, so they hold on a busy machine too; images a second by the
clock do not. The processes are looked at every tenth of a second, so of each at most a tenth is missed.
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
FEWER = 34
"""Copies of each that fill a contact sheet, whose pictures cost time as well."""


@dataclass(frozen=True)
class Cost:
    """Of one batch: processor seconds of all processes and of those that were called; seconds by the clock; MB."""

    cpu: float
    called: float
    clock: float
    memory: float


def cost(commands: list[list[str]], environment: dict[str, str], status: int = 0) -> Cost:
    """Run commands side by side, and look at them and at the processes of the cluster, if there is one.

    Args:
        status: the exit status that they are to have.
    """
    before = {process: _seconds(process) for process in psutil.Process().children(recursive=True)}
    start = time.perf_counter()
    called = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    seconds: dict[psutil.Process, float] = {}
    memory = 0
    while any(process.poll() is None for process in called):
        for process in psutil.Process().children(recursive=True):
            try:
                seconds[process] = _seconds(process)
                memory = max(memory, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.1)
    if any(process.returncode != status for process in called):
        raise click.ClickException("a batch did not end as it should")
    spent = {process: total - before.get(process, 0) for process, total in seconds.items()}
    pids = {process.pid for process in called}
    by_called = sum(used for process, used in spent.items() if process.pid in pids)
    return Cost(sum(spent.values()), by_called, time.perf_counter() - start, memory / 2**20)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The address of a Ray cluster with room for so many workers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    started = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield started.address
    finally:
        started.shutdown()


def figures(folder: Path, engine: str, workers: int, copies: int, environment: dict[str, str]) -> dict[str, float]:
    """What an image costs: the difference between fewer and more of them; and what is left, start and contact sheet.

    By the clock, it is all of the larger batch, from the start of the processes to their end.
    """
    costs = []
    for number in (1, FEWER, FEWER + copies):  # the first one warms the cluster up
        photos, out = folder / f"photos-{number}", folder / f"{engine}-{workers}-{number}"
        shards = range(1, workers + 1) if engine == "local" else [1]
        command = [sys.executable, "-m", "backend.cli", "batch", str(photos), "-o", str(out), "--engine", engine]
        command += ["--mask", "{stem}_mask.png", "--device", "cpu"]
        costs.append(cost([[*command, "--shard", f"{index}/{len(shards)}"] for index in shards], environment))
    _, fewer, more = costs
    images = copies * len(NAMES)
    each = (more.cpu - fewer.cpu) / images
    return {
        "cpu_seconds_an_image": each,
        "images_a_second_and_core": 1 / each,
        "clock_images_a_second": (FEWER + copies) * len(NAMES) / more.clock,
        "start_cpu_seconds": fewer.cpu - each * FEWER * len(NAMES),
        "peak_memory_mb": more.memory,
    }


def driver(folder: Path, environment: dict[str, str]) -> float:
    """Processor seconds that handing out an image and noting its outcome take: of images that are not there."""
    costs = []
    for number in (1000, 6000):
        manifest = folder / f"{number}.csv"
        manifest.write_text("\n".join(["image", *(f"{index}.png" for index in range(number))]))
        command = [sys.executable, "-m", "backend.cli", "batch", str(manifest), "-o", str(folder / f"none-{number}")]
        costs.append(cost([[*command, "--engine", "ray", "--device", "cpu"]], environment, status=2))
    fewer, more = costs
    return (more.called - fewer.called) / 5000


@click.command()
@click.option("--copies", default=30, show_default=True, help="How many more copies of each example.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here as well.")
def main(copies: int, json_file: Path | None) -> None:
    """Measure one and two processes, and one and two workers of Ray."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in (1, FEWER, FEWER + copies):
            photos = folder / f"photos-{number}"
            photos.mkdir()
            for copy in range(number):
                for example in NAMES:
                    shutil.copy(EXAMPLES / f"{example}.jpg", photos / f"{example}{copy}.jpg")
                    shutil.copy(EXAMPLES / f"{example}_mask.png", photos / f"{example}{copy}_mask.png")
        for workers in (1, 2):
            found[f"{workers} local"] = figures(folder, "local", workers, copies, dict(os.environ))
            with cluster(workers) as address:
                environment = {**os.environ, "RAY_ADDRESS": address}
                found[f"{workers} by Ray"] = figures(folder, "ray", workers, copies, environment)
                handing = driver(folder, environment) if workers == 2 else 0.0
    click.echo(f"{'':<26}" + "".join(f"{title:>12}" for title in found))
    for row in next(iter(found.values())):
        click.echo(f"{row:<26}" + "".join(f"{column[row]:>12.3f}" for column in found.values()))
    click.echo(f"Ray's driver: {1000 * handing:.2f} ms an image")
    click.echo(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if json_file:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
