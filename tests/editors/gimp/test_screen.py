"""The plug-in as it is used: from the menu of a real GIMP 3, on a screen. What is seen is left in out/gimp."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from backend.link import Client
from backend.link.rendezvous import find
from installer.environment import ROOT
from tests.editors.gimp.conftest import Start
from tests.editors.gimp.screen import Screen
from tests.editors.gimp.session import Gimp, processes
from tests.places import EXAMPLES
from tests.processes import stopped, wait

SHOTS = ROOT / "out" / "gimp"
CANCEL = (1000, 778)  # the button beside the progress, as progress.png shows


class Desk:
    """GIMP on a screen, with an example open whose object is selected."""

    def __init__(self, gimp: Gimp, screen: Screen) -> None:
        self.gimp, self.screen = gimp, screen
        shutil.copy(EXAMPLES / "astronaut.jpg", gimp.folder)
        self.image = gimp("load", str(gimp.folder / "astronaut.jpg"))
        (self.layer,) = self.layers().values()
        gimp("change", self.layer, name="photo")
        self.select()
        gimp("clean", self.image)
        gimp("show", self.image)
        screen.fill(screen.window("GIMP$"))

    def select(self) -> None:
        with Image.open(EXAMPLES / "astronaut_mask.png") as mask:
            self.gimp("select", self.image, mask.convert("L").tobytes())

    def layers(self) -> dict[str, int]:
        """Names and ids, from the top down."""
        return {each["name"]: each["id"] for each in self.gimp("state", self.image)["layers"]}

    def opacity(self) -> float:
        """The uppermost layer's."""
        opacity: float = self.gimp("state", self.image)["layers"][0]["opacity"]
        return opacity

    def harmonized(self) -> None:
        """Wait until there is a result, and the plug-in has ended."""
        wait(lambda: self.shows("photo (harmonized)", "photo"))
        wait(lambda: not processes(str(self.gimp.plug_in / "harmonize_layer.py")))

    def shows(self, *names: str) -> bool:
        return list(self.layers()) == list(names)

    def read_message(self, shot: str) -> None:
        """Wait for a message, and close it."""
        message = self.screen.window("GIMP Message")
        self.screen.shot(SHOTS / shot)
        self.screen.keys("Escape")
        wait(lambda: self.screen.gone(message))

    @contextmanager
    def held(self) -> Iterator[Client]:
        """Harmonize as the last time, with a worker that stands still until the end of the block."""
        with Client(file=self.gimp.connection) as client:
            with stopped(client.status().workers[0].pid):
                self.screen.keys("ctrl+f")
                wait(lambda: client.status().running == 1)
                time.sleep(1)  # by then its progress is shown
                yield client


@pytest.fixture(scope="module")
def desk(root: Path, start: Start) -> Iterator[Desk]:
    screen = Screen(root)
    try:
        yield Desk(start(screen.display), screen)
    finally:
        screen.close()


def test_from_the_menu_to_the_layer_and_back(desk: Desk) -> None:
    screen = desk.screen
    screen.keys("alt+r", "Up", "Right", pause=1)
    screen.shot(SHOTS / "menu.png")
    screen.keys("Return")
    dialog = screen.window("^Harmonize Layer$")
    screen.keys("alt+g", "Page_Down", "Page_Down")
    screen.shot(SHOTS / "dialog.png")
    screen.keys("alt+o")
    desk.harmonized()
    assert desk.opacity() == 80 and screen.gone(dialog)
    screen.shot(SHOTS / "result.png")
    screen.keys("ctrl+z")  # once
    wait(lambda: desk.shows("photo"))
    screen.keys("ctrl+y")
    wait(lambda: desk.shows("photo (harmonized)", "photo"))
    screen.keys("ctrl+z")
    wait(lambda: desk.shows("photo"))


def test_values_are_remembered(desk: Desk) -> None:
    for show in (False, True):
        desk.screen.keys("shift+ctrl+f" if show else "ctrl+f")
        if show:
            desk.screen.window("^Harmonize Layer$")
            desk.screen.keys("alt+o")
        desk.harmonized()
        assert desk.opacity() == 80
        desk.screen.keys("ctrl+z")
        wait(lambda: desk.shows("photo"))


def test_progress_is_shown_and_cancel_ends_the_job(desk: Desk) -> None:
    desk.gimp("clean", desk.image)
    with desk.held() as client:
        before = client.status().cancelled
        desk.screen.shot(SHOTS / "progress.png")
        desk.screen.click(*CANCEL)
        wait(lambda: client.status().cancelled == before + 1)
    state = desk.gimp("state", desk.image)
    assert desk.shows("photo") and not state["dirty"] and state["images"] == 1


def test_what_changes_meanwhile_is_noticed(desk: Desk) -> None:
    with desk.held():
        other = desk.gimp("copy", desk.image, desk.layer)
        desk.gimp("remove", desk.image, desk.layer)
    desk.read_message("gone.png")
    assert list(desk.layers().values()) == [other]
    desk.screen.keys("ctrl+z", "ctrl+z")
    wait(lambda: list(desk.layers().values()) == [desk.layer])
    with desk.held():
        desk.gimp("move", desk.layer, 5, 0)
    desk.read_message("changed.png")
    assert desk.shows("photo")
    desk.screen.keys("ctrl+z")


def test_a_dialog_may_stay_open_for_longer_than_a_daemon_stays(desk: Desk) -> None:
    file = desk.gimp.connection

    def stop() -> None:
        Client(file=file).shutdown()
        wait(lambda: find(file) is None)

    stop()
    desk.screen.keys("shift+ctrl+f")
    desk.screen.window("^Harmonize Layer$")
    wait(lambda: find(file) is not None)  # started for the dialog
    stop()
    desk.screen.keys("alt+o")
    desk.harmonized()
    desk.screen.keys("ctrl+z")
    wait(lambda: desk.shows("photo"))


def test_again_after_an_undo_is_of_the_photo(desk: Desk) -> None:
    desk.screen.keys("ctrl+f")
    desk.harmonized()
    first = desk.layers()
    desk.screen.keys("ctrl+f")
    wait(lambda: desk.shows("photo (harmonized)", "photo") and desk.layers() != first)
    desk.screen.keys("ctrl+z")  # makes the first result active
    wait(lambda: desk.layers() == first)
    desk.screen.keys("ctrl+f")
    wait(lambda: desk.shows("photo (harmonized)", "photo") and desk.layers() != first)
    desk.screen.keys("ctrl+z")
    wait(lambda: desk.layers() == first)
    desk.screen.keys("ctrl+z")
    wait(lambda: desk.shows("photo"))


def test_errors_are_shown_at_once(desk: Desk) -> None:
    desk.screen.keys("shift+ctrl+a", "ctrl+f")  # nothing is selected
    desk.read_message("error.png")
    assert desk.shows("photo")
