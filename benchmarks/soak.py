"""A daemon under many clients that cancel and vanish as they please: what it answers, and what it leaves behind.

    python benchmarks/soak.py [--jobs 200] [--clients 8] [--rounds 1] [--seed 0] [--json FILE]

Sizes run from 64x64 to 24 megapixels. Of the jobs an eighth loses its client, some right after sending, some on the
way, and a sixth is cancelled. Every job whose client stays must get exactly one final answer, every result must be the
in-process engine's own. Memory is the resident set after ten jobs, one of each size among them, and after each round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from backend.link import rendezvous
from backend.link.client import Client
from backend.link.messages import (
    Cancel,
    Error,
    Harmonize,
    Image,
    Pixels,
    Rect,
    Result,
    Status,
    new_job,
    pack,
    unpack_reply,
)
from backend.link.zmtp import Dealer
from gknet import Harmonizer

SIDES = [(64, 64), (200, 300), (512, 512), (1000, 1500), (2500, 1700), (6000, 4000)]
WEIGHTS = [6, 6, 6, 4, 3, 1]
VANISH, CANCEL = 1 / 8, 1 / 6
PATIENCE = 300.0
QUIET = 1.0


def request(width: int, height: int) -> tuple[Harmonize, Any, Any]:
    """A job, its picture [H, W, 4] and its mask [H, W]."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(x / 40 + c) * np.cos(y * (c + 1) / 80) for c in range(3)]
    picture = np.full((height, width, 4), 255, np.uint8)
    picture[..., :3] = np.stack(waves, 2) * 60 + 127
    mask = (np.clip(4 - 12 * np.hypot(y / height - 0.5, x / width - 0.5), 0, 1) * 255).astype(np.uint8)
    picture[..., 0] -= mask // 8
    rect = Rect(0, 0, width, height)
    sent = Image(rect, "RGBA", "u8", picture.data)
    return Harmonize(new_job(), sent, selection=Pixels(rect, "GRAY", "u8", mask.data)), picture, mask


class Soak:
    """The jobs, what comes of them, and the daemon."""

    def __init__(self) -> None:
        harmonizer = Harmonizer.load()
        self.jobs: list[Harmonize] = []
        self.expected: list[tuple[Any, Any]] = []
        for width, height in SIDES:
            job, picture, mask = request(width, height)
            self.jobs.append(job)
            colours = np.asarray(harmonizer.harmonize(picture, mask, blend=False).image)[..., :3]
            self.expected.append((colours, mask > 0))
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def play(self, seed: int, count: int) -> None:
        """A client's life: one job after another."""
        rng = random.Random(seed)
        dealer = connect()
        for _ in range(count):
            size = rng.choices(range(len(SIDES)), WEIGHTS)[0]
            job = replace(self.jobs[size], job=new_job())
            fate = rng.random()
            dealer.send(pack(job))
            if fate < VANISH:
                end = time.monotonic() + rng.choice([0.0, rng.random()])
                while time.monotonic() < end:
                    list(dealer.wait(0.05))
                dealer.close()
                dealer = connect()
                self.count("client vanished")
                continue
            cancel = time.monotonic() + rng.random() / 4 if fate < VANISH + CANCEL else float("inf")
            self.count(self.outcome(dealer, job.job, size, cancel))
        dealer.close()

    def outcome(self, dealer: Dealer, job: str, size: int, cancel: float) -> str:
        """Wait for the final answer, cancel on the way, and make sure that it stays the only one."""
        finals: list[str] = []
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if time.monotonic() > cancel:
                dealer.send(pack(Cancel(job)))
                cancel = float("inf")
            for frames in dealer.wait(0.02):
                reply = unpack_reply(frames)
                if isinstance(reply, Result):
                    finals.append("result" if self.is_right(reply, size) else "WRONG RESULT")
                elif isinstance(reply, Error) and reply.job:
                    finals.append(reply.code)
                else:
                    continue
                if reply.job != job:
                    return "ANSWER TO ANOTHER JOB"
                end = time.monotonic() + QUIET / 10
        return finals[0] if len(finals) == 1 else f"{len(finals)} FINAL ANSWERS"

    def is_right(self, result: Result, size: int) -> bool:
        rect = result.pixels.rect
        colours, mask = self.expected[size]
        area = slice(rect.y, rect.y + rect.height), slice(rect.x, rect.x + rect.width)
        received = np.frombuffer(result.pixels.data, np.uint8).reshape(rect.height, rect.width, 4)[..., :3]
        return bool((received[mask[area]] == colours[area][mask[area]]).all())


def connect() -> Dealer:
    connection = rendezvous.find()
    assert connection
    return Dealer(connection.endpoints[0], connection.key)


def quiet() -> Status:
    """The daemon's state once it has nothing to do."""
    while True:
        status = Client("soak").status()
        if not status.running and not status.queued:
            time.sleep(QUIET)  # for what is freed after the last answer
            return Client("soak").status()
        time.sleep(0.2)


def memory(status: Status) -> dict[str, float]:
    return {"daemon_mb": status.memory / 1e6, "worker_mb": sum(one.memory for one in status.workers) / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("jobs", 200), ("clients", 8), ("rounds", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    soak = Soak()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hz") as folder:
        os.environ[rendezvous.DIRECTORY_VARIABLE] = folder + "/run"
        os.environ["XDG_STATE_HOME"] = folder
        pid = rendezvous.Launch(sys.executable).wait().pid
        dealer = connect()
        for number in range(10):
            size = number % len(SIDES)
            job = replace(soak.jobs[size], job=new_job())
            dealer.send(pack(job))
            soak.count(soak.outcome(dealer, job.job, size, float("inf")))
        dealer.close()
        rows.append({"after": "10 jobs", **memory(quiet()), "files": psutil.Process(pid).num_fds()})
        print(rows[-1], flush=True)
        for number in range(arguments.rounds):
            soak.counts.clear()
            start = time.monotonic()
            each = arguments.jobs // arguments.clients
            seeds = [arguments.seed + number * arguments.clients + client for client in range(arguments.clients)]
            threads = [threading.Thread(target=soak.play, args=(seed, each)) for seed in seeds]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - start
            row = {"after": f"{arguments.jobs} more", "seconds": seconds, **dict(soak.counts), **memory(quiet())}
            rows.append({**row, "files": psutil.Process(pid).num_fds()})
            print(rows[-1], flush=True)
        print("segments left:", len(list(Path("/dev/shm").glob(f"harmonize-{pid}-*"))))
        Client("soak").shutdown()
        psutil.Process(pid).wait(20)
        print("left in the runtime directory:", os.listdir(folder + "/run"))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
