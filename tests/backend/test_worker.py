"""The worker where memory does not suffice, with a GPU that is pretended."""

from __future__ import annotations

import multiprocessing
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from backend import worker
from backend.foreground import foreground, slices
from backend.link.messages import Code, Rect
from gknet import Harmonizer
from tests.backend.test_daemon import disc, picture


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS backend out of memory (...)")]
)
def test_where_the_gpus_memory_does_not_suffice_the_cpu_does_the_work(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    load = Harmonizer.load

    def full(model: str, device: str) -> Harmonizer:
        if device == "cpu" and cpu_has_room:
            return load(model, device)
        raise error

    monkeypatch.setattr(Harmonizer, "load", full)
    for cpu_has_room in (True, False):
        with engine("cuda") as its:
            assert "out of memory" in its.warm_up().trouble
            outcome = its._outcome(*small_task())
        if cpu_has_room:
            assert isinstance(outcome, worker.Done) and outcome.device == "cpu" and "CPU" in outcome.notes[0]
        else:
            assert isinstance(outcome, worker.Failed) and (outcome.code, outcome.trouble) == (Code.OUT_OF_MEMORY, "")


@contextmanager
def engine(device: str) -> Iterator[worker._Engine]:
    reader, writer = multiprocessing.Pipe(duplex=False)
    with reader, writer:
        yield worker._Engine(writer, device, "auto")


def small_task() -> tuple[worker.Task, memoryview]:
    place = worker.Place(Rect(0, 0, 64, 64), "RGBA", "u8", 0)
    selection = place._replace(layout="GRAY", offset=64 * 64 * 4)
    task = worker.Task(1, "", place, "srgb", None, selection, None, None, "auto", 0, None)
    return task, memoryview(bytearray(picture(64, 64).tobytes() + disc(64, 64).tobytes()))


class Greedy:
    """A harmonizer whose GPU has room for the network, but not for the work."""

    device, model = "cuda", "gknet"

    def __init__(self, held: list[weakref.ref[Any]]) -> None:
        self.held = held
        held.append(weakref.ref(self))

    def harmonize(self, *_: object, **__: object) -> None:
        activations = torch.zeros(1)
        self.held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_the_gpu_holds_nothing_any_more_once_the_cpu_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Harmonizer.load
    held: list[weakref.ref[Any]] = []

    def greedy(model: str, device: str) -> Any:
        if device == "cpu":
            assert len(held) == 2 and [one() for one in held] == [None, None]
            return load(model, device)
        return Greedy(held)

    monkeypatch.setattr(Harmonizer, "load", greedy)
    with engine("cuda") as its:
        outcome = its._outcome(*small_task())
    assert isinstance(outcome, worker.Done) and outcome.device == "cpu", outcome


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_cpu_does_not_stand_in_for_itself(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    loads = []

    def full(model: str, device: str) -> Harmonizer:
        loads.append(device)
        raise MemoryError

    monkeypatch.setattr(Harmonizer, "load", full)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with engine(device) as its:
        outcome = its._outcome(*small_task())
    assert isinstance(outcome, worker.Failed) and outcome.code == Code.OUT_OF_MEMORY
    assert loads == [device]


def test_a_feathered_mask_comes_back_rounded_to_the_images_depth() -> None:
    task, buffer = small_task()
    task = replace(task, feather=4.6)
    mask, box = foreground(task, buffer)
    assert np.array_equal(mask, foreground(replace(task, feather=5.0), buffer)[0])  # in whole pixels
    with engine("cpu") as its:
        outcome = its._outcome(task, buffer)
    assert isinstance(outcome, worker.Done), outcome
    assert np.array_equal(outcome.result.view(buffer)[..., 3], np.rint(mask[slices(box)] / 257))
