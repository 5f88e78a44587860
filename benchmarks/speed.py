"""Time and memory of the Harmonizer from array in to array out, beside what a user would pick instead.

    python -m pip install opencv-python-headless
    python benchmarks/speed.py [--repeat 20] [--only TEXT] [--json FILE]

Beside it: a bare copy of the pixels (the floor), Reinhard's colour transfer (8-bit Lab and a table a channel, OpenCV)
and OpenCV's seamlessClone. Each case runs in a process of its own, so that its peak memory is its own; "above" is what
the peak exceeds the idle process and the arrays (image, mask, result) by. wall and p95 are the median and the 95th
percentile, cpu is the median of the process's time on all cores; "x" is cpu over that of the copy and of Reinhard.

"ours, pasted" is a foreground that is known to be a paste, as the editors' layers are; of the others the seam is asked.

The last table is from file to file: decode, harmonize, encode, as `harmonize run` does them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SQUARES = (256, 512, 1024, 2048, 4096)
SIZES = {**{str(side): (side, side) for side in SQUARES}, "24 MP": (4000, 6000), "100 MP": (8660, 11547)}
DTYPES = {"u8": "uint8", "u16": "uint16", "f32": "float32"}
SHARES = (0.05, 0.25, 1.0)
METHODS = ("copy", "reinhard", "seamlessClone", "ours", "ours, pasted")
LARGEST_CLONE = 5000 * 5000
FILES = [("2048", "jpg", "u8"), ("24 MP", "jpg", "u8"), ("24 MP", "png", "u8"), ("24 MP", "tif", "u16")]


def picture(size: str, dtype: str, share: float) -> tuple[Any, Any]:
    """A photograph's like, RGB, and a mask with a rectangular foreground that covers ``share`` of it."""
    import numpy as np

    height, width = SIZES[size]
    tile = np.random.default_rng(0).normal(0, 0.03, (256, 256, 3)) + 0.5
    tile += np.linspace(-0.3, 0.3, 256)[None, :, None]
    scale = 1 if dtype == "f32" else np.iinfo(DTYPES[dtype]).max
    tile = (np.clip(tile, 0, 1) * scale).astype(DTYPES[dtype])
    repeats = (-(-height // 256), -(-width // 256), 1)
    image = np.ascontiguousarray(np.tile(tile, repeats)[:height, :width])
    mask = np.zeros((height, width), np.uint8)
    mask[height - round(height * share**0.5) :, width - round(width * share**0.5) :] = 255
    mask[:2] = mask[:, :2] = 0  # some background, even at share 1
    return image, mask


def reinhard(image: Any, mask: Any) -> Any:
    """The foreground takes the background's mean and deviation in 8-bit Lab, by a table a channel."""
    import cv2
    import numpy as np

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    (mean, deviation), (target, spread) = (cv2.meanStdDev(lab, mask=part) for part in (mask, cv2.bitwise_not(mask)))
    levels = np.arange(256)[:, None]
    table = (levels - mean.T) * (spread / np.maximum(deviation, 1e-3)).T + target.T
    changed = cv2.cvtColor(cv2.LUT(lab, np.clip(np.rint(table), 0, 255).astype(np.uint8)[None]), cv2.COLOR_LAB2RGB)
    result = image.copy()
    cv2.copyTo(changed, mask, result)
    return result


def clone(image: Any, mask: Any) -> Any:
    """Poisson blending of the foreground into its own place."""
    import cv2

    x, y, width, height = cv2.boundingRect(mask)
    return cv2.seamlessClone(image, image, mask, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)


def peak() -> float:
    """Most memory that this process has had, MB."""
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss: bytes there, KB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(method: str, size: str, dtype: str, share: float, repeat: int) -> dict[str, Any]:
    """Milliseconds and MB of one case; stages are the Harmonizer's own medians."""
    import numpy as np

    stages: list[dict[str, float]] = []
    work: Callable[[Any, Any], Any]
    if method.startswith("ours"):
        from gknet import Harmonizer

        harmonizer = Harmonizer.load()

        def work(image: Any, mask: Any) -> Any:
            done = harmonizer.harmonize(image, mask, pasted=True if method == "ours, pasted" else None)
            stages.append(done.timings)
            return done.image
    else:
        work = {"copy": lambda image, mask: image.copy(), "reinhard": reinhard, "seamlessClone": clone}[method]
    work(*picture("512", dtype, 0.25))
    stages.clear()
    idle = peak()
    image, mask = picture(size, dtype, share)
    wall, cpu = [], []
    for _ in range(repeat + 1):
        began, used = time.perf_counter(), time.process_time()
        work(image, mask)
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - used))
    arrays = (2 * image.nbytes + mask.nbytes) / 1e6
    return {
        "wall_ms": float(np.median(wall[1:])),
        "p95_ms": float(np.percentile(wall[1:], 95)),
        "cpu_ms": float(np.median(cpu[1:])),
        "above_mb": max(0.0, peak() - idle - arrays),
        "stages_ms": {name: float(np.median([one[name] for one in stages[1:]])) for name in (stages or [{}])[-1]},
    }


def from_file_to_file(size: str, suffix: str, dtype: str, repeat: int) -> dict[str, float]:
    """Medians of decode, harmonize and encode, ms."""
    import numpy as np

    from backend import engine, images

    image, mask = picture(size, dtype, 0.25)
    network = engine.Network("auto", "auto")
    times: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        source, out = (Path(folder) / f"{name}.{suffix}" for name in ("in", "out"))
        images.write(source, images.Picture(image))
        for _ in range(repeat + 1):
            began = time.perf_counter()
            pixels = images.read(source).pixels
            decoded = time.perf_counter()
            harmonized = network(pixels, mask, icc=None)
            result = engine.blend(pixels, mask, harmonized, 1.0)
            done = time.perf_counter()
            images.write(out, images.Picture(result))
            times.append((decoded - began, done - decoded, time.perf_counter() - done))
    decode, harmonize, encode = (1000 * np.median(times[1:], axis=0)).tolist()
    return {"decode_ms": decode, "harmonize_ms": harmonize, "encode_ms": encode}


def in_own_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def cases(only: str) -> list[tuple[str, str, float]]:
    """Every size with 8 bits and a quarter; the other depths and shares at 1024 and 24 megapixels."""
    found = [(size, "u8", 0.25) for size in SIZES]
    for size in ("1024", "24 MP"):
        found += [(size, dtype, 0.25) for dtype in DTYPES if dtype != "u8"]
        found += [(size, "u8", share) for share in SHARES if share != 0.25]
    return [case for case in found if only in named(*case)]


def named(size: str, dtype: str, share: float) -> str:
    return f"{size} {dtype} {share:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains this, such as '24 MP'")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, median of {options.repeat}")
    print(f"{'':16}{'':15}{'wall':>8}{'p95':>8}{'cpu':>8}{'above MB':>10}{'x copy':>9}{'x Reinh.':>9}  stages, wall ms")
    rows: list[dict[str, Any]] = []
    for size, dtype, share in cases(options.only):
        floor: dict[str, float] = {}
        for method in METHODS:
            height, width = SIZES[size]
            is_left_out = method == "seamlessClone" and height * width * share > LARGEST_CLONE / 4
            if (method in ("reinhard", "seamlessClone") and dtype != "u8") or is_left_out:
                continue
            row = in_own_process(measure, method, size, dtype, share, options.repeat)
            floor[method] = row["cpu_ms"]
            rows.append({"case": named(size, dtype, share), "method": method, **row})
            ratios = "".join(
                f"{row['cpu_ms'] / floor[other]:9.1f}" if floor.get(other) else f"{'':9}"
                for other in ("copy", "reinhard")
            )
            stages = " ".join(f"{name} {value:.0f}" for name, value in row["stages_ms"].items())
            figures = f"{row['wall_ms']:8.1f}{row['p95_ms']:8.1f}{row['cpu_ms']:8.1f}{row['above_mb']:10.0f}"
            print(f"{named(size, dtype, share):16}{method:15}{figures}{ratios}  {stages}", flush=True)
    for size, suffix, dtype in FILES:
        if options.only in f"{size} {suffix}":
            row = in_own_process(from_file_to_file, size, suffix, dtype, max(3, options.repeat // 4))
            rows.append({"case": f"{size} {suffix} {dtype}", "method": "file to file", **row})
            print(
                f"{size:7}{suffix} {dtype}: " + ", ".join(f"{name[:-3]} {value:.0f} ms" for name, value in row.items())
            )
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
