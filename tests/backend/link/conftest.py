"""A real ROUTER of pyzmq with authentication, as the daemon binds it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq
from zmq.auth.thread import ThreadAuthenticator

from backend.link.zmtp import USER

KEY = "0123456789abcdef" * 4


@dataclass
class Router:
    socket: zmq.Socket[bytes]
    ipc: str
    tcp: str

    def receive(self, seconds: float = 5) -> list[bytes]:
        """The next message, its sender first."""
        assert self.socket.poll(int(1000 * seconds)), "nothing came"
        return self.socket.recv_multipart()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A private directory whose path is short enough for a Unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="link-") as name:
        yield Path(name)


@pytest.fixture
def router(directory: Path) -> Iterator[Router]:
    context = zmq.Context()
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_plain(domain="*", passwords={USER: KEY})
    socket = context.socket(zmq.ROUTER)
    socket.plain_server = True
    socket.router_mandatory = True
    socket.linger = 0
    ipc = f"ipc://{directory}/socket"
    socket.bind(ipc)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    yield Router(socket, ipc, f"tcp://127.0.0.1:{port}")
    socket.close()
    authenticator.stop()
    context.destroy(linger=0)
