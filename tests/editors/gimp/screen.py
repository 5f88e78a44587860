"""A screen that nobody sees, in GIMP's root, with a window manager, a mouse and a keyboard."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.processes import wait

SIZE = (1280, 800)
_TITLE = 24


class Screen:
    """The screen.

    Attributes:
        display: what X calls it.
    """

    def __init__(self, root: Path) -> None:
        # X finds a free number by files, and there are other roots with files of their own.
        number = 100 + os.getpid() % 10000
        self._root, self.display = root, f":{number}"
        self._processes = [
            self._start("Xvfb", self.display, "-screen", "0", "{}x{}x24".format(*SIZE), "-nolisten", "tcp", "-noreset")
        ]
        wait((root / "tmp" / ".X11-unix" / f"X{number}").exists)
        self._processes.append(self._start("openbox"))

    def keys(self, *names: str, pause: float = 0.4) -> None:
        """Press keys, such as "ctrl+z", one after another, as slowly as menus open."""
        for name in names:
            self._run("xdotool", "key", name)
            time.sleep(pause)

    def click(self, x: int, y: int) -> None:
        """Press the mouse's left button there."""
        self._run("xdotool", "mousemove", str(x), str(y), "click", "1")

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

    def _start(self, *line: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._line([*line]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
