"""What `harmonize doctor` looks at: each finding is fine or not, and what is not says what to do next."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backend import settings
from backend.link import rendezvous
from backend.link.client import Client
from backend.link.messages import PROTOCOL, Code, Harmonize, Image, LinkError, Pixels, Rect, new_job
from backend.version import package_version

_SIDE = 512
_RUNS = 3
_PACKAGES = ("torch", "numpy", "pyzmq", "msgpack", "pillow", "pyvips", "safetensors")


@dataclass(frozen=True)
class Finding:
    """One look at the installation.

    Attributes:
        name: what was looked at.
        fine: whether it is as it should be.
        text: what was found.
        advice: what to do where it is not fine.
    """

    name: str
    fine: bool
    text: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """All findings, one after another as they are made. No trouble in one keeps the others from being made."""
    for name, look in _LOOKS.items():
        try:
            yield from look(name)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(name, False, text, "install harmonize again; if it stays, report it with this output")


def _program(name: str) -> Iterator[Finding]:
    protocol = ".".join(map(str, PROTOCOL))
    python = f"Python {platform.python_version()} in {sys.prefix}"
    yield Finding(name, True, f"harmonize {package_version()}, protocol {protocol}, {python}, {platform.platform()}")


def _packages(name: str) -> Iterator[Finding]:
    found, missing = [], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        yield Finding(name, False, f"missing: {', '.join(missing)}", "install harmonize again")
    else:
        yield Finding(name, True, ", ".join(found))


def _device(name: str) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        text = ", ".join(f"{one.name} with {one.total_memory / 2**30:.0f} GiB" for one in devices)
    elif torch.backends.mps.is_available():
        text = "mps, this Mac's GPU"
    else:
        text = f"cpu; no GPU that torch {torch.__version__} can use"
    yield Finding(name, True, text)


def _weights(name: str) -> Iterator[Finding]:
    from gknet import weights

    names = weights.available()
    if not names:
        yield Finding(name, False, "none are there", "install harmonize again")
    for model in names:
        try:
            version = weights.metadata(model).get("version", "?")
            yield Finding(name, True, f"{model}, version {version}, SHA-256 {weights.digest(model)}")
        except weights.WeightsError as error:
            yield Finding(name, False, str(error), "install harmonize again")


def _settings(name: str) -> Iterator[Finding]:
    try:
        found = settings.load()
    except settings.SettingsError as error:
        yield Finding(name, False, str(error), "mend that line, or remove the file")
        return
    text = ", ".join(f"{key} = {value}" for key, value in found.items()) or "nothing set"
    yield Finding(name, True, f"{settings.path()}: {text}")


def _directory(name: str) -> Iterator[Finding]:
    try:
        with rendezvous.lock():  # as a daemon would
            pass
    except LinkError as error:
        if error.code != Code.NOT_STARTED:  # that is, one is running
            yield Finding(name, False, error.message, error.hint)
            return
    listens = "ipc" if rendezvous.ipc_endpoint() else "tcp"
    yield Finding(name, True, f"{rendezvous.directory()}, where a daemon listens on {listens}")


def _daemon(name: str) -> Iterator[Finding]:
    client = Client("harmonize doctor", python=None)
    if rendezvous.find() is None:
        yield Finding(name, True, "none is running; editors start it when they need it")
        return
    try:
        status = client.status()
    except LinkError as error:
        yield Finding(name, False, str(error), "stop it with harmonize stop, or end its process; see harmonize logs")
        return
    own = package_version()
    if status.package != own:
        text = f"pid {status.pid} is version {status.package}, this is {own}"
        yield Finding(name, False, text, "run harmonize stop; the next one to be started is of this version")
        return
    workers = ", ".join(f"{one.model or 'no model yet'} on {one.device}, {one.state}" for one in status.workers)
    yield Finding(name, True, f"pid {status.pid}: {workers}")


def _self_test(name: str) -> Iterator[Finding]:
    """Harmonizes a picture in this process, and by the daemon where one is running, which must agree."""
    import numpy as np

    from gknet import Harmonizer

    y, x = np.mgrid[:_SIDE, :_SIDE]
    image = np.stack([x // 2, y // 2, (x + y) // 4], 2).astype(np.uint8)
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    middle = slice(_SIDE // 4, 3 * _SIDE // 4)
    mask[middle, middle] = 255
    image[middle, middle, 2] //= 2

    start = time.perf_counter()
    harmonizer = Harmonizer.load(**_usual())
    loading = 1000 * (time.perf_counter() - start)
    own = np.asarray(harmonizer(image, mask))
    milliseconds = _milliseconds(lambda: harmonizer(image, mask))
    engine = f"{harmonizer.model} on {harmonizer.device}"
    changed = np.abs(own[middle, middle].astype(int) - image[middle, middle]).mean()
    if (own[mask == 0] != image[mask == 0]).any() or changed == 0:
        yield Finding(name, False, f"{engine} gives a wrong picture", "install harmonize again")
        return
    size = f"{_SIDE}x{_SIDE} pixels"
    yield Finding(name, True, f"{engine}: {size} in {milliseconds:.0f} ms, after {loading:.0f} ms to load")

    if rendezvous.find() is None:
        return
    rect = Rect(0, 0, _SIDE, _SIDE)

    def ask() -> Pixels:
        request = Harmonize(
            new_job(), Image(rect, "RGB", "u8", image.data), selection=Pixels(rect, "GRAY", "u8", mask.data)
        )
        with Client("harmonize doctor", python=None) as client:
            return client.harmonize(request, timeout=60).pixels

    try:
        pixels = ask()
        milliseconds = _milliseconds(ask)
    except LinkError as error:
        yield Finding(name, False, f"by the daemon: {error.message}", error.hint or "see harmonize logs")
        return
    colours = np.frombuffer(pixels.data, np.uint8).reshape(pixels.rect.height, pixels.rect.width, 4)[..., :3]
    furthest = int(np.abs(colours.astype(int) - own[middle, middle]).max())
    if furthest > 1:
        text = f"by the daemon, colours are up to {furthest} levels from this process's"
        yield Finding(name, False, text, "run harmonize stop, and again: it may hold other weights or another device")
        return
    yield Finding(name, True, f"by the daemon: {size} in {milliseconds:.0f} ms")


def _usual() -> dict[str, str]:
    """What the settings choose, as Harmonizer.load takes it."""
    try:
        found = settings.load()
    except settings.SettingsError:
        return {}  # of which another finding tells
    device = found.get("device", "auto")
    return {"model": found.get("model", "auto"), "device": device[0] if isinstance(device, list) else device}


def _milliseconds(work: Callable[[], object]) -> float:
    """How long work takes, the best of some runs."""
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


_LOOKS: dict[str, Callable[[str], Iterator[Finding]]] = {
    "program": _program,
    "packages": _packages,
    "device": _device,
    "weights": _weights,
    "settings": _settings,
    "directory": _directory,
    "daemon": _daemon,
    "self-test": _self_test,
}
