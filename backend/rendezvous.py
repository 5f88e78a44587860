"""Stand-in until backend.link.rendezvous is there."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.link.messages import PROTOCOL, Code, LinkError


def directory() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "harmonize" if base else Path(tempfile.gettempdir()) / f"harmonize-{os.getuid()}"


def connection_file() -> Path:
    return directory() / "connection.json"


@contextmanager
def lock() -> Iterator[None]:
    try:
        directory().mkdir(mode=0o700, parents=True, exist_ok=True)
        directory().chmod(0o700)
        file = (directory() / "lock").open("a")
    except OSError as error:
        raise LinkError(Code.DIRECTORY, f"{directory()} cannot be used ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LinkError(Code.NOT_STARTED, "a daemon is running already") from None
        yield


def ipc_endpoint() -> str | None:
    return f"ipc://{directory()}/socket"


def announce(endpoints: list[str], key: str, version: str) -> None:
    content = dict(
        endpoints=endpoints, key=key, pid=os.getpid(), started=time.time(), protocol=list(PROTOCOL), package=version
    )
    temporary = connection_file().with_suffix(".new")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, connection_file())


def withdraw() -> None:
    connection_file().unlink(missing_ok=True)
