"""What can go wrong: each time a message that says what to do, and a document that is as it was."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from backend.link import Client
from backend.link.messages import Harmonize, Image, LinkError, Pixels, Rect, new_job
from backend.link.rendezvous import DIRECTORY_VARIABLE, find
from backend.link.texts import TEXTS, text
from gknet import Harmonizer
from tests.editors.krita.photos import PLACE, ROOT, SRGB, background, engine, layers
from tests.editors.krita.session import Krita
from tests.processes import stopped, wait

HEIGHT, WIDTH = background().shape[:2]
WHOLE = (0, 0, WIDTH, HEIGHT)
RESULT = "Person (harmonized)"


def client(krita: Krita) -> Client:
    return Client("tests", python=None, file=krita.connection)


def stop(krita: Krita) -> None:
    """Stop the daemon, if there is one."""
    with suppress(LinkError):
        client(krita).shutdown()
    wait(lambda: find(krita.connection) is None)


@contextmanager
def slow(krita: Krita) -> Iterator[int]:
    """A worker, its process given, that computes nothing for a while; a daemon is started for it if there is none."""
    if find(krita.connection) is None:
        krita("harmonize")
        krita("trigger", action="edit_undo")
        krita("unmodified")
    wait(lambda: client(krita).status().workers[0].state == "idle")
    with stopped(client(krita).status().workers[0].pid) as pid:
        yield pid


@contextmanager
def daemon(krita: Krita, *line: str, prepare: Callable[[], None] | None = None) -> Iterator[None]:
    """Another daemon than the plugin would start."""
    stop(krita)
    environment = {**os.environ, DIRECTORY_VARIABLE: str(krita.connection.parent)}
    command = [sys.executable, *(line or ("-m", "backend.cli", "serve", "--device", "cpu"))]
    with subprocess.Popen(command, env=environment, cwd=ROOT, preexec_fn=prepare) as process:
        try:
            wait(lambda: (found := find(krita.connection)) is not None and found.pid == process.pid)
            yield
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def settings(krita: Krita, content: str) -> Iterator[None]:
    """What the user has set, for a daemon that starts anew."""
    stop(krita)
    before = krita.settings.read_text()
    krita.settings.write_text(content)
    try:
        yield
    finally:
        krita.settings.write_text(before)
        stop(krita)


def opened(krita: Krita) -> tuple[object, ...]:
    """The usual document."""
    krita("create", **layers())
    return now(krita)


def now(krita: Krita) -> tuple[object, ...]:
    """What must not change."""
    return krita("seen", rect=WHOLE), krita("tree"), krita("state"), krita("modified")


def complaint(krita: Krita) -> str:
    """What one window says after a click."""
    line, boxes = krita("harmonize")
    assert boxes == [line]
    return str(line)


# The user


def test_no_document(krita: Krita) -> None:
    assert complaint(krita) == text("no_document")


def test_nothing_tells_what_the_object_is(krita: Krita) -> None:
    opened(krita)
    krita("activate", name="Photo")
    assert complaint(krita) == text("no_object")
    krita("add", kind="paint", name="Over", above="Person")
    krita("paint", name="Over", rect=WHOLE, pixels=bytes([90, 90, 90, 255]) * (WIDTH * HEIGHT))
    krita("activate", name="Over")
    before = now(krita)
    assert complaint(krita) == text("no_object")
    assert now(krita) == before


def test_nothing_to_match(krita: Krita) -> None:
    opened(krita)
    krita("change", name="Photo", Visible=False)
    assert complaint(krita) == text("no_background")
    krita("change", name="Photo", Visible=True, Opacity=0)
    assert complaint(krita) == text("error.no_background")


def test_everything_is_selected(krita: Krita) -> None:
    opened(krita)
    krita("activate", name="Photo")
    krita("select", rect=WHOLE, values=b"\xff" * (WIDTH * HEIGHT))
    assert complaint(krita) == text("error.no_background")


@pytest.mark.parametrize("what", ["layer", "group"])
def test_an_isolated_layer(krita: Krita, what: str) -> None:
    opened(krita)
    krita("group", name="Group", members=["Person"])
    krita("activate", name="Person")
    krita("trigger", action=f"isolate_active_{what}")
    try:
        said = complaint(krita)
    finally:
        krita("trigger", action=f"isolate_active_{what}")
    assert f"Turn off Layer > Isolate Active {what.title()}, and" in said


def test_a_selection_beside_the_layer(krita: Krita) -> None:
    opened(krita)
    krita("select", rect=[0, 0, 50, 50], values=b"\xff" * 2500)
    before = now(krita)
    assert complaint(krita) == text("selection_empty")
    assert now(krita) == before


@pytest.mark.parametrize("hidden", [{"Visible": False}, {"Opacity": 0}], ids=str)
def test_a_hidden_layer(krita: Krita, hidden: dict[str, int]) -> None:
    opened(krita)
    krita("change", name="Person", **hidden)
    assert complaint(krita) == text("layer_hidden")


def test_a_locked_group(krita: Krita) -> None:
    opened(krita)
    krita("group", name="Group", members=["Person"])
    krita("change", name="Group", Locked=True)
    krita("activate", name="Person")
    assert complaint(krita) == text("group_locked", group="Group")
    assert krita("tree") == ["Photo", "Group", ["Person"]]


# While it runs


def test_one_at_a_time_and_cancel(krita: Krita) -> None:
    before = opened(krita)
    with slow(krita):
        krita("start")
        krita("until", fragment=TEXTS["stage.copy"])
        krita("start")
        assert krita("boxes") == [text("running")]
        krita("trigger", action="harmonize_cancel")
        assert krita("finish") == (text("error.cancelled"), [])
    assert now(krita) == before
    wait(lambda: client(krita).status().running == 0)  # its worker hears of it a moment later
    krita("trigger", action="harmonize_cancel")
    assert krita("running")[:2] == (False, text("not_running"))


def test_krita_goes_on_while_it_runs(krita: Krita) -> None:
    opened(krita)
    with slow(krita):
        krita("start")
        krita("until", fragment=TEXTS["stage.copy"])
        assert krita("ticks", seconds=1.0) >= 5  # of 100 on a machine that has nothing else to do
        krita("trigger", action="harmonize_cancel")
        krita("finish")


def test_a_document_that_is_closed_meanwhile(krita: Krita) -> None:
    other = opened(krita)
    opened(krita)
    with slow(krita):
        krita("start")
        krita("until", fragment=TEXTS["stage.copy"])
        krita("close_document")
    assert krita("finish") == (text("document_gone"), [text("document_gone")])
    assert now(krita)[:2] == other[:2]  # the one that is left


def test_an_active_layer_that_is_removed_meanwhile(krita: Krita) -> None:
    opened(krita)
    with slow(krita):
        krita("start")
        krita("until", fragment=TEXTS["stage.copy"])
        krita("remove", name="Person")
    assert krita("finish")[1] == [text("layer_gone")]
    assert krita("tree") == ["Photo"]


@pytest.mark.parametrize("what", ["paint", "below", "move", "size"])
def test_a_document_that_is_edited_meanwhile(krita: Krita, what: str) -> None:
    opened(krita)
    with slow(krita):
        krita("start")
        krita("until", fragment=TEXTS["stage.copy"])
        if what == "move":
            krita("move", name="Person", x=5, y=0)
        elif what == "size":
            krita("crop", rect=[10, 10, WIDTH - 20, HEIGHT - 20])
        else:
            name, place = ("Person", (PLACE[0] + 100, PLACE[1] + 100)) if what == "paint" else ("Photo", (5, 5))
            krita("paint", name=name, rect=[*place, 1, 1], pixels=b"\1\2\3\xff")
    assert krita("finish")[1] == [text("document_changed")]
    assert krita("tree") == ["Photo", "Person"]


def test_the_result_comes_to_its_own_document(krita: Krita, harmonizer: Harmonizer) -> None:
    picture = SRGB.decode(opened(krita)[0], WHOLE)  # type: ignore[arg-type]
    person = SRGB.decode(krita("pixels", name="Person", rect=WHOLE), WHOLE)
    with slow(krita):
        krita("start")
        krita("until", fragment=TEXTS["stage.copy"])
        other = opened(krita)
    assert krita("finish")[1] == []
    assert now(krita) == (*other[:2], other[2], False)
    krita("switch", index=0)
    rect, expected = engine(harmonizer, SRGB, picture, person[..., 3])
    got = SRGB.decode(krita("pixels", name=RESULT, rect=list(rect)), rect)
    assert (got[expected[..., 3] > 0] == expected[expected[..., 3] > 0]).all()


def test_a_fault_of_the_plugins_own_is_told_and_over(krita: Krita) -> None:
    before = opened(krita)
    krita("break_plugin", broken=True)
    said = complaint(krita)
    krita("break_plugin", broken=False)
    assert said == text("unexpected", error="ZeroDivisionError()") and now(krita) == before
    assert krita("harmonize")[1] == []


# The backend


def test_not_installed(krita: Krita) -> None:
    before = opened(krita)
    file = krita.plugin / "backend.json"
    content = file.read_text()
    try:
        file.unlink()
        assert "is not installed" in complaint(krita) and now(krita) == before
        file.write_text(content.replace(sys.executable, "/nowhere/python"))
        assert "no Python at /nowhere/python" in complaint(krita) and now(krita) == before
    finally:
        file.write_text(content)


def test_not_startable(krita: Krita) -> None:
    before = opened(krita)
    with settings(krita, "moonlight = 1\n"):
        said = complaint(krita)
    assert said.startswith("The backend cannot be started: ") and "moonlight" in said and now(krita) == before


def test_of_another_version(krita: Krita) -> None:
    before = opened(krita)
    script = (
        "from backend.link import messages; messages.PROTOCOL = (2, 0)\n"
        "from backend.cli import main; main(['serve', '--device', 'cpu'])"
    )
    with daemon(krita, "-c", script):
        said = complaint(krita)
    assert said.startswith("The plugin and the backend are of different versions") and "update the plugin" in said
    assert now(krita) == before


def test_busy(krita: Krita) -> None:
    before = opened(krita)
    with settings(krita, 'device = "cpu"\nqueue = 1\n'), slow(krita):
        side = Rect(0, 0, 64, 64)
        values = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8).tobytes()
        mine = client(krita).begin(
            Harmonize(new_job(), Image(side, "GRAY", "u8", values), selection=Pixels(side, "GRAY", "u8", values))
        )
        while client(krita).status().running == 0:
            mine.on_writable()
            mine.on_readable()
        said = complaint(krita)
        mine.cancel()
    assert said.startswith("The backend is busy: 1 jobs are ahead") and now(krita) == before


def test_too_large(krita: Krita) -> None:
    before = opened(krita)
    with settings(krita, 'device = "cpu"\njob_bytes = 1000\n'):
        said = complaint(krita)
    assert said.startswith("The picture is too large: ") and now(krita) == before


def test_more_than_krita_can_hand_out(krita: Krita) -> None:
    before = opened(krita)
    most = krita("limit_bytes", most=1000)
    try:
        assert complaint(krita) == text("too_large") and now(krita) == before
    finally:
        krita("limit_bytes", most=most)


def test_out_of_memory(krita: Krita) -> None:
    before = opened(krita)
    with daemon(krita, prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))):
        said = complaint(krita)
    assert said.startswith("There is not enough memory: ") and now(krita) == before


@pytest.mark.parametrize("victim", ["worker", "daemon"])
def test_killed_while_it_works(krita: Krita, victim: str) -> None:
    before = opened(krita)
    with slow(krita) as worker:
        krita("start")
        krita("until", fragment=TEXTS["stage.copy"])
        os.kill(worker if victim == "worker" else client(krita).status().pid, signal.SIGKILL)
        line, boxes = krita("finish")
    expected = text("error.worker_died") if victim == "worker" else "The backend has ended during the work"
    assert line.startswith(expected) and boxes == [line] and now(krita) == before
    line, boxes = krita("harmonize")
    assert boxes == [] and line.startswith("Harmonized in")


def test_the_dockers_of_two_windows_say_the_same(krita: Krita) -> None:
    assert krita("set_in_second_window", strength=40, feather=7) == [[40, 7], [40, 7]]


def test_the_log_that_the_docker_opens_is_the_daemons(krita: Krita) -> None:
    opened(krita)
    krita("harmonize")
    log = krita("log")
    assert log and "hello from Krita" in Path(log).read_text()
