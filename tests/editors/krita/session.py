"""A real Krita on a screen that nobody sees, with the plugin installed and a driver that does what tests ask for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

from installer.plugins import install_krita
from tests.processes import accept

HERE = Path(__file__).resolve().parent
_CONFIGURATION = "[python]\nenable_harmonize_layer=true\nenable_krita_driver=true\n"


class Krita:
    """Krita with a home of its own in `folder`, whose resource database is kept between sessions.

    Attributes:
        plugin: the plugin's folder.
        connection: its daemon's connection file.
        settings: the user's settings file.
        process: Krita itself.
        display: its screen.
    """

    def __init__(self, folder: Path) -> None:
        home = folder / "home"
        resources = home / ".local" / "share" / "krita"
        self.plugin = resources / "pykrita" / "harmonize_layer"
        self.connection = folder / "run" / "connection.json"
        for path in (home, self.plugin.parent, home / ".config", home / ".cache", self.connection.parent):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / ".config" / "kritarc").write_text(_CONFIGURATION)
        install_krita(resources, Path(sys.executable), self.connection)
        backend = json.loads((self.plugin / "backend.json").read_text())
        log = home / ".local" / "state" / "harmonize" / "log" / "daemon.log"  # as this home is not the installer's
        (self.plugin / "backend.json").write_text(json.dumps({**backend, "log": str(log)}))
        shutil.copytree(HERE / "driver", resources / "pykrita", dirs_exist_ok=True)
        self.settings = home / ".config" / "harmonize" / "settings.toml"
        self.settings.parent.mkdir(exist_ok=True)
        self.settings.write_text('device = "cpu"\n')
        self._folder, self._home = folder, home
        self.start()

    def start(self) -> None:
        """Start Krita, also after its end."""
        address = str(self._folder / "driver.socket")
        self._screen, self.display = _screen()
        private = ("PYTHON", "XDG_", "LD_")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(private)}
        variables.update(
            HOME=str(self._home),
            XDG_RUNTIME_DIR=str(self._home),
            DISPLAY=self.display,
            PATH=os.defpath,  # its Python takes the modules of the first python3 there for its own
            LC_ALL="C.UTF-8",  # else its Python reads files as ASCII
            PYTHONFAULTHANDLER="1",
            KRITA_DRIVER=address,
            KRITA_STEPS=str(HERE / "steps.py"),
        )
        self.log = self._folder / "krita.log"
        with Listener(address) as listener, self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["krita", "--nosplash"], env=variables, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder
            )
            try:
                self._connection = accept(listener, self.process, self.log)
            except BaseException:
                self._end()
                raise

    def __call__(self, step: str, /, **arguments: Any) -> Any:
        """What the function of that name in steps.py returns inside of Krita."""
        self._connection.send((step, arguments))
        assert self._connection.poll(120), f"{step} takes too long"
        try:
            ok, value = self._connection.recv()
        except EOFError:
            raise AssertionError(f"Krita died in {step}: {self.log.read_text()[-1000:]}") from None
        assert ok, value
        return value

    def close(self) -> None:
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._end()

    def _end(self) -> None:
        for process in (self.process, self._screen):
            process.kill()
            process.wait()


def _screen() -> tuple[subprocess.Popen[bytes], str]:
    """An X server, which picks a free number itself, and that number.

    -noreset: it would be deaf for a moment whenever its last client leaves, and Krita connects more than once.
    """
    read, write = os.pipe()
    line = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24", "-noreset", "-nolisten", "tcp"]
    process = subprocess.Popen(line, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        return process, f":{pipe.readline().strip()}"
