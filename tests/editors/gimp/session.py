"""A real GIMP 3, with the plug-in installed and a driver that does what tests ask for.

It lies in a root of its own (installer.debian), as Debian 12 has none. Within that root a link leads from where
it is to where it begins, so that every path into it means the same inside as outside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

from installer.debian import FIRST_START
from installer.plugins import install_gimp
from tests.processes import accept

HERE = Path(__file__).resolve().parent
_DRIVER = 'import runpy; runpy.run_path("{}", run_name="__main__")'
# The plug-in is to start a daemon, whose Python is outside of the root: as root, a process may leave one.
_PYTHON_OUTSIDE = """#!/usr/bin/python3
import os, sys
root = os.open("/", os.O_RDONLY)
os.makedirs("/tmp/inner", exist_ok=True)
os.chroot("/tmp/inner")
os.fchdir(root)
for _ in range(64):
    os.chdir("..")
os.chroot(".")
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


class Gimp:
    """GIMP with a home of its own in `folder`, which is in `root`.

    Attributes:
        folder: where it may write.
        connection: its daemon's connection file.
        plug_in: the installed plug-in's folder.
    """

    def __init__(self, root: Path, folder: Path, display: str = "") -> None:
        """Start it; without a screen where there is no `display`."""
        inside = root / root.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        if not inside.is_symlink():
            inside.symlink_to("/")
        home = folder / "home"
        shutil.copytree(root / FIRST_START, home)  # GIMP has looked at its own plug-ins there
        settings = home / ".config" / "GIMP" / "3.0"
        with (settings / "gimprc").open("a") as file:
            file.write("(show-welcome-dialog no)\n(check-updates no)\n")
        plug_ins = settings / "plug-ins"
        self.folder = folder
        self.connection = folder / "run" / "connection.json"
        self.plug_in = plug_ins / "harmonize_layer"
        install_gimp(plug_ins, Path(sys.executable), self.connection)
        python = folder / "python"
        python.write_text(_PYTHON_OUTSIDE.format(python=sys.executable))
        python.chmod(0o755)
        backend = self.plug_in / "harmonize" / "backend.json"
        backend.write_text(backend.read_text().replace(sys.executable, str(python)))
        address = str(folder / "driver")
        variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "XDG_", "LD_", "DISPLAY"))
        }
        variables.update(
            HOME=str(home),
            LC_ALL="C.UTF-8",
            NO_AT_BRIDGE="1",
            GIMP_DRIVER=address,
        )
        steps = folder / "steps.py"
        steps.write_bytes((HERE / "steps.py").read_bytes())
        program = ["gimp-3.0", "--new-instance", "--no-splash"] if display else ["gimp-console-3.0", "-i", "-d"]
        if display:
            variables["DISPLAY"] = display
        line = [*program, "--batch-interpreter=python-fu-eval", "-b", _DRIVER.format(steps), "--quit"]
        self._log = (folder / "gimp.log").open("w")
        with Listener(address) as listener:
            self.process = subprocess.Popen(
                ["chroot", str(root), *line], env=variables, stdout=self._log, stderr=subprocess.STDOUT
            )
            self._connection = accept(listener, self.process, folder / "gimp.log")

    def __call__(self, name: str, /, *arguments: Any, **named: Any) -> Any:
        """What the function of that name in steps.py returns inside of GIMP."""
        self.begin(name, *arguments, **named)
        return self.end()

    def begin(self, name: str, /, *arguments: Any, **named: Any) -> None:
        """Call it without waiting for the end."""
        self._connection.send((name, arguments, named))

    def end(self) -> Any:
        """What the call that has begun returns."""
        assert self._connection.poll(90), "it takes too long"
        done, value = self._connection.recv()
        assert done, value
        return value

    def close(self) -> None:
        self._connection.send(("quit", (), {}))
        self._connection.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def processes(argument: str) -> list[int]:
    """Those that have it in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if argument.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
