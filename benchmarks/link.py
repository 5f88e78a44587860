"""What the way through the daemon costs: the wire itself, a job against the engine in process, and a question.

    python benchmarks/link.py [--repeat 9] [--json FILE]

wire: 24 megapixels of RGBA (96 MB) to a pyzmq ROUTER in another process and a quarter of it back, by backend.link.zmtp
and by pyzmq without copies, in turns; their ratio is what counts, since machines differ.
job: the same picture harmonized by a daemon that this starts, and by a Harmonizer in this process, in turns.
status: `harmonize status` as a command, from its start to its end.

Times are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from backend.link import rendezvous
from backend.link.client import Client
from backend.link.messages import Harmonize, Image, Pixels, Rect, new_job
from backend.link.zmtp import USER, Dealer
from gknet import Harmonizer

SENT, RECEIVED = 96_000_000, 24_000_000
SIDES = {"512x512": (512, 512), "24 MP": (6000, 4000)}
KEY = "k" * 64
ROUTER = """
import sys
import zmq
from zmq.auth.thread import ThreadAuthenticator

context = zmq.Context()
authenticator = ThreadAuthenticator(context)
authenticator.start()
authenticator.configure_plain(domain="*", passwords={sys.argv[2]: sys.argv[3]})
router = context.socket(zmq.ROUTER)
router.plain_server = True
router.bind("ipc://" + sys.argv[1])
print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
answer = zmq.Frame(bytes(int(sys.argv[4])))
while True:
    client = router.recv_multipart(copy=False)[0]
    router.send_multipart([client.bytes, b"", answer], copy=False)
"""


def in_turns(ways: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Medians of the ways' times; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeat + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def wire(repeat: int) -> Iterator[dict[str, Any]]:
    """zmtp.py beside pyzmq, over each transport."""
    data = bytes(SENT)
    context = zmq.Context()
    with tempfile.TemporaryDirectory(prefix="hz") as folder:
        line = [sys.executable, "-c", ROUTER, f"{folder}/s", USER, KEY, str(RECEIVED)]
        server = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert server.stdout
        port = int(server.stdout.readline())
        for endpoint in (f"ipc://{folder}/s", f"tcp://127.0.0.1:{port}"):
            ours = Dealer(endpoint, KEY)
            theirs = context.socket(zmq.DEALER)
            theirs.plain_username, theirs.plain_password = USER.encode(), KEY.encode()
            theirs.connect(endpoint)

            def by_zmtp(dealer: Dealer = ours) -> None:
                dealer.send([b"", memoryview(data)])
                received: list[Any] = []
                while not received:
                    received = list(dealer.wait(5))
                assert len(received[0][1]) == RECEIVED

            def by_pyzmq(dealer: zmq.Socket[bytes] = theirs) -> None:
                dealer.send_multipart([b"", data], copy=False)
                assert len(dealer.recv_multipart(copy=False)[1]) == RECEIVED

            times = in_turns({"ours": by_zmtp, "theirs": by_pyzmq}, repeat)
            ours.close()
            yield {"case": f"wire, {endpoint[:3]}", **times, "ratio": times["ours"] / times["theirs"]}
        server.kill()
        server.wait()
    context.destroy(0)


@contextmanager
def daemon() -> Iterator[None]:
    """A daemon of its own, warm."""
    with tempfile.TemporaryDirectory(prefix="hz") as folder:
        os.environ[rendezvous.DIRECTORY_VARIABLE] = os.environ["XDG_STATE_HOME"] = folder
        rendezvous.Launch(sys.executable).wait()
        client = Client("benchmark")
        try:
            while client.status().workers[0].state != "idle":
                time.sleep(0.1)
            yield
        finally:
            client.shutdown()
            while rendezvous.find():
                time.sleep(0.05)


def job(repeat: int) -> Iterator[dict[str, Any]]:
    """The daemon beside the engine in process."""
    harmonizer = Harmonizer.load()
    for name, (width, height) in SIDES.items():
        image = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
        image[..., 3] = 255
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
        box = Rect(width // 4, height // 4, width // 2, height // 2)  # an editor sends no more of a selection
        selected = np.full((box.height, box.width), 255, np.uint8)
        sent = Image(Rect(0, 0, width, height), "RGBA", "u8", image.data)
        selection = Pixels(box, "GRAY", "u8", selected.data)
        client = Client("benchmark")

        def by_daemon(sent: Image = sent, selection: Pixels = selection, client: Client = client) -> None:
            client.harmonize(Harmonize(new_job(), sent, selection=selection))

        def in_process(image: Any = image, mask: Any = mask) -> None:
            harmonizer.harmonize(image, mask, blend=False, crop=True)

        times = in_turns({"ours": by_daemon, "theirs": in_process}, repeat)
        client.close()
        yield {"case": f"job, {name}", **times, "ratio": times["ours"] / times["theirs"]}


def status(repeat: int) -> Iterator[dict[str, Any]]:
    """The command."""
    line = [str(Path(sys.executable).with_name("harmonize")), "status"]
    times = in_turns({"ours": lambda: subprocess.run(line, check=True, stdout=subprocess.DEVNULL)}, repeat)
    yield {"case": "harmonize status", **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores")
    print(f"{'':20s}{'through it':>12s}{'pyzmq / in process':>20s}{'difference':>12s}{'ratio':>8s}")
    rows = []

    def show(row: dict[str, Any]) -> None:
        rows.append(row)
        line = f"{row['case']:20s}{row['ours']:12.1f}"
        if "theirs" in row:
            line += f"{row['theirs']:20.1f}{row['ours'] - row['theirs']:12.1f}{row['ratio']:8.2f}"
        print(line, flush=True)

    for row in wire(arguments.repeat):
        show(row)
    with daemon():
        for measure in (job, status):
            for row in measure(arguments.repeat):
                show(row)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
