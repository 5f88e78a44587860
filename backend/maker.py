"""One image of a batch: read, harmonized and written. This is the same wherever it happens.

Reading, network and writing are those of `harmonize run`, so every output has the bytes that it would have had there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from backend import composite, images, ledger, places
from backend.catalog import Item
from backend.composite import Composite
from backend.engine import Harmonized, Network
from backend.ledger import Entry

if TYPE_CHECKING:
    from backend.places import Place

_GRID = 512


@dataclass(frozen=True)
class Task:
    """What is to be made.

    Attributes:
        output: where it belongs.
        previous: what is noted of an output there.
    """

    item: Item
    output: Place
    previous: Entry | None


@dataclass(frozen=True)
class Made:
    """An output that is in its place.

    Attributes:
        was_there: and had been there already.
        note: what its format could not keep, in a sentence.
        seconds: what reading, network and writing took.
        again: how often it was begun by a process that died.
    """

    entry: Entry
    was_there: bool = False
    note: str | None = None
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    again: int = 0


@dataclass(frozen=True)
class Failed:
    """An item that cannot be made, and why; `again` as in :class:`Made`."""

    reason: str
    again: int = 0


Outcome = Made | Failed


class Maker:
    """Makes outputs, in as many threads as call it: while one has the network, others read and write.

    Args:
        staging: where outputs are written before they are put into their places.
    """

    def __init__(self, network: Network, staging: Place) -> None:
        self._network = network
        self._identity = network.identity
        self._staging = staging
        # Always the same thread: each one that calls torch would get a pool of threads of its own.
        self._one = ThreadPoolExecutor(1)

    def __call__(self, task: Task) -> Outcome:
        """Make one output, unless it is there already and of the same.

        An item fails by an ImageFileError, ValueError, OSError, libvips error, lack of memory, a network that gives no
        numbers or an error of torch's; whatever else is raised is a fault of ours.
        """
        try:
            return self._make(task)
        except (ValueError, ArithmeticError, OSError, MemoryError, RuntimeError, pyvips.Error) as error:
            return Failed(str(error) or type(error).__name__)

    def _make(self, task: Task) -> Made:
        item, output = task.item, task.output
        start = time.perf_counter()
        with _local(item) as (image, mask):
            key = ledger.key(image, mask, item.strength, self._identity)
            if task.previous and task.previous.key == key and _is_untouched(output, task.previous):
                return Made(task.previous, was_there=True)
            places.make_folder(output.parent)
            if isinstance(output, Path):
                images.check_output(output, inputs=[image, *([mask] if mask else [])])
            given = composite.read(image, mask)
        note = images.losses(item.output, given.picture)
        reading = time.perf_counter() - start
        harmonized, network = self._one.submit(self._harmonize, given).result()
        start = time.perf_counter()
        picture = given.with_colours(harmonized, item.strength)
        with places.aside(output, self._staging) as written:
            images.write(written, picture)
            content = ledger.digest(written)
        entry = Entry(str(item.image), str(output), key, content, _change(given, picture), time.time())
        return Made(entry, note=note, seconds=(reading, network, time.perf_counter() - start))

    def _harmonize(self, given: Composite) -> tuple[Harmonized, float]:
        start = time.perf_counter()
        harmonized = self._network(given.seen, given.foreground, icc=given.picture.icc)
        return harmonized, time.perf_counter() - start


@contextmanager
def _local(item: Item) -> Iterator[tuple[Path, Path | None]]:
    """Image and mask as local files, whose names no error tells if they are copies."""
    with places.local(item.image) as image, places.local(item.mask) if item.mask else nullcontext() as mask:
        try:
            yield image, mask
        except images.ImageFileError as error:
            text = str(error).replace(str(image), str(item.image))
            raise images.ImageFileError(text.replace(str(mask), str(item.mask)) if mask else text) from error


def _is_untouched(output: Place, entry: Entry) -> bool:
    try:
        with places.local(output) as path:
            return ledger.digest(path) == entry.digest
    except OSError:
        return False


def _change(before: Composite, after: images.Picture) -> float:
    """Mean change of the foreground, 0..1 of the range from black to white, on a grid of pixels."""
    height, width = before.foreground.shape
    grid = (slice(None, None, -(-height // _GRID)), slice(None, None, -(-width // _GRID)))
    old, new = (picture.colour[grid].astype(np.float32) for picture in (before.picture, after))
    difference = np.abs(new - old).reshape(*old.shape[:2], -1)[before.foreground[grid] > 0]
    return float(difference.mean() / images.WHITE[after.pixels.dtype.name]) if difference.size else 0.0
