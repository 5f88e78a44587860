"""What the way to full size costs in quality: the document harmonized at its own size, against the network's output.

    python benchmarks/native.py --data IHARMONY4 [--weights gknet-lite]

Both are compared at 256x256 with the real photo: the document's result reduced by area, and what the network itself
makes of the reduced document. Also counted: pixels outside the mask that differ, and levels of a 16-bit gradient before
and after.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from gknet import Harmonizer
from gknet.data.iharmony4 import open_image, read_triples
from gknet.upsampling import reduce_area

SIDE = 256


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """dB, of values 0..1."""
    return float(-10 * np.log10(max(float(((one - other) ** 2).mean()), 1e-10)))


def levels(harmonizer: Harmonizer) -> tuple[int, int]:
    """Distinct values of a 16-bit gradient under the foreground, before and after."""
    image = np.zeros((512, 4096, 3), np.uint16)
    image[...] = np.linspace(20000, 24095, 4096).astype(np.uint16)[None, :, None]
    image[:128], image[384:] = (30000, 22000, 15000), (28000, 21000, 16000)
    mask = np.zeros((512, 4096), np.uint8)
    mask[128:384] = 255
    result = np.asarray(harmonizer(image, mask))
    return len(np.unique(image[256, :, 1])), len(np.unique(result[256, :, 1]))


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--weights", default="gknet-lite", show_default=True)
def main(data: Path, weights: str) -> None:
    """Print the figures over the test composites that are larger than the network's picture."""
    harmonizer = Harmonizer.load(weights)
    native, own, before, strays = [], [], [], 0
    for triple in read_triples(data, "test"):
        image, real = (np.asarray(open_image(path, "RGB")) for path in (triple.composite, triple.real))
        mask = np.asarray(open_image(triple.mask, "L"))
        if max(image.shape[:2]) <= SIDE:
            continue
        result = np.asarray(harmonizer(image, mask))
        strays += int((result != image)[mask == 0].any(-1).sum())
        small, truth = reduce_area(image, SIDE), reduce_area(real, SIDE)
        network = harmonizer(small, reduce_area(mask[..., None], SIDE)[..., 0])
        native.append(psnr(reduce_area(result, SIDE), truth))
        own.append(psnr(np.asarray(network), truth))
        before.append(psnr(small, truth))
    print(f"{len(native)} composites {np.mean(before):.2f} dB, own {np.mean(own):.2f}, full size {np.mean(native):.2f}")
    print(f"full size less the network: {np.mean(native) - np.mean(own):+.2f} dB; stray pixels: {strays}")
    print("levels of a 16-bit gradient before and after: {} and {}".format(*levels(harmonizer)))


if __name__ == "__main__":
    main()
