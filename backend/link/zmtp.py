"""A DEALER of ZeroMQ's wire protocol (ZMTP 3.1, mechanism PLAIN) on the sockets of the standard library.

Session is the protocol without a socket: bytes in, messages and bytes out. Dealer gives it a connection over ipc:// or
tcp://, to be used blocking or from an event loop. The specification is ZeroMQ's RFC 37; the mechanism's is RFC 24.
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from .messages import FRAMES, HEADER_BYTES, JOB_BYTES, Code, LinkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .messages import Buffer

USER = "harmonize"

_MORE, _LONG, _COMMAND = 1, 2, 4
_GREETING = 64
_SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"
_MECHANISM = b"PLAIN".ljust(20, b"\0")
_SCRATCH = 64 * 1024
_COMMAND_BYTES = 4096
_PING_CONTEXT = 16
_ERROR_OF_LIBZMQ = b"\x5eRROR"  # its source, up to 4.3.5 at least, has "\x5ERROR" where "\5ERROR" is meant
_SOCKET_BUFFER = 4 * 1024 * 1024


class Session:
    """The client's end of one connection, from greeting to messages, without any input or output.

    To read, write bytes into `space()` and say how many with `filled()`: a large frame's bytes so go straight to where
    they stay. To write, send some of `pending()` and say how many with `sent()`.

    Attributes:
        ready: the peer has accepted the key.
        received: the messages that came, each a list of frames; take them out.
    """

    def __init__(self, key: str, limit: int = JOB_BYTES) -> None:
        """`limit` is the most bytes of one message that are accepted."""
        self.ready = False
        self.received: list[list[Buffer]] = []
        self._key = key.encode()
        self._limit = limit
        self._expected = b""  # the next command of the handshake; none before the greeting
        self._frames: list[Buffer] = []
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._start = self._end = 0  # what the scratch memory holds that is not yet understood
        self._large: memoryview | None = None  # the frame that is coming in beside the scratch memory
        self._large_filled = 0
        self._large_more = False
        self._output: deque[memoryview] = deque()
        self._waiting: list[memoryview] = []  # messages that the handshake holds up
        self._write(_SIGNATURE + b"\x03\x01" + _MECHANISM + bytes(_GREETING - 32))

    def space(self) -> memoryview:
        """Where the next bytes from the peer belong; never empty."""
        return self._scratch[self._end :] if self._large is None else self._large[self._large_filled :]

    def filled(self, count: int) -> None:
        """The first `count` bytes of `space()` have come.

        Raises:
            LinkError: `refused`: the peer does not take the key; `too_large`; `bad_message`: it does not speak ZMTP.
                The session is over then. Messages that came before are in `received`.
        """
        if self._large is None:
            self._end += count
            while self._next():
                pass
            if self._start:
                # A frame that fits is awaited in the scratch memory, so there must be room for all of it.
                held = self._scratch[self._start : self._end].tobytes()
                self._scratch[: len(held)] = held
                self._start, self._end = 0, len(held)
        else:
            self._large_filled += count
            if self._large_filled == len(self._large):
                frame, self._large = self._large, None
                self._frame(frame, self._large_more)

    def send(self, frames: Sequence[Buffer]) -> None:
        """Queue a message. Large frames are not copied: leave them as they are until `pending()` is None."""
        output: list[memoryview] = []
        head = bytearray()
        for index, frame in enumerate(frames):
            view = memoryview(frame)
            head += _frame_head(_MORE if index < len(frames) - 1 else 0, view.nbytes)
            if view.nbytes <= _SCRATCH:
                head += view.tobytes()
            else:
                output += [memoryview(head), view.cast("B")]
                head = bytearray()
        if head:
            output.append(memoryview(head))
        if self.ready:
            self._output.extend(output)
        else:
            self._waiting.extend(output)

    def pending(self) -> memoryview | None:
        """What is to be sent next, or None."""
        return self._output[0] if self._output else None

    def sent(self, count: int) -> None:
        """The first `count` bytes of `pending()` have gone."""
        rest = self._output.popleft()[count:]
        if rest:
            self._output.appendleft(rest)

    def unsent(self) -> bool:
        """Whether something is to be sent, be it only after the handshake."""
        return bool(self._output or self._waiting)

    def abandon(self) -> None:
        """Forget what is unsent."""
        self._output.clear()
        self._waiting.clear()

    def _write(self, data: bytes) -> None:
        self._output.append(memoryview(data))

    def _next(self) -> bool:
        """Understand the greeting or one frame in the scratch memory; False when more bytes are needed."""
        held = self._scratch[self._start : self._end]
        if not self._expected and not self.ready:
            return self._greeting(held)
        if len(held) < 2:
            return False
        flags = held[0]
        if flags > 7 or flags & _COMMAND and flags & _MORE:
            raise _strange(f"a frame with the flags {flags:#04x}")
        head = 9 if flags & _LONG else 2
        if len(held) < head:
            return False
        size: int = struct.unpack(">Q", held[1:9])[0] if flags & _LONG else held[1]
        self._check_size(flags, size)
        if len(held) >= head + size:
            self._start += head + size
            body = held[head : head + size].tobytes()
            if flags & _COMMAND:
                self._command(body)
            else:
                self._frame(body, bool(flags & _MORE))
            return True
        if head + size > _SCRATCH:
            self._large = _allocate(size)
            self._large_more = bool(flags & _MORE)
            self._large_filled = len(held) - head
            self._large[: self._large_filled] = held[head:]
            self._start = self._end
        return False

    def _greeting(self, held: memoryview) -> bool:
        if held and held[0] != 0xFF or len(held) >= 10 and held[9] != 0x7F:
            raise _strange("no greeting of ZeroMQ")
        if len(held) < _GREETING:
            return False
        if held[10] < 3:
            raise _strange(f"version {held[10]} of ZeroMQ's protocol")
        if held[12:32] != _MECHANISM:
            raise _strange("another mechanism than PLAIN")
        self._start += _GREETING
        hello = bytes([len(USER)]) + USER.encode() + bytes([len(self._key)]) + self._key
        self._write(_command(b"HELLO", hello))
        self._expected = b"WELCOME"
        return True

    def _check_size(self, flags: int, size: int) -> None:
        """Before anything is allocated."""
        if flags & _COMMAND:
            limit = _COMMAND_BYTES
        elif len(self._frames) == FRAMES:
            raise LinkError(Code.TOO_LARGE, f"the daemon sent a message of more than {FRAMES} frames")
        elif not self._frames:
            limit = min(HEADER_BYTES, self._limit)
        else:
            limit = self._limit - sum(len(frame) for frame in self._frames)
        if size > limit:
            raise LinkError(Code.TOO_LARGE, f"the daemon sent a frame of {size} bytes, {limit} at most were expected")

    def _command(self, body: bytes) -> None:
        if body.startswith(_ERROR_OF_LIBZMQ):
            body = b"\x05E" + body[1:]
        name, data = (body[1 : 1 + body[0]], body[1 + body[0] :]) if body else (b"", b"")
        if self.ready:
            # Commands of later versions, and PONG, need no answer.
            if name == b"PING":
                self._write(_command(b"PONG", data[2 : 2 + _PING_CONTEXT]))
        elif name == b"ERROR":
            reason = data[1 : 1 + data[0]].decode("ascii", "replace") if data else ""
            raise LinkError(Code.REFUSED, f"the daemon refused the connection: {ascii(reason)}", "restart the daemon")
        elif name != self._expected:
            raise _strange(f"{ascii(name)} during the handshake, where {self._expected.decode()} belongs")
        elif name == b"WELCOME":
            self._write(_command(b"INITIATE", _property("Socket-Type", b"DEALER")))
            self._expected = b"READY"
        else:
            kind = _properties(data).get("socket-type")
            if kind not in (b"ROUTER", b"DEALER", b"REP"):
                raise _strange(f"a socket of type {ascii(kind)}")
            self.ready = True
            self._output.extend(self._waiting)
            self._waiting.clear()

    def _frame(self, frame: Buffer, more: bool) -> None:
        if not self.ready:
            raise _strange("a message during the handshake")
        self._frames.append(frame)
        if not more:
            self.received.append(self._frames)
            self._frames = []


class Dealer:
    """A connection to a ROUTER that ends for good when the other side does.

    From an event loop: call `on_readable` when the socket of `fileno()` is readable, and, while `wants_write`,
    `on_writable` when it is writable; each reads or writes once and never waits. Blocking: call `wait`.

    Attributes:
        moved: bytes that have come or gone so far.
    """

    def __init__(self, endpoint: str, key: str) -> None:
        """Connect to `endpoint`, "ipc://PATH" or "tcp://HOST:PORT", which something local should take at once.

        Raises:
            LinkError: `not_running`: nothing takes the connection.
        """
        self._session = Session(key)
        self._failure: LinkError | None = None
        self.moved = 0
        try:
            self._socket = _connect(endpoint)
        except (OSError, ValueError) as error:
            raise LinkError(Code.NOT_RUNNING, f"nothing answers at {endpoint}: {error}", "start the daemon") from error

    @property
    def wants_write(self) -> bool:
        """Whether `on_writable` has something to do."""
        return self._session.pending() is not None

    @property
    def unsent(self) -> bool:
        """Whether some of what was sent is still here."""
        return self._session.unsent()

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self._socket.fileno()

    def send(self, frames: Sequence[Buffer]) -> None:
        """Queue a message. Large frames are not copied: leave them as they are while `unsent`."""
        self._session.send(frames)

    def on_readable(self) -> list[list[Buffer]]:
        """Read once; the messages that are complete by it, each a list of frames.

        Raises:
            LinkError: `lost`: the other side is gone; or as Session.filled. The messages before have been returned.
        """
        if self._failure:
            raise self._failure
        try:
            count = self._socket.recv_into(self._session.space())
            if not count:
                raise LinkError(Code.LOST, "the daemon closed the connection")
            self.moved += count
            self._session.filled(count)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._failure = LinkError(Code.LOST, f"the connection to the daemon broke: {error}")
        except LinkError as error:
            self._failure = error
        messages, self._session.received = self._session.received, []
        if self._failure and not messages:
            raise self._failure
        return messages

    def on_writable(self) -> None:
        """Write once. That the other side is gone is for `on_readable` to tell, after what it said before it went."""
        data = self._session.pending()
        if data is None:
            return
        try:
            count = self._socket.send(data, _NO_SIGNAL)
            self.moved += count
            self._session.sent(count)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._session.abandon()

    def wait(self, timeout: float) -> list[list[Buffer]]:
        """Read and write, for up to `timeout` seconds, until a message comes or all is sent; the messages that came.

        Raises:
            LinkError: as on_readable.
        """
        deadline = time.monotonic() + timeout
        messages: list[list[Buffer]] = []
        sending = self.unsent
        with _Selector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while not messages and self.unsent == sending:
                writing = selectors.EVENT_WRITE if self.wants_write else 0
                selector.modify(self._socket, selectors.EVENT_READ | writing)
                remaining = deadline - time.monotonic()
                for _, events in selector.select(max(remaining, 0)):
                    if events & selectors.EVENT_READ:
                        messages = self.on_readable()
                    if events & selectors.EVENT_WRITE:
                        self.on_writable()
                if remaining <= 0:
                    break
        return messages

    def close(self) -> None:
        """Close the connection; what is unsent is lost."""
        self._socket.close()


# select() fails on descriptors beyond 1023, which a large editor may have; an editor on Windows has no poll().
_Selector: Any = getattr(selectors, "PollSelector", selectors.SelectSelector)
# Where an editor embeds Python, SIGPIPE may still end the process.
_NO_SIGNAL: int = getattr(socket, "MSG_NOSIGNAL", 0)
_SO_NOSIGPIPE = 0x1022  # macOS
_CONNECT_SECONDS = 2.0


def _connect(endpoint: str) -> socket.socket:
    transport, _, address = endpoint.partition("://")
    if transport == "ipc" and hasattr(socket, "AF_UNIX"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: Any = address
    elif transport == "tcp":
        host, _, port = address.rpartition(":")
        target = (host, int(port))
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        raise ValueError("neither ipc:// nor tcp://")
    try:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        if sys.platform == "darwin":
            connection.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(target)
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection


def _allocate(size: int) -> memoryview:
    try:
        return memoryview(bytearray(size))
    except (MemoryError, OverflowError) as error:
        raise LinkError(Code.OUT_OF_MEMORY, f"there is no memory for a frame of {size} bytes") from error


def _frame_head(flags: int, size: int) -> bytes:
    return struct.pack(">BQ", flags | _LONG, size) if size > 255 else bytes([flags, size])


def _command(name: bytes, data: bytes) -> bytes:
    body = bytes([len(name)]) + name + data
    return _frame_head(_COMMAND, len(body)) + body


def _property(name: str, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">I", len(value)) + value


def _properties(data: bytes) -> dict[str, bytes]:
    """The peer's properties; names in lower case, in which they are compared."""
    properties = {}
    while data:
        start = 1 + data[0]
        name, value = data[1:start], data[start + 4 :]
        if len(data) < start + 4:
            raise _strange("properties that are cut off")
        (size,) = struct.unpack(">I", data[start : start + 4])
        if size > len(value):
            raise _strange("properties that are cut off")
        properties[name.decode("ascii", "replace").lower()] = value[:size]
        data = value[size:]
    return properties


def _strange(what: str) -> LinkError:
    return LinkError(Code.BAD_MESSAGE, f"what answers is not the daemon: it sent {what}")
