"""The engine that works on a Ray cluster: each worker is a process with a network of its own, which makes what it gets.

Ray starts the workers where there is room for them, and tells when one dies; what it had is then given to another.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.catalog import CatalogError, Item
from backend.engine import Network
from backend.maker import Failed, Maker, Outcome, Task

if TYPE_CHECKING:
    from backend.places import Place

_TRIES = 3
_LOOK = 10.0


class Worker:
    """What a worker's process holds."""

    def start(self, model: str, device: str, pasted: bool | None, staging: Place) -> str:
        """Load the network. Returns its name and device. Raises ValueError: no such model or device."""
        network = Network(model, device, pasted)
        self._maker = Maker(network, staging)
        return network.name

    def make(self, task: Task) -> Outcome:
        """Called in several threads."""
        return self._maker(task)


class Cluster:
    """An engine of :func:`backend.batch.run`; :func:`connected` makes one.

    There is a worker for each GPU of the cluster, or, without GPUs or where the device is "cpu", for each core. Those
    that die are replaced, and what joins the cluster is used. A worker has as many tasks at once as it has threads, and
    nothing waits at it, so what dies with it is what it was at. That is tried again, each task alone on a worker, so
    that one which kills its workers takes no other along.

    Args:
        model, device, pasted: as :class:`backend.engine.Network` takes them; a file of weights must be there on every
            machine.
        staging: where outputs are written before they are put into their places.

    Attributes:
        name: the networks and how many workers were started, for people.
    """

    def __init__(self, model: str, device: str, pasted: bool | None, staging: Place) -> None:
        self._arguments = (model, device, pasted, staging)
        self._networks: list[str] = []
        self._workers: set[Any] = set()
        self._idle: dict[Any, int] = {}  # threads without a task
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Any, Task, int]] = {}
        self._failed_starts = 0
        self._looked = -_LOOK
        cores, gpus = self._size()
        self._gpus = gpus > 0
        self._threads = 1 + (max(1, cores // gpus) if gpus else 1)

    @property
    def name(self) -> str:
        return f"{', '.join(sorted(set(self._networks)))}, workers of Ray: {len(self._networks)}"

    def __call__(self, tasks: Iterable[Task]) -> Iterator[tuple[Item, Outcome]]:
        """Raises CatalogError: workers cannot be started, or not any more."""
        import ray

        source = iter(tasks)
        again: deque[tuple[Task, int]] = deque()
        while True:
            self._hire()
            while worker := self._worker(needed := self._threads if again else 1):
                task, deaths = again.popleft() if again else (next(source, None), 0)
                if task is None:
                    break
                self._idle[worker] -= needed
                self._running[worker.make.remote(task)] = (worker, task, deaths)
            if self._idle and not self._running:
                return
            if not self._starting and not self._running:
                self._wait_for_room()
                continue
            for reference in ray.wait([*self._starting, *self._running], timeout=_LOOK)[0]:
                if reference in self._starting:
                    self._greet(reference)
                    continue
                worker, task, deaths = self._running.pop(reference)
                try:
                    outcome: Outcome = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError:
                    self._bury(worker)
                    if deaths + 1 < _TRIES:
                        again.append((task, deaths + 1))
                        continue
                    outcome = Failed(f"its worker died {_TRIES} times: is there too little memory for it?")
                else:
                    if worker in self._idle:  # else it died since
                        self._idle[worker] += self._threads if deaths else 1
                yield task.item, replace(outcome, again=deaths)

    def _size(self) -> tuple[int, int]:
        """How many cores the cluster has now, and how many GPUs that are wanted."""
        import ray

        found = ray.cluster_resources()
        return int(found.get("CPU", 0)), int(found.get("GPU", 0)) if self._arguments[1] != "cpu" else 0

    def _worker(self, needed: int) -> Any:
        """The worker with the most idle threads, if it has as many as are needed; else None."""
        worker = max(self._idle, key=self._idle.__getitem__, default=None)
        return worker if worker is not None and self._idle[worker] >= needed else None

    def _hire(self) -> None:
        """Start the workers that there is room for."""
        import ray

        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        cores, gpus = self._size()
        for _ in range(len(self._workers), gpus if self._gpus else max(1, cores)):
            needs = {"num_cpus": 1, "num_gpus": int(self._gpus), "max_concurrency": self._threads}
            worker: Any = ray.remote(Worker).options(**needs).remote()
            self._workers.add(worker)
            self._starting[worker.start.remote(*self._arguments)] = worker

    def _wait_for_room(self) -> None:
        """Where the cluster has lost all its GPUs, which may come back. Raises CatalogError: they do not."""
        self._failed_starts += 1
        if self._failed_starts == _TRIES:
            raise CatalogError("the cluster has no GPU any more: start a machine with one, and run this with --resume")
        time.sleep(_LOOK)

    def _greet(self, reference: Any) -> None:
        """Take a worker that has started."""
        import ray

        worker = self._starting.pop(reference)
        try:
            self._networks.append(ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            raise CatalogError(str(error.cause)) from error
        except ray.exceptions.RayError as error:
            self._bury(worker)
            self._failed_starts += 1
            if self._failed_starts == _TRIES:
                reason = str(error).strip().splitlines()[-1]
                raise CatalogError(
                    f"no worker starts ({reason}): is gknet-harmonize[batch] on every machine of the cluster?"
                ) from error
        else:
            self._failed_starts = 0
            self._idle[worker] = self._threads

    def _bury(self, worker: Any) -> None:
        """Forget a worker that is dead, or out of reach, and have another one started."""
        import ray

        ray.kill(worker)
        self._workers.discard(worker)
        self._idle.pop(worker, None)
        self._looked = -_LOOK


@contextmanager
def connected(model: str, device: str, pasted: bool | None, staging: Place) -> Iterator[Cluster]:
    """The cluster that RAY_ADDRESS names, or that `ray start` has begun here; else one of this machine, for as long.

    Raises:
        CatalogError: there is no Ray, or no cluster where there should be one.
    """
    if not isinstance(staging, Path) and staging.protocol == "memory":
        raise CatalogError(f"{staging} lies in the memory of one process: workers of Ray need another output folder")
    try:
        import ray
    except ImportError:
        raise CatalogError("--engine ray needs more packages: install the extra [batch] (docs/scale.md)") from None

    try:
        _reach(os.environ.get("RAY_ADDRESS", ""))
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError) as error:
        raise CatalogError(f"no Ray cluster there ({error}): start it, or unset RAY_ADDRESS") from error
    try:
        yield Cluster(os.path.abspath(model) if os.path.isfile(model) else model, device, pasted, staging)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray itself would try for minutes. Raises OSError or ValueError."""
    if address not in ("", "auto", "local"):
        host, _, port = address.rpartition("//")[2].rpartition(":")
        socket.create_connection((host, int(port)), _LOOK).close()
