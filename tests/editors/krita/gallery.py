"""Takes the pictures of the plugin in docs/gallery: `python -m tests.editors.krita.gallery`. Needs openbox."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from backend.link import Client
from backend.link.texts import TEXTS
from tests.editors.krita.photos import ROOT, SRGB
from tests.editors.krita.session import Krita
from tests.processes import stopped

SIZE = (1180, 760)
DOCKER = (914, 384, 1180, 600)


def main() -> None:
    """Menu, docker, progress, result and an error."""
    out = ROOT / "docs" / "gallery"
    out.mkdir(exist_ok=True)
    photo = np.asarray(Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGBA")) / 255
    person = photo.copy()
    person[..., 3] = np.asarray(Image.open(ROOT / "examples" / "astronaut_mask.png").convert("L")) / 255
    height, width = photo.shape[:2]
    rect = [0, 0, width, height]
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Krita(Path(folder))) as krita:
        subprocess.Popen(["openbox"], env={**os.environ, "DISPLAY": krita.display})  # ends with the screen

        def shoot(name: str, box: tuple[int, int, int, int] | None = None) -> None:
            file = Path(folder) / "shot.png"
            krita("screen", path=str(file))
            shot = Image.open(file).convert("RGB").crop(box or (0, 0, *SIZE))
            shot.quantize(256).save(out / f"krita-{name}.png", optimize=True)

        time.sleep(1)
        krita(
            "create",
            width=width,
            height=height,
            model=SRGB.model,
            depth=SRGB.depth,
            profile=SRGB.profile,
            layers=[("Photo", rect, SRGB.encode(photo)), ("Person", rect, SRGB.encode(person))],
        )
        krita("arrange", width=SIZE[0], height=SIZE[1])
        krita("open_menu")
        shoot("menu")
        krita("close_menu")
        krita("harmonize")
        krita("trigger", action="edit_undo")
        worker = Client("gallery", python=None, file=krita.connection).status().workers[0].pid
        krita("pause", milliseconds=6000)  # until the message over the canvas is gone
        krita("start")
        krita("until", fragment=TEXTS["stage.network"])
        with stopped(worker):
            krita("pause", milliseconds=500)
            shoot("progress")
        krita("finish")
        krita("pause", milliseconds=6000)
        shoot("result")
        shoot("docker", DOCKER)
        krita("activate", name="Photo")
        krita("start")
        krita("pause", milliseconds=500)
        shoot("error")
        Client("gallery", python=None, file=krita.connection).shutdown()


if __name__ == "__main__":
    main()
