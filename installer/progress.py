"""A progress bar that shows what pip says it is doing, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from typing import TextIO

_PACKAGE = re.compile(r"(?:Collecting|Requirement already satisfied:) (\S+)|Processing (.+?)(?: \(from .+\))?$")
_DOWNLOAD = re.compile(r"\s+Downloading (\S+) \((.+)\)$")
_BYTES = re.compile(r"Progress (\d+) of (\d+)$")
_INSTALL = re.compile(r"Installing collected packages: (.+)$")


@dataclass(frozen=True)
class Step:
    """One thing pip does. `total` is 0 while nobody can know how much of it there is."""

    label: str
    done: int = 0
    total: int = 0
    unit: str = ""


class PipOutput:
    """Reads the lines that `pip install --progress-bar raw` prints. Sizes are in bytes."""

    def __init__(self) -> None:
        self.found = 0
        self.download = ""
        self.names: list[str] = []

    def read(self, line: str) -> Step | None:
        """The step that a line tells of, or None for a line that tells of none."""
        if match := _PACKAGE.match(line):
            self.found += 1
            return Step(f"finding packages: {_project(match[1] or match[2])} ({self.found})")
        if match := _DOWNLOAD.match(line):
            self.download = f"downloading {_project(match[1])} ({match[2]})"
            return Step(self.download)
        if match := _BYTES.match(line):
            return Step(self.download, int(match[1]), int(match[2]), "MB")
        if match := _INSTALL.match(line):
            self.names = match[1].split(", ")
            return self.installing(0)
        return None

    def installing(self, done: int) -> Step:
        """The step of installing, in the order that pip announced, when `done` packages are complete."""
        names = self.names
        return Step(f"installing {names[min(done, len(names) - 1)]}", done, len(names))


def _project(text: str) -> str:
    """The project's name in a requirement, file name or path: 'torch' of 'torch<3,>=2' and of 'x/torch-2.1.0.whl'."""
    name = text.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]
    return re.split(r"[<>=!~;\[ ]|-\d", name, maxsplit=1)[0]


class Bar:
    """Draws steps: one line redrawn in place on a terminal, else a plain line whenever something new begins."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.label = ""

    def show(self, step: Step) -> None:
        """Show how far a step is."""
        if not self.live:
            if step.label != self.label:
                self.stream.write(f"{step.label}\n")
        else:
            self.stream.write("\r\x1b[K" + self._line(step, shutil.get_terminal_size().columns - 1))
        self.stream.flush()
        self.label = step.label

    def finish(self, text: str) -> None:
        """Replace the bar by a last line."""
        self.stream.write(("\r\x1b[K" if self.live else "") + text + "\n")
        self.stream.flush()
        self.label = ""

    @staticmethod
    def _line(step: Step, columns: int) -> str:
        if not step.total:
            return step.label[:columns]
        scale = 1_000_000 if step.unit == "MB" else 1
        count = f" {step.done / scale:.0f}/{step.total / scale:.0f}{' ' + step.unit if step.unit else ''}"
        width = min(30, columns - len(step.label) - len(count) - 3)
        if width < 5:
            return (step.label + count)[:columns]
        filled = width * min(step.done, step.total) // step.total
        return f"{step.label} [{'#' * filled}{'.' * (width - filled)}]{count}"
