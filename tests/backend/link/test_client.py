"""The client against a daemon that only answers, on a real ROUTER with authentication, in a process of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.link import client as client_module
from backend.link import rendezvous
from backend.link.client import Client, Job
from backend.link.messages import (
    Accepted,
    Code,
    Harmonize,
    Image,
    LinkError,
    Pixels,
    Progress,
    Rect,
    Result,
    new_job,
)
from tests.places import ROOT
from tests.processes import stopped

# The job's model says what happens to it; its result is its image. A Cancel ends it.
DAEMON = """
import os, sys, time
import zmq
from zmq.auth.thread import ThreadAuthenticator
from backend.link import rendezvous
from backend.link.messages import *
from backend.link.zmtp import USER

context = zmq.Context()
authenticator = ThreadAuthenticator(context)
authenticator.start()
authenticator.configure_plain(domain="*", passwords={USER: "secret"})
router = context.socket(zmq.ROUTER)
router.plain_server = True
endpoint = rendezvous.ipc_endpoint()
router.bind(endpoint)
port = router.bind_to_random_port("tcp://127.0.0.1")
jobs = {}
done = failed = 0
names = []

def send(client, reply):
    router.send_multipart([client, *pack(reply)])

def error(client, code, job=""):
    send(client, Error(code, f"it is {code}", "a hint", "a log", job))

with rendezvous.lock():
    rendezvous.announce(["ipc:///nowhere/at/all", endpoint, f"tcp://127.0.0.1:{port}"], "secret", "0.1.0")
    while True:
        if router.poll(100):
            client, *frames = router.recv_multipart()
            request = unpack_request(frames)
            if isinstance(request, Hello):
                names.append(request.client)
                send(client, Welcome("0.1.0", os.getpid(), job_bytes=30_000_000))
            elif isinstance(request, GetStatus):
                send(client, Status("0.1.0", os.getpid(), 1, len(names), len(jobs), 0, done, failed, 0, 0))
            elif isinstance(request, Cancel):
                if request.job in jobs:
                    send(client, Accepted(request.job))
                    error(jobs.pop(request.job), Code.CANCELLED, request.job)
                else:
                    error(client, Code.UNKNOWN_JOB)
            elif isinstance(request, Shutdown):
                send(client, Accepted())
                time.sleep(0.1)
                break
            elif request.model == "never accepted":
                pass
            elif request.model == "answered with noise":
                router.send_multipart([client, b"noise"])
            elif request.model == "busy":
                failed += 1
                error(client, Code.BUSY)
            else:
                send(client, Accepted(request.job, ahead=1))
                send(client, Progress("another's", "fit", 1.0))
                send(client, Progress(request.job, "network", 0.5))
                for _ in range(10 if request.model == "slow" else 0):
                    time.sleep(0.2)
                    send(client, Progress(request.job, "network", 0.5))
                if request.model == "never done":
                    jobs[request.job] = client
                else:
                    done += 1
                    send(client, Result(request.job, request.image, "gknet", "cpu"))
    rendezvous.withdraw()
    router.close()
    authenticator.stop()
    context.term()
"""


@pytest.fixture(autouse=True)
def private(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(rendezvous.DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))


@pytest.fixture
def python(directory: Path) -> Iterator[str]:
    """What Client starts as the daemon; it is stopped at the end."""
    (directory / "daemon.py").write_text(DAEMON)
    path = directory / "python"
    path.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' exec '{sys.executable}' '{directory}/daemon.py'\n")
    path.chmod(0o755)
    yield str(path)
    kill()


@pytest.fixture
def client(python: str) -> Iterator[Client]:
    with Client("test", python) as client:
        yield client


def kill() -> None:
    connection = rendezvous.find()
    if connection:
        os.kill(connection.pid, signal.SIGKILL)


def request(model: str = "auto", size: int = 1000) -> Harmonize:
    data = os.urandom(1000) * (size // 1000)
    return Harmonize(new_job(), Image(Rect(0, 0, len(data) // 4, 1), "RGBA", "u8", data), model=model)


def drive(job: Job, seconds: float = 20) -> None:
    """As an editor's event loop."""
    deadline = time.monotonic() + seconds
    while not job.done and time.monotonic() < deadline:
        readable, writable, _ = select.select([job], [job] if job.wants_write else [], [], 0.1)
        if readable:
            job.on_readable()
        if writable:
            job.on_writable()
        job.on_timer()
    assert job.done


def refusal(use: Callable[[], Any]) -> LinkError:
    with pytest.raises(LinkError) as caught:
        use()
    return caught.value


def test_a_script_gets_its_result_from_a_daemon_that_it_starts(client: Client) -> None:
    reports: list[Accepted | Progress] = []
    job = request(size=8_000_000)
    result = client.harmonize(job, reports.append)
    assert result == Result(job.job, Pixels(job.image.rect, "RGBA", "u8", job.image.data), "gknet", "cpu")
    assert reports == [Accepted(job.job, ahead=1), Progress(job.job, "network", 0.5)]


def test_an_editor_gets_its_result(client: Client) -> None:
    launch = client.launch()
    assert launch is not None
    deadline = time.monotonic() + 20
    while launch.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client.launch() is None
    reports: list[Accepted | Progress] = []
    job = client.begin(sent := request(size=8_000_000), reports.append)
    drive(job)
    assert bytes(job.result().pixels.data) == sent.image.data and len(reports) == 2
    assert not job.wants_write
    job.on_readable()
    job.on_writable()


def test_to_launch_again_opens_no_other_connection(client: Client) -> None:
    launch = client.launch()
    assert launch is not None
    launch.wait()
    for _ in range(3):
        assert client.launch() is None
    assert len(client._idle) == 1
    client.harmonize(request())
    assert client.launch() is None and len(client._idle) == 1


def test_a_daemon_that_left_since_the_launch_is_launched_again(client: Client) -> None:
    client.harmonize(request())
    client.close()
    assert client.launch() is None
    select.select([client._idle[0][0]], [], [], 5)  # the daemon's greeting, which stays unread
    kill()
    time.sleep(0.1)
    launch = client.launch()
    assert launch is not None
    launch.wait()


def test_a_connection_serves_one_job_after_another(client: Client) -> None:
    for _ in range(3):
        client.harmonize(request())
    assert client.status().memory == 1  # one Hello
    jobs = [client.begin(request("never done")) for _ in range(3)]
    for job in jobs:
        job.on_timer()
    assert len({job.fileno() for job in jobs}) == 3
    for job in jobs:
        drive_until_accepted(job)
        job.cancel()
        assert refusal(job.wait).code == Code.CANCELLED
    assert client.status().memory == 3


def drive_until_accepted(job: Job) -> None:
    while not job._accepted:
        select.select([job], [job] if job.wants_write else [], [], 5)
        job.on_writable()
        job.on_readable()


def test_status_and_shutdown(client: Client) -> None:
    client.harmonize(request())
    status = client.status()
    connection = rendezvous.find()
    assert connection and (status.pid, status.done) == (connection.pid, 1)
    client.shutdown()
    deadline = time.monotonic() + 5
    while rendezvous.find() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not rendezvous.find()
    assert client.harmonize(request()).model == "gknet"  # by a new one


def test_without_a_daemon_nothing_but_a_job_starts_one(client: Client) -> None:
    for use in (client.status, client.shutdown, lambda: client.cancel("a")):
        error = refusal(use)
        assert error.code == Code.NOT_RUNNING and error.hint
    with Client(python=None) as other:
        assert refusal(lambda: other.harmonize(request())).code == Code.NOT_RUNNING
    assert not rendezvous.connection_file().exists()


def test_an_error_of_the_daemons_is_raised_and_the_connection_goes_on(client: Client) -> None:
    error = refusal(lambda: client.harmonize(request("busy")))
    assert (error.code, error.message, error.hint, error.log) == (Code.BUSY, "it is busy", "a hint", "a log")
    assert client.harmonize(request()).model == "gknet"
    assert client.status().memory == 1


def test_a_job_that_is_too_large_is_not_sent(client: Client) -> None:
    error = refusal(lambda: client.harmonize(request(size=30_000_000)))
    assert error.code == Code.TOO_LARGE and "30000000 at most" in error.message
    assert client.status().failed == client.status().done == 0


def test_noise_in_answer_is_an_error(client: Client) -> None:
    assert refusal(lambda: client.harmonize(request("answered with noise"))).code == Code.BAD_MESSAGE
    assert client.harmonize(request()).model == "gknet"


def test_cancel_by_the_report(client: Client) -> None:
    job: list[Job] = []

    def report(reply: Accepted | Progress) -> None:
        if isinstance(reply, Progress):
            job[0].cancel()

    job.append(client.begin(request("never done"), report))
    start = time.monotonic()
    assert refusal(job[0].wait).code == Code.CANCELLED
    assert time.monotonic() - start < 2
    assert client.status().running == 0


def test_cancel_from_another_thread(client: Client) -> None:
    job = client.begin(request("never done"))
    threading.Timer(0.3, job.cancel).start()
    assert refusal(job.wait).code == Code.CANCELLED
    assert client.status().running == 0


@pytest.mark.parametrize("model", ["never accepted", "never done"])
def test_cancel_before_anything_is_sent(client: Client, model: str) -> None:
    job = client.begin(request(model, size=20_000_000))
    job.cancel()
    job.on_timer()
    assert job.done and refusal(job.result).code == Code.CANCELLED
    assert client.harmonize(request()).model == "gknet"


def test_cancel_in_an_upload(client: Client) -> None:
    client.harmonize(request())  # on the connection it leaves, the next job goes without a greeting
    with stopped(client.status().pid):  # while it reads, one write may carry all of the job
        job = client.begin(request("never done", size=20_000_000))
        job.on_writable()  # the header
        job.on_writable()  # of the pixels, what the socket takes
        assert job.wants_write
        job.cancel()
        job.on_timer()
    assert refusal(job.result).code == Code.CANCELLED
    assert client.status().running == 0


def test_cancel_of_what_is_done_or_unknown(client: Client) -> None:
    job = client.begin(request())
    job.wait()
    job.cancel()
    assert job.result().model == "gknet"
    assert refusal(lambda: client.cancel("nobody's")).code == Code.UNKNOWN_JOB


def test_cancel_of_what_another_has_just_ended(client: Client) -> None:
    job = client.begin(request("never done"))
    drive_until_accepted(job)
    client.cancel(job.id)
    job.cancel()
    assert refusal(job.wait).code == Code.CANCELLED


def test_a_timeout_cancels(client: Client) -> None:
    error = refusal(lambda: client.harmonize(request("never done"), timeout=0.5))
    assert error.code == Code.TIMEOUT and "0.5 s" in error.message


def test_a_report_that_raises_ends_the_job(client: Client) -> None:
    def report(reply: Accepted | Progress) -> None:
        raise KeyboardInterrupt

    job = client.begin(request(), report)
    with pytest.raises(KeyboardInterrupt):
        job.wait()
    assert refusal(job.result).code == Code.CANCELLED


def test_a_silent_daemon_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE", 0.5)
    start = time.monotonic()
    job = client.begin(request("never accepted"))
    assert refusal(job.wait).code == Code.TIMEOUT
    assert time.monotonic() - start < 5


def test_a_daemon_that_reports_is_not_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE", 1.5)
    assert client.harmonize(request("slow")).model == "gknet"


def test_a_daemon_that_is_killed_is_noticed_and_replaced(client: Client) -> None:
    job = client.begin(request("never done"))
    drive_until_accepted(job)
    before = client.status().pid
    kill()
    start = time.monotonic()
    error = refusal(job.wait)
    assert error.code == Code.LOST and time.monotonic() - start < 2
    assert refusal(client.status).code == Code.NOT_RUNNING
    assert client.harmonize(request()).model == "gknet"
    assert client.status().pid != before


def test_a_daemon_that_left_between_two_jobs_is_replaced(client: Client) -> None:
    client.harmonize(request())
    kill()
    time.sleep(0.1)
    assert client.harmonize(request()).model == "gknet"


@pytest.mark.parametrize("greeted", [False, True])
def test_a_daemon_that_leaves_as_it_is_asked_is_replaced(client: Client, greeted: bool) -> None:
    """It takes the connection, or even holds one, and goes before it has read what is sent."""
    client.harmonize(request())
    before = rendezvous.find()
    assert before
    os.kill(before.pid, signal.SIGSTOP)
    if not greeted:
        client.close()
        client._idle.append((client._connect(), False))
    killer = threading.Timer(0.3, kill)
    killer.start()
    assert client.harmonize(request(size=5_000_000)).model == "gknet"
    killer.join()
    assert client.status().pid != before.pid


def test_a_wrong_key_is_refused(client: Client) -> None:
    client.harmonize(request())
    client.close()
    content = rendezvous.connection_file().read_text()
    rendezvous.connection_file().write_text(content.replace("secret", "guess"))
    assert refusal(lambda: client.harmonize(request())).code == Code.REFUSED
    assert refusal(client.status).code == Code.REFUSED


def test_a_stopped_daemon_does_not_hold_up_a_question_for_long(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.harmonize(request())
    connection = rendezvous.find()
    assert connection
    monkeypatch.setattr(client_module, "_ANSWER", 0.3)
    os.kill(connection.pid, signal.SIGSTOP)
    assert refusal(client.status).code == Code.TIMEOUT


def test_the_message_classes_are_enough_for_a_script(python: str, directory: Path) -> None:
    """The example of the module's text, in a process of its own."""
    program = f"""if True:
        from backend.link import Client
        from backend.link.messages import Harmonize, Image, Rect, new_job
        with Client(python={python!r}) as client:
            image = Image(Rect(0, 0, 2, 1), "RGBA", "u8", b"12345678")
            print(bytes(client.harmonize(Harmonize(new_job(), image)).pixels.data).decode())
    """
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("12345678\n", "")
