"""Many images as one batch: what an engine makes of them is noted, shown while it comes, and summed up."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tqdm import tqdm

from backend.catalog import Item
from backend.engine import Network
from backend.ledger import Entry, Ledger
from backend.maker import Failed, Made, Maker, Outcome, Task

if TYPE_CHECKING:
    from backend.places import Place


class Engine(Protocol):
    """Where the work is done: :class:`Here`, or :class:`backend.cluster.Cluster`."""

    @property
    def name(self) -> str:
        """The network and its device, for people."""

    def __call__(self, tasks: Iterable[Task]) -> Iterator[tuple[Item, Outcome]]:
        """What becomes of each task. It takes no more of them than are begun at once."""


@dataclass
class Summary:
    """What a batch came to.

    Attributes:
        done: outputs that were made, and those that were there already.
        failed: items that failed.
        skipped: how many of `done` were there already.
        again: how often an item was begun anew, since the process that had it died.
        seconds: what reading, network and writing took, each added up over all images; they overlap.
        wall: seconds from the first image to the last.
        notes: what the formats of outputs could not keep, a sentence each.
    """

    done: list[Entry] = field(default_factory=list)
    failed: int = 0
    skipped: int = 0
    again: int = 0
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    wall: float = 0.0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        made = len(self.done) - self.skipped
        rate = f", {made / self.wall:.2f} images a second" if made and self.wall else ""
        lines = [f"{made} done, {self.skipped} were done already, {self.failed} failed; {self.wall:.1f} s{rate}"]
        if made:
            parts = zip(("reading", "network", "writing"), self.seconds, strict=True)
            each = (f"{name} {1000 * seconds / made:.0f} ms" for name, seconds in parts)
            lines.append(f"an image took: {', '.join(each)} (side by side)")
        if self.again:
            lines.append(f"{self.again} images were begun again, since the worker that had them died")
        for entry in sorted(self.done, key=lambda entry: -entry.change)[:5]:
            lines.append(f"changed by {entry.change:.1%}: {entry.output}")
        if self.notes:
            lines.append(f"{len(self.notes)} outputs lost depth, such as {self.notes[0]}")
        return "\n".join(lines)


def run(items: list[Item], ledger: Ledger, engine: Engine, *, stop: bool) -> Summary:
    """Make the items and note each in the ledger.

    Args:
        stop: at the first failure, when what was begun is finished; what was not is noted beside it, as it is still to
            be made. Else a failure concerns nobody but its item.
    """
    summary = Summary()
    start = time.perf_counter()
    waiting = iter(items)

    def tasks() -> Iterator[Task]:
        while not (stop and summary.failed) and (item := next(waiting, None)) is not None:
            yield Task(item, ledger.output(item), ledger.previous(item))

    # disable=None: no bar where stderr is no terminal
    with tqdm(total=len(items), unit=" images", disable=None) as bar:
        for item, outcome in engine(tasks()):
            if isinstance(outcome, Failed):
                summary.failed += 1
                ledger.failed(item, outcome.reason)
                bar.set_postfix(failed=summary.failed)
            else:
                _add(summary, outcome)
                if not outcome.was_there:
                    ledger.done(outcome.entry)
            summary.again += outcome.again
            bar.update()
    for item in waiting:
        ledger.failed(item, "not tried: the batch stopped at a failure before it")
    summary.wall = time.perf_counter() - start
    return summary


def _add(summary: Summary, made: Made) -> None:
    summary.done.append(made.entry)
    summary.skipped += made.was_there
    summary.notes += [made.note] if made.note else []
    summary.seconds = [total + part for total, part in zip(summary.seconds, made.seconds, strict=True)]


class Here:
    """The engine that is this process: a thread for each core, and one for the network."""

    def __init__(self, network: Network, staging: Place) -> None:
        self.name = network.name
        self._maker = Maker(network, staging)
        self._threads = 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

    def __call__(self, tasks: Iterable[Task]) -> Iterator[tuple[Item, Outcome]]:
        begun: deque[tuple[Item, Future[Outcome]]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for task in tasks:
                begun.append((task.item, pool.submit(self._maker, task)))
                if len(begun) > self._threads:
                    item, future = begun.popleft()
                    yield item, future.result()
            for item, future in begun:
                yield item, future.result()
