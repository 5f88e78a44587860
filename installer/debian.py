"""What only CI does, as root on Debian: installs the one system package that a bare Python lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from installer.environment import lacks_venv


def ensure_venv() -> None:
    """Install python3-venv if this is Debian's own Python and it cannot make virtual environments."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0 or sys.base_prefix != "/usr" or not lacks_venv():
        return
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "python3-venv"]):
        subprocess.run([apt, "-qq", *arguments], check=False, env=quiet)
