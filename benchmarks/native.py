"""What the document's own size is worth: composites harmonized as the editors do it, against 256x256 as in the paper.

    python benchmarks/native.py --data IHARMONY4 [--weights gknet-lite]

Both are compared at 256x256 with the real photo: the document harmonized at its own size and then reduced, and the
reduced document, harmonized. Also counted: pixels outside the mask that differ, and levels of a 16-bit
gradient before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from PIL import Image

from gknet import Harmonizer
from gknet.data.iharmony4 import Triple, open_image, read_triples, resize_image
from gknet.evaluate import Images, Masks, evaluate, harmonizer_method


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
    """Print both tables and the counts."""
    harmonizer, triples, strays = Harmonizer.load(weights, "cpu"), read_triples(data, "test"), 0

    def documents(triples: Sequence[Triple], composites: Images, masks: Masks) -> Images:
        nonlocal strays
        results = []
        for triple in triples:
            image, mask = np.asarray(open_image(triple.composite, "RGB")), np.asarray(open_image(triple.mask, "L"))
            result = np.asarray(harmonizer(image, mask))
            strays += int((result != image)[mask == 0].any(-1).sum())
            results.append(resize_image(Image.fromarray(result), composites.shape[1]))
        return np.stack(results)

    print(evaluate(triples, harmonizer_method(harmonizer), method="256x256").table())
    print(evaluate(triples, documents, method="documents").table())
    print(f"pixels outside of a mask that differ: {strays}")
    print("levels of a 16-bit gradient before and after: {} and {}".format(*levels(harmonizer)))


if __name__ == "__main__":
    main()
