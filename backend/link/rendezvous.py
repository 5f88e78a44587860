"""How a client and the daemon find each other: by a file in a private directory that tells where, and the key.

The directory is `harmonize` in XDG_RUNTIME_DIR, or one of the user's own where that is not set; HARMONIZE_RUNTIME_DIR
names another. The daemon calls lock(), ipc_endpoint(), announce() and withdraw(), a client find() and Launch.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .messages import PROTOCOL, Code, LinkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DIRECTORY_VARIABLE = "HARMONIZE_RUNTIME_DIR"

_IPC_BYTES = 100  # some systems hold no longer path of a socket
_FILE_BYTES = 64 * 1024
_STARTUP = 60.0
_LOOK = 0.02
_STDERR = 2000
# An editor's own libraries and modules are not for the daemon's Python.
_EDITORS_VARIABLES = ("LD_", "DYLD_", "PYTHON", "__PYVENV_LAUNCHER__")

_started: list[subprocess.Popen[bytes]] = []  # daemons, to be reaped should they end before this process


@dataclass(frozen=True)
class Connection:
    """What the connection file says.

    Attributes:
        endpoints: where the daemon listens, the best first.
        key: what lets a client in.
        pid: the daemon's process.
        started: when, in seconds since 1970.
        protocol: [major, minor] of its messages.
        package: its version.
    """

    endpoints: tuple[str, ...]
    key: str
    pid: int
    started: float
    protocol: tuple[int, ...]
    package: str


def directory() -> Path:
    """Where the connection file, the lock and the socket are, whether or not it exists."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named).absolute()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "harmonize"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir())) / "harmonize" / "run"
    return Path(tempfile.gettempdir()) / f"harmonize-{os.getuid()}"


def connection_file() -> Path:
    """Where the connection file is, whether or not it exists."""
    return directory() / "connection.json"


def ipc_endpoint() -> str | None:
    """The endpoint of the daemon's Unix socket; None where there cannot be one, so that it must listen on tcp."""
    path = directory().absolute() / "socket"
    return f"ipc://{path}" if hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) < _IPC_BYTES else None


@contextmanager
def lock() -> Iterator[None]:
    """Be the user's only daemon. The system releases the lock of a process that dies.

    Raises:
        LinkError: `not_started`: another has the lock; `directory`: the directory cannot be used.
    """
    _prepare(directory())
    path = directory() / "lock"
    try:
        file = path.open("ab")
    except OSError as error:
        raise _unusable(path, error) from error
    with file:
        try:
            _lock(file)
        except OSError:
            raise LinkError(Code.NOT_STARTED, "a daemon is running already") from None
        yield


def announce(endpoints: Sequence[str], key: str, package: str) -> None:
    """Write the connection file, which nobody else can read, all at once.

    Raises:
        LinkError: `directory`: the directory cannot be used.
    """
    _prepare(directory())
    connection = Connection(tuple(endpoints), key, os.getpid(), time.time(), PROTOCOL, package)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix="connection-", dir=str(directory()))  # only its owner may read
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(connection), file)
        os.replace(temporary, connection_file())
    except OSError as error:
        if temporary:
            os.unlink(temporary)
        raise _unusable(connection_file(), error) from error


def withdraw() -> None:
    """Remove the connection file if it is this process's."""
    if is_announced():
        with suppress(OSError):  # what stays tells of a process that is no more, which find() sees
            connection_file().unlink()


def is_announced() -> bool:
    """Whether clients can find this process: the connection file is there, and its own."""
    connection = _read(connection_file())
    return connection is not None and connection.pid == os.getpid()


def find(file: Path | None = None) -> Connection | None:
    """The daemon that `file` tells of, by default connection_file(); None when there is none, or it is dead.

    Raises:
        LinkError: `directory`: others than the user can write there, so what it says is not to be trusted.
    """
    file = file or connection_file()
    if not os.path.lexists(file):
        return None
    _check_private(file.parent)
    connection = _read(file)
    return connection if connection is not None and is_alive(connection.pid) else None


class Launch:
    """A daemon on its way: `poll` now and then, as an editor's event loop would, or `wait`."""

    def __init__(self, python: str, file: Path | None = None, stale: Connection | None = None) -> None:
        """Start a daemon.

        Args:
            python: the interpreter that has the package; inside of an editor, sys.executable is another.
            file: the connection file that it is to write, by default connection_file().
            stale: what find() said of a daemon that does not answer.

        Raises:
            LinkError: `directory`: the directory cannot be used; `not_started`: there is no such interpreter.
        """
        self._file = file or connection_file()
        self._stale = stale
        self._deadline = time.monotonic() + _STARTUP
        _prepare(self._file.parent)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_EDITORS_VARIABLES)}
        environment[DIRECTORY_VARIABLE] = str(self._file.parent.absolute())
        try:
            # A pipe would end the daemon along with this process.
            self._stderr = tempfile.TemporaryFile(dir=str(self._file.parent))
        except OSError as error:
            raise _unusable(self._file.parent, error) from error
        try:
            self._process = subprocess.Popen(
                [python, "-m", "backend.cli", "serve"],
                env=environment,
                # Python looks for modules in the working directory, so it must not be one in which others write.
                cwd=str(self._file.parent),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                **_DETACHED,
            )
        except OSError as error:
            self._stderr.close()
            raise LinkError(
                Code.NOT_STARTED, f"the daemon's Python cannot be run: {error}", "install harmonize again"
            ) from error
        _started.append(self._process)

    def poll(self) -> Connection | None:
        """The daemon, be it this one or one that was started at the same time; None: not yet.

        Raises:
            LinkError: `not_started`: it has died, with what it said; `timeout`: it takes too long.
        """
        connection = find(self._file)
        if connection is not None and connection != self._stale:
            self._stderr.close()
            return connection
        status = self._process.poll()
        if status is not None and not _is_locked(self._file.parent):
            self._stderr.seek(0)
            said = self._stderr.read().decode("utf-8", "replace").strip()[-_STDERR:]
            self._stderr.close()
            raise LinkError(
                Code.NOT_STARTED, f"the daemon ended with status {status}: {said or 'it said nothing'}", _LOGS
            )
        if time.monotonic() > self._deadline:
            self._stderr.close()
            raise LinkError(Code.TIMEOUT, f"the daemon has not answered within {_STARTUP:.0f} s", _LOGS)
        return None

    def wait(self) -> Connection:
        """As `poll`, but waits."""
        while True:
            connection = self.poll()
            if connection is not None:
                return connection
            time.sleep(_LOOK)


_LOGS = "see harmonize logs"


def _prepare(folder: Path) -> None:
    """Make the directory, and make it the user's own.

    Raises:
        LinkError: `directory`: that is not possible.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is not writable")
    except OSError as error:
        raise _unusable(folder, error) from error
    _check_private(folder)  # before it is closed to others, as what they have laid there would stay
    if sys.platform != "win32":
        folder.chmod(0o700)


def _check_private(folder: Path) -> None:
    """Refuse a directory in which another user can have laid a file, such as one made by him in a shared place."""
    if sys.platform == "win32":
        return  # a user's folders are his own there
    try:
        found = folder.lstat()
    except OSError as error:
        raise _unusable(folder, error) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise LinkError(
            Code.DIRECTORY,
            f"{folder} is not a directory of this user alone",
            f"remove it, or name another with {DIRECTORY_VARIABLE}",
        )


def _unusable(path: Path, error: OSError) -> LinkError:
    return LinkError(
        Code.DIRECTORY,
        f"{path} cannot be used: {error.strerror or error}",
        f"make room and allow writing there, or name another directory with {DIRECTORY_VARIABLE}",
    )


def _read(file: Path) -> Connection | None:
    """What the file says; None when there is none or it is not one of ours."""
    try:
        with file.open("rb") as opened:
            content = json.loads(opened.read(_FILE_BYTES))
        connection = Connection(
            endpoints=tuple(str(endpoint) for endpoint in content["endpoints"]),
            key=str(content["key"]),
            pid=int(content["pid"]),
            started=float(content["started"]),
            protocol=tuple(int(number) for number in content["protocol"]),
            package=str(content["package"]),
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return connection if connection.pid > 0 else None


def _is_locked(folder: Path) -> bool:
    """Whether a daemon has the directory."""
    try:
        with (folder / "lock").open("ab") as file:
            _lock(file)
    except OSError:
        return True
    return False


if sys.platform == "win32":
    import ctypes
    import msvcrt

    _DETACHED: dict[str, Any] = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    _SYNCHRONIZE, _WAIT_TIMEOUT = 0x100000, 0x102

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def is_alive(pid: int) -> bool:
        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(_SYNCHRONIZE, False, pid))
        if not handle:
            return False
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)
        finally:
            kernel.CloseHandle(handle)

else:
    import fcntl

    _DETACHED: dict[str, Any] = {"start_new_session": True}

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_alive(pid: int) -> bool:
        """Whether there is such a process, as far as that can be seen: a Flatpak sees but its own."""
        if os.path.exists("/.flatpak-info"):
            return True
        for process in _started:
            process.poll()  # else one that has ended would still be there as a zombie
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except (ProcessLookupError, OverflowError):
            return False
        return True
