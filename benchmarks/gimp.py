"""What the plug-in itself costs in real GIMP 3: a pasted layer over 24 megapixels, 8 bits.

    python -m benchmarks.gimp [--repeat 5] [--json FILE]

total: a call of the procedure. engine: the daemon's stages, waiting included. gimp: its own calls that read, write and
add pixels, timed in another process of GIMP's. plug-in: the rest, that is starting its process, the way there and back
and all of its Python. Then the processor time of GIMP's own process and of the plug-in's, which other work on the
machine does not change much. Milliseconds. Needs what the tests in tests/editors/gimp need.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import psutil

from backend.link import Client
from benchmarks.editors import PLACE, Rows, main, photographs
from installer.debian import gimp_root
from tests.editors.gimp.session import Gimp, processes
from tests.processes import wait

COLUMNS = ("total", "engine", "gimp", "plug-in", "cpu gimp", "cpu plug-in")


def picture(gimp: Gimp) -> tuple[int, int]:
    """An image of the picture, and its layer with the object."""
    photo, person = photographs()
    image: int = gimp("new", *photo.size)
    gimp("layer", image, "photo", photo.size, "R'G'B' u8", np.asarray(photo).tobytes())
    layer: int = gimp("layer", image, "person", person.size, "R'G'B'A u8", np.asarray(person).tobytes(), PLACE)
    return image, layer


def measure(repeat: int) -> Rows:
    """Harmonize it so often."""
    with tempfile.TemporaryDirectory(prefix="hz", dir=gimp_root() / "tmp") as folder:
        gimp = Gimp(gimp_root(), Path(folder))
        image, layer = picture(gimp)
        gimp("call", image, [layer])  # starts the daemon
        for _ in range(repeat):
            before = processor(gimp)
            status, message, total = gimp("call", image, [layer])
            assert status == "success", message
            wait(lambda: not processes(str(gimp.plug_in / "harmonize_layer.py")))
            after = processor(gimp)
            own, engine = gimp("measure", str(gimp.plug_in), image, layer)
            row = {"total": 1000 * total, "engine": engine, "gimp": 1000 * own}
            row["plug-in"] = row["total"] - row["engine"] - row["gimp"]
            row["cpu gimp"], row["cpu plug-in"] = (late - early for late, early in zip(after, before, strict=True))
            yield row
        gimp.close()
        Client("benchmark", python=None, file=gimp.connection).shutdown()


def processor(gimp: Gimp) -> tuple[float, float]:
    """Milliseconds of GIMP's own process so far, and of its plug-ins that have ended."""
    times = psutil.Process(gimp.process.pid).cpu_times()
    return 1000 * (times.user + times.system), 1000 * (times.children_user + times.children_system)


if __name__ == "__main__":
    main(__doc__, COLUMNS, measure)
