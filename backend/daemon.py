"""The daemon: a ROUTER that lets in who has the key, checks, queues, hands jobs to workers and reports.

One thread does all of that and never computes or waits, so that cancel and status are answered at once. Beside it run
libzmq's own thread, the authenticator's, one that listens to each worker, and one for as long as a job's pixels are
copied into shared memory. They put events into a mailbox.

A worker process is backend.worker's, the messages are backend.link.messages', and how a client finds the daemon is
backend.link.rendezvous'. The log never holds pixels, nor what a client says but for its name.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import multiprocessing
import os
import queue
import secrets
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import platformdirs
import psutil
import zmq
import zmq.auth.thread
import zmq.utils.monitor

from backend import malloc, worker
from backend.link import messages, rendezvous
from backend.link.messages import Code, LinkError
from backend.link.zmtp import USER
from backend.settings import Settings
from backend.version import package_version

_TICK = 200  # milliseconds between looks at what is due, with jobs
_QUIET = 1000  # and without
_REPORT = 0.7  # with a tick, progress comes at least once a second
_REST = 0.5
_LINGER = 1.0
_PATIENCE = 5.0
_LOOK = 0.02
_HANDSHAKE = 10.0
_STUCK = 30.0
_FILES = 1 << 16
_BATCH = 64
_CHUNK = 1 << 20
_ALIGNMENT = 64
_KEPT = 2 << 20
_SPARE = 2 << 20
_DOMAIN = "harmonize"
_SEGMENT = "harmonize"
_LOG_BYTES = 1_000_000
_LOG_FILES = 3
_REFUSED = zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH

_log = logging.getLogger(__name__)


def log_file() -> Path:
    """Where the log is; older parts lie beside it."""
    return platformdirs.user_log_path("harmonize", appauthor=False) / "daemon.log"


def serve(settings: Settings) -> None:
    """Be the daemon, until SIGTERM, SIGINT, a Shutdown, or idle time.

    Raises:
        LinkError: `directory`: the runtime directory cannot be used; `not_started`: one is running already.
    """
    os.umask(0o077)
    _raise_file_limit()
    malloc.tune(_KEPT, _SPARE)
    with contextlib.ExitStack() as stack:
        _lock(stack)
        _sweep()
        _log_to(log_file())
        daemon = _Daemon(settings)
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda number, frame: daemon.stop())
        try:
            daemon.run()
        finally:
            daemon.close()


def _lock(stack: contextlib.ExitStack) -> None:
    """Be the only daemon until the stack unwinds. One that is leaving, and tells nobody any more, is waited for."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            stack.enter_context(rendezvous.lock())
            return
        except LinkError as error:
            if error.code != Code.NOT_STARTED or rendezvous.find() or time.monotonic() > deadline:
                raise
        time.sleep(_LOOK)


def _raise_file_limit() -> None:
    """Let as many connections be open as may be: libzmq aborts where there are no more, and on tcp whoever has no key
    can open some too."""
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(OSError, ValueError):  # macOS has a bound of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _FILES) if most > 0 else _FILES, most))


def _sweep() -> None:
    """Remove segments of daemons that were killed along with all that would have removed them."""
    for path in Path("/dev/shm").glob(f"{_SEGMENT}-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(OSError):  # another user's
                path.unlink()


@dataclass(eq=False)
class _Job:
    """A job from its arrival until a worker has nothing to do with it any more.

    Attributes:
        number: what it is called in the log and to the worker.
        name: what its client calls it.
        size: its message's bytes.
        request: gone once its pixels are in the segment.
        arrived, begun: when it came and when it left the queue; `reported`: when its client last heard of it.
        stage, fraction: as in Progress.
        answered: when its client had the last answer, or was found gone; 0: not yet.
        placed: no thread is copying its pixels any more, so the segment may be freed.
    """

    number: int
    client: bytes
    name: str
    size: int
    request: messages.Harmonize | None
    arrived: float
    reported: float
    begun: float = 0.0
    stage: str = "queued"
    fraction: float = 0.0
    answered: float = 0.0
    placed: bool = False
    segment: SharedMemory | None = None


@dataclass(frozen=True)
class _Placed:
    """A job's pixels are in its segment; `task` is None where there was no room for them."""

    job: _Job
    task: worker.Task | None


@dataclass(frozen=True)
class _Died:
    """A worker's process has ended."""

    exitcode: int | None


class _Mailbox:
    """Events from other threads, and a socket that becomes readable when there are some."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[tuple[_Worker, worker.Event | _Placed | _Died]] = queue.SimpleQueue()
        self._wake, self.bell = socket.socketpair()
        self._wake.setblocking(False)
        self.bell.setblocking(False)

    def fileno(self) -> int:
        return self._wake.fileno()

    def put(self, sender: _Worker, event: worker.Event | _Placed | _Died) -> None:
        self._events.put((sender, event))
        try:
            self.bell.send(b"\0")
        except OSError:
            pass  # it rings already, or nobody listens any more

    def take(self) -> Iterator[tuple[_Worker, worker.Event | _Placed | _Died]]:
        try:
            while self._wake.recv(4096):
                pass
        except BlockingIOError:
            pass
        while not self._events.empty():
            yield self._events.get()

    def close(self) -> None:
        self._wake.close()
        self.bell.close()


class _Worker:
    """A worker's process, from its start to its end.

    Attributes:
        device, model: what it was started for, then what it has.
        ready: it has warmed up.
        alive: it has not ended.
        job: what it has to do.
        child: the process.
    """

    def __init__(self, device: str, model: str, mailbox: _Mailbox) -> None:
        context = multiprocessing.get_context("spawn")
        self.asked = self.device = device
        self.model = ""
        self.ready = False
        self.alive = True
        self.job: _Job | None = None
        self._mailbox = mailbox
        self._placing: threading.Thread | None = None
        self._connection, theirs = context.Pipe()
        self.child = context.Process(target=worker.main, args=(theirs, device, model), daemon=True)
        self.child.start()
        theirs.close()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                event = self._connection.recv()
            except (EOFError, OSError):
                break
            self._mailbox.put(self, event)
        self.child.join()
        self._mailbox.put(self, _Died(self.child.exitcode))

    def send(self, message: worker.Task | worker.Cancel) -> None:
        """Messages are small enough never to block."""
        try:
            self._connection.send(message)
        except OSError:
            pass  # it has died, of which the mailbox tells

    def place(self, job: _Job) -> None:
        """Copy the job's pixels into shared memory, in a thread; ends with a `_Placed`."""
        self.job = job
        self._placing = threading.Thread(target=lambda: self._mailbox.put(self, _Placed(job, _place(job))))
        self._placing.start()

    @property
    def is_free(self) -> bool:
        """Whether it can have a job now."""
        return self.alive and self.ready and self.job is None

    def state(self) -> str:
        if not self.alive:
            return "stopped"
        return "busy" if self.job else "idle" if self.ready else "starting"

    def memory(self) -> int:
        """Bytes in memory; 0 when it has just ended."""
        try:
            return int(psutil.Process(self.child.pid).memory_info().rss) if self.alive else 0
        except psutil.Error:
            return 0

    def stop(self) -> None:
        self.child.kill()  # it holds nothing that needs a farewell, and may be deep in a stage
        self.child.join()
        if self._placing:
            self._placing.join()


class _Daemon:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limit = min(settings.job_bytes, psutil.virtual_memory().available // 2)
        self._started = time.time()
        self._mailbox = _Mailbox()
        self._stopping = False
        self._workers: list[_Worker] = []
        self._jobs: dict[str, _Job] = {}
        self._waiting: OrderedDict[bytes, deque[_Job]] = OrderedDict()
        self._in_flight: list[tuple[zmq.MessageTracker, SharedMemory, memoryview]] = []
        self._numbers = 0
        self._done = self._failed = self._cancelled = 0
        self._idle_since = time.monotonic()
        self._trimmed = False
        self._refused = 0
        self._refused_logged = -float("inf")
        self._complained: set[bytes] = set()
        self._socket_file: tuple[Path, os.stat_result] | None = None

        self._context = zmq.Context(2)
        self._authenticator = zmq.auth.thread.ThreadAuthenticator(self._context, log=_log)
        self._router = self._context.socket(zmq.ROUTER)
        self._monitor = self._router.get_monitor_socket(_REFUSED)

    def stop(self) -> None:
        """Let `run` return soon. May be called from a signal's handler."""
        self._stopping = True

    def run(self) -> None:
        """Serve until there is a reason to leave."""
        _log.info("started: version %s, pid %d, Python %s", package_version(), os.getpid(), sys.version.split()[0])
        key = secrets.token_hex(32)
        endpoints = self._bind(key)
        self._workers = [self._worker(device) for device in self._settings.devices]
        signal.set_wakeup_fd(self._mailbox.bell.fileno(), warn_on_full_buffer=False)
        rendezvous.announce(endpoints, key, package_version())
        _log.info("listening on %s", ", ".join(endpoints))
        poller = zmq.Poller()
        for source in (self._router, self._monitor, self._mailbox):
            poller.register(source, zmq.POLLIN)
        while not self._stopping:
            busy = self._jobs or self._in_flight or not self._trimmed
            ready = dict(poller.poll(_TICK if busy else _QUIET))
            self._events()
            if self._router in ready:
                self._receive()
            while self._monitor.poll(0):
                zmq.utils.monitor.recv_monitor_message(self._monitor)
                self._refused += 1
            self._dispatch()
            self._tick()

    def _worker(self, device: str) -> _Worker:
        return _Worker(device, self._settings.model, self._mailbox)

    def close(self) -> None:
        """Answer every job, stop the workers, leave nothing behind."""
        rendezvous.withdraw()
        for job in list(self._jobs.values()):
            self._fail(job, LinkError(Code.STOPPING, "the daemon is stopping", "try again"))
        signal.set_wakeup_fd(-1)
        for process in self._workers:
            process.stop()
        for process in self._workers:
            if process.job:
                _free(process.job)
        # First the sockets, so that what they send may arrive; the authenticator's context ends with them.
        self._router.disable_monitor()
        self._monitor.close()
        self._router.close(linger=int(1000 * _LINGER))
        if self._socket_file:  # libzmq would leave it; another daemon's may be there by now
            path, ours = self._socket_file
            with contextlib.suppress(OSError):
                if os.path.samestat(path.stat(), ours):
                    path.unlink()
        self._authenticator.stop()
        self._context.term()
        for _, segment, view in self._in_flight:
            view.release()
            segment.close()
        self._mailbox.close()
        _log.info("stopped: %d jobs done, %d failed, %d cancelled", self._done, self._failed, self._cancelled)

    def _bind(self, key: str) -> list[str]:
        """Bind the router. Returns its endpoints."""
        self._authenticator.start()
        self._authenticator.configure_plain(_DOMAIN, {USER: key})
        router = self._router
        router.zap_domain = _DOMAIN.encode()
        router.plain_server = True
        router.router_mandatory = True
        # No heartbeats: on one machine the system tells at once of a peer that died, and an editor which is busy for
        # some seconds is alive. With messages of gigabytes, few may wait to be read.
        router.rcvhwm = 4
        router.maxmsgsize = self._limit
        router.handshake_ivl = int(1000 * _HANDSHAKE)
        endpoints = []
        ipc = rendezvous.ipc_endpoint()
        if ipc:
            router.bind(ipc)
            path = Path(ipc.partition("://")[2])
            self._socket_file = path, path.stat()
            endpoints.append(ipc)
        if self._settings.tcp or not ipc:
            router.bind("tcp://127.0.0.1:*")
            endpoints.append(router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        return endpoints

    # Messages

    def _receive(self) -> None:
        for _ in range(_BATCH):
            try:
                identity, *frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            client, buffers = identity.bytes, [frame.buffer for frame in frames]
            try:
                self._handle(client, buffers)
            except LinkError as error:
                self._complain(client, error)
                self._send(client, messages.Error.of(error))
            except Exception:
                _log.exception("a message could not be handled")
                own = LinkError(Code.INTERNAL, "the daemon failed on a message", "the log says where", str(log_file()))
                self._send(client, messages.Error.of(own))

    def _handle(self, client: bytes, frames: list[memoryview]) -> None:
        request = messages.unpack_request(frames)
        if isinstance(request, messages.Harmonize):
            self._accept(client, request, sum(frame.nbytes for frame in frames))
        elif isinstance(request, messages.Cancel):
            self._cancel(client, request.job)
        elif isinstance(request, messages.GetStatus):
            self._send(client, self._status())
        elif isinstance(request, messages.Hello):
            _log.info("hello from %s", request.client)
            self._idle_since = time.monotonic()  # a job follows, which may take a while to come
            self._send(client, messages.Welcome(package_version(), os.getpid(), self._limit))
        else:
            self._send(client, messages.Accepted())
            _log.info("asked to stop")
            self.stop()

    def _accept(self, client: bytes, request: messages.Harmonize, size: int) -> None:
        refusal = self._refusal(request, size)
        if refusal:
            self._send(client, messages.Error.of(refusal, request.job))
            return
        now = time.monotonic()
        self._numbers += 1
        job = _Job(self._numbers, client, request.job, size, request, arrived=now, reported=now)
        ahead = self._ahead(client)
        self._jobs[job.name] = job
        self._waiting.setdefault(client, deque()).append(job)
        _log.info("job %d: %s", job.number, _described(request))
        self._send(client, messages.Accepted(job.name, ahead))
        self._dispatch()  # at once, for the next one in the same batch to be told how many are ahead

    def _refusal(self, request: messages.Harmonize, size: int) -> LinkError | None:
        """Why a job cannot be taken."""
        if request.job in self._jobs:
            return LinkError(Code.BAD_MESSAGE, "a job of this name is not finished yet", "give each job its own name")
        # Its bytes are in memory already: half of what was free before they came is the limit.
        if size > min(self._limit, (psutil.virtual_memory().available + size) // 2):
            return LinkError(
                Code.TOO_LARGE, f"the job has {size} bytes, more than memory allows", "send a smaller part of the image"
            )
        held = self._held()
        if len(self._jobs) >= self._settings.queue or (held and sum(held) + size > self._limit):
            return LinkError(Code.BUSY, f"{len(held)} jobs are ahead already", "try again in a while")
        return None

    def _release(self) -> None:
        """Give the memory of results back that are sent."""
        self._in_flight = [entry for entry in self._in_flight if not _is_sent(*entry)]

    def _held(self) -> list[int]:
        """Bytes of each job whose pixels are here: also of one that is cancelled, for as long as its worker is at it,
        and of one whose result is on its way."""
        self._release()
        jobs = {*self._jobs.values(), *(process.job for process in self._workers if process.job)}
        return [*(job.size for job in jobs), *(segment.size for _, segment, _ in self._in_flight)]

    def _ahead(self, client: bytes) -> int:
        """Jobs that come before the next one of this client, one client taking turns with another."""
        if not self._waiting and any(process.is_free for process in self._workers):
            return 0
        own = len(self._waiting.get(client, ()))
        others = sum(min(len(jobs), own + 1) for other, jobs in self._waiting.items() if other != client)
        return sum(process.job is not None for process in self._workers) + own + others

    def _cancel(self, client: bytes, name: str) -> None:
        job = self._jobs.get(name)
        if job is None:
            raise LinkError(Code.UNKNOWN_JOB, "there is no such job, or it is finished")
        self._send(client, messages.Accepted(name))
        self._fail(job, LinkError(Code.CANCELLED, "the job was cancelled"))

    def _status(self) -> messages.Status:
        running = sum(process.job is not None for process in self._workers)
        return messages.Status(
            package=package_version(),
            pid=os.getpid(),
            uptime=max(0.0, time.time() - self._started),
            memory=int(psutil.Process().memory_info().rss),
            running=running,
            queued=sum(len(jobs) for jobs in self._waiting.values()),
            done=self._done,
            failed=self._failed,
            cancelled=self._cancelled,
            idle=self._settings.idle,
            workers=tuple(
                messages.Worker(one.device, one.model, one.state(), one.child.pid or 0, one.memory())
                for one in self._workers
            ),
        )

    def _send(self, client: bytes, message: messages.Reply) -> None:
        try:
            self._router.send_multipart([client, *messages.pack(message)], zmq.NOBLOCK)
        except zmq.Again:
            _log.warning("a client does not read what it is sent: a %s is dropped", message.type)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._gone(client)

    def _gone(self, client: bytes) -> None:
        """A client has vanished: nobody waits for its jobs."""
        for job in [job for job in self._jobs.values() if job.client == client]:
            self._forget(job)
            self._cancelled += 1
            _log.info("job %d: cancelled, its client has vanished", job.number)

    def _complain(self, client: bytes, error: LinkError) -> None:
        """Log a client's mistake, its first one only."""
        if client not in self._complained:
            if len(self._complained) >= 1000:
                self._complained.clear()
            self._complained.add(client)
            _log.warning("a client sent what is refused: %s", error.code)

    # Jobs

    def _fail(self, job: _Job, error: LinkError) -> None:
        """The last answer to a job that has no result, unless it has had one."""
        if job.answered:
            return
        self._forget(job)
        if error.code == Code.CANCELLED:
            self._cancelled += 1
        else:
            self._failed += 1
        _log.info("job %d: %s", job.number, error.code)  # the message may hold names that a client chose
        self._send(job.client, messages.Error.of(error, job.name))

    def _forget(self, job: _Job) -> None:
        """There is nothing more to tell of a job: take it from the queue, or let its worker know."""
        del self._jobs[job.name]
        job.answered = self._idle_since = time.monotonic()
        waiting = self._waiting.get(job.client, deque())
        if job in waiting:
            waiting.remove(job)
            if not waiting:
                del self._waiting[job.client]
        for process in self._workers:
            if process.job is job:
                process.send(worker.Cancel(job.number))

    def _dispatch(self) -> None:
        """Give waiting jobs to workers that have nothing to do, one client after another."""
        for index, process in enumerate(self._workers):
            if not self._waiting:
                return
            if not process.alive:
                self._workers[index] = self._worker(process.asked)
            elif process.is_free:
                client, jobs = self._waiting.popitem(last=False)
                job = jobs.popleft()
                if jobs:
                    self._waiting[client] = jobs
                job.stage, job.begun = "copy", time.monotonic()
                process.place(job)

    def _events(self) -> None:
        """What workers, and threads that copy, tell."""
        for process, event in self._mailbox.take():
            job = process.job
            if isinstance(event, worker.Ready):
                self._warm(process, event)
            elif isinstance(event, _Died):
                self._died(process, event.exitcode)
            elif isinstance(event, _Placed):
                self._placed(process, event)
            elif job is None or event.number != job.number:
                _log.error("a worker told of job %d, which it does not have", event.number)
            elif isinstance(event, worker.Stage):
                job.stage, job.fraction = event.stage, event.fraction
                self._report(job)
            else:
                process.job = None
                if isinstance(event, worker.Done):
                    self._finish(job, event)
                else:
                    if event.trouble:
                        _log.error("job %d: %s", job.number, event.trouble)
                    log = str(log_file()) if event.trouble else ""
                    self._fail(job, LinkError(event.code, event.message, event.hint, log))
                _free(job)

    def _warm(self, process: _Worker, event: worker.Ready) -> None:
        process.ready = True
        process.device, process.model = event.device or process.asked, event.model
        if event.trouble:
            _log.error("the worker for %s cannot warm up: %s", process.asked, event.trouble)
        else:
            _log.info("the worker for %s is ready: %s on %s", process.asked, event.model, event.device)

    def _placed(self, process: _Worker, event: _Placed) -> None:
        job = event.job
        job.placed = True
        if process.job is not job or job.answered:  # the worker died, or the job was cancelled, in the meantime
            if process.job is job:
                process.job = None
            _free(job)
        elif event.task:
            process.send(event.task)
        else:
            process.job = None
            error = LinkError(Code.OUT_OF_MEMORY, "there is no room in shared memory", "close other programs")
            self._fail(job, error)

    def _died(self, process: _Worker, exitcode: int | None) -> None:
        _log.error("the worker for %s has ended, exit code %s", process.asked, exitcode)
        process.alive = False
        job, process.job = process.job, None
        log = str(log_file())
        error = LinkError(Code.WORKER_DIED, "the process that computes has ended unexpectedly", "try again", log)
        if job:
            self._fail(job, error)
            if job.placed:
                _free(job)
        if process.ready:
            self._workers[self._workers.index(process)] = self._worker(process.asked)
        elif not any(other.alive for other in self._workers):
            # Nothing would be different at once. The next job starts another.
            for waiting in list(self._jobs.values()):
                self._fail(waiting, error)

    def _finish(self, job: _Job, done: worker.Done) -> None:
        """Send a result out of the segment that it lies in."""
        if job.answered or job.segment is None:
            return
        timings = {"queued": 1000 * (job.begun - job.arrived), **done.timings}
        place = done.result
        view = worker.memory(job.segment)[place.offset : place.offset + place.nbytes]
        pixels = messages.Pixels(place.rect, place.layout, place.dtype, view)
        result = messages.Result(job.name, pixels, done.model, done.device, timings, done.notes)
        try:
            sent = self._router.send_multipart(
                [job.client, *messages.pack(result)], zmq.NOBLOCK, copy=False, track=True
            )
        except zmq.Again:
            _log.warning("job %d: its client does not read what it is sent", job.number)
            self._failed += 1
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._gone(job.client)
            return
        else:
            assert sent is not None
            self._in_flight.append((sent, job.segment, view))
            job.segment.unlink()
            job.segment = None
            self._done += 1
            _log.info("job %d: done: %s on %s, %.0f ms", job.number, done.model, done.device, sum(timings.values()))
        self._forget(job)

    def _report(self, job: _Job) -> None:
        if not job.answered:
            job.reported = time.monotonic()
            starting = job.begun == 0 and not any(process.ready for process in self._workers)
            stage = "starting" if starting else job.stage
            self._send(job.client, messages.Progress(job.name, stage, job.fraction))

    def _tick(self) -> None:
        """What is to be done from time to time."""
        now = time.monotonic()
        for job in list(self._jobs.values()):
            if now - job.reported >= _REPORT:
                self._report(job)
        self._release()
        for process in self._workers:
            at_hand = process.job
            if at_hand and at_hand.answered and at_hand.placed and now - at_hand.answered >= _STUCK:
                _log.error("the worker for %s does not come back from a job that nobody wants", process.asked)
                process.child.kill()  # of which the mailbox tells
        if self._refused and now - self._refused_logged >= 10:
            reasons = "no key, a wrong one, no ZeroMQ, or closed before they were let in"
            _log.warning("%d connections came to nothing: %s", self._refused, reasons)
            self._refused, self._refused_logged = 0, now
        if self._jobs or any(process.job for process in self._workers):
            self._idle_since, self._trimmed = now, False
        elif not self._trimmed and now - self._idle_since >= _REST:
            self._trimmed = True
            malloc.trim()
        elif self._settings.idle and now - self._idle_since >= self._settings.idle:
            _log.info("leaving after %g seconds without a job", self._settings.idle)
            self.stop()
        elif not rendezvous.is_announced():
            _log.warning("leaving, as clients cannot find it: the connection file is gone, or another daemon's")
            self.stop()


def _place(job: _Job) -> worker.Task | None:
    """Copy a job's pixels into a segment of their own, with room for the result; None where there is no room."""
    request = job.request
    assert request is not None
    end = 0
    sources: list[tuple[int, messages.Buffer]] = []

    def reserve(data: messages.Buffer) -> int:
        nonlocal end
        offset = end
        sources.append((offset, data))
        end = -(-(offset + memoryview(data).nbytes) // _ALIGNMENT) * _ALIGNMENT
        return offset

    def place(pixels: messages.Pixels) -> worker.Place:
        return worker.Place(pixels.rect, pixels.layout, pixels.dtype, reserve(pixels.data))

    image = place(request.image)
    selection = place(request.selection) if request.selection else None
    layer = place(request.layer) if request.layer else None
    below = (place(request.below), request.below.opacity) if request.below else None
    icc = (reserve(request.icc), len(request.icc)) if request.icc else None
    largest = image._replace(layout=messages.WITH_ALPHA[image.layout])
    try:
        job.segment = _segment(sources, end, max(end, largest.nbytes))
    except OSError:
        return None
    job.request = None
    return worker.Task(
        job.number,
        job.segment.name,
        image,
        request.image.transfer,
        icc,
        selection,
        layer,
        request.pasted,
        request.model,
        request.feather,
        request.opacity,
        request.linear,
        below,
    )


def _segment(sources: list[tuple[int, messages.Buffer]], end: int, size: int) -> SharedMemory:
    """New shared memory with data at offsets, which fill it up to `end`. Raises OSError where there is not enough."""
    segment = SharedMemory(f"{_SEGMENT}-{os.getpid()}-{secrets.token_hex(4)}", create=True, size=size)
    if sys.platform == "linux":
        # Written as a file, which takes half of the time of touching it page by page, and tells when there is no room,
        # where whoever touches is killed.
        try:
            with open(f"/dev/shm/{segment.name}", "r+b", buffering=0) as file:
                for offset, data in sources:
                    file.seek(offset)
                    view = memoryview(data).cast("B")
                    while view:
                        view = view[file.write(view) :]
                if size > end:
                    os.posix_fallocate(file.fileno(), end, size - end)
        except OSError:
            segment.close()
            segment.unlink()
            raise
    else:
        memory = worker.memory(segment)
        for offset, data in sources:
            view = memoryview(data).cast("B")
            for begin in range(0, len(view), _CHUNK):  # in pieces, as the daemon's thread stands still during each
                piece = view[begin : begin + _CHUNK]
                memory[offset + begin : offset + begin + len(piece)] = piece
    return segment


def _free(job: _Job) -> None:
    """Remove a job's segment, if it still has one."""
    if job.segment:
        job.segment.unlink()
        job.segment.close()
        job.segment = None


def _is_sent(tracker: zmq.MessageTracker, segment: SharedMemory, view: memoryview) -> bool:
    """Whether libzmq is done with a result; its memory is given back then."""
    if not tracker.done:
        return False
    try:
        view.release()
        segment.close()
    except BufferError:
        return False
    return True


def _described(request: messages.Harmonize) -> str:
    """A request for the log."""
    image = request.image
    extras = [name for name in ("icc", "selection", "layer", "below") if getattr(request, name) is not None]
    return f"{image.rect.width}x{image.rect.height} {image.layout} {image.dtype}, with {', '.join(extras) or 'no more'}"


def _log_to(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, delay=False)
    except OSError as error:
        reason = f"the log cannot be written to {path} ({error.strerror})"
        raise LinkError(Code.DIRECTORY, reason, "make room there, or allow writing") from error
    handlers: list[logging.Handler] = [handler]
    if sys.stderr and sys.stderr.isatty():
        handlers.append(logging.StreamHandler())
    for each in handlers:
        each.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        _log.addHandler(each)
    _log.setLevel(logging.INFO)
    _log.propagate = False
