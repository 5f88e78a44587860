"""What only CI does, as root on Debian: installs the system packages that the tests need and a bare system lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from installer.environment import lacks_venv

_KRITA = ["krita", "python3-pyqt5", "python3-pyqt5.sip", "xvfb"]


def ensure_venv() -> None:
    """Install python3-venv if this is Debian's own Python and it cannot make virtual environments."""
    if sys.base_prefix == "/usr" and lacks_venv():
        _install(["python3-venv"])


def ensure_krita() -> None:
    """Install Krita, and a screen that nobody sees, for the tests of the plugin."""
    if not all(map(shutil.which, ("krita", "Xvfb"))):
        _install(_KRITA)


def ensure_chromium() -> None:
    """Install Chromium, for the tests of the pages that `gknet` makes."""
    if not shutil.which("chromium"):
        _install(["chromium"])


def _install(packages: list[str]) -> None:
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run([apt, "-qq", *arguments], check=False, env=quiet, stdout=subprocess.DEVNULL)
