"""The daemon: a real one in a process of its own, with the shipped network, spoken to through pyzmq."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import psutil
import pytest
import zmq

from backend import images, worker
from backend.foreground import slices
from backend.images import Picture
from backend.link import messages
from backend.link.messages import (
    Accepted,
    Below,
    Cancel,
    Code,
    Error,
    GetStatus,
    Harmonize,
    Hello,
    Image,
    LinkError,
    Pixels,
    Progress,
    Rect,
    Result,
    Shutdown,
    Status,
    Welcome,
    new_job,
)
from backend.link.rendezvous import DIRECTORY_VARIABLE
from backend.link.zmtp import USER, Dealer
from gknet import Harmonizer
from tests.places import EXAMPLES, ROOT
from tests.processes import stopped, wait

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stops and kills processes as POSIX does")

SHM = Path("/dev/shm")
TYPES = {"u8": np.uint8, "u16": np.uint16, "f16": np.float16, "f32": np.float32}
Array = npt.NDArray[Any]


class Client:
    """A connection to a daemon."""

    def __init__(self, connection: dict[str, Any], key: str = "") -> None:
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.plain_username = USER.encode()
        self.socket.plain_password = (key or connection["key"]).encode()
        self.socket.connect(connection["endpoints"][0])

    def send(self, message: messages.Request) -> None:
        self.socket.send_multipart(messages.pack(message))

    def receive(self, timeout: float = 30) -> messages.Reply:
        assert self.socket.poll(int(1000 * timeout)), "no answer"
        return messages.unpack_reply([frame.buffer for frame in self.socket.recv_multipart(copy=False)])

    def ask(self, message: messages.Request) -> messages.Reply:
        self.send(message)
        return self.receive()

    def status(self) -> Status:
        reply = self.ask(GetStatus())
        assert isinstance(reply, Status)
        return reply

    def final(self, job: str = "") -> Result | Error:
        """The next last answer, of a job or of any."""
        while True:
            reply = self.receive()
            if isinstance(reply, Result | Error) and job in ("", reply.job):
                return reply

    def until(self, kind: type, **fields: object) -> Any:
        while True:
            reply = self.receive()
            if isinstance(reply, kind) and all(getattr(reply, name) == value for name, value in fields.items()):
                return reply

    def close(self) -> None:
        self.socket.close()


class Daemon:
    """A daemon of its own in `folder`, which is all that it knows of the user's folders."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        own = {DIRECTORY_VARIABLE: str(folder / "run"), "XDG_STATE_HOME": str(folder / "state")}
        self.environment = {**os.environ, **own}
        self.clients: list[Client] = []
        self.process = self.command("serve", *options)
        self.connection: dict[str, Any] = {}
        wait(self.answers)

    def answers(self) -> bool:
        """Whether it, and not one before it in the same folder, has written where it listens."""
        assert self.process.poll() is None, self.process.communicate()[1]
        if self.file("connection.json").exists():
            self.connection = json.loads(self.file("connection.json").read_text())
        return self.connection.get("pid") == self.process.pid

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "backend.cli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, env=self.environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def file(self, name: str) -> Path:
        return self.folder / "run" / name

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.folder / "state").rglob("*.log")))

    def segments(self) -> list[Path]:
        """Its shared memory."""
        return list(SHM.glob(f"harmonize-{self.process.pid}-*"))

    def client(self, key: str = "") -> Client:
        self.clients.append(Client(self.connection, key))
        return self.clients[-1]

    def worker(self) -> int:
        """The process of a worker that is ready."""
        client = self.client()
        wait(lambda: client.status().workers[0].state == "idle")
        return client.status().workers[0].pid

    @contextmanager
    def stopped_worker(self) -> Iterator[int]:
        """As if a stage took very long."""
        with stopped(self.worker()) as pid:
            yield pid

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[..., Daemon]]:
    """(*options, folder=None) -> Daemon, of which nothing may be left in the end."""
    daemons: list[Daemon] = []
    with tempfile.TemporaryDirectory(prefix="hz") as base:

        def start(*options: str, folder: Path | None = None) -> Daemon:
            if folder is None:
                folder = Path(base) / str(len(daemons))
                folder.mkdir()
            daemons.append(Daemon(folder, *options))
            return daemons[-1]

        yield start
        for daemon in daemons:
            daemon.close()
    assert not [segment for daemon in daemons for segment in daemon.segments()]


@pytest.fixture(scope="module")
def daemon(started: Callable[..., Daemon]) -> Daemon:
    """One that tests share."""
    return started()


@pytest.fixture(scope="module")
def harmonizer() -> Harmonizer:
    return Harmonizer.load(device="cpu")


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return daemon.client()


def picture(height: int, width: int, channels: int = 4, dtype: str = "u8") -> Array:
    """Smooth shapes with noise; the middle is bluer, alpha opaque."""
    y, x = np.mgrid[:height, :width] / 40
    values = np.stack([np.sin(x + c) * np.cos(y * (c + 1) / 2) for c in range(channels)], 2) * 0.25 + 0.5
    values += np.random.default_rng(0).normal(0, 0.02, values.shape)
    values[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4, 0] *= 0.6
    if channels in (2, 4):
        values[..., -1] = 1
    values = np.clip(values, 0, 1)
    return (
        np.rint(values * np.iinfo(TYPES[dtype]).max).astype(TYPES[dtype])
        if dtype[0] == "u"
        else values.astype(TYPES[dtype])
    )


def disc(height: int, width: int) -> npt.NDArray[np.uint8]:
    """255 in the middle, a soft edge, 0 around."""
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    return np.rint(np.clip(4 - 12 * radius, 0, 1) * 255).astype(np.uint8)


def pixels(array: Array, layout: str, x: int = 0, y: int = 0) -> Pixels:
    names = {np.dtype(kind): name for name, kind in TYPES.items()}
    rect = Rect(x, y, array.shape[1], array.shape[0])
    return Pixels(rect, layout, names[array.dtype], np.ascontiguousarray(array))


def job(side: int = 64, **more: Any) -> Harmonize:
    """A job of side x side pixels."""
    image = pixels(picture(side, side), "RGBA")
    values = {"selection": pixels(disc(side, side), "GRAY"), **more}
    return Harmonize(new_job(), Image(image.rect, image.layout, image.dtype, image.data), **values)


def array(result: Pixels) -> Array:
    shape = (result.rect.height, result.rect.width, messages.CHANNELS[result.layout])
    return np.frombuffer(result.data, TYPES[result.dtype]).reshape(shape)


def succeeds(client: Client) -> None:
    assert isinstance(client.ask(job()), Accepted)
    assert isinstance(client.final(), Result)


# What a job gives


@pytest.mark.parametrize(
    ("layout", "dtype", "size"),
    [
        ("RGBA", "u8", (200, 300)),
        ("BGRA", "u8", (256, 256)),  # the network's own size
        ("BGRA", "u16", (90, 130)),
        ("RGB", "f32", (120, 100)),
        ("RGBA", "f16", (100, 120)),
        ("GRAY", "u16", (96, 96)),
        ("GRAYA", "u8", (96, 64)),
    ],
)
def test_the_result_is_the_harmonizers_own(
    client: Client, harmonizer: Harmonizer, layout: str, dtype: str, size: tuple[int, int]
) -> None:
    image, mask = picture(*size, messages.CHANNELS[layout], dtype), disc(*size)
    frame = pixels(image, layout, 1000, -20)
    request = Harmonize(
        new_job(),
        Image(frame.rect, layout, dtype, frame.data),
        selection=pixels(mask, "GRAY", 1000, -20),
    )
    accepted = client.ask(request)
    assert accepted == Accepted(request.job, 0)
    result = client.final()
    assert isinstance(result, Result), result

    rgb = image[..., [2, 1, 0, 3]] if layout == "BGRA" else image
    expected = np.asarray(harmonizer(rgb.astype(np.float32) if dtype == "f16" else rgb, mask)).astype(image.dtype)
    expected = expected[..., [2, 1, 0, 3]] if layout == "BGRA" else expected
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    area = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    assert result.pixels.rect == (1000 + columns[0], rows[0] - 20, len(columns), len(rows))
    assert (result.pixels.layout, result.pixels.dtype) == (messages.WITH_ALPHA[layout], dtype)
    got, mask, image, expected = array(result.pixels), mask[area], image[area], expected[area]
    colours = got.shape[2] - 1
    np.testing.assert_array_equal(got[mask == 255][:, :colours], expected[mask == 255][:, :colours])
    assert not np.array_equal(got[mask == 255][:, :colours], image[mask == 255][:, :colours])
    white = np.iinfo(image.dtype).max if dtype[0] == "u" else 1
    np.testing.assert_allclose(got[..., -1] / white, mask / 255, atol=1e-3)
    opacity = mask[..., None] / 255
    over = image[..., :colours] * (1 - opacity) + got[..., :colours].astype(np.float64) * opacity
    np.testing.assert_allclose(over, expected[..., :colours], atol=1.5 if dtype[0] == "u" else 2e-3)
    assert (result.model, result.device, result.notes) == (harmonizer.model, "cpu", ())
    assert list(result.timings) == ["queued", *worker.STAGES]


@pytest.mark.parametrize("pasted", [True, False, None])
def test_who_knows_whether_it_is_pasted_says_so(client: Client, harmonizer: Harmonizer, pasted: bool | None) -> None:
    image, mask = (images.read(EXAMPLES / f"raccoon{end}").colour for end in (".jpg", "_mask.png"))
    frame = pixels(image, "RGB")
    sent = Image(frame.rect, "RGB", "u8", frame.data)
    client.send(Harmonize(new_job(), sent, selection=pixels(mask, "GRAY"), pasted=pasted))
    result = client.final()
    assert isinstance(result, Result), result
    shown = array(result.pixels)[..., 3] > 0
    agrees = []
    for kind in (True, False):
        expected = harmonizer.harmonize(image, mask, pasted=kind, blend=False, crop=True).image
        agrees.append(np.array_equal(array(result.pixels)[shown, :3], np.asarray(expected)[shown]))
    assert agrees == [pasted is True, pasted is not True]  # the seam, too, says that it was changed where it stands


@pytest.mark.parametrize("layout", ["BGRA", "RGBA"])
def test_a_layer_that_something_shines_through_is_changed_as_it_is_when_opaque(client: Client, layout: str) -> None:
    order = [2, 1, 0, 3] if layout == "BGRA" else [0, 1, 2, 3]
    image, cut = (images.read(EXAMPLES / f"raccoon{end}").colour for end in (".jpg", "_mask.png"))
    hard = np.where(cut > 127, 255, 0).astype(np.uint8)
    own = np.dstack([image, hard])
    own[..., :3] //= 2  # a paste that is too dark
    below = np.dstack([image[::-1], np.full_like(hard, 255)])

    def result(opacity: float) -> tuple[Array, Array]:
        """What is seen before, and the colours and alpha of the result, over all of the picture."""
        alpha = (opacity * (hard / 255))[..., None]
        shown = np.rint(alpha * own[..., :3] + (1 - alpha) * below[..., :3]).astype(np.uint8)
        seen = pixels(np.dstack([shown, below[..., 3]])[..., order], layout)
        sent = Image(seen.rect, layout, "u8", seen.data)
        layer = pixels(own[..., order], layout)
        client.send(Harmonize(new_job(), sent, layer=layer, pasted=True, opacity=opacity))
        answer = client.final()
        assert isinstance(answer, Result), answer
        rows, columns = slices(answer.pixels.rect)
        whole = np.zeros((*hard.shape, 4), np.uint8)
        whole[rows, columns] = array(answer.pixels)[..., order]
        return shown, whole

    solid, opaque = result(1.0)
    shown, half = result(0.5)
    assert (opaque[..., 3] == hard).all() and (half[..., 3] == np.rint(hard / 2)).all()
    inside = hard > 0
    change = opaque[inside][:, :3].astype(int) - solid[inside]
    assert abs(change).mean() > 10
    free = ((half[..., :3] > 0) & (half[..., :3] < 255))[inside]  # not cut off at the range's end
    assert free.mean() > 0.9
    np.testing.assert_allclose((half[inside][:, :3].astype(int) - shown[inside])[free], change[free], atol=1)


@pytest.mark.parametrize("layout", ["BGRA", "RGBA"])
@pytest.mark.parametrize("apart", [False, True])
def test_a_shadow_stays_and_has_no_say(client: Client, layout: str, apart: bool) -> None:
    order = [2, 1, 0, 3] if layout == "BGRA" else [0, 1, 2, 3]
    image, cut = (images.read(EXAMPLES / f"raccoon{end}").colour for end in (".jpg", "_mask.png"))
    hard = np.where(cut > 127, 255, 0).astype(np.uint8)
    soft = np.roll(disc(*hard.shape), hard.shape[0] // 4, 0) // 2

    def harmonized(shadow: Array) -> Array:
        """The result over all of the picture."""
        whole = np.where(hard, 255, shadow)
        own = np.dstack([np.where(hard[..., None], image // 2, 0), hard if apart else whole]).astype(np.uint8)
        alpha = whole[..., None] / 255
        shown = np.rint(alpha * own[..., :3] + (1 - alpha) * image).astype(np.uint8)
        seen = pixels(np.dstack([shown, np.full_like(hard, 255)])[..., order], layout)
        sent = Image(seen.rect, layout, "u8", seen.data)
        below = None
        if apart:  # its upper half is beyond the picture's edge
            half = np.zeros((2 * len(hard), hard.shape[1], 4), np.uint8)
            half[len(hard) :, :, 3] = 2 * shadow
            cast = pixels(half[..., order], layout, y=-len(hard))
            below = Below(cast.rect, layout, "u8", cast.data, opacity=0.5)
        layer = pixels(own[..., order], layout)
        client.send(Harmonize(new_job(), sent, layer=layer, pasted=True, opacity=1.0, below=below))
        answer = client.final()
        assert isinstance(answer, Result), answer
        result = np.zeros((*hard.shape, 4), np.uint8)
        result[slices(answer.pixels.rect)] = array(answer.pixels)[..., order]
        return result

    bare, shaded = harmonized(np.zeros_like(hard)), harmonized(soft)
    assert (bare[..., 3] == hard).all() and (shaded[..., 3] == hard).all()
    change = bare[hard > 0][:, :3].astype(int) - image[hard > 0] // 2
    off = shaded[hard > 0][:, :3].astype(int) - bare[hard > 0][:, :3]
    assert abs(change).mean() > 10 and abs(off).mean() < 1  # what is behind a shadow is known up to rounding


def test_progress_names_each_stage_and_grows(client: Client) -> None:
    client.send(job())
    reports = []
    while not isinstance(reply := client.receive(), Result):
        if isinstance(reply, Progress):
            reports.append(reply)
    assert [report.stage for report in reports if report.stage != "starting"] == list(worker.STAGES)
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions) and fractions[-1] < 1


@pytest.mark.parametrize(
    ("code", "more"),
    [
        (Code.NO_FOREGROUND, {"selection": None}),
        (Code.NO_FOREGROUND, {"selection": pixels(disc(64, 64), "GRAY", 500, 0)}),
        (Code.NO_FOREGROUND, {"layer": pixels(picture(64, 64) * 0, "RGBA")}),
        (Code.NO_BACKGROUND, {"selection": pixels(np.full((64, 64), 255, np.uint8), "GRAY")}),
        (Code.BAD_IMAGE, {"icc": b"nonsense"}),
        (Code.BAD_IMAGE, {"selection": pixels(np.full((64, 64), np.nan, np.float32), "GRAY")}),
        (Code.BAD_IMAGE, {"selection": pixels(np.full((64, 64), np.nan, np.float32), "GRAY"), "feather": 3.0}),
        (Code.UNKNOWN_MODEL, {"model": "gnet"}),
        (Code.UNKNOWN_MODEL, {"model": str(ROOT / "gknet" / "weights" / "gknet-lite.safetensors")[-100:]}),
    ],
)
def test_what_cannot_be_harmonized_is_told_and_costs_that_job_only(
    client: Client, code: str, more: dict[str, Any]
) -> None:
    request = job(**more)
    client.send(request)
    error = client.final()
    assert isinstance(error, Error) and (error.code, error.job) == (code, request.job) and error.message, error
    succeeds(client)


# Cancel, queue, several clients


def test_cancel_is_acknowledged_at_once_while_a_stage_runs(daemon: Daemon, client: Client) -> None:
    other = daemon.client()
    before = other.status()
    with daemon.stopped_worker():
        request = job()
        client.send(request)
        client.until(Progress, stage="copy")
        for _ in range(2):
            assert isinstance(client.receive(timeout=3), Progress)  # a second, and what this machine's other work costs
        assert other.ask(Cancel(request.job)) == Accepted(request.job)
        error = client.final()
        assert isinstance(error, Error) and (error.code, error.job) == (Code.CANCELLED, request.job)
        assert other.status().running == 1
    wait(lambda: other.status().running == 0)
    succeeds(client)
    after = other.status()
    assert (after.cancelled, after.done, after.failed) == (before.cancelled + 1, before.done + 1, before.failed)
    assert not client.socket.poll(100)  # one last answer each
    unknown = other.ask(Cancel(request.job))
    assert isinstance(unknown, Error) and unknown.code == Code.UNKNOWN_JOB


def test_clients_take_turns_and_a_queued_job_can_be_cancelled(daemon: Daemon, client: Client) -> None:
    other = daemon.client()
    with daemon.stopped_worker():
        many = [job() for _ in range(4)]
        for request in many:
            client.send(request)
        assert [client.until(Accepted).ahead for _ in many] == [0, 1, 2, 3]
        single = job()
        assert other.ask(single) == Accepted(single.job, 2)
        assert daemon.client().ask(Cancel(many[2].job)) == Accepted(many[2].job)
        error = client.final()
        assert isinstance(error, Error) and (error.code, error.job) == (Code.CANCELLED, many[2].job)
        twice = client.ask(many[1])
        while not isinstance(twice, Error):
            twice = client.receive()
        assert (twice.code, twice.job) == (Code.BAD_MESSAGE, many[1].job)
    ends = {}
    poller = zmq.Poller()
    for each in (client, other):
        poller.register(each.socket, zmq.POLLIN)
    while len(ends) < 4:
        for ready, _ in poller.poll(20000):
            reply = (client if ready is client.socket else other).receive()
            if isinstance(reply, Result):
                ends[reply.job] = len(ends)
    assert ends[single.job] < ends[many[3].job]


def test_of_two_workers_the_free_one_takes_a_job_at_once(started: Callable[..., Daemon]) -> None:
    daemon = started("--device", "cpu", "--device", "cpu")
    client = daemon.client()
    wait(lambda: [one.state for one in client.status().workers] == ["idle", "idle"])
    one, other = (worker.pid for worker in client.status().workers)
    with stopped(one), stopped(other):
        requests = [job() for _ in range(4)]
        for request in requests:
            client.send(request)
        assert [client.until(Accepted).ahead for _ in requests] == [0, 0, 2, 3]
    assert all(isinstance(client.final(), Result) for _ in requests)


def test_a_full_queue_refuses_with_the_number_of_jobs_ahead(daemon: Daemon, client: Client) -> None:
    with daemon.stopped_worker():
        requests = [job() for _ in range(33)]
        for request in requests:
            client.send(request)
        error = client.final()
        assert isinstance(error, Error) and (error.code, error.job) == (Code.BUSY, requests[-1].job)
        assert error.message.startswith("32 jobs are ahead")
        for request in requests[:-1]:
            client.send(Cancel(request.job))
        codes = [client.final() for _ in requests[:-1]]
        assert all(isinstance(error, Error) and error.code == Code.CANCELLED for error in codes)
    succeeds(client)


def test_a_cancelled_job_counts_until_its_worker_is_done_with_it(started: Callable[..., Daemon]) -> None:
    daemon = started("--job-bytes", "30000")
    client = daemon.client()
    with daemon.stopped_worker():
        request = job()
        client.send(request)
        client.until(Progress, stage="copy")
        client.send(Cancel(request.job))
        client.until(Error, code=Code.CANCELLED)
        error = client.ask(job())
        assert isinstance(error, Error) and error.code == Code.BUSY and error.message.startswith("1 jobs are ahead")
    wait(lambda: client.status().running == 0)
    succeeds(client)


def test_a_result_counts_until_its_client_has_read_it(started: Callable[..., Daemon]) -> None:
    daemon = started("--job-bytes", "8000000")
    client = daemon.client()
    slow = Dealer(daemon.connection["endpoints"][0], daemon.connection["key"])
    slow.send(messages.pack(job(1024)))
    while not slow.wait(10):
        pass
    while slow.unsent:
        slow.wait(1)
    wait(lambda: client.status().done == 1)
    error = client.ask(job(1024))
    assert isinstance(error, Error) and error.code == Code.BUSY, error
    while not any(isinstance(messages.unpack_reply(frames), Result) for frames in slow.wait(10)):
        pass
    slow.close()
    wait(lambda: isinstance(client.ask(job(1024)), Accepted))
    assert isinstance(client.final(), Result)


def test_a_killed_client_is_noticed_and_its_job_cancelled(daemon: Daemon, client: Client) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_daemon import *\n"
        "client = Client(json.loads(Path(sys.argv[2]).read_text()))\n"
        "client.send(job(512))\n"
        "client.until(Progress)\n"
        "print('sent', flush=True)\n"
        "client.final()\n"
    )
    before = client.status().cancelled
    with daemon.stopped_worker():
        line = [sys.executable, "-c", script, str(Path(__file__).parent), str(daemon.file("connection.json"))]
        with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout and process.stdout.readline() == "sent\n"
            process.kill()
        wait(lambda: client.status().cancelled == before + 1, timeout=3)
    succeeds(client)


# Who and what is kept out


def test_who_has_no_key_gets_no_answer(daemon: Daemon, client: Client) -> None:
    for key in ("0" * 64, "short"):
        stranger = daemon.client(key)
        stranger.send(Hello("stranger"))
        assert not stranger.socket.poll(300)
    keyless = zmq.Context.instance().socket(zmq.DEALER)
    keyless.linger = 0
    keyless.connect(daemon.connection["endpoints"][0])
    keyless.send_multipart(messages.pack(Hello("stranger")))
    assert not keyless.poll(300)
    keyless.close()
    assert isinstance(client.ask(Hello("a friend")), Welcome)
    wait(lambda: "connections came to nothing" in daemon.log())
    assert "stranger" not in daemon.log() and "a friend" in daemon.log()


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200),
        b"",
        b"\xff",
    ],
)
def test_other_protocols_do_no_harm(daemon: Daemon, client: Client, noise: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(daemon.connection["endpoints"][0].partition("://")[2])
        stranger.sendall(noise + np.random.default_rng(0).bytes(1000) if noise else b"")
    assert isinstance(client.ask(Hello("a friend")), Welcome)


def header(**values: Any) -> bytes:
    packed: bytes = msgpack.packb({"protocol": [1, 0], **values})
    return packed


def harmonize(rect: list[int], size: int, **image: Any) -> list[bytes]:
    image = {"rect": rect, "layout": "RGBA", "dtype": "u8", "transfer": "srgb", **image}
    return [header(type="harmonize", job="1", image=image, frames=["image"]), bytes(size)]


@pytest.mark.parametrize(
    ("code", "frames"),
    [
        (Code.BAD_MESSAGE, [b""]),
        (Code.BAD_MESSAGE, [b"\xc1"]),
        (Code.BAD_MESSAGE, [b"random bytes"]),
        (Code.BAD_MESSAGE, [b"\x91" * 60000]),
        (Code.BAD_MESSAGE, [b"\xdf\xff\xff\xff\xff"]),
        (Code.BAD_MESSAGE, [msgpack.packb(msgpack.ExtType(1, b"x"))]),
        (Code.BAD_MESSAGE, [header(type="steal")]),
        (Code.PROTOCOL, [msgpack.packb({"type": "status", "protocol": [2, 0]})]),
        (Code.TOO_LARGE, [header(type="status", more="x" * 65536)]),
        (Code.TOO_LARGE, [header(type="status"), *([b""] * 8)]),
        (Code.BAD_MESSAGE, harmonize([0, 0, 64, 64], 64 * 64 * 4 - 1)),
        (Code.BAD_MESSAGE, harmonize([0, 0, 65536, 65536], 0)),
        (Code.BAD_MESSAGE, harmonize([0, 0, 10**9, 1], 100)),
        (Code.BAD_MESSAGE, harmonize([0, 0, -64, -64], 64 * 64 * 4)),
        (Code.BAD_MESSAGE, harmonize([0, 0, 2**63, 1], 100)),
        (Code.BAD_MESSAGE, harmonize([0, 0, 64, 64], 64 * 64 * 4, dtype="f64")),
    ],
)
def test_a_broken_message_is_refused_without_harm(client: Client, code: str, frames: list[bytes]) -> None:
    before = client.status().memory
    for _ in range(20):
        client.socket.send_multipart(frames)
        error = client.receive()
        assert isinstance(error, Error) and error.code == code, error
    assert client.status().memory - before < 4e6


def test_a_frame_beyond_the_limit_costs_the_connection_before_it_is_read(daemon: Daemon, client: Client) -> None:
    before = client.status().memory
    dealer = Dealer(daemon.connection["endpoints"][0], daemon.connection["key"])
    dealer.send(messages.pack(Hello("a liar")))
    while not dealer.wait(10):
        pass
    with socket.socket(fileno=os.dup(dealer.fileno())) as raw:
        raw.sendall(b"\x02" + (1 << 62).to_bytes(8, "big") + bytes(1000))
    with pytest.raises(LinkError) as raised:
        while not dealer.wait(10):
            pass
    dealer.close()
    assert raised.value.code == Code.LOST
    assert client.status().memory - before < 4e6


def test_only_the_user_can_reach_the_files(daemon: Daemon) -> None:
    assert stat.S_IMODE(daemon.file("").stat().st_mode) == 0o700
    assert stat.S_IMODE(daemon.file("connection.json").stat().st_mode) == 0o600
    assert len(bytes.fromhex(daemon.connection["key"])) == 32
    assert daemon.connection["pid"] == daemon.process.pid


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs to become another user")
def test_another_user_cannot_connect(daemon: Daemon) -> None:
    daemon.folder.chmod(0o755)
    daemon.folder.parent.chmod(0o755)
    script = "import os, socket, sys; os.setuid(int(sys.argv[2])); socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    path = daemon.connection["endpoints"][0].partition("://")[2]
    mine, theirs = (
        subprocess.run([sys.executable, "-c", script, path, str(user)], capture_output=True, text=True)
        for user in (0, 65534)
    )
    assert mine.returncode == 0, mine.stderr
    assert theirs.returncode == 1 and "PermissionError" in theirs.stderr


def test_the_log_holds_nothing_that_a_client_says(daemon: Daemon, client: Client) -> None:
    request = replace(job(model="secret model"), job="secret job")
    client.send(request)
    error = client.final()
    assert isinstance(error, Error) and "secret model" in error.message
    client.socket.send_multipart([header(type="secret type")])
    assert isinstance(client.final(), Error)
    assert "unknown_model" in daemon.log() and "secret" not in daemon.log()


def test_the_daemon_itself_has_no_torch(daemon: Daemon) -> None:
    daemon.worker()
    assert "libtorch" not in Path(f"/proc/{daemon.process.pid}/maps").read_text()


# Starting, ending, being killed


def test_a_killed_worker_costs_its_job_only(daemon: Daemon, client: Client) -> None:
    with daemon.stopped_worker() as pid:
        request = job()
        client.send(request)
        client.until(Progress, stage="copy")
        os.kill(pid, signal.SIGKILL)
        start = time.monotonic()
        error = client.final()
        assert time.monotonic() - start < 2
    assert isinstance(error, Error) and (error.code, error.job) == (Code.WORKER_DIED, request.job)
    assert error.log and Path(error.log).is_file()
    succeeds(client)


class Impatient(Daemon):
    """One that gives a worker a second for a job that nobody wants any more."""

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        script = "from backend import daemon, settings; daemon._STUCK = 1.0; daemon.serve(settings.Settings())"
        return subprocess.Popen([sys.executable, "-c", script], env=self.environment, cwd=ROOT, text=True)


def test_a_worker_that_hangs_is_replaced_when_its_job_is_cancelled(tmp_path: Path) -> None:
    daemon = Impatient(tmp_path)
    try:
        client = daemon.client()
        with daemon.stopped_worker() as pid:
            request = job()
            client.send(request)
            client.until(Progress, stage="copy")
            daemon.client().send(Cancel(request.job))
            client.until(Error, code=Code.CANCELLED)
            succeeds(client)
        assert not psutil.pid_exists(pid)
        wait(lambda: not daemon.segments())
    finally:
        daemon.close()


def test_a_daemon_that_nobody_can_find_leaves_and_takes_nothing_of_another_with_it(
    started: Callable[..., Daemon],
) -> None:
    lost = started()
    shutil.rmtree(lost.file(""))
    found = started(folder=lost.folder)
    assert lost.process.wait(10) == 0 and "cannot find it" in lost.log()
    assert isinstance(found.client().ask(Hello("hello")), Welcome)
    found.file("connection.json").unlink()
    assert found.process.wait(10) == 0
    assert [path.name for path in found.file("").iterdir()] == ["lock"]


def test_what_was_killed_altogether_is_cleared_up_by_the_next(started: Callable[..., Daemon]) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    left, others = SHM / f"harmonize-{ended.pid}-1", SHM / f"harmonize-{os.getpid()}-1"
    left.touch()
    others.touch()
    try:
        started()
        assert not left.exists() and others.exists()
    finally:
        others.unlink()


class Limited(Daemon):
    """One that begins with few open files, as it does by default on most systems."""

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        line = ["sh", "-c", 'ulimit -S -n 128; exec "$@"', "sh", sys.executable, "-m", "backend.cli", *arguments]
        return subprocess.Popen(line, env=self.environment, cwd=ROOT, text=True)


def test_a_flood_of_connections_without_a_key_does_no_harm(tmp_path: Path) -> None:
    daemon = Limited(tmp_path, "--tcp")
    flood: list[socket.socket] = []
    try:
        host, port = daemon.connection["endpoints"][1].removeprefix("tcp://").split(":")
        flood += [socket.create_connection((host, int(port))) for _ in range(300)]
        succeeds(daemon.client())
    finally:
        for connection in flood:
            connection.close()
        daemon.close()


def test_weights_with_a_name_that_no_message_may_hold(started: Callable[..., Daemon], tmp_path: Path) -> None:
    weights = tmp_path / f"{'long' * 40}\n.safetensors"
    weights.symlink_to(ROOT / "gknet" / "weights" / "gknet-lite.safetensors")
    daemon = started("--model", str(weights))
    client = daemon.client()
    succeeds(client)
    assert client.status().workers[0].model == "long" * 25


def test_sigterm_answers_jobs_and_leaves_nothing(started: Callable[..., Daemon]) -> None:
    daemon = started("--tcp")
    assert [endpoint[:6] for endpoint in daemon.connection["endpoints"]] == ["ipc://", "tcp://"]
    client = daemon.client()
    with daemon.stopped_worker() as pid:
        client.send(job())
        client.until(Progress, stage="copy")
        assert daemon.segments()
        daemon.process.terminate()
        error = client.final()
        assert isinstance(error, Error) and error.code == Code.STOPPING
        assert daemon.process.wait(10) == 0
        assert not psutil.pid_exists(pid)
        assert daemon.process.communicate() == ("", "")
    assert not daemon.segments()
    assert [path.name for path in daemon.file("").iterdir() if path.name != "lock"] == []


def test_a_killed_daemon_leaves_no_worker_and_no_segment_and_is_replaced(started: Callable[..., Daemon]) -> None:
    daemon = started()
    client = daemon.client()
    pid = daemon.worker()
    client.send(job(512, feather=1000.0))
    client.until(Progress, stage="foreground")
    daemon.process.kill()
    daemon.process.wait()
    wait(lambda: not psutil.pid_exists(pid), timeout=5)
    wait(lambda: not daemon.segments(), timeout=5)
    replacement = started(folder=daemon.folder)
    assert replacement.connection["key"] != daemon.connection["key"]
    assert isinstance(replacement.client().ask(Hello("again")), Welcome)


def test_an_idle_daemon_leaves(started: Callable[..., Daemon]) -> None:
    daemon = started("--idle", "0.5")
    assert daemon.process.wait(10) == 0
    assert not daemon.file("connection.json").exists()
    assert "leaving after 0.5 seconds" in daemon.log()


def test_there_is_one_daemon_a_user(daemon: Daemon) -> None:
    second = daemon.command("serve")
    _, complaint = second.communicate(timeout=20)
    assert second.returncode == 3 and "running" in complaint and complaint.count("\n") == 1
    assert daemon.file("connection.json").exists()
    assert isinstance(daemon.client().ask(Hello("still there")), Welcome)


def test_a_directory_that_cannot_be_used_is_named(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {**daemon.environment, DIRECTORY_VARIABLE: str(tmp_path / "file")}
    line = [sys.executable, "-m", "backend.cli", "serve"]
    done = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 3 and str(tmp_path / "file") in done.stderr and done.stderr.count("\n") == 1


def test_a_device_that_is_not_there_is_told(started: Callable[..., Daemon]) -> None:
    client = started("--device", "cuda:99").client()
    client.send(job())
    error = client.final()
    assert isinstance(error, Error) and error.code == Code.INTERNAL and "no device 'cuda:99'" in error.message


def test_the_commands_speak_to_the_daemon(started: Callable[..., Daemon]) -> None:
    daemon = started()
    status = daemon.command("status", "--json")
    report = json.loads(status.communicate()[0])
    assert report["pid"] == daemon.process.pid and report["workers"][0]["device"]
    assert daemon.command("status").communicate()[0].startswith("daemon ")
    assert "listening on ipc://" in daemon.command("logs").communicate()[0]
    stop = daemon.command("stop")
    assert stop.communicate() == ("the daemon has stopped\n", "") and stop.returncode == 0
    successor = started(folder=daemon.folder)  # waits for one that is still leaving
    assert daemon.process.wait(10) == 0
    successor.close()
    status = daemon.command("status")
    _, complaint = status.communicate()
    assert status.returncode == 3 and "no daemon is running" in complaint
    stop = daemon.command("stop")
    assert stop.communicate()[0] == "no daemon is running\n" and stop.returncode == 0


@pytest.mark.parametrize("case", ["RGB 8", "RGBA 16", "grey 8", "RGB float", "own alpha", "soft, half"])
def test_run_gives_the_same_bytes_with_and_without_daemon(daemon: Daemon, tmp_path: Path, case: str) -> None:
    """And loads no torch where the daemon computes."""
    depth = "f32" if "float" in case else "u16" if "16" in case else "u8"
    image = picture(300, 200, {"R": 3, "g": 1, "o": 4, "s": 3}[case[0]] + ("RGBA" in case), depth)
    arguments = ["in.tif", "mask.png", "--strength", "0.5" if "half" in case else "1"]
    mask = disc(300, 200)
    if case == "own alpha":
        image[..., 3] = mask
        del arguments[1]
    images.write(tmp_path / "in.tif", Picture(image[..., 0] if image.shape[2] == 1 else image))
    images.write(tmp_path / "mask.png", Picture(mask if "soft" in case else mask // 255 * 255))
    said, written = {}, {}
    for how in ("--daemon", "--no-daemon", "--device=auto"):
        line = [sys.executable, "-X", "importtime", "-m", "backend.cli", "run", *arguments, "-o", "out.tif"]
        line += [] if how == "--device=auto" and case != "RGB 8" else [how]
        environment = {**daemon.environment, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said[how], written[how] = done.stdout, (tmp_path / "out.tif").read_bytes()
        assert (" torch\n" in done.stderr) != ("by the daemon" in done.stdout)
    assert len(set(written.values())) == 1 and written["--daemon"] != (tmp_path / "in.tif").read_bytes()
    assert "by the daemon" in said["--daemon"] and "by the daemon" not in said["--no-daemon"]
    assert ("by the daemon" in said["--device=auto"]) == (case != "RGB 8")  # whoever names a device wants it here


def test_run_starts_a_daemon_only_when_told(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hz") as runtime:
        environment = {**os.environ, DIRECTORY_VARIABLE: runtime, "XDG_STATE_HOME": str(tmp_path)}
        images.write(tmp_path / "in.png", Picture(picture(64, 64, 3)))
        images.write(tmp_path / "mask.png", Picture(disc(64, 64)))

        def command(*arguments: str) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-m", "backend.cli", *arguments]
            return subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True)

        files = [str(tmp_path / name) for name in ("in.png", "mask.png")]
        run = ["run", *files, "-o", str(tmp_path / "out.png")]
        assert "by the daemon" not in command(*run).stdout
        assert command("status").returncode == 3
        refused = command(*run, "--daemon", "--device", "cpu")
        assert refused.returncode == 2 and "exclude each other" in refused.stderr
        try:
            assert "by the daemon" in command(*run, "--daemon").stdout
            unknown = command(*run, "--daemon", "--model", "nonesuch")
            assert unknown.returncode == 3 and "there is no model 'nonesuch'" in unknown.stderr
            assert "by the daemon" in command(*run).stdout
            made = {}
            for told in ("--pasted", "--in-place"):
                for where in ("--daemon", "--no-daemon"):
                    assert command(*run, told, where).returncode == 0
                    made[told, where] = (tmp_path / "out.png").read_bytes()
                assert made[told, "--daemon"] == made[told, "--no-daemon"]
            assert made["--pasted", "--daemon"] != made["--in-place", "--daemon"]
        finally:
            assert command("stop").returncode == 0
        assert "by the daemon" not in command(*run).stdout


def test_status_loads_nothing_heavy(daemon: Daemon) -> None:
    script = (
        "import sys\nfrom backend.cli import main\n"
        "try:\n    main(['status'])\n"
        "finally:\n    print([name for name in ('numpy', 'torch', 'zmq', 'asyncio') if name in sys.modules])\n"
    )
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, env=daemon.environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("[]\n"), done


def test_shutdown_is_accepted(started: Callable[..., Daemon]) -> None:
    daemon = started()
    assert daemon.client().ask(Shutdown()) == Accepted()
    assert daemon.process.wait(10) == 0
