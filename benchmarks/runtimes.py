"""The same trained network at 256x256 under other runtimes, number formats and layouts, beside eager torch in fp32 as
the Harmonizer has it.

    python -m pip install onnx onnxscript onnxruntime openvino
    python benchmarks/runtimes.py [--repeat 30] [--data IHARMONY4] [--json FILE]

cpu and wall are medians of runs in random order, so that a busy machine is as busy for each; "x" is cpu over eager
fp32's. cold is the wall time of a process of its own from its first import to its first result, the model exported
already. The differences are in grey levels of 255 over the foregrounds of the data's test lists, and fMSE is the mean
there over eager fp32's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE = 256
NAMES = (
    "torch fp32",
    "torch bf16 autocast",
    "torch fp32, plain layout",
    "onnxruntime fp32",
    "openvino fp32",
    "openvino bf16",
)

Run = Callable[[Any, Any], Any]
"""float32 [1, 3, S, S] and [1, 1, S, S] in 0..1 -> [1, 3, S, S], all numpy."""


def torch_run(name: str) -> Run:
    import torch
    from torch.nn.utils import convert_conv2d_weight_memory_format

    from gknet import Harmonizer
    from gknet.experts import single

    network = single(Harmonizer.load("gknet-lite", "cpu").network)
    if "plain layout" in name:
        convert_conv2d_weight_memory_format(network, torch.contiguous_format)

    def run(composite: Any, mask: Any) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled="bf16" in name):
            return network(torch.from_numpy(composite), torch.from_numpy(mask)).float().numpy()

    return run


def onnx_run(model: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options)
    names = [one.name for one in session.get_inputs()]
    return lambda composite, mask: session.run(None, dict(zip(names, (composite, mask), strict=True)))[0]


def openvino_run(name: str, model: str) -> Run:
    import openvino

    core = openvino.Core()
    properties = {
        "INFERENCE_PRECISION_HINT": name.replace("openvino fp", "f").removeprefix("openvino "),
        "INFERENCE_NUM_THREADS": os.cpu_count() or 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", properties).create_infer_request()
    return lambda composite, mask: request.infer([composite, mask])[0].copy()


def made(name: str, model: str) -> Run:
    """A runtime, ready to run."""
    if name.startswith("torch"):
        return torch_run(name)
    return onnx_run(model) if name.startswith("onnx") else openvino_run(name, model)


def export(model: str) -> None:
    """Write the network as ONNX."""
    import torch

    from gknet import Harmonizer
    from gknet.experts import single

    mask = torch.zeros(1, 1, SIDE, SIDE)
    with torch.no_grad():
        program = torch.onnx.export(
            single(Harmonizer.load("gknet-lite", "cpu").network), (torch.rand(1, 3, SIDE, SIDE), mask), dynamo=True
        )
    assert program is not None
    program.save(model)


def cold(name: str, model: str) -> float:
    """Seconds from the first import to the first result, numpy's own import left out."""
    import numpy as np

    composite, mask = np.full((1, 3, SIDE, SIDE), 0.5, np.float32), np.zeros((1, 1, SIDE, SIDE), np.float32)
    began = time.perf_counter()
    made(name, model)(composite, mask)
    return time.perf_counter() - began


def times(runs: dict[str, Run], repeat: int) -> dict[str, dict[str, float]]:
    """Medians, ms; the first three rounds are not counted."""
    import numpy as np

    ramp = np.linspace(0.1, 0.9, SIDE, dtype=np.float32)
    composite = np.random.default_rng(0).normal(0, 0.03, (1, 3, SIDE, SIDE)).astype(np.float32) + ramp
    mask = np.zeros((1, 1, SIDE, SIDE), np.float32)
    mask[..., SIDE // 4 : 3 * SIDE // 4, SIDE // 4 : 3 * SIDE // 4] = 1
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    order = random.Random(0)  # threads of the one before may still be looking for work
    for _ in range(repeat + 3):
        for name, run in order.sample(list(runs.items()), len(runs)):
            began, used = time.perf_counter(), time.process_time()
            run(composite, mask)
            found[name].append((1000 * (time.process_time() - used), 1000 * (time.perf_counter() - began)))
    return {
        name: dict(zip(("cpu_ms", "wall_ms"), (statistics.median(t) for t in zip(*all_[3:], strict=True)), strict=True))
        for name, all_ in found.items()
    }


def quality(runs: dict[str, Run], data: Path) -> dict[str, dict[str, float]]:
    """Differences from the first run and fMSE over its, on the data's test lists."""
    import numpy as np

    from gknet.data.iharmony4 import read_triples
    from gknet.evaluate import evaluate

    triples = read_triples(data, "test")
    rows: dict[str, dict[str, float]] = {}
    first: list[Any] = []
    for name, run in runs.items():
        foregrounds: list[Any] = []

        def predict(_: Any, composites: Any, masks: Any, run: Run = run, found: list[Any] = foregrounds) -> Any:
            outputs = []
            for composite, mask in zip(composites, masks, strict=True):
                image = np.ascontiguousarray(composite.transpose(2, 0, 1)[None] / np.float32(255))
                output = run(image, mask[None, None].astype(np.float32))[0].transpose(1, 2, 0).clip(0, 1) * 255
                found.append(output[mask])
                outputs.append(output)
            return np.rint(np.stack(outputs)).astype(np.uint8)

        fmse = evaluate(triples, predict, method=name, size=SIDE).rows()["ALL"].fmse_ratio
        first = first or foregrounds
        difference = np.abs(np.concatenate(foregrounds) - np.concatenate(first))
        rows[name] = {"most": float(difference.max()), "mean": float(difference.mean()), "fmse": fmse}
    for row in rows.values():
        row["fmse_to_first"] = row["fmse"] / rows[NAMES[0]]["fmse"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--data", type=Path, metavar="DIR", help="data in iHarmony4's layout, for the differences")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, median of {options.repeat}")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "network.onnx")
        began = time.perf_counter()
        with spawn.Pool(1) as pool:
            pool.apply(export, (model,))
        print(f"exported in {time.perf_counter() - began:.1f} s")
        colds: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(3):
            for name in NAMES:
                with spawn.Pool(1) as pool:
                    colds[name].append(pool.apply(cold, (name, model)))
        runs = {name: made(name, model) for name in NAMES}
        rows: dict[str, dict[str, float]] = times(runs, options.repeat)
        differences = quality(runs, options.data) if options.data else {}
    for name, row in rows.items():
        row |= {"cold_s": statistics.median(colds[name]), "x": row["cpu_ms"] / rows[NAMES[0]]["cpu_ms"]}
        row |= differences.get(name, {})
    heads = {"cpu_ms": 1, "x": 2, "wall_ms": 1, "cold_s": 1, "most": 2, "mean": 3, "fmse": 4, "fmse_to_first": 3}
    shown = {head: digits for head, digits in heads.items() if head in rows[NAMES[0]]}
    print(f"{'':26}" + "".join(f"{head:>14}" for head in shown))
    for name, row in rows.items():
        print(f"{name:26}" + "".join(f"{row[head]:14.{digits}f}" for head, digits in shown.items()))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
