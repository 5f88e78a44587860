"""Time and memory of the Harmonizer, stage by stage, array in to array out.

    python benchmarks/full_size.py [--variant gknet-lite] [--repeat 5] [--share 0.25] [--json FILE]

Each case runs in a process of its own, so that its peak memory is its own. "above arrays" is what the peak exceeds the
idle engine and the three arrays (image, mask, result) by. Weights do not matter to speed: the network is untrained.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from typing import Any

CASES = [
    ("256x256 8-bit", 256, 256, "uint8"),
    ("1024x1024 8-bit", 1024, 1024, "uint8"),
    ("24 MP 8-bit", 4000, 6000, "uint8"),
    ("24 MP 16-bit", 4000, 6000, "uint16"),
    ("24 MP float", 4000, 6000, "float32"),
]
STAGES = ("check", "reduce", "network", "fit", "apply")


def measure(variant: str, height: int, width: int, dtype: str, share: float, repeat: int) -> dict[str, Any]:
    """Medians in ms, memory in MB, for an RGB image with a rectangular foreground that covers ``share`` of it."""
    import resource

    import numpy as np

    from gknet import variants
    from gknet.harmonizer import Harmonizer

    def peak() -> float:
        unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss: bytes there, KB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

    harmonizer = Harmonizer(network=variants.create(variant).eval(), model=variant, device="cpu")
    small = np.zeros((512, 512, 3), np.uint8)
    harmonizer(small, np.arange(512) % 2 * np.ones((512, 1)) > 0)
    idle = peak()

    scale = 1 if dtype == "float32" else np.iinfo(dtype).max
    ramp = np.linspace(0, scale, width).astype(dtype)
    image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)))
    mask = np.zeros((height, width), np.uint8)
    mask[height - round(height * share**0.5) :, width - round(width * share**0.5) :] = 255
    mask[0] = 0  # some background, even at share 1

    timings, wall, processor = [], [], []
    for _ in range(repeat + 1):
        before = time.perf_counter(), time.process_time()
        timings.append(harmonizer.harmonize(image, mask).timings)
        wall.append((time.perf_counter() - before[0]) * 1000)
        processor.append((time.process_time() - before[1]) * 1000)
    arrays = (2 * image.nbytes + mask.nbytes) / 1e6
    return {
        "wall_ms": statistics.median(wall[1:]),
        "processor_ms": statistics.median(processor[1:]),
        "stages_ms": {stage: statistics.median(t[stage] for t in timings[1:]) for stage in STAGES},
        "peak_mb": peak(),
        "above_arrays_mb": max(0.0, peak() - idle - arrays),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="gknet-lite")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.25, help="share of the image that is foreground")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()

    print(
        f"{'ms':<16} {'wall':>7} {'cpu':>7}  "
        + " ".join(f"{stage:>8}" for stage in STAGES)
        + "    peak MB  above arrays"
    )
    results = {}
    for name, *case in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(measure, (options.variant, *case, options.share, options.repeat))
        results[name] = result
        stages = " ".join(f"{result['stages_ms'][stage]:8.1f}" for stage in STAGES)
        print(
            f"{name:<16} {result['wall_ms']:7.1f} {result['processor_ms']:7.1f}  {stages} "
            f"{result['peak_mb']:10.0f} {result['above_arrays_mb']:13.0f}",
            flush=True,
        )
    if options.json:
        about = {"variant": options.variant, "share": options.share, "machine": platform.machine(), "results": results}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(about, file, indent=1)


if __name__ == "__main__":
    main()
