"""What the plug-in itself costs in real GIMP 3: a pasted layer over 24 megapixels, 8 bits.

    python -m benchmarks.gimp [--repeat 5] [--json FILE]

total: a call of the procedure. engine: the daemon's stages, waiting included. gimp: its own calls that read, write and
add pixels, timed in another process of GIMP's. plug-in: the rest, that is starting its process, the way there and back
and all of its Python. Then the processor time of GIMP's own process and of the plug-in's, which other work on the
machine does not change much. Milliseconds. Needs what the tests in tests/editors/gimp need.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from backend.link import Client
from installer.debian import gimp_root
from installer.environment import ROOT
from tests.editors.gimp.screen import wait
from tests.editors.gimp.session import Gimp, processes

WIDTH, HEIGHT = 6000, 4000
OBJECT = (1920, 2080)  # an eighth of it


def picture(gimp: Gimp) -> tuple[int, int]:
    """An image of an example enlarged to that size, and its layer with the object."""
    folder = ROOT / "examples"
    with Image.open(folder / "astronaut.jpg") as photo, Image.open(folder / "astronaut_mask.png") as mask:
        large = photo.convert("RGB").resize((WIDTH, HEIGHT))
        person = Image.merge("RGBA", [*photo.convert("RGB").split(), mask.convert("L")]).resize(OBJECT)
    image: int = gimp("new", WIDTH, HEIGHT)
    gimp("layer", image, "photo", large.size, "R'G'B' u8", np.asarray(large).tobytes())
    layer: int = gimp("layer", image, "person", person.size, "R'G'B'A u8", np.asarray(person).tobytes(), (2000, 1500))
    return image, layer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    names = ("total", "engine", "gimp", "plug-in", "cpu gimp", "cpu plug-in")
    print(f"{'':8s}" + "".join(f"{name:>12s}" for name in names))
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="hz", dir=gimp_root() / "tmp") as folder:
        gimp = Gimp(gimp_root(), Path(folder))
        image, layer = picture(gimp)
        gimp("call", image, [layer])  # starts the daemon
        for run in range(arguments.repeat):
            before = processor(gimp)
            status, message, total = gimp("call", image, [layer])
            assert status == "success", message
            wait(lambda: not processes(str(gimp.plug_in / "harmonize_layer.py")))
            after = processor(gimp)
            own, engine = gimp("measure", str(gimp.plug_in), image, layer)
            row = {"total": 1000 * total, "engine": engine, "gimp": 1000 * own}
            row["plug-in"] = row["total"] - row["engine"] - row["gimp"]
            row["cpu gimp"], row["cpu plug-in"] = (late - early for late, early in zip(after, before, strict=True))
            show(str(run + 1), row)
            rows.append(row)
        gimp.close()
        Client("benchmark", python=None, file=gimp.connection).shutdown()
    show("median", {name: statistics.median(row[name] for row in rows) for name in rows[0]})
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2), encoding="utf-8")


def processor(gimp: Gimp) -> tuple[float, float]:
    """Milliseconds of GIMP's own process so far, and of its plug-ins that have ended."""
    times = psutil.Process(gimp.process.pid).cpu_times()
    return 1000 * (times.user + times.system), 1000 * (times.children_user + times.children_system)


def show(label: str, row: dict[str, float]) -> None:
    print(f"{label:8s}" + "".join(f"{value:12.0f}" for value in row.values()), flush=True)


if __name__ == "__main__":
    main()
