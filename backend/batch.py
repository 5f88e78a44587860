"""Many images through one network: while it works on one, threads read the next and write the last.

Reading, network and writing are those of `harmonize run`, so every output has the bytes that it would have had there.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyvips
from tqdm import tqdm

from backend import composite, images
from backend.catalog import Item
from backend.composite import Composite
from backend.engine import Harmonized, Network
from backend.ledger import Entry, Ledger, digest, key

_GRID = 512


@dataclass
class Summary:
    """What a batch came to.

    Attributes:
        done: outputs that were made, and those that were there already.
        failed: items that failed.
        skipped: how many of `done` were there already.
        seconds: what reading, network and writing took, each added up over all images; they overlap.
        wall: seconds from the first image to the last.
        notes: what the formats of outputs could not keep, a sentence each.
    """

    done: list[Entry] = field(default_factory=list)
    failed: int = 0
    skipped: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"reading": 0.0, "network": 0.0, "writing": 0.0})
    wall: float = 0.0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        made = len(self.done) - self.skipped
        rate = f", {made / self.wall:.2f} images a second" if made and self.wall else ""
        lines = [f"{made} done, {self.skipped} were done already, {self.failed} failed; {self.wall:.1f} s{rate}"]
        if made:
            each = (f"{name} {1000 * seconds / made:.0f} ms" for name, seconds in self.seconds.items())
            lines.append(f"an image took: {', '.join(each)} (side by side)")
        for entry in sorted(self.done, key=lambda entry: -entry.change)[:5]:
            lines.append(f"changed by {entry.change:.1%}: {entry.output}")
        if self.notes:
            lines.append(f"{len(self.notes)} outputs lost depth, such as {self.notes[0]}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Read:
    key: str
    composite: Composite
    note: str | None
    seconds: float


def run(items: list[Item], ledger: Ledger, network: Network, *, stop: bool) -> Summary:
    """Harmonize the items and note each in the ledger.

    Args:
        stop: at the first failure, when what was begun is finished; else a failure concerns nobody but its item.

    An item fails by an ImageFileError, ValueError, OSError, libvips error or lack of memory; whatever else is raised is
    a fault of ours and ends the batch.
    """
    summary = Summary()
    start = time.perf_counter()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    writing: deque[tuple[Item, Future[tuple[Entry, float]]]] = deque()
    # disable=None: no bar where stderr is no terminal
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(items), unit=" images", disable=None) as bar:

        def failed(item: Item, error: Exception) -> None:
            summary.failed += 1
            ledger.failed(item, str(error) or type(error).__name__)
            bar.set_postfix(failed=summary.failed)
            bar.update()

        def settle() -> None:
            item, future = writing.popleft()
            try:
                entry, seconds = future.result()
            except _FAILURES as error:
                failed(item, error)
                return
            ledger.done(entry)
            summary.done.append(entry)
            summary.seconds["writing"] += seconds
            bar.update()

        for item, reading in _ahead(items, ledger, network.identity, pool, threads):
            try:
                read = reading.result()
                if isinstance(read, Entry):
                    summary.done.append(read)
                    summary.skipped += 1
                    bar.update()
                    continue
                began = time.perf_counter()
                given = read.composite
                harmonized = network(given.seen, given.foreground, icc=given.picture.icc)
            except _FAILURES as error:
                failed(item, error)
            else:
                summary.seconds["reading"] += read.seconds
                summary.seconds["network"] += time.perf_counter() - began
                summary.notes += [read.note] if read.note else []
                writing.append((item, pool.submit(_write, item, ledger, read, harmonized)))
            while len(writing) > threads:
                settle()
            if stop and summary.failed:
                break
        while writing:
            settle()
        pool.shutdown(cancel_futures=True)
    summary.wall = time.perf_counter() - start
    return summary


_FAILURES = (ValueError, OSError, MemoryError, pyvips.Error)


def _ahead(
    items: list[Item], ledger: Ledger, network: str, pool: ThreadPoolExecutor, count: int
) -> Iterator[tuple[Item, Future[_Read | Entry]]]:
    """Each item with its reading, of which `count` are under way or finished beyond the one that is asked for."""
    reading: deque[tuple[Item, Future[_Read | Entry]]] = deque()
    for item in items:
        reading.append((item, pool.submit(_read, item, ledger, network)))
        if len(reading) > count:
            yield reading.popleft()
    yield from reading


def _read(item: Item, ledger: Ledger, network: str) -> _Read | Entry:
    """The composite, or the entry of an output that needs no making again."""
    start = time.perf_counter()
    output = ledger.out / item.output
    for path in (item.image, item.mask):
        if path and not path.exists():
            raise images.ImageFileError(f"{path} does not exist: check its name")
    made_of = key(item, network)
    if entry := ledger.find(item, made_of):
        return entry
    output.parent.mkdir(parents=True, exist_ok=True)
    images.check_output(output, inputs=[item.image, *([item.mask] if item.mask else [])])
    given = composite.read(item.image, item.mask)
    note = images.losses(output, given.picture)
    return _Read(made_of, given, note, time.perf_counter() - start)


def _write(item: Item, ledger: Ledger, read: _Read, harmonized: Harmonized) -> tuple[Entry, float]:
    start = time.perf_counter()
    output = ledger.out / item.output
    picture = read.composite.with_colours(harmonized, item.strength)
    staged = ledger.staging / f"{secrets.token_hex(8)}{output.suffix}"
    try:
        images.write(staged, picture)
        content = digest(staged)
        os.replace(staged, output)
    finally:
        staged.unlink(missing_ok=True)
    change = _change(read.composite, picture)
    entry = Entry(str(item.image), os.path.abspath(output), read.key, content, change)
    return entry, time.perf_counter() - start


def _change(before: Composite, after: images.Picture) -> float:
    """Mean change of the foreground, 0..1 of the range from black to white, on a grid of pixels."""
    height, width = before.foreground.shape
    grid = (slice(None, None, -(-height // _GRID)), slice(None, None, -(-width // _GRID)))
    old, new = (picture.colour[grid].astype(np.float32) for picture in (before.picture, after))
    difference = np.abs(new - old).reshape(*old.shape[:2], -1)[before.foreground[grid] > 0]
    return float(difference.mean() / images.WHITE[after.pixels.dtype.name]) if difference.size else 0.0
