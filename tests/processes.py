"""Waiting for other processes, and stopping them for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Listener
from pathlib import Path


def wait(condition: Callable[[], bool], timeout: float = 40) -> None:
    """Until it holds; a failure after so many seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)


@contextmanager
def stopped(pid: int) -> Iterator[int]:
    """As if what the process does took very long. In the block it may also end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def accept(listener: Listener, process: subprocess.Popen[bytes], log: Path) -> Connection:
    """The connection of the driver in an editor, whose start takes some seconds with a fresh home.

    `log`: what the editor prints, for the failure where it ends instead.
    """
    deadline = time.monotonic() + 180
    listener._listener._socket.settimeout(0.5)  # type: ignore[attr-defined]
    while True:
        try:
            return listener.accept()
        except TimeoutError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the editor does not start"
