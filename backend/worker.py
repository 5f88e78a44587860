"""The process that computes, one per device. The daemon starts it with multiprocessing's "spawn".

The daemon sends `Task`s, one at a time, and `Cancel`s through a pipe, and gets `Event`s back: `Ready` once, `Stage` as
each stage begins, and `Done` or `Failed` for every task. Pixels lie in a shared-memory segment that the daemon makes
and removes, so none is left when this process is killed. It leaves when the daemon's end of the pipe closes.

torch is imported in the process only, as the daemon imports this module for the types.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backend import malloc, shadow
from backend.foreground import Array, foreground, full, slices, within
from backend.link.context import intersection
from backend.link.messages import CHANNELS, NAME, WITH_ALPHA, WITHOUT_ALPHA, Code, LinkError, Rect, nbytes
from backend.translucent import Opaque

if TYPE_CHECKING:
    from gknet.harmonizer import Harmonized, Harmonizer

STAGES = ("foreground", "load", "check", "reduce", "network", "fit", "apply", "result")
"""What a job goes through, in order. It can be cancelled between them."""

_DTYPES: dict[str, type[np.generic]] = {"u8": np.uint8, "u16": np.uint16, "f16": np.float16, "f32": np.float32}
_KEPT = 4 << 20
_SPARE = 32 << 20


class Place(NamedTuple):
    """Pixels in a segment: those of a rectangle of the document, from the byte `offset` on."""

    rect: Rect
    layout: str
    dtype: str
    offset: int

    @property
    def nbytes(self) -> int:
        return nbytes(self.rect, self.layout, self.dtype)

    def view(self, buffer: memoryview) -> Array:
        """The pixels [height, width, channels], not copied."""
        shape = (self.rect.height, self.rect.width, CHANNELS[self.layout])
        pixels: Array = np.ndarray(shape, _DTYPES[self.dtype], buffer, self.offset)
        return pixels


@dataclass(frozen=True)
class Task:
    """A job's part of the segment named `segment`, and its parameters; see backend.link.messages.Harmonize.

    The result takes the place of what is in the segment, from its first byte on: it must be large enough.
    `icc` is the profile's offset and length.
    """

    number: int
    segment: str
    image: Place
    transfer: str
    icc: tuple[int, int] | None
    selection: Place | None
    layer: Place | None
    pasted: bool | None
    model: str
    feather: float
    opacity: float | None
    linear: bool = False
    below: tuple[Place, float] | None = None


@dataclass(frozen=True)
class Cancel:
    """The task `number` is not wanted any more."""

    number: int


@dataclass(frozen=True)
class Ready:
    """Warm: on `device`, with `model`; both empty where that failed, and `trouble` is the traceback."""

    device: str
    model: str
    trouble: str = ""


@dataclass(frozen=True)
class Stage:
    """A task has come to a stage: `fraction` of its stages are done."""

    number: int
    stage: str
    fraction: float


@dataclass(frozen=True)
class Done:
    """The result lies in the task's segment. Timings are milliseconds of each stage, in order."""

    number: int
    result: Place
    model: str
    device: str
    timings: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """A task has no result; `trouble` is the traceback where the fault is ours."""

    number: int
    code: str
    message: str
    hint: str = ""
    trouble: str = ""


Event = Ready | Stage | Done | Failed


class _Cancelled(Exception):
    """The task at hand is not wanted any more."""


def main(connection: Connection, device: str, model: str) -> None:
    """Work until the pipe closes.

    Args:
        connection: this end of the pipe to the daemon.
        device, model: as Harmonizer.load takes them; the model is what "auto" is to a client.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the daemon decides what it means
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    # What every job needs again is kept, which saves a small image a twelfth of its time; what is for this image's size
    # goes back.
    malloc.tune(_KEPT, _SPARE)
    engine = _Engine(connection, device, model)
    threading.Thread(target=_listen, args=(connection, tasks, engine), daemon=True).start()
    connection.send(engine.warm_up())
    while True:
        event = engine.run(tasks.get())
        connection.send(event)
        if isinstance(event, Failed) and event.trouble and _broken():
            return  # the daemon starts another one


def _listen(connection: Connection, tasks: queue.SimpleQueue[Task], engine: _Engine) -> None:
    while True:
        try:
            received = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # whatever is being computed is for nobody
        if isinstance(received, Cancel):
            engine.cancelled = received.number
        else:
            tasks.put(received)


class _Engine:
    """The models of one device, and what runs on them.

    Attributes:
        cancelled: number of the latest task that is not wanted any more; written by the thread that listens.
    """

    def __init__(self, connection: Connection, device: str, model: str) -> None:
        self.cancelled = -1
        self._connection = connection
        self._device = device
        self._usual = model
        self._harmonizers: dict[tuple[str, str], Harmonizer] = {}

    def warm_up(self) -> Ready:
        """Load the usual model and run it once: the first run allocates memory and picks kernels."""
        try:
            harmonizer = self._harmonizer("auto", self._device)
            mask = np.zeros((64, 64), bool)
            mask[16:48, 16:48] = True
            harmonizer(np.zeros((64, 64, 3), np.uint8), mask)
        except Exception:
            return Ready("", "", traceback.format_exc())
        return Ready(harmonizer.device, _name(harmonizer))

    def run(self, task: Task) -> Done | Failed:
        """Carry a task out. Whatever goes wrong ends this task only."""
        try:
            segment = SharedMemory(name=task.segment)
        except OSError:
            return Failed(task.number, Code.INTERNAL, "the shared memory cannot be opened", "", traceback.format_exc())
        try:
            return self._outcome(task, memory(segment))
        finally:
            segment.close()

    def _outcome(self, task: Task, buffer: memoryview) -> Done | Failed:
        try:
            return self._compute(task, buffer)
        except _Cancelled:
            return Failed(task.number, Code.CANCELLED, "the job was cancelled")
        except LinkError as error:
            return Failed(task.number, error.code, error.message, error.hint)
        except Exception as error:
            if _out_of_memory(error):
                hint = "close other programs, or scale the image down"
                return Failed(task.number, Code.OUT_OF_MEMORY, "this machine's memory does not suffice", hint)
            message = f"unexpected {type(error).__name__} in the worker"
            return Failed(task.number, Code.INTERNAL, message, "the log says where", traceback.format_exc())

    def _compute(self, task: Task, buffer: memoryview) -> Done:
        """The result of a task, written over what is in `buffer`."""
        timings: dict[str, float] = {}

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            self._enter(task, name)
            start = time.perf_counter()
            yield
            timings[name] = timings.get(name, 0) + 1000 * (time.perf_counter() - start)

        with stage("foreground"):
            image, mask, box, opaque = _looked_at(task, buffer)
        looked_at = opaque.mask if opaque else mask

        def attempt(device: str) -> tuple[Harmonizer, Harmonized]:
            with stage("load"):
                harmonizer = self._harmonizer(task.model, device)
            return harmonizer, self._harmonize(harmonizer, task, image, looked_at, buffer)

        done: tuple[Harmonizer, Harmonized] | None = None
        notes: tuple[str, ...] = ()
        try:
            done = attempt(self._device)
        except Exception as error:
            if not _out_of_memory(error) or _is_cpu(self._device):
                raise
        if done is None:  # from here on, as the error's traceback holds what the GPU was at
            notes = ("The GPU's memory did not suffice, so the CPU did the work.",)
            self._release()
            done = attempt("cpu")
        harmonizer, harmonized = done
        timings.update(harmonized.timings)
        with stage("result"):
            rect = Rect(task.image.rect.x + box.x, task.image.rect.y + box.y, box.width, box.height)
            colours = np.asarray(harmonized.image)
            if opaque:
                opaque.back(colours, box)
            result = Place(rect, WITH_ALPHA[task.image.layout], task.image.dtype, 0)
            _write(result.view(buffer), result.layout, colours, mask[slices(box)])
        return Done(task.number, result, _name(harmonizer), harmonizer.device, timings, notes)

    def _harmonize(
        self, harmonizer: Harmonizer, task: Task, image: Array, mask: Array, buffer: memoryview
    ) -> Harmonized:
        from gknet.harmonizer import NoBackgroundError

        profile = None
        if task.icc:
            offset, length = task.icc
            profile = bytes(buffer[offset : offset + length])
        try:
            return harmonizer.harmonize(
                image,
                mask,
                profile=profile,
                transfer=task.transfer,
                pasted=task.pasted,
                blend=False,
                crop=True,
                on_stage=partial(self._enter, task),
            )
        except NoBackgroundError as error:
            message = "all that can be seen is foreground, so there is nothing to match"
            raise LinkError(Code.NO_BACKGROUND, message, "select the object alone") from error
        except ValueError as error:
            raise LinkError(Code.BAD_IMAGE, str(error)) from error

    def _enter(self, task: Task, stage: str) -> None:
        """Tell of a stage that begins, unless the task is not wanted any more."""
        if self.cancelled == task.number:
            raise _Cancelled
        self._connection.send(Stage(task.number, stage, STAGES.index(stage) / len(STAGES)))

    def _harmonizer(self, model: str, device: str) -> Harmonizer:
        """The harmonizer for a model by name and a device, kept from then on."""
        from gknet import Harmonizer, weights

        if (model, device) not in self._harmonizers:
            # Only what is shipped: the Harmonizer itself would open any file that a peer names.
            if model != "auto" and model not in weights.available():
                names = ", ".join(["auto", *weights.available()])
                raise LinkError(Code.UNKNOWN_MODEL, f"there is no model {model!r}", f"choose one of {names}")
            try:
                harmonizer = Harmonizer.load(self._usual if model == "auto" else model, device)
            except ValueError as error:  # no such device, or damaged weights
                raise LinkError(Code.INTERNAL, str(error)) from error
            if model == "auto" and self._usual == "auto":  # a shipped one, which may be there by its name already
                harmonizer = self._harmonizers.setdefault((harmonizer.model, device), harmonizer)
            self._harmonizers[model, device] = harmonizer
        return self._harmonizers[model, device]

    def _release(self) -> None:
        """Give the device's memory back."""
        import torch

        self._harmonizers.clear()
        torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()


def _name(harmonizer: Harmonizer) -> str:
    """The model's name as it may stand in a message: a file's may be of any length and hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in harmonizer.model)[:NAME]


def _is_cpu(device: str) -> bool:
    """Whether a device, as Harmonizer.load takes it, is the CPU."""
    import torch

    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return device == "cpu" or (device == "auto" and not has_gpu)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice. Not all that torch raises then is of a type of its own: a plain RuntimeError says
    it of MPS, of a CUDA context and of the CPU."""
    import torch

    said = str(error)
    plain = isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
    return plain or isinstance(error, MemoryError | torch.OutOfMemoryError)


def _broken() -> bool:
    """Whether an error that nobody expected may have left this process unusable: CUDA's do, for good."""
    import torch

    return bool(torch.cuda.is_initialized())


def memory(segment: SharedMemory) -> memoryview:
    """The bytes of an open segment."""
    assert segment.buf is not None
    return segment.buf


def _document(pixels: Array, layout: str) -> Array:
    """Pixels as the Harmonizer takes them; swaps channels in place."""
    if layout == "BGRA":
        blue = pixels[..., 0].copy()
        pixels[..., 0] = pixels[..., 2]
        pixels[..., 2] = blue
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels


def _looked_at(task: Task, buffer: memoryview) -> tuple[Array, Array, Rect, Opaque | None]:
    """The picture without its painted shadows, its foreground and the box of that, as `foreground` has them, and what
    is to be looked at in their place where it is half transparent."""
    image = _document(task.image.view(buffer), task.image.layout)
    whole = task.image.rect
    layer = _layer(task, task.layer, task.opacity, whole, buffer)
    if layer and layer.alpha is not None:
        shadow.take_out(image[slices(layer.area)], layer.colours, layer.alpha, layer.opacity, task.linear)
    mask, box = foreground(task, buffer)
    below = _layer(task, *task.below, whole, buffer) if task.below else None
    if below and below.alpha is not None:
        area = slices(below.area)
        shadow.take_away(image[area], below.colours, below.alpha, below.opacity, mask[area], task.linear)
    shown = Rect(whole.x + box.x, whole.y + box.y, box.width, box.height)
    layer = _layer(task, task.layer, task.opacity, shown, buffer)
    return image, mask, box, Opaque.of(image, mask, *layer, task.linear) if layer else None


class _Layer(NamedTuple):
    """What is known of a layer's own colours, and where in the image; see Opaque.of."""

    area: Rect
    colours: Array
    alpha: Array | None
    opacity: float


def _layer(task: Task, place: Place | None, opacity: float | None, box: Rect, buffer: memoryview) -> _Layer | None:
    """What of a layer is in a box, not copied; None: nothing, or its colours are not to be looked at."""
    area = place and intersection(place.rect, box)
    if place is None or opacity is None or area is None:
        return None
    own, area = place.view(buffer)[slices(within(area, place.rect))], within(area, task.image.rect)
    if place.layout in WITHOUT_ALPHA:
        return _Layer(area, own, None, opacity)
    colours = own[..., 2::-1] if place.layout == "BGRA" else own[..., :-1]
    return _Layer(area, colours, own[..., -1:], opacity)


def _write(out: Array, layout: str, colours: Array, mask: Array) -> None:
    """Put [h, w, C] of the Harmonizer's, whose alpha is not needed, and the mask as alpha into `out`."""
    channels = out.shape[2] - 1
    for channel in range(channels):
        out[..., channels - 1 - channel if layout == "BGRA" else channel] = colours[..., channel]
    if mask.dtype != out.dtype:
        scale = np.float32(full(out) / full(mask))
        mask = mask * scale if out.dtype.kind == "f" else np.rint(mask * scale)
    out[..., -1] = mask
