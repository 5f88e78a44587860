"""A client of the daemon: for scripts, which wait, and for editors, whose event loop says when there is work.

A script:

    with Client() as client:
        result = client.harmonize(Harmonize(new_job(), image, selection=selection))

An editor watches `job.fileno()`, calls `job.on_readable()`, `job.on_writable()` while `job.wants_write`, and
`job.on_timer()` about once a second, until `job.done`:

    job = client.begin(Harmonize(new_job(), image, layer=layer), report)
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TypeVar

from . import rendezvous
from .messages import (
    Accepted,
    Cancel,
    Code,
    Error,
    GetStatus,
    Harmonize,
    Hello,
    LinkError,
    Progress,
    Result,
    Shutdown,
    Status,
    Welcome,
    pack,
    unpack_reply,
)
from .zmtp import Dealer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .messages import Buffer, Reply, Request

    Report = Callable[[Accepted | Progress], None]

SILENCE = 15.0
"""Seconds without a byte from the daemon, which reports every second, or to it, after which a job fails."""

_ANSWER = 5.0
_PAUSES = (0.1, 0.5)
_TICK = 0.2

_Answer = TypeVar("_Answer", Accepted, Status)


class Client:
    """What sends jobs to the user's daemon, and starts it when none answers.

    Every job and every question has a connection of its own, so cancel and status never wait behind pixels.
    """

    def __init__(self, name: str = "script", python: str | None = sys.executable, file: Path | None = None) -> None:
        """Nothing is connected or started yet.

        Args:
            name: who asks, for the daemon's log.
            python: the interpreter to start a daemon with, which inside of an editor is not sys.executable; None never
                starts one.
            file: the connection file, by default rendezvous.connection_file().
        """
        self.name = name
        self._python = python
        self._file = file
        self._idle: list[tuple[Dealer, bool]] = []  # connections without a job, and whether they are greeted

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no job uses."""
        while self._idle:
            self._idle.pop()[0].close()

    def launch(self) -> rendezvous.Launch | None:
        """Start a daemon without waiting for it, for an editor, which polls it before `begin`; None: one answers.

        Raises:
            LinkError: as rendezvous.find and rendezvous.Launch; `not_running`: this client is to start none.
        """
        self._forget_the_dead()
        if self._idle:
            return None
        connection = rendezvous.find(self._file)
        dealer = None if connection is None else _reach(connection)
        if dealer is not None:
            self._idle.append((dealer, False))
            return None
        if self._python is None:
            raise _not_running()
        return rendezvous.Launch(self._python, self._file, stale=connection)

    def begin(self, request: Harmonize, report: Report | None = None) -> Job:
        """Send a job; its pixels are not copied, so leave them as they are until the job is done.

        Args:
            report: called with every Accepted and Progress.

        Raises:
            LinkError: there is no daemon, and none can be started.
        """
        launch = self.launch()
        if launch is not None:
            launch.wait()
            self._idle.append((self._connect(), False))
        dealer, greeted = self._idle.pop()
        return Job(self, dealer, request, report, greeted)

    def harmonize(self, request: Harmonize, report: Report | None = None, timeout: float | None = None) -> Result:
        """Do a job and wait for its result. What ends the waiting, be it Ctrl-C or the report raising, cancels it.

        Raises:
            LinkError: there is no daemon, or no result; `timeout`: there is none after that many seconds.
        """
        for pause in _PAUSES:
            try:
                return self.begin(request, report).wait(timeout)
            except LinkError as error:
                if error.code != Code.NOT_RUNNING or self._python is None:
                    raise
            time.sleep(pause)  # it left just as it was asked; soon it takes no more connections, and another is started
        return self.begin(request, report).wait(timeout)

    def cancel(self, job: str) -> None:
        """Stop a job of any client, which must have been accepted. May be called from any thread.

        Raises:
            LinkError: `unknown_job`: it is not there, or has ended; `not_running`, `timeout`.
        """
        self._ask(Cancel(job), Accepted)

    def status(self) -> Status:
        """How the daemon is. May be called from any thread.

        Raises:
            LinkError: `not_running`, `timeout`.
        """
        return self._ask(GetStatus(), Status)

    def shutdown(self) -> None:
        """Stop the daemon; returns when it has been told.

        Raises:
            LinkError: `not_running`, `timeout`.
        """
        self._ask(Shutdown(), Accepted)

    def keep(self, dealer: Dealer) -> None:
        """Take a connection without a job back, for the next one."""
        self._idle.append((dealer, True))

    def _forget_the_dead(self) -> None:
        """Close the connections whose daemon has left."""
        connections, self._idle = self._idle, []
        for dealer, greeted in connections:
            try:
                moved = -1
                while moved != dealer.moved:  # the end comes after what the daemon said before it left
                    moved = dealer.moved
                    dealer.on_readable()
                self._idle.append((dealer, greeted))
            except LinkError:
                dealer.close()

    def _connect(self) -> Dealer:
        connection = rendezvous.find(self._file)
        dealer = None if connection is None else _reach(connection)
        if dealer is None:
            raise _not_running()
        return dealer

    def _ask(self, request: Request, kind: type[_Answer]) -> _Answer:
        dealer = self._connect()
        try:
            dealer.send(pack(request))
            deadline = time.monotonic() + _ANSWER
            while time.monotonic() < deadline:
                for frames in dealer.wait(deadline - time.monotonic()):
                    reply = unpack_reply(frames)
                    if isinstance(reply, Error):
                        raise reply.exception()
                    if isinstance(reply, kind):
                        return reply
        except LinkError as error:
            if error.code == Code.LOST:  # a daemon that is just dying still takes connections
                raise _not_running() from error
            raise
        finally:
            dealer.close()
        raise LinkError(Code.TIMEOUT, f"the daemon has not answered within {_ANSWER:.0f} s", "restart the daemon")


class Job:
    """A job on its way. What goes wrong comes out of `result`; of the other methods only `cancel` and a report raise.

    A daemon that leaves before it has accepted the job counts as `not_running`: begin it again.

    Attributes:
        id: as in Harmonize.
        done: there is a result or an error.
    """

    def __init__(
        self, client: Client, dealer: Dealer, request: Harmonize, report: Report | None, greeted: bool
    ) -> None:
        """Made by Client.begin. `greeted`: the daemon has answered a Hello on the connection."""
        self.id = request.job
        self.done = False
        self._client = client
        self._dealer = dealer
        self._frames = pack(request)
        self._report = report
        self._accepted = False
        self._cancelled = False
        self._told = False  # the daemon is being told of that
        self._outcome: Result | LinkError | None = None
        self._moved = dealer.moved
        self._moved_at = time.monotonic()
        dealer.send(self._frames if greeted else pack(Hello(client.name)))

    @property
    def wants_write(self) -> bool:
        """Whether `on_writable` has something to do; ask again after every call."""
        return not self.done and self._dealer.wants_write

    def fileno(self) -> int:
        """The socket's descriptor, which is not the job's any more once it is done."""
        return self._dealer.fileno()

    def on_readable(self) -> None:
        """Read once, and report."""
        self._do(self._dealer.on_readable)

    def on_writable(self) -> None:
        """Write once."""
        self._do(self._dealer.on_writable)

    def on_timer(self) -> None:
        """Give up on a daemon that has been silent for SILENCE seconds."""
        self._do(lambda: None)

    def cancel(self) -> None:
        """Stop the job: `result` will raise `cancelled`, unless it was quicker. May be called from any thread.

        A job that the daemon has not accepted yet ends with the next call of `on_timer` or the like.

        Raises:
            LinkError: the daemon has the job and does not answer.
        """
        self._told = self._accepted
        self._cancelled = True
        if self._told and not self.done:
            try:
                self._client.cancel(self.id)
            except LinkError as error:
                if error.code != Code.UNKNOWN_JOB:  # that is, it has ended meanwhile
                    raise

    def result(self) -> Result:
        """The result of a job that is done.

        Raises:
            LinkError: why there is none.
        """
        if isinstance(self._outcome, Result):
            return self._outcome
        raise self._outcome or ValueError("the job is not done")

    def wait(self, timeout: float | None = None) -> Result:
        """As `result`, once the job is done. What ends the waiting, be it Ctrl-C or the report raising, cancels it.

        Raises:
            LinkError: why there is no result; `timeout`: there is none after that many seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while not self.done:
                if end is not None and time.monotonic() > end:
                    raise LinkError(Code.TIMEOUT, f"the job was not done within {timeout:g} s")
                self._do(lambda: self._dealer.wait(_TICK))
        finally:
            if not self.done:
                self._drop(_cancelled())
        return self.result()

    def _do(self, step: Callable[[], Sequence[list[Buffer]] | None]) -> None:
        """Let the connection do something, and see what comes of it."""
        if self.done:
            return
        try:
            for frames in step() or ():
                self._take(unpack_reply(frames))
        except LinkError as error:
            if error.code == Code.LOST and not self._accepted:  # one that is just leaving still takes connections
                error = LinkError(Code.NOT_RUNNING, "the daemon left before it took the job", "try again")
            self._drop(error)
        if self._moved != self._dealer.moved:
            self._moved, self._moved_at = self._dealer.moved, time.monotonic()
        if self.done:
            return
        if self._cancelled and not self._told:
            # The daemon may not have all of the job, so it cannot be told; it notices that its client is gone.
            self._drop(_cancelled())
        elif time.monotonic() - self._moved_at > SILENCE:
            self._drop(LinkError(Code.TIMEOUT, f"the daemon has been silent for {SILENCE:.0f} s", "restart the daemon"))

    def _take(self, reply: Reply) -> None:
        if self.done:
            return
        if isinstance(reply, Welcome):
            size = sum(memoryview(frame).nbytes for frame in self._frames)
            if size > reply.job_bytes:
                self._end(
                    LinkError(Code.TOO_LARGE, f"the job has {size} bytes, the daemon takes {reply.job_bytes} at most")
                )
            else:
                self._dealer.send(self._frames)
        elif isinstance(reply, Error):
            if reply.job in ("", self.id):
                self._end(reply.exception())
        elif isinstance(reply, (Accepted, Progress, Result)) and reply.job == self.id:
            if isinstance(reply, Result):
                self._end(reply)
            else:
                self._accepted = True
                if self._report:
                    self._report(reply)

    def _end(self, outcome: Result | LinkError) -> None:
        """The daemon has spoken its last word on the job; the connection can serve another one."""
        self.done, self._outcome, self._frames = True, outcome, []
        self._client.keep(self._dealer)

    def _drop(self, error: LinkError) -> None:
        """There will be no word of the daemon's."""
        self.done, self._outcome, self._frames = True, error, []
        self._dealer.close()


def _reach(connection: rendezvous.Connection) -> Dealer | None:
    """A connection to the first endpoint that answers."""
    for endpoint in connection.endpoints:
        try:
            return Dealer(endpoint, connection.key)
        except LinkError:
            continue
    return None


def _not_running() -> LinkError:
    return LinkError(Code.NOT_RUNNING, "no daemon is running", "start one with harmonize serve")


def _cancelled() -> LinkError:
    return LinkError(Code.CANCELLED, "the job was cancelled")
