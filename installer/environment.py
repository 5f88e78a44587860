"""A virtual environment, such as a checkout's: made, filled with pinned packages, recognised when it is complete."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from installer.progress import Bar, PipOutput, Step

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "installer" / "constraints.txt"
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class InstallError(Exception):
    """What stops the installation: the text says what happened and what to do, `status` is the exit status."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def variables(**more: str) -> dict[str, str]:
    """For an environment's Python: all but what PYTHONPATH and its like tell the user's own, and to speak UTF-8."""
    hidden = ("PYTHON", "__PYVENV_LAUNCHER__")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, "PYTHONUTF8": "1", **more}


def lacks_venv() -> bool:
    """Whether this Python came without the modules that make virtual environments, as Debian's does."""
    importlib.invalidate_caches()
    return any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip"))


class Environment:
    """The environment in `folder`, made with the Python that runs this."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder.joinpath(*(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
        self.stamp = folder / "installed.txt"
        self.log = folder / "install.log"

    def is_ready(self, extra: str) -> bool:
        """Whether everything for `extra` ("" = the product alone) is installed as the checkout now asks for it."""
        wanted = [self._digest(name) for name in {extra, "dev"}]  # [dev] holds all that the product needs
        return self.python.exists() and self.stamp.exists() and self.stamp.read_text() in wanted

    def install(self, extra: str, bar: Bar) -> None:
        """Make the environment if need be, and install the project with what `extra` asks for, at the pinned versions.

        The stamp is written last, so an installation that was cut off is taken up again by the next one. Raises
        InstallError when this Python or pip cannot do it.
        """
        self.make(bar)
        self.stamp.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        started = time.monotonic()
        # pip itself first: then one version of it, on every Python, resolves and prints what PipOutput reads.
        pins = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
        self.pip([pin for pin in pins if pin.startswith(("pip==", "setuptools=="))], bar, progress="off")
        project = f".[{extra}]" if extra else "."
        self.pip(["--constraint", str(CONSTRAINTS), "--no-build-isolation", "--editable", project], bar)
        self.stamp.write_text(self._digest(extra))
        bar.finish(f"packages are installed in {self.folder} ({time.monotonic() - started:.0f} s)")

    def _digest(self, extra: str) -> str:
        """What an installation depends on. The folder is part of it: scripts name the path of their Python."""
        files = [CONSTRAINTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
        parts = [*files, platform.python_version().encode(), os.fsencode(self.folder), extra.encode()]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def make(self, bar: Bar, with_pip: bool = True) -> None:
        """Make it, empty but for pip, unless one that this Python can use is there."""
        if self._is_usable():
            return
        if lacks_venv():
            raise InstallError(
                f"this Python {_VERSION} cannot make virtual environments: install what it lacks, on Debian with "
                f"`sudo apt install python3-venv` (or python{_VERSION}-venv), and run this again.",
                status=2,
            )
        import venv

        bar.show(Step(f"making {self.folder}"))
        try:
            venv.EnvBuilder(with_pip=with_pip, symlinks=os.name != "nt", clear=True).create(self.folder)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "output", None) or str(error)
            text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
            raise InstallError(
                f"no virtual environment could be made in {self.folder}: {text.strip()}. "
                f"{advice(text, 'See that this folder may be written')}, and run this again"
            ) from error

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its Python in its folder, and return what that says. Raises OSError: there is none."""
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=variables(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )

    def _is_usable(self) -> bool:
        """Whether an environment of the running Python is there, with a pip that runs, so that it can be kept."""
        config = self.folder / "pyvenv.cfg"
        if not config.exists() or not self.python.exists():
            return False
        version = re.search(r"^version\s*=\s*(\S+)", config.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if version is None or version[1] != platform.python_version():
            return False
        return self.run("-m", "pip", "--version").returncode == 0

    def pip(self, arguments: Sequence[str], bar: Bar, progress: str = "raw", command: str = "install") -> None:
        """Run pip and show what it says; the installing, of which it says nothing, is read off the folder."""
        pip = [str(self.python), "-u", "-m", "pip", command, "--no-input", "--progress-bar", progress]
        output, began, said = PipOutput(), time.time(), ""
        process = subprocess.Popen(
            [*pip, *arguments],
            cwd=ROOT,
            env=variables(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        try:
            with self.log.open("a", encoding="utf-8") as log:
                for line in _lines(process):
                    if line:
                        log.write(line)
                        said = said or line.partition("ERROR: ")[2].strip()  # what follows the first is advice
                        if step := output.read(line):
                            bar.show(step)
                    elif output.names:
                        bar.show(output.installing(self._installed_since(began)))
        except BaseException:
            process.kill()  # a pip that was interrupted must not go on alone
            raise
        finally:
            status = process.wait()
        if status:
            reason = said or f"it ended with status {status}"
            raise InstallError(
                f"pip could not install the packages: {reason}. {advice(reason, 'Check the network')} and run this "
                f"again; all that pip said is in {self.log}"
            )

    def _installed_since(self, began: float) -> int:
        """How many packages pip has completed since `began`: it writes a package's RECORD last."""
        library = "Lib" if os.name == "nt" else f"lib/python{_VERSION}"
        records = self.folder.joinpath(library, "site-packages").glob("*.dist-info/RECORD")
        return sum(record.stat().st_mtime >= began for record in records)


def advice(reason: str, usual: str) -> str:
    """What to do about an error: for want of room something else than usual."""
    return "Make room on the disk" if "No space left" in reason else usual


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """The lines that a process prints as they come, and an empty string at every quarter of a second without one."""
    pipe = process.stdout
    assert pipe is not None
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in pipe:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=0.25)
        except queue.Empty:
            line = ""
        if line is None:
            return
        yield line
