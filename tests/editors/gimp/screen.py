"""A screen that nobody sees, in GIMP's root, with a window manager, a mouse and a keyboard."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SIZE = (1280, 800)
_TITLE = 24


class Screen:
    """The screen.

    Attributes:
        display: what X calls it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.display = ""
        read, write = os.pipe()
        line = ["Xvfb", "-displayfd", str(write), "-screen", "0", "{}x{}x24".format(*SIZE), "-nolisten", "tcp"]
        self._processes = [self._start(line, [write])]
        os.close(write)
        with os.fdopen(read) as pipe:
            self.display = f":{pipe.readline().strip()}"
        self._processes.append(self._start(["openbox"]))

    def keys(self, *names: str, pause: float = 0.4) -> None:
        """Press keys, such as "ctrl+z", one after another, as slowly as menus open."""
        for name in names:
            self._run("xdotool", "key", name)
            time.sleep(pause)

    def window(self, title: str) -> str:
        """The number of the visible window whose title matches, once there is one; it is the active one then."""
        found: list[str] = []

        def look() -> bool:
            found[:] = self._run("xdotool", "search", "--onlyvisible", "--name", title).split()
            return bool(found)

        wait(look)
        self._run("xdotool", "windowactivate", "--sync", found[0])
        return found[0]

    def gone(self, number: str) -> bool:
        """Whether the window of that number is not there any more."""
        return number not in self._run("xdotool", "search", "--onlyvisible", "--name", ".").split()

    def fill(self, number: str) -> None:
        """Let a window cover the screen, with its title."""
        self._run(
            "xdotool",
            "windowsize",
            "--sync",
            number,
            str(SIZE[0]),
            str(SIZE[1] - _TITLE),
            "windowmove",
            number,
            "0",
            "0",
        )

    def shot(self, file: Path) -> None:
        """A picture of the screen, as PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        line = ["import", "-window", "root", "png:-"]
        file.write_bytes(subprocess.run(self._line(line), check=True, stdout=subprocess.PIPE).stdout)

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _line(self, line: list[str]) -> list[str]:
        return ["chroot", str(self._root), "env", f"DISPLAY={self.display}", *line]

    def _run(self, *line: str) -> str:
        return subprocess.run(self._line([*line]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    def _start(self, line: list[str], keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(self._line(line), pass_fds=keep, stdout=quiet, stderr=quiet)


def wait(condition: Callable[[], bool], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)
